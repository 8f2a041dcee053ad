//! The maps that outlive the programs: what all generations of them share.
//!
//! aya opens a pinned map without a look at its shape. Programs and daemon would then read other bytes than they think, so
//! the shapes are compared here before anything is loaded.

use std::fmt;
use std::path::Path;

use aya::maps::{MapInfo, MapType};
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES};
use firewall_core::event::{Topic, ring};
use firewall_core::limit::WORKS;
use firewall_core::tables::{Counter, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, SOCKETS, USER_COUNTS};
use firewall_core::verdict::DROP_REASON_SLOTS;

use super::error::KernelError;
use super::object::map_error;
use super::pins::Pins;
use crate::config::Config;

/// A map that all generations share.
pub(super) struct StateMap {
    pub(super) name: &'static str,
    shape: Shape,
    /// The setting by which its size can be chosen.
    setting: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
struct Shape {
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
}

impl StateMap {
    const fn new(name: &'static str, kind: MapType, key: usize, value: usize, entries: u32) -> Self {
        Self { name, shape: Shape { kind, key, value, entries }, setting: None }
    }

    const fn sized_by(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }
}

/// All of them, as this version and these settings make them.
pub(super) fn all(config: &Config) -> Vec<StateMap> {
    let neighbours = config.neighbours.max.get();
    let flow = |name, kind, entries| StateMap::new(name, kind, FLOW_KEY_BYTES, FLOW_BYTES, entries);
    let per_cpu = |name, value, entries| StateMap::new(name, MapType::PerCpuArray, 4, value, entries);
    let queue = |name, bytes| StateMap::new(name, MapType::RingBuf, 0, 0, bytes);
    let (key, ports, counter) = (size_of::<FragmentKey>(), size_of::<FragmentPorts>(), size_of::<Counter>());
    vec![
        flow("ESTABLISHED", MapType::Hash, config.flows.established.get()).sized_by("flows.established"),
        flow("HALF_OPEN", MapType::LruHash, config.flows.half_open.get()).sized_by("flows.half_open"),
        StateMap::new("FRAGMENTS", MapType::LruHash, key, ports, config.flows.fragments.get())
            .sized_by("flows.fragments"),
        StateMap::new("NEIGHBOUR_SLOTS", MapType::Hash, size_of::<NeighbourKey>(), 4, neighbours)
            .sized_by("neighbours.max"),
        StateMap::new("NEIGHBOURS", MapType::Array, 4, 8, neighbours).sized_by("neighbours.max"),
        per_cpu("ZONE_COUNTERS", counter, MAX_ZONES * 2),
        per_cpu("DROP_COUNTERS", counter, (MAX_ZONES + 1) * DROP_REASON_SLOTS),
        per_cpu("LOST_EVENTS", 8, MAX_ZONES * Topic::ALL.len() as u32),
        StateMap::new("BUCKETS", MapType::Array, 4, WORKS * 8, MAX_ZONES + 1),
        StateMap::new("USER_COUNTERS", MapType::Array, 4, 8, USER_COUNTS),
        StateMap::new("SOCKETS", MapType::XskMap, 4, 4, SOCKETS),
        queue("LOG_EVENTS", ring::LOG),
        queue("DROP_EVENTS", ring::DROP),
        queue("NEIGHBOUR_EVENTS", ring::NEIGHBOUR),
        queue("PUNTS", ring::RESOLVE),
        queue("REPORTS", ring::REPORT),
    ]
}

/// Compares what is pinned with what this version and these settings would make.
pub(super) fn check(pins: &Pins, config: &Config) -> Result<(), KernelError> {
    for map in all(config) {
        let path = pins.state(map.name);
        if path.exists() {
            check_map(&map, &path)?;
        }
    }
    Ok(())
}

fn check_map(map: &StateMap, path: &Path) -> Result<(), KernelError> {
    let info = MapInfo::from_pin(path).map_err(map_error("open", map.name))?;
    let kind = info.map_type().map_err(map_error("open", map.name))?;
    let (key, value) = (info.key_size() as usize, info.value_size() as usize);
    let found = Shape { kind, key, value, entries: info.max_entries() };
    let Shape { entries, .. } = map.shape;
    if found == map.shape {
        return Ok(());
    }
    match map.setting {
        Some(setting) if (Shape { entries, ..found }) == map.shape => {
            Err(KernelError::Size { map: map.name, setting, found: found.entries, wanted: entries })
        }
        _ => Err(KernelError::Shape { map: map.name, found: found.to_string(), wanted: map.shape.to_string() }),
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, entries } = self;
        write!(f, "{kind:?}, {entries} entries of {key} and {value} bytes")
    }
}
