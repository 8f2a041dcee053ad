//! What every fuzzer runs: libFuzzer (`fuzz/`) and the bounded run of `cargo test` share these bodies and seeds.
//!
//! A body takes any bytes, and panics when something that must hold does not.

mod bench;
pub mod input;
mod mutate;
mod oracle;
mod pipeline;
mod rules;
mod worker;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use mutate::Mutator;
pub use pipeline::repair;

/// Something to fuzz.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the libFuzzer target and of its folders.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from, each with a name for its file.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All targets.
pub const TARGETS: [Target; 4] = [
    Target { name: "pipeline", run: pipeline::run, seeds: pipeline::seeds },
    Target { name: "rules", run: rules::run, seeds: rules::seeds },
    Target { name: "worker", run: worker::run, seeds: pipeline::seeds },
    Target { name: "bench", run: bench::run, seeds: bench::seeds },
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(bytes);
}

/// Inputs that once failed: `tests/fixtures/crashes/TARGET/NAME`.
pub fn crashes(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/crashes").join(target.name);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

/// Writes the seeds of every target to `folder/TARGET/`, where libFuzzer looks for them.
pub fn write_seeds(folder: &Path) -> io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(folder.join(name.replace('/', "-")), bytes)?;
        }
        for (path, bytes) in crashes(&target) {
            fs::write(folder.join(path.file_name().unwrap_or_default()), bytes)?;
        }
    }
    Ok(())
}
