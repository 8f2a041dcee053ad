//! The packet's way. The only place that knows the order of the stages.

use core::sync::atomic::Ordering::Relaxed;

use crate::address::Address;
use crate::conntrack::{self, Flow, FlowKey, Half, Known, NO_NEIGHBOUR, Sender};
use crate::event::Event;
use crate::frame::Frame;
use crate::neighbour::{self, Place};
use crate::packet::{Ethernet, Fragment, Packet, ether_type};
use crate::parse;
use crate::rewrite;
use crate::route::{self, Hop, Neighbour};
use crate::tables::{
    Action, Direction, FRAGMENT_TIMEOUT, FragmentKey, FragmentPorts, Judgement, RuleKey, Settings, Tables, Zone,
    zone_flag,
};
use crate::verdict::{DropReason, Egress, Punt, PuntTask, Verdict};
use crate::{local, zone};

/// Takes one frame that came in on `ifindex` at `now` (nanoseconds, monotonic) to its verdict, counted.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64) -> Verdict {
    let length = frame.length();
    let mut came_from = None;
    match run(frame, tables, ifindex, now, &mut came_from) {
        Ok(verdict) => verdict,
        Err(reason) => {
            tables.count_drop(came_from, reason, length);
            match came_from {
                Some(zone) if reason.is_reported() => {
                    Verdict::Punt(Punt { task: PuntTask::Report, reason, zone, next_hop: Address::UNSPECIFIED })
                }
                _ => Verdict::Drop(reason),
            }
        }
    }
}

#[inline(always)]
fn run<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    came_from: &mut Option<u16>,
) -> Result<Verdict, DropReason> {
    let settings = tables.settings().filter(|settings| settings.epoch != 0).ok_or(DropReason::NotReady)?;
    let ethernet = parse::ethernet(frame)?;
    let (id, zone) = zone::ingress(tables, ifindex, ethernet.vlan)?;
    *came_from = Some(id);
    tables.count_zone(id, Direction::In, frame.length());
    let place = Place { id, zone, now };
    if ethernet.ether_type == ether_type::ARP {
        return neighbour::arp(frame, tables, &place, &ethernet);
    }
    let mut packet = parse::ip(frame, &ethernet)?;
    if packet.is_neighbour_discovery() {
        return neighbour::nd(frame, tables, &place, &ethernet, &packet);
    }
    check_addresses(&ethernet, zone, &packet)?;
    join_fragments(tables, &mut packet, now)?;
    let path = match conntrack::track(frame, tables, settings, &packet, now)? {
        Some(known) => known_path(tables, &place, &packet, known)?,
        None => match new_path(frame, tables, settings, &place, &packet)? {
            Some(path) => path,
            None => return local::echo(frame, &place, &ethernet, &packet),
        },
    };
    forward(frame, tables, &place, &ethernet, &packet, &path)
}

/// The way of one packet: its flow and its next hop.
struct Path<R> {
    flow: R,
    sender: Sender,
    /// Egress zone.
    zone: u16,
    neighbour: Option<Neighbour>,
    /// The neighbour's address, known when the neighbour is not.
    next_hop: Address,
}

/// Frames for other hosts, and addresses that no router forwards.
#[inline(always)]
fn check_addresses(ethernet: &Ethernet, zone: &Zone, packet: &Packet) -> Result<(), DropReason> {
    if ethernet.destination != zone.mac {
        let is_group = ethernet.destination[0] & 1 != 0;
        return Err(if is_group { DropReason::Multicast } else { DropReason::OtherMac });
    }
    if packet.destination.is_multicast() {
        return Err(DropReason::Multicast);
    }
    if packet.source.is_martian_source() || packet.source == packet.destination {
        return Err(DropReason::MartianSource);
    }
    Ok(())
}

/// A first fragment leaves its ports for the later ones; a later one takes them over.
#[inline(always)]
fn join_fragments<T: Tables>(tables: &T, packet: &mut Packet, now: u64) -> Result<(), DropReason> {
    if packet.fragment == Fragment::Whole {
        return Ok(());
    }
    let key = FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        protocol: u32::from(packet.protocol),
    };
    if packet.fragment == Fragment::First {
        let ports = FragmentPorts {
            expires: now.saturating_add(FRAGMENT_TIMEOUT),
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            icmp_type: packet.icmp_type,
            padding: [0; 3],
        };
        tables.add_fragment(&key, &ports);
        return Ok(());
    }
    let ports = tables.fragment(&key).filter(|ports| ports.expires > now).ok_or(DropReason::Fragment)?;
    packet.source_port = ports.source_port;
    packet.destination_port = ports.destination_port;
    packet.icmp_type = ports.icmp_type;
    Ok(())
}

/// The way of a packet whose flow is known: no rule is looked at.
#[inline(always)]
fn known_path<T: Tables>(
    tables: &T,
    place: &Place,
    packet: &Packet,
    known: Known<T::Flow>,
) -> Result<Path<T::Flow>, DropReason> {
    let Known { flow, sender } = known;
    let (own, back) = flow.halves(sender);
    if back.zone.load(Relaxed) != place.id {
        return Err(DropReason::OtherZone);
    }
    let zone = own.zone.load(Relaxed);
    if let Some(neighbour) = route::cached(tables, own.neighbour.load(Relaxed), own.generation.load(Relaxed)) {
        return Ok(Path { flow, sender, zone, neighbour: Some(neighbour), next_hop: Address::UNSPECIFIED });
    }
    let hop = route::hop(tables, &packet.destination)?;
    if hop.zone != zone {
        return Err(DropReason::OtherZone);
    }
    let neighbour = find_neighbour(tables, own, &hop);
    Ok(Path { flow, sender, zone, neighbour, next_hop: hop.next_hop })
}

