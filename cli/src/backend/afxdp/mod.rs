//! The engine in user space: the same pipeline on frames that AF_XDP sockets bring.
//!
//! ```text
//!            program in front (XDP)                       worker (a thread)
//!  frame --> parse, flow, rules --- not its own --> kernel pipeline
//!                 |  drops, ARP, ping: ends here
//!                 +-- both zones are the engine's --> receive ring --> process --> send ring --> interface
//!                                                        ^                |
//!                                                    fill ring <-- free chunks <-- completion ring
//! ```
//!
//! # What comes here
//!
//! The programs in the kernel stay in front of every interface. They end what they can: damaged frames, packets that no rule
//! allows, ARP and ping to a gateway; a flood of those costs the engine nothing. What goes from one zone of the engine to
//! another ([`firewall_core::tables::zone_flag::USER_SPACE`]) they hand to the socket of the receive queue, as it came and
//! uncounted, and [`Worker`] takes it through [`firewall_core::process`], the whole pipeline. Where no socket is, because the
//! engine has ended or was killed, they go on themselves: there is no state of its own without which the engine's flows end.
//!
//! # Who owns a flow
//!
//! There is one flow table, the kernel's. A packet costs a system call when its record has to be found or written there, so
//! the engine keeps records of the flows that it follows (`flows`), and writes the kernel's record when the flow changes
//! its state or its policy, at each step of a TCP handshake, and every few seconds otherwise. That is sound because a flow has one
//! owner at a time: both of its zones are the engine's, or it never comes here; the programs find the same zones in the record.
//! (Maps of memory shared with the programs would save the writes. A hash table cannot be mapped, and an array behind it
//! would cost the programs a cache line for each packet.)
//!
//! The record outside is always good enough to go on with. Only the windows of a TCP connection move with every packet; the
//! record says so ([`firewall_core::conntrack::half_flag::BEHIND`]), and whoever goes on with it learns them from the next
//! packet of each side in place of dropping it. So neither the end of the engine, nor its start, nor `kill -9` cuts a flow.
//!
//! # Who does the work
//!
//! A worker is a thread with a queue of every interface at the least, all frames in one UMEM of its own; so nothing is handed from
//! one worker to another. The two directions of a flow may come to two of them. They share its record as CPUs share a record of the
//! kernel's ([`firewall_core::shared::Shared`]), and find it in a table with a lock for each of its parts; a worker remembers where the
//! records are that it has met (`recent`).
//!
//! # Where frames are
//!
//! All sockets of a worker share one UMEM, so a frame that is forwarded is not copied in user space. Every chunk has one owner,
//! which is written down ([`sys::Umem`]): what a step of the worker takes out of a ring it puts into another one, or gives
//! back.
//!
//! Neighbours are read from the word that the daemon keeps for all; counters are words of their own
//! ([`crate::backend::kernel::UserSpace`]).

mod engine;
mod flows;
mod frame;
mod mailbox;
mod recent;
mod store;
pub mod sys;
mod tables;
mod worker;

pub use engine::{Engine, EngineError, Listening, Plan, PortPlan, Sockets, queue_bytes};
pub use frame::{Part, UmemFrame};
pub use mailbox::{Letterbox, Mailbox, mailbox};
pub use store::Store;
pub use tables::{EnginePolicy, EngineState, EngineTables};
pub use worker::{Kick, Queue, Work, Worker};
