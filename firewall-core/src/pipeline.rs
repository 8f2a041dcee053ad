//! The packet's way. The only place that knows the order of the stages.

use crate::address::Address;
use crate::classify::Decision;
use crate::conntrack::{self, Flow, FlowKey, Known, NO_NEIGHBOUR, NextHop, Sender};
use crate::event::{self, Dropped, Topic};
use crate::frame::Frame;
use crate::limit::{self, Work, resolve_tokens};
use crate::local;
use crate::neighbour;
use crate::packet::{Ethernet, Fragment, Noted, Packet, ether_type};
use crate::parse;
use crate::rewrite;
use crate::route::{self, Hop, Neighbour};
use crate::tables::{
    Action, Direction, FRAGMENT_TIMEOUT, FlowTable, FragmentKey, FragmentPorts, NO_ZONE, RuleKey, Tables, Zone,
    zone_flag,
};
use crate::verdict::{DropReason, Egress, Punt, PuntTask, Verdict};
use crate::zone::{self, Ingress};

/// Takes one frame that came in on `ifindex` at `now` (nanoseconds, monotonic) to its verdict, counted. What was found is
/// left in `packet`.
///
/// A back end whose programs are bounded (the kernel's) calls the parts itself, each as a program.
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Verdict {
    let mut part = Part::Enter;
    for _ in 0..MAX_PARTS {
        *packet = Packet::EMPTY;
        let step = match part {
            Part::Enter => enter(frame, tables, ifindex, now, packet),
            Part::First => first(frame, tables, ifindex, now, packet),
            Part::Neighbour => Step::Done(neighbour(frame, tables, ifindex, now, packet)),
            Part::Stale => stale(frame, tables, ifindex, now, packet),
            // Where no frame is handed over, none comes here.
            Part::Engine => break,
        };
        match step {
            Step::Done(verdict) => return verdict,
            Step::Continue(next) => part = next,
        }
    }
    let (reason, length) = (DropReason::NotReady, frame.length());
    dropped(tables, &Dropped { from: NO_ZONE, reason, ifindex, length, now }, packet)
}

/// Most parts that one frame goes through: enter, stale, enter, first, neighbour.
const MAX_PARTS: u32 = 5;

/// What a part leads to.
pub enum Step {
    /// The verdict.
    Done(Verdict),
    /// Another part has the word.
    Continue(Part),
}

/// The parts of the pipeline.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// [`enter()`], where every frame begins.
    Enter = 0,
    /// [`first()`].
    First = 1,
    /// [`neighbour()`].
    Neighbour = 2,
    /// [`stale()`].
    Stale = 3,
    /// The engine in user space: it begins anew with the frame, which is as it came and is not counted. The frame goes to
    /// [`Packet::socket`].
    Engine = 4,
}

/// The way of every frame, to its end for those whose flow is known. `packet`, empty, is room for what the parser
/// finds: where the back end has it.
#[inline(always)]
pub fn enter<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Step {
    let length = frame.length();
    let mut from = NO_ZONE;
    let step = match known_flow(frame, tables, ifindex, now, (&mut from, packet)) {
        // It will be here again.
        Ok(Step::Continue(Part::Stale)) => return Step::Continue(Part::Stale),
        Ok(Step::Continue(Part::First)) if may_hand_over::<F, T>(tables, from) => return Step::Continue(Part::First),
        Ok(Step::Continue(Part::Engine)) => return Step::Continue(Part::Engine),
        Ok(step) => step,
        Err(reason) => Step::Done(dropped(tables, &Dropped { from, reason, ifindex, length, now }, packet)),
    };
    count_arrival(tables, from, length);
    step
}

