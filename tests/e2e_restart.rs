//! Forwarding outlives the daemon: what a restart, a crash and `vfw stop` do to flows, programs and interfaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use firewall_core::tables::ABI_VERSION;
use nix::sys::signal::Signal;
use serde_json::Value;
use vfw_tests::network::{Firewall, KernelObjects, Network, Shape, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const PINS: &str = "/sys/fs/bpf/vfw";
const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db
";

fn mode(hook: &str) -> String {
    format!("mode = \"{hook}\"")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn pings(network: &Network, from: &str, to: &str) -> bool {
    let to = network.address(to, false).to_string();
    network.run(from, &["ping", "-n", "-c", "1", "-W", "5", &to]).status.success()
}

fn blocks(network: &Network, from: &str, to: &str) -> bool {
    let to = network.address(to, false).to_string();
    !network.run(from, &["ping", "-n", "-c", "1", "-W", "0.3", &to]).status.success()
}

/// Pings, and waits until the data path knows both neighbours: without a daemon nobody would find them.
fn meet(network: &Network, firewall: &Firewall) {
    assert!(pings(network, "app", "db"));
    until("both neighbours are known", || {
        let rows = firewall.show("neighbours");
        let known = rows.as_array().expect("a list").iter().filter(|row| row["mac"].is_string());
        (known.count() == 2).then_some(())
    });
    assert!(pings(network, "app", "db"));
}

/// Runs `vfw run`, which has to end by itself with this exit code; returns what it said.
fn refuses(network: &Network, code: i32) -> String {
    let output = network.vfw_run(&["run", "--config", "vfw.toml", "rules.fw"]);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    said(&output)
}

fn stops(network: &Network, words: &str) {
    let output = network.vfw_run(&["stop", "--config", "vfw.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains(words), "{}", said(&output));
}

fn pinned(network: &Network, folder: &str) -> Vec<PathBuf> {
    network.at_firewall(|| {
        let entries = fs::read_dir(Path::new(PINS).join(folder)).map(|entries| entries.flatten().collect::<Vec<_>>());
        let mut paths: Vec<PathBuf> = entries.unwrap_or_default().iter().map(fs::DirEntry::path).collect();
        paths.sort();
        paths
    })
}

fn rule_file(network: &Network, text: &str) {
    fs::write(network.folder().join("rules.fw"), text).expect("the rule file");
}

/// An open TCP connection from `app` to `db`.
struct Connection {
    client: std::net::TcpStream,
    server: std::net::TcpStream,
}

impl Connection {
    fn open(network: &Network) -> Self {
        let address = network.address("db", false);
        let listener = network.within("db", || std::net::TcpListener::bind((address, 8000))).expect("a listener");
        let client = network.within("app", || std::net::TcpStream::connect((address, 8000))).expect("connects");
        let (server, _) = listener.accept().expect("the connection");
        Self { client, server }
    }

    /// Sends both ways.
    fn talk(&mut self) {
        use std::io::{Read as _, Write as _};
        for (from, to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            to.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
            let mut word = [0; 5];
            (&*from).write_all(b"hello").expect("sends");
            (&*to).read_exact(&mut word).expect("receives");
        }
    }
}

fn flow_of_tcp(firewall: &Firewall) -> Value {
    let flows = firewall.show("flows");
    let flow = flows.as_array().expect("a list").iter().find(|flow| flow["protocol"] == "tcp").cloned();
    flow.expect("the connection's flow")
}

#[test]
fn flows_links_and_neighbours_outlive_the_daemon() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let mut firewall = network.firewall(&mode(hook));
        let mut connection = Connection::open(&network);
        connection.talk();
        meet(&network, &firewall);
        let first = KernelObjects::of(firewall.pid());
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP] {
            let before = KernelObjects::of(firewall.pid());
            let age = flow_of_tcp(&firewall)["age_seconds"].as_u64();
            firewall.stop(signal);
            connection.talk();
            assert!(pings(&network, "app", "db"), "{hook}: without a daemon, a new flow to a known neighbour");
            assert!(blocks(&network, "db", "app"), "{hook}: the policy holds");
            firewall = network.firewall(&mode(hook));
            connection.talk();
            let flow = flow_of_tcp(&firewall);
            assert!(flow["age_seconds"].as_u64() >= age, "{hook}: {flow}");
            let neighbours = firewall.show("neighbours");
            let is_known = |row: &&Value| row["address"] == "10.0.20.7" && row["mac"].is_string();
            assert!(neighbours.as_array().expect("a list").iter().any(|row| is_known(&row)), "{hook}: {neighbours}");
            let after = KernelObjects::of(firewall.pid());
            assert_eq!((&after.links, after.links.len()), (&first.links, 2), "{hook}: the same links");
            assert!(after.programs.is_disjoint(&before.programs), "{hook}: other programs");
            until("the programs before are gone", || before.existing().programs.is_empty().then_some(()));
            assert_eq!(pinned(&network, "generations").len(), 1, "{hook}");
        }
        assert_eq!(firewall.drop_reasons(&["policy"]), [""; 0], "{hook}");
    }
}

#[test]
fn a_daemon_may_be_stopped_or_absent() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        network.write_settings(&mode(hook));
        stops(&network, "nothing was in force");
        for with_daemon in [true, false] {
            let firewall = network.firewall(&mode(hook));
            assert!(pings(&network, "app", "db"));
            let objects = KernelObjects::of(firewall.pid());
            if with_daemon {
                stops(&network, "vfw has ended");
                assert_eq!(firewall.wait().code(), Some(0), "{hook}");
            } else {
                firewall.stop(Signal::SIGKILL);
                stops(&network, "no vfw was running");
            }
            until("nothing is left in the kernel", || (objects.existing() == KernelObjects::default()).then_some(()));
            assert!(blocks(&network, "app", "db"), "{hook}");
            let flags = network.must("fw", &["ip", "link", "show", "eth1"]);
            assert!(!flags.contains("ALLMULTI"), "{hook}: given back: {flags}");
            let features = network.must("fw", &["ethtool", "-k", "eth1"]);
            assert!(features.contains("rx-vlan-offload: on"), "{hook}: given back: {features}");
            assert!(!network.state_file().exists() && pinned(&network, "").is_empty(), "{hook}");
        }
        stops(&network, "nothing was in force");
    }
}

