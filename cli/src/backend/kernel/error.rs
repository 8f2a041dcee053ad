//! What the kernel refuses.

use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;

use super::pins::PinError;
use crate::interface::Hook;

/// A request that the kernel refused.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The embedded object could not be loaded.
    #[error("cannot load the eBPF object: {0}\nvfw needs root (CAP_BPF, CAP_NET_ADMIN) and Linux 6.1 or later")]
    Object(String),
    /// A program was refused.
    #[error("the kernel refused the program {program}: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The error, and the end of the verifier's log.
        reason: String,
    },
    /// The object lacks something: it was built from other sources.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// A policy is larger than the loaded programs have room for.
    #[error("there are {wanted} {what}, and there is room for {room}")]
    Room {
        /// Of what.
        what: &'static str,
        /// How many there are.
        wanted: usize,
        /// How many fit.
        room: usize,
    },
    /// A rule table whose sum is not that of its bytes.
    #[error("the compiled rule table is damaged")]
    Damaged,
    /// The kernel does not say when running programs have ended.
    #[error("cannot wait for packets on their way: {0}")]
    Wait(std::io::Error),
    /// A map was refused or could not be accessed.
    #[error("cannot {action} the table {map}: {source}")]
    Map {
        /// What was to be done.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// Why not.
        source: Box<MapError>,
    },
    /// The folder of pins cannot be used.
    #[error("{0}")]
    Pins(PinError),
    /// A pinned map has another size than the settings ask for.
    #[error(
        "the table {map} in force has room for {found} entries, and {setting} asks for {wanted}: set it back, or end \
         forwarding with `vfw stop` first"
    )]
    Size {
        /// Its name.
        map: &'static str,
        /// The setting by which its size is chosen.
        setting: &'static str,
        /// Its size.
        found: u32,
        /// The size in the settings.
        wanted: u32,
    },
    /// A pinned map is not one of this version.
    #[error(
        "the table {map} in force is another than this version of vfw makes ({found}; this version: {wanted}): start the \
         version that made it, or end forwarding with `vfw stop` first"
    )]
    Shape {
        /// Its name.
        map: &'static str,
        /// Type and sizes that it has.
        found: String,
        /// Type and sizes that it should have.
        wanted: String,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map the table {map}: {source}")]
    Mmap {
        /// Its name.
        map: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A program could not be attached.
    #[error("cannot attach to {interface} by {hook}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// `xdp` or `tc`.
        hook: Hook,
        /// Why not.
        reason: String,
    },
}

/// Lines of a verifier log that are worth showing: it can be megabytes long.
const LOG_LINES: usize = 12;

/// An error of aya without the megabytes of a verifier log.
pub(super) fn program_error(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            format!("{io_error}\n{}", tail.join("\n"))
        }
        other => chain(other),
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
