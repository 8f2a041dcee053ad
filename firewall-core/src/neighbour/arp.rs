//! ARP (RFC 826) for the gateway's IPv4 addresses, probes of RFC 5227 included.

use super::{is_gateway, learn};
use crate::address::Address;
use crate::frame::{Frame, Link};
use crate::packet::{Ethernet, ether_type};
use crate::parse::{four_at, u16_at};
use crate::tables::Tables;
use crate::verdict::{DropReason, Egress, Verdict};
use crate::zone::Ingress;

/// Ethernet, IPv4, address lengths 6 and 4.
const HEADER: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// Answers a request for a gateway address; learns from replies.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
) -> Result<Verdict, DropReason> {
    let message: [u8; 28] = frame.load(ethernet.length)?;
    let [h0, h1, h2, h3, h4, h5, _, _, m0, m1, m2, m3, m4, m5, ..] = message;
    let operation = u16_at(&message, 6);
    let sender_mac = [m0, m1, m2, m3, m4, m5];
    let sender = Address::from_v4(four_at(&message, 14));
    let target = Address::from_v4(four_at(&message, 24));
    if [h0, h1, h2, h3, h4, h5] != HEADER || sender_mac != ethernet.source {
        return Err(DropReason::Neighbour);
    }
    let is_probe = four_at(&message, 14) == [0; 4];
    let is_announcement = sender == target;
    let is_for_us = !is_announcement && is_gateway(ingress, &target);
    if !is_probe && (is_for_us || is_announcement) {
        learn(ingress, &sender, sender_mac, operation == REPLY && is_for_us);
    }
    if operation != REQUEST || !is_for_us {
        return Ok(Verdict::Consume);
    }
    reply(frame, ingress, ethernet, &message)?;
    Ok(Verdict::Transmit(Egress { zone: ingress.id, reply: true }))
}

#[inline(always)]
fn reply<F: Frame, T>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    request: &[u8; 28],
) -> Result<(), DropReason> {
    let [_, _, _, _, _, _, _, _, m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = *request;
    let [g0, g1, g2, g3, g4, g5] = ingress.zone.mac;
    let [op0, op1] = REPLY.to_be_bytes();
    let answer = [op0, op1, g0, g1, g2, g3, g4, g5, t0, t1, t2, t3, m0, m1, m2, m3, m4, m5, s0, s1, s2, s3];
    frame.store(ethernet.length + 6, answer)?;
    let link = Link {
        destination: ethernet.source,
        source: ingress.zone.mac,
        vlan: ingress.zone.tag(),
        ether_type: ether_type::ARP,
    };
    frame.set_link(ethernet.length, &link)
}
