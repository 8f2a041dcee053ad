//! A path with a generator at the client and a sink at the server, all on one CPU.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Lab, Needs, Next, Path, Plan, Rig, Sink, udp_plan};

/// A burst that is too much for a queue loses frames; then it is repeated.
const ATTEMPTS: u32 = 5;
/// How long the engine in user space may let a frame wait.
const PATIENCE: Duration = Duration::from_millis(20);

/// A path in force between a generator and a sink.
pub struct Lane {
    /// The path.
    pub lab: Lab,
    rig: Rig,
    cpu: usize,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Nanoseconds per frame that arrived, generator and sink included.
    pub nanos: f64,
    /// Share of the frames that did not arrive.
    pub lost: f64,
}

impl Lane {
    /// Puts a path in force. All work stays on `cpu`, but that of the engine in user space, which takes another one if there
    /// is one: it loses what it cannot take, and the time per frame is that of its capacity.
    pub fn new(path: Path, cpu: usize, needs: Needs) -> Result<Self> {
        let lab = Lab::with(path, Needs { generator: Some(cpu), ..needs })?;
        let mut rig = Rig::load()?;
        let topology = &lab.topology;
        topology.a.run(|| rig.attach_sink("a0", topology.a0, sink(path)))?;
        topology.b.run(|| rig.attach_sink("b0", topology.b0, sink(path)))?;
        Ok(Self { lab, rig, cpu })
    }

    fn next(&self) -> Next {
        Next::from(self.lab.path)
    }

    /// Opens flows `0..flows` by a packet in each direction and one more, after which they count as established. Returns
    /// the share of them that do, or nothing where none are known, and the nanoseconds for each flow.
    pub fn establish(&mut self, flows: u32) -> Result<(Option<f64>, f64)> {
        if !self.lab.path.is_firewall() {
            return Ok((None, 0.0));
        }
        let (mut share, mut nanos) = (0.0, 0.0);
        for _ in 0..ATTEMPTS {
            nanos = self.open(flows)?;
            share = self.lab.established()? as f64 / f64::from(flows.max(1));
            if share >= 1.0 {
                break;
            }
        }
        Ok((Some(share.min(1.0)), nanos))
    }

    /// Opens flows `0..flows`, once; returns nanoseconds per flow.
    pub fn open(&mut self, flows: u32) -> Result<f64> {
        open_flows(&self.lab, &mut self.rig, self.cpu, flows)
    }

    /// Sends `frames` over flows `first` to `first + flows`, in turn.
    pub fn measure(&mut self, first: u32, flows: u32, frames: u32) -> Result<Sample> {
        let plan = udp_plan(self.lab.family, self.next(), first, flows, false)?;
        let (rig, topology) = (&mut self.rig, &self.lab.topology);
        let sent = topology.a.run_on(self.cpu, || rig.generate(topology.a0, plan, frames))?;
        let arrived = self.rig.arrived()?;
        if arrived == 0 {
            bail!("no frame arrived by the path {}", self.lab.path);
        }
        let (frames, arrived) = (f64::from(frames), arrived as f64);
        Ok(Sample { nanos: sent * frames / arrived, lost: (1.0 - arrived / frames).max(0.0) })
    }

    /// Sends `frames` over flows `0..flows`, in turn, one every `interval` nanoseconds.
    pub fn hold(&mut self, flows: u32, interval: u64, frames: u32) -> Result<Sample> {
        let plan = Plan { interval, ..udp_plan(self.lab.family, self.next(), 0, flows, false)? };
        let (rig, topology) = (&mut self.rig, &self.lab.topology);
        let nanos = topology.a.run_on(self.cpu, || rig.generate(topology.a0, plan, frames))?;
        // What is on its way in the engine in user space is not lost.
        all_arrived(rig, frames, Instant::now())?;
        let lost = 1.0 - rig.arrived()? as f64 / f64::from(frames);
        Ok(Sample { nanos, lost: lost.max(0.0) })
    }
}

/// Sends a packet in each direction and one more on each of flows `0..flows`; returns nanoseconds per flow.
pub fn open_flows(lab: &Lab, rig: &mut Rig, cpu: usize, flows: u32) -> Result<f64> {
    let (at_once, next, topology) = (opened_at_once(lab.path), Next::from(lab.path), &lab.topology);
    let mut nanos = 0.0;
    for first in (0..flows).step_by(at_once as usize) {
        let count = at_once.min(flows - first);
        for reply in [false, true, false] {
            let (place, ifindex) = if reply { (&topology.b, topology.b0) } else { (&topology.a, topology.a0) };
            let plan = udp_plan(lab.family, next, first, count, reply)?;
            let start = Instant::now();
            let sent = place.run_on(cpu, || rig.generate(ifindex, plan, count))? * f64::from(count);
            // All other paths have done their work when the generator returns.
            let is_elsewhere = lab.path == Path::VfwAfxdp;
            nanos += if is_elsewhere { all_arrived(rig, count, start)? } else { sent };
        }
    }
    Ok(nanos / f64::from(flows.max(1)))
}

/// Waits until frames have come through that were handed over at `start`; returns the nanoseconds since then. Those that got
/// lost are not waited for longer than [`PATIENCE`].
fn all_arrived(rig: &Rig, count: u32, start: Instant) -> Result<f64> {
    let (mut seen, mut last) = (0, Instant::now());
    while seen < u64::from(count) && last.elapsed() < PATIENCE {
        let arrived = rig.arrived()?;
        if arrived > seen {
            (seen, last) = (arrived, Instant::now());
        }
        thread::yield_now();
    }
    Ok(last.duration_since(start).as_nanos() as f64)
}

/// Where frames end: as early as the receiver can take them.
const fn sink(path: Path) -> Sink {
    match path {
        // Frames that enter the peer of a veth directly pass its XDP hook by.
        Path::VfwTc => Sink::Tc,
        _ => Sink::Xdp,
    }
}

/// Flows opened at once: half-open tables have room for as many, and the rings of a worker.
const fn opened_at_once(path: Path) -> u32 {
    match path {
        Path::VfwAfxdp => 1_000,
        _ => 20_000,
    }
}
