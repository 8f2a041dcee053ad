//! Forwarding outlives the daemon: what is found in force at a start, and what the next start has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use firewall_core::tables::ABI_VERSION;
use thiserror::Error;

use super::port::Port;
use super::record::{InterfaceRecord, Place, Record, RecordError};
use crate::backend::kernel::{PinError, PinFolder, Pins};
use crate::config::Config;
use crate::interface::Changes;
use crate::lang::Policy;

/// What ends it when nothing else does, in every refusal.
const WAY_OUT: &str = "`vfw stop` takes the programs off";

/// Why programs that are in force cannot be taken over, or kept.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The folder of pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The state file cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The state file cannot be read, and there are programs of which it tells.
    #[error("programs of vfw forward, and what belongs to them is unreadable: {0}\n{WAY_OUT}")]
    Unreadable(RecordError),
    /// There is no state file.
    #[error("programs of vfw forward, and {} does not tell what belongs to them\n{WAY_OUT}", _0.display())]
    Unknown(PathBuf),
    /// The programs are of an incompatible version.
    #[error(
        "the programs in force are of another version of vfw (tables of version {found}, here {ABI_VERSION}): start that \
         version, or end forwarding first\n{WAY_OUT}"
    )]
    Version {
        /// Theirs.
        found: u32,
    },
    /// The programs forward elsewhere.
    #[error(
        "the programs in force forward in another network namespace ({found}, here {here}): start vfw there, or name \
         another folder (vfw.toml: state.pins)"
    )]
    Elsewhere {
        /// Inode of theirs.
        found: u64,
        /// Inode of this one.
        here: u64,
    },
    /// The network namespace cannot be told.
    #[error("cannot tell the network namespace: {0}")]
    Place(io::Error),
}

/// Holds what outlives this process, and keeps the record of it.
pub struct Keeper {
    folder: PinFolder,
    file: PathBuf,
    place: Place,
    /// What was in force when this process began.
    found: Option<Record>,
    /// The interfaces that programs hung on then.
    live: BTreeSet<u32>,
    written: Option<Record>,
}

impl Keeper {
    /// Takes the folder, and looks at what is in force. What nobody uses any more is cleared away.
    pub fn open(config: &Config) -> Result<Self, KeepError> {
        let folder = PinFolder::open(config.state.pins.as_path())?;
        let place = Place::here().map_err(KeepError::Place)?;
        let file = config.state.file.as_path().to_owned();
        let record = Record::read(&file);
        let is_elsewhere = matches!(&record, Ok(Some(record)) if record.place != place);
        let live = folder.pins().interfaces();
        let is_in_use = !live.is_empty() || is_elsewhere && folder.pins().has_filters();
        let found = if is_in_use {
            let record = record.map_err(KeepError::Unreadable)?.ok_or_else(|| KeepError::Unknown(file.clone()))?;
            let record = check(record, folder.pins(), &place, &file)?;
            folder.pins().clear_dead();
            Some(record)
        } else {
            folder.pins().clear();
            None
        };
        Ok(Self { folder, file, place, written: found.clone(), found, live })
    }

    /// Where everything is pinned.
    pub fn pins(&self) -> &Pins {
        self.folder.pins()
    }

    /// What was in force when this process began.
    pub fn found(&self) -> Option<&Record> {
        self.found.as_ref()
    }

    /// The interfaces that programs of an earlier process hang on, with what was changed there.
    pub fn inherited(&self) -> BTreeMap<u32, Changes> {
        let changes = |index| self.found.as_ref().map(|found| found.changes(index)).unwrap_or_default();
        self.live.iter().map(|index| (*index, changes(*index))).collect()
    }

    /// Writes down what is in force now, if that has changed.
    pub fn note(&mut self, policy: &Policy, ports: &[Port]) -> Result<(), RecordError> {
        let Some(flows) = self.pins().identity() else { return Ok(()) };
        let mut record = Record::new(self.place.clone(), flows, policy.zone_names());
        record.interfaces = ports.iter().filter_map(record_of).collect();
        if self.written.as_ref() != Some(&record) {
            record.write(&self.file)?;
            self.written = Some(record);
        }
        Ok(())
    }

    /// Writes down again what was found.
    pub fn restore(&mut self) {
        let Some(found) = &self.found else { return };
        match found.write(&self.file) {
            Ok(()) => self.written = Some(found.clone()),
            Err(error) => tracing::warn!(%error, "the state file is of a start that failed"),
        }
    }

    /// Removes all that would outlive this process. The programs are taken off before.
    pub fn remove(&self) {
        self.folder.remove();
        if let Err(error) = Record::remove(&self.file) {
            tracing::warn!(%error, "the state file stays");
        }
    }
}

/// Whether programs of vfw forward here, with or without a daemon.
pub fn is_forwarding(config: &Config) -> bool {
    !Pins::at(config.state.pins.as_path()).interfaces().is_empty()
}

fn check(record: Record, pins: &Pins, place: &Place, file: &std::path::Path) -> Result<Record, KeepError> {
    if record.abi != ABI_VERSION {
        return Err(KeepError::Version { found: record.abi });
    }
    if pins.identity() != Some(record.flows) {
        return Err(KeepError::Unknown(file.to_owned()));
    }
    if record.place != *place {
        return Err(KeepError::Elsewhere { found: record.place.namespace, here: place.namespace });
    }
    Ok(record)
}

fn record_of(port: &Port) -> Option<InterfaceRecord> {
    let attached = port.attached.as_ref()?;
    let index = attached.interface.index;
    Some(InterfaceRecord { name: port.name.clone(), index, changes: attached.changes.clone() })
}
