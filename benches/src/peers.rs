//! The rule table beside what else finds the rule for a packet on Linux: the same list of rules in each.
//!
//! Each rule drops UDP from one address to one port, and each is hit in turn. What other tools take is the time of a frame that
//! is made, carried over a veth and dropped by them, less the same with one rule; what vfw takes is the time of a look-up in
//! a test run, less that of a program that looks nothing up.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use vfw::bench::classbench::{Header, Rule};
use vfw::bench::lab::{ADDRESS_A, ADDRESS_B, Path, Rig, SERVICE_PORT, Topology, hosts_plan};
use vfw::bench::measure;
use vfw::bench::report::Family;
use vfw::bench::samples::median;

/// Numbers of rules, as clients and services.
pub const SIZES: [(u32, u32); 4] = [(10, 1), (10, 10), (100, 10), (1_000, 10)];

/// Another tool, and what its rules are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    /// nftables, a verdict map.
    VerdictMap,
    /// iptables with a set of ipset.
    Ipset,
    /// nftables, one rule after the other.
    NftList,
    /// iptables, likewise.
    IptablesList,
}

/// Rounds, of which the middle one counts.
const ROUNDS: usize = 7;
/// Length of a round, about.
const ROUND: Duration = Duration::from_millis(200);
/// Frames of a round at least, and at most.
const FRAMES: [u32; 2] = [2_000, 300_000];
const UDP: u8 = 17;

/// What one number of rules costs.
#[derive(Clone, Debug, Serialize)]
pub struct Peers {
    /// Number of rules.
    pub rules: u32,
    /// Nanoseconds of a look-up: vfw in user space, vfw in eBPF.
    pub vfw_ns: [f64; 2],
    /// Nanoseconds: nftables verdict map, ipset, nftables list, iptables list.
    pub others_ns: [f64; 4],
}

/// Measures all of them. All work stays on `cpu`.
pub fn measure(cpu: usize) -> Result<Vec<Peers>> {
    let peers = |(clients, services): (u32, u32)| {
        let rules = clients * services;
        eprintln!("{rules} rules in other tools ...");
        let mut others_ns = [0.0; 4];
        let all = [Peer::VerdictMap, Peer::Ipset, Peer::NftList, Peer::IptablesList];
        for (peer, nanos) in all.into_iter().zip(&mut others_ns) {
            *nanos = peer.net(cpu, clients, services).with_context(|| format!("{peer:?} with {rules} rules"))?;
        }
        Ok(Peers { rules, vfw_ns: vfw(clients, services)?, others_ns })
    };
    SIZES.into_iter().map(peers).collect()
}

/// Address and port of each rule.
fn pairs(clients: u32, services: u32) -> impl Iterator<Item = (Ipv4Addr, u16)> {
    let first = u32::from(ADDRESS_A);
    let pair = move |number: u32| {
        let service = SERVICE_PORT.wrapping_add((number / clients) as u16);
        (Ipv4Addr::from(first + number % clients), service)
    };
    (0..clients * services).map(pair)
}

fn vfw(clients: u32, services: u32) -> Result<[f64; 2]> {
    let any = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
    let rule = |(source, port): (Ipv4Addr, u16)| Rule {
        source: (source.into(), 32),
        destination: any,
        source_ports: [0, u16::MAX],
        destination_ports: [port, port],
        protocol: Some(UDP),
    };
    let header = |(source, port): (Ipv4Addr, u16)| Header {
        source: source.into(),
        destination: ADDRESS_B.into(),
        source_port: 2_000,
        destination_port: port,
        protocol: UDP,
    };
    let rules: Vec<Rule> = pairs(clients, services).map(rule).collect();
    let headers: Vec<Header> = pairs(clients, services).map(header).collect();
    let found = measure::look_up(&rules, &measure::compile(&rules)?.forest, &headers)?;
    ensure!(found.wrong == 0, "{} wrong answers", found.wrong);
    Ok([found.user_ns, found.ebpf_ns])
}

impl Peer {
    /// Nanoseconds of a frame above those with one rule that drops all.
    fn net(self, cpu: usize, clients: u32, services: u32) -> Result<f64> {
        let mut bare = Stand::new(self, cpu, 0, 0)?;
        let mut full = Stand::new(self, cpu, clients, services)?;
        let mut nets = Vec::new();
        let first = full.nanos(clients, services, FRAMES[0])?;
        let frames = ROUND.as_nanos() / Duration::from_secs_f64(first * 1e-9).as_nanos().max(1);
        let frames = u32::try_from(frames).unwrap_or(u32::MAX).clamp(FRAMES[0], FRAMES[1]);
        for _ in 0..ROUNDS {
            let without = bare.nanos(clients, services, frames)?;
            nets.push(full.nanos(clients, services, frames)? - without);
        }
        ensure!(full.missed()? == 0, "frames were not dropped by the rules");
        Ok(median(&nets))
    }

