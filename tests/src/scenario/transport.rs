//! UDP, echo, other protocols and ICMP errors: allowed, denied, answered.

use firewall_core::DropReason;

use super::{APP, DB, Family, LAB, RED, Scenario};
use crate::packet::{flag, number};

const RULES: &str = "\
allow app -> db  service udp 53, ping
allow app -> db  service gre
reject app -> db  service tcp 23
";
const DEFAULT: u32 = 3;

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |group: &str, name: &str| Scenario::new(format!("{group}/{}/{name}", family.name()), RULES);
    let (out, back) = (APP.to(&DB, family), DB.to(&APP, family));
    new("udp", "reply")
        .pass(&APP, &DB, &out.udp(5_000, 53, b"query"), 0)
        .pass(&DB, &APP, &back.udp(53, 5_000, b"answer"), 0)
        .deny(&DB, &back.udp(53, 5_001, b"answer"), DEFAULT)
        .add_to(all);
    new("udp", "denied").deny(&APP, &out.udp(5_000, 54, b"query"), DEFAULT).add_to(all);
    new("udp", "length-beyond-the-packet")
        .drop(&APP, &out.transport(number::UDP, &[0x13, 0x88, 0, 53, 0, 99, 0, 0]), DropReason::TransportHeader)
        .drop(&APP, &out.transport(number::UDP, &[0x13, 0x88, 0, 53, 0, 7, 0, 0]), DropReason::TransportHeader)
        .add_to(all);
    new("echo", "reply")
        .pass(&APP, &DB, &out.echo_request(7, b"payload"), 0)
        .pass(&DB, &APP, &back.echo_reply(7, b"payload"), 0)
        .drop(&DB, &back.echo_reply(8, b"payload"), DropReason::NoFlow)
        .add_to(all);
    new("echo", "denied").deny(&DB, &back.echo_request(7, b"payload"), DEFAULT).add_to(all);
    new("echo", "crossing")
        .pass(&APP, &DB, &out.echo_request(7, b"payload"), 0)
        // The same identifier from the other side is another flow.
        .deny(&DB, &back.echo_request(7, b"payload"), DEFAULT)
        .add_to(all);
    new("other", "allowed")
        .pass(&APP, &DB, &out.transport(number::GRE, &[0; 20]), 1)
        .pass(&DB, &APP, &back.transport(number::GRE, &[0; 20]), 1)
        .add_to(all);
    let tcp = &out.tcp(40_000, 23).flags(flag::SYN).bytes()[..];
    let protected = [&[number::TCP, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0; 12], tcp].concat();
    Scenario::new(
        format!("other/{}/ah", family.name()),
        "reject any -> any  service tcp\nallow app -> db  service ah\n",
    )
    .pass(&APP, &DB, &out.transport(number::AH, &protected), 1)
    .pass(&DB, &APP, &back.transport(number::AH, &protected), 1)
    .add_to(all);
    new("other", "denied").deny(&APP, &out.transport(50, &[0; 20]), DEFAULT).add_to(all);
    let telnet = out.tcp(40_000, 23).flags(flag::SYN).build();
    let reject = Scenario::new(format!("tcp/{}/reject", family.name()), RULES);
    reject.reject(&APP, &telnet, 2).add_to(all);
    errors(family, all);
}

impl Scenario {
    fn reject(self, from: &super::Host, frame: &[u8], rule: u32) -> Self {
        self.inject(from, frame.to_vec(), super::Outcome::Drop(DropReason::Reject), Some(rule))
    }
}

/// ICMP errors belong to the flow of the packet that they quote.
fn errors(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("error/{}/{name}", family.name()), RULES);
    let (out, back) = (APP.to(&DB, family), DB.to(&APP, family));
    let query = out.udp(5_000, 53, b"query");
    new("related").pass(&APP, &DB, &query, 0).pass(&DB, &APP, &back.port_unreachable(&query), 0).add_to(all);
    let router = DB.link().ip(&DB.neighbour(family, "254"), APP.address(family));
    new("related-from-a-router")
        .pass(&APP, &DB, &query, 0)
        .pass(&DB, &APP, &router.port_unreachable(&query), 0)
        .add_to(all);
    let ping = out.echo_request(7, b"payload");
    new("related-to-echo").pass(&APP, &DB, &ping, 0).pass(&DB, &APP, &back.port_unreachable(&ping), 0).add_to(all);
    new("unrelated").drop(&DB, &back.port_unreachable(&query), DropReason::NoFlow).add_to(all);
    let other = APP.to(&LAB, family).udp(5_000, 53, b"query");
    new("about-another-flow")
        .pass(&APP, &DB, &query, 0)
        .drop(&DB, &back.port_unreachable(&other), DropReason::NoFlow)
        // It quotes a packet that its receiver never sent.
        .drop(&DB, &DB.to(&RED, family).port_unreachable(&query), DropReason::NoFlow)
        .add_to(all);
    new("from-another-zone")
        .pass(&APP, &DB, &query, 0)
        .drop(&LAB, &LAB.to(&APP, family).port_unreachable(&query), DropReason::OtherZone)
        .add_to(all);
    let (kind, code) = family.pick((3, 3), (1, 4));
    new("quotes-too-little")
        .pass(&APP, &DB, &query, 0)
        .drop(
            &DB,
            &back.icmp(kind, code, [0; 4], &[0x45, 0, 0, 0]),
            family.pick(DropReason::Truncated, DropReason::Truncated),
        )
        .add_to(all);
    let redirect = family.pick(5, 137);
    new("redirect")
        .pass(&APP, &DB, &query, 0)
        .drop(
            &DB,
            &back.icmp(redirect, 1, [10, 0, 20, 9], &[0; 32]),
            family.pick(DropReason::NoFlow, DropReason::Neighbour),
        )
        .add_to(all);
}
