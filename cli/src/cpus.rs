//! The CPUs that this process may use.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Those of the calling thread, in order.
pub fn own() -> io::Result<Vec<usize>> {
    let own = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap_or(false)).collect())
}
