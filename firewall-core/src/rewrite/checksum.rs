//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are of words as they stand in memory, 32 bits at a time: the order of bytes matters only at the end (RFC 1071
//! section 2 B).

/// Adds the words of `bytes` (`N` a multiple of four).
#[inline(always)]
pub fn sum_words<const N: usize>(bytes: &[u8; N]) -> u64 {
    const { assert!(N.is_multiple_of(4)) };
    let mut sum = 0;
    let mut index = 0;
    while index + 3 < N {
        sum += u64::from(u32::from_ne_bytes([bytes[index], bytes[index + 1], bytes[index + 2], bytes[index + 3]]));
        index += 4;
    }
    sum
}

/// A number as a word of such a sum.
#[inline(always)]
pub const fn word(number: u32) -> u64 {
    number.to_be() as u64
}

/// Folds the carries of a sum of at most sixteen words into 16 bits, in host order.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    u16::from_be(((twice >> 16) + (twice & 0xffff)) as u16)
}

/// The checksum after one 16-bit word changed from `old` to `new`: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let once = (sum >> 16) + (sum & 0xffff);
    !((once >> 16) + (once & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain definition of RFC 1071 over bytes.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn sixteen_words_fold() {
        assert_eq!(fold(sum_words(&[0xff; 64])), 0xffff);
        assert_eq!(fold(sum_words(&[0; 64])), 0);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn update_equals_recomputation(mut bytes: [u8; 20], at in 0usize..10, new: u16) {
            bytes[10] = 0;
            bytes[11] = 0;
            prop_assume!(at != 5);
            let before = !reference(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            // A header that is all zero but for the changed word is where 0x0000 and 0xffff differ; real headers
            // are never all zero.
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            let after = !reference(&bytes);
            prop_assert_eq!(update(before, old, new), after);
        }

        #[test]
        fn sum_matches_reference(bytes: [u8; 40]) {
            prop_assert_eq!(fold(sum_words(&bytes)), reference(&bytes));
        }

        #[test]
        fn numbers_are_words_in_network_order(bytes: [u8; 40], number: u32) {
            let mut all = bytes.to_vec();
            all.extend(number.to_be_bytes());
            prop_assert_eq!(fold(sum_words(&bytes) + word(number)), reference(&all));
        }
    }
}
