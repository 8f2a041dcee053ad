//! Offloads that vfw turns off while it has an interface.

use super::{Changes, InterfaceError, index_of, read_features, set_feature};

/// Stripping of VLAN tags on receipt: 802.1Q and 802.1ad.
pub(super) const RX_VLAN: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// Turns the stripping of VLAN tags on receipt off, and makes sure that the driver has done it. What was on is added to
/// `changes`, also when a later step fails.
pub fn turn_off_rx_vlan_offload(name: &str, changes: &mut Changes) -> Result<(), InterfaceError> {
    let sets = read_features(name, index_of(name)?)?;
    for feature in RX_VLAN.into_iter().filter(|feature| sets.state(feature).is_on()) {
        set_feature(name, feature, false)?;
        if !changes.offloads.iter().any(|known| known == feature) {
            changes.offloads.push(feature.to_owned());
        }
    }
    Ok(())
}
