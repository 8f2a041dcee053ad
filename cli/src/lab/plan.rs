//! What a lab consists of, worked out from the zones of a policy before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::LabError;
use crate::config::InterfaceName;

/// Name of the firewall's namespace for commands.
pub(super) const FIREWALL: &str = "fw";
const SWITCH: &str = "sw";
/// Preferred number of a host in its subnet.
const HOST_NUMBER: u32 = 7;
/// A VLAN id that a port may have.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// How a tag that the lab's switch adds reaches vfw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagPlacement {
    /// In the bytes of the frame, as on a cable: every hook sees it.
    #[default]
    InFrame,
    /// Beside the frame, as the Linux stack keeps it between virtual interfaces: XDP does not see it.
    Beside,
}

/// A zone, as far as the lab needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSpec {
    /// Its name; the host's namespace is called after it.
    pub name: String,
    /// The interface of vfw that it is on.
    pub interface: String,
    /// Its tag on that interface.
    pub vlan: Option<u16>,
    /// The addresses that vfw has in it, with their subnets.
    pub gateways: Vec<IpNetwork>,
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// Prefix of its namespaces: `vfw-lab` gives `vfw-lab-fw`, `vfw-lab-app` ...
    pub name: String,
    /// One host is made for each.
    pub zones: Vec<ZoneSpec>,
    /// Whether the hosts leave checksums to offload, as guests do by default.
    pub tx_checksum: bool,
    /// MTU of every link; the kernel's default when absent.
    pub mtu: Option<u32>,
    /// Where the switch puts tags.
    pub tags: TagPlacement,
}

impl LabSpec {
    /// A lab called `vfw-lab` with the defaults of a virtual machine.
    pub fn new(zones: Vec<ZoneSpec>) -> Self {
        Self { name: "vfw-lab".to_owned(), zones, tx_checksum: true, mtu: None, tags: TagPlacement::default() }
    }
}

/// A lab worked out: namespaces, hosts and links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Prefix of the namespaces.
    pub name: String,
    /// Namespace of vfw.
    pub firewall: String,
    /// Namespace of the virtual switch, when a zone needs one.
    pub switch: Option<String>,
    /// One for each zone, in the order of the zones.
    pub hosts: Vec<Host>,
    /// One for each interface of vfw.
    pub uplinks: Vec<Uplink>,
    /// See [`LabSpec::tx_checksum`].
    pub tx_checksum: bool,
    /// See [`LabSpec::mtu`].
    pub mtu: Option<u32>,
    /// See [`LabSpec::tags`].
    pub tags: TagPlacement,
}

/// A namespace that stands for a machine in a zone; its interface is `eth0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its zone.
    pub zone: String,
    /// Its namespace.
    pub namespace: String,
    /// Its addresses, one for each subnet of the zone.
    pub addresses: Vec<IpNetwork>,
    /// The addresses of vfw that it routes by, at most one of each family.
    pub gateways: Vec<IpAddr>,
}

/// An interface of vfw and what is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its name inside the firewall's namespace.
    pub interface: String,
    /// Hosts, as positions in [`Plan::hosts`], and their tags.
    pub hosts: Vec<(usize, Option<u16>)>,
    /// Name of the trunk in the switch; nothing when the one host is wired to vfw directly.
    pub trunk: Option<String>,
}

impl Plan {
    /// Works out `spec`, or says what in it cannot be built.
    pub fn new(spec: &LabSpec) -> Result<Self, LabError> {
        let mut hosts = Vec::new();
        let mut interfaces: BTreeMap<&str, Vec<(usize, Option<u16>)>> = BTreeMap::new();
        let mut names = BTreeSet::from([FIREWALL, SWITCH]);
        check_name("lab", &spec.name)?;
        for zone in &spec.zones {
            check_name("zone", &zone.name)?;
            if !names.insert(&zone.name) {
                return Err(LabError::Spec(format!("a lab cannot have two namespaces called `{}`", zone.name)));
            }
            if zone.vlan.is_some_and(|vlan| !VLANS.contains(&vlan)) {
                return Err(LabError::Spec(format!("zone `{}`: VLAN ids go from 1 to 4094", zone.name)));
            }
            InterfaceName::new(&zone.interface)
                .map_err(|wrong| LabError::Spec(format!("zone `{}`: {wrong}", zone.name)))?;
            interfaces.entry(&zone.interface).or_default().push((hosts.len(), zone.vlan));
            hosts.push(host(spec, zone)?);
        }
        let mut uplinks = Vec::new();
        for (interface, hosts) in interfaces {
            let tags: BTreeSet<Option<u16>> = hosts.iter().map(|(_, vlan)| *vlan).collect();
            if tags.len() < hosts.len() {
                return Err(LabError::Spec(format!("interface `{interface}` has two zones with the same tag")));
            }
            let direct = hosts.len() == 1 && tags.contains(&None);
            let trunk = (!direct).then(|| format!("trunk{}", uplinks.len()));
            uplinks.push(Uplink { interface: interface.to_owned(), hosts, trunk });
        }
        let switch = uplinks.iter().any(|uplink| uplink.trunk.is_some()).then(|| format!("{}-{SWITCH}", spec.name));
        Ok(Self {
            name: spec.name.clone(),
            firewall: format!("{}-{FIREWALL}", spec.name),
            switch,
            hosts,
            uplinks,
            tx_checksum: spec.tx_checksum,
            mtu: spec.mtu,
            tags: spec.tags,
        })
    }

