//! What must become of a frame, told from the policy and from what passed before. It reads packets itself, plainly, and
//! knows no timeouts: whatever it refuses must be refused, not the other way round.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use vfw::lang::{Action, Policy};

use crate::oracle::{Answer, Question, first_match};
use crate::packet::{network, number};

/// Both ends of a flow, in order, and its protocol.
type Flow = (u8, (IpAddr, u16), (IpAddr, u16));
/// Source, destination, identification.
type FragmentId = (IpAddr, IpAddr, u32);

/// Where the transport header is, and what kind of packet that makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    FirstFragment(u32),
    LaterFragment(u32),
}

/// A packet as this oracle reads it.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    kind: Kind,
    payload: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

impl<'a> View<'a> {
    /// Reads an IP packet; it may be cut off.
    pub(super) fn of(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::v4(packet),
            6 => Self::v6(packet),
            _ => None,
        }
    }

    fn v4(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
        let id = u32::from(u16_at(packet, 4)?);
        let kind = match u16_at(packet, 6)? & 0x3fff {
            0 => Kind::Whole,
            0x2000 => Kind::FirstFragment(id),
            _ => Kind::LaterFragment(id),
        };
        let payload = packet.get(usize::from(packet[0] & 15) * 4..)?;
        Some(Self { source: address(12)?, destination: address(16)?, protocol: packet[9], kind, payload })
    }

    fn v6(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
        let (mut next, mut payload, mut kind) = (*packet.get(6)?, packet.get(40..)?, Kind::Whole);
        while matches!(next, 0 | 43 | 44 | 60) && !matches!(kind, Kind::LaterFragment(_)) {
            let length = match next {
                44 => {
                    let id = u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?);
                    kind = match u16_at(payload, 2)? & 0xfff9 {
                        0 => kind,
                        1 => Kind::FirstFragment(id),
                        _ => Kind::LaterFragment(id),
                    };
                    8
                }
                _ => (usize::from(*payload.get(1)?) + 1) * 8,
            };
            next = *payload.first()?;
            payload = payload.get(length..)?;
        }
        Some(Self { source: address(8)?, destination: address(24)?, protocol: next, kind, payload })
    }

    fn icmp(&self) -> Option<(u8, u8)> {
        matches!(self.protocol, number::ICMP | number::ICMP6).then_some(())?;
        Some((*self.payload.first()?, *self.payload.get(1)?))
    }

    fn is_error(&self) -> bool {
        match (self.protocol, self.icmp()) {
            (number::ICMP, Some((kind, _))) => [3, 4, 11, 12].contains(&kind),
            (number::ICMP6, Some((kind, _))) => (1..=4).contains(&kind),
            _ => false,
        }
    }

    fn ports(&self) -> Option<(u16, u16)> {
        match self.protocol {
            number::TCP | number::UDP => Some((u16_at(self.payload, 0)?, u16_at(self.payload, 2)?)),
            number::ICMP | number::ICMP6 => u16_at(self.payload, 4).map(|id| (id, id)),
            _ => Some((0, 0)),
        }
    }

    fn flags(&self) -> u8 {
        if self.protocol == number::TCP { self.payload.get(13).copied().unwrap_or(0) } else { 0 }
    }

    fn flow(&self) -> Option<Flow> {
        let (source_port, destination_port) = self.ports()?;
        let (a, b) = ((self.source, source_port), (self.destination, destination_port));
        Some((self.protocol, a.min(b), a.max(b)))
    }
}

