//! `vfw lab`: network namespaces that stand for VMs, around a vfw in its own.

use std::path::PathBuf;

use super::{Exit, Failure, read_sources, show_diagnostics};
use crate::lab::{Lab, LabSpec, ZoneSpec};
use crate::lang::{Loaded, Policy, load};

const EXAMPLE: &str = "\
Examples:
  vfw lab up rules/examples/two-tier.fw     a host for each zone, wired to `fw`
  vfw lab exec fw -- vfw run rules/examples/two-tier.fw
  vfw lab exec app -- ping 10.0.20.7
  vfw lab down

Exit code: 0 done (exec: that of the command), 1 the rule file is bad, 2 the
system refused.";

/// `vfw lab up|down|exec|demo`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with a lab.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Build a lab: a host for each zone of a policy, and `fw` for vfw
    Up(Up),
    /// Remove the lab, and the processes in it
    Down,
    /// Run a command on a host (a zone's name) or in `fw`
    Exec(Exec),
    /// Show vfw at work, from an empty machine to measured throughput, and clean up
    Demo(super::demo::Arguments),
}

/// `vfw lab up`
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Rule files whose zones the lab has.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// MTU of every interface.
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
    /// Let the hosts compute checksums themselves, as machines without offload do.
    #[arg(long)]
    pub no_checksum_offload: bool,
}

/// `vfw lab exec`
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// A zone's name, or `fw`.
    pub place: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// The lab's name.
pub const NAME: &str = "vfw-lab";

/// Does it; returns the exit code, which is the command's own for `exec`.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.action {
        Action::Up(up) => build(up).map(|()| 0),
        Action::Down => down().map(|()| 0),
        Action::Demo(demo) => super::demo::run(demo),
        Action::Exec(exec) => {
            let code = Lab::open(NAME).and_then(|lab| lab.exec(&exec.place, &exec.command));
            Ok(u8::try_from(code.map_err(Failure::refused)?).unwrap_or(Exit::Refused as u8))
        }
    }
}

fn build(up: &Up) -> Result<(), Failure> {
    let mut spec = spec(&policy(&up.files)?);
    spec.mtu = up.mtu;
    spec.tx_checksum = !up.no_checksum_offload;
    let lab = Lab::up(&spec).map_err(Failure::refused)?;
    for host in &lab.layout().hosts {
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        println!("{:<12} {}", host.zone, addresses.join("  "));
    }
    println!("{:<12} for vfw: vfw lab exec fw -- vfw run FILE", "fw");
    Ok(())
}

fn down() -> Result<(), Failure> {
    let was_up = Lab::down(NAME).map_err(Failure::refused)?;
    println!("{}", if was_up { "the lab is gone" } else { "there was no lab" });
    Ok(())
}

/// The policy in `files`.
pub fn policy(files: &[PathBuf]) -> Result<Policy, Failure> {
    let sources = read_sources(files)?;
    match load(&sources) {
        Ok(Loaded { policy, .. }) => Ok(policy),
        Err(found) => {
            show_diagnostics(&found, &sources);
            Err(Failure { exit: Exit::BadInput, message: String::new() })
        }
    }
}

/// A lab with a host for each zone.
pub fn spec(policy: &Policy) -> LabSpec {
    let zones = policy.zones.iter().map(|zone| ZoneSpec {
        name: zone.name.clone(),
        interface: zone.interface.clone(),
        vlan: zone.vlan,
        gateways: zone.addresses.clone(),
    });
    let mut spec = LabSpec::new(zones.collect());
    NAME.clone_into(&mut spec.name);
    spec
}
