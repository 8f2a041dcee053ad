//! Loading a program that is given as instructions.
#![allow(
    unsafe_code,
    reason = "bpf(2) takes pointers and returns a raw descriptor; no library loads bare instructions"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const LICENSE: &[u8; 13] = b"Dual MIT/GPL\0";

/// Kind of program, as the kernel numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramType {
    /// `BPF_PROG_TYPE_SCHED_CLS`
    Classifier = 3,
    /// `BPF_PROG_TYPE_XDP`
    #[cfg(test)]
    Xdp = 6,
}

/// One eBPF instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    /// Operation.
    pub(super) code: u8,
    /// Destination register in the low half, source register in the high half.
    pub(super) registers: u8,
    /// Jump distance or memory offset.
    pub(super) offset: i16,
    /// Constant.
    pub(super) immediate: i32,
}

/// The start of `union bpf_attr` as `BPF_PROG_LOAD` reads it; the kernel takes the rest as zero.
#[repr(C)]
struct LoadRequest {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
}

/// Hands `instructions` to the verifier; the program lives while the descriptor or an attachment does.
pub(super) fn load(kind: ProgramType, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let request = LoadRequest {
        program_type: kind as u32,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
    };
    // SAFETY: `request` has the layout of the kernel's bpf_attr for this command and its size is passed; the slices behind its
    // pointers (instructions with their count, a terminated licence) outlive the call, and the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const request, size_of::<LoadRequest>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a non-negative answer of BPF_PROG_LOAD is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
