//! What was dropped lately, packet by packet, as far as the data path tells.

use std::collections::{BTreeMap, HashMap};

use firewall_core::DropReason;
use firewall_core::event::{Dropped, Event, NO_RULE, found};
use firewall_core::packet::{Mac, Noted, Packet, protocol};
use firewall_core::parse;
use zerocopy::IntoBytes;

use super::flow::protocol_name;
use super::setup::Setup;
use super::state::{Shared, lock, mac};
use crate::backend::kernel::PuntedFrame;
use crate::backend::memory::MemoryFrame;
use crate::clock;
use crate::control::{CounterView, RecentDropView};
use crate::explain::RulePlace;
use crate::lang::Policy;

/// Drops that are remembered, those that repeat counted as one.
const ROOM: usize = 1_000;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Drops by the daemon itself, and the recent ones by whomever.
#[derive(Default)]
pub struct Drops {
    own: BTreeMap<(u16, DropReason), CounterView>,
    recent: Recent,
}

impl Drops {
    /// What the daemon itself has dropped of a zone's packets for a reason.
    pub fn counter(&self, zone: u16, reason: DropReason) -> CounterView {
        self.own.get(&(zone, reason)).copied().unwrap_or_default()
    }

    /// The recent drops, the oldest first.
    pub fn recent(&self) -> Vec<Seen> {
        self.recent.list()
    }

    /// Drops of a zone that were heard of.
    pub fn heard(&self, zone: u16) -> u64 {
        self.recent.heard.get(&zone).copied().unwrap_or_default()
    }

    /// Forgets the drops of a zone whose number is another's from now on.
    pub fn forget_zone(&mut self, zone: u16) {
        self.own.retain(|(of, _), _| *of != zone);
        self.recent.forget_zone(zone);
    }
}

impl Shared {
    /// Counts a frame that the daemon dropped under `policy`, and remembers it.
    pub fn count_drop(&self, policy: &Policy, frame: &PuntedFrame, reason: DropReason) {
        let (from, length) = (frame.header.from, frame.bytes.len());
        let dropped = Dropped { from, reason, ifindex: 0, length: length as u32, now: clock::now() };
        let event = Event::of_dropped(&dropped, 0, &packet_of(frame));
        let mut drops = lock(&self.drops);
        let counter = drops.own.entry((from, reason)).or_default();
        counter.packets += 1;
        counter.bytes += length as u64;
        drops.recent.add(&event, || Names::of_zones(policy, &event));
    }

    /// Remembers a drop of the data path.
    pub fn remember_drop(&self, event: &Event) {
        let setup = lock(&self.setup);
        lock(&self.drops).recent.add(event, || Names::of(&setup, event));
    }
}

/// What a drop is told with, by the names that were in force then.
#[derive(Clone, Debug, Default)]
struct Names {
    zone: Option<String>,
    to_zone: Option<String>,
    interface: Option<String>,
    /// The rule that refused it.
    decided: Option<RulePlace>,
}

impl Names {
    fn of_zones(policy: &Policy, event: &Event) -> Self {
        let zone = |id: u16| policy.zone(id).map(|zone| zone.name.clone());
        Self { zone: zone(event.from), to_zone: zone(event.to), ..Self::default() }
    }

    fn of(setup: &Setup, event: &Event) -> Self {
        // A number of the policy before says nothing about the rules of this one.
        let is_current = event.rule != NO_RULE && event.epoch == setup.image.settings.epoch;
        let rule = setup.image.rule_names.get(event.rule as usize).filter(|_| is_current);
        let port = setup.ports.iter().find(|port| port.index() == Some(event.ifindex));
        Self {
            interface: port.map(|port| port.name.clone()),
            decided: rule.map(|name| RulePlace { place: name.place.clone(), rule: name.text.clone() }),
            ..Self::of_zones(&setup.policy, event)
        }
    }
}

