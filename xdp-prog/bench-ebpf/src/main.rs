//! Programs that make frames, count them, and put a frame back as it was.
//!
//! Structures and map names are repeated in `cli/src/bench/lab/rig.rs`, which fills them.

#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "kernel memory and helpers; every block states its invariant")]
#![allow(clippy::inline_always, reason = "the verifier judges whole programs")]
#![allow(unreachable_pub, reason = "a binary; `pub` marks what the loader looks for")]
#![allow(missing_docs, reason = "a binary; its items are private")]

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Words of a frame that the generator makes. IPv4: 60 bytes, the last four of them not used. IPv6: 64.
const MADE: usize = 7;
const MADE_IPV6: usize = 8;
/// Bytes of a frame that test runs use, and of its Ethernet header.
const KEPT: usize = 80;
const ETHERNET: usize = 14;
/// Offsets of identification and last half of the source address in an IPv4 header.
const IDENTIFICATION: usize = 18;
const SOURCE_END: usize = 28;
/// Offsets of the UDP ports behind an IPv4 header without options.
const SOURCE_PORT: usize = 34;
const DESTINATION_PORT: usize = 36;
/// Offset of the low half of TCP's sequence number there.
const SEQUENCE_END: usize = 40;
/// Offsets of the UDP ports behind an IPv6 header, and of the payload's only word.
const SOURCE_PORT_IPV6: usize = 54;
const DESTINATION_PORT_IPV6: usize = 56;
const BALANCE: usize = 62;

/// What to generate.
#[repr(C)]
pub struct Plan {
    /// The frame, ports to be filled in.
    frame: [u64; MADE_IPV6],
    /// Flows to go through, in turn.
    flows: u32,
    /// The first of them.
    first: u32,
    /// Ports of one client; flows beyond it go to the next service port.
    clients: u32,
    /// Lowest client port, host order.
    client_port: u16,
    /// Lowest service port, host order.
    service_port: u16,
    /// Not 0: from the server to the client.
    reply: u16,
    /// Not 0: a client is an address, counted from that of the frame, and has the lowest client port. 2: the frame is TCP.
    hosts: u16,
    /// Not 0: the frame is IPv6 and UDP.
    ipv6: u32,
    /// Nanoseconds between two frames; 0 for as many as can be.
    interval: u64,
    /// When to end (nanoseconds of the monotonic clock); 0 for never.
    until: u64,
}

