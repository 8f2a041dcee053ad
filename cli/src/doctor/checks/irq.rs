//! Interrupts and polling.

use std::collections::BTreeSet;

use super::{Check, Run};
use crate::config::Mode;
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, InterfaceFacts, Irq};
use crate::doctor::finding::{Remedy, Verdict};

pub(super) const CHECKS: [Check; 2] = [
    Check {
        name: "irq",
        asks: "Do the queues' interrupts arrive at different CPUs?",
        why: "The CPU that gets the interrupt forwards the frames: two queues on one CPU are as slow as one.",
        source: "Documentation/core-api/irq/irq-affinity.rst",
        run: Run::Interface(interrupts),
    },
    Check {
        name: "napi",
        asks: "Is receipt delayed, or moved to threads?",
        why: "`gro_flush_timeout` with `napi_defer_hard_irqs` keeps interrupts off while a program polls; where none does, \
              frames wait for the timer. Threads (`threaded`) can be placed and given priority, and cost a switch.",
        source: "Documentation/networking/napi.rst",
        run: Run::Interface(napi),
    },
];

fn interrupts(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let receiving = receiving(one);
    if open(facts).count() < 2 || receiving.is_empty() {
        return Vec::new();
    }
    if let [irq] = receiving[..] {
        return shared(facts, one, irq).into_iter().collect();
    }
    let places: BTreeSet<&str> = receiving.iter().map(|irq| irq.cpus.as_str()).collect();
    let count = receiving.len();
    if places.len() > 1 {
        return vec![Verdict::ok(format!(
            "the interrupts of {count} queues arrive at {} CPUs or sets of CPUs",
            places.len()
        ))];
    }
    let at = places.first().copied().unwrap_or_default();
    if at.parse::<u32>().is_err() {
        return vec![Verdict::note(format!("the interrupts of {count} queues may arrive at any of the CPUs {at}"))];
    }
    let spread = open(facts).cycle().zip(&receiving).map(|(cpu, irq)| {
        let file = format!("/proc/irq/{}/smp_affinity_list", irq.number);
        Remedy::safe(Change::Setting { file, value: cpu.to_string() })
    });
    vec![Verdict::warning(format!("the interrupts of {count} queues all arrive at CPU {at}")).mends(spread)]
}

/// CPUs that may be given work.
fn open(facts: &Facts) -> impl Iterator<Item = u32> + Clone {
    (0..facts.machine.cpus).filter(|cpu| !facts.machine.isolated.contains(cpu))
}

/// Interrupts of received frames, of the queues that are in use. While the link is down none is: drivers spread them later.
fn receiving(one: &InterfaceFacts) -> Vec<&Irq> {
    let count = one.queues.map_or(one.irqs.len(), |counts| counts.receive as usize);
    let receiving = one.irqs.iter().filter(|irq| !irq.name.contains("output") && !irq.name.contains("-tx-"));
    receiving.take(if one.interface.up { count } else { 0 }).collect()
}

/// Whether an interface with one queue shares its CPU with one that is told before it.
fn shared(facts: &Facts, one: &InterfaceFacts, irq: &Irq) -> Option<Verdict> {
    let before = facts.interfaces.iter().take_while(|other| other.name() != one.name());
    let taken: Vec<(&str, u32)> = before.filter_map(|other| Some((other.name(), only_cpu(other)?))).collect();
    let cpu = only_cpu(one)?;
    let (other, _) = taken.iter().find(|(_, taken)| *taken == cpu)?;
    let free = open(facts).find(|cpu| taken.iter().all(|(_, taken)| taken != cpu))?;
    let file = format!("/proc/irq/{}/smp_affinity_list", irq.number);
    let text = format!("the interrupts of {other} and of {} arrive at CPU {cpu}, and CPU {free} has none", one.name());
    Some(Verdict::warning(text).mend(Remedy::safe(Change::Setting { file, value: free.to_string() })))
}

/// The CPU at which the only receiving interrupt of an interface arrives.
fn only_cpu(one: &InterfaceFacts) -> Option<u32> {
    match receiving(one)[..] {
        [irq] => irq.cpus.parse().ok(),
        _ => None,
    }
}

fn napi(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let Some(napi) = one.napi else { return Vec::new() };
    let (name, mut found) = (one.name(), Vec::new());
    let micros = napi.flush_timeout / 1000;
    if napi.flush_timeout > 0 && napi.defer_hard_irqs > 0 && one.mode != Mode::Afxdp {
        found.push(
            Verdict::warning(format!(
                "frames may wait up to {micros} us for a timer: interrupts are held back, and vfw does not poll"
            ))
            .mend(Remedy::here(format!("echo 0 > /sys/class/net/{name}/napi_defer_hard_irqs")))
            .mend(Remedy::here(format!("echo 0 > /sys/class/net/{name}/gro_flush_timeout"))),
        );
    }
    if napi.threaded {
        found.push(Verdict::note(format!(
            "threads poll the queues: place them with `taskset` (ps -eLo pid,comm | grep napi/{name})"
        )));
    }
    if found.is_empty() {
        vec![Verdict::ok("frames are received in the interrupt's wake, without a timer")]
    } else {
        found
    }
}
