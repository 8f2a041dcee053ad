//! A client, a server and what stands between them, each in a namespace, joined by veth pairs.
//!
//! ```text
//! A  a0 10.0.1.7 --- f0 10.0.1.1  F  f1 10.0.2.1 --- 10.0.2.7 b0  B
//!                                 f2 10.3.255.254
//!                                 |
//!                                 c0 10.3.0.1 and following  C, the attacker, where one is wanted
//!                                 d0 --- d1                  a dead end in C
//! ```
//!
//! By the direct way there is no F, and a0 and b0 are one pair. With IPv6, A is `fd00:1::7` and B `fd00:2::7`, and F ends with 1 in both
//! networks; there is no C then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::path::Path;
use super::place::Place;
use crate::bench::report::Family;
use crate::interface::{inspect, set_feature};

/// MAC of host A.
pub const MAC_A: [u8; 6] = [2, 0, 0, 0, 1, 7];
/// MAC of the firewall towards A.
pub const MAC_F0: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// MAC of the firewall towards B.
pub const MAC_F1: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// MAC of host B.
pub const MAC_B: [u8; 6] = [2, 0, 0, 0, 2, 7];
/// MAC of the firewall towards C.
pub const MAC_F2: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// MAC of host C.
pub const MAC_C: [u8; 6] = [2, 0, 0, 0, 3, 7];
/// Address of host A.
pub const ADDRESS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
/// Address of host B.
pub const ADDRESS_B: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 7);
/// IPv6 address of host A.
pub const ADDRESS_A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 7);
/// IPv6 address of host B.
pub const ADDRESS_B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 7);
/// An address in B's network that leads to B, and that B does not take for its own: what goes there ends early in B's stack.
pub const ADDRESS_NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 8);
/// First address of C, which has 60,000.
pub const ADDRESS_C: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

/// The namespaces of one path.
pub struct Topology {
    /// Host A: the generator, the client.
    pub a: Place,
    /// What forwards; nothing when A and B are joined directly.
    pub firewall: Option<Place>,
    /// Host B: the sink, the server.
    pub b: Place,
    /// Host C, if wanted.
    pub attacker: Option<Attacker>,
    /// Index of `a0`.
    pub a0: u32,
    /// Index of `b0`.
    pub b0: u32,
}

/// Host C.
pub struct Attacker {
    /// Its namespace.
    pub place: Place,
    /// Index of `c0`, which leads to the firewall.
    pub c0: u32,
    /// Index of `d0`, which leads to `d1`.
    pub d0: u32,
    /// Index of `d1`, where nothing is.
    pub d1: u32,
}

impl Topology {
    /// The hosts of a path, with addresses; between them nothing forwards yet. `attacked`: with host C, where something forwards.
    pub fn new(path: Path, family: Family, attacked: bool) -> Result<Self> {
        let (a, b) = (Place::new(family)?, Place::new(family)?);
        let firewall = (path != Path::Direct).then(|| Place::new(family)).transpose()?;
        let attacker = firewall.as_ref().filter(|_| attacked).map(Attacker::new).transpose()?;
        match &firewall {
            Some(f) => {
                a.ip(&[pair(("a0", MAC_A), ("f0", MAC_F0), f)])?;
                b.ip(&[pair(("b0", MAC_B), ("f1", MAC_F1), f)])?;
                f.ip(&up(&["f0", "f1"]))?;
            }
            None => a.ip(&[pair(("a0", MAC_A), ("b0", MAC_B), &b)])?,
        }
        let [address_a, address_b] = addresses(family);
        a.ip(&host(path, ("a0", address_a), (address_b, MAC_B), MAC_F0))?;
        b.ip(&host(path, ("b0", address_b), (address_a, MAC_A), MAC_F1))?;
        let (a0, b0) = (poll(&a, "a0")?, poll(&b, "b0")?);
        if let Some(f) = &firewall {
            poll(f, "f0")?;
            poll(f, "f1")?;
        }
        Ok(Self { a, firewall, b, attacker, a0, b0 })
    }
}

impl Attacker {
    /// Beside a firewall.
    fn new(f: &Place) -> Result<Self> {
        let place = Place::new(Family::Ipv4)?;
        place.ip(&[pair(("c0", MAC_C), ("f2", MAC_F2), f), pair(("d0", MAC_C), ("d1", MAC_F2), &place)])?;
        f.ip(&up(&["f2"]))?;
        place.ip(&up(&["c0", "d0", "d1"]))?;
        poll(f, "f2")?;
        let [c0, d0, d1] = ["c0", "d0", "d1"].map(|name| poll(&place, name));
        Ok(Self { c0: c0?, d0: d0?, d1: d1?, place })
    }
}

/// Addresses of A and B.
pub(super) const fn addresses(family: Family) -> [IpAddr; 2] {
    match family {
        Family::Ipv4 => [IpAddr::V4(ADDRESS_A), IpAddr::V4(ADDRESS_B)],
        Family::Ipv6 => [IpAddr::V6(ADDRESS_A6), IpAddr::V6(ADDRESS_B6)],
    }
}

/// The firewall's address in the network of a host.
pub(super) fn gateway(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) => Ipv4Addr::from_bits(host.to_bits() & !0xff | 1).into(),
        IpAddr::V6(host) => Ipv6Addr::from_bits(host.to_bits() & !0xff | 1).into(),
    }
}

/// The line of `ip -batch` that gives an address to an interface, which does not ask first whether it is taken.
pub(super) fn address(address: IpAddr, interface: &str) -> String {
    match address {
        IpAddr::V4(_) => format!("address add {address}/24 dev {interface}"),
        IpAddr::V6(_) => format!("address add {address}/64 dev {interface} nodad"),
    }
}

/// The configuration of a host. Whom it talks to is known beforehand: no measurement waits for ARP.
fn host(
    path: Path,
    (interface, own): (&str, IpAddr),
    (other, other_mac): (IpAddr, [u8; 6]),
    gateway_mac: [u8; 6],
) -> Vec<String> {
    let mut lines = up(&["lo", interface]);
    lines.push(address(own, interface));
    let everywhere = if own.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    if path.is_one_network() {
        lines.push(format!("route add {everywhere} dev {interface}"));
        lines.push(neighbour(other, other_mac, interface));
    } else {
        let gateway = gateway(own);
        lines.push(neighbour(gateway, gateway_mac, interface));
        lines.push(format!("route add {everywhere} via {gateway}"));
    }
    lines
}

/// The line of `ip -batch` that makes a neighbour known for good.
pub(super) fn neighbour(address: IpAddr, mac: [u8; 6], interface: &str) -> String {
    format!("neigh add {address} lladdr {} dev {interface} nud permanent", text(mac))
}

fn pair(own: (&str, [u8; 6]), other: (&str, [u8; 6]), place: &Place) -> String {
    let (own_mac, other_mac, path) = (text(own.1), text(other.1), place.path());
    format!("link add {} address {own_mac} type veth peer name {} address {other_mac} netns {path}", own.0, other.0)
}

/// The lines of `ip -batch` that set interfaces up.
pub(super) fn up(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("link set {name} up")).collect()
}

/// A veth takes frames that XDP sends to it only while it polls, which GRO makes it do, also towards the stack.
fn poll(place: &Place, name: &str) -> Result<u32> {
    place.run(|| {
        set_feature(name, "rx-gro", true)?;
        Ok(inspect(name)?.index)
    })
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
