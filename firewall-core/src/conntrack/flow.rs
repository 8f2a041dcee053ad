//! The record of one flow, shared by both directions, and the key that finds it.

use crate::address::Address;
use crate::packet::{Packet, protocol};
use crate::parse::Quoted;
use crate::shared::{Shared, exchange};

/// Identifies a flow in both directions: the endpoint with the lower address comes first.
///
/// Ports are in host order. Both are the identifier for an ICMP echo, whose two possible requesters are told
/// apart by `tag`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct FlowKey {
    /// The lower address.
    pub low: Address,
    /// The higher address.
    pub high: Address,
    /// Port at the lower address.
    pub low_port: u16,
    /// Port at the higher address.
    pub high_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// For an ICMP echo: 1 when the lower address asks, 2 when the higher one does; else 0.
    pub tag: u8,
    /// Zero.
    pub padding: u16,
}

/// Which of its two endpoints sent a packet of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// The endpoint with the lower address.
    Low,
    /// The endpoint with the higher address.
    High,
}

impl FlowKey {
    /// The key of a packet and which endpoint sent it.
    #[inline(always)]
    pub fn of(packet: &Packet) -> (Self, Sender) {
        let requester = match (packet.is_echo_request(), packet.is_echo_reply()) {
            (true, _) => Requester::Source,
            (_, true) => Requester::Destination,
            _ => Requester::None,
        };
        Self::between(
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
            packet.protocol,
            requester,
        )
    }

    /// The key of a packet quoted in an ICMP error and which endpoint had sent it.
    #[inline(always)]
    pub fn of_quoted(quoted: &Quoted) -> (Self, Sender) {
        let requester = match (quoted.protocol, quoted.icmp_type) {
            (protocol::ICMP, 8) | (protocol::ICMP6, 128) => Requester::Source,
            (protocol::ICMP, 0) | (protocol::ICMP6, 129) => Requester::Destination,
            _ => Requester::None,
        };
        Self::between(
            (quoted.source, quoted.source_port),
            (quoted.destination, quoted.destination_port),
            quoted.protocol,
            requester,
        )
    }

    /// Address and port of `sender`, and of the other endpoint.
    #[inline(always)]
    pub const fn endpoints(&self, sender: Sender) -> ((Address, u16), (Address, u16)) {
        let (low, high) = ((self.low, self.low_port), (self.high, self.high_port));
        match sender {
            Sender::Low => (low, high),
            Sender::High => (high, low),
        }
    }

    #[inline(always)]
    fn between(
        source: (Address, u16),
        destination: (Address, u16),
        protocol: u8,
        requester: Requester,
    ) -> (Self, Sender) {
        if source.0.is_below(&destination.0) {
            let key = Self {
                low: source.0,
                high: destination.0,
                low_port: source.1,
                high_port: destination.1,
                protocol,
                tag: requester as u8,
                padding: 0,
            };
            (key, Sender::Low)
        } else {
            let key = Self {
                low: destination.0,
                high: source.0,
                low_port: destination.1,
                high_port: source.1,
                protocol,
                tag: requester.seen_from_destination(),
                padding: 0,
            };
            (key, Sender::High)
        }
    }
}

#[derive(Clone, Copy)]
enum Requester {
    None = 0,
    Source = 1,
    Destination = 2,
}

impl Requester {
    #[inline(always)]
    const fn seen_from_destination(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Source => 2,
            Self::Destination => 1,
        }
    }
}

/// State of a flow; it decides the timeout and in which table the flow lives.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowState {
    /// TCP: only one side has sent SYN.
    SynSent = 0,
    /// TCP: both sides have sent SYN, not both are acknowledged.
    SynReceived = 1,
    /// TCP: the handshake is complete.
    Established = 2,
    /// TCP: one side has sent FIN.
    FinWait = 3,
    /// TCP: both sides have sent FIN, not both are acknowledged.
    Closing = 4,
    /// TCP: both FINs are acknowledged.
    TimeWait = 5,
    /// TCP: reset.
    Closed = 6,
    /// UDP: no answer yet.
    UdpUnreplied = 7,
    /// UDP: answered.
    UdpReplied = 8,
    /// ICMP echo: no answer yet.
    EchoUnreplied = 9,
    /// ICMP echo: answered.
    EchoReplied = 10,
    /// Another protocol: no answer yet.
    OtherUnreplied = 11,
    /// Another protocol: answered.
    OtherReplied = 12,
}

