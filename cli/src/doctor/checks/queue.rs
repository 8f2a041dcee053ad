//! Queues and rings.

use super::{Check, Run, afford, refuses_xdp};
use crate::doctor::facts::{Facts, InterfaceFacts, Machine};
use crate::doctor::finding::{Remedy, Verdict};
use crate::doctor::host::{NicChange, Proxmox, in_qemu};
use crate::interface::{Counts, Hook};

pub(super) const CHECKS: [Check; 5] = [
    Check {
        name: "queues",
        asks: "Are there as many receive queues as CPUs?",
        why: "A queue is served by one CPU at a time: with fewer queues some CPUs forward nothing.",
        source: "Documentation/networking/scaling.rst",
        run: Run::Interface(queues),
    },
    Check {
        name: "queues-xdp",
        asks: "Are there queues for what XDP sends?",
        why: "Each CPU sends redirected frames by a queue of its own. Where they lack, virtio-net takes turns (measured: works, and \
              warns), mlx5 and i40e drop what CPUs without a queue send, and ena refuses the program.",
        source: "virtnet_xdp_set, mlx5e_xdp_xmit, i40e_xdp_xmit, ena_xdp_legal_queue_count",
        run: Run::Interface(queues_for_xdp),
    },
    Check {
        name: "rings",
        asks: "Is there room for a burst?",
        why: "A ring that is full while the CPU is busy loses frames; one that is very long spoils the cache.",
        source: "ethtool -g; rx_missed_errors and rx_fifo_errors of the interface",
        run: Run::Interface(rings),
    },
    Check {
        name: "losses",
        asks: "Has the interface lost frames?",
        why: "The counters are those since the interface exists: watch whether they grow.",
        source: "Documentation/networking/statistics.rst",
        run: Run::Interface(losses),
    },
    Check {
        name: "rps",
        asks: "Can other CPUs help a single queue, and do CPUs share send queues (RPS, XPS)?",
        why: "RPS hands received frames to other CPUs before tc runs. It comes too late for XDP, which has run by then. XPS gives \
              each CPU a send queue of its own, so that none waits for another's lock; many drivers set it themselves.",
        source: "Documentation/networking/scaling.rst; net/core/dev.c (netif_receive_skb_internal)",
        run: Run::Interface(rps),
    },
];

