//! What a machine and its interfaces are like, as plain data. The checks see nothing else.

mod hooks;
mod interface;
mod irq;
mod machine;
mod platform;
mod probe;
mod time;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::Mode;
use crate::interface::{
    Counts, Feature, Hook, HookChoice, HookError, Interface, LinkState, Peer, XdpPlace, ZoneTags, choose_hook,
};

pub use machine::gather as machine;
pub use platform::Platform;
pub use probe::try_programs;

pub(super) use interface::{Told, gather as interface, is_candidate};

/// Everything that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The machine.
    pub machine: Machine,
    /// A vfw runs and has answered.
    pub vfw_runs: bool,
    /// The interfaces that were asked for, as far as they are there.
    pub interfaces: Vec<InterfaceFacts>,
    /// Interfaces that were asked for and are not there.
    pub missing: Vec<Missing>,
}

/// An interface that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// Why, and what there is.
    pub reason: String,
}

/// Whether something can be had, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Whether it can; nothing when that is not known.
    pub can: Option<bool>,
    /// How that is known, in a clause.
    pub because: String,
}

impl Ability {
    /// It can be had.
    pub fn yes(because: impl Into<String>) -> Self {
        Self { can: Some(true), because: because.into() }
    }

    /// It cannot be had.
    pub fn no(because: impl Into<String>) -> Self {
        Self { can: Some(false), because: because.into() }
    }

    /// Nobody knows.
    pub fn unknown(because: impl Into<String>) -> Self {
        Self { can: None, because: because.into() }
    }
}

impl Default for Ability {
    fn default() -> Self {
        Self::unknown("nobody asked")
    }
}

/// The machine that vfw runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Its first two numbers.
    pub version: Option<(u8, u8)>,
    /// What it is.
    pub platform: Platform,
    /// How its firmware calls it.
    pub product: Option<String>,
    /// Kind of the container around this process, if there is one.
    pub container: Option<String>,
    /// CPUs that work.
    pub cpus: u32,
    /// Those that are kept free (`isolcpus`), by number.
    pub isolated: Vec<u32>,
    /// The kernel tells its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// `net.core.bpf_jit_enable`
    pub jit: Option<u32>,
    /// `net.core.bpf_jit_harden`
    pub jit_harden: Option<u32>,
    /// `kernel.bpf_stats_enabled`
    pub bpf_stats: Option<u32>,
    /// Whether the kernel takes the programs of vfw.
    pub programs: Ability,
    /// Whether programs can hang at tcx.
    pub tcx: Ability,
    /// Whether there is a `clsact` qdisc.
    pub clsact: Ability,
    /// Whether there are `AF_XDP` sockets.
    pub af_xdp: Ability,
    /// What may be locked in memory.
    pub memlock: Memlock,
    /// Governors of the CPUs' frequency, without duplicates; empty in most guests.
    pub governors: Vec<String>,
    /// The daemon irqbalance runs.
    pub irqbalance: bool,
    /// How the kernel protects itself from Spectre v2.
    pub spectre_v2: Option<String>,
    /// What the kernel reads the time from.
    pub clock: Option<ClockSource>,
    /// The clock follows a server.
    pub clock_follows: Option<bool>,
    /// The kernel's own connection tracking, if it is loaded.
    pub conntrack: Option<Conntrack>,
    /// Frames that the kernel dropped between driver and stack since it started, because its queue was full.
    pub backlog_dropped: u64,
}

/// What may be locked in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memlock {
    /// Most bytes; nothing when there is no limit.
    pub limit: Option<u64>,
    /// This process may pass the limit (`CAP_IPC_LOCK`).
    pub exempt: bool,
}

/// What the kernel reads the time from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClockSource {
    /// The one in use.
    pub current: String,
    /// All that there are.
    pub available: Vec<String>,
}