/// Judges the first packet of a flow and begins the flow; `None` when it is meant for vfw itself.
#[inline(always)]
fn new_path<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    place: &Place,
    packet: &Packet,
) -> Result<Option<Path<T::Flow>>, DropReason> {
    if !conntrack::may_begin(packet) {
        return Err(DropReason::NoFlow);
    }
    let back = route::hop(tables, &packet.source).map_err(|_| DropReason::SpoofedSource)?;
    if back.zone != place.id {
        return Err(DropReason::SpoofedSource);
    }
    let route = tables.route(&packet.destination).ok_or(DropReason::NoRoute)?;
    if route.is_local() {
        return Ok(None);
    }
    let hop = route.hop(&packet.destination)?;
    let judgement = judge(frame, tables, settings, place, packet, &hop)?;
    let (key, sender) = FlowKey::of(packet);
    let state = conntrack::first_state(packet);
    let fill = |flow: &mut Flow| {
        flow.created = place.now;
        flow.low_began = u8::from(matches!(sender, Sender::Low));
        *flow.expires.get_mut() = place.now.saturating_add(settings.timeout(state));
        *flow.rule.get_mut() = judgement.rule;
        *flow.state.get_mut() = state as u8;
    };
    let flow = tables.add_flow(&key, fill).ok_or(DropReason::HalfOpenFull)?;
    conntrack::begin(frame, packet, &flow, sender);
    let (own, other) = flow.halves(sender);
    own.zone.store(hop.zone, Relaxed);
    other.zone.store(place.id, Relaxed);
    other.neighbour.store(NO_NEIGHBOUR, Relaxed);
    let neighbour = find_neighbour(tables, own, &hop);
    Ok(Some(Path { flow, sender, zone: hop.zone, neighbour, next_hop: hop.next_hop }))
}

/// The rules' word on a new flow.
#[inline(always)]
fn judge<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    settings: &Settings,
    place: &Place,
    packet: &Packet,
    hop: &Hop,
) -> Result<Judgement, DropReason> {
    let key = RuleKey::of(packet, place.id, hop.zone);
    let judgement = tables.judge(settings, &key).ok_or(DropReason::Policy)?;
    if judgement.log {
        tables.tell(&Event::of_rule(&key, &judgement, frame.length(), place.now));
    }
    let reason = match judgement.action {
        Action::Allow => return Ok(judgement),
        Action::Drop => DropReason::Policy,
        Action::Reject => DropReason::Reject,
    };
    tables.count_rule(judgement.rule, frame.length(), place.now);
    Err(reason)
}

/// Looks the neighbour up and remembers it in the flow.
#[inline(always)]
fn find_neighbour<T: Tables>(tables: &T, half: &Half, hop: &Hop) -> Option<Neighbour> {
    let neighbour = route::neighbour(tables, hop);
    let (slot, generation) = neighbour.map_or((NO_NEIGHBOUR, 0), |found| (found.slot, found.generation));
    half.neighbour.store(slot, Relaxed);
    half.generation.store(generation, Relaxed);
    neighbour
}

/// Sends a packet on: the last checks, the counters, the change of the frame.
#[inline(always)]
fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    place: &Place,
    ethernet: &Ethernet,
    packet: &Packet,
    path: &Path<T::Flow>,
) -> Result<Verdict, DropReason> {
    if packet.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    let egress = tables.zone(path.zone).ok_or(DropReason::NoRoute)?;
    if packet.ip_length > egress.mtu && segment_length(frame, packet) > egress.mtu {
        return Err(DropReason::TooBig);
    }
    let length = frame.length();
    if F::COMPLETES_CHECKSUMS && place.zone.flags & zone_flag::PARTIAL_CHECKSUMS != 0 {
        rewrite::complete_checksum(frame, packet)?;
    }
    let mac = path.neighbour.map_or([0; 6], |neighbour| neighbour.mac);
    rewrite::forward(frame, ethernet, packet, egress, mac)?;
    path.flow.halves(path.sender).0.count(length);
    tables.count_rule(path.flow.rule.load(Relaxed), length, place.now);
    tables.count_zone(path.zone, Direction::Out, length);
    if path.neighbour.is_some() {
        return Ok(Verdict::Transmit(Egress { zone: path.zone, reply: false }));
    }
    let next_hop = path.next_hop;
    Ok(Verdict::Punt(Punt { task: PuntTask::Resolve, reason: DropReason::Unreachable, zone: path.zone, next_hop }))
}

/// Bytes of each IP packet that a GSO super-packet will be cut into; of the packet itself when it is none.
#[inline(always)]
fn segment_length<F: Frame>(frame: &F, packet: &Packet) -> u32 {
    let headers = packet.transport_offset - packet.network_offset + u32::from(packet.tcp.header_length).max(8);
    match frame.gso_size() {
        0 => packet.ip_length,
        payload => headers.saturating_add(payload),
    }
}
