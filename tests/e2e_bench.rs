//! `vfw bench` between two hosts, with the real command on both, through a firewall; against a real iperf3; and in a lab.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use vfw_tests::network::{Network, Process, Shape, finish, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");

const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db  service tcp 5201-5299
allow app -> db  service udp 5201-5299
";
const SHORT: [&str; 6] = ["--seconds", "0.1", "--warm-up", "0.05", "--rounds", "2"];
const PATHS: [&str; 8] = ["direct", "bridge", "routing", "nftables", "iptables", "vfw-tc", "vfw-xdp", "vfw-afxdp"];
/// A run of a lab builds eight paths and loads vfw three times, in a debug build, beside other tests.
const PATIENCE: Duration = Duration::from_secs(180);

/// A token file that only its owner can read.
fn token(network: &Network, name: &str, text: &str) -> String {
    let path = network.folder().join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
    path.to_str().expect("UTF-8").to_owned()
}

/// Starts a server of the database's host and waits until it listens.
fn serve(network: &Network, command: &[&str], port: u16) -> Process {
    let mut server = network.start("db", command);
    until(&format!("{command:?} listens"), || {
        assert!(server.is_running(), "{command:?} has ended");
        let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
        let tables = network.within("db", || tables.map(|path| fs::read_to_string(path).unwrap_or_default()));
        let listens = |line: &str| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A ");
        tables.iter().any(|table| table.lines().any(listens)).then_some(())
    });
    server
}

fn bench(network: &Network, arguments: &[&str], more: &[&str]) -> Output {
    let command = [&[PROGRAM, "bench"], arguments, more].concat();
    finish(network.start("app", &command), PATIENCE)
}

/// What a run prints that has to succeed.
fn document(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&document["format"], &document["version"]), (&"vfw-bench".into(), &1.into()));
    document
}

fn rows(document: &Value) -> &[Value] {
    document["results"].as_array().expect("rows")
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[test]
fn two_hosts_measure_through_a_firewall() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"tc\"");
    let token = token(&network, "token", "a token of the end-to-end tests\n");
    let _server = serve(&network, &[PROGRAM, "bench", "server", "--token-file", &token], 5211);
    for to in ["10.0.20.7", "[fd00:20::7]:5211"] {
        let flags = [&["--to", to, "--token-file", &token, "--json"], &SHORT[..]].concat();
        let range = document(&bench(&network, &["range", "--sizes", "64,65536"], &flags));
        assert_eq!(range["test"], "range");
        let found: Vec<_> = rows(&range).iter().map(|row| (row["protocol"].as_str(), row["size"].as_u64())).collect();
        let (tcp, udp) = (Some("tcp"), Some("udp"));
        assert_eq!(found, [(tcp, Some(64)), (tcp, Some(65_536)), (udp, Some(64)), (udp, Some(65_507))], "{range}");
        for row in rows(&range) {
            assert_eq!((&row["path"], row["samples"]["mbps"].as_array().map(Vec::len)), (&"network".into(), Some(2)));
            assert!(number(row, "mbps") > 0.0 && number(row, "cpu_s_per_gbit") >= 0.0, "{row}");
            let is_tcp = row["protocol"] == "tcp";
            assert_eq!((row["retransmits"].is_number(), row["loss"].is_number()), (is_tcp, !is_tcp), "{row}");
        }
        let rr = document(&bench(&network, &["rr"], &flags));
        assert_eq!(rows(&rr).len(), 2);
        for row in rows(&rr) {
            let latencies = ["p50_us", "p90_us", "p99_us", "p999_us"].map(|name| number(row, name));
            assert!(latencies.is_sorted() && number(row, "transactions") > 10.0, "{row}");
            assert!(row["cdf_us"].as_array().is_some_and(|points| points.len() > 50), "{row}");
        }
        let crr = document(&bench(&network, &["crr"], &flags));
        assert!(number(&rows(&crr)[0], "connections") > 10.0 && number(&rows(&crr)[0], "loss") == 0.0, "{crr}");
    }
    let flows = firewall.show("flows");
    let seen = |port: u64, protocol: &str| {
        let list = flows.as_array().expect("flows");
        list.iter().any(|flow| flow["to"]["port"] == port && flow["protocol"] == protocol)
    };
    assert!(seen(5211, "tcp") && seen(5212, "tcp") && seen(5212, "udp"), "the data went another way");
}

