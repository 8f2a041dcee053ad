use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use firewall_core::DropReason;
use firewall_core::tables::FlowTable;

use super::*;
use crate::clock;

const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for what must not come.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn sockets(lab: &Lab, port: u16) -> (TcpListener, SocketAddr) {
    let address = SocketAddr::from((lab.server_address(), port));
    (lab.server().run(|| Ok(TcpListener::bind(address)?)).expect("a listener"), address)
}

/// A question over TCP, and its answer.
fn asks(lab: &Lab) {
    let (listener, address) = sockets(lab, TCP_PORTS[0]);
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut question = [0; 4];
        stream.read_exact(&mut question).expect("a question");
        stream.write_all(&question).expect("an answer");
    });
    let mut stream = lab.client().run(|| Ok(TcpStream::connect_timeout(&address, PATIENCE)?)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"ping").expect("a question");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"ping");
    answering.join().expect("the server");
}

/// Whether a datagram arrives at a port of the server.
fn arrives(lab: &Lab, port: u16, patience: Duration) -> bool {
    let address = SocketAddr::from((lab.server_address(), port));
    let server = lab.server().run(|| Ok(UdpSocket::bind(address)?)).expect("a socket");
    server.set_read_timeout(Some(patience)).expect("a timeout");
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    lab.client().run(|| Ok(UdpSocket::bind(any)?.send_to(b"datagram", address)?)).expect("it is sent");
    server.recv(&mut [0; 16]).is_ok()
}

fn carries(path: Path) {
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = Lab::with(path, Needs { family, ..Needs::default() }).expect("a lab");
        assert_eq!(lab.server_address().is_ipv6(), family == Family::Ipv6);
        asks(&lab);
        assert!(arrives(&lab, UDP_PORTS[1], PATIENCE), "{path} {family:?}");
        let is_open = arrives(&lab, UDP_PORTS[1] + 1, if path.is_firewall() { IMPATIENCE } else { PATIENCE });
        assert_eq!(is_open, !path.is_firewall(), "{path} {family:?}");
    }
}

#[test]
fn what_forwards_carries_everything() {
    for path in [Path::Direct, Path::Bridge, Path::Routing] {
        carries(path);
    }
}

#[test]
fn firewalls_of_linux_carry_what_the_rules_allow() {
    carries(Path::Nftables);
    carries(Path::Iptables);
}

#[test]
fn vfw_carries_what_the_rules_allow_on_each_hook() {
    for path in [Path::VfwTc, Path::VfwXdp, Path::VfwAfxdp] {
        carries(path);
    }
}

#[test]
fn flows_are_known_and_forgotten() {
    // Connection tracking looks at checksums, which the smallest frames of IPv4 leave out.
    let all = [Family::Ipv4, Family::Ipv6].map(|family| [(Path::Nftables, family), (Path::VfwTc, family)]);
    for (path, family) in all.concat() {
        let mut lane = Lane::new(path, 0, Needs { family, ..Needs::default() }).expect("a lane");
        assert_eq!(lane.establish(300).expect("flows").0, Some(1.0), "{path}");
        let sample = lane.measure(0, 300, 1_000).expect("frames");
        assert!(sample.lost < 0.5, "{path} {sample:?}");
        lane.lab.forget_flows().expect("it forgets");
        assert_eq!(lane.lab.established().expect("a number"), 0, "{path}");
    }
}

/// A lab with an attacker, and frames of it.
fn attacked(path: Path, plan: Plan, frames: u32) -> Lab {
    let rules = Rules { attacked: true, ..Rules::default() };
    let lab = Lab::with(path, Needs { rules, ..Needs::default() }).expect("a lab");
    let mut rig = Rig::load().expect("the generator");
    let attacker = lab.attacker().expect("an attacker");
    attacker.place.run(|| rig.generate(attacker.c0, plan, frames)).expect("frames");
    assert_eq!(rig.sent().expect("a number"), u64::from(frames));
    lab
}

#[test]
fn denied_frames_reach_the_rules_and_no_further() {
    let mut lab = attacked(Path::VfwXdp, denied_plan().expect("a plan"), 500);
    let vfw = lab.vfw().expect("vfw");
    let zone = vfw.policy.zones.iter().find(|zone| zone.name == "c").expect("the attacker's zone").id;
    let dropped = vfw.kernel.drop_counter(zone, DropReason::Policy).expect("a counter").packets;
    assert!((250..=500).contains(&dropped), "{dropped}");
    assert_eq!(lab.vfw().expect("vfw").kernel.flows().expect("flows").live(clock::now()).count(), 0);
}