/// Number of [`FlowState`]s: size of the timeout table.
pub const FLOW_STATES: usize = 13;

impl FlowState {
    /// The state with this code.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SynSent,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::FinWait,
            4 => Self::Closing,
            5 => Self::TimeWait,
            6 => Self::Closed,
            7 => Self::UdpUnreplied,
            8 => Self::UdpReplied,
            9 => Self::EchoUnreplied,
            10 => Self::EchoReplied,
            11 => Self::OtherUnreplied,
            12 => Self::OtherReplied,
            _ => return None,
        })
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::Closing => "closing",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::UdpUnreplied | Self::EchoUnreplied | Self::OtherUnreplied => "unreplied",
            Self::UdpReplied | Self::EchoReplied | Self::OtherReplied => "replied",
        }
    }

    /// Whether a flow in this state leaves the half-open table with a packet from the side that began it (`began`) or
    /// from the other.
    ///
    /// Without a handshake one answer proves nothing: only a side that goes on after it has a flow worth keeping (as
    /// Linux's "assured"). An echo never does: the next request begins it again.
    #[inline(always)]
    pub const fn is_confirmed_by(self, began: bool) -> bool {
        match self {
            Self::Established | Self::FinWait | Self::Closing | Self::TimeWait => true,
            Self::UdpReplied | Self::OtherReplied => began,
            _ => false,
        }
    }
}

/// No neighbour is cached.
pub const NO_NEIGHBOUR: u32 = u32::MAX;

/// How packets of one direction leave.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct NextHop {
    /// Slot of the next hop in the neighbour table, or [`NO_NEIGHBOUR`].
    pub neighbour: Shared<u32>,
    /// Generation that the slot had.
    pub generation: Shared<u16>,
    /// Zone through which they leave.
    pub zone: Shared<u16>,
}

/// What was seen of one direction of a flow.
///
/// Only packets of this direction write here (but for `ACKED` flags and the first edge). A receive queue keeps one direction
/// on one CPU; a host on the same machine may send from several at once. Of two stores one may get lost then, but not of
/// [`Self::numbers`].
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct Half {
    /// Packets sent.
    pub packets: Shared<u64>,
    /// Frame bytes sent.
    pub bytes: Shared<u64>,
    /// TCP: [`Self::end`] (low half) and [`Self::edge`].
    pub numbers: Shared<u64>,
    /// TCP: the largest window announced, in bytes.
    pub window: Shared<u32>,
    /// TCP: window scale of this side (RFC 7323).
    pub scale: Shared<u8>,
    /// TCP: bits of [`half_flag`].
    pub flags: Shared<u8>,
    /// Zero.
    pub padding: [u8; 2],
}

/// What was seen of one side of a TCP connection.
pub mod half_flag {
    /// It sent SYN.
    pub const SYN: u8 = 1;
    /// Its SYN is acknowledged.
    pub const SYN_ACKED: u8 = 2;
    /// It sent FIN.
    pub const FIN: u8 = 4;
    /// Its FIN is acknowledged.
    pub const FIN_ACKED: u8 = 8;
    /// Its SYN offered window scaling.
    pub const SCALES: u8 = 16;
    /// It has been followed elsewhere (in user space), and its numbers here are behind. They bound nothing until it speaks
    /// again.
    pub const BEHIND: u8 = 32;
}

/// One flow. 104 bytes; with its key and the kernel's hash element 192 bytes of kernel memory: three cache lines. The
/// fields before `halves` share the second line with the end of the key: what a packet of a flow without windows is
/// decided by, so that a large table costs it no third one before the frame is on its way.
///
/// Fields are [`Shared`] by every CPU and the daemon; two CPUs that count at once may lose a count.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct Flow {
    /// When the flow ends if no packet comes, nanoseconds of the monotonic clock.
    pub expires: Shared<u64>,
    /// Rule that allowed it.
    pub rule: Shared<u32>,
    /// A [`FlowState`] code.
    pub state: Shared<u8>,
    /// 1 when the endpoint with the lower address began the flow.
    pub low_began: u8,
    /// TCP flags of the packet that began it; 0 when it is not TCP.
    pub first_flags: u8,
    /// Zero.
    pub padding: u8,
    /// Of packets from the endpoint with the lower address, then from the other.
    pub next_hops: [NextHop; 2],
    /// When it began, seconds of the same clock.
    pub created: u32,
    /// Number of the policy that allowed it last; another one in force judges it anew.
    pub epoch: Shared<u32>,
    /// From the endpoint with the lower address, then from the other.
    pub halves: [Half; 2],
}

