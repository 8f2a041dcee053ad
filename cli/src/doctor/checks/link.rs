//! The link and what the kernel's own stack does with it.

use super::{Check, Run, afford, newer_kernel, peer_command};
use crate::doctor::change::Change;
use crate::doctor::facts::{Facts, InterfaceFacts, Platform};
use crate::doctor::finding::{Place, Remedy, Verdict};
use crate::doctor::host::{NicChange, Proxmox, in_esxi, in_qemu};
use crate::interface::{self, Hook, InterfaceError, runs_native_xdp};

pub(super) const CHECKS: [Check; 7] = [
    Check {
        name: "link",
        asks: "Is the link up?",
        why: "What is to leave by a link that is down is dropped as `interface-down`.",
        source: "docs/show.md",
        run: Run::Interface(link),
    },
    Check {
        name: "own",
        asks: "May vfw take the interface?",
        why: "vfw refuses one on which the kernel has addresses, and a port of a bridge or bond.",
        source: "cli/src/interface/prepare.rs",
        run: Run::Interface(own),
    },
    Check {
        name: "mtu",
        asks: "Do the zones' interfaces have one MTU?",
        why: "A packet that is larger than the egress MTU is never fragmented: its sender is told by ICMP, once for each \
              destination, and some senders do not listen.",
        source: "README.md; RFC 4821",
        run: Run::Interface(mtu),
    },
    Check {
        name: "forwarding",
        asks: "Would the kernel forward by itself?",
        why: "While vfw does not run, or after `vfw stop`, the kernel's stack has the interface; with forwarding on it passes packets \
              that no rule has seen.",
        source: "README.md; Documentation/networking/ip-sysctl.rst",
        run: Run::Interface(forwarding),
    },
    Check {
        name: "rp-filter",
        asks: "Is rp_filter set?",
        why: "It judges what the kernel's stack receives; what vfw forwards never gets there. vfw drops a source whose route leads \
              to another zone by itself (`spoofed-source`).",
        source: "net/ipv4/fib_frontend.c (fib_validate_source)",
        run: Run::Interface(rp_filter),
    },
    Check {
        name: "nic-model",
        asks: "Does a guest have the NIC model that is fastest?",
        why: "Emulated NICs (e1000, rtl8139 ...) take an exit to the host for each packet and have no native XDP; vmxnet3 has it since \
              Linux 6.6.",
        source: "measured: virtio-net and vmxnet3 run native XDP in QEMU, e1000e does not",
        run: Run::Interface(nic_model),
    },
    Check {
        name: "sr-iov",
        asks: "Do virtual functions stand in the way of XDP?",
        why: "ixgbe refuses an XDP program on a port whose virtual functions are in use.",
        source: "drivers/net/ethernet/intel/ixgbe/ixgbe_main.c (ixgbe_xdp_setup)",
        run: Run::Interface(sr_iov),
    },
];

fn link(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let name = one.name();
    vec![match (one.interface.up, one.interface.carrier) {
        (true, true) => Verdict::ok("the link is up"),
        (true, false) => Verdict::warning("the link has no carrier: a cable, a switch port or the other end is down"),
        (false, _) if one.is_owned() && !facts.vfw_runs => {
            Verdict::ok("the link is down; vfw sets it up when it starts")
        }
        (false, _) if one.is_owned() => {
            Verdict::warning("the link is set down").mend(Remedy::here(format!("ip link set dev {name} up")))
        }
        (false, _) => Verdict::note("the link is set down"),
    }]
}

fn own(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if !one.is_owned() {
        return Vec::new();
    }
    let refusals = [interface::refuse_addresses(&one.interface), interface::refuse_controller(&one.interface)];
    let refused: Vec<Verdict> =
        refusals.into_iter().filter_map(Result::err).map(|error| refusal(one, &error)).collect();
    if refused.is_empty() { vec![Verdict::ok("vfw may take it")] } else { refused }
}

fn refusal(one: &InterfaceFacts, error: &InterfaceError) -> Verdict {
    let name = one.name();
    let remedy = match error {
        InterfaceError::Controlled { .. } => Remedy::here(format!("ip link set dev {name} nomaster")),
        _ => Remedy::here(format!("ip address flush dev {name}")).but("cuts off who is logged in by one of them"),
    };
    Verdict::error(error.to_string()).mend(remedy)
}

