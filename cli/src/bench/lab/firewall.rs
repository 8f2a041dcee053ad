//! vfw in force in a namespace of a lab, beside others.

use std::fs;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use firewall_core::Address;
use firewall_core::tables::{NeighbourKey, NeighbourWord};

use super::Needs;
use super::place::Place;
use super::rules::Rules;
use super::topology::{ADDRESS_A, ADDRESS_A6, ADDRESS_B, ADDRESS_B6, ADDRESS_NOBODY, MAC_A, MAC_B};
use crate::backend::afxdp::Plan;
use crate::backend::kernel::Flows;
use crate::clock;
use crate::config::{AbsolutePath, Bounded, Config, Cpus, Mode, State};
use crate::daemon::Setup;
use crate::lang::{Policy, SourceFile, load};

/// Pause between two sweeps of the flow tables, as the daemon's.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);
/// Where pins of labs are, and the beginning of their names; the number of the process follows.
const PINS: &str = "/sys/fs/bpf";
const NAME: &str = "vfw-bench-";

/// vfw in force, until the value goes; beside others, each with pins of its own.
pub struct InForce {
    setup: Setup,
    state: State,
    sweeper: Option<(Sender<()>, JoinHandle<()>)>,
}

impl InForce {
    /// Puts vfw in force in the firewall's namespace, with both hosts as resolved neighbours. Tables are as large as they
    /// are by default, or have room for as many established flows as are needed.
    pub fn start(firewall: &Place, mode: Mode, needs: Needs) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let policy = policy(needs.rules)?;
        let mut config = Config { mode, ..Config::default() };
        let name = format!("{NAME}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = |folder: &str| AbsolutePath::new(Path::new(folder).join(&name)).map_err(anyhow::Error::msg);
        (config.state.pins, config.state.file) = (path(PINS)?, path("/run")?);
        if let Some(established) = needs.established {
            config.flows.established = Bounded::clamped(established);
        }
        config.afxdp.cpus = cpus_beside(needs.generator)?;
        let setup = firewall.run(|| {
            let mut setup = Setup::start(policy, &config)?;
            setup.start_engine()?;
            Ok(setup)
        })?;
        // From here on, what is pinned goes with the value.
        let mut in_force = Self { setup, state: config.state, sweeper: None };
        in_force.add_neighbours()?;
        in_force.sweeper = Some(sweep(in_force.kernel.flows()?));
        Ok(in_force)
    }

    fn add_neighbours(&mut self) -> Result<()> {
        let hosts: [(IpAddr, u32, [u8; 6]); 5] = [
            (ADDRESS_A.into(), 0, MAC_A),
            (ADDRESS_B.into(), 1, MAC_B),
            (ADDRESS_NOBODY.into(), 1, MAC_B),
            (ADDRESS_A6.into(), 0, MAC_A),
            (ADDRESS_B6.into(), 1, MAC_B),
        ];
        for (slot, (address, zone, mac)) in hosts.into_iter().enumerate() {
            let key = NeighbourKey { address: Address::from(address), zone };
            self.kernel.add_neighbour(slot as u32, &key, NeighbourWord::new(mac, 1))?;
        }
        Ok(())
    }
}

/// The CPUs for the engine in user space: all but the generator's, or the default if that leaves none.
fn cpus_beside(generator: Option<usize>) -> Result<Cpus> {
    let all = Plan::default().places()?;
    let others = all.into_iter().filter(|cpu| Some(usize::from(*cpu)) != generator).collect();
    Cpus::new(others).map_err(anyhow::Error::msg)
}

/// Removes flows that have ended, as the daemon does, until the sender goes.
fn sweep(mut flows: Flows) -> (Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        while receiver.recv_timeout(SWEEP_PAUSE) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = flows.sweep(clock::now()) {
                tracing::error!(%error, "cannot remove ended flows");
            }
        }
    });
    (sender, thread)
}

impl Deref for InForce {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

impl DerefMut for InForce {
    fn deref_mut(&mut self) -> &mut Setup {
        &mut self.setup
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.sweeper.take() {
            drop(sender);
            // A thread that panicked has nothing more to give back.
            let _ = thread.join();
        }
        // The interfaces go with their namespace; what is pinned would stay.
        let _ = fs::remove_dir_all(self.state.pins.as_path());
        let _ = fs::remove_file(self.state.file.as_path());
    }
}

/// Established flows that vfw has room for by default.
pub fn default_room() -> u32 {
    Config::default().flows.established.get()
}

/// Removes what labs of processes left that were killed: their programs would stay in the kernel.
pub fn clear_leftovers() {
    for folder in [PINS, "/run"] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split_once('-'));
            if process.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
                // Another process may do the same; what cannot be removed is in nobody's way.
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
    }
}

fn policy(rules: Rules) -> Result<Policy> {
    match load(&[SourceFile::new("lab", rules.vfw())]) {
        Ok(loaded) => Ok(loaded.policy),
        Err(found) => bail!("the rules of the lab are not valid: {found}"),
    }
}
