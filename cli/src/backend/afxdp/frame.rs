//! [`Frame`] over chunks of the UMEM: what the kernel has put there, changed in place.

use std::ops::Range;

use firewall_core::parse::MAX_HEADERS;
use firewall_core::{DropReason, Frame, Link};

use super::sys::{Chunk, Umem};

/// Bytes of a frame in one chunk.
#[derive(Debug)]
pub struct Part {
    /// The chunk.
    pub chunk: Chunk,
    /// Where in it they begin.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
}

impl Part {
    fn range(&self) -> Range<u32> {
        self.offset..self.offset + self.length
    }
}

/// A frame that lies in one chunk, or in several when it is larger.
pub struct UmemFrame<'a> {
    umem: &'a mut Umem,
    parts: &'a mut Vec<Part>,
    length: u32,
}

impl<'a> UmemFrame<'a> {
    /// The frame in these parts.
    pub fn new(umem: &'a mut Umem, parts: &'a mut Vec<Part>) -> Self {
        let length = parts.iter().map(|part| part.length).sum();
        Self { umem, parts, length }
    }

    /// The frame as one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices().flatten().copied().collect()
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter_map(|part| self.umem.bytes(&part.chunk, part.range()))
    }

    /// The bytes at `offset` when they lie in the first part, as all headers do but for drivers with small buffers.
    fn first(&self, offset: u32, count: u32) -> Option<(&Part, Range<u32>)> {
        let part = self.parts.first()?;
        let end = offset.checked_add(count).filter(|end| *end <= part.length)?;
        Some((part, part.offset + offset..part.offset + end))
    }

    /// Number of the part that the byte at `offset` lies in, and where in its chunk.
    fn place(&self, mut offset: u32) -> Option<(usize, u32)> {
        for (number, part) in self.parts.iter().enumerate() {
            if offset < part.length {
                return Some((number, part.offset + offset));
            }
            offset -= part.length;
        }
        None
    }

    fn gather<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (byte, at) in bytes.iter_mut().zip(offset..) {
            let (number, place) = self.place(at)?;
            let chunk = &self.parts.get(number)?.chunk;
            *byte = *self.umem.bytes(chunk, place..place + 1)?.first()?;
        }
        Some(bytes)
    }

    fn scatter(&mut self, offset: u32, bytes: &[u8]) -> Option<()> {
        if u64::from(offset) + bytes.len() as u64 > u64::from(self.length) {
            return None;
        }
        for (byte, at) in bytes.iter().zip(offset..) {
            let (number, place) = self.place(at)?;
            let chunk = &self.parts.get(number)?.chunk;
            *self.umem.bytes_mut(chunk, place..place + 1)?.first_mut()? = *byte;
        }
        Some(())
    }
}

impl Frame for UmemFrame<'_> {
    const COMPLETES_CHECKSUMS: bool = true;

    fn length(&self) -> u32 {
        self.length
    }

    #[inline]
    fn load<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        if offset > MAX_HEADERS {
            return Err(DropReason::Truncated);
        }
        if let Some((part, range)) = self.first(offset, N as u32) {
            let bytes = self.umem.bytes(&part.chunk, range).ok_or(DropReason::Truncated)?;
            return bytes.try_into().map_err(|_| DropReason::Truncated);
        }
        self.gather(offset).ok_or(DropReason::Truncated)
    }

    #[inline]
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        if offset > MAX_HEADERS {
            return Err(DropReason::Truncated);
        }
        if let Some(part) = self.parts.first()
            && offset + N as u32 <= part.length
        {
            let range = part.offset + offset..part.offset + offset + N as u32;
            self.umem.bytes_mut(&part.chunk, range).ok_or(DropReason::Truncated)?.copy_from_slice(&bytes);
            return Ok(());
        }
        self.scatter(offset, &bytes).ok_or(DropReason::Truncated)
    }

    fn stripped_tag(&self) -> Result<Option<u16>, DropReason> {
        Ok(None)
    }

    fn gso_size(&self) -> u32 {
        0
    }

    fn set_link(&mut self, old_length: u32, link: &Link) -> Result<(), DropReason> {
        let part = self.parts.first_mut().ok_or(DropReason::Rewrite)?;
        // The kernel leaves room before a frame; a tag more needs four bytes of it.
        let end = part.offset.checked_add(old_length).ok_or(DropReason::Rewrite)?;
        let rest = part.length.checked_sub(old_length).ok_or(DropReason::Rewrite)?;
        part.offset = end.checked_sub(link.length()).ok_or(DropReason::Rewrite)?;
        part.length = rest + link.length();
        self.length = self.length - old_length + link.length();
        link.write(self)
    }

    fn word_changed(&mut self, _old: [u8; 2], _new: [u8; 2]) {}

    /// Cuts the frame, or lets the last part grow as far as its chunk reaches.
    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        let room = self.umem.chunk_bytes();
        if length > self.length {
            let last = self.parts.last_mut().ok_or(DropReason::Rewrite)?;
            let (from, grown) = (last.offset + last.length, last.length + (length - self.length));
            if last.offset + grown > room {
                return Err(DropReason::Rewrite);
            }
            last.length = grown;
            let bytes = self.umem.bytes_mut(&last.chunk, from..last.offset + grown);
            bytes.ok_or(DropReason::Rewrite)?.fill(0);
        }
        let mut rest = length;
        for part in &mut *self.parts {
            part.length = part.length.min(rest);
            rest -= part.length;
        }
        self.length = length;
        Ok(())
    }

    fn sum(&self, offset: u32, length: u32) -> Result<u16, DropReason> {
        let end = offset.checked_add(length).filter(|end| *end <= self.length).ok_or(DropReason::Truncated)?;
        let (mut at, mut sum) = (0, Sum::default());
        for (part, bytes) in self.parts.iter().zip(self.slices()) {
            let from = offset.clamp(at, at + part.length) - at;
            let to = end.clamp(at, at + part.length) - at;
            sum.add(bytes.get(from as usize..to as usize).ok_or(DropReason::Truncated)?);
            at += part.length;
        }
        Ok(sum.folded())
    }
}

