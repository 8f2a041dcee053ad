//! The folder of a bpffs in which a firewall outlives its process.
//!
//! ```text
//! state/ESTABLISHED ...           what all programs share, old and new: flows, neighbours, counters, rings
//! links/xdp-5  links/tcx-6        the programs on interfaces, by the interface's number
//! links/filter-7/                 an empty folder: a filter hangs there (Linux before 6.6), which outlives all by itself
//! generations/7/XDP_PARTS ...     what belongs to one loading of the programs
//! ```
//!
//! A start loads programs as a generation of their own, moves the links to them one by one, and removes the generations
//! before. Whatever moment it is killed at, each link has a program whose generation is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapInfo};
use firewall_core::tables::{SLOTS, Settings};
use thiserror::Error;
use zerocopy::FromBytes as _;

use super::{attach, bpffs, link_info};

/// How long a process that is being killed may hold the folder.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maps of a generation that are pinned: the parts, because the kernel empties them with their last user, and the settings,
/// which tell the epoch.
pub(super) const OF_GENERATION: [&str; 3] = ["XDP_PARTS", "TC_PARTS", "SETTINGS"];

/// A folder that cannot be used.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source} (vfw.toml: state.pins)", path.display())]
pub struct PinError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Where the objects of a firewall are pinned. Who has it has taken care that nobody else uses the folder ([`PinFolder`]).
#[derive(Clone, Debug)]
pub struct Pins(PathBuf);

/// The way in which programs hang on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Xdp,
    Tcx,
    /// It cannot be pinned; an empty folder says whose it is.
    Filter,
}

impl Way {
    const ALL: [Self; 3] = [Self::Xdp, Self::Tcx, Self::Filter];

    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
            Self::Filter => "filter",
        }
    }
}

impl Pins {
    /// The pins in a folder that somebody else may use: to look at.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Where a map that all generations share is pinned.
    pub(super) fn state(&self, map: &str) -> PathBuf {
        self.0.join("state").join(map)
    }

    /// Where the pin is that keeps programs on an interface.
    pub(super) fn place(&self, way: Way, ifindex: u32) -> PathBuf {
        self.0.join("links").join(format!("{}-{ifindex}", way.name()))
    }

    /// Whether programs hang on this interface in this way; for a filter, in the calling thread's network namespace.
    pub(super) fn is_live(&self, way: Way, ifindex: u32) -> bool {
        let place = self.place(way, ifindex);
        match way {
            Way::Xdp | Way::Tcx => link_info::interface_of(&place).is_ok_and(|index| index == Some(ifindex)),
            Way::Filter => place.exists() && attach::has_filter(ifindex),
        }
    }

