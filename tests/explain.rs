//! Does `explain` say what the kernel does? Generated packets about each example, through the program at tc.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::thread;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use firewall_core::Address;
use firewall_core::tables::{NeighbourKey, NeighbourWord};
use nix::sched::{CloneFlags, unshare};
use vfw::backend::kernel::Kernel;
use vfw::compile::{Image, Link, compile};
use vfw::config::{Bounded, Config};
use vfw::explain::{Explainer, Explanation, FirstPacket};
use vfw::interface::inspect;
use vfw::lang::{IcmpMatch, Policy, SourceFile, load};
use vfw::preview::first_packet;

const PACKETS: u64 = 10_000;
const TC_ACT_REDIRECT: u32 = 7;
/// `struct __sk_buff` (`include/uapi/linux/bpf.h`): its size, and where the interface stands.
const SK_BUFF: usize = 192;
const IFINDEX: usize = 40;

#[test]
fn explain_says_what_the_kernel_does() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("examples").flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("an example");
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        // A namespace of its own for each.
        thread::spawn(move || compare(&name, &text)).join().expect("agrees");
    }
}

fn compare(name: &str, text: &str) {
    let policy = load(&[SourceFile::new(name, text)]).expect("an example is valid").policy;
    let links = make_links(&policy);
    let mut config = Config::default();
    config.flows.half_open = Bounded::clamped(16);
    config.flows.established = Bounded::clamped(16);
    let image = compile(&policy, &config, &links).expect("compiles");
    let mut explainer = Explainer::new(&policy, &image);
    let mut kernel = Kernel::load(&image, &config).expect("loads");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut allowed, mut refused, mut unseen) = (0, 0, 0);
    for number in 0..PACKETS {
        let packet = random.packet(&policy);
        let Ok(explained) = explainer.explain(&packet) else { continue };
        let (redirected, rule) = run(&mut kernel, &policy, &image, &packet, &explained);
        let at = || format!("{name}, packet {number}: {packet:?}\n{explained:?}");
        assert_eq!(redirected, explained.verdict == "allow", "{}", at());
        assert_eq!(rule.as_deref(), explained.decided.as_ref().map(|rule| rule.place.as_str()), "{}", at());
        match (redirected, rule) {
            (_, None) => unseen += 1,
            (true, _) => allowed += 1,
            (false, _) => refused += 1,
        }
    }
    assert!(allowed > 500 && refused > 500 && unseen > 500, "{name}: {allowed} {refused} {unseen}");
}

/// A pair of virtual interfaces for each that the policy names.
fn make_links(policy: &Policy) -> Vec<Link> {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
    let mut links = Link::invent(policy);
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2");
    let mut input = child.stdin.take().expect("piped");
    for (number, link) in links.iter().enumerate() {
        writeln!(input, "link add {} type veth peer name peer{number}", link.name).expect("ip reads");
    }
    drop(input);
    assert!(child.wait().expect("ip ends").success(), "ip failed");
    for link in &mut links {
        link.ifindex = inspect(&link.name).expect("was made").index;
    }
    links
}

fn zone_named(policy: &Policy, explained: &Explanation) -> Option<u16> {
    let name = explained.to.as_deref()?;
    policy.zones.iter().position(|zone| zone.name == name).map(|zone| zone as u16)
}

/// Whether the kernel sends the packet on, and where the rule stands that it counts for it.
fn run(
    kernel: &mut Kernel,
    policy: &Policy,
    image: &Image,
    packet: &FirstPacket,
    explained: &Explanation,
) -> (bool, Option<String>) {
    if let Some(zone) = zone_named(policy, explained) {
        let via = explained.route.as_deref().and_then(|route| route.strip_prefix("via "));
        let next_hop = via.map_or(packet.destination, |via| via.parse().expect("an address"));
        let key = NeighbourKey { address: Address::from(next_hop), zone: u32::from(zone) };
        kernel.add_neighbour(0, &key, NeighbourWord::new([2, 0, 0, 0, 0, 9], 1)).expect("room for one");
        let verdict = run_frame(kernel, image, packet);
        kernel.remove_neighbour(0, &key);
        return verdict;
    }
    run_frame(kernel, image, packet)
}

