//! The one port through which the pipeline touches bytes.

use crate::tables::Zone;
use crate::verdict::DropReason;

/// Bounded access to one Ethernet frame. Offsets count from the first byte of the destination MAC.
///
/// Back ends: a byte buffer (memory), an XDP buffer, a socket buffer (tc). Multi-byte fields stay in network
/// order; the pipeline converts.
pub trait Frame {
    /// Frames can arrive whose transport checksum the sender's stack left to hardware, and this back end
    /// loses that state when it forwards: the pipeline completes such checksums.
    const COMPLETES_CHECKSUMS: bool;

    /// At this hook a frame may be handed to the engine in user space.
    const HANDS_OVER: bool = false;

    /// Where the engine listens for such frames: those of `zone` that came in as this one did. Asked where
    /// [`Self::HANDS_OVER`] is set.
    #[inline(always)]
    fn socket(&self, zone: &Zone) -> Option<u32> {
        let _ = zone;
        None
    }

    /// Bytes of the frame (for a GSO super-packet, of all its segments together).
    fn length(&self) -> u32;

    /// `N` bytes at `offset`; [`DropReason::Truncated`] when they are not all there.
    fn load<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason>;

    /// Overwrites `N` bytes at `offset`.
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason>;

    /// The 802.1Q tag control information that travels beside the bytes, if any; [`DropReason::DoubleTag`] for a
    /// provider tag there.
    fn stripped_tag(&self) -> Result<Option<u16>, DropReason>;

    /// Payload bytes of each segment when the frame is a GSO super-packet, else 0.
    fn gso_size(&self) -> u32;

    /// Replaces the link-layer header, whose bytes in the frame are `old_length` long (14 or 18), and any tag
    /// beside the frame.
    fn set_link(&mut self, old_length: u32, link: &Link) -> Result<(), DropReason>;

    /// A 16-bit word of the IP packet changed from `old` to `new`, and no checksum in the packet makes up for it. A back
    /// end whose frames carry a sum over all their bytes (`CHECKSUM_COMPLETE` of Linux) corrects it.
    fn word_changed(&mut self, old: [u8; 2], new: [u8; 2]);

    /// Cuts or grows the frame at its end.
    fn resize(&mut self, length: u32) -> Result<(), DropReason>;

    /// Ones' complement sum (RFC 1071, not complemented, folded to 16 bits, network order) of `length` bytes
    /// at `offset`.
    fn sum(&self, offset: u32, length: u32) -> Result<u16, DropReason>;
}

/// A link-layer header to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// VLAN identifier of the tag to add; `None` for an untagged frame.
    pub vlan: Option<u16>,
    /// EtherType of the payload, host order.
    pub ether_type: u16,
}

/// Bytes of an Ethernet header without and with a tag.
pub const ETHERNET: u32 = 14;
/// Bytes of an Ethernet header with one 802.1Q tag.
pub const TAGGED_ETHERNET: u32 = 18;

impl Link {
    /// Writes this header, with its tag, over the first bytes of a frame.
    #[inline(always)]
    pub fn write<F: Frame>(&self, frame: &mut F) -> Result<(), DropReason> {
        let [d0, d1, d2, d3, d4, d5] = self.destination;
        let [s0, s1, s2, s3, s4, s5] = self.source;
        let [e0, e1] = self.ether_type.to_be_bytes();
        if let Some(vlan) = self.vlan {
            let [v0, v1] = vlan.to_be_bytes();
            frame.store(0, [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 0x81, 0, v0, v1, e0, e1])
        } else {
            frame.store(0, [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, e0, e1])
        }
    }

    /// Bytes of this header when the tag is written into the frame.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        if self.vlan.is_some() { TAGGED_ETHERNET } else { ETHERNET }
    }
}
