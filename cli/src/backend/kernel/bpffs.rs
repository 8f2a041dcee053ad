//! The file system in which eBPF objects outlive processes.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

/// Where a bpffs belongs.
const STANDARD: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` (`linux/magic.h`)
const MAGIC: FsType = FsType(0xcafe_4a11);

/// Makes sure that `folder`, which need not exist, lies in a bpffs; mounts one at the standard place when that is all that is
/// missing.
pub(super) fn ensure(folder: &Path) -> io::Result<()> {
    if holds(folder)? {
        return Ok(());
    }
    if folder.starts_with(STANDARD) {
        mount(Some("bpf"), STANDARD, Some("bpf"), MsFlags::empty(), Some("mode=700"))
            .map_err(|errno| io::Error::other(format!("cannot mount a bpffs at {STANDARD}: {errno}")))?;
        return Ok(());
    }
    Err(io::Error::other("it is not in a bpffs; name a folder below /sys/fs/bpf, or mount one with `mount -t bpf`"))
}

/// Whether `folder`, or the folder in which it will be, lies in a bpffs.
pub(super) fn holds(folder: &Path) -> io::Result<bool> {
    for place in folder.ancestors() {
        match statfs(place) {
            Ok(found) => return Ok(found.filesystem_type() == MAGIC),
            Err(nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}
