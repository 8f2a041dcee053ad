//! IPv4 (RFC 791), with options and fragments.

use super::{four_at, u16_at};
use crate::address::Address;
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, protocol};
use crate::rewrite::checksum;
use crate::verdict::DropReason;

const HEADER: u32 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The network part of an IPv4 packet whose header starts at `offset`.
#[inline(always)]
pub(super) fn fill<F: Frame>(frame: &F, offset: u32, packet: &mut Packet) -> Result<(), DropReason> {
    let header: [u8; HEADER as usize] = frame.load(offset)?;
    let header_length = u32::from(header[0] & 0x0f) * 4;
    let total = u32::from(u16_at(&header, 2));
    let room = frame.length().saturating_sub(offset);
    if header[0] >> 4 != 4 || header_length < HEADER || total < header_length {
        return Err(DropReason::IpHeader);
    }
    if total > room {
        return Err(DropReason::Truncated);
    }
    packet.source = Address::from_v4(four_at(&header, 12));
    packet.destination = Address::from_v4(four_at(&header, 16));
    packet.protocol = header[9];
    packet.ttl = header[8];
    packet.ip_length = total;
    let options_sum = if header_length > HEADER { options(frame, offset + HEADER, header_length - HEADER)? } else { 0 };
    if checksum::fold(checksum::sum_words(&header) + options_sum) != 0xffff {
        return Err(DropReason::IpChecksum);
    }
    let fragmentation = u16_at(&header, 6);
    let fragment = fragment(fragmentation, header[9])?;
    packet.fragment = fragment;
    if fragment != Fragment::Whole {
        packet.fragment_id = u32::from(u16_at(&header, 4));
        packet.fragment_offset = u32::from(fragmentation & FRAGMENT_OFFSET) * 8;
    }
    packet.network_offset = offset;
    packet.transport_offset = offset + header_length;
    packet.transport_length = total - header_length;
    Ok(())
}

/// A fragment at offset 8 could overwrite the TCP flags of the first one (RFC 1858 section 3.2).
#[inline(always)]
fn fragment(field: u16, transport: u8) -> Result<Fragment, DropReason> {
    match field & (MORE_FRAGMENTS | FRAGMENT_OFFSET) {
        0 => Ok(Fragment::Whole),
        MORE_FRAGMENTS => Ok(Fragment::First),
        other if other & FRAGMENT_OFFSET == 1 && transport == protocol::TCP => Err(DropReason::Fragment),
        _ => Ok(Fragment::Later),
    }
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_ROUTE: u8 = 131;
const OPTION_STRICT_ROUTE: u8 = 137;
/// More options than any real packet has; 40 NOPs would be the most there is room for.
const MAX_OPTIONS: u32 = 12;

/// Walks the options, refuses source routes (RFC 7126 section 4.3), returns their checksum part.
///
/// It counts down from the length, which the verifier does not know. Counted up from zero, which it does, each number of NOPs
/// would be a way of its own.
#[inline(always)]
fn options<F: Frame>(frame: &F, offset: u32, length: u32) -> Result<u64, DropReason> {
    let end = offset + length;
    let mut left = length;
    for _ in 0..MAX_OPTIONS {
        if left == 0 {
            break;
        }
        let [kind] = frame.load::<1>(end.wrapping_sub(left))?;
        match kind {
            OPTION_END => left = 0,
            OPTION_NOP => left -= 1,
            OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE => return Err(DropReason::IpOptions),
            _ => {
                let [size] = frame.load::<1>(end.wrapping_sub(left) + 1)?;
                if size < 2 || u32::from(size) > left {
                    return Err(DropReason::IpOptions);
                }
                left -= u32::from(size);
            }
        }
        // The same range on every path lets the verifier join them.
        left &= 0x3f;
    }
    if left != 0 {
        return Err(DropReason::IpOptions);
    }
    let mut sum = 0;
    for word in 0..10 {
        if word * 4 < length {
            let bytes: [u8; 4] = frame.load(offset + word * 4)?;
            sum += checksum::sum_words(&bytes);
        }
    }
    Ok(sum)
}
