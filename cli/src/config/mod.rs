//! The engine's settings: `vfw.toml`.
//!
//! Rules say what may pass; this file says how the engine runs: hooks, table sizes, timeouts, log, control socket, pins.
//! Every key has a default, so an empty file (or none) is valid. `docs/vfw.toml.md` documents each key.

mod error;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use firewall_core::limit::Rate;
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use value::{AbsolutePath, Bounded, Capacity, Cpus, InterfaceName, Seconds, SocketPath};

/// All settings of the engine, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hook of every interface that does not name its own.
    pub mode: Mode,
    /// Kernel flow tables.
    pub flows: Flows,
    /// Neighbour table and the frames that wait for an answer.
    pub neighbours: Neighbours,
    /// What rules may take.
    pub rules: Rules,
    /// What each zone may ask of the daemon.
    pub limits: Limits,
    /// The engine in user space.
    pub afxdp: Afxdp,
    /// Idle time after which a flow is forgotten.
    pub timeouts: Timeouts,
    /// What is written to the log.
    pub log: Log,
    /// The socket on which commands reach the daemon.
    pub control: Control,
    /// Where forwarding outlives the daemon.
    pub state: State,
    /// Settings of single interfaces.
    pub interface: BTreeMap<InterfaceName, InterfaceSettings>,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks `text`; `name` is what errors call the file.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::syntax(name, text, &error))
    }

    /// The hook asked for on `interface`.
    pub fn mode_of(&self, interface: &str) -> Mode {
        self.interface.get(interface).and_then(|settings| settings.mode).unwrap_or(self.mode)
    }
}

/// Which hook an interface is asked to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// vfw picks and says why.
    #[default]
    Auto,
    /// Native XDP, or an error.
    Xdp,
    /// tc (tcx on 6.6 and later, clsact before).
    Tc,
    /// Native XDP in front, which hands frames to the engine in user space, or an error.
    Afxdp,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::Afxdp => "afxdp",
        })
    }
}

/// `[interface.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InterfaceSettings {
    /// Hook of this interface; the global `mode` when absent.
    pub mode: Option<Mode>,
}

/// `[flows]`: the tables are allocated at load, so that a flood finds a bound and not the end of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Confirmed flows; never evicted.
    pub established: Capacity,
    /// Flows that wait for an answer; the least recently used one makes room.
    pub half_open: Capacity,
    /// Datagrams whose fragments are being tracked.
    pub fragments: Capacity,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            established: Bounded::clamped(131_072),
            half_open: Bounded::clamped(65_536),
            fragments: Bounded::clamped(8_192),
        }
    }
}

/// `[neighbours]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Neighbours {
    /// Entries of the neighbour table, all zones together.
    pub max: Bounded<16, 1_048_576>,
    /// Frames kept for one neighbour until it answers.
    pub queue_frames: Bounded<1, 4_096>,
    /// Bytes kept for all neighbours together until they answer.
    pub queue_bytes: Bounded<65_536, 268_435_456>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            max: Bounded::clamped(8_192),
            queue_frames: Bounded::clamped(64),
            queue_bytes: Bounded::clamped(4_194_304),
        }
    }
}

/// `[rules]`: what rules may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Most bytes of the compiled rules.
    pub bytes: Bounded<65_536, 1_073_741_824>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { bytes: Bounded::clamped(268_435_456) }
    }
}

/// `[limits]`: token buckets, one of each kind for every zone. A zone is charged for what the flows cause that its hosts began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Frames per second to neighbours that are not known yet.
    pub resolve_rate: Bounded<1, 1_000_000>,
    /// How many of them at once. A GSO super-packet counts as 33.
    pub resolve_burst: Bounded<64, 65_536>,
    /// ICMP errors per second.
    pub error_rate: Bounded<1, 1_000_000>,
    /// How many of them at once.
    pub error_burst: Bounded<1, 65_536>,
    /// Messages of neighbours about themselves per second.
    pub neighbour_rate: Bounded<1, 1_000_000>,
    /// How many of them at once.
    pub neighbour_burst: Bounded<1, 65_536>,
    /// Dropped packets per second that `vfw show drops` lists one by one.
    pub drop_rate: Bounded<1, 1_000_000>,
    /// How many of them at once.
    pub drop_burst: Bounded<1, 65_536>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve_rate: Bounded::clamped(1_000),
            resolve_burst: Bounded::clamped(512),
            // Linux allows the host 1,000 a second and 50 at once (`net.ipv4.icmp_msgs_per_sec`); a zone gets a part of it.
            error_rate: Bounded::clamped(100),
            error_burst: Bounded::clamped(50),
            neighbour_rate: Bounded::clamped(1_000),
            neighbour_burst: Bounded::clamped(512),
            drop_rate: Bounded::clamped(100),
            drop_burst: Bounded::clamped(200),
        }
    }
}

