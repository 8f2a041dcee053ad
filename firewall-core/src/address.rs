//! One address form for both families, so that every stage exists once.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 128-bit address in network byte order; IPv4 is mapped to `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
///
/// The words hold the bytes as they stand in memory, so equality and masks work on any byte order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Address {
    /// The 16 bytes, four at a time, as loaded from memory.
    pub words: [u32; 4],
}

const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// `::`, also "no address" in records.
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };

    /// From the four bytes of an IPv4 header field.
    #[inline(always)]
    pub const fn from_v4(bytes: [u8; 4]) -> Self {
        Self { words: [0, 0, MAPPED, u32::from_ne_bytes(bytes)] }
    }

    /// From the sixteen bytes of an IPv6 header field.
    #[inline(always)]
    pub const fn from_v6(b: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// The four bytes of a mapped IPv4 address (the last four of any other).
    #[inline(always)]
    pub const fn v4_bytes(&self) -> [u8; 4] {
        self.words[3].to_ne_bytes()
    }

    /// The sixteen bytes in network order.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; 16] {
        let (a, b) = (self.words[0].to_ne_bytes(), self.words[1].to_ne_bytes());
        let (c, d) = (self.words[2].to_ne_bytes(), self.words[3].to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether this is `::` (or the "no address" of a record).
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 0
    }

    /// Multicast, limited broadcast or class E in IPv4 (224.0.0.0/3), `ff00::/8` in IPv6.
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        if self.is_v4() { self.v4_bytes()[0] >= 224 } else { self.words[0].to_ne_bytes()[0] == 0xff }
    }

    /// An address that no packet on a wire may carry as its source: unspecified, `0.0.0.0/8`, loopback, multicast
    /// (RFC 1812 section 5.3.7, RFC 4291 section 2.7).
    #[inline(always)]
    pub const fn is_martian_source(&self) -> bool {
        if self.is_v4() {
            let first = self.v4_bytes()[0];
            first == 0 || first == 127 || first >= 224
        } else {
            let first = self.words[0].to_ne_bytes()[0];
            let low_words_zero = self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0;
            first == 0xff
                || (low_words_zero && (self.words[3] == 0 || self.words[3] == u32::from_ne_bytes([0, 0, 0, 1])))
        }
    }

    /// `fe80::/10`: never routed (RFC 4291 section 2.5.6).
    #[inline(always)]
    pub const fn is_link_local(&self) -> bool {
        let b = self.words[0].to_ne_bytes();
        b[0] == 0xfe && b[1] & 0xc0 == 0x80
    }

    /// A fixed total order on addresses, the same on every CPU of one machine, and not that of their numbers; it makes
    /// both directions of a flow share one key.
    #[inline(always)]
    pub const fn is_below(&self, other: &Self) -> bool {
        let (high, other_high) = (self.upper(), other.upper());
        if high == other_high { self.lower() < other.lower() } else { high < other_high }
    }

    #[inline(always)]
    const fn upper(&self) -> u64 {
        (self.words[1] as u64) << 32 | self.words[0] as u64
    }

    #[inline(always)]
    const fn lower(&self) -> u64 {
        (self.words[3] as u64) << 32 | self.words[2] as u64
    }

    /// Whether the address lies under `value` when only the bits of `mask` count.
    #[inline(always)]
    pub const fn matches(&self, value: &Self, mask: &Self) -> bool {
        (self.words[0] & mask.words[0]) == value.words[0]
            && (self.words[1] & mask.words[1]) == value.words[1]
            && (self.words[2] & mask.words[2]) == value.words[2]
            && (self.words[3] & mask.words[3]) == value.words[3]
    }

    /// The mask of a prefix of `length` bits (0 to 128, counted in the 128-bit form).
    pub fn mask(length: u8) -> Self {
        let bits = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
        Self::from_v6(bits.to_be_bytes())
    }

    /// Bit by bit `and`.
    #[must_use]
    pub fn and(&self, mask: &Self) -> Self {
        let [a, b, c, d] = self.words;
        let [w, x, y, z] = mask.words;
        Self { words: [a & w, b & x, c & y, d & z] }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4_bytes()))
        } else {
            Self::V6(Ipv6Addr::from(address.bytes()))
        }
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_forms() {
        let host = Address::from_v4([10, 0, 10, 7]);
        assert!(host.is_v4());
        assert_eq!(IpAddr::from(host), IpAddr::from([10, 0, 10, 7]));
        let mask = Address::mask(96 + 24);
        assert_eq!(IpAddr::from(host.and(&mask)), IpAddr::from([10, 0, 10, 0]));
        assert!(host.matches(&Address::from_v4([10, 0, 10, 0]), &mask));
        assert_eq!(Address::mask(0), Address::UNSPECIFIED);
        assert_eq!(Address::mask(128).bytes(), [0xff; 16]);
    }

    #[test]
    fn martians() {
        for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"] {
            let address: IpAddr = bad.parse().expect("address");
            assert!(Address::from(address).is_martian_source(), "{bad}");
        }
        for good in ["10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "fe80::1", "::2"] {
            let address: IpAddr = good.parse().expect("address");
            assert!(!Address::from(address).is_martian_source(), "{good}");
        }
    }

    #[test]
    fn order_is_total() {
        let (a, b) = (Address::from_v4([1, 2, 3, 4]), Address::from_v4([4, 3, 2, 1]));
        assert!(a.is_below(&b) != b.is_below(&a));
        assert!(!a.is_below(&a));
    }
}
