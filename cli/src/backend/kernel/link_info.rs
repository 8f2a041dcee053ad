//! What the kernel says of a pinned link; aya does not tell the interface.

#![allow(unsafe_code, reason = "requests of bpf(2) have pointers")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::call;

/// Commands of bpf(2).
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `struct bpf_link_info` as far as it is needed: XDP and tcx links alike have the interface behind the common words.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 27],
}

/// `union bpf_attr` of `BPF_OBJ_GET`.
#[repr(C)]
struct Get {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// Number of the interface on which the link pinned at `path` hangs; nothing when the interface is gone, and the link with it.
pub(super) fn interface_of(path: &Path) -> io::Result<Option<u32>> {
    let link = open(path)?;
    let mut info = LinkInfo::default();
    let mut request = GetInfo {
        fd: link.as_raw_fd().cast_unsigned(),
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: the request has the layout that this command reads; it points to `length` bytes of `info`, which live and are
    // not touched during the call, and all of whose bit patterns are valid.
    unsafe { call::bpf(OBJ_GET_INFO_BY_FD, &mut request) }?;
    Ok(Some(info.ifindex).filter(|index| *index != 0))
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut request = Get { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    // SAFETY: a request for this command, which opens something; the path is a text with a final zero that lives during the call.
    unsafe { call::open(OBJ_GET, &mut request) }
}