impl Limits {
    /// How fast the ICMP errors of a zone may follow each other.
    pub const fn errors(&self) -> Rate {
        Rate::new(self.error_rate.get(), self.error_burst.get())
    }
}

/// `[afxdp]`: the engine in user space, for interfaces with `mode = "afxdp"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Afxdp {
    /// Whether frames may be copied between the kernel and the engine.
    pub zerocopy: ZeroCopy,
    /// CPUs of the workers, one each. When there are none: those of the process, the last one first.
    pub cpus: Cpus,
    /// Workers ask the driver for frames in place of waiting for interrupts.
    pub busy_poll: bool,
    /// Zones whose flows the kernel programs keep all the same.
    pub kernel_zones: Vec<String>,
}

/// `afxdp.zerocopy`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZeroCopy {
    /// They are not where the driver can do without.
    #[default]
    Auto,
    /// They must not be.
    Require,
}

/// `[timeouts]`: names and defaults follow `nf_conntrack` in Linux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// SYN seen, no answer yet.
    pub tcp_syn_sent: Seconds,
    /// SYN and SYN-ACK seen, last ACK of the handshake missing.
    pub tcp_syn_received: Seconds,
    /// Handshake complete.
    pub tcp_established: Seconds,
    /// One side has closed.
    pub tcp_fin_wait: Seconds,
    /// Both sides have closed, last ACK missing.
    pub tcp_closing: Seconds,
    /// Both sides have closed.
    pub tcp_time_wait: Seconds,
    /// A valid RST was seen.
    pub tcp_closed: Seconds,
    /// UDP seen in one direction.
    pub udp_unreplied: Seconds,
    /// UDP seen in both directions.
    pub udp_replied: Seconds,
    /// ICMP and `ICMPv6` echo.
    pub icmp: Seconds,
    /// Every other protocol.
    pub other: Seconds,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent: Bounded::clamped(120),
            tcp_syn_received: Bounded::clamped(60),
            tcp_established: Bounded::clamped(432_000),
            tcp_fin_wait: Bounded::clamped(120),
            tcp_closing: Bounded::clamped(60),
            tcp_time_wait: Bounded::clamped(120),
            tcp_closed: Bounded::clamped(10),
            udp_unreplied: Bounded::clamped(30),
            udp_replied: Bounded::clamped(120),
            icmp: Bounded::clamped(30),
            other: Bounded::clamped(600),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least severe message that is written.
    pub level: LogLevel,
    /// Lines for people or objects for machines.
    pub format: LogFormat,
    /// Logged packets per second of each zone, and as many at once; what is above is counted, not written.
    pub rate: Bounded<1, 1_000_000>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text, rate: Bounded::clamped(100) }
    }
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What vfw could not do.
    Error,
    /// What an operator should look at.
    Warn,
    /// What has changed, and logged packets.
    Info,
    /// Decisions of the control plane.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line per message.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix socket of the daemon.
    pub socket: SocketPath,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: SocketPath::standard() }
    }
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Folder of a bpffs that holds programs, maps and links.
    pub pins: AbsolutePath,
    /// What the daemon has to know of them when it starts again.
    pub file: AbsolutePath,
}

impl Default for State {
    fn default() -> Self {
        Self { pins: AbsolutePath::standard_pins(), file: AbsolutePath::standard_state() }
    }
}

#[cfg(test)]
mod tests;
