//! The small network in which all scenarios take place: seven zones on six interfaces, one known host in each.

use crate::packet::{Ethernet, Ip, Mac};

/// The zones, in the order of their identifiers, and one static route.
pub const ZONES: &str = "\
zone app   { interface eth1  vlan 10   address 10.0.10.1/24, fd00:10::1/64 }
zone db    { interface eth2  vlan 20   address 10.0.20.1/24, fd00:20::1/64 }
zone lab   { interface eth3            address 10.0.30.1/24, fd00:30::1/64 }
zone red   { interface eth4  vlan 100  address 10.0.100.1/24, fd00:100::1/64 }
zone blue  { interface eth4  vlan 200  address 10.0.200.1/24, fd00:200::1/64 }
zone guest { interface eth5            address 10.0.50.1/24, fd00:50::1/64 }
zone small { interface eth6            address 10.0.60.1/24, fd00:60::1/64 }
route 10.9.0.0/16 via 10.0.20.254
route fd09::/16 via fd00:20::fe
";

const NAMES: [&str; 7] = ["app", "db", "lab", "red", "blue", "guest", "small"];

/// The identifier of a zone.
pub fn zone_id(name: &str) -> u16 {
    NAMES.iter().position(|known| *known == name).expect("a zone of the topology") as u16
}

/// An interface of vfw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU.
    pub mtu: u32,
    /// Frames may come in with their checksum left to hardware.
    pub partial_checksums: bool,
}

const fn interface(name: &'static str, number: u8) -> Interface {
    Interface { name, mac: [2, 0, 0, 0, number, 1], mtu: 1500, partial_checksums: false }
}

/// The interfaces.
pub const INTERFACES: [Interface; 6] = [
    interface("eth1", 1),
    interface("eth2", 2),
    interface("eth3", 3),
    interface("eth4", 4),
    Interface { partial_checksums: true, ..interface("eth5", 5) },
    Interface { mtu: 1280, ..interface("eth6", 6) },
];

/// Which IP a scenario speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// `v4` or `v6`.
    pub fn name(self) -> &'static str {
        self.pick("v4", "v6")
    }

    /// One of two, by family.
    pub fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }
}

/// A host that vfw knows.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    name: &'static str,
    v4: &'static str,
    v6: &'static str,
    /// Its MAC.
    pub mac: Mac,
    /// vfw's MAC in its zone.
    pub gateway: Mac,
    /// The interface behind which it is.
    pub interface: &'static str,
    /// Its VLAN; 0 for none.
    pub vlan: u16,
}

macro_rules! host {
    ($(#[$doc:meta])* $id:ident, $name:literal, $number:literal, $prefix4:literal, $prefix6:literal, $vlan:literal) => {
        $(#[$doc])*
        pub const $id: Host = Host {
            name: $name,
            v4: concat!($prefix4, ".7"),
            v6: concat!($prefix6, "::7"),
            mac: [2, 0, 0, 1, $number, $vlan as u8],
            gateway: [2, 0, 0, 0, $number, 1],
            interface: concat!("eth", $number),
            vlan: $vlan,
        };
    };
}

host!(/// In VLAN 10.
    APP, "app", 1, "10.0.10", "fd00:10", 10);
host!(/// In VLAN 20.
    DB, "db", 2, "10.0.20", "fd00:20", 20);
host!(/// Without a tag.
    LAB, "lab", 3, "10.0.30", "fd00:30", 0);
host!(/// On the trunk, in VLAN 100.
    RED, "red", 4, "10.0.100", "fd00:100", 100);
host!(/// On the trunk, in VLAN 200.
    BLUE, "blue", 4, "10.0.200", "fd00:200", 200);
host!(/// Leaves checksums to hardware.
    GUEST, "guest", 5, "10.0.50", "fd00:50", 0);
host!(/// Behind an interface of MTU 1280.
    SMALL, "small", 6, "10.0.60", "fd00:60", 0);

impl Host {
    /// Its zone.
    pub fn zone(&self) -> u16 {
        zone_id(self.name)
    }

    /// Its address.
    pub fn address(&self, family: Family) -> &'static str {
        family.pick(self.v4, self.v6)
    }

    /// Another address of its subnet, by its last number.
    pub fn neighbour(&self, family: Family, last: &str) -> String {
        let own = self.address(family);
        format!("{}{last}", own.strip_suffix('7').unwrap_or(own))
    }

    /// The gateway's address in its zone.
    pub fn gateway_address(&self, family: Family) -> String {
        self.neighbour(family, "1")
    }

    /// The link layer of a frame that it sends to its gateway.
    pub fn link(&self) -> Ethernet {
        let link = Ethernet::new(self.mac, self.gateway);
        if self.vlan == 0 { link } else { link.vlan(self.vlan) }
    }

    /// The link layer of a frame that its gateway sends to it.
    pub fn from_gateway(&self) -> Ethernet {
        super::from_gateway(self)
    }

    /// A packet that it sends to another host.
    pub fn to(&self, other: &Host, family: Family) -> Ip {
        self.link().ip(self.address(family), other.address(family))
    }
}
