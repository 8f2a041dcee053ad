//! What a policy does to packets, before any packet meets it: the tests of the rule files, run through the same
//! pipeline that the kernel runs.

use std::net::IpAddr;

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, PacketBuilder, PacketBuilderStep,
    TcpHeader, VlanId,
};
use firewall_core::packet::Packet;
use firewall_core::tables::Zone;
use firewall_core::{DropReason, Punt, PuntTask, Verdict, process};

use crate::backend::memory::{Limits, Memory, MemoryFrame};
use crate::compile::Image;
use crate::config::Config;
use crate::explain::FirstPacket;
use crate::lang::registry::{ICMP, ICMP6, TCP, UDP};
use crate::lang::tcp_flags::LETTERS;
use crate::lang::{Action, Diagnostic, Diagnostics, Location, Policy, Test, TestCase};

/// What the tests of a policy gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Cases as expected.
    pub passed: usize,
    /// Cases with another decision.
    pub failed: usize,
    /// One error for each failed case.
    pub errors: Diagnostics,
}

/// Runs every test of the policy. Each case is the first packet of a flow; cases know nothing of each other.
pub fn run_tests(policy: &Policy, image: &Image, config: &Config) -> Report {
    let memory = Memory::new(image, Limits::of(config));
    let mut report = Report::default();
    let mut now = 0;
    for test in &policy.tests {
        for case in &test.cases {
            // The time tells in the counters which rule decided this case.
            now += 1;
            match run_case(policy, &memory, test, case, now) {
                None => report.passed += 1,
                Some(error) => {
                    report.failed += 1;
                    report.errors.push(error);
                }
            }
            memory.forget_flows();
        }
    }
    report
}

/// The error of a case that does not pass.
fn run_case(policy: &Policy, memory: &Memory, test: &Test, case: &TestCase, now: u64) -> Option<Diagnostic> {
    let bad =
        |message: String| Some(Diagnostic::error(case.location.clone(), format!("test {:?}: {message}", test.name)));
    let from = policy.zones.get(case.from).and_then(|zone| memory.zones().get(usize::from(zone.id)));
    let Some(zone) = from else { return bad("its zone is not compiled".to_owned()) };
    let Some(bytes) = first_packet(zone, &FirstPacket::from(case)) else {
        return bad("this packet cannot be built".to_owned());
    };
    let verdict = process(&mut MemoryFrame::new(bytes), memory, zone.ifindex, now, &mut { Packet::EMPTY });
    let (got, egress) = outcome(&verdict);
    if let Some(egress) = egress
        && policy.zones.get(case.to).is_none_or(|zone| zone.id != egress)
    {
        let name = policy.zone(egress).map_or("?", |zone| zone.name.as_str());
        return bad(format!("the packet leaves through zone `{name}`"));
    }
    if got == case.expect {
        return None;
    }
    let error = Diagnostic::test_failed(test, case, got, location(policy, decided_by(memory, now)).as_ref());
    Some(match verdict {
        Verdict::Drop(reason) | Verdict::Punt(Punt { task: PuntTask::Report, reason, .. })
            if !matches!(reason, DropReason::Policy | DropReason::Reject) =>
        {
            error.with_hint(format!("the rules are not asked ({}): {}", reason.name(), reason.describe().trim()))
        }
        _ => error,
    })
}

/// A verdict in the words of the rule language, and the zone through which the packet leaves.
pub(crate) fn outcome(verdict: &Verdict) -> (Action, Option<u16>) {
    match verdict {
        Verdict::Transmit(egress) => (Action::Allow, Some(egress.zone)),
        Verdict::Punt(punt) if punt.task == PuntTask::Resolve => (Action::Allow, Some(punt.to)),
        Verdict::Drop(DropReason::Reject) => (Action::Reject, None),
        Verdict::Drop(_) | Verdict::Consume | Verdict::Punt(_) => (Action::Drop, None),
    }
}

/// The rule that decided at `now`; the default comes after the last.
pub(crate) fn decided_by(memory: &Memory, now: u64) -> Option<u32> {
    let counters = memory.counters();
    counters.rules.iter().find(|(_, counter)| counter.last_hit == now).map(|(rule, _)| *rule)
}

/// Where a rule stands.
fn location(policy: &Policy, rule: Option<u32>) -> Option<Location> {
    match policy.rules.get(rule? as usize) {
        Some(rule) => Some(rule.location.clone()),
        None => policy.default.location.clone(),
    }
}

impl From<&TestCase> for FirstPacket {
    fn from(case: &TestCase) -> Self {
        Self {
            from: case.from,
            source: case.source,
            source_port: case.source_port,
            destination: case.destination,
            destination_port: case.destination_port,
            protocol: case.protocol,
            icmp: case.icmp,
            flags: case.flags,
        }
    }
}

/// The MAC of hosts in tests.
const HOST: [u8; 6] = [0x02, 0, 0, 0xff, 0xff, 0x01];
const TTL: u8 = 64;

