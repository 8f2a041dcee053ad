//! What stands between A and B: the ways to forward that are compared.

use std::fs;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use firewall_core::Address;
use firewall_core::tables::{NeighbourKey, NeighbourWord};
use vfw::config::{AbsolutePath, Bounded, Config, Mode, State};
use vfw::daemon::Setup;
use vfw::lang::{Policy, SourceFile, load};

use crate::place::Place;
use crate::topology::{MAC_A, MAC_B};

/// The three rules of vfw; those of nftables say the same.
const RULES: &str = "
zone a { interface f0  address 10.0.1.1/24, fd00:1::1/64 }
zone b { interface f1  address 10.0.2.1/24, fd00:2::1/64 }
service measured = udp 5000-5099
service iperf = tcp 5201
default drop
allow a -> b  service measured
allow a -> b  service iperf
";

const NFTABLES: &str = "
table inet filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state new udp dport 5000-5099 accept
    ct state new tcp dport 5201 accept
  }
}
";

/// vfw in force, until the value goes; beside others, each with pins of its own.
pub struct InForce {
    setup: Setup,
    state: State,
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
        // The interfaces go with their namespace; what is pinned would stay.
        let _ = fs::remove_dir_all(self.state.pins.as_path());
        let _ = fs::remove_file(self.state.file.as_path());
    }
}

/// Puts vfw in force in the firewall's namespace, with both hosts as resolved neighbours. Tables are as large as they are
/// by default, or twice as large as `flows` when that is more than fits.
pub fn start_vfw(firewall: &Place, mode: Mode, flows: u32) -> Result<InForce> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let policy = policy()?;
    let mut config = Config { mode, ..Config::default() };
    let name = format!("vfw-bench-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = |folder: &str| AbsolutePath::new(Path::new(folder).join(&name)).map_err(anyhow::Error::msg);
    (config.state.pins, config.state.file) = (path("/sys/fs/bpf")?, path("/run")?);
    if flows > config.flows.established.get() {
        config.flows.established = Bounded::clamped(flows * 2);
    }
    let mut setup = firewall.run(|| {
        let mut setup = Setup::start(policy, &config)?;
        setup.start_engine()?;
        Ok(setup)
    })?;
    let hosts = [("10.0.1.7", 0, MAC_A), ("10.0.2.7", 1, MAC_B), ("fd00:1::7", 0, MAC_A), ("fd00:2::7", 1, MAC_B)];
    for (slot, (address, zone, mac)) in hosts.into_iter().enumerate() {
        let address: IpAddr = address.parse()?;
        let key = NeighbourKey { address: Address::from(address), zone };
        setup.kernel.add_neighbour(slot as u32, &key, NeighbourWord::new(mac, 1))?;
    }
    Ok(InForce { setup, state: config.state })
}

fn policy() -> Result<Policy> {
    match load(&[SourceFile::new("benchmark", RULES)]) {
        Ok(loaded) => Ok(loaded.policy),
        Err(found) => bail!("the benchmark's rules are not valid: {found}"),
    }
}

/// Loads stateful nftables rules in the firewall's namespace.
pub fn start_nftables(firewall: &Place) -> Result<()> {
    firewall.feed("nft", &["-f", "-"], NFTABLES).map(drop)
}

/// Most flows of Linux's connection tracking: one value for all namespaces.
pub fn conntrack_room() -> Result<u32> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.trim().parse().map_err(|_| anyhow!("{path} holds no number"))
}

/// Flows that Linux's connection tracking has seen in both directions.
pub fn conntrack_established(firewall: &Place) -> Result<u64> {
    firewall.run(|| {
        // Not /proc/net, which shows the namespace of the first thread.
        let text = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")?;
        Ok(text.lines().filter(|line| !line.contains("[UNREPLIED]")).count() as u64)
    })
}
