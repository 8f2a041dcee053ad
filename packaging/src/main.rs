//! `vfw-manual FOLDER`: writes the man pages (`FOLDER/man`) and shell completions (`FOLDER/completions`) of vfw, from the
//! definition of its command line. The build of the Debian package calls it.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use vfw::args::Arguments;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: vfw-manual FOLDER")?);
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    clap_mangen::generate_to(Arguments::command(), &man).context("cannot write the man pages")?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut Arguments::command(), "vfw", &completions).context("cannot write completions")?;
    }
    Ok(())
}
