//! Nanoseconds per run and size of each program, by `BPF_PROG_TEST_RUN`.
//!
//! A wrapper puts the frame back before each run and calls the program; the same wrapper around a program that does
//! nothing is taken off.

use std::fmt::Write as _;

use anyhow::{Result, anyhow, bail};
use aya::programs::{Program, ProgramFd};
use serde::Serialize;
use vfw::bench::lab::{KEPT, Lab, Path, Place, Rig, Sink};
use vfw::bench::samples::median;
use vfw::daemon::Setup;
use vfw::interface::inspect;

use crate::frames::{Segment, Way, arp_request, tcp, udp};

/// Verdict of a program that sends the frame on: `XDP_REDIRECT`, `TC_ACT_REDIRECT`.
const SENT: [u32; 2] = [4, 7];
/// Verdict of a program that drops it: `XDP_DROP`, `TC_ACT_SHOT`.
const DROPPED: [u32; 2] = [1, 2];
/// The ports of the one UDP flow.
const UDP_PORTS: (u16, u16) = (40_000, 5_000);

/// What runs took.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What the frame is.
    pub packet: &'static str,
    /// Nanoseconds per run at the XDP hook, the wrapper taken off.
    pub xdp_ns: f64,
    /// The same at the tc hook.
    pub tc_ns: f64,
}

/// How large a program is.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Entry point.
    pub program: &'static str,
    /// Instructions that the verifier followed.
    pub verified_instructions: u32,
    /// Bytes of eBPF after the verifier's changes.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
}

/// Both tables.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Programs {
    /// Nanoseconds per run.
    pub runs: Vec<Run>,
    /// Sizes.
    pub sizes: Vec<Size>,
}

/// A firewall whose programs are run on frames of our making.
struct Bed {
    lab: Lab,
    rig: Rig,
    hook: Sink,
    f0: u32,
    f1: u32,
    cpu: usize,
}

/// Measures all programs: median of `rounds` with `repeat` runs each.
pub fn measure(cpu: usize, rounds: usize, repeat: u32) -> Result<Programs> {
    let mut xdp = Bed::new(Sink::Xdp, cpu)?;
    let mut tc = Bed::new(Sink::Tc, cpu)?;
    let mut runs = Vec::new();
    for (packet, frame, verdicts) in frames()? {
        let mut nanos = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (bed, nanos) in [&mut xdp, &mut tc].into_iter().zip(&mut nanos) {
                nanos.push(bed.net(packet, &frame, verdicts, repeat)?);
            }
        }
        let [xdp_ns, tc_ns] = nanos.map(|samples| median(&samples));
        runs.push(Run { packet, xdp_ns, tc_ns });
    }
    Ok(Programs { runs, sizes: sizes(xdp.setup()?)? })
}

