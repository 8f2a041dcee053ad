//! The network layer: routes, TTL, spoofed and impossible addresses, fragments, options, sizes, checksums.

use firewall_core::DropReason;

use super::{APP, BLUE, DB, Family, GUEST, LAB, SMALL, Scenario};
use crate::packet::{flag, number};

const RULES: &str = "allow any -> any  service udp, tcp, ping\n";

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("ip/{}/{name}", family.name()), RULES);
    let out = APP.to(&DB, family);
    let (app, db) = (APP.address(family), DB.address(family));
    new("ttl")
        .report(&APP, &out.clone().ttl(1).udp(1, 2, b""), DropReason::TtlExceeded)
        .report(&APP, &out.clone().ttl(0).udp(1, 3, b""), DropReason::TtlExceeded)
        .pass(&APP, &DB, &out.clone().ttl(2).udp(1, 4, b""), 0)
        .add_to(all);
    let foreign = family.pick("192.0.2.1", "2001:db8::1");
    new("no-route").report(&APP, &APP.link().ip(app, foreign).udp(1, 2, b""), DropReason::NoRoute).add_to(all);
    new("spoofed-source")
        .drop(&APP, &APP.link().ip(LAB.address(family), db).udp(1, 2, b""), DropReason::SpoofedSource)
        .drop(&APP, &APP.link().ip(foreign, db).udp(1, 2, b""), DropReason::SpoofedSource)
        .drop(&APP, &APP.link().ip(&APP.gateway_address(family), db).udp(1, 2, b""), DropReason::SpoofedSource)
        .add_to(all);
    let martians = family.pick(
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"],
        ["::", "::1", "ff02::1", "ff0e::1", "::ffff:10.0.10.7"],
    );
    let scenario = martians.iter().fold(new("martian-source"), |scenario, source| {
        scenario.drop(&APP, &APP.link().ip(source, db).udp(1, 2, b""), DropReason::MartianSource)
    });
    scenario.drop(&APP, &APP.link().ip(db, db).udp(1, 2, b""), DropReason::MartianSource).add_to(all);
    let stays = family.pick(
        ["127.0.0.1", "10.0.20.255", "10.0.20.0", "239.1.1.1", "255.255.255.255"],
        ["::1", "fe80::1", "ff02::1", "ff0e::1", "ff05::2"],
    );
    let scenario = stays.iter().fold(new("never-forwarded"), |scenario, destination| {
        scenario.drop(&APP, &APP.link().ip(app, destination).udp(1, 2, b""), DropReason::Multicast)
    });
    scenario.add_to(all);
    let behind = family.pick("10.9.1.2", "fd09::1");
    let router = family.pick("10.0.20.254", "fd00:20::fe");
    new("static-route")
        .resolve(&APP, &DB, router, &APP.link().ip(app, behind).udp(1, 2, b""), 0)
        // Hosts behind the router may come in through its zone, and only there.
        .pass(&DB, &APP, &DB.link().ip(behind, app).udp(9, 9, b""), 0)
        .drop(&LAB, &LAB.link().ip(behind, app).udp(9, 8, b""), DropReason::SpoofedSource)
        .add_to(all);
    let stranger = DB.neighbour(family, "99");
    new("unknown-neighbour")
        .resolve(&APP, &DB, &stranger, &APP.link().ip(app, &stranger).udp(1, 2, b""), 0)
        .add_to(all);
    new("same-zone").pass(&APP, &APP, &APP.link().ip(&APP.neighbour(family, "9"), app).udp(1, 2, b""), 0).add_to(all);
    fragments(family, &new, all);
    sizes(family, &new, all);
    checksums(family, &new, all);
}

type New<'a> = &'a dyn Fn(&str) -> Scenario;

