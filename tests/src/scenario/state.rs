//! Flows and neighbours over time: zones, timeouts, full tables.

use firewall_core::DropReason;

use super::{APP, DB, Family, LAB, Scenario, Step};
use crate::packet::flag;

const RULES: &str = "allow app -> db  service udp, tcp, ping\nallow lab -> db  service udp\n";
const DEFAULT: u32 = 2;
const SECOND: u64 = 1_000_000_000;

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("state/{}/{name}", family.name()), RULES);
    let (out, back) = (APP.to(&DB, family), DB.to(&APP, family));
    let (query, reply) = (out.udp(5_000, 53, b"query"), back.udp(53, 5_000, b"reply"));
    zones(family, &new, all);
    let timed = |name: &str| Scenario { needs_clock: true, ..new(name) };
    timed("udp-unreplied-times-out")
        .pass(&APP, &DB, &query, 0)
        .step(Step::Advance(31 * SECOND))
        .deny(&DB, &reply, DEFAULT)
        .add_to(all);
    timed("udp-replied-lives-longer")
        .pass(&APP, &DB, &query, 0)
        .pass(&DB, &APP, &reply, 0)
        .step(Step::Advance(119 * SECOND))
        .pass(&DB, &APP, &reply, 0)
        .step(Step::Advance(121 * SECOND))
        .deny(&DB, &reply, DEFAULT)
        .add_to(all);
    timed("echo-times-out")
        .pass(&APP, &DB, &out.echo_request(7, b"x"), 0)
        .step(Step::Advance(31 * SECOND))
        .drop(&DB, &back.echo_reply(7, b"x"), DropReason::NoFlow)
        .add_to(all);
    let syn_ack = back.tcp(80, 40_000).flags(flag::SYN | flag::ACK).seq(9).ack(2).build();
    timed("half-open-times-out")
        .pass(&APP, &DB, &out.tcp(40_000, 80).flags(flag::SYN).seq(1).build(), 0)
        .step(Step::Advance(121 * SECOND))
        .drop(&DB, &syn_ack, DropReason::NoFlow)
        .add_to(all);
    timed("fragments-time-out")
        .pass(&APP, &DB, &out.clone().fragment(5, 0, true).transport(17, &out.udp_bytes(1, 2, &[0; 64])[..32]), 0)
        .step(Step::Advance(31 * SECOND))
        .drop(&APP, &out.clone().fragment(5, 4, false).transport(17, &[0; 40]), DropReason::Fragment)
        .add_to(all);
    full(family, &new, all);
    let db = DB.address(family).parse().expect("address");
    let mac = [2, 0, 0, 7, 7, 7];
    let moved = crate::packet::routed(&query, &DB.from_gateway().to(mac));
    let scenario = new("neighbour-moves")
        .pass(&APP, &DB, &query, 0)
        .step(Step::Forget(DB.zone(), db))
        .resolve(&APP, &DB, DB.address(family), &query, 0)
        .step(Step::Learn(DB.zone(), db, mac));
    let expect = super::Outcome::Transmit { zone: DB.zone(), reply: false, frame: moved };
    scenario.inject(&APP, query, expect, Some(0)).add_to(all);
}

/// A flow belongs to its zones: the same addresses from elsewhere are not part of it.
fn zones(family: Family, new: &dyn Fn(&str) -> Scenario, all: &mut Vec<Scenario>) {
    let out = APP.to(&DB, family);
    let (query, reply) = (out.udp(5_000, 53, b"query"), DB.to(&APP, family).udp(53, 5_000, b"reply"));
    let elsewhere = LAB.link().ip(DB.address(family), APP.address(family));
    new("another-zone-is-no-part-of-a-flow")
        .pass(&APP, &DB, &query, 0)
        .drop(&LAB, &elsewhere.udp(53, 5_000, b"reply"), DropReason::OtherZone)
        .pass(&DB, &APP, &reply, 0)
        .add_to(all);
    let tcp = Scenario::new(format!("state/{}/another-zone-cannot-reset", family.name()), RULES).open(family);
    let reset = elsewhere.tcp(5_432, 40_000).flags(flag::RST | flag::ACK).seq(4_294_967_001).ack(1_001).build();
    let open_again = DB.to(&APP, family).tcp(5_432, 40_000).flags(flag::SYN).seq(1).build();
    tcp.drop(&LAB, &reset, DropReason::OtherZone)
        // Were the flow closed, this SYN would begin another one, and the rules would be asked.
        .drop(&DB, &open_again, DropReason::TcpState)
        .add_to(all);
}

fn full(family: Family, new: &dyn Fn(&str) -> Scenario, all: &mut Vec<Scenario>) {
    let out = |port: u16| APP.to(&DB, family).udp(port, 53, b"query");
    let back = |port: u16| DB.to(&APP, family).udp(53, port, b"reply");
    // Half-open 2, established 1.
    let small = |name: &str| Scenario { tables: Some((2, 1)), ..new(name) };
    small("half-open-full")
        .pass(&APP, &DB, &out(1), 0)
        .pass(&APP, &DB, &out(2), 0)
        .pass(&APP, &DB, &out(3), 0)
        // The oldest has left.
        .deny(&DB, &back(1), DEFAULT)
        .pass(&DB, &APP, &back(3), 0)
        .add_to(all);
    small("established-full")
        .pass(&APP, &DB, &out(1), 0)
        .pass(&DB, &APP, &back(1), 0)
        .pass(&APP, &DB, &out(1), 0)
        .pass(&APP, &DB, &out(2), 0)
        .pass(&DB, &APP, &back(2), 0)
        .drop(&APP, &out(2), DropReason::TableFull)
        // The established flow is untouched by a flood of others.
        .pass(&APP, &DB, &out(3), 0)
        .pass(&APP, &DB, &out(4), 0)
        .pass(&APP, &DB, &out(5), 0)
        .pass(&DB, &APP, &back(1), 0)
        .pass(&APP, &DB, &out(1), 0)
        .add_to(all);
}
