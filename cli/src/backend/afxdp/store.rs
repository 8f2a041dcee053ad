//! What the engine shares with others: flows, neighbours, counters, and the way to the daemon.

use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, PuntHeader, Topic};
use firewall_core::tables::{Direction, FlowTable, NeighbourKey, NeighbourWord};
use firewall_core::verdict::DropReason;

/// State outside of the engine: the kernel's maps, or memory in tests.
///
/// Calls on flows may cost a system call each; the engine makes them when a flow is new to it or has moved on, not for each
/// packet.
pub trait Store {
    /// A copy of a flow's record.
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Flow>;
    /// Adds a half-open flow, unless it is there; whether it is there now.
    fn add(&self, key: &FlowKey, flow: &Flow) -> bool;
    /// Moves a flow to the established table; whether there was room.
    fn confirm(&self, key: &FlowKey, flow: &Flow) -> bool;
    /// Writes over the record of a flow; whether it is still there.
    fn write(&self, table: FlowTable, key: &FlowKey, flow: &Flow) -> bool;
    /// Forgets a flow.
    fn remove(&self, table: FlowTable, key: &FlowKey);

    /// Slot of a resolved neighbour.
    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32>;
    /// Content of a slot.
    fn neighbour(&self, slot: u32) -> NeighbourWord;

    /// Counts a packet for a rule of the policy in `slot`.
    fn count_rule(&self, slot: u32, rule: u32, bytes: u32, now: u64);
    /// Counts a packet at the edge of a zone.
    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32);
    /// Counts a dropped packet.
    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32);
    /// Counts an event that the daemon will not see.
    fn count_lost(&self, zone: u16, topic: Topic);

    /// A worker has gone round its queues: what was counted is to be seen.
    fn end_step(&self) {}

    /// Tells the daemon; whether there was room.
    fn tell(&self, topic: Topic, event: &Event) -> bool;
    /// Hands a frame to the daemon; whether there was room.
    fn punt(&self, header: &PuntHeader, bytes: &[u8]) -> bool;
}