#[inline(always)]
fn count_arrival<T: Tables>(tables: &T, from: u16, length: u32) {
    if from != NO_ZONE {
        tables.count_zone(from, Direction::In, length);
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
    let ethernet = parse::ethernet(frame, packet)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    note_engine(frame, ingress.zone, packet);
    if ethernet.ether_type == ether_type::ARP {
        return Ok(Step::Continue(Part::Neighbour));
    }
    parse::ip(frame, &ethernet, packet)?;
    if packet.is_neighbour_discovery() {
        return Ok(Step::Continue(Part::Neighbour));
    }
    check_addresses(&ethernet, ingress.zone, packet)?;
    join_fragments(&ingress, packet)?;
    let Some(known) = conntrack::find(frame, &ingress, packet)? else {
        return Ok(Step::Continue(Part::First));
    };
    if known.flow.epoch.get() != ingress.settings.epoch {
        return Ok(Step::Continue(Part::Stale));
    }
    let path = known_path(&ingress, packet, &known)?;
    packet.to = Noted::new(u32::from(path.zone));
    let egress = egress(frame, &ingress, packet, path.zone)?;
    if hands_over::<F>(egress, packet) {
        return Ok(Step::Continue(Part::Engine));
    }
    let is_answer = known.sender != known.flow.beginner();
    check_limit(frame, &ingress, packet, &path, is_answer)?;
    let sender = known.sender;
    match conntrack::advance(frame, &ingress, packet, known)? {
        Some(flow) => forward(frame, &ingress, &ethernet, packet, (&flow, sender), (&path, egress)).map(Step::Done),
        None => Ok(Step::Continue(Part::First)),
    }
}

/// The first packet of a flow, or one for vfw itself. `packet`, empty, is room for what the parser finds.
#[inline(always)]
pub fn first<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Step {
    let length = frame.length();
    let mut from = NO_ZONE;
    let step = match new_flow(frame, tables, ifindex, now, (&mut from, packet)) {
        Ok(Step::Continue(Part::Engine)) => return Step::Continue(Part::Engine),
        Ok(step) => step,
        Err(reason) => Step::Done(dropped(tables, &Dropped { from, reason, ifindex, length, now }, packet)),
    };
    if may_hand_over::<F, T>(tables, from) {
        count_arrival(tables, from, length);
    }
    step
}

/// Whether the first packet of a flow from this zone may end in user space. It is counted where it ends, so [`enter()`] leaves
/// that to [`first()`].
#[inline(always)]
fn may_hand_over<F: Frame, T: Tables>(tables: &T, from: u16) -> bool {
    F::HANDS_OVER && tables.zone(from).is_some_and(|zone| zone.flags & zone_flag::USER_SPACE != 0)
}

/// Whether a frame goes to the engine in user space: both zones are its own, and it listens where the frame came in.
///
/// A flow is followed by the engine as a whole or not at all, for both of its directions are asked this; so each flow has one
/// owner at a time.
#[inline(always)]
fn hands_over<F: Frame>(egress: &Zone, packet: &Packet) -> bool {
    F::HANDS_OVER && egress.flags & packet.engine != 0
}

/// Notes whether the engine in user space takes frames of this zone where this one came in.
#[inline(always)]
fn note_engine<F: Frame>(frame: &F, zone: &Zone, packet: &mut Packet) {
    if F::HANDS_OVER
        && zone.flags & zone_flag::USER_SPACE != 0
        && let Some(socket) = frame.socket(zone)
    {
        packet.engine = zone_flag::USER_SPACE;
        packet.socket = socket;
    }
}

#[inline(always)]
fn new_flow<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ifindex: u32,
    now: u64,
    (from, packet): (&mut u16, &mut Packet),
) -> Result<Step, DropReason> {
    let ethernet = parse::ethernet(frame, packet)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    note_engine(frame, ingress.zone, packet);
    parse::ip(frame, &ethernet, packet)?;
    new_path(frame, &ingress, &ethernet, packet)
}

/// The first packet of a flow since the policy has changed: the flow is judged anew. What it was allowed and still is goes
/// on from [`enter()`]; what it no longer is ends here. `packet`, empty, is room for what the parser finds.
#[inline(always)]
pub fn stale<F: Frame, T: Tables>(frame: &mut F, tables: &T, ifindex: u32, now: u64, packet: &mut Packet) -> Step {
    let length = frame.length();
    let mut from = NO_ZONE;
    match judge_again(frame, tables, ifindex, now, (&mut from, packet)) {
        Ok(()) => Step::Continue(Part::Enter),
        Err(reason) => {
            count_arrival(tables, from, length);
            Step::Done(dropped(tables, &Dropped { from, reason, ifindex, length, now }, packet))
        }
    }
}

#[inline(always)]
fn judge_again<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    ifindex: u32,
    now: u64,
    (from, packet): (&mut u16, &mut Packet),
) -> Result<(), DropReason> {
    let ethernet = parse::ethernet(frame, packet)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    parse::ip(frame, &ethernet, packet)?;
    join_fragments(&ingress, packet)?;
    let Some(known) = conntrack::find(frame, &ingress, packet)? else { return Ok(()) };
    let verdict = renew(frame, &ingress, packet, &known);
    if verdict.is_err() {
        // Out of both: it may just have been confirmed by another CPU.
        tables.remove_flow(FlowTable::HalfOpen, &known.key);
        tables.remove_flow(FlowTable::Established, &known.key);
    }
    verdict
}

