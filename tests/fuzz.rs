//! The fuzz targets without libFuzzer: inputs that once failed, the seeds, and the seeds changed for a while.
//! `VFW_FUZZ_SECONDS` says how long; `make fuzz` runs the same targets with coverage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use vfw_tests::fuzz::{Mutator, TARGETS, Target, crashes, write_seeds};

/// Runs one input; a failing one is kept where the message says.
fn run(target: &Target, name: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        let kept = std::env::temp_dir().join(format!("vfw-fuzz-{}-{name}", target.name));
        let said = std::fs::write(&kept, bytes).map_or_else(|error| error.to_string(), |()| kept.display().to_string());
        eprintln!("{} fails with {said}: mend it, and keep the input in tests/fixtures/crashes", target.name);
        std::panic::resume_unwind(panic);
    }
}

fn seconds() -> Duration {
    let given = std::env::var("VFW_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(5))
}

fn fuzz(target: &Target) {
    let mut pool = Vec::new();
    pool.extend(crashes(target).into_iter().map(|(_, bytes)| bytes));
    for (name, bytes) in (target.seeds)() {
        run(target, &name.replace('/', "-"), &bytes);
        pool.push(bytes);
    }
    assert!(pool.len() > 10);
    // Another seed on every run: the time is what bounds it.
    let start = Instant::now();
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
    let mut mutator = Mutator::new(seed, pool);
    let mut runs = 0;
    while start.elapsed() < seconds() {
        run(target, "new", &mutator.input());
        runs += 1;
    }
    println!("{}: {runs} inputs in {:?}", target.name, start.elapsed());
}

#[test]
fn what_once_failed_does_not() {
    for target in TARGETS {
        for (path, bytes) in crashes(&target) {
            println!("{}", path.display());
            (target.run)(&bytes);
        }
    }
}

#[test]
fn pipeline() {
    fuzz(&TARGETS[0]);
}

#[test]
fn rules() {
    fuzz(&TARGETS[1]);
}

#[test]
fn worker() {
    fuzz(&TARGETS[2]);
}

#[test]
fn bench() {
    fuzz(&TARGETS[3]);
}

/// Not a test: `make fuzz` calls it to give libFuzzer something to start from.
#[test]
#[ignore = "writes the seeds to the folder VFW_FUZZ_CORPUS"]
fn write_corpus() {
    let folder = std::env::var("VFW_FUZZ_CORPUS").expect("VFW_FUZZ_CORPUS");
    write_seeds(Path::new(&folder)).expect("written");
}
