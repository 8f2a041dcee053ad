//! VLAN tags: does each one arrive, and does vfw see it?

use super::{Check, Run};
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, InterfaceFacts, Platform};
use crate::doctor::finding::{Place, Remedy, Verdict};
use crate::doctor::host::{NicChange, Proxmox, in_esxi, in_qemu};
use crate::interface::{Feature, Hook};

pub(super) const CHECKS: [Check; 3] = [
    Check {
        name: "vlan-strip",
        asks: "Does the NIC take the tag out before XDP sees the frame?",
        why: "vmxnet3 with `rxvlan on` and native XDP forwarded a frame of VLAN 100 untagged. vfw turns it off when it takes the \
              interface; whoever turns it on again opens a leak between VLANs.",
        source: "measured with vmxnet3 on Linux 6.12; cli/src/interface/offload.rs",
        run: Run::Interface(strip),
    },
    Check {
        name: "vlan-filter",
        asks: "Does the NIC drop VLANs that the kernel has not told it?",
        why: "vfw's VLANs are not devices of the kernel, so a NIC that filters by VLAN does not know them. It lets them through while \
              it takes frames for any address: vfw sees to that when it takes the interface.",
        source: "measured: QEMU's virtio-net without vhost dropped VLAN 10 until `promisc on`; ixgbe_set_rx_mode",
        run: Run::Interface(filter),
    },
    Check {
        name: "vlan-trunk",
        asks: "Does the host's switch let the VLANs through to this guest?",
        why: "Inferred: a guest cannot see it. Without a trunk only untagged frames arrive.",
        source: "libvirt formatdomain (vlan trunk); `man qm` (trunks); VMware, VLAN 4095",
        run: Run::Interface(trunk),
    },
];

fn strip(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let strips = one.offload("rx-vlan-hw-parse");
    if one.interface.is_veth() || one.hook() != Some(Hook::Xdp) || !strips.is_on() {
        return Vec::new();
    }
    let is_attached = one.programs.xdp.iter().any(|(_, program)| program.own);
    vec![match strips {
        Feature::On if is_attached => {
            Verdict::error("the NIC takes VLAN tags out before XDP: tagged frames pass as untagged ones")
                .mend(Remedy::safe(Change::offload(one.name(), "rx-vlan-hw-parse", false)))
        }
        Feature::On => Verdict::ok("the NIC takes VLAN tags out now; vfw turns that off when it takes the interface"),
        _ => Verdict::error("the NIC takes VLAN tags out before XDP, and cannot be told not to")
            .mend(Remedy::new(Place::Settings, format!("[interface.{}]\nmode = \"tc\"", one.name()))),
    }]
}

fn filter(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let filters = one.offload("rx-vlan-filter");
    if !one.is_tagged() || !filters.is_on() {
        return Vec::new();
    }
    if one.link.promiscuous {
        return vec![Verdict::ok("the NIC filters VLANs, but not while it takes frames for any address, as it does")];
    }
    if one.running.is_none() {
        return vec![Verdict::ok(
            "the NIC filters VLANs; vfw has it take frames for any address when it takes the interface",
        )];
    }
    let change = Change::Promiscuous { interface: one.name().to_owned(), on: true };
    let text = "the NIC filters VLANs and was not told of vfw's: their frames are dropped unless it takes those for any address";
    vec![Verdict::error(text).mend(Remedy::safe(change))]
}

fn trunk(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let tags: Vec<u16> = one.zones.iter().filter_map(|zone| zone.vlan).collect();
    if tags.is_empty() || !matches!(facts.machine.platform, Platform::Qemu | Platform::Vmware) {
        return Vec::new();
    }
    let list = |separator: &str| tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator);
    let lines: Vec<String> = tags.iter().map(|tag| format!("    <tag id='{tag}'/>")).collect();
    let trunk = NicChange {
        libvirt: format!("  <vlan trunk='yes'>\n{}\n  </vlan>", lines.join("\n")),
        proxmox: Proxmox::Options(format!(",trunks={}", list(";"))),
        qemu: format!("for vid in {}; do bridge vlan add dev TAP vid $vid; done", list(" ")),
    };
    let esxi = "esxcli network vswitch standard portgroup set -p PORTGROUP -v 4095";
    let verdict = Verdict::note(format!("the host's switch has to let VLAN {} through to this guest", list(", ")));
    vec![verdict.mends(in_qemu(&facts.machine, one, &trunk)).mends(in_esxi(&facts.machine, esxi))]
}
