//! The rings: one side produces, the other consumes (`Documentation/networking/af_xdp.rst`).
//!
//! Indices run freely and are masked; the ring is empty when they are equal. Each side publishes its index with release order
//! after it has written, or read, the entries.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Mapping;

/// An entry of the rings of frames: `struct xdp_desc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the bytes begin in the UMEM.
    pub address: u64,
    /// How many there are.
    pub length: u32,
    /// `XDP_PKT_CONTD` when the frame goes on in the next entry.
    pub options: u32,
}

impl Descriptor {
    /// Whether the frame goes on in the next entry.
    pub fn continues(&self) -> bool {
        self.options & libc::XDP_PKT_CONTD != 0
    }
}

/// Where the parts of a ring lie in its mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    pub(super) flags: usize,
    pub(super) entries: usize,
}

/// What both ends share.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    _memory: Arc<Mapping>,
}

// SAFETY: the pointers lead into the mapping, which is held; indices are atomics, and entries are touched by one side at a
// time, as the indices say.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn new(memory: &Arc<Mapping>, layout: Layout, size: u32) -> io::Result<Self> {
        if !size.is_power_of_two() {
            return Err(io::Error::other(format!("a ring of {size} entries: not a power of two")));
        }
        Ok(Self {
            producer: memory.at(layout.producer, 1)?,
            consumer: memory.at(layout.consumer, 1)?,
            flags: memory.at(layout.flags, 1)?,
            entries: memory.at(layout.entries, size as usize)?,
            size,
            _memory: Arc::clone(memory),
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside of the mapping, which lives as long as `self`.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.flags.as_ref() }
    }

    /// The entry at a free-running index.
    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: masked below `size`, so many of which lie in the mapping.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }
}

/// The end that produces.
pub struct Producer<T> {
    shared: Shared<T>,
    /// The next entry to write; published later.
    next: u32,
    /// What the other side was seen to have consumed.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn new(memory: &Arc<Mapping>, layout: Layout, size: u32) -> io::Result<Self> {
        let shared = Shared::new(memory, layout, size)?;
        let next = shared.producer().load(Ordering::Relaxed);
        let consumed = shared.consumer().load(Ordering::Acquire);
        Ok(Self { shared, next, consumed })
    }

    /// Entries that have room, `wanted` at the least if there is.
    pub fn room(&mut self, wanted: u32) -> u32 {
        if self.free() < wanted {
            self.consumed = self.shared.consumer().load(Ordering::Acquire);
        }
        self.free()
    }

    fn free(&self) -> u32 {
        // An index of the other side that makes no sense leaves no room.
        self.shared.size.saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// Writes an entry; whether there was room. [`Self::publish`] shows it to the other side.
    pub fn push(&mut self, value: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: a valid place, which the other side does not touch before it is published.
        unsafe { self.shared.entry(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the other side what was written.
    pub fn publish(&mut self) {
        self.shared.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the other side has not consumed yet.
    pub fn pending(&mut self) -> u32 {
        self.consumed = self.shared.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.consumed)
    }

    /// Whether the other side sleeps and has to be woken.
    pub fn needs_wakeup(&self) -> bool {
        self.shared.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Entries of the ring.
    pub fn size(&self) -> u32 {
        self.shared.size
    }
}

/// The end that consumes.
pub struct Consumer<T> {
    shared: Shared<T>,
    /// The next entry to read; given back later.
    next: u32,
    /// What the other side was seen to have produced.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn new(memory: &Arc<Mapping>, layout: Layout, size: u32) -> io::Result<Self> {
        let shared = Shared::new(memory, layout, size)?;
        let next = shared.consumer().load(Ordering::Relaxed);
        Ok(Self { shared, next, produced: next })
    }

    /// Reads an entry, if there is one. [`Self::release`] gives its place back.
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            let produced = self.shared.producer().load(Ordering::Acquire);
            // An index of the other side that makes no sense shows nothing new.
            if produced.wrapping_sub(self.next) <= self.shared.size {
                self.produced = produced;
            }
        }
        if self.next == self.produced {
            return None;
        }
        // SAFETY: a valid place, written before it was published; every bit pattern of these plain records is a value.
        let value = unsafe { self.shared.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// The entry that comes `ahead` after the next one, if it was seen to be there.
    pub fn peek(&self, ahead: u32) -> Option<T> {
        if self.produced.wrapping_sub(self.next) <= ahead {
            return None;
        }
        // SAFETY: as in `pop`.
        Some(unsafe { self.shared.entry(self.next.wrapping_add(ahead)).read() })
    }

    /// Gives the places of what was read back to the other side.
    pub fn release(&mut self) {
        self.shared.consumer().store(self.next, Ordering::Release);
    }
}

/// Both ends of a ring in this process: what tests put in the place of the kernel.
pub fn ring<T: Copy>(size: u32) -> io::Result<(Producer<T>, Consumer<T>)> {
    const LINE: usize = 64;
    let layout = Layout { producer: 0, consumer: LINE, flags: 2 * LINE, entries: 3 * LINE };
    let memory = Arc::new(Mapping::anonymous(3 * LINE + size as usize * size_of::<T>())?);
    Ok((Producer::new(&memory, layout, size)?, Consumer::new(&memory, layout, size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_and_no_more_than_fit() {
        let (mut producer, mut consumer) = ring::<u64>(4).unwrap();
        assert_eq!(consumer.pop(), None);
        assert!((0..4).all(|value| producer.push(value)) && !producer.push(4), "full");
        assert_eq!(consumer.pop(), None, "not published yet");
        producer.publish();
        assert_eq!(consumer.peek(0), None, "not seen yet");
        assert_eq!((consumer.pop(), consumer.pop(), producer.pending()), (Some(0), Some(1), 4));
        assert_eq!([0, 1, 2].map(|ahead| consumer.peek(ahead)), [Some(2), Some(3), None]);
        assert!(!producer.push(4), "not given back yet");
        consumer.release();
        assert_eq!((producer.room(3), producer.pending()), (2, 2));
        assert!(producer.push(4) && producer.push(5) && !producer.push(6));
        producer.publish();
        assert_eq!(std::iter::from_fn(|| consumer.pop()).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn indices_run_over_the_end_of_their_range() {
        let (mut producer, mut consumer) = ring::<u64>(8).unwrap();
        let nearly = u32::MAX - 3;
        (producer.next, producer.consumed, consumer.next, consumer.produced) = (nearly, nearly, nearly, nearly);
        producer.shared.producer().store(nearly, Ordering::Relaxed);
        producer.shared.consumer().store(nearly, Ordering::Relaxed);
        for round in 0..5_u64 {
            assert!((0..8).all(|value| producer.push(round * 8 + value)) && !producer.push(0));
            producer.publish();
            assert_eq!(std::iter::from_fn(|| consumer.pop()).count(), 8);
            consumer.release();
        }
    }

    #[test]
    fn indices_that_make_no_sense_are_not_followed() {
        let (mut producer, mut consumer) = ring::<u64>(4).unwrap();
        producer.shared.producer().store(77, Ordering::Relaxed);
        assert_eq!(consumer.pop(), None);
        producer.shared.consumer().store(77, Ordering::Relaxed);
        assert_eq!(producer.room(5), 0, "what it shows has not been written");
        assert!(ring::<u64>(6).is_err(), "not a power of two");
    }
}