#[test]
fn a_lab_and_a_client_keep_to_ipv6() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"tc\"");
    let lab = [&["--lab", "--ipv6", "--json"], &SHORT[..]].concat();
    for test in [&["range", "--sizes", "1024"][..], &["rr", "--cpus", "awake"], &["crr", "--cpus", "may-sleep"]] {
        let found = document(&bench(&network, test, &lab));
        assert_eq!(found["notes"], Value::Null, "{test:?}: {}", found["notes"]);
        for path in PATHS {
            let mut of_path = rows(&found).iter().filter(|row| row["path"] == path).peekable();
            assert!(
                of_path.peek().is_some() && of_path.all(|row| row["family"] == "ipv6"),
                "{test:?}: {path} in {found}"
            );
        }
    }
    let token = token(&network, "token", "a token of the end-to-end tests\n");
    let _server = serve(&network, &[PROGRAM, "bench", "server", "--token-file", &token], 5211);
    let rr = |to: &str| bench(&network, &["rr", "--ipv6", "--to", to, "--token-file", &token, "--json"], &SHORT);
    let found = document(&rr("fd00:20::7"));
    assert!(rows(&found).iter().all(|row| row["path"] == "network" && row["family"] == "ipv6"), "{found}");
    let flows = firewall.show("flows");
    let to = |address: &str| flows.as_array().expect("flows").iter().any(|flow| flow["to"]["address"] == address);
    assert!(to("fd00:20::7") && !to("10.0.20.7"), "{flows}");
    let refused = rr("10.0.20.7");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), error.contains("it has no IPv6 address")), (Some(1), true), "{error}");
}

#[test]
fn a_client_without_the_token_learns_nothing_but_why() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let _firewall = network.firewall("mode = \"tc\"");
    let right = token(&network, "right", "the token of the server");
    let wrong = token(&network, "wrong", "another token, a wrong one");
    let nobody = bench(&network, &["rr", "--to", "10.0.20.7", "--token-file", &right], &SHORT);
    assert_eq!(nobody.status.code(), Some(2));
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("10.0.20.7:5211") && said.contains("start `vfw bench server` there"), "{said}");
    let _server = serve(&network, &[PROGRAM, "bench", "server", "--listen", "10.0.20.7", "--token-file", &right], 5211);
    let refused = bench(&network, &["rr", "--to", "10.0.20.7", "--token-file", &wrong], &SHORT);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the token is not the server's"), "{said}");
    let long = bench(&network, &["rr", "--to", "10.0.20.7", "--token-file", &right, "--seconds", "70"], &[]);
    let said = String::from_utf8_lossy(&long.stderr).into_owned();
    assert!(!long.status.success() && said.contains("up to 60 s") && said.contains("--max-seconds"), "{said}");
}

#[test]
fn bad_commands_say_what_is_wrong() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let open = token(&network, "open", "a token that others can read");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).expect("set");
    for (arguments, said) in [
        (&["range"][..], "--lab"),
        (&["range", "--lab", "--to", "host"], "cannot be used with"),
        (&["range", "--lab", "--iperf3", "host"], "cannot be used with"),
        (&["rr", "--to", "host"], "--token-file"),
        (&["rr", "--to", "10.0.20.7:x", "--token-file", "token"], "token"),
        (&["range", "--iperf3", "host:port:1"], "`host:port:1`"),
        (&["range", "--lab", "--sizes", "0"], "0 is not in 1.."),
        (&["rr", "--to", "host", "--token-file", "token", "--cpus", "awake"], "cannot be used with"),
        (&["crr", "--to", "host", "--token-file", "token", "--paths", "vfw-tc"], "cannot be used with"),
        (&["range", "--iperf3", "host", "--paths", "vfw-tc"], "cannot be used with"),
        (&["range", "--lab", "--seconds", "0"], "from 0.05 to 3600"),
        (&["server", "--token-file", "/nowhere"], "head -c 32 /dev/urandom"),
        (&["server", "--token-file", &open], "chmod 600"),
    ] {
        let output = bench(&network, arguments, &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.contains(said)), (Some(1), true), "{arguments:?}: {error}");
    }
}

