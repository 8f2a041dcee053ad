//! `firstboot SEED ROOT`: configures the appliance whose files are below ROOT from the seed in the folder SEED, and says on
//! standard output what it did and what it could not use, for the console.
//!
//! A seed is taken part by part: what is wrong in one of them does not keep the others from being used, so that a mistake in
//! the rules leaves the keys of the operator in place, and one in the addresses leaves DHCP. It is used when it differs from
//! the one used last: what the operator changes later stays.

mod network;
mod nocloud;
mod ovf;
mod seed;
mod write;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use seed::Seed;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (folder, root) = arguments.next().zip(arguments.next()).context("usage: firstboot SEED ROOT")?;
    let Some(seed) = read(&folder) else {
        println!("no seed in {}", folder.display());
        return Ok(());
    };
    if !write::is_new(&seed, &root) {
        println!("the seed was used before; what was changed since stays");
        return Ok(());
    }
    for line in write::all(&seed, &root)?.into_iter().chain(seed.notes).chain(seed.problems) {
        println!("{line}");
    }
    Ok(())
}

/// The seed of a folder, in the form that it has.
fn read(folder: &Path) -> Option<Seed> {
    nocloud::read(folder).or_else(|| ovf::read(folder))
}
