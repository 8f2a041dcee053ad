//! Connection tracking of Linux: how many flows it has room for, and how many it knows.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

use super::place::Place;
use crate::interface::netlink::{Attributes, Netlink};

/// `IPCTNL_MSG_CT_DELETE` of the subsystem `NFNL_SUBSYS_CTNETLINK`, and no family in particular (linux/netfilter/nfnetlink.h).
const DELETE: u16 = 1 << 8 | 2;
const ALL_FAMILIES: u8 = 0;
/// Most flows of a namespace, and buckets of the table that all share. Both are one value for all namespaces, and writable in
/// the first one only.
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";
/// What both were before they were raised; locked as long as they are.
const BEFORE: &str = "/run/vfw-bench-conntrack";

/// Most flows: one value for all namespaces.
pub fn room() -> Result<u32> {
    Ok(Sizes::read()?.room())
}

fn number(path: &str) -> Result<u32> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.trim().parse().map_err(|_| anyhow!("{path} holds no number"))
}

/// More room for flows than the machine had, until the value goes.
pub struct Room {
    file: Flock<File>,
    before: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    most: u32,
    buckets: u32,
}

/// Makes room for so many flows, if there is not enough. Labs of one process share it.
pub fn make_room(flows: u32) -> Result<Option<Arc<Room>>> {
    static HELD: Mutex<Weak<Room>> = Mutex::new(Weak::new());
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Sizes::read()?;
    let current = held.upgrade();
    // Room that another process has made goes with that one.
    if current.is_none() && flows <= now.room() && !is_raised() {
        return Ok(None);
    }
    let room = current.map_or_else(|| Room::take().map(Arc::new), Ok)?;
    // As for vfw: twice as many, for a table that is nearly full is slower. A bucket for each flow.
    let most = if now.most == 0 { 0 } else { now.most.max(flows.saturating_mul(2)) };
    let wanted = Sizes { most, buckets: now.buckets.max(flows) };
    wanted.write()?;
    *held = Arc::downgrade(&room);
    Ok(Some(room))
}

/// Sets back what a process had raised that was killed.
pub fn clear_leftovers() {
    // Where another process has it raised, that one does so.
    if is_raised() {
        drop(Room::take());
    }
}

fn is_raised() -> bool {
    fs::metadata(BEFORE).is_ok_and(|file| file.len() > 0)
}

impl Room {
    /// Remembers what the sizes are, or were before a process raised them that was killed.
    fn take() -> Result<Self> {
        let open = File::options().read(true).write(true).create(true).truncate(false).open(BEFORE);
        let file = open.with_context(|| format!("cannot open {BEFORE}"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let mut file = lock.map_err(|_| {
            anyhow!("another `vfw bench` has made room for flows in connection tracking; try again when it has ended")
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let before = match Sizes::parse(&text) {
            Some(before) => before,
            None => Sizes::read()?,
        };
        // What stands there stays: it must outlive this process, too.
        if Sizes::parse(&text).is_none() {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{} {}", before.most, before.buckets)?;
        }
        Ok(Self { file, before })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What cannot be set back now is by the next run, which finds the file.
        match self.before.write() {
            Ok(()) => drop(self.file.set_len(0)),
            Err(error) => tracing::error!(%error, "cannot set connection tracking back"),
        }
    }
}

impl Sizes {
    fn read() -> Result<Self> {
        Ok(Self { most: number(MOST)?, buckets: number(BUCKETS)? })
    }

    /// Most flows; zero is no limit.
    const fn room(self) -> u32 {
        if self.most == 0 { u32::MAX } else { self.most }
    }

    fn parse(text: &str) -> Option<Self> {
        let (most, buckets) = text.trim().split_once(' ')?;
        Some(Self { most: most.parse().ok()?, buckets: buckets.parse().ok()? })
    }

    fn write(self) -> Result<()> {
        for (path, value) in [(MOST, self.most), (BUCKETS, self.buckets)] {
            if number(path)? != value {
                let hint = "the network namespace that the machine began with may";
                fs::write(path, value.to_string())
                    .with_context(|| format!("cannot write {value} to {path}, which only {hint}"))?;
            }
        }
        Ok(())
    }
}

/// Flows that were seen in both directions.
pub fn established(firewall: &Place) -> Result<u64> {
    firewall.run(|| {
        // Not /proc/net, which shows the namespace of the first thread.
        let lines = BufReader::new(File::open("/proc/thread-self/net/nf_conntrack")?).lines();
        let mut count = 0;
        for line in lines {
            count += u64::from(!line?.contains("[UNREPLIED]"));
        }
        Ok(count)
    })
}

/// Forgets all flows: deletes without saying which.
pub fn flush(firewall: &Place) -> Result<()> {
    firewall.run(|| {
        // The header of nfnetlink is laid out as that of generic netlink.
        let answer = Netlink::netfilter()?.call_generic(DELETE, ALL_FAMILIES, Attributes::default());
        answer.map(drop).context("cannot flush connection tracking")
    })
}