/// A ones' complement sum (RFC 1071) over pieces of any length.
#[derive(Default)]
struct Sum {
    /// Of words in the order of this machine: the sum of swapped words is the swapped sum.
    words: u64,
    is_odd: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.is_odd
            && let Some((first, rest)) = bytes.split_first()
        {
            self.words += u64::from(u16::from_ne_bytes([0, *first]));
            bytes = rest;
            self.is_odd = false;
        }
        let (words, rest) = bytes.as_chunks::<4>();
        self.words += words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
        let (pairs, last) = rest.as_chunks::<2>();
        self.words += pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum::<u64>();
        if let [last] = last {
            self.words += u64::from(u16::from_ne_bytes([*last, 0]));
            self.is_odd = true;
        }
    }

    fn folded(&self) -> u16 {
        let mut sum = self.words;
        while sum >> 16 != 0 {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::from_be(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryFrame;

    /// The bytes cut into chunks of a UMEM after each of `lengths`.
    fn cut(umem: &mut Umem, mut bytes: &[u8], lengths: &[usize]) -> Vec<Part> {
        let mut parts = Vec::new();
        for length in lengths.iter().copied().chain([usize::MAX]) {
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            let (chunk, offset, length) = (umem.take().unwrap(), 256, piece.len() as u32);
            umem.bytes_mut(&chunk, offset..offset + length).unwrap().copy_from_slice(piece);
            parts.push(Part { chunk, offset, length });
            bytes = rest;
        }
        parts
    }

    #[test]
    fn a_frame_in_pieces_is_the_same_frame() {
        let bytes: Vec<u8> = (0..=255).cycle().take(900).collect();
        for lengths in [&[][..], &[1], &[13, 1, 7], &[100, 301], &[16, 0, 2]] {
            let mut umem = Umem::new(8, 2048).unwrap();
            let mut parts = cut(&mut umem, &bytes, lengths);
            let mut frame = UmemFrame::new(&mut umem, &mut parts);
            let mut memory = MemoryFrame::new(bytes.clone());
            for offset in [0, 5, 12, 99, 500, MAX_HEADERS, MAX_HEADERS + 1] {
                assert_eq!(frame.load::<4>(offset), memory.load::<4>(offset), "{lengths:?} {offset}");
                assert_eq!(frame.store(offset, [1, 2, 3]), memory.store(offset, [1, 2, 3]), "{lengths:?} {offset}");
            }
            for (offset, length) in [(0, 900), (1, 899), (14, 3), (15, 0), (90, 33), (0, 901)] {
                assert_eq!(frame.sum(offset, length), memory.sum(offset, length), "{lengths:?} {offset} {length}");
            }
            for length in [899, 120, 130, 12] {
                assert_eq!(frame.resize(length), memory.resize(length));
                assert_eq!(frame.to_vec(), memory.bytes, "{lengths:?} {length}");
            }
            assert_eq!(frame.load::<4>(10), Err(DropReason::Truncated));
        }
    }

    #[test]
    fn a_link_header_grows_into_the_room_before_the_frame() {
        let link = Link { destination: [1; 6], source: [2; 6], vlan: Some(20), ether_type: 0x0800 };
        let mut umem = Umem::new(2, 2048).unwrap();
        let mut parts = cut(&mut umem, &[7; 60], &[40]);
        let mut frame = UmemFrame::new(&mut umem, &mut parts);
        let mut memory = MemoryFrame::new(vec![7; 60]);
        for (old, link) in [(14, link), (18, Link { vlan: None, ..link }), (14, link)] {
            assert_eq!((frame.set_link(old, &link), memory.set_link(old, &link)), (Ok(()), Ok(())));
            assert_eq!((frame.to_vec(), frame.length()), (memory.bytes.clone(), memory.length()));
        }
        let room = std::iter::from_fn(|| frame.set_link(14, &link).ok()).take(1000).count();
        assert_eq!(room, 63, "256 bytes, of which 4 are used");
        assert_eq!(frame.resize(4000), Err(DropReason::Rewrite));
    }
}
