//! An array map of words, mapped into this process: the daemon changes one word at a time, and programs read it whole.

#![allow(unsafe_code, reason = "mmap; the one place where map memory is shared with user space")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The mapped words.
pub struct Words {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomics, and the mapping lives as long as the value.
unsafe impl Send for Words {}

impl Words {
    /// Maps the `count` elements of an array map made with `BPF_F_MMAPABLE` and 8-byte values.
    pub fn map(fd: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let count = count as usize;
        // SAFETY: a new shared mapping of the map's own memory; the kernel checks size and rights.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { start, count })
    }

    /// Stores one word; an index out of range is ignored.
    pub fn store(&self, index: u32, value: u64) {
        if let Some(word) = self.words().get(index as usize) {
            word.store(value, Ordering::Release);
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
