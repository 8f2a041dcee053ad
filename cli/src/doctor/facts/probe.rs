//! What the kernel can do, tried where it changes nothing: in a network namespace of its own, on its loopback.

use std::fs;
use std::thread;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sched::{CloneFlags, unshare};

use super::Ability;
use crate::backend::kernel::Kernel;
use crate::compile::{Link, compile};
use crate::config::{Bounded, Config, Flows};
use crate::interface::add_clsact;
use crate::lang::{SourceFile, load};

/// Abilities of the kernel.
pub(super) struct Abilities {
    pub(super) tcx: Ability,
    pub(super) clsact: Ability,
    pub(super) af_xdp: Ability,
}

/// Tries them. The namespace goes with the thread.
pub(super) fn abilities() -> Abilities {
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
        Ok::<_, String>(Abilities { tcx: tcx(), clsact: clsact(), af_xdp: af_xdp() })
    });
    let why = match tried.join() {
        Ok(Ok(abilities)) => return abilities,
        Ok(Err(why)) => why,
        Err(_) => "the attempt failed".to_owned(),
    };
    let unknown = || Ability::unknown(format!("not tried, no namespace to try it in: {why}"));
    Abilities { tcx: unknown(), clsact: unknown(), af_xdp: unknown() }
}

fn tcx() -> Ability {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Ability::yes("tried"),
        Err(_) => Ability::no("the kernel has none; it came with Linux 6.6"),
    }
}

fn clsact() -> Ability {
    match add_clsact("lo") {
        Ok(()) => Ability::yes("tried"),
        Err(_) => Ability::no("the kernel has no clsact qdisc (module sch_ingress)"),
    }
}

/// The protocol registers itself where it is built in.
fn af_xdp() -> Ability {
    let protocols = fs::read_to_string("/proc/thread-self/net/protocols").unwrap_or_default();
    if protocols.lines().any(|line| line.split_whitespace().next() == Some("XDP")) {
        Ability::yes("told by the kernel")
    } else {
        Ability::no("the kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)")
    }
}

/// A policy that is as small as can be: what is asked is whether the verifier takes the programs.
const SMALLEST: &str = "zone a { interface a address 10.0.0.1/24 }\ndefault drop\n";

/// Whether the kernel takes vfw's programs. They are loaded, attached to nothing, and go.
pub fn try_programs() -> Ability {
    match load_programs() {
        Ok(instructions) => Ability::yes(format!("loaded to try: the verifier followed {instructions} instructions")),
        // What follows is the verifier's log.
        Err(why) => Ability::no(why.lines().next().unwrap_or_default()),
    }
}

fn load_programs() -> Result<u64, String> {
    let policy = load(&[SourceFile::new("probe", SMALLEST)]).map_err(|found| found.to_string())?.policy;
    let least = || Bounded::clamped(16);
    let flows = Flows { established: least(), half_open: least(), fragments: least() };
    let config = Config { flows, ..Config::default() };
    let image = compile(&policy, &config, &Link::invent(&policy)).map_err(|error| error.to_string())?;
    let kernel = Kernel::load(&image, &config).map_err(|error| error.to_string())?;
    let programs = kernel.programs().map_err(|error| error.to_string())?;
    Ok(programs.iter().map(|program| u64::from(program.verified_instructions)).sum())
}
