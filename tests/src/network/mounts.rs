//! A file system for pins that no other test has, and that goes with its users.

use std::fs::File;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A mount namespace with a bpffs of its own.
pub struct Mounts(File);

impl Mounts {
    /// Made on a thread of its own: the caller stays where it is.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("root may make mount namespaces");
            let nothing: Option<&str> = None;
            // What is unmounted outside goes here too: namespaces that others delete.
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing).expect("mounts can be slaves");
            mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing).expect("a bpffs");
            File::open("/proc/thread-self/ns/mnt").expect("the namespace of this thread")
        });
        Self(made.join().expect("mounts"))
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) {
        unshare(CloneFlags::CLONE_FS).expect("a thread may have a folder of its own");
        setns(&self.0, CloneFlags::CLONE_NEWNS).expect("root may enter mount namespaces");
    }
}
