#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DOCS: &str = include_str!("../../../docs/vfw.toml.md");

/// One row of a table in the documentation: `| key | default | unit | range | meaning |`.
struct Row {
    default: String,
    range: String,
}

fn rows() -> BTreeMap<String, Row> {
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    DOCS.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(code).collect::<Vec<_>>())
        .map(|cells| {
            assert_eq!(cells.len(), 7, "five columns: {cells:?}");
            (cells[1].clone(), Row { default: cells[2].clone(), range: cells[4].clone() })
        })
        .collect()
}

/// The dotted keys of a table and their values.
fn keys(prefix: &str, table: &toml::Table, found: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => keys(&path, inner, found),
            value => drop(found.insert(path, value.clone())),
        }
    }
}

fn default_keys() -> BTreeMap<String, toml::Value> {
    let mut config = Config::default();
    let name = InterfaceName::new("NAME").unwrap();
    config.interface.insert(name, InterfaceSettings { mode: Some(Mode::Auto) });
    let mut found = BTreeMap::new();
    keys("", &toml::Table::try_from(config).unwrap(), &mut found);
    found
}

fn invalid(text: &str) -> error::Invalid {
    match Config::parse("vfw.toml", text) {
        Err(ConfigError::Invalid(invalid)) => *invalid,
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// `a.b.c` and a value as TOML text.
fn assignment(key: &str, value: impl fmt::Display) -> String {
    format!("{key} = {value}\n")
}

#[test]
fn the_documentation_lists_every_key_with_its_default_and_no_other() {
    let documented = rows();
    let real = default_keys();
    assert_eq!(documented.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>());
    for (key, value) in &real {
        if key != "interface.NAME.mode" {
            assert_eq!(documented[key].default, value.to_string(), "default of {key}");
        }
    }
}

#[test]
fn documented_ranges_are_the_ranges_that_are_enforced() {
    for (key, row) in rows() {
        let Some((low, high)) = row.range.split_once(" to ") else {
            continue;
        };
        let number = |text: &str| text.replace(' ', "").parse::<i64>().unwrap();
        let (low, high) = (number(low), number(high));
        for value in [low, high] {
            Config::parse("vfw.toml", &assignment(&key, value)).unwrap();
        }
        for value in [low - 1, high + 1, -1, i64::MAX] {
            let error = invalid(&assignment(&key, value));
            assert_eq!(error.message, format!("{value} is outside of {low} to {high}"), "{key}");
            assert_eq!(error.column, key.len() + 4, "{key}");
        }
    }
}

#[test]
fn a_cpu_is_named_once() {
    assert_eq!(Config::parse("vfw.toml", "[afxdp]\ncpus = [2, 0]").unwrap().afxdp.cpus.as_slice(), [2, 0]);
    assert_eq!(invalid("[afxdp]\ncpus = [1, 2, 1]").message, "CPU 1 is named twice");
    assert_eq!(invalid("[afxdp]\ncpus = [1024]").message, "CPU 1024 is outside of 0 to 1023");
}

#[test]
fn documented_words_are_the_words_that_are_taken() {
    for (key, row) in rows() {
        if !row.range.starts_with('"') {
            continue;
        }
        for word in row.range.replace('`', "").split(", ") {
            Config::parse("vfw.toml", &assignment(&key, word)).unwrap();
        }
    }
}

#[test]
fn the_example_in_the_documentation_is_the_default() {
    let block = DOCS.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(Config::parse("docs/vfw.toml.md", block).unwrap(), Config::default());
    assert_eq!(Config::parse("vfw.toml", "").unwrap(), Config::default());
}

#[test]
fn an_unknown_key_is_shown_with_its_line_and_the_nearest_key() {
    let error = invalid("mode = \"tc\"\n\n[flows]\nhalf-open = 1000\n");
    assert_eq!(
        error.to_string(),
        "vfw.toml:4:1: unknown key `half-open`
 4 | half-open = 1000
   | ^^^^^^^^^
   = hint: did you mean `half_open`? known here: established, half_open, fragments"
    );
    let shown = format!("    {}", error.to_string().replace('\n', "\n    "));
    assert!(DOCS.contains(&shown), "the documentation shows what is printed");
    let error = invalid("[flow]\n");
    assert_eq!((error.line, error.column), (1, 2));
    assert!(error.hint.unwrap().starts_with("did you mean `flows`?"));
    assert!(!invalid("entirely_else = 1\n").hint.unwrap().contains("did you mean"));
}

#[test]
fn a_value_out_of_place_is_shown_with_its_line() {
    let error = invalid("[timeouts]\nicmp = 0\n");
    assert_eq!(error.to_string(), "vfw.toml:2:8: 0 is outside of 1 to 31536000\n 2 | icmp = 0\n   |        ^");
    let error = invalid("mode = \"xpd\"\n");
    assert_eq!((error.line, error.column), (1, 8));
    assert_eq!(error.hint.unwrap(), "did you mean `xdp`? known here: auto, xdp, tc, afxdp");
    assert_eq!(invalid("[log]\nrate = \"fast\"\n").line, 2);
    assert_eq!(invalid("[interface.a-name-that-is-too-long]\nmode = \"tc\"\n").line, 1);
    assert_eq!(invalid("[control]\nsocket = \"here.sock\"\n").column, 10);
}

#[test]
fn broken_toml_is_an_error_with_a_place() {
    for text in ["mode = ", "[flows", "é = 1", "x", "[flows]\nestablished = 1\nestablished = 2", "\u{feff}", "a.b.c"] {
        if let Err(error) = Config::parse("vfw.toml", text) {
            assert!(error.to_string().starts_with("vfw.toml:"), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(mode|flows|\\[|\\]|=|\"|\\.|é|\t|\r?\n|[0-9]|\\PC){0,40}") {
        if let Err(error) = Config::parse("vfw.toml", &text) {
            prop_assert!(error.to_string().starts_with("vfw.toml:"));
        }
    }
}

#[test]
fn a_very_long_line_is_shown() {
    let text = format!("mode = {}\"", " ".repeat(100_000));
    assert!(invalid(&text).to_string().len() > 200_000);
}

#[test]
fn an_interface_may_differ_from_the_global_mode() {
    let config =
        Config::parse("vfw.toml", "mode = \"tc\"\n[interface.eth1]\nmode = \"xdp\"\n[interface.eth2]\n").unwrap();
    assert_eq!(config.mode_of("eth1"), Mode::Xdp);
    assert_eq!(config.mode_of("eth2"), Mode::Tc);
    assert_eq!(config.mode_of("eth3"), Mode::Tc);
}

#[test]
fn seconds_become_nanoseconds_without_overflow() {
    assert_eq!(Timeouts::default().tcp_established.nanos(), 432_000 * 1_000_000_000);
    assert_eq!(Seconds::clamped(u32::MAX).nanos(), 31_536_000 * 1_000_000_000);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load("/nonexistent/vfw.toml").unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nonexistent/vfw.toml:"));
}