#[test]
fn a_daemon_is_stopped_by_its_socket() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"tc\"");
    let stop = |socket: &Path| {
        let socket = socket.to_str().expect("a path in UTF-8");
        network.vfw_run(&["stop", "--config", "elsewhere.toml", "--socket", socket])
    };
    // The settings name no socket on which this vfw listens.
    let settings = fs::read_to_string(network.folder().join("vfw.toml")).expect("the settings file");
    let elsewhere = settings.replace("control.sock", "elsewhere.sock");
    assert_ne!(elsewhere, settings);
    fs::write(network.folder().join("elsewhere.toml"), elsewhere).expect("settings");
    let nobody = stop(&network.folder().join("nobody.sock"));
    assert_eq!(nobody.status.code(), Some(2), "a daemon that is not asked holds its programs: {}", said(&nobody));
    assert!(pings(&network, "app", "db"));
    let output = stop(&network.socket());
    assert!(output.status.success() && said(&output).contains("vfw has ended"), "{}", said(&output));
    assert_eq!(firewall.wait().code(), Some(0));
    assert!(blocks(&network, "app", "db"));
    let output = stop(&network.socket());
    assert!(output.status.code() == Some(2) && said(&output).contains("no vfw listens on"), "{}", said(&output));
}

#[test]
fn a_bad_start_leaves_in_force_what_was() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        meet(&network, &firewall);
        let objects = KernelObjects::of(firewall.pid());
        firewall.stop(Signal::SIGKILL);
        let goes_on = |said: &str, words: &str| {
            assert!(said.contains(words) && said.contains("what was in force stays in force"), "{hook}: {said}");
            assert_eq!(objects.existing().links, objects.links, "{hook}");
            assert!(pings(&network, "app", "db"), "{hook}: {words}");
            assert_eq!(pinned(&network, "generations").len(), 1, "{hook}: {words}");
        };
        rule_file(&network, &RULES.replace("allow app", "alow app"));
        goes_on(&refuses(&network, 1), "alow");
        rule_file(&network, &RULES.replace("eth2", "eth7"));
        goes_on(&refuses(&network, 2), "no interface `eth7`");
        rule_file(&network, RULES);
        network.write_settings(&format!("{}\n[flows]\nestablished = 1000", mode(hook)));
        goes_on(
            &refuses(&network, 2),
            "the table ESTABLISHED in force has room for 131072 entries, and flows.established asks for 1000: set it back, \
             or end forwarding with `vfw stop` first",
        );
        network.write_settings(&format!("{}\n[neighbours]\nmax = 64", mode(hook)));
        goes_on(&refuses(&network, 2), "neighbours.max asks for 64");

        network.write_settings(&mode(hook));
        let elsewhere = network.at("db", &["run", "--config", "vfw.toml", "rules.fw"]);
        assert_eq!(elsewhere.status.code(), Some(2));
        goes_on(&said(&elsewhere), "forward in another network namespace");
        let elsewhere = network.at("db", &["stop", "--config", "vfw.toml"]);
        assert_eq!(elsewhere.status.code(), Some(2));
        assert!(said(&elsewhere).contains("forward in another network namespace"), "{}", said(&elsewhere));

        let state = fs::read_to_string(network.state_file()).expect("the state file");
        let other = state.replace(&format!("\"abi\": {ABI_VERSION}"), "\"abi\": 99");
        assert_ne!(other, state);
        for garbage in ["", "{]", &other, &state[..state.len() / 2]] {
            fs::write(network.state_file(), garbage).expect("the state file");
            goes_on(&refuses(&network, 2), "`vfw stop` takes the programs off");
        }
        fs::remove_file(network.state_file()).expect("the state file");
        goes_on(&refuses(&network, 2), "`vfw stop` takes the programs off");
        fs::write(network.state_file(), "nonsense").expect("the state file");
        stops(&network, "its programs are taken off");
        until("nothing is left in the kernel", || (objects.existing() == KernelObjects::default()).then_some(()));
        // What is left of a state file harms nobody.
        fs::write(network.state_file(), "nonsense").expect("the state file");
        drop(network.firewall(&mode(hook)));
    }
}

