//! The daemon's end of the control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::view::{Answer, Request};
use crate::lang::limits;

/// Longest question, bytes: a policy whose text is as long as it may be, every character of it escaped.
const MAX_QUESTION: u64 = 2 * limits::BYTES as u64 + (1 << 20);
/// How long a client may keep the daemon waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why nobody can ask this daemon.
#[derive(Debug, Error)]
#[error("cannot listen at {path}: {source} (vfw.toml: control.socket)")]
pub struct ServerError {
    path: PathBuf,
    source: io::Error,
}

/// A listening control socket. Its file goes when it does.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`, for root only. A socket file that nobody listens on any longer is replaced; one that is in use
    /// is an error.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        Self::listen(path).map_err(|source| ServerError { path: path.to_owned(), source })
    }

    fn listen(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if path.exists() {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another vfw is running"));
            }
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// A handle for the thread that answers.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers clients one after another, for as long as the process lives.
pub fn serve(listener: &UnixListener, answer: impl Fn(Request) -> Answer) {
    for stream in listener.incoming() {
        match stream.and_then(|stream| converse(&stream, &answer)) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "control client"),
        }
    }
}

fn converse(stream: &UnixStream, answer: impl Fn(Request) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).take(MAX_QUESTION).read_line(&mut line)?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => answer(request),
        Err(error) => Answer::Error(format!("not a request: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    let mut stream = stream;
    stream.write_all(&text)
}
