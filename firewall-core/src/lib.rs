//! The packet pipeline of vfw: one text that runs in eBPF (XDP and tc) and in user space (tests, `vfw check`).
//!
//! This page is the architecture of the data path.
//!
//! # The packet's way
//!
//! [`pipeline`] is the only place that knows the order of the stages:
//!
//! ```text
//!             +------------------------------- enter: every frame -------------------------------+
//!  frame ---> | parse::ethernet -> zone::find -> parse::ip -> check_addresses -> join_fragments  |
//!             |   -> conntrack::find --- known ---> known_path -> conntrack::advance -> forward --> verdict
//!             +-----------------|----------------------------------------------------------------+
//!                               | no flow                          ARP, neighbour discovery
//!                               v                                             v
//!                first: route -> judge -> add_flow -> forward      neighbour: arp, nd
//!                       |  or local::echo
//! ```
//!
//! - Stages decide and return values; only [`rewrite`] (and the answers in [`neighbour`] and [`local`]) change bytes.
//! - A packet of a known flow costs one flow look-up. The record names the egress zone and the neighbour; no rule and no
//!   route is looked at.
//! - The first packet of a flow takes the route back to its source (it must lead to the zone that the packet came from),
//!   the route to its destination, and the first rule that matches (from zone, to zone, addresses, service).
//! - A later packet must come from the zone that the flow has on that side; a flow is never reached through another one.
//!
//! # Two ports
//!
//! The pipeline touches the world through two traits. [`Frame`] is bounded access to the bytes of one frame: a byte
//! buffer, an XDP buffer (whose payload may lie in fragments), or a socket buffer with its GSO size and the VLAN tag that
//! travels beside it, or buffers of an AF_XDP socket. [`Tables`] is policy, state and counters: eBPF maps, or collections in memory. The records behind
//! it are plain data of fixed layout, the same bytes on both sides ([`tables`], [`conntrack`], [`event`]).
//!
//! Time is an argument, in nanoseconds of the monotonic clock. There is no allocation, no unsafe code and no reachable
//! panic here: the verifier refuses a program with one.
//!
//! # Verdicts
//!
//! [`Verdict::Transmit`] (through a zone), [`Verdict::Drop`] with one of the [`DropReason`]s, [`Verdict::Consume`] (it was
//! for vfw), or [`Verdict::Punt`]: the daemon finishes what a kernel program cannot. A frame whose next hop is not
//! resolved is punted complete but for the destination MAC; a dropped packet whose sender is told so by ICMP is punted as
//! it came. How much of the daemon's work a zone may cause is bounded ([`limit`]), so that no zone can take the daemon from
//! the others: a frame above that is dropped and counted, an ICMP error is not sent, an event is lost and counted.
//!
//! Every dropped frame is counted by zone and reason, and the daemon is told of some one by one ([`event::Dropped`]): what was
//! found in the packet until then, and the rule that refused it. Stages note that in the [`packet::Packet`] as they find it.
//!
//! # State
//!
//! [`conntrack`] keeps one record per flow for both directions, found by one key ([`conntrack::FlowKey`]: the lower
//! address first). A flow lives in the half-open table until it is confirmed (a TCP handshake is complete; the side that
//! began another flow goes on after an answer; an echo never is), and in the established table from then on. The half-open
//! table makes room by forgetting the oldest; the established table never forgets and refuses when it is full, so a flood
//! of first packets costs no established flow. A record holds the time at which it ends; whoever finds it later treats it
//! as gone, so removing ended records is nobody's hurry.
//!
//! Records are shared by all CPUs without locks. Each half of a flow is written by the packets of its direction, which a
//! receive queue keeps on one CPU; a lost race costs a count, or a window bound that the next packet sets again.
//!
//! # When the policy changes
//!
//! Each policy has a number, its epoch, and each flow that of the policy that allowed it last. A packet whose flow has
//! another one goes through [`pipeline::stale`] first, which asks the rules about the flow as it began: it goes on under
//! the rule and the way that it finds now, or it ends.
//!
//! # When the daemon starts again
//!
//! Flows, neighbours, counters and the queues to the daemon belong to no loading of the programs: new programs share them with
//! those that forward, bring the policy in tables of their own under a higher epoch, and take the interfaces one by one.
//! [`tables::ABI_VERSION`] stands for what shared records mean.
//!
//! # The engine in user space
//!
//! An interface may have its frames taken by an engine in user space, which runs the same pipeline. The programs stay in front of
//! it ([`Frame::HANDS_OVER`]): they end what they can, and hand what goes on between two of its zones to its socket, as it came and
//! uncounted ([`pipeline::Part::Engine`]). A flow has one owner at a time, by its zones; its record in the shared table is
//! good enough for the programs to go on with whenever the engine is not there ([`conntrack::half_flag::BEHIND`]).
//!
//! # Why four parts
//!
//! A kernel program has 512 bytes of stack, and the verifier follows every path to its end. [`pipeline::enter`],
//! [`pipeline::first`], [`pipeline::neighbour`] and [`pipeline::stale`] are therefore programs of their own at each hook,
//! which call one another; [`process`] calls them one after another where there is no such bound.
//!
//! # Words
//!
//! Interface (NIC), zone (a VLAN on an interface with its gateway addresses), rule, service, flow, neighbour, verdict, drop
//! reason, hook (XDP, tc), engine, punt.

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::many_single_char_names, reason = "bytes of a header field, in order")]
#![allow(clippy::inline_always, reason = "the BPF verifier judges whole programs; calls cost stack and time there")]

pub mod address;
pub mod classify;
pub mod conntrack;
pub mod event;
pub mod frame;
pub mod limit;
pub mod local;
pub mod neighbour;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod rewrite;
pub mod route;
pub mod shared;
pub mod tables;
pub mod verdict;
pub mod zone;

pub use address::Address;
pub use frame::{Frame, Link};
pub use pipeline::process;
pub use tables::Tables;
pub use verdict::{DropReason, Egress, Punt, PuntTask, Verdict};