/// The frame of a packet, as it comes from its zone.
pub fn first_packet(zone: &Zone, case: &FirstPacket) -> Option<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(HOST, zone.mac);
    let ip = ip_header(case.source, case.destination, case.protocol)?;
    let step = match zone.tag() {
        Some(vlan) => ethernet.single_vlan(VlanId::try_new(vlan).ok()?).ip(ip),
        None => ethernet.ip(ip),
    };
    let quoted = quoted_packet(case)?;
    let mut frame = Vec::new();
    let (from, to) = (case.source_port, case.destination_port);
    let written = match (case.protocol, case.icmp) {
        (TCP, _) => with_flags(step.tcp(from, to, 1, u16::MAX), case.flags).write(&mut frame, &[]),
        (UDP, _) => step.udp(from, to).write(&mut frame, &[]),
        (ICMP, Some(icmp)) => step.icmpv4_raw(icmp.kind, icmp.code.unwrap_or(0), [0; 4]).write(&mut frame, &quoted),
        (ICMP6, Some(icmp)) => step.icmpv6_raw(icmp.kind, icmp.code.unwrap_or(0), [0; 4]).write(&mut frame, &quoted),
        (other, _) => step.write(&mut frame, IpNumber(other), &[0; 8]),
    };
    written.ok().map(|()| frame)
}

/// A segment with these flags.
fn with_flags(mut step: PacketBuilderStep<TcpHeader>, flags: u8) -> PacketBuilderStep<TcpHeader> {
    for (letter, bit) in LETTERS {
        if flags & bit != 0 {
            step = match letter {
                'F' => step.fin(),
                'S' => step.syn(),
                'R' => step.rst(),
                'P' => step.psh(),
                'A' => step.ack(1),
                'U' => step.urg(0),
                'E' => step.ece(),
                _ => step.cwr(),
            };
        }
    }
    step
}

/// What an ICMP error quotes: a packet that the other side never sent.
fn quoted_packet(case: &FirstPacket) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    let step = PacketBuilder::ip(ip_header(case.destination, case.source, UDP)?).udp(1, 1);
    step.write(&mut packet, &[]).ok().map(|()| packet)
}

fn ip_header(source: IpAddr, destination: IpAddr, protocol: u8) -> Option<IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header::new(0, TTL, IpNumber(protocol), source.octets(), destination.octets());
            Some(IpHeaders::Ipv4(header.ok()?, Ipv4Extensions::default()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header {
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            Some(IpHeaders::Ipv6(header, Ipv6Extensions::default()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Link, compile};
    use crate::lang::{SourceFile, load, render};

    fn run(text: &str) -> (Report, String) {
        let zones = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
";
        let files = [SourceFile::new("test.fw", format!("{zones}{text}"))];
        let policy = load(&files).unwrap_or_else(|e| panic!("{}", render(&e, &files, false, 100))).policy;
        let config = Config::default();
        let image = compile(&policy, &config, &Link::invent(&policy)).expect("compiles");
        let report = run_tests(&policy, &image, &config);
        let shown = render(&report.errors, &files, false, 100);
        let words: Vec<&str> = shown.split_whitespace().collect();
        (report, words.join(" "))
    }

    #[test]
    fn every_protocol_of_both_families() {
        let (report, shown) = run("allow app -> db  service tcp 80, udp 53, ping, gre
reject db -> app  service tcp 22
test \"all\" {
  app 10.0.10.7 -> db 10.0.20.9 tcp 80 = allow
  app fd00:10::7 -> db fd00:20::9 tcp 80 = allow
  app fd00:10::7 -> db fd00:20::9 tcp 81 = drop
  app 10.0.10.7 -> db 10.0.20.9 udp 53 = allow
  app fd00:10::7 -> db fd00:20::9 udp 53 = allow
  app 10.0.10.7 -> db 10.0.20.9 ping = allow
  app fd00:10::7 -> db fd00:20::9 ping = allow
  app 10.0.10.7 -> db 10.0.20.9 gre = allow
  app fd00:10::7 -> db fd00:20::9 gre = allow
  app fd00:10::7 -> db fd00:20::9 proto 50 = drop
  db 10.0.20.9 -> app 10.0.10.7 tcp 22 = reject
  db 10.0.20.9 -> app 10.0.10.7 tcp 80 = drop
}");
        assert_eq!((report.passed, report.failed), (12, 0), "{shown}");
    }

    #[test]
    fn an_earlier_case_does_not_open_the_way_for_a_later_one() {
        let (report, shown) = run("allow app -> db
test \"reply\" {
  app 10.0.10.7 -> db 10.0.20.9 udp 1000 -> 53 = allow
  db 10.0.20.9 -> app 10.0.10.7 udp 53 -> 1000 = drop
}");
        assert_eq!((report.passed, report.failed), (2, 0), "{shown}");
    }

    #[test]
    fn no_number_of_cases_is_too_many_for_a_zone() {
        let cases = "app 10.0.10.7 -> db 10.0.20.9 udp 53 = allow\n".repeat(2_000);
        let (report, shown) = run(&format!("allow app -> db\ntest \"many\" {{\n{cases}}}"));
        assert_eq!((report.passed, report.failed), (2_000, 0), "{shown}");
    }

    #[test]
    fn failures_say_who_decided() {
        let (report, shown) = run("drop app -> db  service ssh
allow app -> db
test \"login\" { app 10.0.10.7 -> db 10.0.20.9 ssh = allow }
test \"nothing\" { db 10.0.20.9 -> app 10.0.10.7 ssh = allow }
test \"error\" { app 10.0.10.7 -> db 10.0.20.9 icmp port-unreachable = allow }");
        assert_eq!((report.passed, report.failed), (0, 3), "{shown}");
        assert!(
            shown.contains("test \"login\": expected allow, got drop") && shown.contains("decided here"),
            "{shown}"
        );
        assert!(shown.contains("no rule matches, so the built-in `default drop` decides"), "{shown}");
        assert!(shown.contains("the rules are not asked (no-flow)"), "{shown}");
    }
}
