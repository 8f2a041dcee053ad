//! Waiting for programs that run.

#![allow(
    unsafe_code,
    reason = "requests of bpf(2) have pointers; aya makes no map of maps that is not part of an object"
)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::call;

/// Commands of bpf(2).
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;

/// Types of maps.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// `union bpf_attr` of `BPF_MAP_CREATE`, as far as it is needed.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
}

/// `union bpf_attr` of `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct Update {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Returns when every program that ran at the time of the call has ended.
///
/// Whoever puts a map into a map waits for a grace period of RCU, under which the kernel runs programs
/// (`maybe_wait_bpf_programs` in `kernel/bpf/syscall.c`). `membarrier(MEMBARRIER_CMD_GLOBAL)` would wait likewise, but does not
/// exist where CPUs are kept free of the timer's tick (`nohz_full`).
pub fn wait_for_readers() -> io::Result<()> {
    let inner = create(ARRAY, None)?;
    let outer = create(ARRAY_OF_MAPS, Some(&inner))?;
    let (key, value) = (0u32, number(&inner));
    let mut request = Update {
        map: number(&outer),
        padding: 0,
        key: (&raw const key).expose_provenance() as u64,
        value: (&raw const value).expose_provenance() as u64,
        flags: 0,
    };
    // SAFETY: a request for this command; key and value have four bytes each, as the map says, and live during the call, which
    // only reads them.
    unsafe { call::bpf(MAP_UPDATE_ELEM, &mut request) }.map(|_| ())
}

/// A map with one value of four bytes.
fn create(kind: u32, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let inner = inner.map_or(0, number);
    let mut request = Create { kind, key_size: 4, value_size: 4, max_entries: 1, flags: 0, inner };
    // SAFETY: a request for this command, without pointers, which opens a map.
    unsafe { call::open(MAP_CREATE, &mut request) }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
