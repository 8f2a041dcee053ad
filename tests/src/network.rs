//! Networks for end-to-end tests: hosts and a firewall in network namespaces of their own, usable by tests in parallel.
//!
//! ```no_run
//! use vfw_tests::network::Shape;
//!
//! let rules = "zone a { interface eth1 address 10.0.1.1/24 } zone b { interface eth2 address 10.0.2.1/24 } default allow";
//! let program = "target/debug/vfw-under-test"; // in a test: env!("CARGO_BIN_EXE_vfw-under-test")
//! let Some(network) = Shape::new(program, rules).up() else { return };
//! let firewall = network.firewall("mode = \"tc\"");
//! assert!(network.run("a", &["ping", "-c1", "10.0.2.7"]).status.success());
//! assert_eq!(firewall.drop_reasons(&[]), [""; 0]);
//! ```
//!
//! Everything made here goes when its value is dropped, also when the test panics: processes first, then the lab, then
//! the folder. The binary is passed in because Cargo tells its path to integration tests only.

mod firewall;
mod mounts;
mod objects;
mod process;
pub mod traffic;
mod wire;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw_socket::RawSocket;
use vfw::command::lab::spec;
use vfw::lab::{Lab, LabGuard, LabSpec, TagPlacement, ZoneSpec};
use vfw::lang::{SourceFile, load};

pub use firewall::Firewall;
use mounts::Mounts;
pub use objects::KernelObjects;
pub use process::{Process, finish};
pub use wire::Wire;

/// How long a command or a condition may take before a test gives up. Far more than any needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A network to be built.
#[derive(Clone, Debug)]
pub struct Shape {
    program: PathBuf,
    rules: String,
    spec: LabSpec,
}

/// Hosts and the place of a firewall, up.
pub struct Network {
    // In the order in which they have to go.
    lab: Lab,
    _guard: LabGuard,
    /// What is pinned goes with this and the last process that is in it.
    mounts: Mounts,
    folder: Folder,
    program: PathBuf,
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is only a folder in /tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Shape {
    /// A host for each zone of `rules`; `program` is `env!("CARGO_BIN_EXE_vfw-under-test")`.
    pub fn new(program: &str, rules: &str) -> Self {
        let policy = match load(&[SourceFile::new("rules.fw", rules)]) {
            Ok(loaded) => loaded.policy,
            Err(found) => panic!("the rules of the test are wrong: {found:?}"),
        };
        Self { program: PathBuf::from(program), rules: rules.to_owned(), spec: spec(&policy) }
    }

    /// MTU of every link.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.spec.mtu = Some(mtu);
        self
    }

    /// Whether the hosts leave checksums to offload.
    #[must_use]
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.spec.tx_checksum = on;
        self
    }

    /// Where the switch puts tags.
    #[must_use]
    pub fn tags(mut self, tags: TagPlacement) -> Self {
        self.spec.tags = tags;
        self
    }

    /// Wires a host called `wire` straight to `interface`, in place of the hosts of that interface's zones: it sees tags
    /// as vfw does.
    #[must_use]
    pub fn wire(mut self, name: &str, interface: &str) -> Self {
        self.spec.zones.retain(|zone| zone.interface != interface);
        self.spec.zones.push(ZoneSpec {
            name: name.to_owned(),
            interface: interface.to_owned(),
            vlan: None,
            gateways: Vec::new(),
        });
        self
    }

    /// Builds it. Nothing without root, which namespaces need; the test then ends as skipped.
    pub fn up(mut self) -> Option<Network> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: network namespaces need root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.spec.name = format!("vfwe2e-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&self.spec.name);
        fs::create_dir_all(&folder).expect("a folder in the temporary directory");
        let folder = Folder(folder);
        fs::write(folder.0.join("rules.fw"), &self.rules).expect("the rule file");
        let guard = LabGuard::new(&self.spec.name);
        let lab = Lab::up(&self.spec).unwrap_or_else(|error| panic!("the lab: {error}"));
        let network = Network { lab, _guard: guard, mounts: Mounts::new(), folder, program: self.program };
        for wire in self.spec.zones.iter().filter(|zone| zone.gateways.is_empty()) {
            // Nobody speaks there but the test.
            network.set(&wire.name, "ipv6/conf/all/disable_ipv6", "1");
        }
        Some(network)
    }
}

