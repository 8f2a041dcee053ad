//! The flow tables as user space sees them.

use std::os::fd::AsFd;

use aya::maps::{HashMap, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES, Flow, FlowKey};
use firewall_core::tables::FlowTable;
use zerocopy::FromBytes;

use super::error::KernelError;
use super::object::map_error;

pub(super) type FlowMap = HashMap<MapData, [u8; FLOW_KEY_BYTES], [u8; FLOW_BYTES]>;

/// A handle on both flow tables.
pub struct Flows {
    established: FlowMap,
    half_open: FlowMap,
}

/// One flow, as it was when it was read.
pub struct LiveFlow {
    /// The table it was in.
    pub table: FlowTable,
    /// Its key.
    pub key: FlowKey,
    /// Its record.
    pub flow: Flow,
}

impl Flows {
    /// A handle of its own on each map, so that the flow tables can be read and swept apart from the rest.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, KernelError> {
        Ok(Self { established: open(ebpf, "ESTABLISHED")?, half_open: open(ebpf, "HALF_OPEN")? })
    }

    /// The table of confirmed flows, or the other.
    pub(super) fn table(&mut self, table: FlowTable) -> &mut FlowMap {
        match table {
            FlowTable::Established => &mut self.established,
            FlowTable::HalfOpen => &mut self.half_open,
        }
    }

    /// Flows that live at `now`, established ones first. A repeated first packet may have left a half-open record of a flow
    /// that is established by now: it is not among them, as it is not looked at.
    pub fn live(&self, now: u64) -> impl Iterator<Item = LiveFlow> {
        let tables = [(FlowTable::Established, &self.established), (FlowTable::HalfOpen, &self.half_open)];
        tables
            .into_iter()
            .flat_map(|(table, map)| map.iter().flatten().filter_map(move |(key, flow)| read(table, &key, &flow)))
            .filter(move |live| live.flow.expires.get() > now)
            .filter(|live| live.table == FlowTable::Established || !self.is_established(&live.key))
    }

    fn is_established(&self, key: &FlowKey) -> bool {
        self.established.get(&zerocopy::transmute!(*key), 0).is_ok()
    }

    /// Forgets established flows that ended before `now` and returns how many are left. The data path treats them as gone
    /// already; this makes room. The half-open table makes room by itself.
    pub fn sweep(&mut self, now: u64) -> Result<u64, KernelError> {
        sweep(&mut self.established, now).map_err(map_error("sweep", "ESTABLISHED"))
    }

    /// Forgets all flows.
    pub fn clear(&mut self) -> Result<(), KernelError> {
        sweep(&mut self.established, u64::MAX).map_err(map_error("clear", "ESTABLISHED"))?;
        sweep(&mut self.half_open, u64::MAX).map_err(map_error("clear", "HALF_OPEN"))?;
        Ok(())
    }
}

/// A handle of its own on a hash table of the object.
pub(super) fn open<K: Pod, V: Pod>(ebpf: &Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>, KernelError> {
    let copy = |data: &MapData| {
        let fail = |source: std::io::Error| KernelError::Mmap { map: name, source };
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(fail)?;
        MapData::from_fd(fd).map_err(map_error("open", name))
    };
    let map = match ebpf.map(name) {
        Some(Map::HashMap(data)) => Map::HashMap(copy(data)?),
        Some(Map::LruHashMap(data)) => Map::LruHashMap(copy(data)?),
        _ => return Err(KernelError::Missing(name)),
    };
    HashMap::try_from(map).map_err(map_error("open", name))
}

fn read(table: FlowTable, key: &[u8; FLOW_KEY_BYTES], flow: &[u8; FLOW_BYTES]) -> Option<LiveFlow> {
    Some(LiveFlow { table, key: FlowKey::read_from_bytes(key).ok()?, flow: Flow::read_from_bytes(flow).ok()? })
}

/// Two passes: removing while iterating makes the kernel's iteration start again. What was prolonged or begun anew between
/// the two is read again and stays.
fn sweep(map: &mut FlowMap, now: u64) -> Result<u64, MapError> {
    let has_ended = |flow: &[u8; FLOW_BYTES]| Flow::read_from_bytes(flow).is_ok_and(|flow| flow.expires.get() <= now);
    let mut live = 0;
    let mut ended = Vec::new();
    for (key, flow) in map.iter().flatten() {
        if has_ended(&flow) {
            ended.push(key);
        } else {
            live += 1;
        }
    }
    for key in &ended {
        match map.get(key, 0) {
            Ok(flow) if has_ended(&flow) => remove(map, key)?,
            Ok(_) => live += 1,
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(live)
}

/// Removes a flow, unless the data path was faster.
fn remove(map: &mut FlowMap, key: &[u8; FLOW_KEY_BYTES]) -> Result<(), MapError> {
    match map.remove(key) {
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
