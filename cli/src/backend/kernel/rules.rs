//! Rule tables as maps.

use aya::maps::{Array, MapData};
use firewall_core::classify::Block;

use super::error::KernelError;
use super::object::map_error;

/// A rule table as one map.
pub(super) type RuleMap = Array<MapData, Block>;

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
    let mut table = RuleMap::create(room, 0).map_err(map_error("create", "RULES"))?;
    for (index, block) in blocks.iter().enumerate() {
        table.set(index as u32, block, 0).map_err(map_error("fill", "RULES"))?;
    }
    Ok(table)
}
