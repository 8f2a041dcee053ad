//! The same traffic through vfw and through Linux: the same packets come out.
//!
//! Linux routes with the same policy in nftables over `nf_conntrack`, strict (no liberal windows, no picking up of
//! connections in the middle). Every frame is followed by one that always passes: when that arrives, the frame before it
//! has arrived or been dropped.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vfw_tests::network::traffic::{Side, Step, TCP_TO_APP, TCP_TO_DB, UDP_TO_DB, conversations};
use vfw_tests::network::{Network, Shape, Wire, until};
use vfw_tests::packet::{Ethernet, Mac};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const SEEDS: [u64; 2] = [1, 2];
const CONVERSATIONS: usize = 160;

/// What vfw does otherwise than Linux on purpose: kind of step, what vfw does, why. Each has to occur.
const INTENDED: [(&str, Does, &str); 4] = [
    ("wrong-udp-checksum", Does::Pass, "a router leaves transport checksums to the receiver, which drops the datagram"),
    (
        "fragments-last-first",
        Does::Drop,
        "vfw does not put fragments together: those before the first have no ports yet",
    ),
    ("before-window", Does::Drop, "more than a window behind; Linux since 6.1 passes it and looks away"),
    (
        "ack-long-ago",
        Does::Drop,
        "acknowledges less than any window reaches back; Linux since 6.1 passes it and looks away",
    ),
];

/// What vfw does with packets that Linux treats in another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    Drop,
    Pass,
    Change,
}

fn rules() -> String {
    format!(
        "zone app {{ interface eth1  address 10.0.10.1/24, fd00:10::1/64 }}
         zone db  {{ interface eth2  address 10.0.20.1/24, fd00:20::1/64 }}
         default drop
         allow app -> db  service tcp {TCP_TO_DB}, udp {UDP_TO_DB}, ping
         allow db -> app  service tcp {TCP_TO_APP}"
    )
}

fn nftables() -> String {
    format!(
        "table inet strict {{ chain forward {{
            type filter hook forward priority 0; policy drop;
            ct state invalid drop
            ct state established,related accept
            iifname eth1 oifname eth2 ct state new tcp dport {TCP_TO_DB} accept
            iifname eth1 oifname eth2 ct state new udp dport {UDP_TO_DB} accept
            iifname eth1 oifname eth2 ct state new icmp type echo-request accept
            iifname eth1 oifname eth2 ct state new icmpv6 type echo-request accept
            iifname eth2 oifname eth1 ct state new tcp dport {TCP_TO_APP} accept;
        }}; }}"
    )
}

/// A router between two hosts that only watch.
struct Rig {
    ends: [End; 2],
    sent: u32,
}

/// One host's link, and the MACs of its frames: destination, source.
struct End {
    wire: Wire,
    macs: [Mac; 2],
}

impl Rig {
    /// The hosts answer for their addresses and to nothing else.
    fn new(network: &Network) -> Self {
        for host in ["app", "db"] {
            let quiet = "table inet quiet { chain in { type filter hook input priority -300; policy drop; \
                         icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }; }";
            network.must(host, &["nft", &format!("add {quiet}")]);
        }
        let end = |host, interface| {
            let macs = [network.mac("fw", interface), network.mac(host, "eth0")];
            End { wire: network.wire(host), macs }
        };
        let mut rig = Self { ends: [end("app", "eth1"), end("db", "eth2")], sent: 0 };
        // Both hosts are known to the router before the first comparison.
        for v6 in [false, true] {
            rig.sentinel(Side::App, v6);
            rig.sentinel(Side::Db, v6);
        }
        rig
    }

    /// Sends a frame that always passes and returns what came out on the other side before it.
    fn sentinel(&mut self, from: Side, v6: bool) -> Vec<Vec<u8>> {
        const PORT: u16 = 7000;
        self.sent += 1;
        let mark = [b"SENTINEL".as_slice(), &self.sent.to_be_bytes()].concat();
        let ip = Ethernet::new([0; 6], [0; 6]).ip(from.address(v6), from.other().address(v6));
        let (source, destination) = if from == Side::App { (PORT, UDP_TO_DB) } else { (UDP_TO_DB, PORT) };
        self.send(from, &ip.udp(source, destination, &mark));
        let mut found = Vec::new();
        while let Some(frame) = self.end(from.other()).wire.receive(Duration::from_secs(5)) {
            if frame.ends_with(&mark) {
                return found;
            }
            found.extend(forwarded(&frame));
        }
        panic!("the frame that always passes did not: {} {from:?}", self.sent);
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[usize::from(side == Side::Db)]
    }

    fn send(&self, from: Side, frame: &[u8]) {
        let End { wire, macs } = self.end(from);
        wire.send(&[macs.concat().as_slice(), &frame[12..]].concat());
    }

    /// The IP packets that each step makes come out.
    fn play(&mut self, steps: &[Step]) -> Vec<BTreeSet<Vec<u8>>> {
        steps
            .iter()
            .map(|step| {
                for frame in &step.frames {
                    self.send(step.from, frame);
                }
                self.sentinel(step.from, step.frames[0][12] == 0x86).into_iter().collect()
            })
            .collect()
    }
}

