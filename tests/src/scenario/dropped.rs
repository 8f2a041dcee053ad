//! What the data path has to tell of a dropped frame, judged by a parser that knows nothing of the pipeline.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use firewall_core::event::{Event, EventKind, NO_RULE, found};
use firewall_core::tables::NO_ZONE;
use firewall_core::{DropReason, PuntTask};

use super::{Injection, Outcome};

/// Whether `told` is the event of a frame of which `bytes` bytes are counted: one for a drop, else none.
pub(super) fn check(injection: &Injection, bytes: u64, told: &[Event]) -> Result<(), String> {
    let reason = match &injection.expect {
        Outcome::Drop(reason) | Outcome::Punt { task: PuntTask::Report, reason, .. } => *reason,
        _ if told.is_empty() => return Ok(()),
        _ => return Err("a drop is told of that was none".to_owned()),
    };
    // Before there is a policy there are no rates, either.
    if reason == DropReason::NotReady {
        return Ok(());
    }
    let [event] = told else { return Err(format!("{} drops are told of instead of one", told.len())) };
    let is_by_rule = matches!(reason, DropReason::Policy | DropReason::Reject);
    let rule = injection.rule.filter(|_| is_by_rule).unwrap_or(NO_RULE);
    let expected = (EventKind::Dropped as u8, reason as u8, injection.from, u64::from(event.length), rule);
    if (event.kind, event.reason, event.from, bytes, event.rule) != expected {
        return Err(format!("kind, reason, zone, bytes and rule are not {expected:?} with {bytes} bytes"));
    }
    if event.time == 0 || event.ifindex == 0 {
        return Err("time or interface is missing".to_owned());
    }
    is_as_far_as_it_must(injection, reason, event)?;
    is_true(&injection.frame, injection.stripped_tag, event)
}

/// How far a frame that is dropped for a reason has been understood at the least.
fn is_as_far_as_it_must(injection: &Injection, reason: DropReason, event: &Event) -> Result<(), String> {
    use DropReason as R;
    let wanted = match reason {
        R::Truncated | R::EtherType | R::UnknownVlan | R::DoubleTag | R::IpHeader | R::Multicast | R::Neighbour => {
            found::LINK
        }
        R::IpChecksum
        | R::IpOptions
        | R::Ipv6Extension
        | R::Fragment
        | R::TransportHeader
        | R::MartianSource
        | R::OtherMac => found::LINK | found::NETWORK,
        _ if !matches!(event.protocol, 1 | 6 | 17 | 58) || event.found & found::LATER_FRAGMENT != 0 => {
            found::LINK | found::NETWORK
        }
        _ => found::LINK | found::NETWORK | found::TRANSPORT,
    };
    if event.found & wanted != wanted {
        return Err(format!("{:#b} was found, {wanted:#b} must be", event.found));
    }
    let knows_its_way = matches!(reason, R::Policy | R::Reject | R::TtlExceeded | R::TooBig | R::TcpWindow);
    // Another policy may lead it elsewhere, or nowhere.
    if knows_its_way && injection.rule.is_some() && event.to == NO_ZONE {
        return Err("the egress zone is missing".to_owned());
    }
    Ok(())
}

/// Whether all that is said of the frame is in it.
fn is_true(frame: &[u8], stripped_tag: Option<u16>, event: &Event) -> Result<(), String> {
    if event.found & found::LINK != 0 && (frame[..6] != event.receiver || frame[6..12] != event.mac) {
        return Err("the MACs are others".to_owned());
    }
    let in_the_bytes = match frame.get(12..16) {
        Some([0x81, 0x00, high, low]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    // Beside the bytes, or moved there by the kernel: the outer tag counts.
    if ![stripped_tag.unwrap_or(in_the_bytes) & 0xfff, 0].contains(&event.vlan) {
        return Err(format!("VLAN {} is another", event.vlan));
    }
    let sliced = LaxSlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    if event.found & found::NETWORK != 0 {
        let ends: Option<(IpAddr, IpAddr)> = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
            }
            _ => None,
        };
        // A mapped address is shown as what it claims to be.
        let told = (IpAddr::from(event.source), IpAddr::from(event.destination));
        if ends.map(|(source, destination)| (source.to_canonical(), destination.to_canonical())) != Some(told) {
            return Err(format!("the addresses are {ends:?}"));
        }
    }
    if event.found & found::TRANSPORT == 0 {
        return Ok(());
    }
    let ports = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        Some(TransportSlice::Icmpv4(icmp)) => {
            Some((event.source_port, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()])))
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            Some((event.source_port, u16::from_be_bytes([icmp.type_u8(), icmp.code_u8()])))
        }
        // A fragment, whose ports are those of the first one.
        _ => None,
    };
    match ports {
        Some(ports) if ports != (event.source_port, event.destination_port) => Err(format!("the ports are {ports:?}")),
        None if event.found & (found::FIRST_FRAGMENT | found::LATER_FRAGMENT) == 0 => {
            Err("there are no ports".to_owned())
        }
        _ => Ok(()),
    }
}