/// Bytes of a [`FlowKey`].
pub const FLOW_KEY_BYTES: usize = 40;
/// Bytes of a [`Flow`]. The kernel lays its elements one after the other: at a multiple of the cache line, no flow lies on
/// a line more than it needs.
pub const FLOW_BYTES: usize = 104;
const _: () = assert!(size_of::<FlowKey>() == FLOW_KEY_BYTES && size_of::<Flow>() == FLOW_BYTES);

impl Flow {
    /// The half whose packets `sender` sends, and the other.
    #[inline(always)]
    pub const fn halves(&self, sender: Sender) -> (&Half, &Half) {
        let [low, high] = &self.halves;
        match sender {
            Sender::Low => (low, high),
            Sender::High => (high, low),
        }
    }

    /// How the packets of `sender` leave, and those of the other.
    #[inline(always)]
    pub const fn next_hops(&self, sender: Sender) -> (&NextHop, &NextHop) {
        let [low, high] = &self.next_hops;
        match sender {
            Sender::Low => (low, high),
            Sender::High => (high, low),
        }
    }

    /// Who began the flow.
    #[inline(always)]
    pub const fn beginner(&self) -> Sender {
        if self.low_began != 0 { Sender::Low } else { Sender::High }
    }

    /// Whether `sender` began the flow.
    #[inline(always)]
    pub const fn began(&self, sender: Sender) -> bool {
        (self.low_began != 0) == matches!(sender, Sender::Low)
    }

    /// The state, if its code is one.
    #[inline(always)]
    pub fn state(&self) -> Option<FlowState> {
        FlowState::from_code(self.state.get())
    }
}

/// How often [`Half::advance`] tries: each time that it fails another CPU has succeeded.
const TRIES: u32 = 4;

const fn numbers(end: u32, edge: u32) -> u64 {
    end as u64 | (edge as u64) << 32
}

/// `a` comes after `b` in sequence space (RFC 9293 section 3.4).
#[inline(always)]
pub(super) const fn after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() < 0
}

impl Half {
    /// TCP: the highest sequence number sent, plus its length.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.numbers.get() as u32
    }

    /// TCP: the highest sequence number that the other side may send (acknowledgement plus window).
    #[inline(always)]
    pub fn edge(&self) -> u32 {
        (self.numbers.get() >> 32) as u32
    }

    /// Sets both, as a connection opens.
    #[inline(always)]
    pub(super) fn place(&self, end: u32, edge: u32) {
        self.numbers.set(numbers(end, edge));
    }

    /// Moves both on, neither of them back. A segment that another CPU forwards at the same time does not undo it: the sender
    /// would repeat but the first of its segments, and the answers to that, which acknowledge more, would be dropped for ever.
    #[inline(always)]
    pub(super) fn advance(&self, end: u32, edge: u32) {
        let mut known = self.numbers.get();
        for _ in 0..TRIES {
            let (own_end, own_edge) = (known as u32, (known >> 32) as u32);
            let new = numbers(
                if after(end, own_end) { end } else { own_end },
                if after(edge, own_edge) { edge } else { own_edge },
            );
            if new == known {
                return;
            }
            let found = exchange(&self.numbers, known, new);
            if found == known {
                return;
            }
            known = found;
        }
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline(always)]
    pub(crate) fn set(&self, flag: u8) {
        self.flags.set(self.flags.get() | flag);
    }

    #[inline(always)]
    pub(crate) fn clear(&self, flag: u8) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// Counts one frame.
    #[inline(always)]
    pub(crate) fn count(&self, bytes: u32) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + u64::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Half;

    /// On a cache line of its own, so that who gets the one does not have the other, too.
    #[repr(align(128))]
    struct Apart<T>(T);

    #[test]
    fn two_cpus_do_not_move_numbers_back() {
        const SEGMENTS: u32 = 1_000_000;
        let (Apart(half), Apart(sent)) = &(Apart(Half::default()), Apart(AtomicU32::new(0)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        if number >= SEGMENTS {
                            return;
                        }
                        half.advance(number, number + 7);
                        assert!(half.end() >= number && half.edge() >= number + 7, "{number}");
                    }
                });
            }
        });
        assert_eq!((half.end(), half.edge()), (SEGMENTS - 1, SEGMENTS + 6));
    }
}
