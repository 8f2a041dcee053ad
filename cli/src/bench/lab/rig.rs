//! The eBPF programs of `xdp-prog/bench-ebpf`: frames in, frames counted, frames put back.
#![allow(unsafe_code, reason = "aya wants a promise that map values are plain data")]

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, MapData, PerCpuArray, ProgramArray};
use aya::programs::tc::TcAttachType;
use aya::programs::{
    Program, ProgramFd, SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, TestRunResult, Xdp, XdpMode,
};
use aya::{Ebpf, EbpfLoader, Pod};

use crate::bench::report::Family;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vfw-bench-ebpf"));

/// Bytes of the largest generated frame.
const MADE: usize = 64;
/// Bytes of a frame in test runs; shorter packets are padded as on Ethernet.
pub const KEPT: usize = 80;
/// Frames that the generator hands over at once: as many as a NAPI poll takes.
const BATCH: u32 = 64;

/// Bytes of a generated frame, without its checksum: as few as can be of IPv4. Of IPv6, the headers take two bytes more, and two of
/// payload balance the checksum.
pub const fn frame_size(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 60,
        Family::Ipv6 => MADE as u32,
    }
}

/// What to generate; as in `xdp-prog/bench-ebpf`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The frame. Of IPv4 without its last four bytes, which are padding.
    pub frame: [u8; MADE],
    /// Flows to go through, in turn.
    pub flows: u32,
    /// The first of them.
    pub first: u32,
    /// Ports of one client; flows beyond it go to the next service port.
    pub clients: u32,
    /// Lowest client port.
    pub client_port: u16,
    /// Lowest service port.
    pub service_port: u16,
    /// 1: from the server to the client.
    pub reply: u16,
    /// 1: a client is an address, counted from that of the frame, and has the lowest client port. The frame's
    /// identification must not be less than the last client. 2: the same with TCP, where the low half of the sequence number
    /// must not be less than the last client and service together.
    pub hosts: u16,
    /// 1: the frame is IPv6 and UDP, with the checksum that it has where ports and payload are 0.
    pub ipv6: u32,
    /// Nanoseconds between two frames, a tenth of a millisecond at most; 0 for as many as can be.
    pub interval: u64,
    /// When to end, by [`crate::clock`]; 0 for when all frames are sent.
    pub until: u64,
}

// SAFETY: integers only, laid out without gaps (64 + 3 * 4 + 4 * 2 + 4 + 2 * 8 = 104 bytes, a multiple of the alignment).
unsafe impl Pod for Plan {}
const _: () = assert!(size_of::<Plan>() == 104);

/// Which hook takes the frames at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    /// As soon as the driver has them.
    Xdp,
    /// At the first hook of the stack: for frames that come as socket buffers.
    Tc,
}

/// The programs, loaded.
pub struct Rig {
    ebpf: Ebpf,
    plan: Array<MapData, Plan>,
    next: Array<MapData, u32>,
    due: Array<MapData, u64>,
    sent: Array<MapData, u64>,
    seen: PerCpuArray<MapData, u64>,
    frame: Array<MapData, [u8; KEPT]>,
}

impl Rig {
    /// Loads the programs.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).context("cannot load the benchmark's eBPF programs")?;
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => continue,
            };
            loaded.with_context(|| format!("the kernel refused {name}"))?;
        }
        let mut take = |name: &str| ebpf.take_map(name).ok_or_else(|| anyhow!("the object has no {name}"));
        Ok(Self {
            plan: take("PLAN")?.try_into()?,
            next: take("NEXT")?.try_into()?,
            due: take("DUE")?.try_into()?,
            sent: take("SENT")?.try_into()?,
            seen: take("SEEN")?.try_into()?,
            frame: take("FRAME")?.try_into()?,
            ebpf,
        })
    }

    fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no {name}"))?;
        Ok(program.try_into()?)
    }

    fn tc(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no {name}"))?;
        Ok(program.try_into()?)
    }

    /// Counts and drops what arrives at an interface of the calling thread's namespace.
    pub fn attach_sink(&mut self, interface: &str, ifindex: u32, sink: Sink) -> Result<()> {
        match sink {
            Sink::Xdp => self.xdp("bench_sink_xdp")?.attach_to_if_index(ifindex, XdpMode::Driver).map(drop),
            Sink::Tc => self.tc("bench_sink_tc")?.attach(interface, TcAttachType::Ingress).map(drop),
        }
        .with_context(|| format!("cannot attach the sink to {interface}"))
    }

    /// Sends `frames` out of an interface of the calling thread's namespace; returns nanoseconds per frame.
    pub fn generate(&mut self, ifindex: u32, plan: Plan, frames: u32) -> Result<f64> {
        self.plan.set(0, plan, 0)?;
        self.next.set(0, 0, 0)?;
        self.due.set(0, 0, 0)?;
        self.sent.set(0, 0, 0)?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        self.seen.set(0, aya::maps::PerCpuValues::try_from(vec![0; cpus])?, 0)?;
        let length = frame_size(if plan.ipv6 == 0 { Family::Ipv4 } else { Family::Ipv6 }) as usize;
        let context = xdp_context(length, ifindex);
        let options = TestRunOptions {
            data_in: Some(&[0; MADE][..length]),
            ctx_in: Some(&context),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let result = self.xdp("bench_generate")?.test_run(options).context("the kernel does not run live frames")?;
        Ok(result.duration.as_nanos() as f64)
    }

    /// Frames that [`Self::generate`] has sent: fewer than it was to when its time was over before.
    pub fn sent(&self) -> Result<u64> {
        Ok(self.sent.get(&0, 0)?)
    }

    /// Frames that arrived since [`Self::generate`] began.
    pub fn arrived(&self) -> Result<u64> {
        Ok(self.seen.get(&0, 0)?.iter().sum())
    }

    /// Names the program that [`Self::again`] runs; without one, the program that does nothing.
    pub fn set_tested(&mut self, hook: Sink, program: Option<&ProgramFd>) -> Result<()> {
        let (map, nothing) = match hook {
            Sink::Xdp => ("XDP_TESTED", self.xdp("bench_nothing_xdp")?.fd()?.try_clone()?),
            Sink::Tc => ("TC_TESTED", self.tc("bench_nothing_tc")?.fd()?.try_clone()?),
        };
        let map = self.ebpf.map_mut(map).ok_or_else(|| anyhow!("the object has no {map}"))?;
        ProgramArray::try_from(map)?.set(0, program.unwrap_or(&nothing), 0)?;
        Ok(())
    }

    /// Runs the program under test `repeat` times on the same frame, as it came in on `ifindex`.
    pub fn again(&mut self, hook: Sink, ifindex: u32, frame: &[u8; KEPT], repeat: u32) -> Result<TestRunResult> {
        self.frame.set(0, *frame, 0)?;
        let context = match hook {
            Sink::Xdp => xdp_context(KEPT, ifindex),
            Sink::Tc => tc_context(ifindex),
        };
        let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat, ..TestRunOptions::new() };
        let result = match hook {
            Sink::Xdp => self.xdp("bench_again_xdp")?.test_run(options),
            Sink::Tc => self.tc("bench_again_tc")?.test_run(options),
        };
        result.context("the kernel refused a test run")
    }
}

/// `struct xdp_md`: data, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
fn xdp_context(length: usize, ifindex: u32) -> Vec<u8> {
    [0, length as u32, 0, ifindex, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `struct __sk_buff` up to `ifindex`, its eleventh word.
fn tc_context(ifindex: u32) -> Vec<u8> {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ifindex].into_iter().flat_map(u32::to_ne_bytes).collect()
}
