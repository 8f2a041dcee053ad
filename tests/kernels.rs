//! The programs on the kernels of Debian: do their verifiers take them, do the scenarios pass there, and does real traffic
//! get through a virtual NIC in every mode?

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use vfw_tests::machine::{GuestKernel, Initramfs, Machine, Start, available};
use vfw_tests::network::{Network, Shape, in_time};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");

const RULES: &str = "
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db  service ping
";

#[test]
fn linux_6_1() {
    works_on("bookworm", "6.1.", None);
}

#[test]
fn linux_6_12() {
    works_on("trixie", "6.12.", None);
}

/// The newest one, whose driver of virtual NICs lets AF_XDP into its rings.
#[test]
fn linux_7() {
    let Some((network, mut machine)) = works_on("trixie-backports", "7.", Some("copy")) else { return };
    runs(&mut machine, "mode = 'afxdp'\n[afxdp]\nzerocopy = 'require'");
    for interface in interfaces(&mut machine) {
        assert_eq!(interface["frames"], "zero-copy", "{interface}");
        assert!(interface["warnings"].to_string().contains("virtio_net loses what the programs"), "{interface}");
    }
    // What the driver loses, questions for a gateway, is not asked.
    for (host, mac, gateways) in [
        ("app", "52:54:00:00:00:00", ["10.0.10.1", "fd00:10::1"]),
        ("db", "52:54:00:00:00:01", ["10.0.20.1", "fd00:20::1"]),
    ] {
        for gateway in gateways {
            network.must(host, &["ip", "neigh", "replace", gateway, "lladdr", mac, "dev", "eth0", "nud", "permanent"]);
        }
    }
    passes_what_is_allowed(&network, &mut machine, "zerocopy = require");
}

/// `frames`: how they come to the engine in user space, where that is known. Returns the machine; nothing where machines cannot
/// be run.
fn works_on(suite: &str, version: &str, frames: Option<&str>) -> Option<(Network, Machine)> {
    if !available() {
        return None;
    }
    let network = Shape::new(PROGRAM, RULES).up()?;
    let kernel = GuestKernel::fetch(suite, "linux-image-cloud-amd64");
    assert!(kernel.version.starts_with(version), "{suite} has {}", kernel.version);
    let initramfs = Initramfs::new(&network.folder().join("initramfs"), &kernel);
    initramfs.program(PROGRAM, "/bin/vfw");
    initramfs.text("/rules.fw", RULES);
    for program in ["ip", "tc", "ethtool"] {
        initramfs.program(program, &format!("/bin/{program}"));
    }
    for (name, path) in suites() {
        initramfs.program(path.to_str().expect("UTF-8"), &format!("/suites/{name}"));
    }
    let packed = network.folder().join("initramfs.cpio");
    initramfs.pack(&packed);
    let start = Start::Kernel { image: kernel.image(), initramfs: packed };
    let mut machine = Machine::boot(&network, &["eth1", "eth2"], &start);
    for mode in ["xdp", "tc", "afxdp"] {
        forwards(&network, &mut machine, mode, frames.filter(|_| mode == "afxdp"));
    }
    // The measured count is in the test's output.
    println!("{}", machine.must("/suites/budget --nocapture every_program_stays_within_its_budget"));
    machine.must("/suites/scenarios test_run");
    Some((network, machine))
}

/// Test programs that run in the machine.
fn suites() -> Vec<(String, PathBuf)> {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let mut build = Command::new(cargo);
    build.args(["test", "--quiet", "--no-run", "--message-format=json", "-p", "vfw-tests"]);
    build.args(["--test", "budget", "--test", "scenarios"]);
    let output = build.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.filter_map(|message| {
        let is_test = message["target"]["kind"][0] == "test";
        let executable = message["executable"].as_str().filter(|_| is_test)?;
        Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(executable)))
    });
    let built: Vec<_> = built.collect();
    assert_eq!(built.len(), 2, "{text}");
    built
}

/// One mode, from its start to its end.
fn forwards(network: &Network, machine: &mut Machine, mode: &str, frames: Option<&str>) {
    runs(machine, &format!("mode = '{mode}'"));
    let interfaces = interfaces(machine);
    let is_as_wanted = |interface: &Value| frames.is_none_or(|frames| interface["frames"] == frames);
    assert!(interfaces.iter().all(|interface| interface["hook"] == mode && is_as_wanted(interface)), "{interfaces:?}");
    passes_what_is_allowed(network, machine, mode);
    machine.must("vfw stop --config /vfw.toml");
}

/// Puts the rules in force.
fn runs(machine: &mut Machine, settings: &str) {
    machine.must(&format!("printf \"{}\" >/vfw.toml", settings.replace('\n', "\\n")));
    machine.must("rm -f /log; (vfw run --config /vfw.toml /rules.fw >/log 2>&1; echo ended >>/log) &");
    machine.must("until grep -qs 'in force\\|ended' /log; do sleep 0.1; done; cat /log; ! grep -q ended /log");
}

fn interfaces(machine: &mut Machine) -> Vec<Value> {
    let shown: Value = serde_json::from_str(&machine.must("vfw show interfaces --json")).expect("JSON");
    shown["interfaces"].as_array().expect("a list").clone()
}

/// Shows what a machine that forwards nothing makes of the frames.
const STATE: &str = "vfw show interfaces; vfw show drops; ethtool -S eth1; ethtool -S eth2; cat /proc/interrupts /log";

/// Both families; what is not allowed does not pass.
fn passes_what_is_allowed(network: &Network, machine: &mut Machine, mode: &str) {
    for v6 in [false, true] {
        let (app, db) = (network.address("app", v6).to_string(), network.address("db", v6).to_string());
        // A machine without KVM on a busy host may let a host's question for a MAC address wait for longer than the host does.
        let answer =
            in_time(|| network.run("app", &["ping", "-n", "-c", "1", "-W", "10", &db]).status.success().then_some(()));
        assert!(answer.is_some(), "{mode}, {db}: no answer comes\n{}", machine.must(STATE));
        network.must("app", &["ping", "-n", "-c", "5", "-i", "0.05", "-W", "10", &db]);
        let refused = network.run("db", &["ping", "-n", "-c", "1", "-W", "1", &app]);
        assert!(!refused.status.success(), "{mode}: the database may not ping");
    }
}
