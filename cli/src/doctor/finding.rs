//! What a check finds, and what mends it.

use std::fmt;

use serde::Serialize;

use super::change::Change;

/// How much it matters. The order is that of importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; nothing need be done.
    Note,
    /// Slower, or less sure, than it could be.
    Warning,
    /// Packets are lost, pass where they should not, or vfw does not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this machine.
    Here,
    /// At the other end of a veth pair, in its network namespace.
    Peer,
    /// In `vfw.toml`.
    Settings,
    /// On the host, in the libvirt XML of this guest (`virsh edit`).
    Libvirt,
    /// On the host, a Proxmox VE node.
    Proxmox,
    /// On the host, in the command line of QEMU.
    Qemu,
    /// On the `ESXi` host.
    Esxi,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Here => "here",
            Self::Peer => "peer",
            Self::Settings => "vfw.toml",
            Self::Libvirt => "libvirt",
            Self::Proxmox => "Proxmox",
            Self::Qemu => "QEMU",
            Self::Esxi => "ESXi",
        })
    }
}

/// One way to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Where.
    pub place: Place,
    /// The command, or the lines of a file.
    pub command: String,
    /// What else it does.
    pub caution: Option<String>,
    /// The same as a change that `--fix` makes: it is safe on a machine in use.
    pub change: Option<Change>,
}

impl Remedy {
    /// A command, or lines of a file, at `place`.
    pub fn new(place: Place, command: impl Into<String>) -> Self {
        Self { place, command: command.into(), caution: None, change: None }
    }

    /// A command on this machine that the operator has to give.
    pub fn here(command: impl Into<String>) -> Self {
        Self::new(Place::Here, command)
    }

    /// A change on this machine that is safe while it is in use.
    pub fn safe(change: Change) -> Self {
        let command = change.command();
        Self { change: Some(change), ..Self::here(command) }
    }

    /// Says what else it does.
    #[must_use]
    pub fn but(self, caution: impl Into<String>) -> Self {
        Self { caution: Some(caution.into()), ..self }
    }
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How much it matters.
    pub severity: Severity,
    /// Why, in a sentence.
    pub reason: String,
    /// Ways to mend it, the best one first.
    pub remedies: Vec<Remedy>,
}

impl Verdict {
    fn new(severity: Severity, reason: impl Into<String>) -> Self {
        Self { severity, reason: reason.into(), remedies: Vec::new() }
    }

    /// As it should be.
    pub fn ok(reason: impl Into<String>) -> Self {
        Self::new(Severity::Ok, reason)
    }

    /// Good to know.
    pub fn note(reason: impl Into<String>) -> Self {
        Self::new(Severity::Note, reason)
    }

    /// Slower, or less sure, than it could be.
    pub fn warning(reason: impl Into<String>) -> Self {
        Self::new(Severity::Warning, reason)
    }

    /// It does not work so.
    pub fn error(reason: impl Into<String>) -> Self {
        Self::new(Severity::Error, reason)
    }

    /// Adds a way to mend it.
    #[must_use]
    pub fn mend(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    /// Adds ways to mend it.
    #[must_use]
    pub fn mends(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedies);
        self
    }
}

/// What a check has found on the machine or on one of its interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The interface; absent for what concerns the whole machine.
    pub interface: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Ways to mend it, the best one first.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// What the check of this name says of the machine, or of an interface.
    pub(super) fn new(check: &'static str, interface: Option<&str>, verdict: Verdict) -> Self {
        let Verdict { severity, reason, remedies } = verdict;
        Self { check, severity, interface: interface.map(ToOwned::to_owned), reason, remedies }
    }

    /// The changes that `--fix` makes for it: the safe ones, if it is worth a change.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        let is_worth = self.severity > Severity::Note;
        self.remedies.iter().filter_map(|remedy| remedy.change.as_ref()).filter(move |_| is_worth)
    }
}