impl Network {
    /// A folder for the files of this test.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Calls `work` in the namespace of `place`: a zone, or `fw`. Sockets made there work everywhere.
    pub fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        self.lab.run(place, work).unwrap_or_else(|error| panic!("{place}: {error}"))
    }

    /// Calls `work` in the namespaces of `fw`, its mounts included: the pins of its firewall are below `/sys/fs/bpf` there.
    pub fn at_firewall<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.within("fw", || {
            self.mounts.enter();
            work()
        })
    }

    /// Runs a command at `place` to its end.
    pub fn run(&self, place: &str, command: &[&str]) -> Output {
        finish(self.start(place, command), PATIENCE)
    }

    /// Runs a command at `place` that has to succeed; returns its standard output.
    pub fn must(&self, place: &str, command: &[&str]) -> String {
        let output = self.run(place, command);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {}: {}\n{said}{error}", command.join(" "), output.status);
        said
    }

    /// Starts a command at `place`; it is ended when the handle goes.
    pub fn start(&self, place: &str, command: &[&str]) -> Process {
        let (program, arguments) = command.split_first().expect("a command");
        let mut command = Command::new(program);
        command.args(arguments);
        self.within(place, || Process::start(command))
    }

    /// The vfw command, not started yet.
    fn vfw(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.folder()).env("COLUMNS", "200");
        command
    }

    /// Runs the vfw command in the firewall's place to its end.
    pub fn vfw_run(&self, arguments: &[&str]) -> Output {
        let command = self.vfw(arguments);
        finish(self.at_firewall(|| Process::start(command)), PATIENCE)
    }

    /// Runs the vfw command at another place, with the mounts of the firewall.
    pub fn at(&self, place: &str, arguments: &[&str]) -> Output {
        let command = self.vfw(arguments);
        let start = || {
            self.mounts.enter();
            Process::start(command)
        };
        finish(self.within(place, start), PATIENCE)
    }

    /// Starts `vfw run` and kills it after this time.
    pub fn vfw_killed_after(&self, time: Duration) {
        let command = self.vfw(&["run", "--config", "vfw.toml", "rules.fw"]);
        let process = self.at_firewall(|| Process::start(command));
        thread::sleep(time);
        drop(process);
    }

    /// Puts the rules in force with these settings, and waits until they are.
    pub fn firewall(&self, settings: &str) -> Firewall<'_> {
        Firewall::start(self, settings)
    }

    /// The address of the host of a zone.
    pub fn address(&self, zone: &str, v6: bool) -> IpAddr {
        let host = self.lab.layout().host(zone).expect("a zone of the lab");
        let mut addresses = host.addresses.iter().map(ipnetwork::IpNetwork::ip);
        addresses.find(|address| address.is_ipv6() == v6).expect("an address of the family")
    }

    /// The Ethernet address of an interface.
    pub fn mac(&self, place: &str, interface: &str) -> [u8; 6] {
        self.within(place, || vfw::interface::inspect(interface)).expect("the interface").mac
    }

    /// Starts a server in a place and waits until it listens: seen in the kernel's table, since a connection would be the one
    /// that some servers wait for.
    pub fn serve(&self, place: &str, command: &[&str], port: u16) -> Process {
        let mut server = self.start(place, command);
        until(&format!("{command:?} listens"), || {
            assert!(server.is_running(), "{command:?} has ended");
            let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
            let tables = self.within(place, || tables.map(|path| fs::read_to_string(path).unwrap_or_default()));
            let (port, listening) = (format!(":{port:04X} "), " 0A ");
            let lists = |table: &String| table.lines().any(|line| line.contains(&port) && line.contains(listening));
            tables.iter().any(lists).then_some(())
        });
        server
    }

    /// The command of iproute2 that makes the link between `interface` of the firewall and the host of an untagged zone
    /// anew; `options` are of the firewall's end. The old one must be deleted.
    pub fn cable(&self, interface: &str, options: &str, zone: &str) -> String {
        let layout = self.lab.layout();
        let host = &layout.host(zone).expect("a zone of the lab").namespace;
        let firewall = &layout.firewall;
        format!("link add {interface} {options} netns {firewall} type veth peer name eth0 netns {host}")
    }

    /// Readies the host of a zone whose link is new, as the lab does.
    pub fn configure_host(&self, zone: &str) {
        let host = self.lab.layout().host(zone).expect("a zone of the lab");
        for address in &host.addresses {
            let nodad: &[&str] = if address.is_ipv6() { &["nodad"] } else { &[] };
            let address = address.to_string();
            self.must(zone, &[&["ip", "address", "add", &address, "dev", "eth0"], nodad].concat());
        }
        self.must(zone, &["ip", "link", "set", "eth0", "up"]);
        for gateway in &host.gateways {
            let gateway = gateway.to_string();
            self.must(zone, &["ip", "route", "add", "default", "via", &gateway, "dev", "eth0", "onlink"]);
        }
        // XDP redirects into a veth only while its other end polls.
        self.within(zone, || vfw::interface::set_feature("eth0", "rx-gro", true)).expect("veth has GRO");
    }

    /// Runs lines of `ip -batch` in the firewall's place.
    pub fn ip_batch(&self, lines: &[String]) {
        let file = self.folder().join("batch");
        fs::write(&file, lines.join("\n") + "\n").expect("a file");
        self.must("fw", &["ip", "-batch", file.to_str().expect("UTF-8")]);
    }

    /// Frames of the host of a zone, past its stack.
    pub fn wire(&self, place: &str) -> Wire {
        let socket = self.within(place, || RawSocket::open(vfw::interface::inspect("eth0").expect("eth0").index));
        Wire::new(socket.unwrap_or_else(|error| panic!("{place}: packet socket: {error}")))
    }

    /// IPv4 and IPv6 packets that the kernel's IP stack in the firewall's place has received.
    pub fn received_by_kernel(&self) -> (u64, u64) {
        let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        let (v4, v6) = self.within("fw", || (read("snmp"), read("snmp6")));
        let mut ip = v4.lines().filter(|line| line.starts_with("Ip:")).map(str::split_whitespace);
        let (mut names, mut values) = (ip.next().expect("names"), ip.next().expect("values"));
        let position = names.position(|name| name == "InReceives").expect("InReceives");
        let v4 = values.nth(position).and_then(|value| value.parse().ok()).expect("a number");
        let v6 = v6.lines().find(|line| line.starts_with("Ip6InReceives"));
        let v6 = v6.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        (v4, v6.expect("a number"))
    }

    /// Writes a kernel setting below `/proc/sys/net` at `place`.
    pub fn set(&self, place: &str, setting: &str, value: &str) {
        let written = self.within(place, || fs::write(format!("/proc/sys/net/{setting}"), value));
        written.unwrap_or_else(|error| panic!("{place}: {setting}: {error}"));
    }
}

/// Waits until `condition` gives a value; a test fails when it does not in time.
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    in_time(condition).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// Waits until `condition` gives a value; nothing when it does not in time.
pub fn in_time<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = condition();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        thread::sleep(Duration::from_millis(3));
    }
}
