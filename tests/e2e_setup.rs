//! `vfw setup` at a terminal: a whole session whose rules forward, wrong answers, Ctrl-C, and no terminal at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vfw_tests::network::{Network, PATIENCE, Process, Shape};
use vfw_tests::terminal::{self, Line};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");

/// What the network is made for; the wizard has to find out by itself.
const RULES: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
";

/// A network without rules, whose firewall has a bridge for management, an interface that carries another, and one by which
/// somebody is logged in.
fn network() -> Option<Network> {
    let network = Shape::new(PROGRAM, RULES).up()?;
    fs::remove_file(network.folder().join("rules.fw")).expect("the rules go");
    let lines = [
        "link add bridge0 type bridge",
        "link add port0 type veth peer name far0",
        "link set port0 master bridge0 up",
        "address add 192.0.2.2/24 dev bridge0",
        "address add 198.51.100.1/24 dev far0",
        "link set bridge0 up",
        "link set far0 up",
        "link add low0 type veth peer name high0",
        "link add link low0 name upper0 type macvlan",
        "address add 203.0.113.1/24 dev upper0",
        "route add default via 192.0.2.1 dev bridge0",
    ];
    network.ip_batch(&lines.map(str::to_owned));
    Some(network)
}

fn start(network: &Network, folder: &Path, more: &[&str]) -> (Line, Process) {
    let session = "SSH_CONNECTION=198.51.100.9 50000 198.51.100.1 22";
    let folder = folder.to_str().expect("UTF-8");
    let command = [&["env", session, PROGRAM, "setup", "--folder", folder], more].concat();
    terminal::start(network, "fw", &command, PATIENCE)
}

/// Waits for the end; returns the exit code.
fn end(mut process: Process) -> i32 {
    process.wait(PATIENCE).expect("it ends").code().expect("by itself")
}

fn zone(line: &mut Line, number: u32, [name, interface, vlan, addresses]: [&str; 4]) {
    line.answer(&format!("Zone {number}, name"), name);
    line.answer("interface [", interface);
    line.answer("VLAN (empty", vlan);
    line.answer("addresses of vfw", addresses);
}

fn two_zones(line: &mut Line) {
    zone(line, 1, ["app", "", "10", "10.0.10.1/24, fd00:10::1/64"]);
    zone(line, 2, ["db", "", "20", "10.0.20.1/24, fd00:20::1/64"]);
    line.answer("Zone 3, name", "");
    line.answer("Router to everything else", "");
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    let text = |entry: &fs::DirEntry| fs::read_to_string(entry.path()).expect("text");
    entries.map(|entry| (entry.file_name().into_string().expect("UTF-8"), text(&entry))).collect()
}

fn pings(network: &Network, from: &str, to: &str, v6: bool) -> bool {
    let to = network.address(to, v6).to_string();
    network.run(from, &["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", &to]).status.success()
}