/// Drops that are alike.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The last of them.
    last: Event,
    /// When the first of them was seen, nanoseconds.
    first: u64,
    /// How many were told of.
    packets: u64,
    names: Names,
    /// Place in the order of all.
    number: u64,
}

impl Seen {
    /// As it is shown at `now` (nanoseconds).
    pub fn view(&self, now: u64) -> RecentDropView {
        let (event, names) = (&self.last, self.names.clone());
        let has = |bit: u8| event.found & bit != 0;
        let ago = |time: u64| now.saturating_sub(time) / SECOND;
        let is_icmp = matches!(event.protocol, protocol::ICMP | protocol::ICMP6);
        let (is_later, has_transport) = (has(found::LATER_FRAGMENT), has(found::TRANSPORT));
        let has_ports = has_transport && !is_icmp;
        let [kind, code] = event.destination_port.to_be_bytes();
        RecentDropView {
            packets: self.packets,
            first_seen_seconds: ago(self.first),
            last_seen_seconds: ago(event.time),
            zone: names.zone,
            to_zone: names.to_zone,
            interface: names.interface,
            vlan: (has(found::LINK) && event.vlan != 0).then_some(event.vlan),
            reason: DropReason::from_code(event.reason).map_or("?", DropReason::name).to_owned(),
            decided: names.decided,
            bytes: event.length,
            source_mac: has(found::LINK).then(|| mac(event.mac)),
            destination_mac: has(found::LINK).then(|| mac(event.receiver)),
            ether_type: has(found::LINK).then_some(event.ether_type),
            protocol: has(found::NETWORK).then(|| protocol_name(event.protocol)),
            source: has(found::NETWORK).then(|| event.source.to_string()),
            destination: has(found::NETWORK).then(|| event.destination.to_string()),
            source_port: has_ports.then_some(event.source_port),
            destination_port: has_ports.then_some(event.destination_port),
            icmp_type: (has_transport && is_icmp).then_some(kind),
            icmp_code: (has_transport && is_icmp && !is_later).then_some(code),
            tcp_flags: (has_ports && event.protocol == protocol::TCP && !is_later).then(|| flags(event.tcp_flags)),
            fragment: match (has(found::FIRST_FRAGMENT), is_later) {
                (true, _) => Some("first".to_owned()),
                (_, true) => Some("later".to_owned()),
                _ => None,
            },
        }
    }
}

/// What a frame that waited for its neighbour holds. Its link layer is that of the egress side already.
fn packet_of(frame: &PuntedFrame) -> Packet {
    let bytes = MemoryFrame::new(frame.bytes.clone());
    let mut packet = Packet::EMPTY;
    if let Ok(ethernet) = parse::ethernet(&bytes, &mut packet) {
        // What cannot be read any longer is not found.
        let _ = parse::ip(&bytes, &ethernet, &mut packet);
    }
    Packet { sender: Mac::NONE, receiver: Mac::NONE, to: Noted::new(u32::from(frame.header.to)), ..packet }
}

