//! [`Frame`] over a byte vector.

use firewall_core::parse::MAX_HEADERS;
use firewall_core::{DropReason, Frame, Link};

/// One frame in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFrame {
    /// From the destination MAC on.
    pub bytes: Vec<u8>,
    /// The 802.1Q tag control information that a NIC took out of the bytes.
    pub stripped_tag: Option<u16>,
    /// Payload bytes of each segment of a GSO super-packet, else 0.
    pub gso_size: u32,
}

/// Nothing that the pipeline builds is larger.
const MAX_LENGTH: u32 = 65_536 + 18;

impl MemoryFrame {
    /// A frame with its tag, if any, in the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, stripped_tag: None, gso_size: 0 }
    }

    /// A frame whose tag travels beside the bytes.
    #[must_use]
    pub fn with_stripped_tag(mut self, tag: u16) -> Self {
        self.stripped_tag = Some(tag);
        self
    }

    /// A GSO super-packet whose segments have this much payload.
    #[must_use]
    pub fn with_gso_size(mut self, bytes: u32) -> Self {
        self.gso_size = bytes;
        self
    }

    /// Where `count` bytes at `offset` lie: the same bound as in the kernel's adapters.
    fn range(offset: u32, count: usize) -> Result<std::ops::Range<usize>, DropReason> {
        if offset > MAX_HEADERS {
            return Err(DropReason::Truncated);
        }
        let start = offset as usize;
        Ok(start..start + count)
    }
}

impl Frame for MemoryFrame {
    const COMPLETES_CHECKSUMS: bool = true;

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn load<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        let bytes = self.bytes.get(Self::range(offset, N)?).ok_or(DropReason::Truncated)?;
        bytes.try_into().map_err(|_| DropReason::Truncated)
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        self.bytes.get_mut(Self::range(offset, N)?).ok_or(DropReason::Truncated)?.copy_from_slice(&bytes);
        Ok(())
    }

    fn stripped_tag(&self) -> Result<Option<u16>, DropReason> {
        Ok(self.stripped_tag)
    }

    fn gso_size(&self) -> u32 {
        self.gso_size
    }

    fn set_link(&mut self, old_length: u32, link: &Link) -> Result<(), DropReason> {
        let mut header = Vec::with_capacity(link.length() as usize);
        header.extend_from_slice(&link.destination);
        header.extend_from_slice(&link.source);
        if let Some(vlan) = link.vlan {
            header.extend_from_slice(&0x8100u16.to_be_bytes());
            header.extend_from_slice(&vlan.to_be_bytes());
        }
        header.extend_from_slice(&link.ether_type.to_be_bytes());
        if self.bytes.len() < old_length as usize {
            return Err(DropReason::Rewrite);
        }
        self.bytes.splice(..old_length as usize, header);
        self.stripped_tag = None;
        Ok(())
    }

    fn word_changed(&mut self, _old: [u8; 2], _new: [u8; 2]) {}

    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        if length > MAX_LENGTH {
            return Err(DropReason::Rewrite);
        }
        self.bytes.resize(length as usize, 0);
        Ok(())
    }

    fn sum(&self, offset: u32, length: u32) -> Result<u16, DropReason> {
        let end = u64::from(offset) + u64::from(length);
        let bytes = self.bytes.get(offset as usize..end as usize).ok_or(DropReason::Truncated)?;
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            let word = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
            sum += u64::from(u16::from_be_bytes(word));
        }
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        Ok(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(length: u8) -> MemoryFrame {
        MemoryFrame::new((0..length).collect())
    }

    #[test]
    fn loads_are_bounded() {
        let frame = numbered(20);
        assert_eq!(frame.load::<2>(18), Ok([18, 19]));
        assert_eq!(frame.load::<2>(19), Err(DropReason::Truncated));
        assert_eq!(frame.load::<1>(u32::MAX), Err(DropReason::Truncated));
        let large = MemoryFrame::new(vec![7; 1000]);
        assert_eq!(large.load::<1>(MAX_HEADERS), Ok([7]));
        assert_eq!(large.load::<1>(MAX_HEADERS + 1), Err(DropReason::Truncated));
    }

    #[test]
    fn link_header_grows_and_shrinks_and_takes_the_tag_in() {
        let link = Link { destination: [1; 6], source: [2; 6], vlan: Some(20), ether_type: 0x0800 };
        let mut frame = numbered(20).with_stripped_tag(5);
        frame.set_link(14, &link).expect("room");
        assert_eq!(frame.bytes[12..], [0x81, 0, 0, 20, 8, 0, 14, 15, 16, 17, 18, 19]);
        assert_eq!(frame.stripped_tag, None);
        frame.set_link(18, &Link { vlan: None, ..link }).expect("room");
        assert_eq!(frame.bytes[12..], [8, 0, 14, 15, 16, 17, 18, 19]);
    }

    #[test]
    fn sums_may_be_odd() {
        assert_eq!(numbered(5).sum(1, 3), Ok(0x0102 + 0x0300));
        assert_eq!(numbered(5).sum(1, 5), Err(DropReason::Truncated));
        assert_eq!(MemoryFrame::new(vec![0xff; 4]).sum(0, 4), Ok(0xffff));
    }
}