#[test]
fn another_policy_and_another_hook_take_over() {
    let ways = [("xdp", "tc"), ("tc", "xdp"), ("xdp", "afxdp"), ("afxdp", "xdp"), ("tc", "afxdp"), ("afxdp", "tc")];
    for (hook, next) in ways {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        let mut connection = Connection::open(&network);
        connection.talk();
        firewall.stop(Signal::SIGTERM);
        let firewall = network.firewall(&mode(next));
        connection.talk();
        let interfaces = firewall.show("interfaces");
        assert_eq!(interfaces[0]["hook"], next, "{interfaces}");
        assert_eq!(pinned(&network, "links").len(), 2);
        firewall.stop(Signal::SIGKILL);

        rule_file(&network, &format!("{RULES}allow db -> app\n").replace("allow app -> db\n", ""));
        let firewall = network.firewall(&mode(next));
        assert!(pings(&network, "db", "app") && blocks(&network, "app", "db"));
        std::io::Write::write_all(&mut connection.client, b"hello").expect("sends");
        until("the flow ends with its next packet", || {
            let flows = firewall.show("flows");
            flows.as_array().expect("a list").iter().all(|flow| flow["protocol"] != "tcp").then_some(())
        });
        firewall.stop(Signal::SIGKILL);

        // Only one interface is named from here on; the other is given back.
        rule_file(&network, "zone app { interface eth1  address 10.0.10.1/24 }\ndefault drop\n");
        let firewall = network.firewall(&mode(next));
        assert!(blocks(&network, "db", "app"));
        assert_eq!(pinned(&network, "links").len(), 1);
        let flags = network.must("fw", &["ip", "link", "show", "eth2"]);
        assert!(!flags.contains("ALLMULTI"), "{next}: given back: {flags}");
        firewall.stop(Signal::SIGINT);
        let flags = network.must("fw", &["ip", "link", "show", "eth1"]);
        assert!(!flags.contains("ALLMULTI"), "{next}: given back: {flags}");
    }
}