fn fragments(family: Family, new: New, all: &mut Vec<Scenario>) {
    let out = APP.to(&DB, family);
    let datagram = out.udp_bytes(1, 2, &[b'f'; 2_000]);
    let first = out.clone().fragment(77, 0, true).transport(number::UDP, &datagram[..1_200]);
    let last = out.clone().fragment(77, 150, false).transport(number::UDP, &datagram[1_200..]);
    new("fragments")
        .pass(&APP, &DB, &first, 0)
        .pass(&APP, &DB, &last, 0)
        // A fragment of another packet.
        .drop(&APP, &out.clone().fragment(78, 150, false).transport(number::UDP, &[0; 64]), DropReason::Fragment)
        .add_to(all);
    let spoofed = LAB.link().ip(APP.address(family), DB.address(family)).fragment(77, 0, true);
    new("fragments-of-another-zone-do-not-mix-in")
        .pass(&APP, &DB, &first, 0)
        .drop(&LAB, &spoofed.transport(number::UDP, &out.udp_bytes(66, 66, &[0; 64])[..32]), DropReason::SpoofedSource)
        .pass(&APP, &DB, &last, 0)
        .add_to(all);
    new("fragment-before-the-first").drop(&APP, &last, DropReason::Fragment).add_to(all);
    let syn = out.tcp(1, 2).flags(flag::SYN).options(&[1; 20]).bytes();
    new("fragment-over-tcp-flags")
        .pass(&APP, &DB, &out.clone().fragment(79, 0, true).transport(number::TCP, &syn), 0)
        .drop(&APP, &out.clone().fragment(79, 1, false).transport(number::TCP, &[0x10; 16]), DropReason::Fragment)
        .add_to(all);
    new("fragment-too-small-for-its-header")
        .drop(&APP, &out.clone().fragment(80, 0, true).transport(number::TCP, &syn[..16]), DropReason::Truncated)
        .drop(&APP, &out.clone().fragment(80, 0, true).transport(number::TCP, &syn[..24]), DropReason::TransportHeader)
        .add_to(all);
    let (echo, own) = (out.icmp_bytes(family.pick(8, 128), 0, [0, 7, 0, 1], &[0; 64]), family.pick(1, 58));
    new("fragments-of-echo")
        .pass(&APP, &DB, &out.clone().fragment(81, 0, true).transport(own, &echo[..32]), 0)
        .pass(&APP, &DB, &out.clone().fragment(81, 4, false).transport(own, &echo[32..]), 0)
        .add_to(all);
}

fn sizes(family: Family, new: New, all: &mut Vec<Scenario>) {
    let out = APP.to(&SMALL, family);
    let header = family.pick(28, 48);
    new("size")
        .pass(&APP, &SMALL, &out.udp(1, 2, &vec![0; 1_280 - header]), 0)
        .report(&APP, &out.udp(1, 3, &vec![0; 1_281 - header]), DropReason::TooBig)
        .add_to(all);
    let mut padded = APP.to(&DB, family).udp(1, 2, b"x");
    padded.resize(padded.len() + 13, 0);
    new("padding").pass(&APP, &DB, &padded, 0).add_to(all);
}

/// Guests leave checksums to hardware; vfw finishes them.
fn checksums(family: Family, new: New, all: &mut Vec<Scenario>) {
    let out = GUEST.to(&DB, family);
    let complete = |scenario: Scenario, unfinished: Vec<u8>, finished: &[u8]| {
        let mut scenario = scenario.pass(&GUEST, &DB, finished, 0);
        if let Some(super::Step::Inject(injection)) = scenario.steps.last_mut() {
            injection.frame = unfinished;
        }
        scenario
    };
    let mut scenario = Scenario { partial_checksums: true, ..new("partial-checksums") };
    for payload in [b"".as_slice(), b"odd", b"even"] {
        let segment = out.tcp(1, 2).flags(flag::SYN).scale(7).payload(payload);
        scenario = complete(scenario, segment.clone().partial().build(), &segment.build());
        scenario = complete(scenario, out.partial_udp(1, 2, payload), &out.udp(1, 2, payload));
    }
    scenario.add_to(all);
    let wrong = |mut frame: Vec<u8>| {
        let at = frame.len() - 1;
        frame[at] ^= 0xff;
        frame
    };
    // A wrong checksum is the receiver's business: vfw must not make it right.
    new("wrong-checksum-stays").pass(&GUEST, &DB, &wrong(out.udp(1, 2, b"damaged")), 0).add_to(all);
}