/// Judges a flow as if its first packet came now, and gives it the rule and the way that it gets.
#[inline(always)]
fn renew<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &mut Packet,
    known: &Known<T::Flow>,
) -> Result<(), DropReason> {
    let (flow, key) = (&known.flow, &known.key);
    let (from, to) = zones_of_flow(ingress.tables, key, flow)?;
    packet.to = Noted::new(u32::from(if known.sender == flow.beginner() { to } else { from }));
    let decision = ingress.tables.judge(|| RuleKey::of_flow(key, flow, from, to)).ok_or(DropReason::Policy)?;
    if decision.action() != Action::Allow {
        log(frame, ingress, || RuleKey::of_flow(key, flow, from, to), decision);
        return Err(refused(frame, ingress, packet, decision));
    }
    flow.rule.set(decision.rule());
    // The beginner is read again: what was known of it before the rules were asked is a way of its own for the verifier.
    let (own, other) = flow.next_hops(flow.beginner());
    own.zone.set(to);
    own.neighbour.set(NO_NEIGHBOUR);
    other.neighbour.set(NO_NEIGHBOUR);
    flow.epoch.set(ingress.settings.epoch);
    Ok(())
}

/// The rules' word on a flow, if its first packet came now; the reason when they would not be asked.
pub fn judge_flow<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow) -> Result<Decision, DropReason> {
    let (from, to) = zones_of_flow(tables, key, flow)?;
    tables.judge(|| RuleKey::of_flow(key, flow, from, to)).ok_or(DropReason::Policy)
}

/// The zone that a flow's first packet came from, and the one to which it would go now.
#[inline(always)]
fn zones_of_flow<T: Tables>(tables: &T, key: &FlowKey, flow: &Flow) -> Result<(u16, u16), DropReason> {
    let beginner = flow.beginner();
    let ((source, _), (destination, _)) = key.endpoints(beginner);
    let from = flow.next_hops(beginner).1.zone.get();
    let back = route::hop(tables, &source).map_err(|_| DropReason::SpoofedSource)?;
    if back.zone != from {
        return Err(DropReason::SpoofedSource);
    }
    Ok((from, route::hop(tables, &destination)?.zone))
}

/// What is for vfw itself: ARP, neighbour discovery, and echo requests that [`first()`] has found to be. `packet`, empty, is room for what the parser finds.
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
        Err(reason) => dropped(tables, &Dropped { from, reason, ifindex, length, now }, packet),
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
    let ethernet = parse::ethernet(frame, packet)?;
    let ingress = zone::find(tables, ifindex, ethernet.vlan, now, from)?;
    if ethernet.ether_type == ether_type::ARP {
        return neighbour::arp(frame, &ingress, &ethernet);
    }
    parse::ip(frame, &ethernet, packet)?;
    if packet.is_neighbour_discovery() {
        return neighbour::nd(frame, &ingress, &ethernet, packet);
    }
    local::echo(frame, &ingress, &ethernet, packet)
}

/// The end of a frame that is dropped; the daemon reports some of them to the sender, as many as its zone may ask for.
#[inline(always)]
fn dropped<T: Tables>(tables: &T, dropped: &Dropped, packet: &Packet) -> Verdict {
    let Dropped { from, reason, .. } = *dropped;
    if tables.count_dropped(dropped, packet) {
        Verdict::Punt(Punt { task: PuntTask::Report, reason, from, to: from })
    } else {
        Verdict::Drop(reason)
    }
}

/// Counts a drop, and tells the daemon of it as often as its zone may; whether the daemon is to report it to the sender.
#[inline(always)]
pub fn count_dropped<T: Tables>(tables: &T, dropped: &Dropped, packet: &Packet) -> bool {
    let Dropped { from, reason, length, now, .. } = *dropped;
    tables.count_drop(from, reason, length);
    if limit::admits(tables, from, Work::Drop, 1, now) {
        event::tell_dropped(tables, dropped, packet);
    }
    reason.is_reported() && limit::admits(tables, from, Work::Report, 1, now)
}

