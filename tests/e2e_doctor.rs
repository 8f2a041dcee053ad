//! `vfw doctor` on real interfaces: hazards are found, the commands that it prints mend them, `--fix` makes safe changes and can be
//! undone.

use nix::sys::signal::Signal;
use serde_json::Value;
use vfw_tests::network::{Network, Shape};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default allow
";
const CONFIG: [&str; 2] = ["--config", "vfw.toml"];

/// A network whose settings ask for a hook; no vfw runs in it.
fn network(hook: &str) -> Option<Network> {
    let network = Shape::new(PROGRAM, RULES).up()?;
    network.write_settings(&format!("mode = \"{hook}\""));
    Some(network)
}

/// Runs `vfw doctor`; the exit code and what it prints. The programs are not tried: one test does that.
fn text(network: &Network, arguments: &[&str]) -> (Option<i32>, String) {
    let output = network.vfw_run(&[&["doctor", "--quick"], &CONFIG[..], arguments].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

/// The same as data.
fn doctor(network: &Network, arguments: &[&str]) -> Value {
    let (_, said) = text(network, &[arguments, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What the check says of an interface, above `ok`.
fn findings(report: &Value, interface: &str, check: &str) -> Vec<Value> {
    let all = report["findings"].as_array().expect("a list").iter();
    let here = all.filter(|one| one["interface"] == interface && one["check"] == check && one["severity"] != "ok");
    here.cloned().collect()
}

fn commands(finding: &Value) -> Vec<String> {
    let remedies = finding["remedies"].as_array().expect("a list").iter();
    remedies.map(|remedy| remedy["command"].as_str().expect("a text").to_owned()).collect()
}

/// Undoes all that `--fix` has done, what concerns the machine included.
fn undo(network: &Network, report: &Value) {
    for fix in report["fixes"].as_array().expect("a list") {
        let undo = fix["made"]["undo"].as_str().unwrap_or_else(|| panic!("{fix}"));
        network.must("fw", &["sh", "-c", undo]);
    }
}

fn setting(network: &Network, file: &str) -> String {
    network.must("fw", &["cat", &format!("/proc/sys/net/{file}")]).trim().to_owned()
}

fn has_offload(network: &Network, place: &str, interface: &str, line: &str) -> bool {
    network.must(place, &["ethtool", "-k", interface]).lines().any(|told| told.trim() == line)
}

#[test]
fn the_command_for_the_other_end_of_a_veth_mends_it() {
    let Some(network) = network("xdp") else { return };
    network.must("app", &["ethtool", "-K", "eth0", "gro", "off"]);
    let report = doctor(&network, &["rules.fw"]);
    let hazards = findings(&report, "eth1", "hazards");
    let polls = hazards.iter().find(|one| one["severity"] == "error").unwrap_or_else(|| panic!("{report:#}"));
    let command = &commands(polls)[0];
    assert_eq!(polls["remedies"][0]["place"], "peer");
    assert!(command.starts_with("ip netns exec ") && command.ends_with(" ethtool -K eth0 gro on"), "{command}");
    let is_polled = |report: &Value| findings(report, "eth1", "hazards").iter().all(|one| one["severity"] != "error");
    assert!(findings(&report, "eth2", "hazards").iter().all(|one| one["severity"] != "error"), "the lab has it on");
    network.must("fw", &["sh", "-c", command]);
    assert!(is_polled(&doctor(&network, &["rules.fw"])));
}

#[test]
fn a_fix_is_told_made_and_undone() {
    let Some(network) = network("tc") else { return };
    network.set("fw", "ipv4/conf/eth1/forwarding", "1");
    network.must("fw", &["ethtool", "-K", "eth1", "tso", "off"]);
    let is_whole = || has_offload(&network, "fw", "eth1", "tx-tcp-segmentation: on");
    assert!(!is_whole());

    let (code, said) = text(&network, &["rules.fw", "--fix", "--dry-run"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("would      sysctl -w net.ipv4.conf.eth1.forwarding=0\n"), "{said}");
    assert!(said.contains("would      ethtool -K eth1 tx-tcp-segmentation on\n"), "{said}");
    assert_eq!((setting(&network, "ipv4/conf/eth1/forwarding").as_str(), is_whole()), ("1", false), "a dry run");

    let report = doctor(&network, &["rules.fw", "--fix"]);
    assert_eq!((setting(&network, "ipv4/conf/eth1/forwarding").as_str(), is_whole()), ("0", true));
    assert!(findings(&report, "eth1", "forwarding").is_empty() && findings(&report, "eth1", "segmentation").is_empty());
    undo(&network, &report);
    assert_eq!((setting(&network, "ipv4/conf/eth1/forwarding").as_str(), is_whole()), ("1", false), "undone");

    // What is printed does the same when it is pasted.
    let report = doctor(&network, &["rules.fw"]);
    for check in ["forwarding", "segmentation"] {
        for command in findings(&report, "eth1", check).iter().flat_map(commands) {
            network.must("fw", &["sh", "-c", &command]);
        }
    }
    assert_eq!((setting(&network, "ipv4/conf/eth1/forwarding").as_str(), is_whole()), ("0", true));
}

#[test]
fn the_other_end_is_changed_only_where_it_is_here() {
    let Some(network) = network("xdp") else { return };
    network.ip_batch(&[
        "link add x0 type veth peer name x1 mtu 1400".into(),
        "link set x0 up".into(),
        "link set x1 up".into(),
    ]);
    let one = ["--interface", "x0"];
    assert_eq!(commands(&findings(&doctor(&network, &one), "x0", "hazards")[0]), ["ethtool -K x1 gro on"]);
    assert_eq!(commands(&findings(&doctor(&network, &one), "x0", "mtu")[0]), ["ip link set dev x1 mtu 1500"]);
    let is_on = || has_offload(&network, "fw", "x1", "generic-receive-offload: on");
    let fixed = doctor(&network, &["--interface", "x0", "--fix"]);
    assert!(is_on(), "{fixed:#}");
    undo(&network, &fixed);
    assert!(!is_on(), "{fixed:#}");
    network.must("fw", &["sh", "-c", "ethtool -K x1 gro on"]);
    network.must("fw", &["ip", "link", "set", "dev", "x1", "mtu", "1500"]);
    let report = doctor(&network, &one);
    assert!(
        findings(&report, "x0", "mtu").is_empty()
            && findings(&report, "x0", "hazards").iter().all(|one| one["severity"] != "error")
    );
}

#[test]
fn the_running_vfw_is_asked() {
    for hook in ["tc", "xdp", "afxdp"] {
        let Some(network) = network(hook) else { return };
        let firewall = network.firewall(&format!("mode = \"{hook}\""));
        // Its own interfaces, without rule files.
        let report = doctor(&network, &[]);
        let interfaces = report["facts"]["interfaces"].as_array().expect("a list");
        let names: Vec<&Value> = interfaces.iter().map(|one| &one["interface"]["name"]).collect();
        assert_eq!(names, ["eth1", "eth2"], "{report:#}");
        assert_eq!((&interfaces[0]["running"]["hook"], &report["facts"]["vfw_runs"]), (&hook.into(), &true.into()));
        assert!(
            findings(&report, "eth1", "in-use").is_empty() && findings(&report, "eth1", "own").is_empty(),
            "{report:#}"
        );
        let (_, said) = text(&network, &[]);
        let frames = if hook == "afxdp" { ", frames by copy" } else { "" };
        assert!(said.contains(&format!("  hook     {hook} in use{frames}\n")), "{said}");

        // A daemon that is killed leaves its programs there.
        assert_eq!(firewall.stop(Signal::SIGKILL).code(), None);
        let left = findings(&doctor(&network, &["rules.fw"]), "eth1", "in-use");
        assert!(left[0]["reason"].to_string().contains("no vfw runs"), "{hook}: {left:?}");
    }
}

#[test]
fn mtus_of_zones_are_compared() {
    let Some(network) = network("tc") else { return };
    network.must("fw", &["ip", "link", "set", "dev", "eth2", "mtu", "1400"]);
    let found = findings(&doctor(&network, &["rules.fw"]), "eth2", "mtu");
    assert_eq!(commands(&found[0]), ["ip link set dev eth2 mtu 1500", "ip link set dev eth1 mtu 1400"]);
    network.must("fw", &["sh", "-c", &commands(&found[0])[0]]);
    assert!(findings(&doctor(&network, &["rules.fw"]), "eth2", "mtu").is_empty());
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let Some(network) = network("auto") else { return };
    network.must("fw", &["ip", "link", "delete", "eth2"]);
    let (code, said) = text(&network, &["rules.fw"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("ERROR    missing: there is no interface `eth2`; there are: eth1\n"), "{said}");
    let output = network.vfw_run(&[&["doctor", "--json", "rules.fw"], &CONFIG[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["format"], &report["version"]), (&"vfw-doctor".into(), &1.into()));
    assert!(report["facts"]["machine"]["programs"]["can"] == true, "{report:#}");
    std::fs::write(network.folder().join("rules.fw"), "zone {").expect("a file");
    assert_eq!(text(&network, &["rules.fw"]).0, Some(1));
    assert_eq!(text(&network, &["--dry-run"]).0, Some(1), "it needs --fix");
    assert_eq!(text(&network, &["nothing.fw"]).0, Some(2));
}

#[test]
fn the_text_fits_80_columns() {
    let Some(network) = network("xdp") else { return };
    let (_, said) = text(&network, &["rules.fw", "--all"]);
    let long: Vec<&str> = said.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}