pub(super) fn of_ipv4(all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("ip/v4/{name}"), RULES);
    let out = APP.to(&DB, Family::V4);
    let datagram = |options: &[u8]| out.clone().options(options).udp(1, 2, b"x");
    new("options")
        // Record route, NOPs, timestamp, end.
        .pass(&APP, &DB, &datagram(&[7, 7, 4, 0, 0, 0, 0, 0]), 0)
        .pass(&APP, &DB, &datagram(&[1, 1, 1, 1]), 0)
        .pass(&APP, &DB, &datagram(&[68, 8, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0)
        .pass(&APP, &DB, &datagram(&[148, 4, 0, 0]), 0)
        .add_to(all);
    new("source-route")
        .drop(&APP, &datagram(&[131, 7, 4, 10, 0, 30, 7, 0]), DropReason::IpOptions)
        .drop(&APP, &datagram(&[137, 7, 4, 10, 0, 30, 7, 0]), DropReason::IpOptions)
        .drop(&APP, &datagram(&[1, 131, 7, 4, 10, 0, 30, 7]), DropReason::IpOptions)
        .add_to(all);
    new("malformed-options")
        .drop(&APP, &datagram(&[7, 0, 0, 0]), DropReason::IpOptions)
        .drop(&APP, &datagram(&[7, 1, 0, 0]), DropReason::IpOptions)
        .drop(&APP, &datagram(&[7, 9, 0, 0]), DropReason::IpOptions)
        .drop(&APP, &datagram(&[1, 1, 1, 7]), DropReason::IpOptions)
        .add_to(all);
    let change = |at: usize, value: u8| {
        let mut frame = out.udp(1, 2, b"x");
        frame[18 + at] = value;
        frame
    };
    new("header")
        .drop(&APP, &change(10, 0), DropReason::IpChecksum)
        .drop(&APP, &change(8, 63), DropReason::IpChecksum)
        .drop(&APP, &change(0, 0x65), DropReason::IpHeader)
        .drop(&APP, &change(0, 0x44), DropReason::IpHeader)
        .drop(&APP, &change(3, 19), DropReason::IpHeader)
        .drop(&APP, &change(2, 1), DropReason::Truncated)
        .add_to(all);
    let icmp6 = out.transport(number::ICMP6, &[128, 0, 0, 0, 0, 1, 0, 1]);
    new("icmp-of-the-other-family").drop(&APP, &icmp6, DropReason::TransportHeader).add_to(all);
}

pub(super) fn of_ipv6(all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("ip/v6/{name}"), RULES);
    let out = || APP.to(&DB, Family::V6);
    let (hop, destination) = (number::HOP_BY_HOP, number::DESTINATION_OPTIONS);
    new("extension-headers")
        .pass(&APP, &DB, &out().extension(hop, &[5, 2, 0, 0, 1, 0]).udp(1, 2, b"x"), 0)
        .pass(
            &APP,
            &DB,
            &out()
                .extension(hop, &[1, 4, 0, 0, 0, 0])
                .extension(destination, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                .udp(1, 2, b"x"),
            0,
        )
        .pass(&APP, &DB, &out().extension(number::ROUTING, &[0, 0, 0, 0, 0, 0]).udp(1, 2, b"x"), 0)
        // Rules see the transport behind the headers.
        .deny(&APP, &out().extension(destination, &[1, 4, 0, 0, 0, 0]).transport(number::GRE, &[0; 8]), 1)
        .add_to(all);
    new("routing-header")
        .drop(&APP, &out().extension(number::ROUTING, &[0, 1, 0, 0, 0, 0]).udp(1, 2, b"x"), DropReason::Ipv6Extension)
        .drop(&APP, &out().extension(number::ROUTING, &[4, 1, 0, 0, 0, 0]).udp(1, 2, b"x"), DropReason::Ipv6Extension)
        .add_to(all);
    let many = (0..6).fold(out(), |ip, _| ip.extension(destination, &[1, 4, 0, 0, 0, 0]));
    new("too-many-extension-headers").drop(&APP, &many.udp(1, 2, b"x"), DropReason::Ipv6Extension).add_to(all);
    let long = out().transport(hop, &[17, 200, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    new("extension-header-beyond-the-packet").drop(&APP, &long, DropReason::Ipv6Extension).add_to(all);
    let atomic = out().fragment(5, 0, false).udp(1, 2, b"x");
    new("atomic-fragment").pass(&APP, &DB, &atomic, 0).add_to(all);
    let mapped = APP.link().ip(APP.address(Family::V6), "::ffff:10.0.20.7").udp(1, 2, b"x");
    let local = APP.link().ip("fe80::7", DB.address(Family::V6)).udp(1, 2, b"x");
    new("mapped-destination").drop(&APP, &mapped, DropReason::MartianSource).add_to(all);
    new("link-local-source").drop(&APP, &local, DropReason::SpoofedSource).add_to(all);
    let icmp = out().transport(number::ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]);
    new("icmp-of-the-other-family").drop(&APP, &icmp, DropReason::TransportHeader).add_to(all);
    let tagged = BLUE.to(&APP, Family::V6).udp(1, 2, b"x");
    new("from-the-trunk").pass(&BLUE, &APP, &tagged, 0).add_to(all);
}