/// Runs against an iperf3 server that serves once; returns its own report and our row.
fn against_iperf3(network: &Network, warm_up: &str, arguments: &[&str]) -> (Value, Value) {
    let server = serve(network, &["iperf3", "--server", "--one-off", "--json"], 5201);
    let flags = ["range", "--iperf3", "10.0.20.7", "--json", "--rounds", "1", "--seconds", "1", "--warm-up", warm_up];
    let ours = document(&bench(network, &flags, arguments));
    let report = finish(server, Duration::from_secs(20));
    (serde_json::from_slice(&report.stdout).expect("the JSON of iperf3"), rows(&ours)[0].clone())
}

#[test]
fn iperf3_sees_what_we_report() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let _firewall = network.firewall("mode = \"tc\"");
    let (theirs, ours) = against_iperf3(&network, "0.5", &["--protocols", "tcp", "--sizes", "65536"]);
    let mbps = theirs["end"]["sum_received"]["bits_per_second"].as_f64().expect("a rate") / 1e6;
    assert!((number(&ours, "mbps") / mbps - 1.0).abs() < 0.02, "{mbps}: {ours}");
    assert_eq!(theirs["start"]["test_start"]["omit"], 1, "the warm-up is theirs too");
    assert!(ours["retransmits"].is_number() && ours["loss"].is_null(), "{ours}");
    // Without a warm-up: iperf3 leaves it out of the loss, and 3.12 does not tell its client how.
    let (theirs, ours) = against_iperf3(&network, "0", &["--protocols", "udp", "--sizes", "1000"]);
    let sum = &theirs["end"]["sum"];
    let (lost, packets) = (sum["lost_packets"].as_f64().expect("a number"), sum["packets"].as_f64().expect("a number"));
    assert!(packets > 100.0 && (number(&ours, "loss") - lost / packets).abs() < 0.02, "{sum}: {ours}");
    assert!(number(&ours, "mbps") > 0.0 && ours["retransmits"].is_null(), "{ours}");
}

#[test]
fn iperf3_is_measured_again_and_again() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let _firewall = network.firewall("mode = \"tc\"");
    let _server = serve(&network, &["iperf3", "--server"], 5201);
    let flags = ["range", "--iperf3", "[fd00:20::7]", "--json", "--rounds", "2", "--seconds", "1", "--warm-up", "0"];
    let found = document(&bench(&network, &flags, &["--sizes", "1,1000"]));
    let found: Vec<_> = rows(&found).iter().map(|row| (row["protocol"].as_str(), row["size"].as_u64())).collect();
    // A datagram of iperf3 has 16 bytes at least.
    assert_eq!(found, [(Some("tcp"), Some(1)), (Some("tcp"), Some(1000)), (Some("udp"), Some(1000))]);
}

#[test]
fn a_lab_compares_all_paths() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let page = network.folder().join("page.html");
    let flags = [&["--lab", "--json", "--html", page.to_str().expect("UTF-8")], &SHORT[..]].concat();
    for (arguments, figure) in [
        (&["range", "--sizes", "1024"][..], "mbps"),
        (&["rr", "--protocols", "tcp"], "transactions"),
        (&["crr"], "connections"),
    ] {
        let found = document(&bench(&network, arguments, &flags));
        assert_eq!(found["notes"], Value::Null, "{arguments:?}: {}", found["notes"]);
        for path in PATHS {
            let of_path: Vec<&Value> = rows(&found).iter().filter(|row| row["path"] == path).collect();
            assert!(!of_path.is_empty(), "{path} is missing in {found}");
            for row in of_path {
                assert!(number(row, figure) > 0.0, "{row}");
                assert_eq!(row["samples"][figure].as_array().map(Vec::len), Some(2), "{row}");
            }
        }
        assert!(fs::read_to_string(&page).is_ok_and(|page| page.contains("vfw afxdp")));
    }
}
