//! The smallest frames: how many a second, and what a path adds to one.

use std::time::Duration;

use anyhow::Result;

use super::lab::{Lane, Needs, Path, for_each_path, frame_size};
use super::report::{Condition, Document, Family, Figure, Row};
use super::rounds::Rounds;
use super::samples;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The paths, and whether the user asked for them.
    pub paths: Vec<Path>,
    /// See [`for_each_path`].
    pub asked: bool,
    /// Numbers of flows that take turns.
    pub flows: Vec<u32>,
    /// Rounds.
    pub rounds: u32,
    /// Frames of each measurement.
    pub frames: u32,
    /// Protocol of the frames.
    pub family: Family,
    /// What is done once the rates are known.
    pub hold: Option<Hold>,
    /// The CPU for all work.
    pub cpu: usize,
}

/// A share of a path's own rate, held for a while: what gets lost then is the path's fault.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Percent of the rate.
    pub load: u32,
    /// How long.
    pub seconds: u32,
}

/// A path and what was found on it.
struct Subject {
    lane: Lane,
    established: Option<f64>,
    nanos: Vec<f64>,
    lost: Vec<f64>,
}

/// Measures every path with each number of flows and adds the rows to `document`.
pub fn measure(plan: &Plan, document: &mut Document) -> Result<()> {
    let steps = plan.flows.len() * plan.paths.len() * plan.rounds as usize;
    let mut rounds = Rounds::new(plan.rounds, steps as u64)?;
    for &flows in &plan.flows {
        rounds.prepare(&format!("{flows} flows: building the paths"))?;
        let make = |path| Subject::new(path, plan, flows);
        let (mut subjects, notes) = for_each_path(&plan.paths, plan.asked, make)?;
        document.note(notes);
        if let Some(first) = subjects.first() {
            first.lane.lab.note_offloads(&mut document.machine)?;
        }
        let what = |subject: &Subject| format!("{flows} flows, {}", subject.lane.lab.path);
        rounds.each(&mut subjects, what, |subject, _| subject.measure(flows, plan.frames))?;
        document.results.extend(rows(&subjects, flows));
        let Some(hold) = plan.hold else { continue };
        for subject in &mut subjects {
            rounds.prepare(&format!("{flows} flows, {} at {} %", subject.lane.lab.path, hold.load))?;
            document.results.push(subject.hold(flows, hold)?);
        }
    }
    Ok(())
}

impl Subject {
    fn new(path: Path, plan: &Plan, flows: u32) -> Result<Self> {
        let mut lane = Lane::new(path, plan.cpu, Needs { family: plan.family, ..Needs::flows(flows) })?;
        let (established, _) = lane.establish(flows)?;
        Ok(Self { lane, established, nanos: Vec::new(), lost: Vec::new() })
    }

    fn measure(&mut self, flows: u32, frames: u32) -> Result<()> {
        // Each flow at least once: those not looked at would leave the caches to the others.
        let sample = self.lane.measure(0, flows, frames.max(flows))?;
        self.nanos.push(sample.nanos);
        self.lost.push(sample.lost);
        Ok(())
    }
}

impl Subject {
    fn condition(&self, flows: u32) -> Condition {
        Condition {
            path: self.lane.lab.path.name().to_owned(),
            flows: Some(flows),
            family: self.lane.lab.family.told(),
            frame_size: Some(frame_size(self.lane.lab.family)),
            ..Condition::default()
        }
    }

    /// Holds a share of the median rate.
    fn hold(&mut self, flows: u32, Hold { load, seconds }: Hold) -> Result<Row> {
        let seconds_a_frame = samples::median(&self.nanos) / 1e9 * 100.0 / f64::from(load.max(1));
        let interval = Duration::try_from_secs_f64(seconds_a_frame)?.as_nanos().max(1);
        let frames = u128::from(seconds) * 1_000_000_000 / interval;
        let sample = self.lane.hold(flows, u64::try_from(interval)?, u32::try_from(frames)?)?;
        let condition = Condition { load_percent: Some(load), ..self.condition(flows) };
        let figures = [(Figure::Loss, vec![sample.lost]), (Figure::Mpps, vec![1e3 / sample.nanos])];
        Ok(Row::new(condition, figures))
    }
}

fn rows(subjects: &[Subject], flows: u32) -> Vec<Row> {
    let direct = subjects.iter().find(|subject| subject.lane.lab.path == Path::Direct);
    let row = |subject: &Subject| {
        let path = subject.lane.lab.path;
        let net = |direct: &Subject| subject.nanos.iter().zip(&direct.nanos).map(|(own, base)| own - base).collect();
        let net = direct.filter(|_| path != Path::Direct).map(net);
        Row::new(
            subject.condition(flows),
            [
                (Figure::Mpps, subject.nanos.iter().map(|nanos| 1e3 / nanos).collect()),
                (Figure::NetNs, net.unwrap_or_default()),
                (Figure::Loss, subject.lost.clone()),
                (Figure::Established, subject.established.into_iter().collect()),
            ],
        )
    };
    subjects.iter().map(row).collect()
}