#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
/// Frames made.
#[map]
static NEXT: Array<u32> = Array::with_max_entries(1, 0);
/// When the next frame is due.
#[map]
static DUE: Array<u64> = Array::with_max_entries(1, 0);
/// Frames sent.
#[map]
static SENT: Array<u64> = Array::with_max_entries(1, 0);
/// Frames that arrived.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// The frame of test runs.
#[map]
static FRAME: Array<[u16; KEPT / 2]> = Array::with_max_entries(1, 0);
/// The program under test.
#[map]
static XDP_TESTED: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static TC_TESTED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Writes the next frame over whatever the recycled page holds, and sends it out of the interface it "came in" on.
#[xdp(frags)]
pub fn bench_generate(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    let (Some(plan), Some(next)) = (PLAN.get(0), NEXT.get_ptr_mut(0)) else { return xdp_action::XDP_ABORTED };
    if start + MADE * 8 > end {
        return xdp_action::XDP_ABORTED;
    }
    if !is_due(plan) {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: one generator runs at a time, on one CPU.
    let number = unsafe {
        let number = *next;
        *next = if number + 1 < plan.flows { number + 1 } else { 0 };
        number + plan.first
    };
    let (client, service) = if plan.clients == 0 { (0, 0) } else { (number % plan.clients, number / plan.clients) };
    let (host, client) = if plan.hosts == 0 { (0, client as u16) } else { (client as u16, 0) };
    let service = service as u16;
    let client_port = plan.client_port.wrapping_add(client).to_be();
    let service_port = plan.service_port.wrapping_add(service).to_be();
    let (source, destination) = if plan.reply == 0 { (client_port, service_port) } else { (service_port, client_port) };
    if plan.ipv6 != 0 {
        return make_ipv6((start, end), plan, [source, destination]);
    }
    // SAFETY: 56 bytes are there, as checked; the frame starts at a multiple of eight behind the head room.
    unsafe {
        (start as *mut [u64; MADE]).write((&raw const plan.frame).cast::<[u64; MADE]>().read());
        ((start + SOURCE_PORT) as *mut u16).write(source);
        ((start + DESTINATION_PORT) as *mut u16).write(destination);
        if host != 0 {
            // As much more here as less there: the checksum holds.
            let (id, end) = ((start + IDENTIFICATION) as *mut u16, (start + SOURCE_END) as *mut u16);
            id.write(u16::from_be(id.read()).wrapping_sub(host).to_be());
            end.write(u16::from_be(end.read()).wrapping_add(host).to_be());
        }
        if plan.hosts == 2 {
            // TCP's own checksum likewise: it covers address and port.
            let sequence = (start + SEQUENCE_END) as *mut u16;
            let more = host.wrapping_add(service);
            sequence.write(u16::from_be(sequence.read()).wrapping_sub(more).to_be());
        }
    }
    xdp_action::XDP_TX
}

/// The same for IPv6, where a checksum is due: the payload takes back what the ports add to it.
#[inline(always)]
fn make_ipv6((start, end): (usize, usize), plan: &Plan, [source, destination]: [u16; 2]) -> u32 {
    if start + MADE_IPV6 * 8 > end {
        return xdp_action::XDP_ABORTED;
    }
    let sum = u32::from(source) + u32::from(destination);
    let balance = !((sum & 0xffff) + (sum >> 16)) as u16;
    // SAFETY: 64 bytes are there, as checked; the frame starts at a multiple of eight behind the head room.
    unsafe {
        (start as *mut [u64; MADE_IPV6]).write(plan.frame);
        ((start + SOURCE_PORT_IPV6) as *mut u16).write(source);
        ((start + DESTINATION_PORT_IPV6) as *mut u16).write(destination);
        ((start + BALANCE) as *mut u16).write(balance);
    }
    xdp_action::XDP_TX
}

/// Looks at the clock so often at most before a frame: a tenth of a millisecond, and more.
const LOOKS: u32 = 4096;

/// Frames that are made up for when they could not be made in time: the kernel sends so many at once (`BATCH` of the lab's
/// rig.rs), and none is made meanwhile.
const BATCH: u64 = 64;

/// Waits until the next frame is due, and counts it; false when the time is over.
#[inline(always)]
fn is_due(plan: &Plan) -> bool {
    let (Some(due), Some(sent)) = (DUE.get_ptr_mut(0), SENT.get_ptr_mut(0)) else { return false };
    if plan.interval != 0 || plan.until != 0 {
        // SAFETY: a helper without arguments.
        let clock = || unsafe { bpf_ktime_get_ns() };
        let mut now = clock();
        if plan.until != 0 && now >= plan.until {
            return false;
        }
        // SAFETY: one generator runs at a time, on one CPU.
        let at = unsafe { *due };
        let mut looks = 0;
        while now < at && looks < LOOKS {
            now = clock();
            looks += 1;
        }
        // SAFETY: as above.
        unsafe { *due = at.max(now.saturating_sub(BATCH * plan.interval)) + plan.interval };
    }
    // SAFETY: as above.
    unsafe { *sent += 1 };
    true
}

#[xdp(frags)]
pub fn bench_sink_xdp(_: XdpContext) -> u32 {
    count();
    xdp_action::XDP_DROP
}

#[classifier]
pub fn bench_sink_tc(_: TcContext) -> i32 {
    count();
    TC_ACT_SHOT
}

#[inline(always)]
fn count() {
    if let Some(seen) = SEEN.get_ptr_mut(0) {
        // SAFETY: this CPU's own element.
        unsafe { *seen += 1 };
    }
}

/// Puts the frame back as it was before the last run, and runs the program under test.
#[xdp(frags)]
pub fn bench_again_xdp(ctx: XdpContext) -> u32 {
    if !restore(ctx.data(), ctx.data_end()) {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the array holds XDP programs only; without one the call returns.
    let _ = unsafe { XDP_TESTED.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

#[classifier]
pub fn bench_again_tc(ctx: TcContext) -> i32 {
    if !restore(ctx.data(), ctx.data_end()) {
        return TC_ACT_SHOT;
    }
    // SAFETY: the array holds tc programs only; without one the call returns.
    let _ = unsafe { TC_TESTED.tail_call(&ctx, 0) };
    TC_ACT_SHOT
}

#[inline(always)]
fn restore(start: usize, end: usize) -> bool {
    let Some(frame) = FRAME.get(0) else { return false };
    if start + KEPT > end {
        return false;
    }
    // The header in words of its own, so that no word that the program reads lies across two that were just written:
    // the CPU would have to wait for both.
    let frame = core::ptr::from_ref(frame) as usize;
    copy::<u64>(frame, start);
    copy::<u32>(frame + 8, start + 8);
    copy::<u16>(frame + 12, start + 12);
    for word in 0..(KEPT - ETHERNET) / 4 {
        copy::<u32>(frame + ETHERNET + 4 * word, start + ETHERNET + 4 * word);
    }
    true
}

/// Copies one word of the kept frame. The words behind the Ethernet header are two bytes off their alignment.
#[inline(always)]
fn copy<T>(from: usize, to: usize) {
    // SAFETY: `restore` passes places inside of the kept frame and of the checked part of the packet.
    unsafe { (to as *mut T).write_volatile((from as *const T).read_volatile()) };
}

/// What a program costs that does nothing.
#[xdp(frags)]
pub fn bench_nothing_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[classifier]
pub fn bench_nothing_tc(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop: a panic that can be reached does not load.
    loop {}
}
