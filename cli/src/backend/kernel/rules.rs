//! Rule tables as maps.

use std::os::fd::AsFd;

use aya::maps::MapData;
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type};
use firewall_core::classify::Block;
use firewall_core::classify::image::{SPARE_BLOCKS, checksum, header};

use super::error::KernelError;
use super::mmap;
use super::object::map_error;

/// A rule table as one map, whose one value it is.
pub(super) type RuleMap = MapData;

/// Blocks of the smallest rule table: 64 KiB.
const SMALLEST: u32 = 1024;

/// Room for a table of so many blocks, and for one that grows: the next power of two with a quarter to spare, so that most
/// changes fit into the loaded programs.
pub(super) fn room(blocks: usize) -> u32 {
    let blocks = blocks as u32;
    blocks.saturating_add(blocks / 4).max(SMALLEST).next_power_of_two()
}

/// A map with this table. All maps that programs can walk have the same room.
pub(super) fn create(blocks: &[Block], room: u32) -> Result<RuleMap, KernelError> {
    if blocks.len() > room as usize {
        let (what, wanted, room) = ("blocks of 64 bytes in the rule table", blocks.len(), room as usize);
        return Err(KernelError::Room { what, wanted, room });
    }
    let is_whole = blocks.first().is_some_and(|head| head.0[header::CHECKSUM] == checksum(blocks));
    if !is_whole {
        return Err(KernelError::Damaged);
    }
    let bytes = (room + SPARE_BLOCKS) * size_of::<Block>() as u32;
    let kind = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    let map = aya_obj::Map::new_from_params(kind, size_of::<u32>() as u32, bytes, 1, BPF_F_MMAPABLE);
    let table = MapData::create(map, "vfw_rules", None).map_err(map_error("create", "RULES"))?;
    mmap::fill(table.fd().as_fd(), blocks).map_err(|source| KernelError::Mmap { map: "RULES", source })?;
    Ok(table)
}
