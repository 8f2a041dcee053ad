//! vfw: rule language, compiler, back ends, control plane and commands.

pub mod args;
pub mod backend;
pub mod bench;
pub mod change;
pub mod clock;
pub mod command;
pub mod compile;
pub mod config;
pub mod control;
mod cpus;
pub mod daemon;
pub mod doctor;
pub mod explain;
pub mod interface;
pub mod lab;
pub mod lang;
pub mod preview;
pub mod setup;
pub mod summary;
