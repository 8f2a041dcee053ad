//! Bytes to [`Packet`]: no state, no change. Every length is checked against the frame and against the headers
//! around it; what contradicts itself is dropped with the reason.

mod ether;
mod ipv4;
mod ipv6;
mod quoted;
mod transport;

pub use ether::ethernet;
pub use quoted::{Quoted, quoted};

use crate::frame::Frame;
use crate::packet::{Ethernet, Packet, ether_type};
use crate::verdict::DropReason;

/// Headers must end within this many bytes of the frame. Bounds every variable offset for the verifier.
pub const MAX_HEADERS: u32 = 512;

/// Fills `packet`, empty before, from the IP packet in a frame.
#[inline(always)]
pub fn ip<F: Frame>(frame: &F, ethernet: &Ethernet, packet: &mut Packet) -> Result<(), DropReason> {
    match ethernet.ether_type {
        ether_type::IPV4 => ipv4::fill(frame, ethernet.length, packet)?,
        ether_type::IPV6 => ipv6::fill(frame, ethernet.length, packet)?,
        _ => return Err(DropReason::EtherType),
    }
    transport::fill(frame, packet)
}

#[inline(always)]
pub(crate) const fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
pub(crate) const fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
pub(crate) const fn four_at<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}