#[test]
fn a_session_ends_in_rules_that_forward() {
    let Some(network) = network() else { return };
    let folder = network.folder().join("new/vfw");
    let (mut line, process) = start(&network, &folder, &["--first"]);
    let shown = line.expect("Zones:");
    for (name, reason) in [
        ("bridge0", "management: the default route leads there"),
        ("far0", "management: you are logged in there"),
        ("upper0", "the kernel has 203.0.113.1/24 there"),
        ("low0", "carries upper0"),
        ("port0", "port of a bridge"),
    ] {
        let line = shown.lines().find(|line| line.trim_start().starts_with(name)).expect("a line");
        assert!(line.contains(reason), "{line}");
    }
    two_zones(&mut line);
    line.answer("app -> db", "ping, tcp 8080");
    line.answer("db -> app", "");
    let shown = line.expect("Write both files?");
    for part in ["allow app -> db  service ping, tcp 8080", "mode = \"auto\"", "zones    2", "ok\r\n"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(!folder.exists(), "nothing is written before the answer");
    line.send("yes\r");
    let next = line.expect("next: vfw run --config");
    assert!(next.contains("written: ") && !next.contains("what was there"), "{next}");
    assert_eq!(end(process), 0);

    assert_eq!(files(&folder).keys().collect::<Vec<_>>(), ["rules.fw", "vfw.toml"]);
    fs::copy(folder.join("rules.fw"), network.folder().join("rules.fw")).expect("a copy");
    let settings = folder.join("vfw.toml");
    let check = network.vfw_run(&["check", "--config", settings.to_str().expect("UTF-8"), "rules.fw"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let _firewall = network.firewall(&fs::read_to_string(&settings).expect("the settings"));
    for v6 in [false, true] {
        assert!(pings(&network, "app", "db", v6), "allowed; IPv6: {v6}");
        assert!(!pings(&network, "db", "app", v6), "not allowed; IPv6: {v6}");
    }

    let (mut line, process) = start(&network, &folder, &["--first"]);
    line.expect("there are rules already");
    assert_eq!(end(process), 1);
}

/// A folder with rules and settings that are there already.
fn configured(network: &Network, settings: &str) -> PathBuf {
    let folder = network.folder().join("vfw");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("rules.fw"), "default drop\n").expect("rules");
    fs::write(folder.join("vfw.toml"), settings).expect("settings");
    folder
}

#[test]
fn wrong_answers_are_told_and_asked_again() {
    let Some(network) = network() else { return };
    let folder = configured(&network, "mode = \"fast\"\n");
    let (mut line, process) = start(&network, &folder, &["--management", "eth2"]);
    let wrong = |line: &mut Line, question: &str, answer: &str, error: &str| {
        line.answer(question, answer);
        line.expect(error);
    };
    wrong(&mut line, "Zone 1, name", "", "expected a zone name");
    wrong(&mut line, "Zone 1, name", "zone", "has a fixed meaning");
    line.answer("Zone 1, name", "app");
    wrong(&mut line, "interface [", "bridge0", "cannot be had (management");
    wrong(&mut line, "interface [", "eth2", "cannot be had (management, as you say)");
    wrong(&mut line, "interface [", "eth9", "there is no interface `eth9`");
    line.answer("interface [", "eth1");
    wrong(&mut line, "VLAN (empty", "4095", "4094");
    line.answer("VLAN (empty", "10");
    wrong(&mut line, "addresses of vfw", "10.0.10.1", "10.0.10.1/24");
    line.answer("addresses of vfw", "10.0.10.1/24");
    wrong(&mut line, "Zone 2, name", "app", "app");
    // A trunk: two zones of one interface.
    line.answer("Zone 2, name", "db");
    line.answer("interface [", "eth1");
    wrong(&mut line, "VLAN (empty", "10", "two zones take VLAN 10");
    line.answer("VLAN (empty", "20");
    wrong(&mut line, "addresses of vfw", "10.0.10.9/16", "overlaps");
    line.answer("addresses of vfw", "10.0.20.1/24");
    line.answer("Zone 3, name", "");
    wrong(&mut line, "Router to everything else", "10.9.9.9", "not in a subnet");
    line.answer("Router to everything else", "10.0.20.254");
    wrong(&mut line, "app -> db", "?", "postgres");
    wrong(&mut line, "app -> db", "postgre", "did you mean `postgres`?");
    line.answer("app -> db", "postgres");
    line.answer("db -> app", "any");
    line.expect("The settings that are there are replaced");
    wrong(&mut line, "Write both files?", "y", "answer `yes` or `no`");
    line.answer("Write both files?", "yes");
    line.expect("rules.fw.before");
    line.expect("vfw.toml.before");
    assert_eq!(end(process), 0);
    let files = files(&folder);
    assert_eq!(files["rules.fw.before"], "default drop\n");
    assert_eq!(files["vfw.toml.before"], "mode = \"fast\"\n");
    assert!(files["rules.fw"].ends_with("default drop\nallow app -> db  service postgres\nallow db -> app\n"));
}

#[test]
fn ctrl_c_and_no_leave_everything_as_it_was() {
    let Some(network) = network() else { return };
    let folder = configured(&network, "mode = \"tc\"\n");
    let before = files(&folder);
    let early: fn(&mut Line) = |line| {
        line.answer("Zone 1, name", "app");
        line.expect("interface [");
        line.insist("\x03", "nothing was changed");
    };
    let late: fn(&mut Line) = |line| {
        two_zones(line);
        line.answer("app -> db", "any");
        line.answer("db -> app", "");
        // Good settings stay.
        line.expect("mode = \"tc\"");
        line.expect("Write both files?");
        line.insist("\x03", "nothing was changed");
    };
    let refused: fn(&mut Line) = |line| {
        two_zones(line);
        line.answer("app -> db", "any");
        line.answer("db -> app", "");
        line.answer("Write both files?", "no");
        line.expect("nothing was changed");
    };
    for session in [early, late, refused] {
        let (mut line, process) = start(&network, &folder, &[]);
        session(&mut line);
        assert_eq!(end(process), 1);
        assert_eq!(files(&folder), before);
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let Some(network) = network() else { return };
    let output = network.vfw_run(&["setup"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("no terminal") && error.contains("vfw check rules.fw"), "{error}");
}
