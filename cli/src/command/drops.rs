//! `vfw show drops`: what was dropped, counted and packet by packet.

use std::fmt::Write as _;

use super::show::{bytes, duration, rows};
use crate::control::{DropsView, RecentDropView};
use crate::explain::message;
use crate::lang::IcmpMatch;
use crate::lang::registry::protocol_named;

/// Recent drops that are listed unless all are asked for: the last ones.
const LISTED: usize = 20;

/// The counters, then the recent drops, the newest last: where the eye is when the command has ended.
pub fn text(drops: &DropsView, all: bool) -> String {
    let counters = rows(
        &["zone", "reason", "packets", "bytes", "meaning"],
        drops.counters.iter().map(|drop| {
            vec![
                drop.zone.clone().unwrap_or_else(|| "-".to_owned()),
                drop.reason.clone(),
                drop.counter.packets.to_string(),
                bytes(drop.counter.bytes),
                drop.meaning.clone(),
            ]
        }),
    );
    if drops.recent.is_empty() && drops.unlisted == 0 {
        return counters;
    }
    let skipped = if all { 0 } else { drops.recent.len().saturating_sub(LISTED) };
    let recent = rows(&["seen", "from, to", "packet"], drops.recent.iter().skip(skipped).map(row));
    let mut text = format!("{counters}\n\nrecent drops, the newest last:\n{recent}");
    if skipped > 0 {
        let _ = write!(text, "\n{skipped} older ones are known (--all lists them)");
    }
    if drops.unlisted > 0 {
        let _ = write!(text, "\n{} more came too fast to be listed (vfw.toml: limits.drop_rate)", drops.unlisted);
    }
    text
}

/// When and how often, where, and what it was and why it was dropped.
fn row(drop: &RecentDropView) -> Vec<String> {
    let mut seen = format!("{} ago", duration(drop.last_seen_seconds));
    if drop.packets > 1 {
        let span = drop.first_seen_seconds.saturating_sub(drop.last_seen_seconds);
        let _ = write!(seen, "\n{} in {}", drop.packets, duration(span.max(1)));
    }
    let why = match &drop.decided {
        Some(rule) => format!("{}: {}  {}", drop.reason, rule.place, rule.rule),
        None => drop.reason.clone(),
    };
    vec![seen, way(drop), format!("{}\n{why}", packet(drop))]
}

fn way(drop: &RecentDropView) -> String {
    match (&drop.zone, &drop.to_zone) {
        (Some(zone), Some(to)) => format!("{zone}\n-> {to}"),
        (Some(zone), None) => zone.clone(),
        (None, _) => {
            let tag = drop.vlan.map_or_else(|| "untagged".to_owned(), |vlan| format!("vlan {vlan}"));
            format!("{}\n{tag}", drop.interface.as_deref().unwrap_or("-"))
        }
    }
}

/// What is known of the packet, on one line.
fn packet(drop: &RecentDropView) -> String {
    let mut words = Vec::new();
    if let (Some(source), Some(destination)) = (&drop.source, &drop.destination) {
        let end = |address: &str, port: Option<u16>| match port {
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address.to_owned(),
        };
        words.push(service(drop));
        words.push(end(source, drop.source_port));
        words.push(format!("-> {}", end(destination, drop.destination_port)));
        words.extend(drop.tcp_flags.clone());
        words.extend(drop.fragment.as_ref().map(|which| format!("{which} fragment")));
    }
    let is_about_macs = drop.source.is_none() || matches!(drop.reason.as_str(), "other-mac" | "multicast");
    if let (true, Some(source), Some(destination)) = (is_about_macs, &drop.source_mac, &drop.destination_mac) {
        words.push(format!("{source} -> {destination}"));
        words.extend(drop.ether_type.map(|ether_type| format!("ethertype {ether_type:#06x}")));
    }
    words.push(format!("{} B", drop.bytes));
    words.join(" ")
}

/// The protocol, of ICMP also the message.
fn service(drop: &RecentDropView) -> String {
    let name = drop.protocol.clone().unwrap_or_default();
    match (protocol_named(&name), drop.icmp_type) {
        (Some(row), Some(kind)) => message(row.number, IcmpMatch { kind, code: drop.icmp_code }),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{CounterView, DropView};
    use crate::explain::RulePlace;

    fn refused() -> RecentDropView {
        RecentDropView {
            packets: 12,
            first_seen_seconds: 183,
            last_seen_seconds: 3,
            zone: Some("app".into()),
            to_zone: Some("db".into()),
            reason: "policy".into(),
            decided: Some(RulePlace { place: "two-tier.fw:10".into(), rule: "default drop log".into() }),
            bytes: 74,
            source_mac: Some("02:00:00:00:0a:07".into()),
            destination_mac: Some("02:00:00:00:00:01".into()),
            ether_type: Some(0x0800),
            protocol: Some("tcp".into()),
            source: Some("10.0.10.7".into()),
            destination: Some("10.0.20.9".into()),
            source_port: Some(41_234),
            destination_port: Some(22),
            tcp_flags: Some("SYN".into()),
            ..RecentDropView::default()
        }
    }

    #[test]
    fn a_packet_is_told_as_far_as_it_is_known() {
        assert_eq!(packet(&refused()), "tcp 10.0.10.7:41234 -> 10.0.20.9:22 SYN 74 B");
        let ping = RecentDropView {
            protocol: Some("icmp6".into()),
            source: Some("fd00:10::7".into()),
            destination: Some("fd00:20::9".into()),
            icmp_type: Some(128),
            icmp_code: Some(0),
            bytes: 118,
            ..RecentDropView::default()
        };
        assert_eq!(packet(&ping), "icmp6 echo-request fd00:10::7 -> fd00:20::9 118 B");
        let later = RecentDropView { source_port: None, destination_port: None, tcp_flags: None, ..refused() };
        let later = RecentDropView { fragment: Some("later".into()), ..later };
        assert_eq!(packet(&later), "tcp 10.0.10.7 -> 10.0.20.9 later fragment 74 B");
        let no_packet = RecentDropView { source: None, destination: None, ..refused() };
        assert_eq!(packet(&no_packet), "02:00:00:00:0a:07 -> 02:00:00:00:00:01 ethertype 0x0800 74 B");
        assert_eq!(packet(&RecentDropView { bytes: 9, ..RecentDropView::default() }), "9 B", "not even that");
    }

    #[test]
    fn the_newest_stands_last_and_what_is_left_out_is_said() {
        let counter = CounterView { packets: 30, bytes: 2_220 };
        let (zone, reason) = (Some("app".to_owned()), "policy".to_owned());
        let counters = vec![DropView { zone, reason, meaning: "A rule drops it.".into(), counter }];
        let recent = (0..25).map(|port| RecentDropView { destination_port: Some(port), ..refused() }).collect();
        let view = DropsView { counters, recent, unlisted: 5 };
        let shown = text(&view, false);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert!(lines.iter().all(|line| line.len() <= 80), "{shown}");
        assert_eq!(
            lines[lines.len() - 4..],
            [
                "3s ago   app      tcp 10.0.10.7:41234 -> 10.0.20.9:24 SYN 74 B",
                "12 in 3m -> db    policy: two-tier.fw:10  default drop log",
                "5 older ones are known (--all lists them)",
                "5 more came too fast to be listed (vfw.toml: limits.drop_rate)"
            ]
        );
        assert!(!text(&view, true).contains("--all"));
        assert_eq!(text(&DropsView::default(), false), "none");
    }
}
