//! Offloads, and what each means for the hook.

use super::{Check, Run, afford, may_flap, peer_command};
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, InterfaceFacts};
use crate::doctor::finding::{Remedy, Verdict};
use crate::interface::{Feature, Hook};

pub(super) const CHECKS: [Check; 6] = [
    Check {
        name: "checksums",
        asks: "Who finishes checksums that a sender left to hardware?",
        why: "A veth or a guest's NIC hands over frames whose checksum is not finished. The mark of that is lost when XDP redirects \
              them, so the program finishes TCP and UDP itself; measured: without that TCP does not connect.",
        source: "measured over veth on Linux 6.18; README.md",
        run: Run::Interface(checksums),
    },
    Check {
        name: "lro",
        asks: "Does the hardware merge received segments for good (LRO)?",
        why: "What LRO has merged cannot be cut again as it was: a router must not have it, and drivers refuse XDP with it.",
        source: "Documentation/networking/device_drivers/ethernet/intel/ixgbe.rst (LRO and routing); mlx5 en_main.c",
        run: Run::Interface(lro),
    },
    Check {
        name: "gro-hw",
        asks: "Does the hardware merge received segments (GRO_HW)?",
        why: "tc can do with it; with XDP the driver turns it off or refuses the program.",
        source: "mlx5 en_main.c (mlx5e_xdp_allowed), bnxt_xdp.c",
        run: Run::Interface(gro_hw),
    },
    Check {
        name: "gro",
        asks: "Does the stack merge received segments before tc?",
        why: "With tc each frame is one decision; merged, 64 KB are one.",
        source: "measured: 12 to 16 Gb/s with 64 KB super-packets through tc, some 3 without",
        run: Run::Interface(gro),
    },
    Check {
        name: "segmentation",
        asks: "Can super-packets leave whole?",
        why: "tc forwards super-packets. Without TSO, GSO or scatter-gather at the egress the kernel cuts them and finishes their \
              checksums in software.",
        source: "Documentation/networking/segmentation-offloads.rst",
        run: Run::Interface(segmentation),
    },
    Check {
        name: "steering",
        asks: "Are received frames spread over the queues?",
        why: "Without a hash over addresses and ports all frames come in through one queue; filters (ntuple) go before the hash.",
        source: "Documentation/networking/scaling.rst",
        run: Run::Interface(steering),
    },
];

fn checksums(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if !one.interface.may_carry_partial_checksum() {
        return Vec::new();
    }
    match one.hook() {
        Some(Hook::Xdp) => {
            let peer = one.peer.as_ref().map_or("PEER", |peer| &peer.name);
            let off = peer_command(one, &format!("ethtool -K {peer} tx off")).but("costs the sender CPU time");
            let text = "the program finishes checksums that senders leave to hardware for TCP and UDP; senders of SCTP, or of tunnels \
                        with inner offload, have to finish theirs";
            // Who sends through a guest's NIC is not known here.
            vec![Verdict::note(text).mends(one.interface.is_veth().then_some(off))]
        }
        Some(Hook::Tc) => vec![Verdict::ok("checksums that senders leave to hardware stay with the frame")],
        None => Vec::new(),
    }
}

fn lro(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let state = one.offload("rx-lro");
    if !state.is_on() {
        return vec![Verdict::ok("the hardware does not merge received segments for good (LRO)")];
    }
    let off = Change::offload(one.name(), "rx-lro", false);
    let remedy = match state {
        Feature::FixedOn => Remedy::here(off.command()).but("the driver says that this cannot be changed"),
        _ if may_flap(one) => afford(one, Remedy::here(off.command())),
        _ => Remedy::safe(off),
    };
    vec![Verdict::error("LRO merges received segments for good: they are too large to be forwarded").mend(remedy)]
}

fn gro_hw(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let state = one.offload("rx-gro-hw");
    // On virtio-net the same switch means that the host merges; see the check of the device.
    if !state.is_on() || one.hook() != Some(Hook::Xdp) || one.driver() == "virtio_net" {
        return Vec::new();
    }
    let off = Remedy::here(Change::offload(one.name(), "rx-gro-hw", false).command());
    vec![
        Verdict::warning("the hardware merges received segments (GRO_HW): drivers refuse XDP with it")
            .mend(afford(one, off)),
    ]
}

fn gro(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if one.hook() != Some(Hook::Tc) || one.interface.is_virtual() {
        return Vec::new();
    }
    vec![match one.offload("rx-gro") {
        Feature::On | Feature::FixedOn => {
            Verdict::ok("the stack merges received segments: one decision for up to 64 KB")
        }
        _ => Verdict::warning("the stack does not merge received segments: one decision for each frame")
            .mend(Remedy::safe(Change::offload(one.name(), "rx-gro", true))),
    }]
}

/// Offloads that let super-packets leave whole.
const WHOLE: [&str; 4] =
    ["tx-scatter-gather", "tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-generic-segmentation"];

fn segmentation(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if one.hook() != Some(Hook::Tc) {
        return Vec::new();
    }
    let off: Vec<&'static str> = WHOLE.into_iter().filter(|name| one.offload(name) == Feature::Off).collect();
    if off.is_empty() {
        return vec![Verdict::ok("super-packets leave as whole as the driver can take them")];
    }
    let on = off.iter().map(|feature| Remedy::safe(Change::offload(one.name(), feature, true)));
    vec![Verdict::warning(format!("super-packets are cut in software: {} off", off.join(", "))).mends(on)]
}

fn steering(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let queues = one.queues.map_or(1, |counts| counts.receive);
    if queues < 2 || one.interface.is_veth() {
        return Vec::new();
    }
    let (hashes, filters) = (one.offload("rx-hashing"), one.offload("rx-ntuple-filter"));
    let mut found = Vec::new();
    if hashes == Feature::Off {
        let on = Remedy::here(Change::offload(one.name(), "rx-hashing", true).command());
        found.push(Verdict::note("the NIC does not hash what it receives (rxhash off)").mend(afford(one, on)));
    }
    if filters.is_on() {
        let list = Remedy::here(format!("ethtool -n {}   # lists them", one.name()));
        found.push(
            Verdict::note("filters (ntuple) may send frames to one queue, before the hash spreads them").mend(list),
        );
    }
    if found.is_empty() { vec![Verdict::ok(format!("{queues} queues share what comes in"))] } else { found }
}