/// The IP packet of a frame, unless the router itself has sent it, or neighbours talk.
fn forwarded(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = frame.get(14..)?;
    let (source, is_neighbours) = match frame.get(12..14)? {
        [0x08, 0x00] => (packet.get(12..16)?, false),
        [0x86, 0xdd] => (packet.get(8..24)?, packet.get(6) == Some(&58) && packet.get(40)? >= &130),
        _ => return None,
    };
    let is_routers = [[10, 0, 10, 1], [10, 0, 20, 1]].iter().any(|own| source == own)
        || source.starts_with(&[0xfe, 0x80])
        || (source.len() == 16 && source.starts_with(&[0xfd, 0]) && source.ends_with(&[0, 0, 0, 1]));
    let mut packet = packet.to_vec();
    // Linux puts IPv6 fragments together and cuts them anew, with an identification of its own.
    if packet.get(6) == Some(&44) && packet.len() >= 48 && frame[12] == 0x86 {
        packet[44..48].fill(0);
    }
    (!is_routers && !is_neighbours).then_some(packet)
}

fn linux(network: &Network) {
    for (setting, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        ("ipv6/conf/default/disable_ipv6", "0"),
        ("ipv6/conf/eth1/accept_dad", "0"),
        ("ipv6/conf/eth2/accept_dad", "0"),
        ("ipv6/conf/eth1/disable_ipv6", "0"),
        ("ipv6/conf/eth2/disable_ipv6", "0"),
        ("ipv6/conf/all/forwarding", "1"),
        ("netfilter/nf_conntrack_tcp_loose", "0"),
        ("netfilter/nf_conntrack_tcp_be_liberal", "0"),
    ] {
        network.set("fw", setting, value);
    }
    for (interface, number) in [("eth1", 10), ("eth2", 20)] {
        network.must("fw", &["ip", "address", "add", &format!("10.0.{number}.1/24"), "dev", interface]);
        network.must("fw", &["ip", "address", "add", &format!("fd00:{number}::1/64"), "dev", interface, "nodad"]);
        network.must("fw", &["ip", "link", "set", interface, "up"]);
    }
    network.must("fw", &["nft", &nftables()]);
}

/// A frame and the one behind it keep their order only on one CPU.
fn stay_on_one_cpu() {
    let mut one = CpuSet::new();
    one.set(0).expect("the first CPU");
    // A machine that does not let us is rarely the worse for it.
    let _ = sched_setaffinity(Pid::from_raw(0), &one);
}

#[test]
fn vfw_and_linux_let_the_same_packets_pass() {
    stay_on_one_cpu();
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let steps = conversations(seed, CONVERSATIONS);
        assert!(steps.len() > 300, "{} steps", steps.len());
        let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
        linux(&network);
        let expected = Rig::new(&network).play(&steps);
        drop(network);
        let passed = expected.iter().filter(|packets| !packets.is_empty()).count();
        assert!(passed > 100 && steps.len() - passed > 60, "{passed} of {} pass", steps.len());
        for hook in ["xdp", "tc", "afxdp"] {
            let Some(network) = Shape::new(PROGRAM, &rules()).up() else { return };
            let firewall = network.firewall(&format!("mode = \"{hook}\""));
            let mut rig = Rig::new(&network);
            // A frame that waits for its neighbour could be overtaken.
            until("both hosts are known", || {
                let rows = firewall.show("neighbours");
                let known = rows.as_array().expect("a list").iter().filter(|row| !row["mac"].is_null());
                (known.count() == 4).then_some(())
            });
            let got = rig.play(&steps);
            seen.extend(compare(&format!("seed {seed}, {hook}"), &steps, &expected, &got));
            assert_eq!(firewall.dropped(None, "rewrite"), 0);
        }
    }
    let unseen: Vec<_> = INTENDED.iter().filter(|(kind, ..)| !seen.contains(kind)).collect();
    assert!(unseen.is_empty(), "no longer a difference, or no longer sent: {unseen:?}");
}

/// Fails on every difference that is not intended. What follows an intended one in its conversation may differ with it.
/// Returns the kinds of steps that differed.
fn compare(
    run: &str,
    steps: &[Step],
    linux: &[BTreeSet<Vec<u8>>],
    vfw: &[BTreeSet<Vec<u8>>],
) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    let mut diverged = BTreeSet::new();
    let mut wrong = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if linux[at] == vfw[at] || diverged.contains(&step.conversation) {
            continue;
        }
        diverged.insert(step.conversation);
        let does = match vfw[at].len().cmp(&linux[at].len()) {
            Ordering::Less => Does::Drop,
            Ordering::Equal => Does::Change,
            Ordering::Greater => Does::Pass,
        };
        seen.insert(step.kind);
        if !INTENDED.iter().any(|(kind, what, _)| *kind == step.kind && *what == does) {
            let before: Vec<&str> = steps[..at]
                .iter()
                .filter(|other| other.conversation == step.conversation)
                .map(|step| step.kind)
                .collect();
            wrong.push(format!(
                "{} (conversation {} from {:?}): vfw does {does:?}; after {before:?}",
                step.kind, step.conversation, step.from
            ));
        }
    }
    assert!(wrong.is_empty(), "{run}: vfw and Linux differ:\n{}", wrong.join("\n"));
    seen
}
