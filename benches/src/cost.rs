//! Net cost per packet: what a way to forward adds to making a frame, carrying it over one veth and dropping it.

use anyhow::{Result, bail};
use serde::Serialize;
use vfw::config::Mode;
use vfw::interface::inspect;

use crate::firewall::{InForce, conntrack_established, start_nftables, start_vfw};
use crate::frames::udp_plan;
use crate::median;
use crate::rig::{Rig, Sink};
use crate::topology::Topology;

/// A way to forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// None: generator and sink are joined directly.
    Direct,
    /// XDP redirect without looking at the frame.
    Redirect,
    /// vfw at the XDP hook.
    VfwXdp,
    /// vfw at the tc hook.
    VfwTc,
    /// vfw's engine in user space, in copy mode: the worker has another CPU than the generator if there is one, and what it
    /// cannot take gets lost, so that the time per frame is that of its capacity.
    VfwAfxdp,
    /// Linux routing.
    Routing,
    /// Linux routing, with connection tracking and three nftables rules.
    Nftables,
}

impl Way {
    /// All of them, the yardstick first.
    pub const ALL: [Self; 7] =
        [Self::Direct, Self::Redirect, Self::VfwXdp, Self::VfwTc, Self::VfwAfxdp, Self::Routing, Self::Nftables];

    /// What readers see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Redirect => "bare XDP redirect",
            Self::VfwXdp => "vfw xdp",
            Self::VfwTc => "vfw tc",
            Self::VfwAfxdp => "vfw afxdp",
            Self::Routing => "Linux routing",
            Self::Nftables => "nftables stateful",
        }
    }

    /// Where its frames end: as early as the receiver can take them.
    const fn sink(self) -> Sink {
        match self {
            // Frames that enter the peer of a veth directly pass its XDP hook by.
            Self::VfwTc => Sink::Tc,
            _ => Sink::Xdp,
        }
    }

    /// Flows opened at once: half-open tables have room for as many, and the rings of a worker.
    const fn opened_at_once(self) -> u32 {
        match self {
            Self::VfwAfxdp => 1_000,
            _ => 20_000,
        }
    }

    const fn keeps_flows(self) -> bool {
        matches!(self, Self::VfwXdp | Self::VfwTc | Self::VfwAfxdp | Self::Nftables)
    }
}

/// A way to forward, in force between a generator and a sink.
pub struct Path {
    /// Which.
    pub way: Way,
    topology: Topology,
    rig: Rig,
    setup: Option<InForce>,
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

/// A burst that is too much for a queue loses frames; then it is repeated.
const ATTEMPTS: u32 = 5;

impl Path {
    /// Builds the namespaces and puts the way in force, for this number of flows. All work stays on `cpu`.
    pub fn new(way: Way, cpu: usize, flows: u32) -> Result<Self> {
        let topology = Topology::new(way != Way::Direct)?;
        let mut rig = Rig::load()?;
        let mut setup = None;
        if let Some(firewall) = &topology.firewall {
            match way {
                Way::Redirect => firewall.run(|| rig.attach_forwarder(inspect("f0")?.index, inspect("f1")?.index))?,
                Way::VfwXdp => setup = Some(start_vfw(firewall, Mode::Xdp, flows)?),
                Way::VfwTc => setup = Some(start_vfw(firewall, Mode::Tc, flows)?),
                Way::VfwAfxdp => setup = Some(start_vfw(firewall, Mode::Afxdp, flows)?),
                Way::Routing => topology.route_by_kernel()?,
                Way::Nftables => {
                    topology.route_by_kernel()?;
                    start_nftables(firewall)?;
                }
                Way::Direct => {}
            }
        }
        topology.a.run(|| rig.attach_sink("a0", topology.a0, way.sink()))?;
        topology.b.run(|| rig.attach_sink("b0", topology.b0, way.sink()))?;
        Ok(Self { way, topology, rig, setup, cpu })
    }

