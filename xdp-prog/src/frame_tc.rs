//! [`Frame`] over a socket buffer at the tc hook: GSO super-packets whole, partial checksums kept, VLAN tag beside
//! the bytes.

use core::ffi::c_void;
use core::mem::offset_of;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_csum_update, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_vlan_pop, bpf_skb_vlan_push,
};
use firewall_core::frame::TAGGED_ETHERNET;
use firewall_core::packet::ether_type;
use firewall_core::{DropReason, Frame, Link};

use crate::opaque;
use crate::punt::Puntable;
use crate::sum::{self, Copy};

/// Bytes made linear before anything is read: room for the headers of an ICMP error and of the packet it quotes.
const LINEAR: u32 = 192;

/// One frame at the tc hook.
pub struct TcFrame {
    context: *mut __sk_buff,
}

impl TcFrame {
    #[inline(always)]
    pub fn new(context: *mut __sk_buff) -> Self {
        // SAFETY: the context is the one that the kernel passed.
        unsafe {
            let wanted = (*context).len.min(LINEAR);
            let linear = ((*context).data_end as usize).wrapping_sub((*context).data as usize);
            if linear < wanted as usize {
                // When it fails, the parser finds the bytes missing.
                let _ = bpf_skb_pull_data(context, wanted);
            }
        }
        Self { context }
    }

    /// Start of `N` bytes at `offset` in the linear part, if they are there.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: u32) -> Result<*mut [u8; N], DropReason> {
        // SAFETY: the context is the one that the kernel passed; both fields are packet pointers.
        let (data, end) = unsafe {
            (
                opaque::packet_pointer::<{ offset_of!(__sk_buff, data) }, _>(self.context),
                opaque::packet_pointer::<{ offset_of!(__sk_buff, data_end) }, _>(self.context),
            )
        };
        opaque::checked(data, end, offset)
    }
}

impl Copy for TcFrame {
    #[inline(always)]
    unsafe fn copy(context: *mut c_void, offset: u32, to: *mut c_void, length: u32) -> i64 {
        // SAFETY: passed on from the caller.
        unsafe { bpf_skb_load_bytes(context, offset, to, length) }
    }
}

impl Puntable for TcFrame {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.cast()
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: a plain context field.
        unsafe { (*self.context).ifindex }
    }
}

impl Frame for TcFrame {
    const COMPLETES_CHECKSUMS: bool = false;

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: a plain context field.
        unsafe { (*self.context).len }
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
        // SAFETY: plain context fields.
        let (present, protocol, control) =
            unsafe { ((*self.context).vlan_present, (*self.context).vlan_proto, (*self.context).vlan_tci) };
        match (present, u16::from_be(protocol as u16)) {
            (0, _) => Ok(None),
            (_, ether_type::VLAN) => Ok(Some(control as u16)),
            _ => Err(DropReason::DoubleTag),
        }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: a plain context field.
        unsafe { (*self.context).gso_size }
    }

    #[inline(always)]
    fn set_link(&mut self, old_length: u32, link: &Link) -> Result<(), DropReason> {
        if old_length == TAGGED_ETHERNET || self.stripped_tag()?.is_some() {
            // SAFETY: packet pointers are made anew after the helper.
            if unsafe { bpf_skb_vlan_pop(self.context) } != 0 {
                return Err(DropReason::Rewrite);
            }
        }
        let [d0, d1, d2, d3, d4, d5] = link.destination;
        let [s0, s1, s2, s3, s4, s5] = link.source;
        self.store(0, [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5])?;
        let Some(vlan) = link.vlan else { return Ok(()) };
        // SAFETY: packet pointers are made anew after the helper.
        match unsafe { bpf_skb_vlan_push(self.context, ether_type::VLAN.to_be(), vlan) } {
            0 => Ok(()),
            _ => Err(DropReason::Rewrite),
        }
    }

    #[inline(always)]
    fn word_changed(&mut self, old: [u8; 2], new: [u8; 2]) {
        let difference = u32::from(!u16::from_ne_bytes(old)) + u32::from(u16::from_ne_bytes(new));
        // SAFETY: a helper without memory arguments. It refuses where there is no such sum, and then nothing is to do.
        let _ = unsafe { bpf_csum_update(self.context, difference) };
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        if length == self.length() {
            return Ok(());
        }
        // SAFETY: packet pointers are made anew after the helper.
        match unsafe { bpf_skb_change_tail(self.context, length, 0) } {
            0 => Ok(()),
            _ => Err(DropReason::Rewrite),
        }
    }

    #[inline(always)]
    fn sum(&self, offset: u32, length: u32) -> Result<u16, DropReason> {
        sum::sum::<Self>(self.context.cast(), offset, length)
    }
}
