//! What is particular to the engine in user space: what it says of itself, and what it refuses.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use vfw_tests::network::{Firewall, KernelObjects, Network, Shape, finish, until};
use vfw_tests::soak::Stream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db
";

fn pings(network: &Network, count: &str) {
    let to = network.address("db", false).to_string();
    network.must("app", &["ping", "-n", "-c", count, "-i", "0.01", "-W", "5", &to]);
}

fn interfaces(firewall: &Firewall) -> Vec<Value> {
    firewall.show("interfaces").as_array().expect("a list").clone()
}

/// Files of the threads of a process that tell of them.
fn of_threads(pid: i32, file: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process").flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join(file)).ok()).collect()
}

/// Threads of a process by name, with the processor time that each has taken, in ticks.
fn threads(pid: i32) -> Vec<(String, u64)> {
    let of = |stat: &String| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        Some((name.to_owned(), fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?))
    };
    of_threads(pid, "stat").iter().filter_map(of).collect()
}

/// What the kernel says of a worker, or of several, under a name (`man 5 proc_pid_status`).
fn of_workers(pid: i32, name: &str) -> Vec<String> {
    let status = of_threads(pid, "status").into_iter().filter(|status| status.starts_with("Name:\tafxdp"));
    let line = |status: String| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
    status.filter_map(line).collect()
}

#[test]
fn interfaces_say_how_frames_come() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"afxdp\"");
    pings(&network, "1");
    for interface in interfaces(&firewall) {
        assert_eq!((&interface["hook"], &interface["frames"]), (&"afxdp".into(), &"copy".into()), "{interface}");
        let why = interface["reasons"].to_string();
        assert!(why.contains("copies each frame") && why.contains("ordered by mode = afxdp"), "{why}");
    }
    let socket = network.socket();
    let shown = network.vfw_run(&["show", "interfaces", "--socket", socket.to_str().expect("UTF-8")]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("afxdp") && shown.contains("copy"), "{shown}");
    firewall.stop(Signal::SIGTERM);
    let firewall = network.firewall("mode = \"xdp\"");
    assert!(interfaces(&firewall).iter().all(|interface| interface["frames"].is_null()), "no engine, no word of it");
}

#[test]
fn orders_that_cannot_be_followed_are_refused() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    for (settings, words) in [
        ("mode = \"afxdp\"\n[afxdp]\nzerocopy = \"require\"", ["interface `eth1`", "zerocopy = \"auto\""]),
        ("mode = \"afxdp\"\n[afxdp]\nkernel_zones = [\"dmz\"]", ["kernel_zones", "`dmz`"]),
        ("mode = \"afxdp\"\n[afxdp]\ncpus = [1023]", ["CPU 1023", "afxdp.cpus"]),
    ] {
        network.write_settings(settings);
        let output = network.vfw_run(&["run", "--config", "vfw.toml", "rules.fw"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!network.state_file().exists(), "nothing is left of it");
    }
    // What forwards goes on.
    let firewall = network.firewall("mode = \"xdp\"");
    until("both neighbours are known", || {
        pings(&network, "1");
        let rows = firewall.show("neighbours");
        let known = rows.as_array().expect("a list").iter().filter(|row| row["mac"].is_string());
        (known.count() == 2).then_some(())
    });
    let objects = KernelObjects::of(firewall.pid());
    firewall.stop(Signal::SIGKILL);
    network.write_settings("mode = \"afxdp\"\n[afxdp]\nzerocopy = \"require\"");
    let output = network.vfw_run(&["run", "--config", "vfw.toml", "rules.fw"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("what was in force stays in force"), "{output:?}");
    assert_eq!(objects.existing().links, objects.links);
    pings(&network, "5");
}

/// One zone of the engine alone: its flows lead to others, so they stay in the kernel; so do those of a zone that is kept
/// there, and of an interface with another mode.
#[test]
fn what_is_not_the_engines_does_not_wake_it() {
    for settings in [
        "mode = \"afxdp\"\n[afxdp]\nkernel_zones = [\"db\"]",
        "mode = \"xdp\"\n[interface.eth1]\nmode = \"afxdp\"",
        "mode = \"tc\"\n[interface.eth1]\nmode = \"afxdp\"",
    ] {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(settings);
        pings(&network, "20");
        let wakes = || {
            let counts = of_workers(firewall.pid(), "voluntary_ctxt_switches:");
            let [count] = counts.as_slice() else { panic!("{settings}: an engine") };
            count.parse::<u64>().expect("a number")
        };
        let before = wakes();
        pings(&network, "100");
        let woken = wakes() - before;
        assert!(woken < 50, "{settings}: {woken} times");
        assert_eq!(firewall.drop_reasons(&["multicast"]), [""; 0], "{settings}");
    }
}

#[test]
fn an_idle_engine_costs_next_to_nothing() {
    const SECONDS: u64 = 3;
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"afxdp\"");
    pings(&network, "5");
    let ticks = || threads(firewall.pid()).iter().map(|(_, ticks)| ticks).sum::<u64>();
    let before = ticks();
    thread::sleep(Duration::from_secs(SECONDS));
    // A tick is a hundredth of a second: 2 % of a processor.
    let taken = ticks() - before;
    assert!(taken <= 2 * SECONDS, "{taken} ticks in {SECONDS} s: {:?}", threads(firewall.pid()));
}

