//! Packet rate against the number of rules: of first packets, for which the rules are walked, and of established flows, for which
//! they are not.

use anyhow::Result;

use super::lab::{Lane, Needs, Path, Rules, conntrack, for_each_path, frame_size};
use super::report::{Condition, Document, Family, Figure, Row, Traffic};
use super::rounds::Rounds;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The paths, and whether the user asked for them.
    pub paths: Vec<Path>,
    /// See [`for_each_path`].
    pub asked: bool,
    /// Numbers of rules.
    pub rules: Vec<u32>,
    /// Rounds.
    pub rounds: u32,
    /// Frames of each measurement of established flows.
    pub frames: u32,
    /// The CPU for all work.
    pub cpu: usize,
}

/// Established flows that take turns.
const FLOWS: u32 = 1_000;
/// Length of a measurement of first packets, about.
const NANOS: f64 = 200e6;
/// First packets to begin with, and most of them in a measurement: tables of half-open flows hold more.
const FIRST_PACKETS: [u32; 2] = [500, 20_000];
/// The rules of a lab that allow something.
const OWN: u32 = 2;

/// A path with rules, and what was found on it.
struct Subject {
    lane: Lane,
    established: Option<f64>,
    /// First packets of a measurement, and the number of the next flow that was not seen yet.
    first_packets: u32,
    next_flow: u32,
    known: Found,
    new: Found,
}

#[derive(Default)]
struct Found {
    nanos: Vec<f64>,
    lost: Vec<f64>,
}

/// Measures every path with each number of rules and adds the rows to `document`.
pub fn measure(plan: &Plan, document: &mut Document) -> Result<()> {
    let steps = plan.rules.len() * plan.paths.len() * plan.rounds as usize;
    let mut rounds = Rounds::new(plan.rounds, steps as u64)?;
    for &rules in &plan.rules {
        rounds.prepare(&format!("{rules} rules: building the paths"))?;
        let (mut subjects, notes) = for_each_path(&plan.paths, plan.asked, |path| Subject::new(path, plan, rules))?;
        document.note(notes);
        if let Some(first) = subjects.first() {
            first.lane.lab.note_offloads(&mut document.machine)?;
        }
        let what = |subject: &Subject| format!("{rules} rules, {}", subject.lane.lab.path);
        rounds.each(&mut subjects, what, |subject, _| subject.measure(plan.frames))?;
        document.results.extend(rows(&subjects, rules));
    }
    Ok(())
}

impl Subject {
    fn new(path: Path, plan: &Plan, rules: u32) -> Result<Self> {
        let rules = Rules { others: rules.saturating_sub(OWN), ..Rules::default() };
        let mut lane = Lane::new(path, plan.cpu, Needs { rules, ..Needs::default() })?;
        let (established, _) = lane.establish(FLOWS)?;
        let [least, most] = FIRST_PACKETS;
        let sample = lane.measure(FLOWS, least, least)?;
        // What connection tracking remembers of all rounds must fit.
        let room = if path.tracks_connections() { conntrack::room()? / 2 } else { u32::MAX };
        let first_packets = as_many(sample.nanos).clamp(least, most.min(room / plan.rounds).max(least));
        Ok(Self {
            lane,
            established,
            first_packets,
            next_flow: FLOWS + least,
            known: Found::default(),
            new: Found::default(),
        })
    }

    fn measure(&mut self, frames: u32) -> Result<()> {
        let known = self.lane.measure(0, FLOWS, frames)?;
        self.known.nanos.push(known.nanos);
        self.known.lost.push(known.lost);
        let new = self.lane.measure(self.next_flow, self.first_packets, self.first_packets)?;
        self.next_flow += self.first_packets;
        self.new.nanos.push(new.nanos);
        self.new.lost.push(new.lost);
        Ok(())
    }

    fn found(&self, traffic: Traffic) -> &Found {
        match traffic {
            Traffic::Established => &self.known,
            Traffic::New => &self.new,
        }
    }
}

/// Frames that take [`NANOS`].
#[allow(clippy::cast_sign_loss, reason = "times are positive")]
fn as_many(nanos: f64) -> u32 {
    (NANOS / nanos) as u32
}

fn rows(subjects: &[Subject], rules: u32) -> Vec<Row> {
    let direct = subjects.iter().find(|subject| subject.lane.lab.path == Path::Direct);
    let row = |subject: &Subject, traffic: Traffic| {
        let path = subject.lane.lab.path;
        let found = subject.found(traffic);
        let condition = Condition {
            path: path.name().to_owned(),
            rules: Some(rules),
            frame_size: Some(frame_size(Family::Ipv4)),
            traffic: Some(traffic),
            ..Condition::default()
        };
        let net = |direct: &Subject| {
            found.nanos.iter().zip(&direct.found(traffic).nanos).map(|(own, base)| own - base).collect()
        };
        let is_known = traffic == Traffic::Established;
        Row::new(
            condition,
            [
                (Figure::Mpps, found.nanos.iter().map(|nanos| 1e3 / nanos).collect()),
                (Figure::NetNs, direct.filter(|_| path != Path::Direct).map(net).unwrap_or_default()),
                (Figure::Loss, found.lost.clone()),
                (Figure::Established, subject.established.filter(|_| is_known).into_iter().collect()),
            ],
        )
    };
    let of = |traffic| subjects.iter().map(move |subject| row(subject, traffic));
    of(Traffic::Established).chain(of(Traffic::New)).collect()
}
