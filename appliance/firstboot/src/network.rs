//! The management interface: what a seed says, and the file of systemd-networkd for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Settings of the management interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Which interface it is.
    pub interface: Match,
    /// Whether addresses come by DHCP.
    pub dhcp: bool,
    /// Addresses of its own.
    pub addresses: Vec<IpNetwork>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// How an interface is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// By its name.
    Name(String),
    /// By its Ethernet address.
    Mac(String),
}

impl Network {
    /// The file of systemd-networkd (`systemd.network(5)`).
    pub fn to_networkd(&self) -> String {
        let mut text = "# Written from the seed.\n[Match]\n".to_owned();
        let _ = match &self.interface {
            Match::Name(name) => writeln!(text, "Name={name}"),
            Match::Mac(mac) => writeln!(text, "MACAddress={mac}"),
        };
        let _ = writeln!(text, "\n[Network]\nDHCP={}", if self.dhcp { "yes" } else { "no" });
        for (key, values) in [
            ("Address", self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ("Gateway", self.gateways.iter().map(ToString::to_string).collect()),
            ("DNS", self.dns.iter().map(ToString::to_string).collect()),
        ] {
            for value in values {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        text
    }

    /// Neither mistakes that would make the interface unreachable.
    pub fn check(self) -> Result<Self, String> {
        if !self.dhcp && self.addresses.is_empty() {
            return Err("the management interface has neither DHCP nor an address".to_owned());
        }
        let name_is_good = |name: &str| {
            (1..=15).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match &self.interface {
            Match::Name(name) if !name_is_good(name) => Err(format!("`{name}` is no name of an interface")),
            Match::Mac(mac) if !is_mac(mac) => Err(format!("`{mac}` is no Ethernet address")),
            _ => Ok(self),
        }
    }
}

fn is_mac(text: &str) -> bool {
    let mut bytes = text.split(':');
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    bytes.clone().count() == 6 && bytes.all(is_byte)
}

/// `network-config` of cloud-init, with or without the key around it.
#[derive(Deserialize)]
struct Document {
    network: Option<Config>,
    #[serde(flatten)]
    bare: Config,
}

/// Version 2 has `ethernets`, version 1 has `config`.
#[derive(Deserialize, Default)]
struct Config {
    version: Option<u8>,
    #[serde(default)]
    ethernets: BTreeMap<String, Ethernet>,
    #[serde(default, rename = "config")]
    items: Vec<Item>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Ethernet {
    r#match: Option<EthernetMatch>,
    set_name: Option<String>,
    dhcp4: bool,
    dhcp6: bool,
    addresses: Vec<String>,
    gateway4: Option<String>,
    gateway6: Option<String>,
    routes: Vec<Route>,
    nameservers: NameServers,
    optional: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EthernetMatch {
    macaddress: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Route {
    to: String,
    via: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NameServers {
    addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Item {
    Physical {
        name: String,
        mac_address: Option<String>,
        #[serde(default)]
        subnets: Vec<Subnet>,
    },
    NameServer {
        address: OneOrMore,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

#[derive(Deserialize)]
struct Subnet {
    r#type: String,
    address: Option<String>,
    netmask: Option<String>,
    gateway: Option<String>,
    dns_nameservers: Option<OneOrMore>,
}

/// Reads a `network-config`: the first interface in it is for management; the names of others come back, too.
pub fn from_cloud_config(text: &str) -> Result<(Network, Vec<String>), String> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let config = document.network.unwrap_or(document.bare);
    let (network, others) = match config.version {
        Some(1) => from_version_1(config.items)?,
        Some(2) => from_version_2(config.ethernets)?,
        _ => return Err("`version` must be 1 or 2".to_owned()),
    };
    Ok((network.check()?, others))
}

fn from_version_2(ethernets: BTreeMap<String, Ethernet>) -> Result<(Network, Vec<String>), String> {
    let mut all = ethernets.into_iter();
    let (id, ethernet) = all.next().ok_or("`ethernets` names no interface")?;
    let found = ethernet.r#match.unwrap_or(EthernetMatch { macaddress: None, name: None });
    let name = found.name.or(ethernet.set_name).unwrap_or(id);
    let interface = found.macaddress.map_or(Match::Name(name), |mac| Match::Mac(mac.to_lowercase()));
    let is_default = |route: &&Route| ["default", "0.0.0.0/0", "::/0"].contains(&route.to.as_str());
    let by_route = ethernet.routes.iter().filter(is_default).map(|route| &route.via);
    let gateways = ethernet.gateway4.iter().chain(&ethernet.gateway6).chain(by_route);
    let network = Network {
        interface,
        dhcp: ethernet.dhcp4 || ethernet.dhcp6,
        addresses: ethernet.addresses.iter().map(|text| network(text)).collect::<Result<_, _>>()?,
        gateways: gateways.map(|text| address(text)).collect::<Result<_, _>>()?,
        dns: ethernet.nameservers.addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
    };
    Ok((network, all.map(|(id, _)| id).collect()))
}

fn from_version_1(items: Vec<Item>) -> Result<(Network, Vec<String>), String> {
    let (mut found, mut others, mut servers) = (None, Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Physical { name, mac_address, subnets } if found.is_none() => {
                found = Some((name, mac_address, subnets));
            }
            Item::Physical { name, .. } => others.push(name),
            Item::NameServer { address } => servers.extend(address.into_vec()),
            Item::Other => {}
        }
    }
    let (name, mac, subnets) = found.ok_or("`config` names no interface of type physical")?;
    let interface = mac.map_or(Match::Name(name), |mac| Match::Mac(mac.to_lowercase()));
    let mut network = Network { interface, dhcp: false, addresses: Vec::new(), gateways: Vec::new(), dns: Vec::new() };
    for subnet in subnets {
        network.dhcp |= subnet.r#type.starts_with("dhcp");
        if let Some(text) = subnet.address {
            network.addresses.push(masked(&text, subnet.netmask.as_deref())?);
        }
        network.gateways.extend(subnet.gateway.as_deref().map(address).transpose()?);
        servers.extend(subnet.dns_nameservers.map(OneOrMore::into_vec).unwrap_or_default());
    }
    network.dns = servers.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
    Ok((network, others))
}

/// An address with its prefix, or with a mask beside it.
fn masked(text: &str, mask: Option<&str>) -> Result<IpNetwork, String> {
    let Some(mask) = mask.filter(|_| !text.contains('/')) else { return network(text) };
    IpNetwork::with_netmask(address(text)?, address(mask)?)
        .map_err(|error| format!("`{text}` with mask `{mask}`: {error}"))
}

/// An address with its prefix.
pub fn network(text: &str) -> Result<IpNetwork, String> {
    let parsed = text.contains('/').then(|| text.trim().parse().ok()).flatten();
    parsed.ok_or_else(|| format!("`{text}` is no address with a prefix, like 192.0.2.10/24"))
}

/// An address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no address"))
}