#[test]
fn interfaces_that_change_while_no_daemon_runs_are_found() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db"));
        firewall.stop(Signal::SIGKILL);
        network.must("fw", &["ip", "link", "delete", "eth1"]);
        let firewall = network.firewall(&mode(hook));
        assert_eq!(firewall.show("interfaces")[0]["state"], "away", "{hook}");
        firewall.stop(Signal::SIGKILL);
        network.ip_batch(&[network.cable("eth1", "", "app"), "link set eth1 up".to_owned()]);
        network.configure_host("app");
        let firewall = network.firewall(&mode(hook));
        assert_eq!(firewall.show("interfaces")[0]["state"], "up", "{hook}");
        assert!(pings(&network, "app", "db"), "{hook}");
        assert_eq!(pinned(&network, "links").len(), 2, "{hook}");
    }
}

/// The loaded programs have room for 4,096 rules; others take over.
#[test]
fn rules_may_outgrow_the_loaded_programs() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&mode(hook));
        let mut connection = Connection::open(&network);
        connection.talk();
        let before = KernelObjects::of(firewall.pid());
        let counted = |firewall: &Firewall| {
            let rules = firewall.show("rules");
            let mut rules = rules.as_array().expect("a list").iter();
            let rule = rules.find(|rule| rule["rule"].as_str().is_some_and(|text| text.starts_with("allow app -> db")));
            rule.and_then(|rule| rule["packets"].as_u64()).expect("the rule")
        };
        let packets = counted(&firewall);
        let more =
            (10_000..15_000).map(|port| format!("allow db -> app  service tcp {port}\n")).collect::<Vec<_>>().concat();
        rule_file(&network, &format!("{RULES}{more}"));
        let socket = network.socket();
        let socket = socket.to_str().expect("UTF-8");
        let output = network.vfw_run(&["apply", "rules.fw", "--socket", socket]);
        assert_eq!(output.status.code(), Some(0), "{hook}: {}", said(&output));
        connection.talk();
        until("the programs before are gone", || before.existing().programs.is_empty().then_some(()));
        assert_eq!(KernelObjects::of(firewall.pid()).links, before.links, "{hook}: the same links");
        assert_eq!(pinned(&network, "generations").len(), 1, "{hook}");
        assert!(packets > 0 && counted(&firewall) > packets, "{hook}: counters go on");
        assert!(pings(&network, "app", "db"), "{hook}");
        firewall.stop(Signal::SIGKILL);
        // They are what the next start finds.
        connection.talk();
        drop(network.firewall(&mode(hook)));
    }
}

/// Whatever moment a start is killed at, the next one finds its way.
#[test]
fn leftovers_of_a_start_that_was_killed_are_cleared_away() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        // Before anything hung on an interface.
        network.at_firewall(|| {
            for folder in ["state", "links", "generations/7"] {
                fs::create_dir_all(Path::new(PINS).join(folder)).expect("a folder");
            }
        });
        let firewall = network.firewall(&mode(hook));
        meet(&network, &firewall);
        firewall.stop(Signal::SIGKILL);
        // With programs loaded and no link moved; and numbers that cannot be counted on.
        network.at_firewall(|| {
            for generation in ["2000", "nonsense", "18446744073709551615"] {
                fs::create_dir_all(Path::new(PINS).join("generations").join(generation)).expect("a folder");
            }
        });
        assert!(pings(&network, "app", "db"), "{hook}");
        let began = Instant::now();
        let firewall = network.firewall(&mode(hook));
        let start = began.elapsed();
        assert!(pings(&network, "app", "db"), "{hook}");
        firewall.stop(Signal::SIGKILL);
        for part in 1..=10 {
            network.vfw_killed_after(start * part / 8);
            assert!(pings(&network, "app", "db"), "{hook}: killed after {part}/8 of a start");
        }
        let firewall = network.firewall(&mode(hook));
        assert!(pings(&network, "app", "db"), "{hook}");
        assert_eq!(pinned(&network, "generations").len(), 1, "{hook}");
        drop(firewall);
        assert!(pinned(&network, "").is_empty(), "{hook}");
    }
}
