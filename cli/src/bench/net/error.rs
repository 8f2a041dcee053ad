//! Why a measurement over the network did not come about.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::message::VERSION;

/// What went wrong, in words for the user.
#[derive(Debug, Error)]
pub enum NetError {
    /// The name or address of the other end.
    #[error("`{host}` is no address and no name that can be resolved: {source}")]
    Resolve {
        /// As given.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("cannot reach {address}: {source}{hint}")]
    Connect {
        /// The other end.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The server cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address, or that of the data connections.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Something else listens there.
    #[error("{0} does not speak the protocol of `vfw bench`: is `vfw bench server` running there?")]
    Stranger(SocketAddr),
    /// A vfw of another protocol version.
    #[error(
        "the other end is vfw {vfw} and speaks version {version} of the bench protocol, this one version {VERSION}: \
         install the same vfw on both"
    )]
    Version {
        /// Version of its program.
        vfw: String,
        /// Version of its protocol.
        version: u32,
    },
    /// The client does not hold the server's token.
    #[error("the token is not the server's: both ends need the same --token-file")]
    WrongToken,
    /// The server could not prove that it holds the token.
    #[error("the server did not prove that it holds the token: something else answers in its place")]
    UnprovenServer,
    /// The token file.
    #[error("the token file {path}: {problem}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// The other end says no.
    #[error("the server refused: {0}")]
    Refused(String),
    /// What was asked for is out of bounds.
    #[error("{0}")]
    OutOfBounds(String),
    /// A message that is no message, or not the one that was due.
    #[error("the other end broke the protocol: {0}")]
    Protocol(String),
    /// The conversation or the measurement broke off.
    #[error("{what}: {source}")]
    Broken {
        /// What was going on.
        what: &'static str,
        /// How it ended.
        source: io::Error,
    },
    /// Nothing came through.
    #[error("{0}")]
    Silent(String),
}

impl NetError {
    /// Whether it tells of what lies between the ends, and not of the ends.
    pub const fn is_of_the_path(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Silent(_))
    }

    /// For `map_err`: the conversation broke off while this was going on.
    pub fn broken(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Broken { what, source }
    }

    /// The same for errors of system calls.
    pub fn failed(what: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Broken { what, source: errno.into() }
    }
}

/// Whether a read or write ended because its time was up.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
