//! Flows: how many a second can begin, and how many are held at once.

use anyhow::Result;

use super::lab::{Lane, Needs, Path, for_each_path, frame_size};
use super::report::{Condition, Document, Family, Figure, Row};
use super::rounds::Rounds;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The paths, and whether the user asked for them.
    pub paths: Vec<Path>,
    /// See [`for_each_path`].
    pub asked: bool,
    /// Numbers of flows that are offered.
    pub flows: Vec<u32>,
    /// Room in vfw's table of established flows; enough for all of them when absent.
    pub limit: Option<u32>,
    /// Rounds.
    pub rounds: u32,
    /// Frames of each measurement over the flows that are held.
    pub frames: u32,
    /// The CPU for all work.
    pub cpu: usize,
}

/// A path and what was found on it.
struct Subject {
    lane: Lane,
    new_flows: Vec<f64>,
    held: Vec<f64>,
    mpps: Vec<f64>,
    lost: Vec<f64>,
}

/// Measures every path with each number of flows and adds the rows to `document`.
pub fn measure(plan: &Plan, document: &mut Document) -> Result<()> {
    let steps = plan.flows.len() * plan.paths.len() * plan.rounds as usize;
    let mut rounds = Rounds::new(plan.rounds, steps as u64)?;
    rounds.prepare("building the paths")?;
    let mut needs = Needs::flows(plan.flows.iter().copied().max().unwrap_or_default());
    needs.established = plan.limit.or(needs.established);
    let (lanes, notes) = for_each_path(&plan.paths, plan.asked, |path| Lane::new(path, plan.cpu, needs))?;
    document.note(notes);
    if let Some(first) = lanes.first() {
        first.lab.note_offloads(&mut document.machine)?;
    }
    let mut subjects: Vec<Subject> = lanes.into_iter().map(Subject::new).collect();
    for &flows in &plan.flows {
        let what = |subject: &Subject| format!("{flows} flows, {}", subject.lane.lab.path);
        rounds.each(&mut subjects, what, |subject, _| subject.measure(flows, plan.frames))?;
        document.results.extend(subjects.iter_mut().map(|subject| subject.row(flows)));
    }
    Ok(())
}

impl Subject {
    fn new(lane: Lane) -> Self {
        Self { lane, new_flows: Vec::new(), held: Vec::new(), mpps: Vec::new(), lost: Vec::new() }
    }

    /// Opens the flows in empty tables, counts those that are established, and sends over all of them.
    fn measure(&mut self, flows: u32, frames: u32) -> Result<()> {
        self.lane.lab.forget_flows()?;
        let seconds = self.lane.open(flows)? * f64::from(flows) / 1e9;
        let held = self.lane.lab.established()? as f64;
        self.new_flows.push(held / seconds);
        self.held.push(held);
        let sample = self.lane.measure(0, flows, frames.max(flows))?;
        self.mpps.push(1e3 / sample.nanos);
        self.lost.push(sample.lost);
        Ok(())
    }

    /// The row of what was found since the last one.
    fn row(&mut self, flows: u32) -> Row {
        let condition = Condition {
            path: self.lane.lab.path.name().to_owned(),
            flows: Some(flows),
            frame_size: Some(frame_size(Family::Ipv4)),
            ..Condition::default()
        };
        let taken = [
            (Figure::NewFlows, std::mem::take(&mut self.new_flows)),
            (Figure::Held, std::mem::take(&mut self.held)),
            (Figure::Mpps, std::mem::take(&mut self.mpps)),
            (Figure::Loss, std::mem::take(&mut self.lost)),
        ];
        Row::new(condition, taken)
    }
}