#[test]
fn what_goes_into_the_dead_end_costs_a_firewall_nothing() {
    let rules = Rules { attacked: true, ..Rules::default() };
    let mut lab = Lab::with(Path::VfwXdp, Needs { rules, ..Needs::default() }).expect("a lab");
    let mut rig = Rig::load().expect("the generator");
    let Attacker { place, d0, d1, .. } = lab.attacker().expect("an attacker");
    place.run(|| rig.attach_sink("d1", *d1, Sink::Xdp)).expect("a sink");
    place.run(|| rig.generate(*d0, denied_plan()?, 500)).expect("frames");
    assert!(
        (250..=500).contains(&rig.arrived().expect("a number")),
        "the dead end takes frames as a firewall's interface does"
    );
    let vfw = lab.vfw().expect("vfw");
    for zone in vfw.policy.zones.iter().map(|zone| zone.id).collect::<Vec<_>>() {
        assert_eq!(vfw.kernel.drop_counter(zone, DropReason::Policy).expect("a counter").packets, 0);
    }
}

#[test]
fn first_segments_are_good_and_each_begins_a_connection() {
    let mut lab = attacked(Path::VfwTc, syn_plan().expect("a plan"), 500);
    let flows = lab.vfw().expect("vfw").kernel.flows().expect("flows");
    let begun = flows.live(clock::now()).filter(|live| live.table == FlowTable::HalfOpen).count();
    assert!((250..=500).contains(&begun), "{begun}");
    // Connection tracking looks at checksums.
    let lab = attacked(Path::Nftables, syn_plan().expect("a plan"), 500);
    let firewall = lab.topology.firewall.as_ref().expect("a firewall");
    let known = firewall.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")?)).expect("a list");
    let begun = known.lines().filter(|line| line.contains("SYN_SENT")).count();
    assert!((250..=500).contains(&begun), "{known}");
}

#[test]
fn a_generator_keeps_its_rate_and_its_time() {
    let lab = Lab::new(Path::Direct).expect("a lab");
    let mut rig = Rig::load().expect("the generator");
    let mut plan = udp_plan(Family::Ipv4, Next::Host, 0, 1, false).expect("a plan");
    (plan.interval, plan.until) = (50_000, clock::now() + 200_000_000);
    lab.client().run(|| rig.generate(lab.topology.a0, plan, 1_000_000)).expect("frames");
    let sent = rig.sent().expect("a number");
    assert!((1..=4_064).contains(&sent), "a frame each 50 us for 200 ms: {sent}");
    // A batch takes longer to send than a frame may, so that would show. Other work on the machine takes time, too, and so
    // does the kernel before the first frame.
    (plan.interval, plan.until) = (10_000, 0);
    let mut nanos = || lab.client().run(|| rig.generate(lab.topology.a0, plan, 40_000)).expect("frames");
    assert!((0..10).any(|_| (9_900.0..10_700.0).contains(&nanos())), "what a batch takes is made up for");
}

#[test]
fn connection_tracking_has_room_for_the_time_of_a_lab() {
    let sizes = || {
        ["max", "buckets"].map(|name| std::fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")))
    };
    let sizes = || sizes().map(|text| text.expect("a setting").trim().parse::<u32>().expect("a number"));
    // The module, and with it the settings, may come with the first lab.
    drop(Lab::new(Path::Nftables).expect("a lab"));
    let before = sizes();
    let flows = before[0] + 1_000;
    let lab = || Lab::with(Path::Nftables, Needs::flows(flows)).expect("a lab");
    let (one, other) = (lab(), lab());
    let [most, buckets] = sizes();
    assert!(most >= flows && buckets >= flows, "{most} {buckets}");
    drop(one);
    assert_eq!(sizes(), [most, buckets], "the other one needs it still");
    drop(other);
    assert_eq!(sizes(), before);
    // No limit is room enough.
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_max", "0").expect("the setting");
    let unlimited = (conntrack::room().expect("a number"), lab(), sizes());
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_max", before[0].to_string()).expect("the setting");
    assert_eq!((unlimited.0, unlimited.2), (u32::MAX, [0, before[1]]));
    drop(unlimited);
    // What a killed process leaves: its file, and its sizes.
    let file = "/run/vfw-bench-conntrack";
    std::fs::write(file, format!("{} {}\n", before[0], before[1])).expect("the file");
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_max", flows.to_string()).expect("the setting");
    conntrack::clear_leftovers();
    assert_eq!(sizes(), before);
    assert_eq!(std::fs::read_to_string(file).expect("the file"), "");
}

#[test]
fn nothing_pinned_outlives_a_lab() {
    let lab = Lab::new(Path::VfwXdp).expect("a lab");
    let own = format!("vfw-bench-{}-", std::process::id());
    let pins = || -> Vec<String> {
        let entries = std::fs::read_dir("/sys/fs/bpf").expect("bpffs").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&own)).collect()
    };
    let before = pins();
    assert!(!before.is_empty());
    drop(lab);
    assert!(pins().len() < before.len());
}

#[test]
fn what_a_killed_process_left_is_removed() {
    // No process has a number so large.
    let left = std::path::Path::new("/sys/fs/bpf/vfw-bench-4194305-0");
    std::fs::create_dir(left).expect("bpffs");
    clear_leftovers();
    assert!(!left.exists());
}
