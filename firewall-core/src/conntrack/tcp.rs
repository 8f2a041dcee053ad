//! The TCP state machine of a middle box (RFC 9293), with window checks after Guido van Rooij, "Real Stateful TCP
//! Packet Filtering in IP Filter" (2001): what each side may send is bounded by what the other side announced.
//!
//! Both sides are tracked alike, so a simultaneous open (RFC 9293 section 3.5) needs no case of its own.

use super::flow::{Flow, FlowState, Half, Sender, after, half_flag};
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, tcp_flag};
use crate::verdict::DropReason;

/// Acknowledgements may lag this far behind even when the announced windows are small: the largest window
/// without scaling, and a little.
const MIN_ACK_LAG: u32 = 66_000;
/// RFC 7323 section 2.3.
const MAX_SCALE: u8 = 14;

/// What a segment does to its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The flow is now in this state.
    Move(FlowState),
    /// Let the segment pass; it says nothing about the state and does not keep the flow alive.
    Pass,
    /// The connection may be over: the flow ends soon, unless one of the sides goes on.
    Doubt,
    /// The old connection is over and this SYN begins another one between the same ports.
    Restart,
}

/// Starts tracking with the SYN of a new flow.
#[inline(always)]
pub(super) fn begin<F: Frame>(frame: &F, packet: &Packet, own: &Half) {
    begin_half(own, packet, window_scale(frame, packet));
}

/// Judges a segment of a known flow.
#[inline(always)]
pub(super) fn segment<F: Frame>(frame: &F, packet: &Packet, flow: &Flow, sender: Sender) -> Result<Step, DropReason> {
    let (own, peer) = flow.halves(sender);
    let state = flow.state().ok_or(DropReason::TcpState)?;
    let opening = matches!(state, FlowState::SynSent | FlowState::SynReceived);
    if packet.has_flags(tcp_flag::SYN) {
        if packet.has_flags(tcp_flag::ACK) {
            if opening {
                return syn_ack(packet, own, peer, window_scale(frame, packet));
            }
        } else {
            return syn(frame, packet, flow, sender, state);
        }
    }
    if packet.has_flags(tcp_flag::RST) && state == FlowState::SynSent {
        return refused(packet, own, peer);
    }
    if !own.has(half_flag::SYN) || !peer.has(half_flag::SYN) {
        return Err(DropReason::TcpState);
    }
    check_window(packet, own, peer)?;
    if packet.has_flags(tcp_flag::RST) {
        // RFC 5961 section 3.2: the receiver believes a RST at the very next number only, and challenges any other.
        let exact = packet.tcp.sequence == own.end() && !own.has(half_flag::BEHIND);
        return Ok(if exact { Step::Move(FlowState::Closed) } else { Step::Doubt });
    }
    if state == FlowState::Closed {
        return Ok(Step::Pass);
    }
    advance(packet, own, peer);
    Ok(Step::Move(state_of(own, peer)))
}

/// A later fragment of a segment: bytes that the peer will acknowledge. It says nothing else.
#[inline(always)]
pub(super) fn later_fragment(packet: &Packet, flow: &Flow, sender: Sender) -> Result<(), DropReason> {
    let (own, peer) = flow.halves(sender);
    if own.has(half_flag::SYN) && peer.has(half_flag::SYN) {
        check_window(packet, own, peer)?;
        own.advance(end_of(packet), own.edge());
    }
    Ok(())
}

