//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Sums are of 16-bit big-endian words.

/// Adds the big-endian words of `bytes` (`N` even).
#[inline(always)]
pub fn sum_words<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    let mut index = 0;
    while index + 1 < N {
        sum += u32::from(u16::from_be_bytes([bytes[index], bytes[index + 1]]));
        index += 2;
    }
    sum
}

/// Folds the carries of a sum of at most 2^16 words into 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}

/// The checksum after one 16-bit word changed from `old` to `new`: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
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
    }
}