/// Eight connections at once, from the host of `app` to that of `db`; `options` are more of iperf3.
fn transfers(network: &Network, options: &[&str]) {
    // A server that has just served a client may still be busy with its end.
    let _server = network.serve("db", &["iperf3", "--server"], 5201);
    let to = network.address("db", false).to_string();
    let command = ["iperf3", "--json", "--parallel", "8", "--bytes", "128M", "--client", &to];
    let output = finish(network.start("app", &[&command, options].concat()), Duration::from_secs(20));
    let report: Value = serde_json::from_slice(&output.stdout).expect("the JSON of iperf3");
    assert!(report["end"]["sum_received"]["bytes"].as_u64() >= Some(100_000_000), "{report}");
}

/// Makes the links of both zones anew: the host's end has four queues each way, the firewall's end is like this.
fn cable_with(network: &Network, queues: &str) {
    for (interface, zone) in [("eth1", "app"), ("eth2", "db")] {
        let cable = format!("{} numtxqueues 4 numrxqueues 4", network.cable(interface, queues, zone));
        network.ip_batch(&[format!("link delete {interface}"), cable, format!("link set {interface} up")]);
        network.configure_host(zone);
    }
}

/// What comes by a queue whose number no sending queue has leaves all the same: of virtio-net's queues those do not send that it
/// keeps for XDP.
#[test]
fn frames_leave_where_fewer_queues_send() {
    for senders in ["1", "2"] {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        cable_with(&network, &format!("numtxqueues {senders} numrxqueues 4"));
        let firewall = network.firewall("mode = \"afxdp\"");
        transfers(&network, &[]);
        assert_eq!(firewall.drop_reasons(&["multicast"]), [""; 0]);
        let cpus = std::thread::available_parallelism().expect("CPUs").get();
        let workers = of_workers(firewall.pid(), "Pid:");
        assert_eq!(workers.len(), cpus.min(senders.parse().expect("a number")), "{senders} queues send");
        assert!(interfaces(&firewall).iter().all(|interface| interface["frames"] == "copy"));

        // Another MAC changes nothing of that.
        network.must("fw", &["ip", "link", "set", "eth1", "address", "02:00:00:00:00:01"]);
        until("vfw has its new MAC", || (firewall.show("zones")[0]["mac"] == "02:00:00:00:00:01").then_some(()));
        network.must("app", &["ip", "neighbour", "flush", "dev", "eth0"]);
        pings(&network, "5");
        assert_eq!(of_workers(firewall.pid(), "Pid:"), workers, "they are the same");
    }
}

