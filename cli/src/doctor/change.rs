//! Changes that `--fix` makes: as the command that an operator would give, and done without it.

use std::fs;
use std::io;

use serde::Serialize;

use crate::interface::{InterfaceError, feature_states, link_state, set_feature, set_promiscuous};

/// A change on this machine that is safe while it is in use: no link goes down for it, no flow is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// An offload of an interface, by the kernel's name.
    Offload {
        /// The interface.
        interface: String,
        /// The offload.
        feature: &'static str,
        /// On or off.
        on: bool,
    },
    /// A file below `/proc` or `/sys` that holds a setting.
    Setting {
        /// The file.
        file: String,
        /// What it is to hold.
        value: String,
    },
    /// Whether an interface takes frames for any address.
    Promiscuous {
        /// The interface.
        interface: String,
        /// Whether it does.
        on: bool,
    },
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The command that does the same.
    pub command: String,
    /// How it was before.
    pub was: String,
    /// The command that undoes it.
    pub undo: String,
}

/// A change that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The interface did not do as it was told.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The setting could not be read or written.
    #[error("cannot set {file} to {value}: {source}")]
    Setting {
        /// The file.
        file: String,
        /// What it was to hold.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Names that `ethtool -K` and its users know offloads by, where they differ from the kernel's.
const SHORT: [(&str, &str); 8] = [
    ("rx-checksum", "rx"),
    ("tx-scatter-gather", "sg"),
    ("tx-generic-segmentation", "gso"),
    ("rx-gro", "gro"),
    ("rx-lro", "lro"),
    ("rx-vlan-hw-parse", "rxvlan"),
    ("tx-vlan-hw-insert", "txvlan"),
    ("rx-ntuple-filter", "ntuple"),
];

impl Change {
    /// An offload, on or off.
    pub fn offload(interface: &str, feature: &'static str, on: bool) -> Self {
        Self::Offload { interface: interface.to_owned(), feature, on }
    }

    /// A setting below `/proc/sys`, by its path there.
    pub fn sysctl(name: &str, value: &str) -> Self {
        Self::Setting { file: format!("{SYSCTL}{name}"), value: value.to_owned() }
    }

    /// The command that does it.
    pub fn command(&self) -> String {
        match self {
            Self::Offload { interface, feature, on } => ethtool(interface, feature, *on),
            Self::Promiscuous { interface, on } => format!("ip link set dev {interface} promisc {}", switch(*on)),
            Self::Setting { file, value } => match file.strip_prefix(SYSCTL) {
                Some(name) => format!("sysctl -w {}={value}", sysctl_name(name)),
                None => format!("echo {value} > {file}"),
            },
        }
    }

    /// Makes it.
    pub fn apply(&self) -> Result<Applied, ChangeError> {
        let before = self.before()?;
        match self {
            Self::Offload { interface, feature, on } => set_feature(interface, feature, *on)?,
            Self::Promiscuous { interface, on } => set_promiscuous(interface, *on)?,
            Self::Setting { file, value } => fs::write(file, value).map_err(failed(file, value))?,
        }
        let was = match &before {
            Self::Setting { value, .. } => value.clone(),
            Self::Offload { on, .. } | Self::Promiscuous { on, .. } => switch(*on).to_owned(),
        };
        Ok(Applied { command: self.command(), was, undo: before.command() })
    }

    /// The change that leads back to how it is now.
    fn before(&self) -> Result<Self, ChangeError> {
        Ok(match self {
            Self::Offload { interface, feature, .. } => {
                let states = feature_states(interface, &[feature])?;
                Self::offload(interface, feature, states.values().any(|state| state.is_on()))
            }
            Self::Promiscuous { interface, .. } => {
                Self::Promiscuous { interface: interface.clone(), on: link_state(interface)?.promiscuous }
            }
            Self::Setting { file, value } => {
                let value = fs::read_to_string(file).map_err(failed(file, value))?;
                Self::Setting { file: file.clone(), value: value.trim().to_owned() }
            }
        })
    }
}

fn failed(file: &str, value: &str) -> impl FnOnce(io::Error) -> ChangeError {
    move |source| ChangeError::Setting { file: file.to_owned(), value: value.to_owned(), source }
}

/// Where settings are that have a name.
const SYSCTL: &str = "/proc/sys/";

/// The command that turns an offload on or off.
pub fn ethtool(interface: &str, feature: &str, on: bool) -> String {
    let short = SHORT.iter().find(|(name, _)| *name == feature).map_or(feature, |(_, short)| short);
    format!("ethtool -K {interface} {short} {}", switch(on))
}

fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The name of a setting: with dots, unless an interface's name has some.
fn sysctl_name(path: &str) -> String {
    if path.contains('.') { path.to_owned() } else { path.replace('/', ".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_that_operators_know() {
        let commands = [
            Change::offload("eth1", "rx-lro", false),
            Change::offload("eth1", "rx-gro-hw", false),
            Change::sysctl("net/ipv4/conf/eth1/forwarding", "0"),
            Change::sysctl("net/ipv4/conf/eth1.10/forwarding", "0"),
            Change::Setting { file: "/proc/irq/41/smp_affinity_list".to_owned(), value: "1".to_owned() },
            Change::Promiscuous { interface: "eth1".to_owned(), on: true },
        ];
        assert_eq!(
            commands.map(|change| change.command()),
            [
                "ethtool -K eth1 lro off",
                "ethtool -K eth1 rx-gro-hw off",
                "sysctl -w net.ipv4.conf.eth1.forwarding=0",
                "sysctl -w net/ipv4/conf/eth1.10/forwarding=0",
                "echo 1 > /proc/irq/41/smp_affinity_list",
                "ip link set dev eth1 promisc on",
            ]
        );
    }
}
