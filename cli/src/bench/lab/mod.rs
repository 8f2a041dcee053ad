//! A lab: a client and a server in namespaces of this machine, with real TCP stacks, and one of the ways to forward between
//! them. Nothing of it has a name that another lab could have, and the kernel removes it with the process.

pub mod conntrack;
mod firewall;
mod frames;
mod lane;
mod path;
mod place;
mod rig;
mod rules;
mod topology;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::report::{Family, Machine};
use crate::interface::inspect;

pub use firewall::InForce;
use firewall::{clear_leftovers, default_room};
pub use frames::{Next, SERVICE_PORT, denied_plan, hosts_plan, syn_plan, udp_plan};
pub use lane::{Lane, Sample, open_flows};
pub use path::Path;
pub use place::Place;
pub use rig::{KEPT, Plan, Rig, Sink, frame_size};
pub use rules::{ATTACK_PORTS, Rules, TCP_PORTS, UDP_PORTS};
pub use topology::{
    ADDRESS_A, ADDRESS_A6, ADDRESS_B, ADDRESS_B6, ADDRESS_C, ADDRESS_NOBODY, Attacker, MAC_A, MAC_B, MAC_C, MAC_F0,
    MAC_F1, MAC_F2, Topology,
};

/// What a lab is to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Room in vfw's table of established flows; its default when absent.
    pub established: Option<u32>,
    /// The CPU of a generator, which the engine in user space leaves to it if there is another one.
    pub generator: Option<usize>,
    /// Flows that connection tracking must have room for.
    pub tracked: u32,
    /// The rules.
    pub rules: Rules,
    /// Which protocol the hosts speak; where there is an attacker, IPv4.
    pub family: Family,
}

/// A client, a server and a way between them, until the value goes.
pub struct Lab {
    /// The way.
    pub path: Path,
    /// Which protocol the hosts speak.
    pub family: Family,
    /// The hosts.
    pub topology: Topology,
    vfw: Option<InForce>,
    _room: Option<Arc<conntrack::Room>>,
}

impl Needs {
    /// So many flows at once. vfw's table has room for twice as many where that is more than its default: a table that is nearly
    /// full is slower.
    pub fn flows(flows: u32) -> Self {
        let established = Some(flows.saturating_mul(2).max(default_room()));
        Self { established, tracked: flows, ..Self::default() }
    }
}

impl Lab {
    /// Builds the hosts and puts the way in force, with the rules of [`Rules::default`].
    pub fn new(path: Path) -> Result<Self> {
        Self::with(path, Needs::default())
    }

    /// The same with what is needed.
    pub fn with(path: Path, needs: Needs) -> Result<Self> {
        Self::build(path, needs).with_context(|| format!("cannot build the path {path}"))
    }

    fn build(path: Path, needs: Needs) -> Result<Self> {
        let family = needs.family;
        let topology = Topology::new(path, family, needs.rules.attacked)?;
        let mut vfw = None;
        if let Some(firewall) = &topology.firewall {
            match (path, path.mode()) {
                (_, Some(mode)) => vfw = Some(InForce::start(firewall, mode, needs)?),
                (Path::Bridge, _) => bridge(firewall)?,
                _ => route(firewall, family, &topology)?,
            }
            match path {
                Path::Nftables => drop(firewall.feed("nft", &["-f", "-"], &needs.rules.nftables())?),
                Path::Iptables => drop(firewall.feed(iptables_restore(family), &[], &needs.rules.iptables())?),
                _ => {}
            }
        }
        let room = path.tracks_connections().then(|| conntrack::make_room(needs.tracked)).transpose()?;
        Ok(Self { path, family, topology, vfw, _room: room.flatten() })
    }

    /// The client's namespace.
    pub fn client(&self) -> &Place {
        &self.topology.a
    }

    /// The server's namespace. The client reaches its ports [`TCP_PORTS`] and [`UDP_PORTS`].
    pub fn server(&self) -> &Place {
        &self.topology.b
    }

