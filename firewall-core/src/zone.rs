//! Which zone a frame comes from.

use crate::tables::{Tables, ZONE_PROBES, ZONE_SLOTS, Zone, zone_slot, zone_slot_start};
use crate::verdict::DropReason;

/// The zone of frames with this VLAN (0: untagged) on this interface.
#[inline(always)]
pub fn ingress<T: Tables>(tables: &T, ifindex: u32, vlan: u16) -> Result<(u16, &Zone), DropReason> {
    let wanted = zone_slot(ifindex, vlan, 0);
    let start = zone_slot_start(ifindex, vlan);
    for probe in 0..ZONE_PROBES {
        let slot = tables.zone_slot(start.wrapping_add(probe) & (ZONE_SLOTS - 1));
        if slot & !0xffff == wanted {
            let zone = slot as u16;
            return tables.zone(zone).map(|record| (zone, record)).ok_or(DropReason::UnknownVlan);
        }
        if slot == 0 {
            break;
        }
    }
    Err(DropReason::UnknownVlan)
}
