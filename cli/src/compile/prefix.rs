//! Prefixes in the 128-bit form, where IPv4 is a part of IPv6.

use std::cmp::Ordering;

use firewall_core::Address;
use ipnetwork::IpNetwork;

/// First bits of a prefix in the 128-bit form, and how many of them count.
///
/// In order, a prefix comes before those inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Prefix {
    pub(super) address: Address,
    pub(super) length: u8,
}

/// Where IPv4 addresses lie: `::ffff:0:0/96`.
pub(super) const MAPPED: Prefix = Prefix { address: Address::from_v4([0; 4]), length: 96 };

/// Every address of both families.
pub(super) const ANY: Prefix = Prefix { address: Address::UNSPECIFIED, length: 0 };

impl Prefix {
    pub(super) fn of(network: IpNetwork) -> Self {
        let length = if network.is_ipv4() { network.prefix() + MAPPED.length } else { network.prefix() };
        let address = Address::from(network.ip()).and(&Address::mask(length));
        Self { address, length }
    }

    /// Whether another one lies inside of this one, or is the same.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.length <= other.length && other.address.matches(&self.address, &Address::mask(self.length))
    }

    /// Whether IPv4 addresses lie inside of this IPv6 prefix.
    pub(super) fn holds_mapped(&self) -> bool {
        self.length < MAPPED.length && MAPPED.address.matches(&self.address, &Address::mask(self.length))
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.address.bytes(), self.length).cmp(&(other.address.bytes(), other.length))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Prefix> for super::forest::Prefix {
    fn from(prefix: Prefix) -> Self {
        Self { first: u128::from_be_bytes(prefix.address.bytes()), length: prefix.length }
    }
}
