//! Bytes as a rule file: a policy without errors or errors that can be shown, and printing loses nothing.

use std::path::Path;

use vfw::compile::{Link, compile};
use vfw::config::Config;
use vfw::lang::{Location, Policy, SourceFile, load, parse, print, render};
use vfw::preview::run_tests;

/// Longer files are answered by the same code, only slower.
const MAX_TEXT: usize = 8 << 10;

pub(super) fn run(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_TEXT)];
    let files = [SourceFile::from_bytes("input.fw", bytes.to_vec())];
    if let Ok(statements) = parse(&files[0]) {
        let printed = SourceFile::new("printed.fw", print(&statements));
        let again = parse(&printed).unwrap_or_else(|errors| panic!("{errors}:\n{}", printed.text));
        assert_eq!(print(&again), printed.text, "printing what was printed");
    }
    match load(&files) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            render(&loaded.warnings, &files, true, 80);
            let statements = parse(&files[0]).expect("it loaded");
            let printed = [SourceFile::new("printed.fw", print(&statements))];
            let again = load(&printed).unwrap_or_else(|errors| panic!("{errors}:\n{}", printed[0].text)).policy;
            assert_eq!(essence(loaded.policy.clone()), essence(again), "{}", printed[0].text);
            compiles(&loaded.policy);
        }
        Err(errors) => {
            assert!(errors.has_errors());
            assert!(!render(&errors, &files, false, 80).is_empty());
        }
    }
}

/// A policy without what printing may change: places.
fn essence(mut policy: Policy) -> Policy {
    let nowhere = Location::default();
    policy.sources.clear();
    policy.zones.iter_mut().for_each(|zone| zone.location = nowhere.clone());
    policy.routes.iter_mut().for_each(|route| route.location = nowhere.clone());
    policy.rules.iter_mut().for_each(|rule| rule.location = nowhere.clone());
    for test in &mut policy.tests {
        test.location = nowhere.clone();
        test.cases.iter_mut().for_each(|case| case.location = nowhere.clone());
    }
    policy.default.location = policy.default.location.map(|_| nowhere);
    policy
}

/// Compiles, or says why not; then its tests run.
fn compiles(policy: &Policy) {
    let config = Config::default();
    match compile(policy, &config, &Link::invent(policy)) {
        Ok(image) => {
            let report = run_tests(policy, &image, &config);
            assert_eq!(report.failed > 0, report.errors.has_errors());
            render(&report.errors, &policy.sources, false, 80);
        }
        Err(error) => assert!(error.diagnostics().has_errors()),
    }
}

/// Every file in `rules`, valid or not.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for folder in ["examples", "invalid"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").join(folder);
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "fw") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                seeds.push((name, std::fs::read(path).expect("a file")));
            }
        }
    }
    seeds.sort();
    seeds
}