    /// Opens flows `0..flows` by a packet in each direction and one more, after which they count as established; returns
    /// the share of them that do, or nothing when the way keeps no flows.
    pub fn establish(&mut self, flows: u32) -> Result<Option<f64>> {
        if !self.way.keeps_flows() {
            return Ok(None);
        }
        let mut share = 0.0;
        for _ in 0..ATTEMPTS {
            let at_once = self.way.opened_at_once();
            for first in (0..flows).step_by(at_once as usize) {
                let count = at_once.min(flows - first);
                let (rig, topology) = (&mut self.rig, &self.topology);
                topology.a.run_on(self.cpu, || rig.generate(topology.a0, udp_plan(first, count, false)?, count))?;
                topology.b.run_on(self.cpu, || rig.generate(topology.b0, udp_plan(first, count, true)?, count))?;
                topology.a.run_on(self.cpu, || rig.generate(topology.a0, udp_plan(first, count, false)?, count))?;
            }
            share = self.established()? as f64 / f64::from(flows);
            if share >= 1.0 {
                break;
            }
        }
        Ok(Some(share.min(1.0)))
    }

    fn established(&self) -> Result<u64> {
        match (&self.setup, &self.topology.firewall) {
            (Some(setup), _) => Ok(setup.kernel.flows()?.sweep(0)?),
            (None, Some(firewall)) => conntrack_established(firewall),
            (None, None) => Ok(0),
        }
    }

    /// Sends `frames` over `flows` flows.
    pub fn measure(&mut self, flows: u32, frames: u32) -> Result<Sample> {
        let (rig, topology) = (&mut self.rig, &self.topology);
        let plan = udp_plan(0, flows, false)?;
        let sent = topology.a.run_on(self.cpu, || rig.generate(topology.a0, plan, frames))?;
        let arrived = self.rig.arrived()?;
        if arrived == 0 {
            bail!("no frame arrived by way of {}", self.way.name());
        }
        let (frames, arrived) = (f64::from(frames), arrived as f64);
        Ok(Sample { nanos: sent * frames / arrived, lost: 1.0 - arrived / frames })
    }
}

/// What one way costs with one number of flows.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Its name.
    pub way: &'static str,
    /// Flows that took turns.
    pub flows: u32,
    /// Share of them that were established before; nothing when the way keeps no flows.
    pub established: Option<f64>,
    /// Nanoseconds per frame, generator and sink included: median.
    pub total_ns: f64,
    /// Nanoseconds per frame above the direct way: median of the differences of each round.
    pub net_ns: f64,
    /// Share of the frames that got lost, all rounds together.
    pub lost: f64,
}

/// Measures every way round by round, for each number of flows, ascending.
pub fn measure(cpu: usize, flows: &[u32], rounds: usize, frames: u32) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for &flows in flows {
        let mut paths = Way::ALL.into_iter().map(|way| Path::new(way, cpu, flows)).collect::<Result<Vec<_>>>()?;
        let established = paths.iter_mut().map(|path| path.establish(flows)).collect::<Result<Vec<_>>>()?;
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); paths.len()];
        for _ in 0..rounds {
            for (path, samples) in paths.iter_mut().zip(&mut samples) {
                samples.push(path.measure(flows, frames)?);
            }
        }
        let direct: Vec<f64> = samples[0].iter().map(|sample| sample.nanos).collect();
        for ((path, samples), established) in paths.iter().zip(&samples).zip(established) {
            let totals: Vec<f64> = samples.iter().map(|sample| sample.nanos).collect();
            let nets: Vec<f64> = totals.iter().zip(&direct).map(|(total, direct)| total - direct).collect();
            let lost = samples.iter().map(|sample| sample.lost).sum::<f64>() / samples.len().max(1) as f64;
            let (total_ns, net_ns) = (median(&totals), median(&nets));
            costs.push(Cost { way: path.way.name(), flows, established, total_ns, net_ns, lost });
        }
    }
    Ok(costs)
}