/// SYN without ACK on a known flow.
#[inline(always)]
fn syn<F: Frame>(
    frame: &F,
    packet: &Packet,
    flow: &Flow,
    sender: Sender,
    state: FlowState,
) -> Result<Step, DropReason> {
    let (own, peer) = flow.halves(sender);
    match state {
        FlowState::TimeWait | FlowState::Closed => Ok(Step::Restart),
        // Simultaneous open, or a repeated SYN (with a new number when the client gave up and tried again).
        FlowState::SynSent => {
            begin_half(own, packet, window_scale(frame, packet));
            if peer.has(half_flag::SYN) {
                meet(own, peer, packet.tcp.sequence);
            }
            Ok(Step::Move(state_of(own, peer)))
        }
        FlowState::SynReceived if own.end() == end_of(packet) => Ok(Step::Move(state)),
        // A client that lost its state asks again; the server's challenge ACK (RFC 5961 section 4) and the
        // client's RST then close the old connection.
        _ if flow.began(sender) => Ok(Step::Pass),
        _ => Err(DropReason::TcpState),
    }
}

/// SYN with ACK while the connection opens.
#[inline(always)]
fn syn_ack(packet: &Packet, own: &Half, peer: &Half, scale: Option<u8>) -> Result<Step, DropReason> {
    let repeated = own.has(half_flag::SYN);
    // Acknowledges the SYN, and data sent with it (RFC 7413) or none of it.
    let acknowledged = packet.tcp.acknowledgement;
    let peer_end = peer.end();
    if !peer.has(half_flag::SYN)
        || after(acknowledged, peer_end)
        || !after(acknowledged, peer_end.wrapping_sub(MIN_ACK_LAG))
    {
        return Err(DropReason::TcpState);
    }
    if repeated && own.end() != end_of(packet) {
        return Err(DropReason::TcpState);
    }
    if !repeated {
        begin_half(own, packet, scale);
        meet(own, peer, packet.tcp.sequence);
    }
    peer.set(half_flag::SYN_ACKED);
    let edge = acknowledged.wrapping_add(u32::from(packet.tcp.window));
    if !repeated || after(edge, own.edge()) {
        own.place(own.end(), edge);
    }
    Ok(Step::Move(state_of(own, peer)))
}

/// RST in answer to a SYN: it must acknowledge that SYN (RFC 9293 section 3.10.7.3).
#[inline(always)]
fn refused(packet: &Packet, own: &Half, peer: &Half) -> Result<Step, DropReason> {
    let by_server =
        packet.has_flags(tcp_flag::ACK) && peer.has(half_flag::SYN) && packet.tcp.acknowledgement == peer.end();
    let by_client = own.has(half_flag::SYN) && packet.tcp.sequence == own.end();
    if by_server || by_client { Ok(Step::Move(FlowState::Closed)) } else { Err(DropReason::TcpWindow) }
}

#[inline(always)]
fn begin_half(own: &Half, packet: &Packet, scale: Option<u8>) {
    own.place(end_of(packet), own.edge());
    own.window.set(u32::from(packet.tcp.window).max(1));
    own.scale.set(scale.unwrap_or(0));
    own.flags.set(if scale.is_some() { half_flag::SYN | half_flag::SCALES } else { half_flag::SYN });
}

/// Both SYNs are known: the peer's window now has a place, and scaling counts only if both offer it
/// (RFC 7323 section 2.2).
#[inline(always)]
fn meet(own: &Half, peer: &Half, own_first: u32) {
    if !own.has(half_flag::SCALES) || !peer.has(half_flag::SCALES) {
        own.scale.set(0);
        peer.scale.set(0);
    }
    peer.place(peer.end(), own_first.wrapping_add(1).wrapping_add(peer.window.get()));
    own.place(own.end(), peer.end().wrapping_add(own.window.get()));
}

/// The four bounds of van Rooij's paper: upper and lower on data, upper and lower on acknowledgements. A half whose numbers
/// are behind bounds nothing.
#[inline(always)]
fn check_window(packet: &Packet, own: &Half, peer: &Half) -> Result<(), DropReason> {
    let own_end = own.end();
    let peer_end = peer.end();
    let peer_window = peer.window.get().max(1);
    let beyond = after(packet.tcp.sequence, peer.edge()) && !peer.has(half_flag::BEHIND);
    let stale = after(own_end.wrapping_sub(peer_window).wrapping_sub(1), end_of(packet));
    if beyond || stale {
        return Err(DropReason::TcpWindow);
    }
    if packet.has_flags(tcp_flag::ACK) && !peer.has(half_flag::BEHIND) {
        let lag = own.window.get().max(MIN_ACK_LAG);
        let acknowledged = packet.tcp.acknowledgement;
        if after(acknowledged, peer_end) || after(peer_end.wrapping_sub(lag), acknowledged) {
            return Err(DropReason::TcpWindow);
        }
    }
    Ok(())
}

