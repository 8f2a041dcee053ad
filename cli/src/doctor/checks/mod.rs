//! The checks: each looks at the facts and says what it finds. None of them asks the system.

mod hook;
mod irq;
mod kernel;
mod link;
mod machine;
mod offload;
mod queue;
mod virtio;
mod vlan;

use super::facts::{Facts, InterfaceFacts};
use super::finding::{Finding, Place, Remedy, Verdict};

pub(super) use virtio::{lacks_platform_access, refuses_xdp};

/// A check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name, by which findings and `docs/doctor.md` call it.
    pub name: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// Why the answer matters.
    pub why: &'static str,
    /// Where that is known from.
    pub source: &'static str,
    run: Run,
}

/// What a check looks at. A check that has nothing to say is not applicable.
#[derive(Debug, Clone, Copy)]
enum Run {
    /// The machine, once.
    Machine(fn(&Facts) -> Vec<Verdict>),
    /// Each interface.
    Interface(fn(&Facts, &InterfaceFacts) -> Vec<Verdict>),
}

/// All checks, in the order in which they are told.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let machine = kernel::CHECKS.iter().chain(&machine::CHECKS);
    let interface = hook::CHECKS.iter().chain(&link::CHECKS).chain(&vlan::CHECKS).chain(&offload::CHECKS);
    machine.chain(interface).chain(&virtio::CHECKS).chain(&queue::CHECKS).chain(&irq::CHECKS)
}

/// What all checks find: the machine first, then each interface.
pub fn find(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in all() {
        if let Run::Machine(run) = check.run {
            findings.extend(run(facts).into_iter().map(|verdict| Finding::new(check.name, None, verdict)));
        }
    }
    for interface in &facts.interfaces {
        let name = Some(interface.name());
        for check in all() {
            if let Run::Interface(run) = check.run {
                let verdicts = run(facts, interface).into_iter();
                findings.extend(verdicts.map(|verdict| Finding::new(check.name, name, verdict)));
            }
        }
    }
    findings
}

/// A kernel that has more.
fn newer_kernel() -> Remedy {
    let command = "apt install -t bookworm-backports linux-image-cloud-amd64";
    Remedy::here(command).but("on Debian 12; or a newer release")
}

/// A command for the other end of a veth pair; its namespace is named if it has a name.
fn peer_command(interface: &InterfaceFacts, command: &str) -> Remedy {
    match interface.peer.as_ref().map(|peer| &peer.namespace) {
        Some(None) => Remedy::here(command),
        Some(Some(namespace)) => Remedy::new(Place::Peer, format!("ip netns exec {namespace} {command}")),
        None => Remedy::new(Place::Peer, command),
    }
}

/// Drivers that change offloads, queues and MTU without taking their link down.
const STEADY: [&str; 4] = ["veth", "virtio_net", "vmxnet3", "tun"];

/// Whether the link may go down for a moment when the driver is told to change its offloads, queues or MTU.
fn may_flap(interface: &InterfaceFacts) -> bool {
    !STEADY.contains(&interface.driver())
}

/// Says that the link may go down for a moment, where it may.
fn afford(interface: &InterfaceFacts, remedy: Remedy) -> Remedy {
    if may_flap(interface) { remedy.but("the link may go down for a moment") } else { remedy }
}

#[cfg(test)]
mod tests;
