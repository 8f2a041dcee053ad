//! virtio-net: what the host has agreed to.

use super::{Check, Run};
use crate::config::Mode;
use crate::doctor::facts::{Facts, InterfaceFacts};
use crate::doctor::finding::Verdict;
use crate::doctor::host::{NicChange, Proxmox, in_qemu};
use crate::interface::Hook;

// Feature bits of virtio, chapter 5.1.3 of its specification.
const GUEST_CSUM: u32 = 1;
const CTRL_GUEST_OFFLOADS: u32 = 2;
const GUEST_TSO4: u32 = 7;
const GUEST_TSO6: u32 = 8;
const GUEST_ECN: u32 = 9;
const GUEST_UFO: u32 = 10;
const MRG_RXBUF: u32 = 15;
const ACCESS_PLATFORM: u32 = 33;
const GUEST_USO4: u32 = 54;
const GUEST_USO6: u32 = 55;

pub(super) const CHECKS: [Check; 2] = [
    Check {
        name: "virtio-offloads",
        asks: "Can the guest turn off what the host does to received frames?",
        why: "The driver refuses XDP while the host merges segments or leaves checksums unfinished, unless it may turn that off \
              (`ctrl_guest_offloads`).",
        source: "drivers/net/virtio_net.c (virtnet_xdp_set); measured in QEMU",
        run: Run::Interface(offloads),
    },
    Check {
        name: "virtio-buffers",
        asks: "Are receive buffers merged (`mrg_rxbuf`)?",
        why: "With `mrg_rxbuf=off` and the guest's TSO on, attaching an XDP program succeeds and it never sees a frame.",
        source: "measured in QEMU with Linux 6.1 and 6.12",
        run: Run::Interface(buffers),
    },
];

fn has(bits: u64, bit: u32) -> bool {
    bits & 1 << bit != 0
}

/// Whether the host may hand super-packets to the guest.
fn has_guest_segmentation(bits: u64) -> bool {
    [GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, GUEST_USO4, GUEST_USO6].into_iter().any(|bit| has(bits, bit))
}

/// Why the driver would refuse an XDP program, or never show it a frame; nothing for other drivers.
pub(in crate::doctor) fn refuses_xdp(one: &InterfaceFacts) -> Option<&'static str> {
    let bits = one.virtio?;
    if is_lacking_offload_control(bits) {
        return Some("the host merges segments or leaves checksums unfinished, and the guest may not turn that off");
    }
    if !has(bits, MRG_RXBUF) && has_guest_segmentation(bits) {
        return Some(
            "receive buffers are not merged (mrg_rxbuf=off) while the guest's TSO is on: XDP would see no frame",
        );
    }
    None
}

/// Whether a virtio device does without the kernel's ways to memory, which zero-copy needs (measured in QEMU with Linux 7.3: the
/// socket is refused without).
pub(in crate::doctor) fn lacks_platform_access(one: &InterfaceFacts) -> bool {
    one.virtio.is_some_and(|bits| !has(bits, ACCESS_PLATFORM))
}

/// Whether the host does what the guest can neither bear with XDP nor turn off.
fn is_lacking_offload_control(bits: u64) -> bool {
    !has(bits, CTRL_GUEST_OFFLOADS) && (has_guest_segmentation(bits) || has(bits, GUEST_CSUM))
}

fn offloads(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let Some(bits) = one.virtio else { return Vec::new() };
    if !is_lacking_offload_control(bits) {
        return vec![Verdict::ok("the guest can turn off what the host does to received frames")];
    }
    let change = NicChange {
        libvirt:
            "  <driver name='vhost'>\n    <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>\n  </driver>"
                .to_owned(),
        proxmox: Proxmox::Arguments("-global virtio-net-pci.ctrl_guest_offloads=on".to_owned()),
        qemu: "-device virtio-net-pci,netdev=N,mac=MAC,ctrl_guest_offloads=on".to_owned(),
    };
    let text = "the host merges segments or leaves checksums unfinished, and the guest may not turn that off: the driver refuses XDP";
    vec![judge(one, text, "tc can do with it").mends(in_qemu(&facts.machine, one, &change))]
}

fn buffers(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let Some(bits) = one.virtio else { return Vec::new() };
    if has(bits, MRG_RXBUF) {
        return vec![Verdict::ok("receive buffers are merged")];
    }
    if !has_guest_segmentation(bits) {
        return vec![Verdict::ok("receive buffers are not merged, and need not be: the guest's TSO is off")];
    }
    let change = NicChange {
        libvirt: "  <driver name='vhost'>\n    <host mrg_rxbuf='on'/>\n  </driver>".to_owned(),
        proxmox: Proxmox::Arguments("-global virtio-net-pci.mrg_rxbuf=on".to_owned()),
        qemu: "-device virtio-net-pci,netdev=N,mac=MAC,mrg_rxbuf=on".to_owned(),
    };
    let text = "receive buffers are not merged (mrg_rxbuf=off) and the guest's TSO is on: an XDP program sees no frame";
    vec![judge(one, text, "tc sees all").mends(in_qemu(&facts.machine, one, &change))]
}

/// An error where XDP is in use or ordered, else a note.
fn judge(one: &InterfaceFacts, text: &str, otherwise: &str) -> Verdict {
    if one.hook() == Some(Hook::Xdp) || matches!(one.mode, Mode::Xdp | Mode::Afxdp) {
        Verdict::error(text)
    } else {
        Verdict::note(format!("{text}; {otherwise}"))
    }
}