/// Takes over what a segment inside of the window says.
#[inline(always)]
fn advance(packet: &Packet, own: &Half, peer: &Half) {
    let end = end_of(packet);
    if own.has(half_flag::BEHIND) && !after(own.end(), end) {
        own.clear(half_flag::BEHIND);
    }
    // The window of a SYN is never scaled (RFC 7323 section 2.2).
    let scale = if packet.has_flags(tcp_flag::SYN) { 0 } else { own.scale.get() & 0x0f };
    let window = u32::from(packet.tcp.window) << scale;
    if window > own.window.get() {
        own.window.set(window);
    }
    own.advance(end, packet.tcp.acknowledgement.wrapping_add(window));
    if packet.has_flags(tcp_flag::FIN) {
        own.set(half_flag::FIN);
    }
    if !peer.has(half_flag::SYN_ACKED) {
        peer.set(half_flag::SYN_ACKED);
    }
    if peer.has(half_flag::FIN) && !peer.has(half_flag::FIN_ACKED) && packet.tcp.acknowledgement == peer.end() {
        peer.set(half_flag::FIN_ACKED);
    }
}

#[inline(always)]
fn state_of(own: &Half, peer: &Half) -> FlowState {
    let both = own.flags.get() & peer.flags.get();
    let either = own.flags.get() | peer.flags.get();
    if both & half_flag::FIN_ACKED != 0 {
        FlowState::TimeWait
    } else if both & half_flag::FIN != 0 {
        FlowState::Closing
    } else if either & half_flag::FIN != 0 {
        FlowState::FinWait
    } else if both & half_flag::SYN_ACKED != 0 {
        FlowState::Established
    } else if both & half_flag::SYN != 0 {
        FlowState::SynReceived
    } else {
        FlowState::SynSent
    }
}

/// The sequence number after this segment: SYN and FIN take one each (RFC 9293 section 3.4).
#[inline(always)]
fn end_of(packet: &Packet) -> u32 {
    let control = u32::from(packet.has_flags(tcp_flag::SYN)) + u32::from(packet.has_flags(tcp_flag::FIN));
    packet.tcp.sequence.wrapping_add(packet.tcp_payload()).wrapping_add(control)
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_WINDOW_SCALE: u8 = 3;
/// Options of a SYN that real stacks send: MSS, SACK permitted, timestamps, NOPs, scale, fast open.
const MAX_OPTIONS: u32 = 10;

/// The window scale option of a SYN (RFC 7323 section 2.2), if there is one. A malformed option ends the search, as in Linux.
/// Counts down, as the walk over the options of IPv4 does.
#[inline(always)]
fn window_scale<F: Frame>(frame: &F, packet: &Packet) -> Option<u8> {
    let end = packet.transport_offset + u32::from(packet.tcp.header_length);
    let mut left = u32::from(packet.tcp.header_length).saturating_sub(20);
    for _ in 0..MAX_OPTIONS {
        if packet.fragment == Fragment::Later || left < 3 {
            return None;
        }
        let [kind, size, value] = frame.load::<3>(end.wrapping_sub(left)).ok()?;
        match kind {
            OPTION_END => return None,
            OPTION_NOP => left -= 1,
            OPTION_WINDOW_SCALE if size == 3 => return Some(value.min(MAX_SCALE)),
            _ if size < 2 || u32::from(size) > left => return None,
            _ => left -= u32::from(size),
        }
        // The same range on every path lets the verifier join them.
        left &= 0x3f;
    }
    None
}
