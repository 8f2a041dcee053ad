//! What the one who runs the host does for a guest: a snippet or command for each manager that may be there.
//!
//! From inside, libvirt, Proxmox VE and a bare QEMU look alike, so all three are told. Names that a guest cannot know are
//! written in capitals. Sources: <https://libvirt.org/formatdomain.html#network-interfaces>, `man qm`, QEMU's
//! `-device virtio-net-pci,help`, and `VMware`'s documentation of `ethernetN` in `.vmx` files.

use super::facts::{InterfaceFacts, Machine, Platform};
use super::finding::{Place, Remedy};

/// A change of a NIC of a guest of QEMU.
pub(super) struct NicChange {
    /// Lines inside of libvirt's `<interface>`.
    pub libvirt: String,
    /// Options that Proxmox VE appends to `virtio=MAC,bridge=BRIDGE`, or arguments that it hands to QEMU.
    pub proxmox: Proxmox,
    /// Properties of QEMU's device, and of the netdev behind it.
    pub qemu: String,
}

/// How Proxmox VE makes a change.
pub(super) enum Proxmox {
    /// Options of the NIC.
    Options(String),
    /// It has no option of its own, and hands this to QEMU.
    Arguments(String),
}

/// The change for each manager that a guest of QEMU may have; none on other machines.
pub(super) fn in_qemu(machine: &Machine, facts: &InterfaceFacts, change: &NicChange) -> Vec<Remedy> {
    if machine.platform != Platform::Qemu {
        return Vec::new();
    }
    let mac = mac(facts);
    let proxmox = match &change.proxmox {
        Proxmox::Options(options) => format!("qm set VMID --netN virtio={mac},bridge=BRIDGE{options}"),
        Proxmox::Arguments(arguments) => format!("qm set VMID --args '{arguments}'"),
    };
    vec![
        Remedy::new(
            Place::Libvirt,
            format!("<interface ...>\n  <mac address='{mac}'/>\n{}\n</interface>", change.libvirt),
        ),
        Remedy::new(Place::Proxmox, proxmox),
        Remedy::new(Place::Qemu, change.qemu.replace("MAC", &mac)),
    ]
}

/// The change on an `ESXi` host; none on other machines.
pub(super) fn in_esxi(machine: &Machine, line: &str) -> Option<Remedy> {
    (machine.platform == Platform::Vmware).then(|| Remedy::new(Place::Esxi, line))
}

/// The Ethernet address of an interface, by which the host knows it.
fn mac(facts: &InterfaceFacts) -> String {
    facts.interface.mac.map(|byte| format!("{byte:02x}")).join(":")
}
