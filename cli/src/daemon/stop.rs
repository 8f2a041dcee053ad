//! Ending forwarding from outside of the daemon, whether it runs or not.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use super::keep::KeepError;
use super::record::{Place, Record, RecordError};
use crate::backend::kernel::{PinError, PinFolder};
use crate::config::Config;
use crate::control::{ClientError, Request, ask};

/// How long the daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing.
    Nothing,
    /// A daemon, which has taken everything off.
    Daemon,
    /// Programs without a daemon.
    Programs,
}

/// Why forwarding goes on.
#[derive(Debug, Error)]
pub enum StopError {
    /// The daemon does not end.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The folder of pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The state file cannot be removed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Not from here.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// Takes all programs off and gives the interfaces back; a daemon that listens on `socket` does so itself.
pub fn stop(config: &Config, socket: &Path) -> Result<Stopped, StopError> {
    let had_daemon = match ask(socket, &Request::Stop) {
        Ok(_) => true,
        Err(ClientError::Connect { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let patience = if had_daemon { PATIENCE } else { Duration::ZERO };
    let outcome = match PinFolder::find(config.state.pins.as_path(), patience)? {
        Some(folder) if take_off(&folder, config)? => Stopped::Programs,
        _ => Stopped::Nothing,
    };
    Record::remove(config.state.file.as_path())?;
    Ok(if had_daemon { Stopped::Daemon } else { outcome })
}

/// Takes off what a daemon that has ended has left in the calling thread's network namespace, and nothing elsewhere.
pub fn clear_away(config: &Config) -> Result<(), StopError> {
    let here = Place::here().map_err(KeepError::Place)?;
    let record = Record::read(config.state.file.as_path())?;
    if record.is_none_or(|record| record.place != here) {
        return Ok(());
    }
    if let Some(folder) = PinFolder::find(config.state.pins.as_path(), Duration::ZERO)? {
        take_off(&folder, config)?;
    }
    Ok(Record::remove(config.state.file.as_path())?)
}

/// Whether there was something.
fn take_off(folder: &PinFolder, config: &Config) -> Result<bool, StopError> {
    let pins = folder.pins();
    let record = Record::read(config.state.file.as_path()).unwrap_or_else(|error| {
        // What it tells is lost; forwarding is to end all the same.
        eprintln!("vfw: {error}\nvfw: links, multicast, IPv6 and offloads of the interfaces stay as they are");
        None
    });
    let here = Place::here().map_err(KeepError::Place)?;
    let live = pins.interfaces();
    if let Some(Record { place, .. }) = &record
        && *place != here
        && (!live.is_empty() || pins.has_filters() && place.boot == here.boot)
    {
        return Err(KeepError::Elsewhere { found: place.namespace, here: here.namespace }.into());
    }
    for index in &live {
        if let Some(record) = &record {
            record.changes(*index).give_back(*index);
        }
        pins.take_off(*index);
    }
    folder.remove();
    Ok(!live.is_empty())
}
