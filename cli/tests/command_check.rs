//! `vfw check` as a user runs it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn vfw(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vfw")).args(arguments).output().expect("vfw runs")
}

fn rules(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "rules", name].iter().collect();
    path.display().to_string()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn examples_are_good_and_their_tests_pass() {
    for name in ["two-tier.fw", "three-zones.fw", "router-on-a-stick.fw"] {
        let output = vfw(&["check", &rules(&format!("examples/{name}"))]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}{}", out(&output), err(&output));
        assert!(out(&output).contains(" passed, 0 failed"), "{}", out(&output));
    }
}

#[test]
fn every_invalid_file_is_bad_input() {
    for file in std::fs::read_dir(rules("invalid")).expect("directory") {
        let path = file.expect("file").path();
        if path.extension().is_some_and(|extension| extension == "fw") {
            let shown = std::fs::read_to_string(path.with_extension("expected")).unwrap_or_default();
            let output = vfw(&["check", &path.display().to_string()]);
            let expected = i32::from(shown.lines().any(|line| line.starts_with("error")));
            assert_eq!(output.status.code(), Some(expected), "{}: {}", path.display(), err(&output));
        }
    }
}

#[test]
fn json_holds_the_summary() {
    let output = vfw(&["check", "--json", &rules("examples/two-tier.fw")]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(summary["ok"], true);
    assert_eq!(summary["zones"], 2);
    assert_eq!(summary["tests_failed"], 0);
    let output = vfw(&["check", "--json", &rules("invalid/unknown-names.fw")]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!((summary["ok"].as_bool(), output.status.code()), (Some(false), Some(1)));
    assert_eq!(summary["diagnostics"][0]["severity"], "error");
}

#[test]
fn exit_codes_tell_bad_input_from_a_system_that_refuses() {
    assert_eq!(vfw(&["check", "/nonexistent.fw"]).status.code(), Some(2));
    assert_eq!(vfw(&["check"]).status.code(), Some(1));
    assert_eq!(vfw(&["chekc", "x"]).status.code(), Some(1));
    let help = vfw(&["check", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(out(&help).contains("vfw check rules/examples/two-tier.fw"));
}

#[test]
fn a_dash_is_standard_input_and_called_so() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vfw"));
    let command = command.args(["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("vfw runs");
    child.stdin.take().expect("piped").write_all(b"default allow\nalow any -> any\n").expect("vfw reads");
    let output = child.wait_with_output().expect("vfw ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("standard input:2:1"), "{}", err(&output));
}