fn run_frame(kernel: &mut Kernel, image: &Image, packet: &FirstPacket) -> (bool, Option<String>) {
    let counted = |kernel: &Kernel| -> Vec<u64> {
        let rules = 0..image.rule_names.len() as u32;
        rules.map(|rule| kernel.rule_counter(rule).expect("a counter").packets).collect()
    };
    let zone = &image.zones[packet.from];
    let frame = first_packet(zone, packet).expect("explained, so it can be built");
    let mut context = [0; SK_BUFF];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&zone.ifindex.to_ne_bytes());
    let mut out = vec![0; frame.len() + 64];
    let mut options = TestRunOptions::new();
    options.data_in = Some(&frame);
    options.data_out = Some(&mut out);
    options.ctx_in = Some(&context);
    let before = counted(kernel);
    let program = kernel.ebpf_mut().program_mut("vfw_tc").expect("loaded");
    let program: &mut SchedClassifier = program.try_into().expect("tc");
    let verdict = program.test_run(options).expect("runs").return_value;
    let after = counted(kernel);
    kernel.flows().expect("flow tables").clear().expect("clears");
    let rule = before.iter().zip(&after).position(|(before, after)| before != after);
    (verdict == TC_ACT_REDIRECT, rule.map(|rule| image.rule_names[rule].place.clone()))
}

/// Xorshift: the same packets in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Mostly from the subnets and the ports that the policy speaks of.
    fn packet(&mut self, policy: &Policy) -> FirstPacket {
        let from = self.below(policy.zones.len());
        let v6 = self.below(3) == 0;
        let home = if self.below(10) == 0 { self.below(policy.zones.len()) } else { from };
        let source = self.address(policy, home, v6, |rule| &rule.sources);
        let to = self.below(policy.zones.len());
        let destination = self.address(policy, to, v6, |rule| &rule.destinations);
        let services: Vec<_> = policy.rules.iter().flat_map(|rule| rule.services.clone()).collect();
        let echo = if v6 { (58, 128) } else { (1, 8) };
        let (protocol, icmp) = match self.below(8) {
            0 | 1 => (echo.0, Some(IcmpMatch { kind: echo.1, code: Some(0) })),
            2 => (47, None),
            3 | 4 => (17, None),
            _ => (6, None),
        };
        let has_ports = icmp.is_none() && protocol != 47;
        let named = self.pick(&services).destination_ports;
        let ports = [*named.start(), *named.end(), named.end().wrapping_add(1), self.next() as u16];
        FirstPacket {
            from,
            source,
            source_port: if has_ports { 1_024 | self.next() as u16 } else { 0 },
            destination,
            destination_port: if has_ports { self.pick(&ports) } else { 0 },
            protocol,
            icmp,
            // Of a SYN, those that rules may look at.
            flags: if protocol == 6 { 0x02 | self.next() as u8 & 0xe8 } else { 0 },
        }
    }

    fn address(
        &mut self,
        policy: &Policy,
        zone: usize,
        v6: bool,
        named: fn(&vfw::lang::Rule) -> &Vec<ipnetwork::IpNetwork>,
    ) -> IpAddr {
        let subnets = policy.zones[zone].addresses.iter();
        let sets = policy.rules.iter().flat_map(|rule| named(rule).iter());
        let of_rules: Vec<_> = sets.filter(|network| network.is_ipv6() == v6).copied().collect();
        let of_zone: Vec<_> = subnets.filter(|network| network.is_ipv6() == v6).copied().collect();
        let networks = if of_rules.is_empty() || self.below(3) != 0 { of_zone } else { of_rules };
        let anywhere = networks.is_empty() || self.below(20) == 0;
        let host = u128::from(self.next()) << 64 | u128::from(self.next());
        if anywhere {
            return if v6 { Ipv6Addr::from(host).into() } else { Ipv4Addr::from(host as u32).into() };
        }
        let network = self.pick(&networks);
        match network {
            ipnetwork::IpNetwork::V4(net) => {
                let mask = u32::from(net.mask());
                Ipv4Addr::from(u32::from(net.ip()) & mask | host as u32 & !mask).into()
            }
            ipnetwork::IpNetwork::V6(net) => {
                let mask = u128::from(net.mask());
                // Few hosts, so that those that rules name are met.
                Ipv6Addr::from(u128::from(net.ip()) & mask | host & 0xff & !mask).into()
            }
        }
    }
}
