//! The packet's way. The only place that knows the order of the stages.

use crate::address::Address;
use crate::conntrack::{self, Flow, FlowKey, Half, Known, NO_NEIGHBOUR, Sender};
use crate::frame::Frame;
use crate::local;
use crate::neighbour;
use crate::packet::{Ethernet, Fragment, Packet, ether_type};
use crate::parse;
use crate::rewrite;
use crate::route::{self, Hop, Neighbour};
use crate::tables::{
    Action, Direction, FRAGMENT_TIMEOUT, FragmentKey, FragmentPorts, Judgement, NO_ZONE, RuleKey, Tables, Zone,
    zone_flag,
};
use crate::verdict::{DropReason, Egress, Punt, PuntTask, Verdict};
use crate::zone::{self, Ingress};

/// Takes one frame that came in on `ifindex` at `now` (nanoseconds, monotonic) to its verdict, counted.
///
/// A back end whose programs are bounded (the kernel's) calls the three parts itself, each as a program.
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64) -> Verdict {
    let (mut entering, mut following) = (Packet::EMPTY, Packet::EMPTY);
    match enter(frame, tables, ifindex, now, &mut entering) {
        Step::Done(verdict) => verdict,
        Step::Continue(Part::First) => first(frame, tables, ifindex, now, &mut following),
        Step::Continue(Part::Neighbour) => neighbour(frame, tables, ifindex, now, &mut following),
    }
}

/// What [`enter`] leads to.
pub enum Step {
    /// The verdict.
    Done(Verdict),
    /// Another part has the word.
    Continue(Part),
}

/// The parts that follow [`enter`] for frames that belong to no flow.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// [`first()`].
    First = 0,
    /// [`neighbour()`].
    Neighbour = 1,
}

/// The way of every frame, to its end for those whose flow is known. `packet`, empty, is room for what the parser
/// finds: where the back end has it.
#[inline(always)]
pub fn enter<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Step {
    let length = frame.length();
    let mut from = NO_ZONE;
    match known_flow(frame, tables, ifindex, now, (&mut from, packet)) {
        Ok(step) => step,
        Err(reason) => Step::Done(dropped(tables, from, reason, length)),
    }
}

#[inline(always)]
fn known_flow<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    (from, packet): (&mut u16, &mut Packet),
) -> Result<Step, DropReason> {
    let ethernet = parse::ethernet(frame)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    tables.count_zone(ingress.id, Direction::In, frame.length());
    if ethernet.ether_type == ether_type::ARP {
        return Ok(Step::Continue(Part::Neighbour));
    }
    parse::ip(frame, &ethernet, packet)?;
    if packet.is_neighbour_discovery() {
        return Ok(Step::Continue(Part::Neighbour));
    }
    check_addresses(&ethernet, ingress.zone, packet)?;
    join_fragments(&ingress, packet)?;
    match conntrack::track(frame, &ingress, packet)? {
        Some(known) => {
            let path = known_path(&ingress, packet, known)?;
            forward(frame, &ingress, &ethernet, packet, &path).map(Step::Done)
        }
        None => Ok(Step::Continue(Part::First)),
    }
}

/// The first packet of a flow, and packets for vfw itself. `packet`, empty, is room for what the parser finds.
#[inline(always)]
pub fn first<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Verdict {
    let length = frame.length();
    let mut from = NO_ZONE;
    match new_flow(frame, tables, ifindex, now, (&mut from, packet)) {
        Ok(verdict) => verdict,
        Err(reason) => dropped(tables, from, reason, length),
    }
}

#[inline(always)]
fn new_flow<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    (from, packet): (&mut u16, &mut Packet),
) -> Result<Verdict, DropReason> {
    let ethernet = parse::ethernet(frame)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    parse::ip(frame, &ethernet, packet)?;
    match new_path(frame, &ingress, packet)? {
        Some(path) => forward(frame, &ingress, &ethernet, packet, &path),
        None => local::echo(frame, &ingress, &ethernet, packet),
    }
}

/// ARP and neighbour discovery. `packet`, empty, is room for what the parser finds.
#[inline(always)]
pub fn neighbour<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    packet: &mut Packet,
) -> Verdict {
    let length = frame.length();
    let mut from = NO_ZONE;
    match answer(frame, tables, ifindex, now, (&mut from, packet)) {
        Ok(verdict) => verdict,
        Err(reason) => dropped(tables, from, reason, length),
    }
}

#[inline(always)]
fn answer<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    (from, packet): (&mut u16, &mut Packet),
) -> Result<Verdict, DropReason> {
    let ethernet = parse::ethernet(frame)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    if ethernet.ether_type == ether_type::ARP {
        return neighbour::arp(frame, &ingress, &ethernet);
    }
    parse::ip(frame, &ethernet, packet)?;
    neighbour::nd(frame, &ingress, &ethernet, packet)
}

/// Counts a drop; the daemon reports some of them to the sender.
#[inline(always)]
fn dropped<T: Tables>(tables: &T, from: u16, reason: DropReason, length: u32) -> Verdict {
    tables.count_drop(from, reason, length);
    if reason.is_reported() {
        return Verdict::Punt(Punt { task: PuntTask::Report, reason, zone: from, next_hop: Address::UNSPECIFIED });
    }
    Verdict::Drop(reason)
}

