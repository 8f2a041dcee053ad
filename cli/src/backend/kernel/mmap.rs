//! Array maps mapped into this process: words that the daemon changes one at a time and programs read whole, and tables
//! that are written before any program sees them.

#![allow(unsafe_code, reason = "mmap; the one place where map memory is shared with user space")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{Immutable, IntoBytes};

/// Writes records to the start of an array map made with `BPF_F_MMAPABLE`, as large as they are at least.
pub fn fill<T: IntoBytes + Immutable>(fd: BorrowedFd<'_>, records: &[T]) -> io::Result<()> {
    let bytes = records.as_bytes();
    let place = map(fd, bytes.len())?;
    // SAFETY: `map` mapped as many bytes for writing; no program has the map yet. They are unmapped here and not used again.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len());
        libc::munmap(place.as_ptr().cast(), bytes.len());
    }
    Ok(())
}

/// Maps the first bytes of a map.
fn map(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new shared mapping of the map's own memory; the kernel checks size and rights.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// The mapped words.
pub struct Words {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomics, and the mapping lives as long as the value.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps the `count` elements of an array map made with `BPF_F_MMAPABLE` and 8-byte values.
    pub fn map(fd: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let count = count as usize;
        let start = map(fd, count * size_of::<AtomicU64>())?.cast();
        Ok(Self { start, count })
    }

    /// Stores one word; an index out of range is ignored.
    pub fn store(&self, index: u32, value: u64) {
        if let Some(word) = self.words().get(index as usize) {
            word.store(value, Ordering::Release);
        }
    }

    /// Reads one word; nothing for an index out of range.
    pub fn load(&self, index: u32) -> Option<u64> {
        self.words().get(index as usize).map(|word| word.load(Ordering::Acquire))
    }

    /// Adds to one word; an index out of range is ignored.
    pub fn add(&self, index: u32, more: u64) {
        if let Some(word) = self.words().get(index as usize) {
            word.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `map` mapped `count` words at `start`; they are unmapped in `drop` only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, which nothing refers to any longer.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}
