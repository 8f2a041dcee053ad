//! The packet pipeline of vfw, once for every back end.
//!
//! This page is the architecture of the data path. (Written out below, stage by stage.)

#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::many_single_char_names, reason = "bytes of a header field, in order")]
#![allow(clippy::inline_always, reason = "the BPF verifier judges whole programs; calls cost stack and time there")]

pub mod address;
pub mod classify;
pub mod conntrack;
pub mod event;
pub mod frame;
pub mod local;
pub mod neighbour;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod rewrite;
pub mod route;
pub mod tables;
pub mod verdict;
pub mod zone;

pub use address::Address;
pub use frame::{Frame, Link};
pub use pipeline::process;
pub use tables::Tables;
pub use verdict::{DropReason, Egress, Punt, PuntTask, Verdict};
