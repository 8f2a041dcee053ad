//! Prefixes in the 128-bit form, where IPv4 is a part of IPv6.

use firewall_core::Address;
use ipnetwork::IpNetwork;

/// First bits of a prefix in the 128-bit form, and how many of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    pub(super) fn mask(&self) -> Address {
        Address::mask(self.length)
    }

    /// Whether IPv4 addresses lie inside of this IPv6 prefix.
    pub(super) fn holds_mapped(&self) -> bool {
        self.length < MAPPED.length && MAPPED.address.matches(&self.address, &self.mask())
    }

    /// The same addresses without the IPv4 ones: at each bit from here to `::ffff:0:0/96` the way not taken.
    pub(super) fn without_mapped(self) -> Vec<Self> {
        if !self.holds_mapped() {
            return vec![self];
        }
        let mapped = u128::from_be_bytes(MAPPED.address.bytes());
        (self.length + 1..=MAPPED.length)
            .map(|length| {
                let other = mapped ^ (1 << (128 - u32::from(length)));
                let address = Address::from_v6(other.to_be_bytes()).and(&Address::mask(length));
                Self { address, length }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_mapped_holds_every_other_address_once() {
        let all = ANY.without_mapped();
        assert_eq!(all.len(), 96);
        let holders = |text: &str| {
            let address = Address::from(text.parse::<std::net::IpAddr>().expect("address"));
            all.iter().filter(|prefix| address.matches(&prefix.address, &prefix.mask())).count()
        };
        for text in ["::", "::1", "fd00::1", "2001:db8::1", "64:ff9b::1", "::fffe:1.2.3.4", "::1:0:0:0", "ffff::"] {
            assert_eq!(holders(text), 1, "{text}");
        }
        for text in ["0.0.0.0", "10.0.0.1", "255.255.255.255"] {
            assert_eq!(holders(text), 0, "{text}");
        }
    }

    #[test]
    fn other_prefixes_stay_as_they_are() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            let prefix = Prefix::of(text.parse().expect("prefix"));
            assert_eq!(prefix.without_mapped(), [prefix], "{text}");
        }
    }
}
