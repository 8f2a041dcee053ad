//! Ones' complement sums over any part of a frame, fragments of a multi-buffer frame included.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_csum_diff, bpf_loop};
use firewall_core::DropReason;

use crate::{maps, opaque};

/// Bytes of one step: the most that `bpf_csum_diff` takes on kernels before 6.13.
const STEP: u32 = 512;
/// Room for one step and the zeros behind its end.
pub const ROOM: usize = STEP as usize + 4;
/// Steps for the longest IP packet.
const MAX_STEPS: u32 = 65_536 / STEP + 1;

/// Copies bytes out of a frame: `bpf_xdp_load_bytes` or `bpf_skb_load_bytes`.
pub trait Copy {
    /// Copies `length` bytes at `offset`; 0 when they are all there.
    ///
    /// # Safety
    /// `context` is the program's context and `to` has room for `length` bytes.
    unsafe fn copy(context: *mut c_void, offset: u32, to: *mut c_void, length: u32) -> i64;
}

struct Walk {
    context: *mut c_void,
    offset: u32,
    length: u32,
    sum: u32,
    failed: u32,
}

/// Folded sum, in network order, of `length` bytes at `offset`.
#[inline(always)]
pub fn sum<C: Copy>(context: *mut c_void, offset: u32, length: u32) -> Result<u16, DropReason> {
    let steps = length.div_ceil(STEP);
    if steps > MAX_STEPS {
        return Err(DropReason::Truncated);
    }
    let mut walk = Walk { context, offset, length, sum: 0, failed: 0 };
    // SAFETY: the callback gets a pointer to `walk`, which outlives the call.
    unsafe { bpf_loop(steps, step::<C> as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.failed != 0 {
        return Err(DropReason::Truncated);
    }
    let once = (walk.sum >> 16) + (walk.sum & 0xffff);
    Ok(u16::from_be(((once >> 16) + (once & 0xffff)) as u16))
}

unsafe extern "C" fn step<C: Copy>(index: u32, walk: *mut c_void) -> i64 {
    // SAFETY: `sum` passes its Walk, which nothing else touches during the walk.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    walk.failed = 1;
    let Some(scratch) = maps::SUM_SCRATCH.get_ptr_mut(0) else { return 1 };
    let done = index * STEP;
    // Opaque: or the compiler folds this bound and the check into what the verifier cannot follow. Less by one: before Linux 6.8
    // the verifier does not take "not zero" for a bound.
    let length_but_one = opaque::number(u64::from(walk.length.wrapping_sub(done).min(STEP)).wrapping_sub(1));
    if length_but_one >= u64::from(STEP) {
        return 1;
    }
    let length = length_but_one as u32 + 1;
    // SAFETY: the scratch is this CPU's and has room for STEP bytes and four zeros; the helpers check the frame.
    let sum = unsafe {
        if C::copy(walk.context, walk.offset.wrapping_add(done), scratch.cast(), length) != 0 {
            return 1;
        }
        scratch.cast::<u8>().add(length as usize).cast::<[u8; 4]>().write([0; 4]);
        bpf_csum_diff(core::ptr::null_mut(), 0, scratch.cast(), (length + 3) & 0xffc, walk.sum)
    };
    if sum < 0 {
        return 1;
    }
    walk.sum = sum as u32;
    walk.failed = 0;
    0
}
