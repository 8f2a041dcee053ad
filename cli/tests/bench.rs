//! `vfw bench` as a user runs it. How fast anything is matters to no test.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vfw::bench::report::Figure;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bench.schema.json");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bench.md");

fn vfw(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfw")).args(arguments).output().expect("vfw runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run that succeeds; what it prints.
fn good(arguments: &[&str]) -> String {
    let output = vfw(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", out(&output), err(&output));
    out(&output)
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(SCHEMA).expect("docs/bench.schema.json")).expect("json")
}

/// A document that fits the schema.
fn document(text: &str) -> Value {
    let document: Value = serde_json::from_str(text).expect("json");
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let wrong: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{text}");
    document
}

fn rows(document: &Value) -> &Vec<Value> {
    document["results"].as_array().expect("rows")
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vfw-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PATHS: [&str; 6] = ["direct", "bridge", "routing", "nftables", "vfw-tc", "vfw-xdp"];

#[test]
fn pps_measures_every_path_and_fills_the_page() {
    let folder = Folder::new("pps");
    let page = folder.file("page.html");
    let paths = PATHS.join(",");
    let text = good(&[
        "bench", "pps", "--lab", "--paths", &paths, "--flows", "1,100", "--rounds", "2", "--frames", "1000", "--json",
        "--html", &page,
    ]);
    let document = document(&text);
    assert_eq!(document["test"], "pps");
    let found: Vec<&str> = rows(&document).iter().filter_map(|row| row["path"].as_str()).collect();
    assert_eq!(found, [PATHS, PATHS].concat(), "{:?}", document["notes"]);
    for row in rows(&document) {
        assert_eq!(row["samples"]["mpps"].as_array().map(Vec::len), Some(2));
        assert!(row["mpps"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["net_ns"].is_number(), row["path"] != "direct", "{row}");
        let is_firewall = ["nftables", "vfw-tc", "vfw-xdp"].iter().any(|path| row["path"] == *path);
        assert_eq!(row["established"].as_f64(), is_firewall.then_some(1.0), "{row}");
    }
    check_page(&fs::read_to_string(page).expect("the page"));
}

/// Both plots have a curve for each path with a point for each number of flows, inside of the plot; nothing is fetched.
fn check_page(page: &str) {
    for word in ["<script", "<img", "<link", "@import", "url("] {
        assert!(!page.contains(word), "the page fetches something: {word}");
    }
    let plots: Vec<&str> = page.split("<figure>").skip(1).filter_map(|rest| rest.split("</figure>").next()).collect();
    assert_eq!(plots.len(), 2, "net cost and rate");
    for (plot, paths) in plots.into_iter().zip([PATHS.len() - 1, PATHS.len()]) {
        let circles: Vec<&str> = plot.split("<circle").skip(1).collect();
        assert_eq!(circles.len(), paths * 2, "{plot}");
        for circle in circles {
            let place = |name: &str| {
                let value = circle.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
                value.and_then(|value| value.parse::<i32>().ok()).expect(circle)
            };
            assert!((58..=480).contains(&place("cx")) && (0..=256).contains(&place("cy")), "{circle}");
        }
        assert!(plot.matches("<polyline").count() >= paths, "{plot}");
    }
    for word in ["vfw bench pps --lab", "Kernel", "Offloads, client", "vfw xdp", "nftables v"] {
        assert!(page.contains(word), "the page does not say {word}");
    }
}

#[test]
fn pps_sends_ipv6() {
    let flags = ["--ipv6", "--flows", "100", "--rounds", "1", "--frames", "1000", "--json"];
    let document = document(&good(&[&["bench", "pps", "--lab"], &flags[..]].concat()));
    assert_eq!(document["notes"], Value::Null);
    assert_eq!(rows(&document).len(), 8, "every path");
    for row in rows(&document) {
        assert_eq!((&row["family"], &row["frame_size"]), (&"ipv6".into(), &64.into()), "{row}");
        assert!(row["mpps"].as_f64() > Some(0.0), "{row}");
        let is_firewall = !["direct", "bridge", "routing"].iter().any(|path| row["path"] == *path);
        assert_eq!(row["established"].as_f64(), is_firewall.then_some(1.0), "{row}");
    }
}

#[test]
fn range_rr_and_crr_measure_between_stacks() {
    let short = ["--lab", "--paths", "direct,vfw-tc", "--rounds", "2", "--seconds", "0.1", "--warm-up", "0", "--json"];
    for (test, figures) in [
        (&["range", "--sizes", "100,1000"][..], &["mbps", "cpu_s_per_gbit"][..]),
        (&["rr"], &["transactions", "p50_us", "p90_us", "p99_us", "p999_us"]),
        (&["crr"], &["connections", "p50_us", "p999_us"]),
    ] {
        let folder = Folder::new(test[0]);
        let page = folder.file("page.html");
        let text = good(&[&["bench"], test, &short, &["--html", &page]].concat());
        let document = document(&text);
        assert_eq!((&document["test"], &document["notes"]), (&test[0].into(), &Value::Null), "{text}");
        for path in ["direct", "vfw-tc"] {
            assert!(rows(&document).iter().any(|row| row["path"] == path), "{text}");
        }
        // What has latencies is measured with CPUs that may sleep, and that are kept awake.
        let cpus: BTreeSet<Option<&str>> = rows(&document).iter().map(|row| row["cpus"].as_str()).collect();
        let wanted = if test[0] == "range" { vec![None] } else { vec![Some("awake"), Some("may-sleep")] };
        assert_eq!(cpus.into_iter().collect::<Vec<_>>(), wanted, "{text}");
        for row in rows(&document) {
            for figure in figures {
                assert_eq!(row["samples"][figure].as_array().map(Vec::len), Some(2), "{figure}: {row}");
            }
        }
        let page = fs::read_to_string(&page).expect("the page");
        assert!(page.contains("<polyline"), "a curve by size, or of latencies");
    }
}

#[test]
fn flows_are_held_up_to_the_limit() {
    let text = good(&[
        "bench",
        "flows",
        "--lab",
        "--paths",
        "nftables,vfw-tc,vfw-xdp",
        "--flows",
        "500,3000",
        "--limit",
        "2000",
        "--rounds",
        "1",
        "--json",
    ]);
    let document = document(&text);
    assert_eq!(rows(&document).len(), 6);
    for row in rows(&document) {
        let offered = row["flows"].as_f64().expect("a number");
        let most = if row["path"] == "nftables" { offered } else { offered.min(2000.0) };
        let held = row["held"].as_f64().expect("a number");
        // A busy machine loses frames.
        assert!((most / 2.0..=most).contains(&held), "{row}");
        assert!(row["new_flows"].as_f64() > Some(0.0), "{row}");
    }
}

#[test]
fn a_share_of_the_rate_is_held() {
    let hold = ["--flows", "10", "--rounds", "1", "--frames", "20000", "--hold", "1", "--load", "5", "--json"];
    let document = document(&good(&[&["bench", "pps", "--lab", "--paths", "vfw-xdp"], &hold[..]].concat()));
    let rows: Vec<&Value> = rows(&document).iter().filter(|row| row["path"] == "vfw-xdp").collect();
    let [full, held] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((&full["load_percent"], &held["load_percent"]), (&Value::Null, &5.into()));
    let share = held["mpps"].as_f64().expect("a rate") / full["mpps"].as_f64().expect("a rate");
    // A busy machine makes up for nothing.
    assert!(share < 0.06 && held["loss"].as_f64() < Some(0.5), "{rows:?}");
}

#[test]
fn rules_are_walked_for_first_packets() {
    let csv = good(&[
        "bench",
        "rules",
        "--lab",
        "--paths",
        "nftables,vfw-xdp",
        "--rules",
        "10,2000",
        "--rounds",
        "1",
        "--frames",
        "1000",
        "--csv",
    ]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0][..4], ["path", "rules", "frame_size", "traffic"]);
    let loss = lines[0].iter().position(|name| *name == "loss").expect("loss");
    assert_eq!(lines.len(), 1 + 2 * 2 * 3, "two kinds of traffic, two numbers of rules, direct and two paths:\n{csv}");
    for line in &lines[1..] {
        // A busy machine loses frames.
        let lost: f64 = line[loss].parse().expect("a number");
        assert!(lost < 0.5, "what the last rule allows arrives: {line:?}");
    }
}

#[test]
fn floods_are_measured_beside_their_absence() {
    let text =
        good(&["bench", "flood", "--lab", "--paths", "nftables,vfw-tc", "--rounds", "1", "--rate", "20000", "--json"]);
    let document = document(&text);
    let found: Vec<(&str, &str)> =
        rows(&document).iter().filter_map(|row| Some((row["flood"].as_str()?, row["path"].as_str()?))).collect();
    let paths = |flood| [(flood, "nftables"), (flood, "vfw-tc")];
    assert_eq!(found, [paths("dead-end"), paths("denied"), paths("syn")].concat());
    for row in rows(&document) {
        assert!(row["transactions"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["kept"].is_number(), row["flood"] != "dead-end", "{row}");
        // Into the dead end as well: that is what makes both comparable.
        assert!(row["flood_mpps"].as_f64() > Some(0.001), "{row}");
        assert!(row["survived"].as_f64() > Some(0.9), "{row}");
    }
}

#[test]
fn a_signal_ends_a_run_and_leaves_nothing() {
    let run = ["bench", "pps", "--lab", "--paths", "vfw-tc", "--flows", "1", "--rounds", "1000", "--frames", "1000"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfw"));
    let mut child = command.args(run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("vfw runs");
    let own = format!("vfw-bench-{}-", child.id());
    let is_pinned = || {
        let entries = fs::read_dir("/sys/fs/bpf").expect("bpffs").flatten();
        entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(&own))
    };
    while !is_pinned() {
        assert!(child.try_wait().expect("a child").is_none(), "it has ended before it began");
        thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("a signal");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("ended by a signal"), "{}", err(&output));
    assert!(!is_pinned());
}

#[test]
fn reports_are_compared_and_put_together() {
    let folder = Folder::new("compare");
    let report = |name: &str, nanos: [f64; 5]| {
        let path = folder.file(name);
        let samples: Vec<f64> = nanos.to_vec();
        let row =
            serde_json::json!({ "path": "vfw-xdp", "flows": 1, "net_ns": nanos[2], "samples": { "net_ns": samples } });
        let document = serde_json::json!({
            "format": "vfw-bench", "version": 1, "command": "vfw bench pps --lab", "started": "2026-01-01T00:00:00Z",
            "vfw": "0.1.0", "test": "pps", "rounds": 5, "results": [row],
            "machine": { "processor": "A", "cpus": 2, "memory_mib": 1, "kernel": "6", "mitigations": [], "load": 0.0 },
        });
        document_fits(&document);
        fs::write(&path, document.to_string()).expect("a file");
        path
    };
    let old = report("old.json", [200.0, 201.0, 202.0, 203.0, 204.0]);
    let new = report("new.json", [300.0, 301.0, 302.0, 303.0, 304.0]);
    let slower = vfw(&["bench", "compare", &old, &new]);
    assert_eq!(slower.status.code(), Some(1), "{}", err(&slower));
    assert!(out(&slower).contains("slower") && out(&slower).contains("+49.5%"), "{}", out(&slower));
    assert!(out(&slower).lines().all(|line| line.chars().count() <= 80), "{}", out(&slower));
    assert!(good(&["bench", "compare", &new, &old]).contains("1 faster"));
    assert!(good(&["bench", "compare", &old, &old]).contains("1 within noise"));
    let page = folder.file("page.html");
    good(&["bench", "report", &old, &new, "--html", &page, "--svg", &folder.0.display().to_string()]);
    let picture = fs::read_to_string(folder.file("pps-net-cost.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("vfw xdp"), "{picture}");
    let page = fs::read_to_string(page).expect("the page");
    assert_eq!(page.matches("<h2>Smallest frames</h2>").count(), 2);
}

fn document_fits(value: &Value) {
    document(&value.to_string());
}

#[test]
fn bad_input_says_what_would_be_good() {
    let folder = Folder::new("bad");
    let (other, newer) = (folder.file("other.json"), folder.file("newer.json"));
    fs::write(&other, "{}").expect("a file");
    let document = r#"{"format":"vfw-bench","version":2,"command":"","started":"","vfw":"","test":"pps","rounds":1,
        "machine":{"processor":"","cpus":1,"memory_mib":1,"kernel":"","mitigations":[],"load":0},"results":[]}"#;
    fs::write(&newer, document).expect("a file");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["bench", "pps"], 1, "--lab"),
        (&["bench", "pps", "--lab", "--paths", "vfw-xpd"], 1, "vfw-xdp"),
        (&["bench", "pps", "--lab", "--cpu", "4096"], 1, "there is no CPU 4096"),
        (&["bench", "flows", "--lab", "--paths", "bridge"], 1, "nftables, iptables, vfw-tc"),
        (&["bench", "compare", &other, &other], 1, "is no report of `vfw bench ... --json`"),
        (&["bench", "compare", &newer, &newer], 1, "this vfw reads version 1"),
        (&["bench", "report", "/nonexistent.json", "--html", "/nonexistent/page"], 2, "cannot read"),
    ];
    for (arguments, code, said) in cases {
        let output = vfw(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn schema_and_page_name_every_figure() {
    let schema = schema();
    let row = &schema["properties"]["results"]["items"]["properties"];
    let known: BTreeSet<&str> = Figure::ALL.into_iter().map(Figure::name).collect();
    let samples = row["samples"]["propertyNames"]["enum"].as_array().expect("names");
    assert_eq!(samples.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), known);
    let page = fs::read_to_string(PAGE).expect("docs/bench.md");
    for name in known {
        assert_eq!(row[name]["type"], "number", "{name}");
        assert!(page.contains(&format!("| `{name}` |")), "docs/bench.md does not name {name}");
    }
}