fn mtu(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let (name, mtu) = (one.name(), one.interface.mtu);
    let mut found = Vec::new();
    let others = facts.interfaces.iter().filter(|other| one.is_owned() && other.is_owned());
    if let Some(largest) = others.max_by_key(|other| other.interface.mtu).filter(|other| other.interface.mtu > mtu) {
        let (other, most) = (largest.name(), largest.interface.mtu);
        let larger = Remedy::here(format!("ip link set dev {name} mtu {most}"));
        found.push(
            Verdict::warning(format!(
                "packets of {other} (MTU {most}) above {mtu} bytes do not fit, and are refused by ICMP"
            ))
            .mend(afford(one, larger))
            .mend(afford(largest, Remedy::here(format!("ip link set dev {other} mtu {mtu}")))),
        );
    }
    if let Some(peer) = one.peer.as_ref().filter(|peer| peer.mtu != mtu) {
        found.push(
            Verdict::warning(format!("the other end, {}, has an MTU of {} and this one of {mtu}", peer.name, peer.mtu))
                .mend(peer_command(one, &format!("ip link set dev {} mtu {mtu}", peer.name))),
        );
    }
    if found.is_empty() {
        vec![Verdict::ok(format!("the MTU is {mtu}, and nothing larger comes in elsewhere"))]
    } else {
        found
    }
}

fn forwarding(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if !one.is_owned() {
        return Vec::new();
    }
    let families = [("ipv4", one.settings.forwarding_v4), ("ipv6", one.settings.forwarding_v6)];
    let on: Vec<&str> = families.into_iter().filter(|(_, on)| *on).map(|(family, _)| family).collect();
    if on.is_empty() {
        return vec![Verdict::ok("the kernel does not forward what comes in here")];
    }
    let text = format!("while no program of vfw hangs here, the kernel forwards ({}) past all rules", on.join(", "));
    let off = on.iter().map(|family| Change::sysctl(&format!("net/{family}/conf/{}/forwarding", one.name()), "0"));
    vec![Verdict::warning(text).mends(off.map(Remedy::safe))]
}

fn rp_filter(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    if !one.is_owned() || one.settings.rp_filter == 0 {
        return Vec::new();
    }
    vec![Verdict::note("rp_filter is on and does nothing here: what vfw forwards never comes to the kernel's stack")]
}

/// Models that are emulated register by register.
const EMULATED: [&str; 6] = ["e1000", "e1000e", "8139cp", "8139too", "pcnet32", "ne2k-pci"];

fn nic_model(facts: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let (machine, driver) = (&facts.machine, one.driver());
    let is_guest = matches!(machine.platform, Platform::Qemu | Platform::Vmware);
    if driver == "vmxnet3" && !runs_native_xdp(&one.interface) {
        return vec![
            Verdict::note("vmxnet3 runs native XDP since Linux 6.6, and this kernel has none for it")
                .mend(newer_kernel()),
        ];
    }
    if !is_guest || !EMULATED.contains(&driver) {
        return Vec::new();
    }
    let model = NicChange {
        libvirt: "  <model type='virtio'/>".to_owned(),
        proxmox: Proxmox::Options(String::new()),
        qemu: "-device virtio-net-pci,netdev=N,mac=MAC".to_owned(),
    };
    let verdict = Verdict::warning(format!(
        "the NIC model behind the driver `{driver}` is emulated: slow, and without native XDP"
    ));
    let esxi = in_esxi(machine, "ethernetN.virtualDev = \"vmxnet3\"   # in the .vmx file, guest off");
    vec![verdict.mends(in_qemu(machine, one, &model)).mends(esxi)]
}

fn sr_iov(_: &Facts, one: &InterfaceFacts) -> Vec<Verdict> {
    let (name, count) = (one.name(), one.virtual_functions);
    if count == 0 || one.driver() != "ixgbe" || one.hook() != Some(Hook::Xdp) {
        return Vec::new();
    }
    vec![
        Verdict::error(format!("{count} virtual functions are in use: ixgbe refuses XDP programs"))
            .mend(Remedy::new(Place::Settings, format!("[interface.{name}]\nmode = \"tc\"")))
            .mend(
                Remedy::here(format!("echo 0 > /sys/class/net/{name}/device/sriov_numvfs"))
                    .but("takes the virtual functions from the guests that have them"),
            ),
    ]
}
