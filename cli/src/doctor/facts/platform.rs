//! What kind of machine this is, as far as it decides who can mend what.

use std::fmt;

use crate::interface::sysfs;
use serde::Serialize;

/// What kind of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Hardware.
    #[default]
    Physical,
    /// A guest of QEMU, by KVM or not: libvirt, Proxmox VE and others, which cannot be told apart from inside.
    Qemu,
    /// A guest of `VMware`.
    Vmware,
    /// Another guest; who runs it.
    Other(String),
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Physical => f.write_str("physical machine"),
            Self::Qemu => f.write_str("guest of QEMU"),
            Self::Vmware => f.write_str("guest of VMware"),
            Self::Other(name) => write!(f, "guest of {name}"),
        }
    }
}

/// What the firmware tells.
#[derive(Debug, Clone, Default)]
pub(super) struct Firmware {
    /// Who made the machine.
    vendor: String,
    /// What they call it.
    product: String,
}

impl Firmware {
    /// Reads it; empty where the machine has none.
    pub(super) fn read() -> Self {
        let read = |name: &str| sysfs::line(format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
        Self { vendor: read("sys_vendor"), product: read("product_name") }
    }

    /// Vendor and product, if any.
    pub(super) fn product(&self) -> Option<String> {
        let name = format!("{} {}", self.vendor, self.product);
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }
}

/// The signature of the hypervisor that the processor tells of; nothing outside of guests.
#[cfg(target_arch = "x86_64")]
pub(super) fn hypervisor() -> Option<String> {
    use raw_cpuid::{CpuId, Hypervisor};
    let name = match CpuId::new().get_hypervisor_info()?.identify() {
        Hypervisor::KVM => "KVM",
        Hypervisor::VMware => "VMware",
        Hypervisor::HyperV => "Hyper-V",
        Hypervisor::Xen => "Xen",
        Hypervisor::QEMU => "QEMU",
        Hypervisor::Bhyve => "bhyve",
        _ => "an unknown hypervisor",
    };
    Some(name.to_owned())
}

/// Other processors do not tell; the firmware has to.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn hypervisor() -> Option<String> {
    None
}

/// Puts what firmware and processor say together, as systemd-detect-virt does: the firmware knows the product, and a
/// hypervisor may pass as another one.
pub(super) fn platform(firmware: &Firmware, hypervisor: Option<&str>) -> Platform {
    let Firmware { vendor, product } = firmware;
    let vendors = [
        ("QEMU", Platform::Qemu),
        ("Red Hat", Platform::Qemu),
        ("OpenStack Foundation", Platform::Qemu),
        ("VMware", Platform::Vmware),
        ("Amazon EC2", Platform::Other("Amazon EC2".to_owned())),
        ("Google", Platform::Other("Google Cloud".to_owned())),
        ("innotek GmbH", Platform::Other("VirtualBox".to_owned())),
        ("Xen", Platform::Other("Xen".to_owned())),
    ];
    let known = vendors.into_iter().find(|(name, _)| vendor.starts_with(name)).map(|(_, platform)| platform);
    // A machine of such a vendor that is no guest (bare metal of a cloud) has no hypervisor.
    match (known, hypervisor) {
        (Some(platform), Some(_)) | (Some(platform @ (Platform::Qemu | Platform::Vmware)), None) => platform,
        (_, None) => Platform::Physical,
        (None, Some("VMware")) => Platform::Vmware,
        (None, Some("QEMU")) => Platform::Qemu,
        (None, Some("KVM")) if product.contains("KVM") || product.starts_with("Standard PC") => Platform::Qemu,
        (None, Some(name)) => Platform::Other(name.to_owned()),
    }
}

/// The container around this process, as systemd and Docker tell.
pub(super) fn container() -> Option<String> {
    let told = sysfs::line("/run/systemd/container").filter(|kind| !kind.is_empty());
    let docker = || std::path::Path::new("/.dockerenv").exists().then(|| "docker".to_owned());
    told.or_else(docker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_and_processor_tell_the_platform() {
        let other = |name: &str| Platform::Other(name.to_owned());
        let rows = [
            ("", "", None, Platform::Physical),
            ("Supermicro", "SYS-1029", None, Platform::Physical),
            ("Red Hat, Inc.", "", None, Platform::Qemu),
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)", Some("KVM"), Platform::Qemu),
            ("QEMU", "QEMU Virtual Machine", None, Platform::Qemu),
            ("QEMU", "Standard PC (i440FX + PIIX, 1996)", Some("Hyper-V"), Platform::Qemu),
            ("VMware, Inc.", "VMware20,1", Some("VMware"), Platform::Vmware),
            ("", "", Some("KVM"), other("KVM")),
            ("Amazon EC2", "c7i.large", Some("KVM"), other("Amazon EC2")),
            ("Amazon EC2", "c7i.metal-24xl", None, Platform::Physical),
            ("Microsoft Corporation", "Virtual Machine", Some("Hyper-V"), other("Hyper-V")),
        ];
        for (vendor, product, hypervisor, expected) in rows {
            let firmware = Firmware { vendor: vendor.to_owned(), product: product.to_owned() };
            assert_eq!(platform(&firmware, hypervisor), expected, "{vendor} {product} {hypervisor:?}");
        }
    }
}
