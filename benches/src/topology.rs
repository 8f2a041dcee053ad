//! Host A, a firewall and host B, each in a namespace, joined by veth pairs. Without firewall: A and B, joined directly.
//!
//! ```text
//! A  a0 10.0.1.7 --- f0 10.0.1.1  F  f1 10.0.2.1 --- 10.0.2.7 b0  B
//! ```

use anyhow::Result;
use vfw::interface::{inspect, set_feature};

use crate::place::Place;

/// MAC of host A.
pub const MAC_A: [u8; 6] = [2, 0, 0, 0, 1, 7];
/// MAC of the firewall towards A.
pub const MAC_F0: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// MAC of the firewall towards B.
pub const MAC_F1: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// MAC of host B.
pub const MAC_B: [u8; 6] = [2, 0, 0, 0, 2, 7];
/// Address of host A.
pub const ADDRESS_A: [u8; 4] = [10, 0, 1, 7];
/// Address of host B.
pub const ADDRESS_B: [u8; 4] = [10, 0, 2, 7];

/// The namespaces of one path.
pub struct Topology {
    /// Host A: the generator, the client.
    pub a: Place,
    /// The firewall; nothing when A and B are joined directly.
    pub firewall: Option<Place>,
    /// Host B: the sink, the server.
    pub b: Place,
    /// Index of `a0`.
    pub a0: u32,
    /// Index of `b0`.
    pub b0: u32,
}

impl Topology {
    /// A and B, without addresses, with or without a firewall between them.
    pub fn new(with_firewall: bool) -> Result<Self> {
        let (a, b) = (Place::new()?, Place::new()?);
        let firewall = with_firewall.then(Place::new).transpose()?;
        match &firewall {
            Some(f) => {
                a.ip(&[pair(("a0", MAC_A), ("f0", MAC_F0), f)])?;
                b.ip(&[pair(("b0", MAC_B), ("f1", MAC_F1), f)])?;
                f.ip(&up(&["f0", "f1"]))?;
            }
            None => a.ip(&[pair(("a0", MAC_A), ("b0", MAC_B), &b)])?,
        }
        a.ip(&up(&["a0"]))?;
        b.ip(&up(&["b0"]))?;
        let (a0, b0) = (poll(&a, "a0")?, poll(&b, "b0")?);
        if let Some(f) = &firewall {
            poll(f, "f0")?;
            poll(f, "f1")?;
        }
        Ok(Self { a, firewall, b, a0, b0 })
    }

    /// Gives the hosts their addresses. Without a firewall, they reach each other directly.
    pub fn address_hosts(&self) -> Result<()> {
        let host = |interface: &str, net: u8| {
            let gateway = match &self.firewall {
                Some(_) => format!("route add default via 10.0.{net}.1"),
                None => format!("route add default dev {interface}"),
            };
            vec![format!("address add 10.0.{net}.7/24 dev {interface}"), gateway]
        };
        self.a.ip(&host("a0", 1))?;
        self.b.ip(&host("b0", 2))
    }

    /// Lets the firewall's kernel route.
    pub fn route_by_kernel(&self) -> Result<()> {
        let Some(f) = &self.firewall else { return Ok(()) };
        f.ip(&[
            "address add 10.0.1.1/24 dev f0".to_owned(),
            "address add 10.0.2.1/24 dev f1".to_owned(),
            format!("neigh add 10.0.1.7 lladdr {} dev f0 nud permanent", text(MAC_A)),
            format!("neigh add 10.0.2.7 lladdr {} dev f1 nud permanent", text(MAC_B)),
        ])?;
        f.set("/proc/sys/net/ipv4/ip_forward", "1")
    }
}

fn pair(own: (&str, [u8; 6]), other: (&str, [u8; 6]), place: &Place) -> String {
    let (own_mac, other_mac, path) = (text(own.1), text(other.1), place.path());
    format!("link add {} address {own_mac} type veth peer name {} address {other_mac} netns {path}", own.0, other.0)
}

fn up(names: &[&str]) -> Vec<String> {
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
