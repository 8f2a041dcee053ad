//! How the daemon ends: leaving forwarding as it is, or taking everything off.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Becomes readable when the daemon is to end: by a signal, or by order. Service managers send SIGTERM, and SIGHUP comes with
/// a terminal that closes; forwarding outlives both. Ctrl-C and `vfw stop` end forwarding too.
pub struct End {
    asked: UnixStream,
    ask: UnixStream,
    takes_off: Arc<AtomicBool>,
}

impl End {
    /// From here on signals do not end the process by themselves.
    pub fn on_signals() -> io::Result<Self> {
        let (asked, ask) = UnixStream::pair()?;
        let takes_off = Arc::new(AtomicBool::new(false));
        // Before the pipe: who reads from it finds the flag set.
        signal_hook::flag::register(SIGINT, Arc::clone(&takes_off))?;
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::low_level::pipe::register(signal, ask.try_clone()?)?;
        }
        Ok(Self { asked, ask, takes_off })
    }

    /// Orders the daemon to take everything off and end.
    pub fn order(&self) -> io::Result<()> {
        self.takes_off.store(true, Ordering::SeqCst);
        (&self.ask).write_all(b"x")
    }

    /// Whether everything is to be taken off.
    pub fn takes_off(&self) -> bool {
        self.takes_off.load(Ordering::SeqCst)
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}
