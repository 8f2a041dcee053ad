//! Offloads and XDP abilities of an interface, by the generic netlink families `ethtool` and `netdev`.

use std::collections::HashSet;
use std::io;

use serde::Serialize;

use super::netlink::{Attributes, Netlink, attributes_of};

// linux/ethtool_netlink.h
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const FEATURES_HARDWARE: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

// linux/netdev.h
const NETDEV_DEV_GET: u8 = 1;
const NETDEV_IFINDEX: u16 = 1;
const NETDEV_XDP_FEATURES: u16 = 3;

/// A switchable property of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// On; can be turned off.
    On,
    /// Off; can be turned on.
    Off,
    /// On for good.
    FixedOn,
    /// Off for good, or unknown to this kernel.
    #[default]
    FixedOff,
}

impl Feature {
    /// Whether it is on now.
    pub fn is_on(self) -> bool {
        matches!(self, Self::On | Self::FixedOn)
    }

    /// Whether it cannot be changed.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::FixedOn | Self::FixedOff)
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::FixedOn, _) | (_, Self::FixedOn) => Self::FixedOn,
            (Self::On, _) | (_, Self::On) => Self::On,
            (Self::Off, _) | (_, Self::Off) => Self::Off,
            _ => Self::FixedOff,
        }
    }
}

/// The offloads that matter to a firewall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Takes the VLAN tag (802.1Q or 802.1ad) out of received frames before any program sees them.
    pub rx_vlan_offload: Feature,
    /// Drops received frames of VLANs that the kernel has not told the NIC of; vfw's VLANs are no devices of the kernel.
    pub rx_vlan_filter: Feature,
    /// Keeps the VLAN tag of a sent frame beside it.
    pub tx_vlan_offload: Feature,
    /// Lets the stack send frames whose checksum is not finished.
    pub tx_checksum: Feature,
    /// Takes TCP super-packets from the stack.
    pub tso: Feature,
    /// The stack cuts super-packets late.
    pub gso: Feature,
    /// The stack merges received segments.
    pub gro: Feature,
    /// The hardware merges received segments.
    pub lro: Feature,
}

/// The state of each feature by the kernel's own name.
pub(super) struct FeatureSets {
    changeable: HashSet<String>,
    active: HashSet<String>,
}

impl FeatureSets {
    pub(super) fn read(index: u32) -> io::Result<Self> {
        let mut netlink = Netlink::generic()?;
        let family = ethtool(&mut netlink)?;
        let answers = netlink.call_generic(family, FEATURES_GET, request_header(index))?;
        let mut hardware = HashSet::new();
        let mut nochange = HashSet::new();
        let mut active = HashSet::new();
        for (kind, value) in answers.iter().flat_map(|answer| attributes_of(answer)) {
            match kind {
                FEATURES_HARDWARE => hardware = bits(value, true),
                FEATURES_ACTIVE => active = bits(value, false),
                FEATURES_NOCHANGE => nochange = bits(value, false),
                _ => {}
            }
        }
        Ok(Self { changeable: hardware.difference(&nochange).cloned().collect(), active })
    }

    pub(super) fn state(&self, name: &str) -> Feature {
        match (self.active.contains(name), self.changeable.contains(name)) {
            (true, true) => Feature::On,
            (true, false) => Feature::FixedOn,
            (false, true) => Feature::Off,
            (false, false) => Feature::FixedOff,
        }
    }

    pub(super) fn summary(&self) -> Features {
        let any = |names: &[&str]| names.iter().fold(Feature::FixedOff, |sum, name| sum.or(self.state(name)));
        Features {
            rx_vlan_offload: any(&["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"]),
            rx_vlan_filter: self.state("rx-vlan-filter"),
            tx_vlan_offload: any(&["tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"]),
            tx_checksum: any(&["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"]),
            tso: any(&["tx-tcp-segmentation", "tx-tcp6-segmentation"]),
            gso: self.state("tx-generic-segmentation"),
            gro: self.state("rx-gro"),
            lro: self.state("rx-lro"),
        }
    }
}

/// Asks for `names` to be on or off; the driver may keep some, so read them back.
pub(super) fn write_features(netlink: &mut Netlink, index: u32, names: &[&str], on: bool) -> io::Result<()> {
    let family = ethtool(netlink)?;
    let wanted = names.iter().fold(Attributes::default(), |list, name| {
        list.nest(BITS_BIT, &Attributes::default().text(BIT_NAME, name).flag(BIT_VALUE, on))
    });
    let request = request_header(index).nest(FEATURES_WANTED, &Attributes::default().nest(BITSET_BITS, &wanted));
    netlink.call_generic(family, FEATURES_SET, request).map(drop)
}

fn ethtool(netlink: &mut Netlink) -> io::Result<u16> {
    netlink.family("ethtool")?.ok_or_else(|| {
        io::Error::new(io::ErrorKind::Unsupported, "the kernel lacks ethtool netlink (Linux 5.6 or later)")
    })
}

fn request_header(index: u32) -> Attributes {
    Attributes::default().nest(HEADER, &Attributes::default().number(HEADER_INDEX, index))
}

/// Names in a bitset; with `masked`, of the bits that are set and not of all that are listed.
fn bits(bitset: &[u8], masked: bool) -> HashSet<String> {
    attributes_of(bitset)
        .filter(|(kind, _)| *kind == BITSET_BITS)
        .flat_map(|(_, list)| attributes_of(list))
        .filter(|(kind, bit)| *kind == BITS_BIT && (!masked || attributes_of(bit).any(|(kind, _)| kind == BIT_VALUE)))
        .filter_map(|(_, bit)| attributes_of(bit).find(|(kind, _)| *kind == BIT_NAME))
        .map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
        .collect()
}

/// What the driver can do for XDP programs, as the kernel tells since 6.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent abilities, named as the kernel names them")]
pub struct XdpFeatures {
    /// Runs XDP programs in the driver.
    pub basic: bool,
    /// Takes redirect as a verdict.
    pub redirect: bool,
    /// Sends frames that were redirected to it; many drivers say so only while a program is attached.
    pub ndo_xmit: bool,
    /// Gives programs frames of several buffers.
    pub rx_sg: bool,
    /// Sends redirected frames of several buffers.
    pub ndo_xmit_sg: bool,
    /// `AF_XDP` without copying.
    pub zero_copy: bool,
}

impl XdpFeatures {
    fn from_bits(bits: u64) -> Self {
        let has = |bit: u32| bits & (1 << bit) != 0;
        Self {
            basic: has(0),
            redirect: has(1),
            ndo_xmit: has(2),
            zero_copy: has(3),
            rx_sg: has(5),
            ndo_xmit_sg: has(6),
        }
    }
}

/// XDP abilities of the interface; nothing on kernels that cannot tell.
pub(super) fn xdp_features(index: u32) -> io::Result<Option<XdpFeatures>> {
    let mut netlink = Netlink::generic()?;
    let Some(family) = netlink.family("netdev")? else {
        return Ok(None);
    };
    let request = Attributes::default().number(NETDEV_IFINDEX, index);
    let answers = netlink.call_generic(family, NETDEV_DEV_GET, request)?;
    Ok(answers
        .iter()
        .flat_map(|answer| attributes_of(answer))
        .find(|(kind, _)| *kind == NETDEV_XDP_FEATURES)
        .and_then(|(_, value)| value.try_into().ok())
        .map(|value| XdpFeatures::from_bits(u64::from_ne_bytes(value))))
}
