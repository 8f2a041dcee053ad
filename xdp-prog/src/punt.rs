//! Frames for the daemon, through a bounded ring.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit};
use aya_ebpf::maps::RingBuf;
use firewall_core::event::{Dropped, PuntHeader};
use firewall_core::limit::{LARGE_FRAME, SMALL_FRAME};
use firewall_core::packet::Packet;
use firewall_core::tables::Tables as _;
use firewall_core::{DropReason, Frame, Punt, PuntTask};

use crate::sum::Copy;
use crate::tables::KernelTables;
use crate::{clock, maps, opaque};

const HEADER: u32 = size_of::<PuntHeader>() as u32;

/// Bytes of a frame that an ICMP error can use: IPv6 quotes up to 1,232 (RFC 4443 section 2.4 c), and the link header.
const QUOTED: u32 = 1_280;

/// A frame that can be handed over.
pub trait Puntable: Frame + Copy {
    /// The program's context.
    fn context(&self) -> *mut c_void;

    /// Kernel index of the interface through which it came.
    fn ingress_ifindex(&self) -> u32;
}

/// Copies the frame into the ring of its task. A frame that was to go on counts as dropped when there is no room; one that
/// is to be reported has been counted by the pipeline.
#[inline(always)]
pub fn send<F: Puntable>(frame: &F, tables: &KernelTables, (punt, packet): (&Punt, &Packet)) {
    let length = frame.length();
    match punt.task {
        PuntTask::Report => {
            // An error quotes the beginning of a packet; nobody needs the rest.
            send_sized::<F, SMALL_FRAME>(&maps::REPORTS, frame, (punt, packet), length.min(QUOTED));
        }
        PuntTask::Resolve => {
            let sent = if length <= SMALL_FRAME {
                send_sized::<F, SMALL_FRAME>(&maps::PUNTS, frame, (punt, packet), length)
            } else {
                send_sized::<F, LARGE_FRAME>(&maps::PUNTS, frame, (punt, packet), length)
            };
            if !sent {
                let (reason, ifindex, now) = (DropReason::QueueFull, frame.ingress_ifindex(), clock::now());
                tables.count_dropped(&Dropped { from: punt.from, reason, ifindex, length, now }, packet);
            }
        }
    }
}

#[inline(always)]
fn send_sized<F: Puntable, const ROOM: u32>(
    ring: &'static RingBuf,
    frame: &F,
    (punt, packet): (&Punt, &Packet),
    length: u32,
) -> bool {
    // Opaque: the verifier has to see the bounds on the very register that the helper gets. Less by one: before Linux 6.8 it
    // does not take "not zero" for a bound.
    let length_but_one = opaque::number(u64::from(length).wrapping_sub(1));
    if length_but_one >= u64::from(ROOM) {
        return false;
    }
    let length = length_but_one as u32 + 1;
    // SAFETY: the record has room for the header and ROOM bytes, `length` is at most ROOM, and every path submits or
    // discards the record.
    unsafe {
        let ring = (&raw const *ring).cast_mut().cast();
        let record = bpf_ringbuf_reserve(ring, u64::from(HEADER + ROOM), 0).cast::<u8>();
        if record.is_null() {
            return false;
        }
        record.cast::<PuntHeader>().write(PuntHeader::new(punt, packet, length, frame.gso_size()));
        if F::copy(frame.context(), 0, record.add(HEADER as usize).cast(), length) != 0 {
            bpf_ringbuf_discard(record.cast(), 0);
            return false;
        }
        bpf_ringbuf_submit(record.cast(), 0);
    }
    true
}