/// The way of one packet: its flow and its next hop.
struct Path<R> {
    flow: R,
    sender: Sender,
    /// Egress zone.
    zone: u16,
    neighbour: Neighbour,
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
fn join_fragments<T: Tables>(ingress: &Ingress<T>, packet: &mut Packet) -> Result<(), DropReason> {
    if packet.fragment == Fragment::Whole {
        return Ok(());
    }
    let (tables, now) = (ingress.tables, ingress.now);
    let key = FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        protocol: u16::from(packet.protocol),
        zone: ingress.id,
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
    ingress: &Ingress<T>,
    packet: &Packet,
    known: Known<T::Flow>,
) -> Result<Path<T::Flow>, DropReason> {
    let Known { flow, sender } = known;
    let (own, _) = flow.halves(sender);
    let zone = own.zone.get();
    let neighbour = route::cached(ingress.tables, own.neighbour.get(), own.generation.get());
    if neighbour.is_resolved() {
        return Ok(Path { flow, sender, zone, neighbour, next_hop: Address::UNSPECIFIED });
    }
    let hop = route::hop(ingress.tables, &packet.destination)?;
    if hop.zone != zone {
        return Err(DropReason::OtherZone);
    }
    let neighbour = find_neighbour(ingress.tables, own, &hop);
    Ok(Path { flow, sender, zone, neighbour, next_hop: hop.next_hop })
}

/// Judges the first packet of a flow and begins the flow; `None` when it is meant for vfw itself.
#[inline(always)]
fn new_path<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &Packet,
) -> Result<Option<Path<T::Flow>>, DropReason> {
    if !conntrack::may_begin(packet) {
        return Err(DropReason::NoFlow);
    }
    let back = route::hop(ingress.tables, &packet.source).map_err(|_| DropReason::SpoofedSource)?;
    if back.zone != ingress.id {
        return Err(DropReason::SpoofedSource);
    }
    let route = ingress.tables.route(&packet.destination).ok_or(DropReason::NoRoute)?;
    if route.is_local() {
        return Ok(None);
    }
    let hop = route.hop(&packet.destination)?;
    let judgement = judge(frame, ingress, packet, &hop)?;
    let (key, sender) = FlowKey::of(packet);
    let state = conntrack::first_state(packet);
    let fill = |flow: &mut Flow| {
        flow.created = ingress.now;
        flow.low_began = u8::from(matches!(sender, Sender::Low));
        *flow.expires.get_mut() = ingress.now.saturating_add(ingress.settings.timeout(state));
        *flow.rule.get_mut() = judgement.rule;
        *flow.state.get_mut() = state as u8;
    };
    let flow = ingress.tables.add_flow(&key, fill).ok_or(DropReason::HalfOpenFull)?;
    conntrack::begin(frame, packet, &flow, sender);
    let (own, other) = flow.halves(sender);
    own.zone.set(hop.zone);
    other.zone.set(ingress.id);
    other.neighbour.set(NO_NEIGHBOUR);
    let neighbour = find_neighbour(ingress.tables, own, &hop);
    Ok(Some(Path { flow, sender, zone: hop.zone, neighbour, next_hop: hop.next_hop }))
}

/// The rules' word on a new flow.
#[inline(always)]
fn judge<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &Packet,
    hop: &Hop,
) -> Result<Judgement, DropReason> {
    let key = RuleKey::of(packet, ingress.id, hop.zone);
    let judgement = ingress.tables.judge(ingress.settings, &key).ok_or(DropReason::Policy)?;
    if judgement.log {
        ingress.tables.tell(|event| event.fill_rule(&key, judgement, frame.length(), ingress.now));
    }
    let reason = match judgement.action {
        Action::Allow => return Ok(judgement),
        Action::Drop => DropReason::Policy,
        Action::Reject => DropReason::Reject,
    };
    ingress.tables.count_rule(judgement.rule, frame.length(), ingress.now);
    Err(reason)
}

/// Looks the neighbour up and remembers it in the flow.
#[inline(always)]
fn find_neighbour<T: Tables>(tables: &T, half: &Half, hop: &Hop) -> Neighbour {
    let neighbour = route::neighbour(tables, hop);
    half.neighbour.set(neighbour.slot);
    half.generation.set(neighbour.generation);
    neighbour
}

/// Sends a packet on: the last checks, the counters, the change of the frame.
#[inline(always)]
fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &Packet,
    path: &Path<T::Flow>,
) -> Result<Verdict, DropReason> {
    if packet.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    let egress = ingress.tables.zone(path.zone).ok_or(DropReason::NoRoute)?;
    if packet.ip_length > egress.mtu && segment_length(frame, packet) > egress.mtu {
        return Err(DropReason::TooBig);
    }
    let length = frame.length();
    if F::COMPLETES_CHECKSUMS && ingress.zone.flags & zone_flag::PARTIAL_CHECKSUMS != 0 {
        rewrite::complete_checksum(frame, packet)?;
    }
    rewrite::forward(frame, ethernet, packet, egress, path.neighbour.mac)?;
    path.flow.halves(path.sender).0.count(length);
    ingress.tables.count_rule(path.flow.rule.get(), length, ingress.now);
    ingress.tables.count_zone(path.zone, Direction::Out, length);
    if path.neighbour.is_resolved() {
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
