//! Connection tracking: which flow a packet belongs to, and whether it fits the flow's state.
//!
//! Flows that are not confirmed live in a half-open table, which the oldest leave when it is full. Confirmed ones (TCP: the
//! handshake is complete; else: the side that began goes on after an answer; never an echo) live in another, from which nothing is evicted: a flood of first packets never costs an
//! established flow.

mod flow;
mod tcp;

pub use flow::{
    FLOW_BYTES, FLOW_KEY_BYTES, FLOW_STATES, Flow, FlowKey, FlowState, Half, NO_NEIGHBOUR, NextHop, Sender, half_flag,
};

use crate::frame::Frame;
use crate::packet::{Fragment, Packet, protocol, tcp_flag};
use crate::parse;
use crate::tables::{FlowTable, Tables};
use crate::verdict::DropReason;
use crate::zone::Ingress;

/// A live flow that a packet was found to belong to.
pub struct Known<R> {
    /// The record.
    pub flow: R,
    /// Who sent the packet. For an ICMP error: the endpoint that the error travels away from.
    pub sender: Sender,
    /// Its key.
    pub key: FlowKey,
    /// Where it lives.
    pub table: FlowTable,
}

/// The flow of a packet, live on arrival; `None` when there is none. An expired one is removed, else nothing changes.
#[inline(always)]
pub fn find<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &Packet,
) -> Result<Option<Known<T::Flow>>, DropReason> {
    let tables = ingress.tables;
    let is_related = packet.is_icmp_error();
    let (key, sender) = if is_related { related_key(frame, packet)? } else { FlowKey::of(packet) };
    let Some((flow, table)) = look_up(tables, &key) else {
        return if is_related { Err(DropReason::NoFlow) } else { Ok(None) };
    };
    if flow.expires.get() <= ingress.now {
        tables.remove_flow(table, &key);
        return if is_related { Err(DropReason::NoFlow) } else { Ok(None) };
    }
    // A sender in another zone, who can only guess or spoof, must not reset or prolong a flow.
    if flow.next_hops(sender).1.zone.get() != ingress.id {
        return Err(DropReason::OtherZone);
    }
    Ok(Some(Known { flow, sender, key, table }))
}

/// The record of a flow, in whichever table it is.
#[inline(always)]
fn look_up<T: Tables>(tables: &T, key: &FlowKey) -> Option<(T::Flow, FlowTable)> {
    if let Some(flow) = tables.flow(FlowTable::Established, key) {
        return Some((flow, FlowTable::Established));
    }
    if let Some(flow) = tables.flow(FlowTable::HalfOpen, key) {
        return Some((flow, FlowTable::HalfOpen));
    }
    // Another CPU may just have moved it: into the one table, then out of the other.
    tables.flow(FlowTable::Established, key).map(|flow| (flow, FlowTable::Established))
}

/// Moves a flow to the state that a packet of it leads to, and returns its record; `None` when the packet begins
/// another flow in its place.
#[inline(always)]
pub fn advance<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &Packet,
    known: Known<T::Flow>,
) -> Result<Option<T::Flow>, DropReason> {
    let Known { flow, sender, key, table } = known;
    if packet.is_icmp_error() {
        return Ok(Some(flow));
    }
    let (tables, now) = (ingress.tables, ingress.now);
    Ok(Some(match step(frame, packet, &flow, sender)? {
        tcp::Step::Restart => {
            tables.remove_flow(table, &key);
            return Ok(None);
        }
        tcp::Step::Pass => flow,
        tcp::Step::Doubt => {
            let soon = now.saturating_add(ingress.settings.timeout(FlowState::Closed));
            flow.expires.set(flow.expires.get().min(soon));
            flow
        }
        tcp::Step::Move(state) => {
            let before = (flow.state.get(), flow.expires.get());
            flow.state.set(state as u8);
            flow.expires.set(now.saturating_add(ingress.settings.timeout(state)));
            if table == FlowTable::HalfOpen && state.is_confirmed_by(flow.began(sender)) {
                let Some(confirmed) = tables.confirm_flow(&key, &flow) else {
                    // It stays what it was, for as long as it was to stay; the next packet tries again.
                    flow.state.set(before.0);
                    flow.expires.set(before.1);
                    return Err(DropReason::TableFull);
                };
                confirmed
            } else {
                flow
            }
        }
    }))
}

/// The key of the flow that an ICMP error is about. The error travels towards the sender of the quoted packet,
/// which is therefore its destination.
#[inline(always)]
fn related_key<F: Frame>(frame: &F, packet: &Packet) -> Result<(FlowKey, Sender), DropReason> {
    if packet.fragment != Fragment::Whole {
        return Err(DropReason::NoFlow);
    }
    let quoted = parse::quoted(frame, packet)?;
    if quoted.source != packet.destination {
        return Err(DropReason::NoFlow);
    }
    let (key, quoted_sender) = FlowKey::of_quoted(&quoted);
    let sender = match quoted_sender {
        Sender::Low => Sender::High,
        Sender::High => Sender::Low,
    };
    Ok((key, sender))
}

/// What a packet does to its flow.
#[inline(always)]
fn step<F: Frame>(frame: &F, packet: &Packet, flow: &Flow, sender: Sender) -> Result<tcp::Step, DropReason> {
    if packet.fragment == Fragment::Later {
        if packet.protocol == protocol::TCP {
            tcp::later_fragment(packet, flow, sender)?;
        }
        return Ok(tcp::Step::Pass);
    }
    if packet.protocol == protocol::TCP {
        return tcp::segment(frame, packet, flow, sender);
    }
    let state = flow.state().ok_or(DropReason::NoFlow)?;
    if flow.began(sender) {
        return Ok(tcp::Step::Move(state));
    }
    Ok(tcp::Step::Move(match state {
        FlowState::UdpUnreplied => FlowState::UdpReplied,
        FlowState::EchoUnreplied => FlowState::EchoReplied,
        FlowState::OtherUnreplied => FlowState::OtherReplied,
        replied => replied,
    }))
}

/// Whether a packet of no known flow may begin one.
#[inline(always)]
pub fn may_begin(packet: &Packet) -> bool {
    if packet.fragment == Fragment::Later {
        return false;
    }
    match packet.protocol {
        protocol::TCP => packet.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN,
        protocol::ICMP | protocol::ICMP6 => packet.is_echo_request(),
        _ => true,
    }
}

/// Where later fragments of a first one count from, as [`crate::tables::FragmentPorts::sequence`] says.
#[inline(always)]
pub const fn first_sequence(packet: &Packet) -> u32 {
    let end = packet.has_flags(tcp_flag::FIN) as u32;
    packet.tcp.sequence.wrapping_sub(packet.tcp.header_length as u32).wrapping_add(end)
}

/// The first state of a flow begun by `packet`.
#[inline(always)]
pub const fn first_state(packet: &Packet) -> FlowState {
    match packet.protocol {
        protocol::TCP => FlowState::SynSent,
        protocol::UDP => FlowState::UdpUnreplied,
        protocol::ICMP | protocol::ICMP6 => FlowState::EchoUnreplied,
        _ => FlowState::OtherUnreplied,
    }
}

/// Fills in what the first packet tells of its side of the flow.
#[inline(always)]
pub fn begin<F: Frame>(frame: &F, packet: &Packet, flow: &Flow, sender: Sender) {
    if packet.protocol == protocol::TCP {
        tcp::begin(frame, packet, flow.halves(sender).0);
    }
}