    /// The attacker.
    pub fn attacker(&self) -> Result<&Attacker> {
        self.topology.attacker.as_ref().context("the lab has no attacker")
    }

    /// The server's address.
    pub fn server_address(&self) -> IpAddr {
        let [_, server] = topology::addresses(self.family);
        server
    }

    /// The vfw that is in force, if one is.
    pub fn vfw(&mut self) -> Option<&mut InForce> {
        self.vfw.as_mut()
    }

    /// Flows that are established; 0 where none are known.
    pub fn established(&self) -> Result<u64> {
        match (&self.vfw, &self.topology.firewall) {
            (Some(vfw), _) => Ok(vfw.kernel.flows()?.sweep(0)?),
            (None, Some(firewall)) if self.path.tracks_connections() => conntrack::established(firewall),
            _ => Ok(0),
        }
    }

    /// Notes the offloads of both hosts.
    pub fn note_offloads(&self, machine: &mut Machine) -> Result<()> {
        for (name, place, interface) in [("client", self.client(), "a0"), ("server", self.server(), "b0")] {
            machine.note_offloads(name, &place.run(|| Ok(inspect(interface)?))?);
        }
        Ok(())
    }

    /// Forgets all flows.
    pub fn forget_flows(&self) -> Result<()> {
        match (&self.vfw, &self.topology.firewall) {
            (Some(vfw), _) => Ok(vfw.kernel.flows()?.clear()?),
            (None, Some(firewall)) if self.path.tracks_connections() => conntrack::flush(firewall),
            _ => Ok(()),
        }
    }
}

/// Builds one of something for each path. What cannot be built is left out with a note that says why; `direct`, which the
/// others are compared with, and paths that the user `asked` for must be there.
pub fn for_each_path<T>(
    paths: &[Path],
    asked: bool,
    make: impl Fn(Path) -> Result<T>,
) -> Result<(Vec<T>, Vec<String>)> {
    clear_leftovers();
    conntrack::clear_leftovers();
    let (mut made, mut notes) = (Vec::new(), Vec::new());
    for &path in paths {
        match make(path) {
            Ok(one) => made.push(one),
            Err(error) if asked || path == Path::Direct => return Err(error),
            Err(error) => notes.push(format!("{path} is not measured: {error:#}")),
        }
    }
    Ok((made, notes))
}

/// Joins the hosts by a bridge.
fn bridge(firewall: &Place) -> Result<()> {
    let mut lines = vec!["link add br0 type bridge".to_owned()];
    lines.extend(["f0", "f1"].map(|port| format!("link set {port} master br0")));
    lines.push("link set br0 up".to_owned());
    firewall.ip(&lines)?;
    // A bridge that only forwards: where netfilter looks into bridges, not here.
    firewall.run(|| {
        for tables in ["iptables", "ip6tables"] {
            let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{tables}"), "0");
        }
        Ok(())
    })
}

const fn iptables_restore(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables-restore",
        Family::Ipv6 => "ip6tables-restore",
    }
}

/// Lets the firewall's kernel route.
fn route(firewall: &Place, family: Family, topology: &Topology) -> Result<()> {
    let [a, b] = topology::addresses(family);
    let mut lines = vec![
        topology::address(topology::gateway(a), "f0"),
        topology::address(topology::gateway(b), "f1"),
        topology::neighbour(a, MAC_A, "f0"),
        topology::neighbour(b, MAC_B, "f1"),
    ];
    if topology.attacker.is_some() {
        lines.push("address add 10.3.255.254/16 dev f2".to_owned());
        lines.push(topology::neighbour(ADDRESS_NOBODY.into(), MAC_B, "f1"));
    }
    firewall.ip(&lines)?;
    let setting = match family {
        Family::Ipv4 => "/proc/sys/net/ipv4/ip_forward",
        Family::Ipv6 => "/proc/sys/net/ipv6/conf/all/forwarding",
    };
    firewall.set(setting, "1")
}

#[cfg(test)]
mod tests;
