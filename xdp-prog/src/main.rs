//! eBPF entry points of vfw. Each hands its frame to the pipeline of `firewall-core` and carries out the verdict.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(unsafe_code, reason = "kernel memory and helpers; every block states its invariant")]
#![allow(clippy::inline_always, reason = "the verifier judges whole programs; calls cost stack and time here")]
#![allow(missing_docs, reason = "a binary; its items are private")]

mod bench;
mod clock;
mod frame_tc;
mod frame_xdp;
mod maps;
mod opaque;
mod panic;
mod punt;
mod sum;
mod tables;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_core::packet::Packet;
use firewall_core::pipeline::{Part, Step, enter, first, neighbour, stale};
use firewall_core::tables::{Tables, zone_flag};
use firewall_core::{Egress, Verdict};

use frame_tc::TcFrame;
use frame_xdp::XdpFrame;
use punt::Puntable as _;
use tables::{KernelTables, packet_in_scratch, packet_scratch};

/// The object calls GPL-only helpers, so the kernel wants a compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp(frags)]
pub fn vfw_xdp(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx.ctx);
    let tables = KernelTables::current();
    let ifindex = frame.ingress_ifindex();
    let Some(packet) = packet_scratch() else { return xdp_action::XDP_ABORTED };
    match enter(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_xdp(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_xdp(&ctx, part),
    }
}

#[xdp(frags)]
pub fn vfw_xdp_stale(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx.ctx);
    let tables = KernelTables::current();
    let ifindex = frame.ingress_ifindex();
    let Some(packet) = packet_scratch() else { return xdp_action::XDP_ABORTED };
    match stale(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_xdp(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_xdp(&ctx, part),
    }
}

#[inline(always)]
fn continue_xdp(ctx: &XdpContext, part: Part) -> u32 {
    // SAFETY: the array holds programs of this type only; without one the call returns and the frame is dropped.
    let _ = unsafe { maps::XDP_PARTS.tail_call(ctx, part as u32) };
    xdp_action::XDP_ABORTED
}

#[xdp(frags)]
pub fn vfw_xdp_first(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx.ctx);
    let tables = KernelTables::current();
    let Some(packet) = packet_scratch() else { return xdp_action::XDP_ABORTED };
    let ifindex = frame.ingress_ifindex();
    match first(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_xdp(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_xdp(&ctx, part),
    }
}

#[xdp(frags)]
pub fn vfw_xdp_neighbour(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(ctx.ctx);
    let tables = KernelTables::current();
    let Some(packet) = packet_scratch() else { return xdp_action::XDP_ABORTED };
    let ifindex = frame.ingress_ifindex();
    let verdict = neighbour(&mut frame, &tables, ifindex, clock::now(), packet);
    finish_xdp(&frame, &tables, packet, verdict)
}

#[xdp(frags)]
pub fn vfw_bench_classify(_: XdpContext) -> u32 {
    bench::next(bench::classify).map_or(xdp_action::XDP_ABORTED, |()| xdp_action::XDP_DROP)
}

#[xdp(frags)]
pub fn vfw_bench_nothing(_: XdpContext) -> u32 {
    bench::next(bench::nothing).map_or(xdp_action::XDP_ABORTED, |()| xdp_action::XDP_DROP)
}

#[inline(always)]
fn finish_xdp(frame: &XdpFrame, tables: &KernelTables, packet: &Packet, verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Transmit(egress) => tables.redirect(egress.zone),
        Verdict::Drop(_) | Verdict::Consume => xdp_action::XDP_DROP,
        Verdict::Punt(punt) => {
            punt::send(frame, tables, (&punt, packet));
            xdp_action::XDP_DROP
        }
    }
}

/// Into the socket of the queue through which the frame came. One that closes at this very moment costs the frame.
///
/// A part of its own because every other way to the end of a program is followed anew for each way through the pipeline.
#[xdp(frags)]
pub fn vfw_xdp_engine(_: XdpContext) -> u32 {
    let Some(packet) = packet_in_scratch() else { return xdp_action::XDP_ABORTED };
    match maps::SOCKETS.redirect(packet.socket, u64::from(xdp_action::XDP_ABORTED)) {
        Ok(action) | Err(action) => action,
    }
}

#[classifier]
pub fn vfw_tc(ctx: TcContext) -> i32 {
    let mut frame = TcFrame::new(ctx.skb.skb);
    let tables = KernelTables::current();
    let ifindex = frame.ingress_ifindex();
    let Some(packet) = packet_scratch() else { return TC_ACT_SHOT };
    match enter(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_tc(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_tc(&ctx, part),
    }
}

#[classifier]
pub fn vfw_tc_stale(ctx: TcContext) -> i32 {
    let mut frame = TcFrame::new(ctx.skb.skb);
    let tables = KernelTables::current();
    let ifindex = frame.ingress_ifindex();
    let Some(packet) = packet_scratch() else { return TC_ACT_SHOT };
    match stale(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_tc(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_tc(&ctx, part),
    }
}

#[inline(always)]
fn continue_tc(ctx: &TcContext, part: Part) -> i32 {
    // SAFETY: the array holds programs of this type only; without one the call returns and the frame is dropped.
    let _ = unsafe { maps::TC_PARTS.tail_call(ctx, part as u32) };
    TC_ACT_SHOT
}

#[classifier]
pub fn vfw_tc_first(ctx: TcContext) -> i32 {
    let mut frame = TcFrame::new(ctx.skb.skb);
    let tables = KernelTables::current();
    let Some(packet) = packet_scratch() else { return TC_ACT_SHOT };
    let ifindex = frame.ingress_ifindex();
    match first(&mut frame, &tables, ifindex, clock::now(), packet) {
        Step::Done(verdict) => finish_tc(&frame, &tables, packet, verdict),
        Step::Continue(part) => continue_tc(&ctx, part),
    }
}

#[classifier]
pub fn vfw_tc_neighbour(ctx: TcContext) -> i32 {
    let mut frame = TcFrame::new(ctx.skb.skb);
    let tables = KernelTables::current();
    let Some(packet) = packet_scratch() else { return TC_ACT_SHOT };
    let ifindex = frame.ingress_ifindex();
    let verdict = neighbour(&mut frame, &tables, ifindex, clock::now(), packet);
    finish_tc(&frame, &tables, packet, verdict)
}

#[inline(always)]
fn finish_tc(frame: &TcFrame, tables: &KernelTables, packet: &Packet, verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Transmit(egress) => redirect(tables, egress),
        Verdict::Drop(_) | Verdict::Consume => TC_ACT_SHOT,
        Verdict::Punt(punt) => {
            punt::send(frame, tables, (&punt, packet));
            TC_ACT_SHOT
        }
    }
}

/// Into the peer of a veth where the zone allows it (one queue less), else out of the interface. Answers of vfw itself
/// always leave normally, so that the receiver's stack looks at their destination MAC anew.
#[inline(always)]
fn redirect(tables: &KernelTables, egress: Egress) -> i32 {
    let Some(zone) = tables.zone(egress.zone) else { return TC_ACT_SHOT };
    if zone.flags & zone_flag::PEER != 0 && !egress.reply {
        // SAFETY: a helper without memory arguments.
        return unsafe { bpf_redirect_peer(zone.ifindex, 0) } as i32;
    }
    // SAFETY: a helper without memory arguments.
    unsafe { bpf_redirect(zone.ifindex, 0) as i32 }
}
