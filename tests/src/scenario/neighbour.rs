//! ARP, neighbour discovery, and echo to the gateway.

use firewall_core::DropReason;

use super::{APP, Family, Host, LAB, Scenario};
use crate::packet::{Ethernet, Mac};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const BROADCAST: Mac = [0xff; 6];
const NOBODY: Mac = [0; 6];
const GATEWAY: &str = "10.0.10.1";
const GATEWAY6: &str = "fd00:10::1";

pub(super) fn scenarios(all: &mut Vec<Scenario>) {
    arp(all);
    discovery(all);
    for family in [Family::V4, Family::V6] {
        gateway(family, all);
    }
}

fn arp(all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("arp/{name}"), "");
    let own = (APP.mac, "10.0.10.7");
    let ask = |host: &Host, sender: (Mac, &str), target: &str| {
        host.link().to(BROADCAST).arp(REQUEST, sender, (NOBODY, target))
    };
    new("request")
        .answer(&APP, &ask(&APP, own, GATEWAY), APP.from_gateway().arp(REPLY, (APP.gateway, GATEWAY), own))
        .add_to(all);
    let lab = (LAB.mac, "10.0.30.7");
    new("request-untagged")
        .answer(&LAB, &ask(&LAB, lab, "10.0.30.1"), LAB.from_gateway().arp(REPLY, (LAB.gateway, "10.0.30.1"), lab))
        .add_to(all);
    let probe = (APP.mac, "0.0.0.0");
    new("probe")
        .answer(&APP, &ask(&APP, probe, GATEWAY), APP.from_gateway().arp(REPLY, (APP.gateway, GATEWAY), probe))
        .add_to(all);
    new("for-others")
        .consume(&APP, &ask(&APP, own, "10.0.10.9"))
        // The gateway of another zone is not here.
        .consume(&APP, &ask(&APP, own, "10.0.20.1"))
        .add_to(all);
    new("reply").consume(&APP, &APP.link().arp(REPLY, own, (APP.gateway, GATEWAY))).add_to(all);
    new("announcement").consume(&APP, &ask(&APP, own, "10.0.10.7")).add_to(all);
    new("sender-is-not-the-sender")
        .drop(&APP, &ask(&APP, ([2, 9, 9, 9, 9, 9], "10.0.10.7"), GATEWAY), DropReason::Neighbour)
        .add_to(all);
    let mut other = ask(&APP, own, GATEWAY);
    other[18 + 5] = 16;
    new("malformed")
        .drop(&APP, &other, DropReason::Neighbour)
        .drop(&APP, &ask(&APP, own, GATEWAY)[..40], DropReason::Truncated)
        .add_to(all);
}

/// The link layer of frames to a solicited-node address.
fn to_group(host: &Host, last: u8) -> Ethernet {
    host.link().to([0x33, 0x33, 0xff, 0, 0, last])
}

fn discovery(all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("nd/{name}"), "");
    let own = "fd00:10::7";
    let ask = |source: &str, mac| to_group(&APP, 1).ip(source, "ff02::1:ff00:1").ttl(255).solicitation(GATEWAY6, mac);
    let tell = |to: &str| APP.from_gateway().ip(GATEWAY6, to).ttl(255).advertisement(0xe0, GATEWAY6, APP.gateway);
    new("solicitation").answer(&APP, &ask(own, Some(APP.mac)), tell(own)).add_to(all);
    new("solicitation-from-link-local").answer(&APP, &ask("fe80::7", Some(APP.mac)), tell("fe80::7")).add_to(all);
    let unicast = APP.link().ip(own, GATEWAY6).ttl(255).solicitation(GATEWAY6, None);
    new("solicitation-to-unicast").answer(&APP, &unicast, tell(own)).add_to(all);
    let everybody = APP.from_gateway().to([0x33, 0x33, 0, 0, 0, 1]).ip(GATEWAY6, "ff02::1").ttl(255);
    new("address-is-defended")
        .answer(&APP, &ask("::", None), everybody.advertisement(0xa0, GATEWAY6, APP.gateway))
        .add_to(all);
    let other = to_group(&APP, 9).ip(own, "ff02::1:ff00:9").ttl(255).solicitation("fd00:10::9", Some(APP.mac));
    new("for-others").consume(&APP, &other).add_to(all);
    let routed = to_group(&APP, 1).ip(own, "ff02::1:ff00:1").ttl(254).solicitation(GATEWAY6, Some(APP.mac));
    let mut damaged = ask(own, Some(APP.mac));
    damaged[18 + 40 + 20] ^= 1;
    new("hop-limit").drop(&APP, &routed, DropReason::Neighbour).add_to(all);
    new("checksum").drop(&APP, &damaged, DropReason::Neighbour).add_to(all);
    let advertisement = APP.link().ip(own, GATEWAY6).ttl(255).advertisement(0x60, own, APP.mac);
    new("advertisement").consume(&APP, &advertisement).add_to(all);
    let router =
        APP.link().to([0x33, 0x33, 0, 0, 0, 2]).ip("fe80::7", "ff02::2").ttl(255).icmp(133, 0, [0; 4], &[0; 16]);
    new("router-solicitation").consume(&APP, &router).add_to(all);
}

/// What the gateway's own addresses do.
fn gateway(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("gateway/{}/{name}", family.name()), "allow any -> any\n");
    let address = APP.gateway_address(family);
    let ip = APP.link().ip(APP.address(family), &address);
    let answer = APP.from_gateway().ip(&address, APP.address(family)).echo_reply(7, b"hello");
    new("echo").answer(&APP, &ip.echo_request(7, b"hello"), answer).add_to(all);
    let far = LAB.gateway_address(family);
    let answer = APP.from_gateway().ip(&far, APP.address(family)).echo_reply(7, b"hello");
    let request = APP.link().ip(APP.address(family), &far).echo_request(7, b"hello");
    new("echo-to-another-zones-address").answer(&APP, &request, answer).add_to(all);
    new("no-service")
        .drop(&APP, &ip.udp(1, 53, b"x"), DropReason::LocalService)
        .drop(&APP, &ip.tcp(1, 22).flags(crate::packet::flag::SYN).build(), DropReason::LocalService)
        .drop(&APP, &ip.transport(47, &[0; 8]), DropReason::LocalService)
        .add_to(all);
    let spoofed = APP.link().ip(LAB.address(family), &address).echo_request(7, b"hello");
    new("echo-with-a-spoofed-source").drop(&APP, &spoofed, DropReason::SpoofedSource).add_to(all);
}
