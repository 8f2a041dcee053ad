//! What one interface is like.

use std::path::Path;

use super::hooks::{Names, programs};
use super::{InterfaceFacts, OFFLOADS, Running, Settings, ZoneFacts, irq};
use crate::config::Mode;
use crate::interface::sysfs::{folder_of, line, value};
use crate::interface::{
    Interface, InterfaceError, feature_states, inspect, link_state, peer, queue_counts, ring_sizes,
};

/// What others say of an interface.
pub(in crate::doctor) struct Told {
    /// Zones on it.
    pub(in crate::doctor) zones: Vec<ZoneFacts>,
    /// The hook that the settings ask for.
    pub(in crate::doctor) mode: Mode,
    /// What a running vfw says.
    pub(in crate::doctor) running: Option<Running>,
}

/// Gathers what is known of the interface `name`. Only that it is not there is an error.
pub(in crate::doctor) fn gather(name: &str, told: Told) -> Result<InterfaceFacts, InterfaceError> {
    let interface = inspect(name)?;
    let link = link_state(name)?;
    let folder = folder_of(&interface);
    let folder = folder.as_deref();
    Ok(InterfaceFacts {
        zones: told.zones,
        mode: told.mode,
        running: told.running,
        programs: programs(&interface, &link, &Names::read()),
        link,
        offloads: feature_states(name, &OFFLOADS)?,
        queues: queue_counts(name).unwrap_or_default(),
        rings: ring_sizes(name).unwrap_or_default(),
        irqs: folder.map(irq::irqs).unwrap_or_default(),
        napi: folder.and_then(irq::napi),
        rps: folder.map(|folder| irq::masks(folder, "rx-", "rps_cpus")).unwrap_or_default(),
        xps: folder.map(|folder| irq::masks(folder, "tx-", "xps_cpus")).unwrap_or_default(),
        settings: settings(name),
        virtio: folder.filter(|_| interface.driver == "virtio_net").and_then(virtio_bits),
        virtual_functions: folder.and_then(|folder| value(folder.join("device/sriov_numvfs"))).unwrap_or_default(),
        peer: peer(&interface),
        interface,
    })
}

/// Whether an interface that nobody names is worth looking at: hardware, a guest's NIC, one end of a veth pair.
pub(in crate::doctor) fn is_candidate(interface: &Interface) -> bool {
    interface.is_veth() || folder_of(interface).is_some_and(|folder| folder.join("device").exists())
}

fn settings(name: &str) -> Settings {
    let read = |file: String| value::<u32>(format!("/proc/sys/net/{file}")).unwrap_or_default();
    Settings {
        forwarding_v4: read(format!("ipv4/conf/{name}/forwarding")) != 0,
        forwarding_v6: read(format!("ipv6/conf/{name}/forwarding")) != 0,
        rp_filter: read(format!("ipv4/conf/{name}/rp_filter")).max(read("ipv4/conf/all/rp_filter".to_owned())),
    }
}

/// The feature bits of a virtio device: a text of zeroes and ones, the lowest bit first.
fn virtio_bits(folder: &Path) -> Option<u64> {
    let text = line(folder.join("device/features"))?;
    Some(bits(&text))
}

fn bits(text: &str) -> u64 {
    let low = text.bytes().take(64).enumerate();
    low.filter(|(_, digit)| *digit == b'1').fold(0, |bits, (position, _)| bits | 1 << position)
}

#[cfg(test)]
mod tests {
    #[test]
    fn virtio_bits_begin_with_the_lowest() {
        assert_eq!(super::bits("110001"), 0b10_0011);
        assert_eq!(super::bits(&"1".repeat(128)), u64::MAX);
    }
}