    /// The interfaces on which programs hang.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.held().filter(|(way, ifindex)| self.is_live(*way, *ifindex)).map(|(_, ifindex)| ifindex).collect()
    }

    /// Removes the pins of links whose interfaces are gone.
    pub fn clear_dead(&self) {
        let dead = self.held().filter(|(way, ifindex)| !self.is_live(*way, *ifindex));
        dead.for_each(|(way, ifindex)| self.unpin(way, ifindex));
    }

    /// Whether there are filters, which can be seen in their own network namespace alone.
    pub fn has_filters(&self) -> bool {
        self.held().any(|(way, _)| way == Way::Filter)
    }

    /// The pins that keep programs on interfaces.
    fn held(&self) -> impl Iterator<Item = (Way, u32)> {
        children(&self.0.join("links")).into_iter().filter_map(|path| {
            let (way, ifindex) = path.file_name()?.to_str()?.split_once('-')?;
            let way = Way::ALL.into_iter().find(|known| known.name() == way)?;
            Some((way, ifindex.parse().ok()?))
        })
    }

    /// Says that a filter on this interface is ours.
    pub(super) fn mark_filter(&self, ifindex: u32) -> Result<(), PinError> {
        make(&self.place(Way::Filter, ifindex))
    }

    /// Takes whatever hangs there off the interface with this number.
    pub fn take_off(&self, ifindex: u32) {
        for way in Way::ALL {
            self.unpin(way, ifindex);
        }
    }

    /// Takes a program off, and its pin away.
    pub(super) fn unpin(&self, way: Way, ifindex: u32) {
        let place = self.place(way, ifindex);
        let gone = match way {
            Way::Xdp | Way::Tcx => fs::remove_file(place),
            Way::Filter if !place.exists() => return,
            Way::Filter => {
                attach::take_filters_off(ifindex);
                fs::remove_dir(place)
            }
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(ifindex, %error, "a program could not be taken off");
            }
            _ => {}
        }
    }

    /// Takes off what hangs on an interface other than in this way.
    pub(super) fn take_off_but(&self, way: Way, ifindex: u32) {
        Way::ALL.into_iter().filter(|other| *other != way).for_each(|other| self.unpin(other, ifindex));
    }

    /// Begins a generation: a folder for its pins.
    pub(super) fn begin(&self) -> Result<PathBuf, PinError> {
        for folder in [self.0.join("state"), self.0.join("links")] {
            make(&folder)?;
        }
        let used = self.generations();
        let folders = (0..=used.len()).map(|number| self.0.join("generations").join(number.to_string()));
        let folder = folders.into_iter().find(|folder| !used.contains(folder)).unwrap_or_default();
        make(&folder)?;
        Ok(folder)
    }

    /// Removes all generations but `current`, after no program of theirs can be running any more.
    pub(super) fn end_others(&self, current: &Path) {
        self.generations().iter().filter(|folder| *folder != current).for_each(|folder| remove(folder));
    }

    /// Removes a generation that no interface has a program of.
    pub(super) fn end(generation: &Path) {
        remove(generation);
    }

    /// The epoch of a policy that is younger than all that programs of this folder have seen.
    pub fn next_epoch(&self) -> u32 {
        let generations = self.generations().into_iter();
        let last = generations.filter_map(|folder| last_epoch(&folder.join("SETTINGS"))).max().unwrap_or(0);
        last.checked_add(1).unwrap_or(1)
    }

    /// The kernel's number for the table of established flows, which no other firewall has.
    pub fn identity(&self) -> Option<u32> {
        MapInfo::from_pin(self.state("ESTABLISHED")).ok().map(|info| info.id())
    }

    /// Takes away every pin but the folder. Programs that hang on interfaces are taken off before.
    pub fn clear(&self) {
        for folder in ["links", "generations", "state"] {
            remove(&self.0.join(folder));
        }
    }

    fn generations(&self) -> Vec<PathBuf> {
        children(&self.0.join("generations"))
    }
}

/// A folder of pins that nobody else may use as long as this lives.
#[derive(Debug)]
pub struct PinFolder {
    pins: Pins,
    _lock: File,
}

impl PinFolder {
    /// Makes the folder, and the file system for it, where they are missing.
    pub fn open(path: &Path) -> Result<Self, PinError> {
        bpffs::ensure(path).map_err(failed("use", path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            make(path)?;
            if let Some(lock) = lock(path, deadline)? {
                return Ok(Self { pins: Pins(path.to_owned()), _lock: lock });
            }
        }
    }

    /// The folder, if there is one. Waits as long as `patience` for who uses it.
    pub fn find(path: &Path, patience: Duration) -> Result<Option<Self>, PinError> {
        if !path.exists() || !bpffs::holds(path).map_err(failed("use", path))? {
            return Ok(None);
        }
        let lock = lock(path, Instant::now() + patience)?;
        Ok(lock.map(|lock| Self { pins: Pins(path.to_owned()), _lock: lock }))
    }

    /// What is in it.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes it away with all that is in it.
    pub fn remove(&self) {
        self.pins.clear();
        remove(&self.pins.0);
    }
}

/// Locks a folder; nothing when it was removed meanwhile.
fn lock(path: &Path, deadline: Instant) -> Result<Option<File>, PinError> {
    let folder = match File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    loop {
        match folder.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(fs::TryLockError::WouldBlock) => {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "another vfw is running with it");
                return Err(failed("use", path)(source));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
        }
    }
    let inode = |data: fs::Metadata| (data.dev(), data.ino());
    let locked = folder.metadata().map(inode).map_err(failed("read", path))?;
    Ok(fs::metadata(path).is_ok_and(|data| inode(data) == locked).then_some(folder))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> PinError {
    move |source| PinError { action, path: path.to_owned(), source }
}

/// Makes a folder for root alone, and those above it.
fn make(folder: &Path) -> Result<(), PinError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))
}

/// Removes a folder with its pins; what cannot be removed is left for the next start.
fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "pins not removed");
        }
        _ => {}
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// The highest epoch in pinned settings.
fn last_epoch(path: &Path) -> Option<u32> {
    let map = Map::from_map_data(MapData::from_pin(path).ok()?).ok()?;
    let settings: Array<MapData, [u8; size_of::<Settings>()]> = map.try_into().ok()?;
    let read = |slot| Settings::read_from_bytes(&settings.get(&slot, 0).ok()?).ok();
    (0..SLOTS).filter_map(|slot| read(slot).map(|settings| settings.epoch)).max()
}
