//! Memory from `mmap`.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// Mapped memory, unmapped when the value goes.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the address is valid in every thread, and all access goes through the types of this module, which say for
// themselves what may be shared.
unsafe impl Send for Mapping {}
// SAFETY: as above; the value itself is never changed.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Fresh memory of zeros, in whole pages.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::map(bytes, flags, -1, 0)
    }

    /// Memory of a descriptor, from `offset` on.
    pub(super) fn of(fd: BorrowedFd<'_>, bytes: usize, offset: libc::off_t) -> io::Result<Self> {
        Self::map(bytes, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    fn map(bytes: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it checks size, offset and rights.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { start, bytes })
    }

    /// Bytes mapped.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Where `count` values begin at `offset`, if they lie inside and are aligned.
    pub(super) fn at<T>(&self, offset: usize, count: usize) -> io::Result<NonNull<T>> {
        let end = count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        if end.is_none_or(|end| end > self.bytes) {
            return Err(io::Error::other(format!("{count} values at {offset} do not lie in {} bytes", self.bytes)));
        }
        // SAFETY: inside of the mapping, as was checked.
        let place = unsafe { self.start.add(offset) }.cast::<T>();
        if place.is_aligned() { Ok(place) } else { Err(io::Error::other("misaligned")) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`. Whatever points into it holds a reference to this value.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