/// The way of one packet out of vfw.
struct Path {
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
            sequence: conntrack::first_sequence(packet),
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            icmp_type: packet.icmp_type,
            padding: [0; 7],
        };
        tables.add_fragment(&key, &ports);
        return Ok(());
    }
    let ports = tables.fragment(&key).filter(|ports| ports.expires > now).ok_or(DropReason::Fragment)?;
    packet.source_port = ports.source_port;
    packet.destination_port = ports.destination_port;
    packet.icmp_type = ports.icmp_type;
    packet.has_transport = true;
    packet.tcp.sequence = ports.sequence.wrapping_add(packet.fragment_offset);
    Ok(())
}

/// The way of a packet whose flow is known: no rule is looked at.
#[inline(always)]
fn known_path<T: Tables>(ingress: &Ingress<T>, packet: &Packet, known: &Known<T::Flow>) -> Result<Path, DropReason> {
    let (own, _) = known.flow.next_hops(known.sender);
    let zone = own.zone.get();
    let neighbour = route::cached(ingress.tables, own.neighbour.get(), own.generation.get());
    if neighbour.is_resolved() {
        return Ok(Path { zone, neighbour, next_hop: Address::UNSPECIFIED });
    }
    let hop = route::hop(ingress.tables, &packet.destination)?;
    if hop.zone != zone {
        return Err(DropReason::OtherZone);
    }
    let neighbour = route::neighbour(ingress.tables, &hop);
    remember(own, &neighbour);
    Ok(Path { zone, neighbour, next_hop: hop.next_hop })
}

/// Judges the first packet of a flow and begins the flow, unless it is meant for vfw itself.
#[inline(always)]
fn new_path<F: Frame, T: Tables>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &mut Packet,
) -> Result<Step, DropReason> {
    if !conntrack::may_begin(packet) {
        // The engine may have the first fragment in hand still, and begin the flow with it.
        let is_behind = F::HANDS_OVER && packet.engine != 0 && packet.fragment == Fragment::Later;
        return if is_behind { Ok(Step::Continue(Part::Engine)) } else { Err(DropReason::NoFlow) };
    }
    let back = route::hop(ingress.tables, &packet.source).map_err(|_| DropReason::SpoofedSource)?;
    if back.zone != ingress.id {
        return Err(DropReason::SpoofedSource);
    }
    let route = ingress.tables.route(&packet.destination).ok_or(DropReason::NoRoute)?;
    if route.is_local() {
        return Ok(Step::Continue(Part::Neighbour));
    }
    let hop = route.hop(&packet.destination)?;
    packet.to = Noted::new(u32::from(hop.zone));
    let decision = judge(frame, ingress, packet, &hop)?;
    let egress = egress(frame, ingress, packet, hop.zone)?;
    if hands_over::<F>(egress, packet) {
        return Ok(Step::Continue(Part::Engine));
    }
    let neighbour = route::neighbour(ingress.tables, &hop);
    let path = Path { zone: hop.zone, neighbour, next_hop: hop.next_hop };
    check_limit(frame, ingress, packet, &path, false)?;
    // Now that nothing can refuse it any longer: a packet that was dropped after the rules began no flow. (The half-open table
    // makes room by itself. Told of after the flow is made, the verifier follows a sixth more at tc.)
    log(frame, ingress, || RuleKey::of(packet, ingress.id, path.zone), decision);
    let (flow, sender) = begin_flow(frame, ingress, packet, &path, decision.rule())?;
    forward(frame, ingress, ethernet, packet, (&flow, sender), (&path, egress)).map(Step::Done)
}

/// Begins a half-open flow. Its record is complete when others can find it.
#[inline(always)]
fn begin_flow<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &Packet,
    path: &Path,
    rule: u32,
) -> Result<(T::Flow, Sender), DropReason> {
    let (key, sender) = FlowKey::of(packet);
    let state = conntrack::first_state(packet);
    let fill = |flow: &mut Flow| {
        flow.created = (ingress.now / 1_000_000_000) as u32;
        flow.epoch.set(ingress.settings.epoch);
        flow.low_began = u8::from(matches!(sender, Sender::Low));
        flow.expires.set(ingress.now.saturating_add(ingress.settings.timeout(state)));
        flow.rule.set(rule);
        flow.state.set(state as u8);
        flow.first_flags = packet.tcp_flags;
        let (own, other) = flow.next_hops(sender);
        own.zone.set(path.zone);
        remember(own, &path.neighbour);
        other.zone.set(ingress.id);
        other.neighbour.set(NO_NEIGHBOUR);
        conntrack::begin(frame, packet, flow, sender);
    };
    let flow = ingress.tables.add_flow(&key, fill).ok_or(DropReason::HalfOpenFull)?;
    Ok((flow, sender))
}

