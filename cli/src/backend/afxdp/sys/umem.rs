//! The memory of the frames, in chunks of one size. Each chunk has one owner, which is written down.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Mapping;
use super::prefetch::line;

/// Bytes that the kernel leaves free before a frame that it receives (`XDP_PACKET_HEADROOM`).
const HEAD_ROOM: u32 = 256;

/// Most bytes of a frame that a chunk of so many bytes receives.
pub const fn frame_bytes(chunk_bytes: u32) -> u32 {
    chunk_bytes - HEAD_ROOM
}

/// Who has a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Nobody; it is in the list of free ones.
    Free,
    /// Whoever holds its [`Chunk`].
    Held,
    /// The kernel, to receive a frame of this queue.
    Filled(u16),
    /// The kernel, to send a frame of this queue.
    Sent(u16),
}

/// A chunk that this process has. It goes back by [`Umem::give`] or to the kernel, or it is lost: see [`Umem::census`].
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk(u32);

/// How many chunks each kind of owner has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Nobody.
    pub free: usize,
    /// This process.
    pub held: usize,
    /// The kernel, to receive.
    pub filled: usize,
    /// The kernel, to send.
    pub sent: usize,
}

/// The memory of the frames.
pub struct Umem {
    memory: Arc<Mapping>,
    chunk_bytes: u32,
    owners: Vec<Owner>,
    /// The last one given back is the first one taken: it is in the cache still.
    free: Vec<u32>,
    /// The kernel knows the memory.
    is_registered: Cell<bool>,
}

