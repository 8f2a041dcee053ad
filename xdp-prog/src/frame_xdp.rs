//! [`Frame`] over an XDP buffer. Headers lie in its linear part; payload may lie in fragments.

use core::ffi::c_void;
use core::mem::offset_of;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
};
use firewall_core::tables::{OUTER_SOCKETS, SOCKET_QUEUES, Zone, socket_index};
use firewall_core::{DropReason, Frame, Link};

use crate::punt::Puntable;
use crate::sum::{self, Copy};
use crate::{maps, opaque};

/// One frame at the XDP hook.
pub struct XdpFrame {
    context: *mut xdp_md,
    length: u32,
}

impl XdpFrame {
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        // SAFETY: the context is the one that the kernel passed.
        let length = unsafe { bpf_xdp_get_buff_len(context) } as u32;
        Self { context, length }
    }

    /// Start of `N` bytes at `offset` in the linear part, if they are there.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: u32) -> Result<*mut [u8; N], DropReason> {
        // SAFETY: the context is the one that the kernel passed; both fields are packet pointers.
        let (data, end) = unsafe {
            (
                opaque::packet_pointer::<{ offset_of!(xdp_md, data) }, _>(self.context),
                opaque::packet_pointer::<{ offset_of!(xdp_md, data_end) }, _>(self.context),
            )
        };
        opaque::checked(data, end, offset)
    }
}

impl Copy for XdpFrame {
    #[inline(always)]
    unsafe fn copy(context: *mut c_void, offset: u32, to: *mut c_void, length: u32) -> i64 {
        // SAFETY: passed on from the caller.
        unsafe { bpf_xdp_load_bytes(context.cast(), offset, to, length) }
    }
}

impl Puntable for XdpFrame {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.cast()
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: a plain context field.
        unsafe { (*self.context).ingress_ifindex }
    }
}

impl Frame for XdpFrame {
    const COMPLETES_CHECKSUMS: bool = true;
    const HANDS_OVER: bool = true;

    #[inline(always)]
    fn socket(&self, zone: &Zone) -> Option<u32> {
        // SAFETY: a plain context field.
        let queue = unsafe { (*self.context).rx_queue_index };
        if queue >= SOCKET_QUEUES || OUTER_SOCKETS.iter().any(|socket| maps::SOCKETS.get(*socket).is_none()) {
            return None;
        }
        let index = socket_index(zone.port, queue);
        maps::SOCKETS.get(index).map(|_| index)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        // SAFETY: `at` has checked that the bytes lie between data and data_end.
        self.at(offset).map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        // SAFETY: `at` has checked that the bytes lie between data and data_end.
        self.at(offset).map(|to| unsafe { to.write_unaligned(bytes) })
    }

    #[inline(always)]
    fn stripped_tag(&self) -> Result<Option<u16>, DropReason> {
        Ok(None)
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn set_link(&mut self, old_length: u32, link: &Link) -> Result<(), DropReason> {
        let move_by = old_length as i32 - link.length() as i32;
        // SAFETY: the helper checks the head room; packet pointers are made anew after it.
        if move_by != 0 && unsafe { bpf_xdp_adjust_head(self.context, move_by) } != 0 {
            return Err(DropReason::Rewrite);
        }
        self.length = self.length.wrapping_add_signed(-move_by);
        link.write(self)
    }

    #[inline(always)]
    fn word_changed(&mut self, _old: [u8; 2], _new: [u8; 2]) {}

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        let grow_by = length as i32 - self.length as i32;
        // SAFETY: the helper checks the tail room; packet pointers are made anew after it.
        if grow_by != 0 && unsafe { bpf_xdp_adjust_tail(self.context, grow_by) } != 0 {
            return Err(DropReason::Rewrite);
        }
        self.length = length;
        Ok(())
    }

    #[inline(always)]
    fn sum(&self, offset: u32, length: u32) -> Result<u16, DropReason> {
        sum::sum::<Self>(self.context.cast(), offset, length)
    }
}