    /// The host of a zone.
    pub fn host(&self, zone: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.zone == zone)
    }

    /// The namespace of a zone's host, or of the firewall for `fw`.
    pub fn namespace(&self, of: &str) -> Option<&str> {
        if of == FIREWALL { Some(&self.firewall) } else { self.host(of).map(|host| host.namespace.as_str()) }
    }

    /// Every namespace of the lab.
    pub fn namespaces(&self) -> Vec<String> {
        let hosts = self.hosts.iter().map(|host| &host.namespace);
        std::iter::once(&self.firewall).chain(&self.switch).chain(hosts).cloned().collect()
    }

    /// The lines of `ip -batch` that make the links.
    pub(super) fn links(&self) -> Vec<String> {
        let mtu = self.mtu.map(|mtu| format!("mtu {mtu} ")).unwrap_or_default();
        let firewall = &self.firewall;
        let mut lines = Vec::new();
        let mut pair = |a: &str, in_a: &str, b: &str, in_b: &str| {
            lines.push(format!("link add {a} {mtu}netns {in_a} type veth peer name {b} {mtu}netns {in_b}"));
        };
        for uplink in &self.uplinks {
            match (&uplink.trunk, &self.switch) {
                (Some(trunk), Some(switch)) => {
                    pair(trunk, switch, &uplink.interface, firewall);
                    for (host, _) in &uplink.hosts {
                        pair("eth0", &self.hosts[*host].namespace, &port(*host), switch);
                    }
                }
                _ => {
                    for (host, _) in &uplink.hosts {
                        pair("eth0", &self.hosts[*host].namespace, &uplink.interface, firewall);
                    }
                }
            }
        }
        lines
    }
}

impl Host {
    /// The lines of `ip -batch` that configure it.
    pub(super) fn configuration(&self) -> Vec<String> {
        let mut lines = vec!["link set lo up".to_owned()];
        for address in &self.addresses {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            lines.push(format!("address add {address} dev eth0{nodad}"));
        }
        lines.push("link set eth0 up".to_owned());
        lines.extend(self.gateways.iter().map(|gateway| format!("route add default via {gateway} dev eth0 onlink")));
        lines
    }
}

/// The switch's end of the link of the host at `position`.
pub(super) fn port(position: usize) -> String {
    format!("port{position}")
}

fn host(spec: &LabSpec, zone: &ZoneSpec) -> Result<Host, LabError> {
    let mut addresses = Vec::new();
    let mut gateways: Vec<IpAddr> = Vec::new();
    for gateway in &zone.gateways {
        let address = host_address(*gateway, &zone.gateways)
            .ok_or_else(|| LabError::Spec(format!("zone `{}`: no free address for a host in {gateway}", zone.name)))?;
        addresses.push(address);
        if !gateways.iter().any(|known| known.is_ipv4() == gateway.is_ipv4()) {
            gateways.push(gateway.ip());
        }
    }
    let namespace = format!("{}-{}", spec.name, zone.name);
    Ok(Host { zone: zone.name.clone(), namespace, addresses, gateways })
}

/// Host number 7 of the subnet, else the first that is neither an end of the subnet nor vfw's.
fn host_address(gateway: IpNetwork, taken: &[IpNetwork]) -> Option<IpNetwork> {
    let free = |address: &IpAddr| !taken.iter().any(|network| network.ip() == *address);
    match gateway {
        IpNetwork::V4(network) => {
            let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
            let inner =
                if network.prefix() >= 31 { first..=last } else { first.saturating_add(1)..=last.saturating_sub(1) };
            let numbers =
                first.checked_add(HOST_NUMBER).filter(|number| inner.contains(number)).into_iter().chain(inner.clone());
            let address = numbers.map(|number| IpAddr::V4(number.into())).find(free)?;
            let IpAddr::V4(address) = address else {
                return None;
            };
            Ipv4Network::new(address, network.prefix()).ok().map(IpNetwork::V4)
        }
        IpNetwork::V6(network) => {
            let first = u128::from(network.network());
            // The all-zeros host is the routers' anycast address, except on point to point links (RFC 6164).
            let start = if network.prefix() >= 127 { first } else { first + 1 };
            let inner = start..=u128::from(network.broadcast());
            let preferred = first.checked_add(HOST_NUMBER.into()).filter(|number| inner.contains(number));
            let address = preferred.into_iter().chain(inner).map(|number| IpAddr::V6(number.into())).find(free)?;
            let IpAddr::V6(address) = address else {
                return None;
            };
            Ipv6Network::new(address, network.prefix()).ok().map(IpNetwork::V6)
        }
    }
}

/// A name becomes a file under `/run/netns` and a word in commands.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), LabError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(fits) {
        return Err(LabError::Spec(format!("{what} `{name}`: the lab takes names of letters, digits, `-` and `_`")));
    }
    Ok(())
}