impl Umem {
    /// `chunks` chunks of `chunk_bytes`, a power of two between 2,048 and a page.
    pub fn new(chunks: u32, chunk_bytes: u32) -> io::Result<Self> {
        let memory = Arc::new(Mapping::anonymous(chunks as usize * chunk_bytes as usize)?);
        let owners = vec![Owner::Free; chunks as usize];
        Ok(Self { memory, chunk_bytes, owners, free: (0..chunks).rev().collect(), is_registered: Cell::new(false) })
    }

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }

    /// Most bytes of a frame that one chunk receives.
    pub fn frame_bytes(&self) -> u32 {
        frame_bytes(self.chunk_bytes)
    }

    /// Chunks in all.
    pub fn chunks(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Where and how large the memory is, for the kernel.
    pub(super) fn lend(&self) -> &Arc<Mapping> {
        self.is_registered.set(true);
        &self.memory
    }

    /// Free chunks.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free chunk.
    pub fn take(&mut self) -> Option<Chunk> {
        let number = self.free.pop()?;
        *self.owners.get_mut(number as usize)? = Owner::Held;
        Some(Chunk(number))
    }

    /// Gives a chunk back.
    pub fn give(&mut self, Chunk(number): Chunk) {
        if let Some(owner) = self.owners.get_mut(number as usize) {
            *owner = Owner::Free;
            self.free.push(number);
        }
    }

    /// Gives a free chunk to the kernel for a frame that `queue` receives: what to write into its fill ring.
    pub fn fill(&mut self, queue: u16) -> Option<u64> {
        let number = self.free.pop()?;
        *self.owners.get_mut(number as usize)? = Owner::Filled(queue);
        Some(u64::from(number) * u64::from(self.chunk_bytes))
    }

    /// Takes a frame that `queue` has received, at `address`: the chunk and where in it the bytes begin. Nothing when the
    /// kernel names a chunk that it has not got there, or bytes outside of it.
    pub fn received(&mut self, address: u64, length: u32, queue: u16) -> Option<(Chunk, u32)> {
        let (number, offset) = self.place(address);
        let owner = self.owners.get_mut(number as usize).filter(|owner| **owner == Owner::Filled(queue))?;
        if length > self.chunk_bytes - offset {
            return None;
        }
        *owner = Owner::Held;
        Some((Chunk(number), offset))
    }

    /// Fetches what lies at an address into the cache, wherever it is: a hint, which does nothing at a wrong one.
    pub fn prefetch(&self, address: u64) {
        let (number, offset) = self.place(address);
        if let Some((start, _)) = self.range(number, &(offset..self.chunk_bytes)) {
            line(start.as_ptr());
        }
    }

    /// Gives a chunk to the kernel to be sent by `queue` from `offset` on: the address for its ring.
    pub fn send(&mut self, Chunk(number): Chunk, offset: u32, queue: u16) -> u64 {
        if let Some(owner) = self.owners.get_mut(number as usize) {
            *owner = Owner::Sent(queue);
        }
        u64::from(number) * u64::from(self.chunk_bytes) + u64::from(offset)
    }

    /// Takes a chunk back that `queue` has sent; whether it had it.
    pub fn completed(&mut self, address: u64, queue: u16) -> bool {
        let (number, _) = self.place(address);
        match self.owners.get_mut(number as usize) {
            Some(owner) if *owner == Owner::Sent(queue) => {
                *owner = Owner::Free;
                self.free.push(number);
                true
            }
            _ => false,
        }
    }

    /// The number of the chunk at an address, and the offset in it.
    fn place(&self, address: u64) -> (u32, u32) {
        let number = address / u64::from(self.chunk_bytes);
        (u32::try_from(number).unwrap_or(u32::MAX), (address % u64::from(self.chunk_bytes)) as u32)
    }

    /// Bytes of a chunk.
    pub fn bytes(&self, chunk: &Chunk, range: Range<u32>) -> Option<&[u8]> {
        let (start, length) = self.held(chunk, &range)?;
        // SAFETY: inside of the mapping, which `self` holds. The chunk is held, so no ring has it, and whoever could change
        // its bytes needs `self` alone.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// Bytes of a chunk, to be changed.
    pub fn bytes_mut(&mut self, chunk: &Chunk, range: Range<u32>) -> Option<&mut [u8]> {
        let (start, length) = self.held(chunk, &range)?;
        // SAFETY: as `bytes`, and `self` is borrowed alone.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    /// Bytes of a chunk that was given away, for a test that stands in the kernel's place: nothing once the kernel has the
    /// memory.
    pub fn lent_mut(&mut self, address: u64, length: u32) -> Option<&mut [u8]> {
        let (number, offset) = self.place(address);
        let owner = self.owners.get(number as usize)?;
        if self.is_registered.get() || !matches!(owner, Owner::Filled(_) | Owner::Sent(_)) {
            return None;
        }
        let (start, length) = self.range(number, &(offset..offset.checked_add(length)?))?;
        // SAFETY: inside of the mapping, which no kernel knows; the chunk is not held, and `self` is borrowed alone.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }

    /// Where bytes of a chunk are that is held here, and not one of the same number elsewhere.
    fn held(&self, chunk: &Chunk, range: &Range<u32>) -> Option<(NonNull<u8>, usize)> {
        self.owners.get(chunk.0 as usize).filter(|owner| **owner == Owner::Held)?;
        self.range(chunk.0, range)
    }

    fn range(&self, number: u32, range: &Range<u32>) -> Option<(NonNull<u8>, usize)> {
        if range.start > range.end || range.end > self.chunk_bytes || number as usize >= self.owners.len() {
            return None;
        }
        let offset = number as usize * self.chunk_bytes as usize + range.start as usize;
        // SAFETY: the chunk lies in the mapping, and the range in the chunk.
        let start = unsafe { self.memory.start().add(offset) };
        Some((start, (range.end - range.start) as usize))
    }

    /// Where all chunks are. Their sum is the number of chunks; between two steps of a worker none is held.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for owner in &self.owners {
            match owner {
                Owner::Free => census.free += 1,
                Owner::Held => census.held += 1,
                Owner::Filled(_) => census.filled += 1,
                Owner::Sent(_) => census.sent += 1,
            }
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_one_owner() {
        let mut umem = Umem::new(4, 2048).unwrap();
        let chunk = umem.take().unwrap();
        umem.bytes_mut(&chunk, 10..14).unwrap().copy_from_slice(b"word");
        assert_eq!(umem.bytes(&chunk, 10..14).unwrap(), b"word");
        assert_eq!(umem.bytes(&chunk, 2040..2049), None, "another chunk's");
        let address = umem.send(chunk, 10, 1);
        assert!(!umem.completed(address, 0), "another queue's");
        assert!(umem.completed(address, 1) && !umem.completed(address, 1), "once");
        let filled = umem.fill(3).unwrap();
        assert_eq!(umem.received(filled, 1, 2), None, "another queue's");
        assert_eq!(umem.received(filled + 256, 1793, 3), None, "more than the chunk has");
        assert_eq!(umem.received(u64::MAX, 1, 3), None, "outside");
        let (chunk, offset) = umem.received(filled + 256, 1792, 3).unwrap();
        assert_eq!((offset, umem.received(filled, 1, 3)), (256, None), "once");
        assert_eq!(umem.census(), Census { free: 3, held: 1, filled: 0, sent: 0 });
        umem.give(chunk);
        assert_eq!(umem.census().free, 4);
    }

    #[test]
    fn no_more_chunks_than_there_are() {
        let mut umem = Umem::new(2, 2048).unwrap();
        let (_one, _two) = (umem.take().unwrap(), umem.fill(0).unwrap());
        assert!(umem.take().is_none() && umem.fill(0).is_none());
    }
}
