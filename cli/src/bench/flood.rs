//! What an attack costs others: transactions over a connection that was there before, while the attacker sends at the firewall and
//! while it sends into a dead end. Both take the same time of a CPU and keep it from sleeping, so that the difference is the firewall's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::lab::{Attacker, Lab, Needs, Path, Rig, Rules, Sink, denied_plan, for_each_path, open_flows, syn_plan};
use super::net::way::serve;
use super::net::{Agent, Running, Timing};
use super::report::{Condition, Document, Figure, Flood, Protocol, Row};
use super::rounds::Rounds;
use crate::clock;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The paths, and whether the user asked for them.
    pub paths: Vec<Path>,
    /// See [`for_each_path`].
    pub asked: bool,
    /// The attacks; an attack into a dead end is measured always.
    pub floods: Vec<Flood>,
    /// Frames of the attack in a second, at most.
    pub rate: u32,
    /// Rounds.
    pub rounds: u32,
    /// How long each time.
    pub timing: Timing,
    /// The CPU of the attacker.
    pub cpu: usize,
}

/// Flows that are established beside the connection, to see whether they survive.
const FLOWS: u32 = 1_000;
/// Bytes of a question and of an answer.
const MESSAGE: u32 = 1;
/// Flows of a measurement: those over which client and server speak about it, and the one that is measured.
const CONNECTIONS: u64 = 2;
/// How long these may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at what one waits for.
const TICK: Duration = Duration::from_millis(2);

/// A path and what was found on it, by attack.
struct Subject {
    // Before the lab: the server ends first.
    _server: Running,
    agent: Agent,
    lab: Lab,
    rig: Rig,
    found: BTreeMap<Flood, BTreeMap<Figure, Vec<f64>>>,
}

/// What an attack came to.
struct Attack {
    mpps: f64,
    survived: f64,
}

/// Measures every path and adds the rows to `document`.
pub fn measure(plan: &Plan, document: &mut Document) -> Result<()> {
    let steps = plan.paths.len() * plan.rounds as usize;
    let mut rounds = Rounds::new(plan.rounds, steps as u64)?;
    rounds.prepare("building the paths")?;
    let (mut subjects, notes) = for_each_path(&plan.paths, plan.asked, |path| Subject::new(path, plan.cpu))?;
    document.note(notes);
    if let Some(first) = subjects.first() {
        first.lab.note_offloads(&mut document.machine)?;
    }
    rounds.each(&mut subjects, |subject| subject.lab.path.to_string(), |subject, _| subject.measure(plan))?;
    for flood in std::iter::once(Flood::DeadEnd).chain(plan.floods.iter().copied()) {
        document.results.extend(subjects.iter().map(|subject| subject.row(flood)));
    }
    Ok(())
}

impl Subject {
    fn new(path: Path, cpu: usize) -> Result<Self> {
        let rules = Rules { others: 0, attacked: true };
        let lab = Lab::with(path, Needs { rules, generator: Some(cpu), ..Needs::default() })?;
        let (server, agent) = serve(&lab)?;
        let mut rig = Rig::load()?;
        let Attacker { place, d1, .. } = lab.attacker()?;
        place.run(|| rig.attach_sink("d1", *d1, Sink::Xdp))?;
        Ok(Self { _server: server, agent, lab, rig, found: BTreeMap::new() })
    }

    /// One round: while the attacker sends into its dead end, and under each attack.
    fn measure(&mut self, plan: &Plan) -> Result<()> {
        let quiet = self.once(Flood::DeadEnd, plan, None)?;
        for &flood in &plan.floods {
            self.once(flood, plan, Some(quiet))?;
        }
        Ok(())
    }

    /// Transactions while the attacker sends, as a share of those of a `quiet` firewall; returns their rate.
    fn once(&mut self, flood: Flood, plan: &Plan, quiet: Option<f64>) -> Result<f64> {
        self.lab.forget_flows()?;
        open_flows(&self.lab, &mut self.rig, plan.cpu, FLOWS)?;
        let known = self.lab.established()?;
        let is_over = AtomicBool::new(false);
        let (lab, agent, rig) = (&self.lab, &self.agent, &mut self.rig);
        let (latencies, attack) = thread::scope(|scope| {
            let attacker = scope.spawn(|| attack(lab, rig, flood, plan, known + CONNECTIONS, &is_over));
            let latencies = lab.client().run(|| Ok(agent.exchange(Protocol::Tcp, MESSAGE, plan.timing)?));
            is_over.store(true, Ordering::Relaxed);
            (latencies, attacker.join())
        });
        let latencies = latencies.with_context(|| format!("{}, {}", self.lab.path, flood.title()))?;
        let attack = attack.map_err(|_| anyhow!("the attacker's thread ended early"))??;
        let rate = latencies.rate();
        let mut figures = vec![
            (Figure::Transactions, rate),
            (Figure::P50Us, latencies.quantile_us(0.5)),
            (Figure::P99Us, latencies.quantile_us(0.99)),
            (Figure::FloodMpps, attack.mpps),
            (Figure::Survived, attack.survived),
        ];
        figures.extend(quiet.map(|quiet| (Figure::Kept, rate / quiet)));
        let found = self.found.entry(flood).or_default();
        for (figure, value) in figures {
            found.entry(figure).or_default().push(value);
        }
        Ok(rate)
    }

    fn row(&self, flood: Flood) -> Row {
        let condition = Condition {
            path: self.lab.path.name().to_owned(),
            protocol: Some(Protocol::Tcp),
            size: Some(MESSAGE),
            flood: Some(flood),
            ..Condition::default()
        };
        Row::new(condition, self.found.get(&flood).cloned().unwrap_or_default())
    }
}

/// Attacks once so many flows are `known`, and looks what is left when the measurement `is_over`.
fn attack(lab: &Lab, rig: &mut Rig, flood: Flood, plan: &Plan, known: u64, is_over: &AtomicBool) -> Result<Attack> {
    let before = wait_for_flows(lab, known, is_over)?;
    let mpps = send(lab, rig, flood, plan)?;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(TICK);
    }
    let survived = (lab.established()? as f64 / before as f64).min(1.0);
    Ok(Attack { mpps, survived })
}

/// Waits until the connections of a measurement are there: the attack must find them established.
fn wait_for_flows(lab: &Lab, known: u64, is_over: &AtomicBool) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = lab.established()?;
        if found >= known {
            return Ok(found);
        }
        if is_over.load(Ordering::Relaxed) || Instant::now() > deadline {
            bail!("the path {} knows {found} flows, not {known}", lab.path);
        }
        thread::sleep(TICK);
    }
}

/// Sends the attack's frames as long as a measurement takes, as many as the rate says or can be; returns million frames a
/// second.
fn send(lab: &Lab, rig: &mut Rig, flood: Flood, plan: &Plan) -> Result<f64> {
    let Attacker { place, c0, d0, .. } = lab.attacker()?;
    let (to, mut frames) = match flood {
        Flood::DeadEnd => (*d0, denied_plan()?),
        Flood::Denied => (*c0, denied_plan()?),
        Flood::Syn => (*c0, syn_plan()?),
    };
    let time = plan.timing.warm_up + plan.timing.measured;
    frames.interval = u64::from(1_000_000_000 / plan.rate);
    frames.until = clock::now() + time.as_nanos() as u64;
    // One call: the kernel takes tens of milliseconds to begin another.
    let most = u64::from(plan.rate) * time.as_millis() as u64 / 1_000;
    place.run_on(plan.cpu, || rig.generate(to, frames, u32::try_from(most)?))?;
    Ok(rig.sent()? as f64 / time.as_secs_f64() / 1e6)
}
