//! The link layer: tags of every kind, other hosts' frames, other protocols.

use firewall_core::DropReason;

use super::{APP, BLUE, DB, Family, LAB, RED, Scenario};
use crate::packet::{Ethernet, network};

const RULES: &str = "allow any -> any  service udp\n";

pub(super) fn scenarios(all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("link/{name}"), RULES);
    let v4 = Family::V4;
    // The daemon gets such a frame whole, longer or shorter than it came.
    let towards = |from: &super::Host, to: &str| from.link().ip(from.address(v4), to).udp(1, 2, b"payload");
    new("waits-with-a-tag-more").resolve(&LAB, &DB, "10.0.20.99", &towards(&LAB, "10.0.20.99"), 0).add_to(all);
    new("waits-with-a-tag-less").resolve(&DB, &LAB, "10.0.30.99", &towards(&DB, "10.0.30.99"), 0).add_to(all);
    let datagram = |link: Ethernet, destination: &super::Host| {
        link.ip(LAB.address(v4), destination.address(v4)).udp(1, 2, b"payload of more than padding")
    };
    new("tagged-to-untagged").pass(&APP, &LAB, &APP.to(&LAB, v4).udp(1, 2, b"x"), 0).add_to(all);
    new("untagged-to-tagged").pass(&LAB, &APP, &LAB.to(&APP, v4).udp(1, 2, b"x"), 0).add_to(all);
    new("trunk")
        .pass(&RED, &BLUE, &RED.to(&BLUE, v4).udp(1, 2, b"x"), 0)
        .pass(&BLUE, &RED, &BLUE.to(&RED, v4).udp(2, 1, b"x"), 0)
        .add_to(all);
    let priority = Ethernet::new(LAB.mac, LAB.gateway).tag(0x8100, 0xe000);
    new("priority-tag-is-untagged").pass(&LAB, &DB, &datagram(priority.clone(), &DB), 0).add_to(all);
    let tci = Ethernet::new(APP.mac, APP.gateway).tag(0x8100, 0xb00a);
    let frame = tci.ip(APP.address(v4), DB.address(v4)).udp(1, 2, b"x");
    new("priority-bits-of-a-vlan").pass(&APP, &DB, &frame, 0).add_to(all);
    new("priority-tag-on-a-trunk").lost("eth4", &datagram(priority, &DB), DropReason::UnknownVlan).add_to(all);
    let untagged = Ethernet::new(APP.mac, APP.gateway);
    new("untagged-on-an-access-vlan")
        .lost("eth1", &datagram(untagged.clone(), &DB), DropReason::UnknownVlan)
        .add_to(all);
    new("unknown-vlan")
        .lost("eth1", &datagram(untagged.clone().vlan(11), &DB), DropReason::UnknownVlan)
        .lost("eth3", &datagram(untagged.clone().vlan(10), &DB), DropReason::UnknownVlan)
        .lost("eth1", &datagram(untagged.clone().vlan(4095), &DB), DropReason::UnknownVlan)
        .add_to(all);
    for (name, outer) in [("double-tag", 0x8100), ("provider-tag", 0x88a8), ("old-provider-tag", 0x9100)] {
        let frame = datagram(untagged.clone().tag(outer, 10).vlan(20), &DB);
        new(name).lost("eth1", &frame, DropReason::DoubleTag).add_to(all);
    }
    let inside = datagram(untagged.clone().vlan(10).tag(0x88a8, 20), &DB);
    new("provider-tag-inside").lost("eth1", &inside, DropReason::DoubleTag).add_to(all);
    stripped(&new, all);
    let stranger = [2, 0, 0, 9, 9, 9];
    new("another-hosts-frame")
        .drop(&LAB, &datagram(LAB.link().to(stranger), &DB), DropReason::OtherMac)
        .drop(&LAB, &datagram(LAB.link().to([0xff; 6]), &DB), DropReason::Multicast)
        .drop(&LAB, &datagram(LAB.link().to([1, 0, 0x5e, 0, 0, 1]), &DB), DropReason::Multicast)
        .add_to(all);
    // An answer to such a sender would go to everybody.
    let group = LAB.link().from([0xff; 6]);
    let gateway = LAB.gateway_address(v4);
    let echo = group.ip(LAB.address(v4), &gateway).echo_request(1, b"x");
    let arp = group.clone().to([0xff; 6]).arp(1, ([0xff; 6], LAB.address(v4)), ([0; 6], &gateway));
    new("group-as-source")
        .lost("eth3", &datagram(group, &DB), DropReason::Multicast)
        .lost("eth3", &echo, DropReason::Multicast)
        .lost("eth3", &arp, DropReason::Multicast)
        .add_to(all);
    new("another-ethertype")
        .drop(&LAB, &LAB.link().frame(0x88cc, &[0; 46]), DropReason::EtherType)
        .drop(&LAB, &LAB.link().frame(0x0042, &[0; 46]), DropReason::EtherType)
        .drop(&LAB, &LAB.link().frame(0x8864, &[0; 46]), DropReason::EtherType)
        .add_to(all);
    // The shortest frame that every kernel path carries. (Memory alone is asked about shorter ones, in `malformed`.)
    let mut stump = [0; 20];
    (stump[0], stump[3]) = (0x45, 21);
    new("too-short").drop(&LAB, &LAB.link().frame(0x0800, &stump), DropReason::Truncated).add_to(all);
    let no_policy = Scenario { policy: String::new(), neighbours: Vec::new(), ..new("no-policy") };
    no_policy.lost("eth1", &datagram(untagged.vlan(10), &DB), DropReason::NotReady).add_to(all);
}

/// Tags that a NIC took out of the bytes count like those in them.
fn stripped(new: &dyn Fn(&str) -> Scenario, all: &mut Vec<Scenario>) {
    let v4 = Family::V4;
    let bare = |host: &super::Host, to: &super::Host| {
        let tagged = host.to(to, v4).udp(1, 2, b"x");
        Ethernet::new(host.mac, host.gateway).frame(0x0800, network(&tagged))
    };
    new("stripped-tag").pass(&APP, &LAB, &bare(&APP, &LAB), 0).stripped(10).add_to(all);
    new("stripped-tag-with-priority").pass(&RED, &BLUE, &bare(&RED, &BLUE), 0).stripped(0xe064).add_to(all);
    new("stripped-unknown-tag").lost("eth1", &bare(&APP, &LAB), DropReason::UnknownVlan).stripped(11).add_to(all);
    let inner = APP.to(&LAB, v4).udp(1, 2, b"x");
    new("stripped-and-tagged").lost("eth1", &inner, DropReason::DoubleTag).stripped(10).add_to(all);
}