type Case = (&'static str, [u8; KEPT], [u32; 2]);

fn frames() -> Result<Vec<Case>> {
    let ack = Segment { syn: false, ack: Some(2_001), sequence: 1_001 };
    Ok(vec![
        ("UDP IPv4, established", udp(Way::Forth, UDP_PORTS.0, UDP_PORTS.1)?, SENT),
        ("TCP IPv4, established (ACK in window)", tcp(Way::Forth, false, ack)?, SENT),
        ("TCP IPv6, established (ACK in window)", tcp(Way::Forth, true, ack)?, SENT),
        ("UDP IPv4, new flow that the rules deny", udp(Way::Forth, UDP_PORTS.0, 9)?, DROPPED),
        ("ARP request for the gateway", arp_request(), SENT),
    ])
}

impl Bed {
    fn new(hook: Sink, cpu: usize) -> Result<Self> {
        let lab = Lab::new(if hook == Sink::Xdp { Path::VfwXdp } else { Path::VfwTc })?;
        let (f0, f1) = firewall(&lab)?.run(|| Ok((inspect("f0")?.index, inspect("f1")?.index)))?;
        let mut bed = Self { lab, rig: Rig::load()?, hook, f0, f1, cpu };
        bed.open_flows()?;
        Ok(bed)
    }

    /// UDP in both directions and on, and the TCP handshake.
    fn open_flows(&mut self) -> Result<()> {
        self.test_vfw()?;
        self.pass(Way::Forth, &udp(Way::Forth, UDP_PORTS.0, UDP_PORTS.1)?)?;
        self.pass(Way::Back, &udp(Way::Back, UDP_PORTS.0, UDP_PORTS.1)?)?;
        self.pass(Way::Forth, &udp(Way::Forth, UDP_PORTS.0, UDP_PORTS.1)?)?;
        for v6 in [false, true] {
            self.pass(Way::Forth, &tcp(Way::Forth, v6, Segment { syn: true, ack: None, sequence: 1_000 })?)?;
            self.pass(Way::Back, &tcp(Way::Back, v6, Segment { syn: true, ack: Some(1_001), sequence: 2_000 })?)?;
            self.pass(Way::Forth, &tcp(Way::Forth, v6, Segment { syn: false, ack: Some(2_001), sequence: 1_001 })?)?;
        }
        Ok(())
    }

    fn pass(&mut self, way: Way, frame: &[u8; KEPT]) -> Result<()> {
        let (verdict, _) = self.run(if way == Way::Forth { self.f0 } else { self.f1 }, frame, 1)?;
        if SENT.contains(&verdict) { Ok(()) } else { bail!("a packet that opens a flow got verdict {verdict}") }
    }

    fn setup(&mut self) -> Result<&mut Setup> {
        match self.lab.vfw() {
            Some(in_force) => Ok(in_force),
            None => bail!("no vfw is in force"),
        }
    }

    fn test_vfw(&mut self) -> Result<()> {
        let name = if self.hook == Sink::Xdp { "vfw_xdp" } else { "vfw_tc" };
        let program = descriptor(self.setup()?, name)?;
        self.rig.set_tested(self.hook, Some(&program))
    }

    fn run(&mut self, ifindex: u32, frame: &[u8; KEPT], repeat: u32) -> Result<(u32, f64)> {
        let (rig, hook) = (&mut self.rig, self.hook);
        let result = firewall(&self.lab)?.run_on(self.cpu, || rig.again(hook, ifindex, frame, repeat))?;
        Ok((result.return_value, result.duration.as_nanos() as f64))
    }

    /// Nanoseconds of one run, the wrapper taken off.
    fn net(&mut self, packet: &str, frame: &[u8; KEPT], verdicts: [u32; 2], repeat: u32) -> Result<f64> {
        self.rig.set_tested(self.hook, None)?;
        let (_, nothing) = self.run(self.f0, frame, repeat)?;
        self.test_vfw()?;
        let (verdict, nanos) = self.run(self.f0, frame, repeat)?;
        let wanted = verdicts[usize::from(self.hook == Sink::Tc)];
        if verdict != wanted {
            bail!("{packet}: the verdict is {verdict}, not {wanted}");
        }
        Ok((nanos - nothing).max(0.0))
    }
}

fn firewall(lab: &Lab) -> Result<&Place> {
    lab.topology.firewall.as_ref().ok_or_else(|| anyhow!("the lab has no firewall"))
}

fn descriptor(setup: &mut Setup, name: &str) -> Result<ProgramFd> {
    let fd = match setup.kernel.ebpf_mut().program(name) {
        Some(Program::Xdp(program)) => program.fd()?,
        Some(Program::SchedClassifier(program)) => program.fd()?,
        _ => bail!("the object has no {name}"),
    };
    Ok(fd.try_clone()?)
}

fn sizes(setup: &mut Setup) -> Result<Vec<Size>> {
    let known = setup.kernel.programs()?;
    let ebpf = setup.kernel.ebpf_mut();
    known
        .into_iter()
        .map(|known| {
            let program = ebpf.program(known.name).ok_or_else(|| anyhow!("the object has no {}", known.name))?;
            Ok(Size {
                program: known.name,
                verified_instructions: known.verified_instructions,
                translated_bytes: program.info()?.size_translated().unwrap_or(0),
                machine_bytes: known.machine_bytes,
            })
        })
        .collect()
}

/// The figures as tables, at most 80 columns wide.
pub fn text(programs: &Programs) -> String {
    let mut text = String::from("PROGRAMS: ns per run (BPF_PROG_TEST_RUN, less an empty program)\n\n");
    let _ = writeln!(text, "  {:<42}{:>10}{:>10}", "packet", "xdp", "tc");
    for run in &programs.runs {
        let _ = writeln!(text, "  {:<42}{:>10.0}{:>10.0}", run.packet, run.xdp_ns, run.tc_ns);
    }
    let _ = writeln!(text, "\n  {:<24}{:>16}{:>16}{:>16}", "program", "verified insns", "eBPF bytes", "machine bytes");
    for size in &programs.sizes {
        let _ = writeln!(
            text,
            "  {:<24}{:>16}{:>16}{:>16}",
            size.program, size.verified_instructions, size.translated_bytes, size.machine_bytes
        );
    }
    text
}
