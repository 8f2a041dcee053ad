//! What becomes of a frame, and every reason for which one is dropped.

/// The end of a frame's way through the pipeline. The hook carries it out.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The frame is rewritten: send it out of this zone's interface.
    Transmit(Egress),
    /// Free the frame; the pipeline has counted it.
    Drop(DropReason),
    /// Free the frame: it was for vfw, or is no business of a router (ARP between other hosts).
    Consume,
    /// Hand the frame to the daemon, which finishes what the hook cannot.
    Punt(Punt),
}

/// Where a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Egress {
    /// Zone identifier; its record names the interface.
    pub zone: u16,
    /// An answer of vfw itself, sent back to where the frame came from.
    pub reply: bool,
}

/// A frame for the daemon. For [`PuntTask::Resolve`] the packet says the rest ([`crate::packet::Packet::next_hop`] and its
/// `sender`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Punt {
    /// What the daemon has to do.
    pub task: PuntTask,
    /// The drop reason that the sender is told of, for [`PuntTask::Report`].
    pub reason: DropReason,
    /// The zone through which the frame came in.
    pub from: u16,
    /// The zone through which it is to leave; the same as `from` for [`PuntTask::Report`].
    pub to: u16,
}

/// What the daemon has to do with a punted frame.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PuntTask {
    /// The frame is complete but for the destination MAC: find the neighbour, then send it.
    Resolve = 1,
    /// The frame is as it came and was dropped: tell its sender why with an ICMP error.
    Report = 2,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// Why a frame was dropped: one list for counters, events, commands, metrics and the manual.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DropReason { $($(#[doc = $doc])+ $name = $code,)+ }

        impl DropReason {
            /// Every reason, in the order of its code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name that users see: `table-full`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// One sentence for the manual.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// No policy is in force yet.
    NotReady = 0, "not-ready";
    /// A header runs past the end of the frame.
    Truncated = 1, "truncated";
    /// The EtherType is neither IPv4, IPv6 nor ARP.
    EtherType = 2, "ethertype";
    /// No zone has this VLAN on this interface.
    UnknownVlan = 3, "unknown-vlan";
    /// The frame carries a second VLAN tag or a provider (802.1ad) tag.
    DoubleTag = 4, "double-tag";
    /// The destination MAC is not the gateway's.
    OtherMac = 5, "other-mac";
    /// Multicast or broadcast, which is not routed.
    Multicast = 6, "multicast";
    /// The IP version, header length or total length contradicts the frame.
    IpHeader = 7, "ip-header";
    /// The IPv4 header checksum is wrong.
    IpChecksum = 8, "ip-checksum";
    /// Source routing or malformed IPv4 options.
    IpOptions = 9, "ip-options";
    /// Source routing, too many or malformed IPv6 extension headers.
    Ipv6Extension = 10, "ipv6-extension";
    /// A fragment whose first fragment was not seen, or one that overlaps a transport header.
    Fragment = 11, "fragment";
    /// The TCP, UDP or ICMP header contradicts the packet's length.
    TransportHeader = 12, "transport-header";
    /// A combination of TCP flags that no sender produces.
    TcpFlags = 13, "tcp-flags";
    /// The source address may not appear on a wire, or equals the destination.
    MartianSource = 14, "martian-source";
    /// The route back to the source leads to another zone.
    SpoofedSource = 15, "spoofed-source";
    /// TTL or hop limit is used up.
    TtlExceeded = 16, "ttl-exceeded";
    /// No route to the destination.
    NoRoute = 17, "no-route";
    /// A rule, or the default, drops it.
    Policy = 18, "policy";
    /// A rule, or the default, rejects it.
    Reject = 19, "reject";
    /// It belongs to no flow and cannot begin one (TCP without SYN, an ICMP error or echo reply nobody asked for).
    NoFlow = 20, "no-flow";
    /// Outside of the TCP window.
    TcpWindow = 21, "tcp-window";
    /// It does not fit the state of its TCP connection.
    TcpState = 22, "tcp-state";
    /// The flow is known, but from another zone.
    OtherZone = 23, "other-zone";
    /// The table of established flows is full.
    TableFull = 24, "table-full";
    /// The table of half-open flows is full.
    HalfOpenFull = 25, "half-open-full";
    /// The next hop does not answer.
    Unreachable = 26, "unreachable";
    /// Too many frames wait for their neighbour.
    QueueFull = 27, "queue-full";
    /// Larger than the MTU of the egress zone.
    TooBig = 28, "too-big";
    /// Malformed ARP or neighbour discovery.
    Neighbour = 29, "neighbour";
    /// Addressed to the gateway, which offers no such service.
    LocalService = 30, "local-service";
    /// The kernel refused to change or send the frame.
    Rewrite = 31, "rewrite";
    /// More goes to neighbours that are not known yet than `limits.resolve_rate` allows: for flows that the zone began, or answers
    /// to flows of another one.
    ResolveLimit = 32, "resolve-limit";
    /// The interface of the egress zone is down or away.
    InterfaceDown = 33, "interface-down";
}

impl DropReason {
    /// The reason with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// Reasons of the pipeline of which a router tells the sender with an ICMP error (RFC 1812 section 4.3, RFC 4443). The
    /// daemon adds [`Self::Unreachable`], which only it finds out.
    #[inline(always)]
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::TtlExceeded | Self::NoRoute | Self::TooBig)
    }
}

/// Counters per zone have room for this many reasons.
pub const DROP_REASON_SLOTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_index_the_list() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::from_code(index as u8), Some(*reason));
            assert!(!reason.describe().trim().is_empty());
        }
        assert!(DropReason::ALL.len() <= DROP_REASON_SLOTS as usize);
        assert_eq!(DropReason::from_code(DropReason::ALL.len() as u8), None);
    }
}
