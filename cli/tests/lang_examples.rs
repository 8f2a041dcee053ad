//! Every file of `rules/examples` loads, says what it means, and survives printing.

use std::fs;
use std::path::{Path, PathBuf};

use vfw::lang::{Action, SourceFile, ZoneMatch, load, parse, print, render};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/examples");
    let entries = fs::read_dir(folder).expect("rules/examples");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "fw"))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> SourceFile {
    let name = path.file_name().expect("a name").to_string_lossy();
    SourceFile::from_bytes(name, fs::read(path).expect("the example"))
}

#[test]
fn examples_load() {
    assert!(examples().len() >= 3);
    for path in examples() {
        let files = [read(&path)];
        let loaded = load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100)));
        assert!(!loaded.policy.tests.is_empty(), "{} has no tests", path.display());
        let allowed = loaded.policy.rules.iter().any(|rule| rule.action == Action::Allow);
        assert!(allowed, "{}", path.display());
    }
}

#[test]
fn examples_read_the_same_after_printing() {
    for path in examples() {
        let first = parse(&read(&path)).expect("examples parse");
        let text = print(&first);
        assert_eq!(parse(&SourceFile::new("printed", text)).expect("prints parse"), first);
    }
}

#[test]
fn two_tier_means_what_it_says() {
    let path = examples().into_iter().find(|path| path.ends_with("two-tier.fw")).expect("it");
    let loaded = load(&[read(&path)]).expect("it loads");
    assert!(loaded.warnings.is_empty());
    let policy = loaded.policy;
    let names: Vec<&str> = policy.zones.iter().map(|zone| zone.name.as_str()).collect();
    assert_eq!(names, ["app", "db"]);
    assert_eq!((policy.zones[1].interface.as_str(), policy.zones[1].vlan), ("eth2", Some(20)));
    let postgres = &policy.rules[0];
    assert_eq!(postgres.text, "allow app -> db  service postgres");
    assert_eq!(postgres.from, ZoneMatch::Zones(vec![0]));
    assert_eq!(postgres.services[0].destination_ports, 5432..=5432);
    assert!(postgres.sources.is_empty() && postgres.log.is_none());
    let admin = &policy.rules[2];
    assert_eq!((&admin.from, admin.sources.len()), (&ZoneMatch::Any, 3));
    assert_eq!(admin.log.as_ref().and_then(|log| log.label.as_deref()), Some("admin"));
    assert_eq!((policy.default.action, policy.default.log.is_some()), (Action::Drop, true));
    assert_eq!(policy.tests[0].cases[1].destination_port, 5432);
}