/// TCP flags in the order in which people name them: `SYN,ACK`.
fn flags(bits: u8) -> String {
    let names = [(0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG")];
    let set = names.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name);
    set.collect::<Vec<_>>().join(",")
}

/// What is the same in drops that are alike.
type Likeness = [u8; size_of::<Event>()];

/// The last drops. When there is no room, the zone that has most of them loses its oldest.
#[derive(Default)]
struct Recent {
    seen: HashMap<Likeness, Seen>,
    /// By zone, the oldest first.
    order: BTreeMap<u16, BTreeMap<u64, Likeness>>,
    /// By zone.
    heard: BTreeMap<u16, u64>,
    /// The next [`Seen::number`].
    next: u64,
}

impl Recent {
    fn add(&mut self, event: &Event, names: impl FnOnce() -> Names) {
        let likeness = likeness(event);
        let number = self.next;
        self.next += 1;
        *self.heard.entry(event.from).or_default() += 1;
        let order = self.order.entry(event.from).or_default();
        if let Some(seen) = self.seen.get_mut(&likeness) {
            order.remove(&seen.number);
            (seen.number, seen.last) = (number, *event);
            seen.packets += 1;
        } else {
            let seen = Seen { last: *event, first: event.time, packets: 1, names: names(), number };
            self.seen.insert(likeness, seen);
        }
        order.insert(number, likeness);
        if self.seen.len() > ROOM {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let largest = self.order.values_mut().max_by_key(|zone| zone.len());
        if let Some((_, likeness)) = largest.and_then(BTreeMap::pop_first) {
            self.seen.remove(&likeness);
        }
    }

    fn forget_zone(&mut self, zone: u16) {
        self.heard.remove(&zone);
        for likeness in self.order.remove(&zone).unwrap_or_default().into_values() {
            self.seen.remove(&likeness);
        }
    }

    fn list(&self) -> Vec<Seen> {
        let mut all: Vec<Seen> = self.seen.values().cloned().collect();
        all.sort_by_key(|seen| seen.number);
        all
    }
}

/// Two drops are alike when the same sender was refused the same thing for the same reason. A client that tries again takes
/// another port, and its packets may be of any size.
fn likeness(event: &Event) -> Likeness {
    let mut alike = Event { time: 0, length: 0, tcp_flags: 0, ..*event };
    if event.found & found::NETWORK != 0 {
        (alike.mac, alike.receiver, alike.source_port) = ([0; 6], [0; 6], 0);
    }
    let mut bytes = [0; size_of::<Event>()];
    bytes.copy_from_slice(alike.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(zone: u16, port: u16) -> Event {
        let packet = Packet { ip_length: 40, has_transport: true, destination_port: port, ..Packet::EMPTY };
        let dropped = Dropped { from: zone, reason: DropReason::Policy, ifindex: 1, length: 60, now: u64::from(port) };
        Event::of_dropped(&dropped, 1, &packet)
    }

    fn add(recent: &mut Recent, event: &Event) {
        recent.add(event, Names::default);
    }

    #[test]
    fn drops_that_are_alike_are_one_line() {
        let mut recent = Recent::default();
        let first = event(0, 80);
        add(&mut recent, &first);
        add(&mut recent, &event(0, 81));
        add(&mut recent, &Event { source_port: 7, length: 99, time: 500, ..first });
        let listed: Vec<_> =
            recent.list().iter().map(|seen| (seen.last.destination_port, seen.packets, seen.first)).collect();
        assert_eq!(listed, [(81, 1, 81), (80, 2, 80)], "the newest last");
        assert_eq!(recent.list()[1].last.length, 99, "as the last of them was");
        for other in [
            Event { rule: 4, ..first },
            Event { destination_port: 82, ..first },
            Event { reason: DropReason::TcpFlags as u8, ..first },
        ] {
            let before = recent.seen.len();
            add(&mut recent, &other);
            assert_eq!(recent.seen.len(), before + 1, "{other:?}");
        }
    }

    #[test]
    fn a_zone_that_is_flooded_makes_room_by_itself() {
        let mut recent = Recent::default();
        add(&mut recent, &event(1, 443));
        for port in 0..3 * ROOM as u16 {
            add(&mut recent, &event(0, port));
        }
        let list = recent.list();
        assert_eq!((list.len(), recent.seen.len()), (ROOM, ROOM));
        assert_eq!((list[0].last.from, list[0].last.destination_port), (1, 443), "the other zone's is still there");
        assert_eq!(list.last().expect("many").last.destination_port, 3 * ROOM as u16 - 1);
        assert_eq!(recent.heard, BTreeMap::from([(0, 3 * ROOM as u64), (1, 1)]));
        recent.forget_zone(0);
        assert_eq!((recent.list().len(), recent.seen.len(), recent.heard.len()), (1, 1, 1));
    }

    #[test]
    fn flags_have_names() {
        assert_eq!([0x02, 0x12, 0x00].map(flags), ["SYN", "SYN,ACK", ""]);
    }
}