/// The rules' word on a new flow, if it is allowed.
#[inline(always)]
fn judge<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &mut Packet,
    hop: &Hop,
) -> Result<Decision, DropReason> {
    // Made twice instead of kept over the look-up, for which the stack has no room.
    let key = || RuleKey::of(packet, ingress.id, hop.zone);
    let decision = ingress.tables.judge(key).ok_or(DropReason::Policy)?;
    if decision.action() == Action::Allow {
        return Ok(decision);
    }
    log(frame, ingress, key, decision);
    Err(refused(frame, ingress, packet, decision))
}

/// Tells the daemon, where the rule wants it.
#[inline(always)]
fn log<F: Frame, T: Tables>(frame: &F, ingress: &Ingress<T>, key: impl FnOnce() -> RuleKey, decision: Decision) {
    if decision.is_logged() {
        event::tell(ingress, Topic::Log, |event| event.fill_rule(&key(), decision, frame.length(), ingress.now));
    }
}

/// Counts a packet that a rule does not let pass; the reason to drop it.
#[inline(always)]
fn refused<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &mut Packet,
    decision: Decision,
) -> DropReason {
    packet.refused_by = Noted::new(decision.rule());
    ingress.tables.count_rule(decision.rule(), frame.length(), ingress.now);
    if decision.action() == Action::Reject { DropReason::Reject } else { DropReason::Policy }
}

/// Notes in a flow where its neighbour is to be found.
#[inline(always)]
fn remember(next_hop: &NextHop, neighbour: &Neighbour) {
    next_hop.neighbour.set(neighbour.slot);
    next_hop.generation.set(neighbour.word.generation());
}

/// The zone through which a packet leaves, when it may go on at all. Before any state moves: a packet that the next
/// router drops says nothing about its flow.
#[inline(always)]
fn egress<'a, F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<'a, T>,
    packet: &Packet,
    zone: u16,
) -> Result<&'a Zone, DropReason> {
    if packet.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    let egress = ingress.tables.zone(zone).ok_or(DropReason::NoRoute)?;
    if egress.flags & zone_flag::DOWN != 0 {
        return Err(DropReason::InterfaceDown);
    }
    if packet.ip_length > egress.mtu && segment_length(frame, packet) > egress.mtu {
        return Err(DropReason::TooBig);
    }
    Ok(egress)
}

/// A packet whose neighbour is not known goes to the daemon, as often as the zone that began its flow may ask for that.
/// Before any state moves, as [`egress`].
#[inline(always)]
fn check_limit<F: Frame, T: Tables>(
    frame: &F,
    ingress: &Ingress<T>,
    packet: &mut Packet,
    path: &Path,
    is_answer: bool,
) -> Result<(), DropReason> {
    if path.neighbour.is_resolved() {
        return Ok(());
    }
    let (asker, work) = if is_answer { (path.zone, Work::Answer) } else { (ingress.id, Work::Resolve) };
    packet.asker = asker;
    let tokens = resolve_tokens(frame.length());
    if limit::admits(ingress.tables, asker, work, tokens, ingress.now) { Ok(()) } else { Err(DropReason::ResolveLimit) }
}

/// Sends a packet on: the change of the frame, the counters.
#[inline(always)]
fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &mut Packet,
    (flow, sender): (&T::Flow, Sender),
    (path, egress): (&Path, &Zone),
) -> Result<Verdict, DropReason> {
    let length = frame.length();
    if F::COMPLETES_CHECKSUMS && ingress.zone.flags & zone_flag::PARTIAL_CHECKSUMS != 0 {
        rewrite::complete_checksum(frame, packet)?;
    }
    rewrite::forward(frame, ethernet, packet, egress, path.neighbour.word.mac())?;
    flow.halves(sender).0.count(length);
    ingress.tables.count_rule(flow.rule.get(), length, ingress.now);
    ingress.tables.count_zone(path.zone, Direction::Out, length);
    if path.neighbour.is_resolved() {
        return Ok(Verdict::Transmit(Egress { zone: path.zone, reply: false }));
    }
    packet.next_hop = path.next_hop;
    let (from, to) = (ingress.id, path.zone);
    Ok(Verdict::Punt(Punt { task: PuntTask::Resolve, reason: DropReason::Unreachable, from, to }))
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