fn queues(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let (cpus, name) = (facts.machine.cpus, one.name());
    let Some(counts) = one.queues.filter(|_| !one.interface.is_veth()) else { return Vec::new() };
    let Counts { receive, most_receive, .. } = counts;
    let wanted = cpus.min(most_receive);
    let text = format!("{receive} receive queue{} for {cpus} CPU{}", plural(receive), plural(cpus));
    vec![if receive >= cpus {
        Verdict::ok(text)
    } else if receive < wanted {
        let more = Remedy::here(format!("ethtool -L {name} combined {wanted}"));
        Verdict::warning(format!("{text}, and {most_receive} could be had")).mend(afford(one, more))
    } else {
        // XDP wants more than that; see the next check.
        let more = more_queues(cpus);
        let more = if one.hook() == Some(Hook::Xdp) { Vec::new() } else { in_qemu(&facts.machine, one, &more) };
        Verdict::note(format!("{text}, and the NIC has no more")).mends(more)
    }]
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A NIC of QEMU with `count` queues: two interrupts for each, one for changes and one to spare.
fn more_queues(count: u32) -> NicChange {
    NicChange {
        libvirt: format!("  <driver name='vhost' queues='{count}'/>"),
        proxmox: Proxmox::Options(format!(",queues={count}")),
        qemu: format!(
            "-netdev tap,id=N,queues={count} -device virtio-net-pci,netdev=N,mac=MAC,mq=on,vectors={}",
            2 * count + 2
        ),
    }
}

fn queues_for_xdp(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let Some(counts) = one.queues.filter(|_| one.hook() == Some(Hook::Xdp)) else { return Vec::new() };
    match one.driver() {
        "virtio_net" if refuses_xdp(one).is_some() => Vec::new(),
        "virtio_net" => vec![spare_queues(&facts.machine, one, counts)],
        "mlx5_core" | "i40e" => vec![a_queue_for_each_cpu(&facts.machine, one, counts)],
        "ena" => vec![half_of_the_queues(one, counts)],
        _ => Vec::new(),
    }
}

fn spare_queues(machine: &Machine, one: &InterfaceFacts, counts: Counts) -> Verdict {
    let (cpus, Counts { receive, most_receive: most, .. }) = (machine.cpus, counts);
    // While a program is attached its queues are counted as in use.
    let is_attached = one.programs.xdp.iter().any(|(_, program)| program.own);
    if receive + cpus <= most || (is_attached && receive >= 2 * cpus) {
        return Verdict::ok(format!("{most} queues: {receive} to receive and one for each of {cpus} CPUs to send"));
    }
    let text = format!("{receive} of {most} queues receive, so {cpus} CPUs take turns to send what XDP redirects");
    let fewer = most.checked_sub(cpus).filter(|left| *left > 0 && !is_attached).map(|left| {
        Remedy::here(format!("ethtool -L {} combined {left}", one.name()))
            .but("before vfw starts; fewer queues receive")
    });
    Verdict::warning(text).mends(fewer).mends(in_qemu(machine, one, &more_queues(2 * cpus)))
}

fn a_queue_for_each_cpu(machine: &Machine, one: &InterfaceFacts, counts: Counts) -> Verdict {
    let (cpus, send) = (machine.cpus, counts.send);
    if send >= cpus {
        return Verdict::ok(format!("{send} queues to send, one for each of {cpus} CPUs"));
    }
    let verdict = Verdict::error(format!(
        "frames that CPUs from number {send} on redirect here are lost: the driver has no queue for them"
    ));
    if counts.most_send >= cpus {
        verdict.mend(afford(one, Remedy::here(format!("ethtool -L {} combined {cpus}", one.name()))))
    } else {
        let keep =
            format!("keep the interrupts of all interfaces on CPUs 0 to {} (check `irq`)", send.saturating_sub(1));
        verdict.mend(Remedy::here("cat /proc/interrupts").but(keep))
    }
}

fn half_of_the_queues(one: &InterfaceFacts, counts: Counts) -> Verdict {
    let Counts { receive, most_receive: most, .. } = counts;
    if 2 * receive <= most {
        return Verdict::ok(format!("{receive} of {most} queues receive, as many are left for XDP"));
    }
    let half = Remedy::here(format!("ethtool -L {} combined {}", one.name(), (most / 2).max(1)));
    Verdict::error(format!("ena refuses XDP while more than half of its {most} queues receive")).mend(afford(one, half))
}

/// Slots that hold a burst and stay in the cache.
const GOOD_RING: u32 = 1024;
/// Slots above which a ring is of no use.
const LONG_RING: u32 = 4096;

fn rings(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let Some(Counts { receive, most_receive: most, .. }) = one.rings.filter(|counts| counts.most_receive > 0) else {
        return Vec::new();
    };
    let lost = one.link.losses.no_room;
    let longer = most.min(LONG_RING);
    let remedy = || afford(one, Remedy::here(format!("ethtool -G {} rx {longer}", one.name())));
    vec![if lost > 0 && receive < longer {
        Verdict::warning(format!(
            "{lost} frames found no room in receive rings of {receive} slots, and {most} could be had"
        ))
        .mend(remedy())
    } else if receive < GOOD_RING.min(most) {
        Verdict::note(format!("receive rings have {receive} slots, and {most} could be had")).mend(remedy())
    } else {
        Verdict::ok(format!("receive rings have {receive} of {most} slots"))
    }]
}

fn losses(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let losses = one.link.losses;
    let told = [
        ("found no room on receipt", losses.no_room),
        ("were dropped on receipt", losses.received),
        ("were dropped before they left", losses.sent),
    ];
    let lost: Vec<String> = told
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} frames {what}"))
        .collect();
    vec![if lost.is_empty() {
        Verdict::ok("the interface has lost no frame")
    } else {
        let watch = Remedy::here(format!("ip -s -s link show dev {}   # again after a while", one.name()));
        let own = if one.hook() == Some(Hook::Xdp) { "; with XDP some drivers count what vfw drops, too" } else { "" };
        Verdict::note(format!("{} since the interface exists{own}", lost.join(", "))).mend(watch)
    }]
}

/// Whether a mask of CPUs names one.
fn is_set(mask: &str) -> bool {
    mask.bytes().any(|digit| !matches!(digit, b'0' | b','))
}

fn rps(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    spread_on_receipt(facts, one).into_iter().chain(spread_on_sending(one)).collect()
}

fn spread_on_sending(one: &InterfaceFacts) -> Option<Verdict> {
    let (name, count) = (one.name(), one.xps.len());
    if one.hook() != Some(Hook::Tc) || count < 2 || one.interface.is_veth() {
        return None;
    }
    if one.xps.iter().any(|mask| is_set(mask)) {
        return Some(Verdict::ok("XPS gives CPUs send queues of their own"));
    }
    let each = format!(
        "for q in $(seq 0 {}); do\n  printf '%x' $((1 << q)) > /sys/class/net/{name}/queues/tx-$q/xps_cpus\ndone",
        count - 1
    );
    let text = format!("{count} send queues are shared by all CPUs: XPS would give each CPU its own");
    Some(Verdict::note(text).mend(Remedy::here(each)))
}

fn spread_on_receipt(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let (cpus, name) = (facts.machine.cpus, one.name());
    let is_set = one.rps.iter().any(|mask| is_set(mask));
    match one.hook() {
        Some(Hook::Xdp) if is_set => {
            vec![Verdict::note("RPS is set, and does nothing for XDP, which has run before frames are spread")]
        }
        Some(Hook::Tc) if is_set => vec![Verdict::ok("RPS spreads what comes in over CPUs")],
        Some(Hook::Tc) if one.rps.len() == 1 && (2..=32).contains(&cpus) => {
            let mask = u32::MAX >> (32 - cpus);
            vec![
                Verdict::note(format!("one queue receives: RPS would let {cpus} CPUs share the work of tc"))
                    .mend(Remedy::here(format!("echo {mask:x} > /sys/class/net/{name}/queues/rx-0/rps_cpus"))),
            ]
        }
        _ => Vec::new(),
    }
}