/// What passed so far.
pub(super) struct Oracle<'a> {
    policy: &'a Policy,
    allowed: HashSet<Flow>,
    fragments: HashMap<FragmentId, HashSet<Flow>>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self { policy, allowed: HashSet::new(), fragments: HashMap::new() }
    }

    /// The zone that a frame comes from, if it is one that has a zone.
    pub(super) fn ingress(&self, interface: &str, frame: &[u8], tag: Option<u16>) -> Option<u16> {
        let ether_type = u16_at(frame, 12)?;
        let (vlan, inner) = match (tag, ether_type) {
            (Some(tag), _) => (tag & 0xfff, ether_type),
            (None, 0x8100) => (u16_at(frame, 14)? & 0xfff, u16_at(frame, 16)?),
            (None, _) => (0, ether_type),
        };
        if frame[6] & 1 != 0 || [0x8100, 0x88a8, 0x9100].contains(&inner) {
            return None;
        }
        let is_it = |zone: &vfw::lang::Zone| zone.interface == interface && zone.vlan.unwrap_or(0) == vlan;
        self.policy.zones.iter().position(is_it).map(|zone| zone as u16)
    }

    /// The zone in which an address lives or behind which it is.
    fn route(&self, address: IpAddr) -> Option<u16> {
        let zones = self.policy.zones.iter().enumerate();
        let connected = zones.flat_map(|(zone, record)| record.addresses.iter().map(move |prefix| (*prefix, zone)));
        let routes = self.policy.routes.iter().map(|route| (route.prefix, route.zone));
        let all = connected.chain(routes).filter(|(prefix, _)| prefix.contains(address));
        all.max_by_key(|(prefix, _)| prefix.prefix()).map(|(_, zone)| zone as u16)
    }

    /// A frame came in, whatever becomes of it: later fragments may refer to it.
    pub(super) fn came_in(&mut self, frame: &[u8]) {
        if let Some(view) = View::of(network(frame))
            && let Kind::FirstFragment(id) = view.kind
            && let Some(flow) = view.flow()
        {
            self.fragments.entry((view.source, view.destination, id)).or_default().insert(flow);
        }
    }

    /// What the rules say of this packet, as the first of a flow.
    fn judge(&self, view: &View, from: u16) -> Option<Answer> {
        let (source_port, destination_port) = view.ports()?;
        let to = self.route(view.destination)?;
        Some(first_match(
            self.policy,
            &Question {
                from: usize::from(from),
                to: usize::from(to),
                source: view.source,
                destination: view.destination,
                protocol: view.protocol,
                source_port,
                destination_port,
                icmp: view.icmp().unwrap_or_default(),
                flags: view.flags(),
            },
        ))
    }

    /// Panics unless this frame may be forwarded from one zone to the other.
    pub(super) fn forwarded(&mut self, frame: &[u8], from: u16, to: u16) {
        let view = View::of(network(frame)).expect("only IP is forwarded");
        assert_eq!(self.route(view.destination), Some(to), "the way to {}", view.destination);
        if let Kind::LaterFragment(id) = view.kind {
            let first = self.fragments.get(&(view.source, view.destination, id)).expect("a first fragment came before");
            assert!(first.iter().any(|flow| self.allowed.contains(flow)), "a fragment of no flow: {view:?}");
        } else if view.is_error() {
            let quoted = View::of(view.payload.get(8..).unwrap_or_default()).expect("an error quotes a packet");
            let flow = quoted.flow().expect("it quotes ports");
            assert!(self.allowed.contains(&flow), "an error about no flow: {quoted:?}");
        } else {
            let flow = view.flow().expect("ports");
            if !self.allowed.contains(&flow) {
                let answer = self.judge(&view, from).expect("it has a way");
                assert_eq!(answer.action, Action::Allow, "rule {} of {view:?}", answer.rule);
                assert_eq!(self.route(view.source), Some(from), "the way back to {}", view.source);
                self.allowed.insert(flow);
            }
        }
    }

    /// A frame that was dropped after the rules were asked: its flow has begun if they allow it.
    pub(super) fn judged(&mut self, frame: &[u8], from: u16) {
        if let Some(view) = View::of(network(frame))
            && self.judge(&view, from).is_some_and(|answer| answer.action == Action::Allow)
        {
            self.allowed.extend(view.flow());
        }
    }

    /// Panics unless a rule drops this frame, as the first of a flow.
    pub(super) fn refused(&self, frame: &[u8], from: u16) {
        let view = View::of(network(frame)).expect("rules see only IP");
        let answer = self.judge(&view, from).expect("it has a way");
        assert_ne!(answer.action, Action::Allow, "rule {} of {view:?}", answer.rule);
    }
}