    /// Rules for all pairs, or one for all frames when there are none; frames that pass them are counted.
    fn rules(self, clients: u32, services: u32) -> Vec<Input> {
        let is_bare = clients == 0;
        let mut text = String::new();
        match self {
            Self::VerdictMap | Self::NftList => {
                text.push_str("table netdev peers {\n counter missed { }\n chain in {\n  ");
                text.push_str("type filter hook ingress device b0 priority 0; policy accept;\n");
                if is_bare {
                    text.push_str("  meta l4proto udp drop\n");
                } else if self == Self::VerdictMap {
                    text.push_str("  ip saddr . udp dport vmap {");
                    for (source, port) in pairs(clients, services) {
                        let _ = write!(text, " {source} . {port} : drop,");
                    }
                    text.push_str(" }\n");
                } else {
                    for (source, port) in pairs(clients, services) {
                        let _ = writeln!(text, "  ip saddr {source} udp dport {port} drop");
                    }
                }
                text.push_str("  meta l4proto udp counter name missed drop\n }\n}\n");
                vec![Input { program: "nft", arguments: &["-f", "-"], text }]
            }
            Self::Ipset | Self::IptablesList => {
                let mut inputs = Vec::new();
                text.push_str("*raw\n:PREROUTING ACCEPT\n");
                if is_bare {
                    text.push_str("-A PREROUTING -p udp -j DROP\n");
                } else if self == Self::Ipset {
                    let mut set = format!("create peers hash:ip,port maxelem {}\n", clients * services);
                    for (source, port) in pairs(clients, services) {
                        let _ = writeln!(set, "add peers {source},udp:{port}");
                    }
                    inputs.push(Input { program: "ipset", arguments: &["restore"], text: set });
                    text.push_str("-A PREROUTING -m set --match-set peers src,dst -j DROP\n");
                } else {
                    for (source, port) in pairs(clients, services) {
                        let _ = writeln!(text, "-A PREROUTING -s {source} -p udp --dport {port} -j DROP");
                    }
                }
                text.push_str("-A PREROUTING -p udp -j DROP -m comment --comment missed\nCOMMIT\n");
                inputs.push(Input { program: "iptables-restore", arguments: &[], text });
                inputs
            }
        }
    }
}

/// What a program is fed.
struct Input {
    program: &'static str,
    arguments: &'static [&'static str],
    text: String,
}

/// A generator and a tool, joined by a veth.
struct Stand {
    peer: Peer,
    topology: Topology,
    rig: Rig,
    cpu: usize,
}

impl Stand {
    fn new(peer: Peer, cpu: usize, clients: u32, services: u32) -> Result<Self> {
        let topology = Topology::new(Path::Direct, Family::Ipv4, false)?;
        for input in peer.rules(clients, services) {
            topology.b.feed(input.program, input.arguments, &input.text)?;
        }
        Ok(Self { peer, topology, rig: Rig::load()?, cpu })
    }

    /// Nanoseconds of a frame.
    fn nanos(&mut self, clients: u32, services: u32, frames: u32) -> Result<f64> {
        let plan = hosts_plan(clients, services)?;
        let (rig, topology) = (&mut self.rig, &self.topology);
        topology.a.run_on(self.cpu, || rig.generate(topology.a0, plan, frames))
    }

    /// Frames that no rule dropped.
    fn missed(&self) -> Result<u64> {
        let listed = match self.peer {
            Peer::VerdictMap | Peer::NftList => {
                self.topology.b.feed("nft", &["list", "counter", "netdev", "peers", "missed"], "")?
            }
            Peer::Ipset | Peer::IptablesList => {
                let text = self.topology.b.feed("iptables-save", &["-c", "-t", "raw"], "")?;
                let line = text.lines().find(|line| line.contains("missed")).unwrap_or_default();
                line.trim_start_matches('[').replace(':', " ").replacen("", "packets ", 1)
            }
        };
        let number = listed.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no counter in: {listed}"))
    }
}

/// The figures as a table, at most 80 columns wide.
pub fn text(peers: &[Peers]) -> String {
    let mut text = String::from(
        "OTHER TOOLS, ns: one of so many rules, an address and a port each, all hit in turn\n\n  \
         rules     vfw  vfw user  nftables            nftables  iptables\n            \
         eBPF     space       map     ipset      list      list\n",
    );
    for row in peers {
        let [user, ebpf] = row.vfw_ns;
        let [map, set, nft, iptables] = row.others_ns;
        let _ = writeln!(
            text,
            "  {:>5} {ebpf:>7.0} {user:>9.0} {map:>9.0} {set:>9.0} {nft:>9.0} {iptables:>9.0}",
            row.rules
        );
    }
    text
}
