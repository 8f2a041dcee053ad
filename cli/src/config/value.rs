//! Values that are right by construction.

use std::borrow::Borrow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest interface name the kernel takes (`IFNAMSIZ` less the final zero).
const NAME_LENGTH: usize = 15;
/// Longest path of a unix socket (`sun_path` less the final zero).
const SOCKET_LENGTH: usize = 107;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

/// Entries of a table that is allocated when it is made.
pub type Capacity = Bounded<1, 16_777_216>;

/// A time to wait: from one second to one year.
pub type Seconds = Bounded<1, 31_536_000>;

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// `value`, or nothing when it is outside of the range.
    pub const fn new(value: u32) -> Option<Self> {
        if value < MIN || value > MAX { None } else { Some(Self(value)) }
    }

    /// `value`, or the bound nearest to it.
    pub const fn clamped(value: u32) -> Self {
        if value < MIN {
            Self(MIN)
        } else if value > MAX {
            Self(MAX)
        } else {
            Self(value)
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Seconds {
    /// The time in nanoseconds, the unit of the pipeline's clock.
    pub const fn nanos(self) -> u64 {
        self.get() as u64 * 1_000_000_000
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(deserializer)?;
        u32::try_from(value)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| D::Error::custom(format!("{value} is outside of {MIN} to {MAX}")))
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers of CPUs, each one once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cpus(Vec<u16>);

impl Cpus {
    /// Most that a set of CPUs of Linux has room for (`CPU_SETSIZE`).
    const MOST: u16 = 1024;

    /// `cpus`, or what is wrong with them.
    pub fn new(cpus: Vec<u16>) -> Result<Self, String> {
        if let Some(cpu) = cpus.iter().find(|cpu| **cpu >= Self::MOST) {
            return Err(format!("CPU {cpu} is outside of 0 to {}", Self::MOST - 1));
        }
        let twice = cpus.iter().enumerate().find(|(at, cpu)| cpus.iter().take(*at).any(|other| other == *cpu));
        match twice {
            Some((_, cpu)) => Err(format!("CPU {cpu} is named twice")),
            None => Ok(Self(cpus)),
        }
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[u16] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The name of an interface, as the kernel would take it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// `name`, or what is wrong with it.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > NAME_LENGTH {
            return Err(format!("an interface name has 1 to {NAME_LENGTH} bytes, `{name}` has {}", name.len()));
        }
        let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name == "." || name == ".." || name.contains(refused) {
            return Err(format!("`{name}` cannot be the name of an interface"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for InterfaceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An absolute path that fits a socket address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// `path`, or what is wrong with it.
    pub fn new(path: PathBuf) -> Result<Self, String> {
        if !path.is_absolute() {
            return Err(format!("`{}` is not an absolute path", path.display()));
        }
        let length = path.as_os_str().len();
        if length > SOCKET_LENGTH {
            return Err(format!("the path of a socket has at most {SOCKET_LENGTH} bytes, this one has {length}"));
        }
        Ok(Self(path))
    }

    /// Where the daemon listens when nothing else is said.
    pub fn standard() -> Self {
        Self(PathBuf::from("/run/vfw/control.sock"))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for SocketPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SocketPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(PathBuf::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// `path`, or what is wrong with it.
    pub fn new(path: PathBuf) -> Result<Self, String> {
        if path.is_absolute() { Ok(Self(path)) } else { Err(format!("`{}` is not an absolute path", path.display())) }
    }

    /// Where programs, maps and links are pinned when nothing else is said.
    pub fn standard_pins() -> Self {
        Self(PathBuf::from("/sys/fs/bpf/vfw"))
    }

    /// Where the daemon keeps what it has to know of them when nothing else is said.
    pub fn standard_state() -> Self {
        Self(PathBuf::from("/run/vfw/state.json"))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(PathBuf::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