/// The kernel's own connection tracking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Connections that it knows, in this network namespace.
    pub entries: u64,
    /// It is a module, which can be unloaded.
    pub is_module: bool,
    /// Modules that use it.
    pub users: Vec<String>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceFacts {
    /// What choosing a hook needs.
    pub interface: Interface,
    /// Zones of the rules on it; none when the rules do not name it.
    pub zones: Vec<ZoneFacts>,
    /// The hook that the settings ask for.
    pub mode: Mode,
    /// What a running vfw says of it.
    pub running: Option<Running>,
    /// Programs that hang on it.
    pub programs: Programs,
    /// Flags and losses.
    pub link: LinkState,
    /// Offloads by the kernel's names; see [`OFFLOADS`].
    pub offloads: BTreeMap<&'static str, Feature>,
    /// Queues.
    pub queues: Option<Counts>,
    /// Slots of each ring.
    pub rings: Option<Counts>,
    /// Interrupts of its queues.
    pub irqs: Vec<Irq>,
    /// How its queues are polled.
    pub napi: Option<Napi>,
    /// For each receive queue the CPUs that received frames are spread to (`rps_cpus`).
    pub rps: Vec<String>,
    /// For each send queue the CPUs that send by it (`xps_cpus`).
    pub xps: Vec<String>,
    /// Kernel settings.
    pub settings: Settings,
    /// Feature bits that a virtio device and its driver have agreed on.
    pub virtio: Option<u64>,
    /// Virtual functions that are in use.
    pub virtual_functions: u32,
    /// The other end of a veth pair, if it is in the same network namespace or in one that has a name.
    pub peer: Option<Peer>,
}

/// A zone on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZoneFacts {
    /// Its name.
    pub name: String,
    /// Its VLAN, or none for untagged frames.
    pub vlan: Option<u16>,
}

/// What a running vfw says of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// `up`, `down`, `away` or `refused`.
    pub state: String,
    /// The hook in use.
    pub hook: Option<String>,
    /// `copy` or `zero-copy`, where the engine in user space works.
    pub frames: Option<String>,
}

/// A program on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its name; empty when it is not known.
    pub name: String,
    /// It is one of vfw's.
    pub own: bool,
}

/// Programs that hang on an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Programs {
    /// XDP programs and where each runs.
    pub xdp: Vec<(XdpPlace, Program)>,
    /// At tcx, on receipt, in their order.
    pub tcx: Vec<Program>,
    /// Filters of the `clsact` qdisc, on receipt.
    pub clsact: Vec<Program>,
    /// At tcx, on sending.
    pub egress: Vec<Program>,
}

/// An interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Irq {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// CPUs that it arrives at, as a list: `0-1,3`.
    pub cpus: String,
}

/// How queues are polled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Napi {
    /// By threads, and not in the interrupt.
    pub threaded: bool,
    /// `gro_flush_timeout`, nanoseconds.
    pub flush_timeout: u64,
    /// `napi_defer_hard_irqs`
    pub defer_hard_irqs: u32,
}

/// Kernel settings of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The kernel forwards IPv4 that comes in here.
    pub forwarding_v4: bool,
    /// The kernel forwards IPv6 that comes in here.
    pub forwarding_v6: bool,
    /// `rp_filter`, the larger of the interface's and the one for all.
    pub rp_filter: u32,
}

/// Offloads that are looked at, by the kernel's names.
pub const OFFLOADS: [&str; 16] = [
    "rx-checksum",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-generic-segmentation",
    "rx-gro",
    "rx-gro-hw",
    "rx-lro",
    "rx-vlan-hw-parse",
    "tx-vlan-hw-insert",
    "rx-vlan-filter",
    "rx-ntuple-filter",
    "rx-hashing",
];

impl InterfaceFacts {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// Its driver.
    pub fn driver(&self) -> &str {
        &self.interface.driver
    }

    /// The rules name it: it is vfw's.
    pub fn is_owned(&self) -> bool {
        !self.zones.is_empty()
    }

    /// It has a zone with a VLAN.
    pub fn is_tagged(&self) -> bool {
        self.zones.iter().any(|zone| zone.vlan.is_some())
    }

    /// An offload by the kernel's name.
    pub fn offload(&self, name: &str) -> Feature {
        self.offloads.get(name).copied().unwrap_or_default()
    }

    /// Which hook the settings lead to, and why.
    pub fn choice(&self) -> Result<HookChoice, HookError> {
        let untagged = self.zones.is_empty() || self.zones.iter().any(|zone| zone.vlan.is_none());
        choose_hook(&self.interface, self.mode, ZoneTags { tagged: self.is_tagged(), untagged })
    }

    /// The hook that vfw's programs hang on, else the one that would be chosen; nothing when none can be had.
    pub fn hook(&self) -> Option<Hook> {
        let Programs { xdp, tcx, clsact, .. } = &self.programs;
        if xdp.iter().any(|(_, program)| program.own) {
            return Some(Hook::Xdp);
        }
        if tcx.iter().chain(clsact).any(|program| program.own) {
            return Some(Hook::Tc);
        }
        self.choice().ok().map(|choice| choice.hook)
    }
}
