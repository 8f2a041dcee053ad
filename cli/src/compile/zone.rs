//! Zone records and the index that finds the zone of a frame.

use firewall_core::tables::{ZONE_PROBES, ZONE_SLOTS, Zone, zone_flag, zone_slot, zone_slot_start};

use super::{CompileError, Link, by_name};
use crate::lang::{Diagnostic, Diagnostics, Policy};

pub(super) fn records(policy: &Policy, links: &[Link]) -> Result<Vec<Zone>, CompileError> {
    let links = by_name(links);
    let mut missing = Diagnostics::default();
    let count = policy.zones.iter().map(|zone| usize::from(zone.id) + 1).max().unwrap_or(0);
    let mut zones = vec![Zone::CLOSED; count];
    for zone in &policy.zones {
        let Some(link) = links.get(zone.interface.as_str()) else {
            let message = format!("zone `{}` is on interface `{}`, which is not here", zone.name, zone.interface);
            let error = Diagnostic::error(zone.location.clone(), message);
            missing.push(error.with_hint("`ip -brief link` lists the interfaces of this network namespace"));
            continue;
        };
        let mut flags = 0;
        if link.partial_checksums {
            flags |= zone_flag::PARTIAL_CHECKSUMS;
        }
        if link.peer {
            flags |= zone_flag::PEER;
        }
        if link.port.is_some() && !link.kernel_zones.contains(&zone.name) {
            flags |= zone_flag::USER_SPACE;
        }
        if !link.up {
            flags |= zone_flag::DOWN;
        }
        let vlan = zone.vlan.unwrap_or(0);
        zones[usize::from(zone.id)] =
            Zone { ifindex: link.ifindex, mtu: link.mtu, vlan, flags, mac: link.mac, port: link.port.unwrap_or(0) };
    }
    if missing.is_empty() { Ok(zones) } else { Err(CompileError::Interface(missing)) }
}

/// Open addressing, linear probing. A zone that had to go far takes the place of one that did not ("Robin Hood"), so
/// that no zone is further away than the data path looks.
pub(super) fn index(policy: &Policy, zones: &[Zone]) -> Result<Vec<u64>, CompileError> {
    let mut slots = vec![0u64; ZONE_SLOTS as usize];
    // No frame comes from an interface that is away.
    for (id, zone) in zones.iter().enumerate().filter(|(_, zone)| zone.ifindex != 0) {
        let mut entry = zone_slot(zone.ifindex, zone.vlan, id as u16);
        let mut distance = 0;
        loop {
            if distance >= ZONE_PROBES {
                return Err(CompileError::Policy(too_crowded(policy, entry as u16)));
            }
            let at = start(entry).wrapping_add(distance) & (ZONE_SLOTS - 1);
            let Some(slot) = slots.get_mut(at as usize) else { break };
            if *slot == 0 {
                *slot = entry;
                break;
            }
            let theirs = at.wrapping_sub(start(*slot)) & (ZONE_SLOTS - 1);
            if theirs < distance {
                std::mem::swap(slot, &mut entry);
                distance = theirs;
            }
            distance += 1;
        }
    }
    Ok(slots)
}

fn start(slot: u64) -> u32 {
    zone_slot_start((slot >> 32) as u32, (slot >> 16) as u16)
}

fn too_crowded(policy: &Policy, zone: u16) -> Diagnostics {
    let location = policy.zone(zone).map(|zone| zone.location.clone()).unwrap_or_default();
    let error = Diagnostic::error(location, "there is no room for this zone in the index of VLANs");
    [error.with_hint("another VLAN id for this zone finds room")].into_iter().collect()
}
