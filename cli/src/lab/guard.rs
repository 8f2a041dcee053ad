//! A lab that cannot outlive its use: removed on drop and on the signals that end a process.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::LabError;

/// Held while a lab is being built or removed, so that a signal does not remove what is still growing.
static BUILDING: Mutex<()> = Mutex::new(());

pub(super) fn building() -> MutexGuard<'static, ()> {
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the lab of its name when dropped. Make it before the lab, so that no moment is uncovered.
#[must_use = "dropping the guard removes the lab"]
pub struct LabGuard {
    /// What is still to be removed, shared with the thread that waits for signals.
    name: Arc<Mutex<Option<String>>>,
}

impl LabGuard {
    /// Guards the lab `name`, which need not exist yet.
    pub fn new(name: &str) -> Self {
        Self { name: Arc::new(Mutex::new(Some(name.to_owned()))) }
    }

    /// Removes the lab on SIGINT, SIGTERM and SIGHUP too; the process then ends as the signal would have ended it.
    pub fn on_signals(self) -> Result<Self, LabError> {
        let failed = |source: io::Error| LabError::Start { command: "signal handler".to_owned(), source };
        let name = Arc::clone(&self.name);
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
        // The thread outlives the guard: once handlers are in place, something has to end the process on a signal.
        thread::Builder::new()
            .name("lab-guard".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    // Held to the end of the process, or the main thread could begin to build now.
                    let _building = remove(&name);
                    // Does not return for these three.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            })
            .map_err(failed)?;
        Ok(self)
    }

    /// Lets the lab live on.
    pub fn keep(self) {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for LabGuard {
    fn drop(&mut self) {
        drop(remove(&self.name));
    }
}

/// Removes what is still to be removed. Whoever comes second, main thread or signal, waits until the lab is gone.
fn remove(name: &Mutex<Option<String>>) -> MutexGuard<'static, ()> {
    let mut name = name.lock().unwrap_or_else(PoisonError::into_inner);
    let building = building();
    if let Some(name) = name.take()
        && let Err(error) = super::remove_recorded(&name)
    {
        tracing::error!(%error, "the lab could not be removed; try `vfw lab down`");
    }
    building
}