/// The two directions of a flow come to two workers, each on a CPU of its own.
#[test]
fn workers_share_flows() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    cable_with(&network, "numtxqueues 4 numrxqueues 4");
    let workers = std::thread::available_parallelism().expect("CPUs").get().min(4);
    let firewall = network.firewall("mode = \"afxdp\"");
    for turned in [&[][..], &["--reverse"]] {
        transfers(&network, turned);
    }
    pings(&network, "50");
    assert_eq!(firewall.drop_reasons(&["multicast"]), [""; 0]);
    let places = of_workers(firewall.pid(), "Cpus_allowed_list:");
    let why = interfaces(&firewall)[0]["reasons"].to_string();
    assert!(workers == 1 || why.contains(&format!("{workers} workers, on CPUs {}", places.join(", "))), "{why}");
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), workers, "each stays on a CPU of its own: {places:?}");
    let busy = threads(firewall.pid()).into_iter().filter(|(name, ticks)| name == "afxdp" && *ticks > 0);
    assert_eq!(busy.count(), workers, "{:?}", threads(firewall.pid()));
    firewall.stop(Signal::SIGTERM);
}

/// Where the settings say.
#[test]
fn a_worker_stays_on_the_cpu_it_is_given() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"afxdp\"\n[afxdp]\ncpus = [0]");
    pings(&network, "1");
    assert_eq!(of_workers(firewall.pid(), "Cpus_allowed_list:"), ["0"]);
    let why = interfaces(&firewall)[0]["reasons"].to_string();
    assert!(why.contains("one worker, on CPU 0"), "{why}");
}

/// It waits for a worker that waits for its CPU.
#[test]
fn the_first_packet_is_not_lost() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut cpus = CpuSet::new();
                cpus.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).expect("CPU 0");
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _over = Over(&is_over);
        for _ in 0..5 {
            let firewall = network.firewall("mode = \"afxdp\"\n[afxdp]\ncpus = [0]");
            pings(&network, "1");
            firewall.stop(Signal::SIGTERM);
        }
    });
}

/// Writing the flows down takes a second or so, and more frames come meanwhile than a ring holds.
#[test]
fn an_engine_with_many_flows_ends_without_a_loss() {
    const PORTS: std::ops::Range<u16> = 2_000..62_000;
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"afxdp\"\n[flows]\nhalf_open = 262144");
    pings(&network, "1");
    let to = network.address("db", false);
    for _ in 0..4 {
        let socket = network.within("app", || UdpSocket::bind("0.0.0.0:0")).expect("a UDP socket");
        for port in PORTS {
            socket.send_to(&[0], (to, port)).expect("sends");
            if port % 50 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let packets = firewall.show("zones")[0]["in"]["packets"].as_u64();
    assert!(packets >= Some(200_000), "the engine has seen {packets:?}");
    let stream = Stream::one_way(&network, "app", "db", 1_999, 12_000);
    thread::sleep(Duration::from_millis(500));
    firewall.stop(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(500));
    let tally = stream.stop();
    assert!(tally.sent > 6_000 && tally.lost() == 0, "{} of {} are lost", tally.lost(), tally.sent);
}

/// Says so, however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Its sockets go with the interface, and others come with the next one.
#[test]
fn an_interface_may_come_back_under_the_engine() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"afxdp\"");
    pings(&network, "2");
    network.must("fw", &["ip", "link", "delete", "eth1"]);
    until("the interface is away", || (interfaces(&firewall)[0]["state"] == "away").then_some(()));
    network.ip_batch(&[network.cable("eth1", "", "app"), "link set eth1 up".to_owned()]);
    network.configure_host("app");
    until("the engine is back", || (interfaces(&firewall)[0]["frames"] == "copy").then_some(()));
    pings(&network, "5");
    assert_eq!(interfaces(&firewall)[1]["frames"], "copy");
}
