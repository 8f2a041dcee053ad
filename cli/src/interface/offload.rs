//! Offloads that vfw turns off while it has an interface, and on again when it gives it back.

use super::ethtool::write_features;
use super::netlink::Netlink;
use super::{InterfaceError, index_of, read_features, set_feature};

/// Stripping of VLAN tags on receipt: 802.1Q and 802.1ad.
const RX_VLAN: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// Turns the stripping of VLAN tags on receipt off, and makes sure that the driver has done it.
pub fn turn_off_rx_vlan_offload(name: &str) -> Result<OffloadGuard, InterfaceError> {
    let index = index_of(name)?;
    let sets = read_features(name, index)?;
    let netlink = Netlink::generic().map_err(InterfaceError::system(name, "open netlink"))?;
    let mut guard = OffloadGuard { index, netlink, turned_off: Vec::new() };
    for feature in RX_VLAN.into_iter().filter(|feature| sets.state(feature).is_on()) {
        set_feature(name, feature, false)?;
        guard.turned_off.push(feature);
    }
    Ok(guard)
}

/// Turns on again on drop what was turned off, and only that. It remembers the namespace by its socket, so any thread may
/// drop it.
#[must_use = "dropping the guard turns the offloads on again"]
pub struct OffloadGuard {
    index: u32,
    netlink: Netlink,
    turned_off: Vec<&'static str>,
}

impl OffloadGuard {
    /// Leaves the interface as it is now: for one that is gone, whose number may mean another by now.
    pub fn keep(mut self) {
        self.turned_off.clear();
    }
}

impl Drop for OffloadGuard {
    fn drop(&mut self) {
        if self.turned_off.is_empty() {
            return;
        }
        if let Err(error) = write_features(&mut self.netlink, self.index, &self.turned_off, true) {
            tracing::warn!(index = self.index, features = ?self.turned_off, %error, "offloads not turned on again");
        }
    }
}
