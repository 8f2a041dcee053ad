//! The commands' end of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::view::{Answer, Request};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot reach vfw at {path}: {source}\nstart it with `vfw run FILE`, or name its socket with --socket")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("vfw at {path} did not answer: {source}")]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The question makes no sense to the daemon.
    #[error("{0}")]
    BadQuestion(String),
    /// The daemon is of another version, or could not answer.
    #[error("vfw at {path} answered: {message}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

/// How long the daemon may take: the largest policies and flow tables need most of it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks the daemon at `path`.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, ClientError> {
    let connect = |source| ClientError::Connect { path: path.to_owned(), source };
    let talk = |source| ClientError::Talk { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(connect)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(talk)?;
    let mut line = serde_json::to_vec(request).map_err(|error| talk(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(talk)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(talk)?;
    match serde_json::from_str(&text) {
        Ok(Answer::Error(message)) => Err(ClientError::Refused { path: path.to_owned(), message }),
        Ok(Answer::BadQuestion(message)) => Err(ClientError::BadQuestion(message)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(ClientError::Refused { path: path.to_owned(), message: error.to_string() }),
    }
}
