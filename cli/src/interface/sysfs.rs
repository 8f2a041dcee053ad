//! Files of the kernel, of the network namespace of the calling thread.
//!
//! `/sys/class/net` shows the namespace of the mount, not of the thread. So everything is read on a thread that has mounted its
//! own; where that is not allowed, the one that is there serves, and [`folder_of`] compares.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::{Interface, inspect};

/// Runs `work` on a thread whose `/sys` is that of the caller's network namespace, if that can be had. Nothing outside of the
/// thread changes.
pub(crate) fn in_own_sysfs<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(error) = mount_sysfs() {
                tracing::debug!(%error, "no sysfs of this network namespace");
            }
            work()
        });
        thread.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn mount_sysfs() -> nix::Result<()> {
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing) {
        // It is the right one already.
        Err(nix::errno::Errno::EBUSY) => Ok(()),
        other => other,
    }
}

/// The first line of a file, without white space around it.
pub(crate) fn line(path: impl AsRef<std::path::Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The value on the first line of a file.
pub(crate) fn value<T: FromStr>(path: impl AsRef<std::path::Path>) -> Option<T> {
    line(path)?.parse().ok()
}

/// The folder of an interface below `/sys/class/net`, unless another namespace's interface of the same name is there.
pub(crate) fn folder_of(interface: &Interface) -> Option<PathBuf> {
    let folder = PathBuf::from("/sys/class/net").join(&interface.name);
    let mac = interface.mac.map(|byte| format!("{byte:02x}")).join(":");
    let is_it = value::<u32>(folder.join("ifindex")) == Some(interface.index)
        && line(folder.join("address")).is_some_and(|address| address == mac);
    is_it.then_some(folder)
}

/// Send queues of the interface `name` that are in use. `ethtool` does not tell: virtio-net counts there those that it keeps for XDP
/// (`virtnet_xdp_set` in `drivers/net/virtio_net.c`), and the kernel sends nothing of what an AF_XDP socket on one of them has
/// (`real_num_tx_queues` in `__xsk_generic_xmit` of `net/xdp/xsk.c`). Nothing when this namespace's `/sys` cannot be had.
pub fn send_queues(name: &str) -> Option<u32> {
    let count = || {
        // Looked at now: another MAC than a moment ago is not another interface.
        let queues = names(folder_of(&inspect(name).ok()?)?.join("queues"));
        let senders = queues.iter().filter(|name| name.starts_with("tx-")).count() as u32;
        (senders > 0).then_some(senders)
    };
    count().or_else(|| in_own_sysfs(count))
}

/// Names in a folder, sorted; none when it cannot be read.
pub(crate) fn names(folder: impl AsRef<std::path::Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
