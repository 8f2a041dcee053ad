//! Flows when the policy changes: judged anew with their next packet, in the direction in which they began.

use firewall_core::DropReason;

use super::{APP, DB, Family, Scenario};
use crate::packet::flag;

const RULES: &str = "allow app -> db  service udp, tcp, ping\n";
/// Allows the same, by the second of three rules.
const STILL: &str = "drop lab -> db  service udp\nallow app -> db  service udp, tcp, ping\ndrop db -> app\n";
/// Allows nothing of it: the default is rule 1.
const NO_LONGER: &str = "allow lab -> db\n";

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("reload/{}/{name}", family.name()), RULES);
    let (out, back) = (APP.to(&DB, family), DB.to(&APP, family));
    let (query, reply) = (out.udp(5_000, 53, b"query"), back.udp(53, 5_000, b"reply"));
    let (ping, pong) = (out.echo_request(7, b"x"), back.echo_reply(7, b"x"));
    let error = back.port_unreachable(&query);
    new("goes-on")
        .pass(&APP, &DB, &query, 0)
        .pass(&DB, &APP, &reply, 0)
        .replace(STILL)
        .pass(&DB, &APP, &reply, 1)
        .pass(&APP, &DB, &query, 1)
        .replace(RULES)
        .pass(&APP, &DB, &query, 0)
        .pass(&DB, &APP, &reply, 0)
        .add_to(all);
    new("half-open-goes-on").pass(&APP, &DB, &query, 0).replace(STILL).pass(&DB, &APP, &reply, 1).add_to(all);
    new("echo-goes-on").pass(&APP, &DB, &ping, 0).replace(STILL).pass(&DB, &APP, &pong, 1).add_to(all);
    new("error-of-a-flow-that-goes-on")
        .pass(&APP, &DB, &query, 0)
        .replace(STILL)
        .pass(&DB, &APP, &error, 1)
        .add_to(all);
    new("ends-with-the-next-packet")
        .pass(&APP, &DB, &query, 0)
        .pass(&DB, &APP, &reply, 0)
        .replace(NO_LONGER)
        .deny(&APP, &query, 1)
        .deny(&DB, &reply, 1)
        // What was cut does not come back by itself.
        .replace(RULES)
        .deny(&DB, &reply, 1)
        .pass(&APP, &DB, &query, 0)
        .add_to(all);
    new("ends-with-the-next-reply").pass(&APP, &DB, &query, 0).replace(NO_LONGER).deny(&DB, &reply, 1).add_to(all);
    new("echo-ends")
        .pass(&APP, &DB, &ping, 0)
        .replace(NO_LONGER)
        .deny(&DB, &pong, 1)
        .drop(&DB, &pong, DropReason::NoFlow)
        .add_to(all);
    new("error-of-a-flow-that-ends")
        .pass(&APP, &DB, &query, 0)
        .replace(NO_LONGER)
        .deny(&DB, &error, 1)
        .drop(&DB, &error, DropReason::NoFlow)
        .add_to(all);
    new("rejected-from-now-on")
        .pass(&APP, &DB, &query, 0)
        .replace("reject app -> db  service udp\n")
        .inject(&DB, reply, super::Outcome::Drop(DropReason::Reject), Some(0))
        .add_to(all);
    tcp(family, &new, all);
    flags(family, &new, all);
}

/// What began a flow is remembered of it.
fn flags(family: Family, new: &dyn Fn(&str) -> Scenario, all: &mut Vec<Scenario>) {
    const ECN: u8 = flag::ECE | flag::CWR;
    let syn =
        |port: u16, more: u8| APP.to(&DB, family).tcp(port, 5_432).flags(flag::SYN | more).seq(100).ack(0).build();
    let answer = DB.to(&APP, family).tcp(5_432, 40_000).flags(flag::SYN | flag::ACK).seq(500).ack(101).build();
    new("flags-of-the-first-segment")
        .pass(&APP, &DB, &syn(40_000, ECN), 0)
        .replace("drop app -> db  service tcp flags E\nallow app -> db  service tcp\n")
        .deny(&DB, &answer, 0)
        .deny(&APP, &syn(40_001, ECN), 0)
        .pass(&APP, &DB, &syn(40_002, 0), 1)
        .replace("allow app -> db  service tcp flags S/SEW\n")
        .deny(&APP, &syn(40_003, ECN), 1)
        .pass(&APP, &DB, &syn(40_004, 0), 0)
        .add_to(all);
}

fn tcp(family: Family, new: &dyn Fn(&str) -> Scenario, all: &mut Vec<Scenario>) {
    let client =
        |flags: u8, seq: u32, ack: u32| APP.to(&DB, family).tcp(40_000, 5_432).flags(flags).seq(seq).ack(ack).build();
    let server =
        |flags: u8, seq: u32, ack: u32| DB.to(&APP, family).tcp(5_432, 40_000).flags(flags).seq(seq).ack(ack).build();
    let open = |name: &str| {
        new(name)
            .pass(&APP, &DB, &client(flag::SYN, 100, 0), 0)
            .pass(&DB, &APP, &server(flag::SYN | flag::ACK, 900, 101), 0)
            .pass(&APP, &DB, &client(flag::ACK, 101, 901), 0)
    };
    let (ours, theirs) = (client(flag::ACK, 101, 901), server(flag::ACK, 901, 101));
    open("connection-goes-on").replace(STILL).pass(&DB, &APP, &theirs, 1).pass(&APP, &DB, &ours, 1).add_to(all);
    open("connection-ends")
        .replace(NO_LONGER)
        .deny(&APP, &ours, 1)
        .drop(&DB, &theirs, DropReason::NoFlow)
        .drop(&APP, &ours, DropReason::NoFlow)
        .add_to(all);
    new("handshake-goes-on")
        .pass(&APP, &DB, &client(flag::SYN, 100, 0), 0)
        .replace(STILL)
        .pass(&DB, &APP, &server(flag::SYN | flag::ACK, 900, 101), 1)
        .pass(&APP, &DB, &ours, 1)
        .add_to(all);
}
