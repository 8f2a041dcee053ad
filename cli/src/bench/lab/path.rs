//! The ways to forward that are compared.

use std::fmt;

use clap::ValueEnum;

use crate::config::Mode;

/// A way from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Path {
    /// None: both are joined by one veth
    Direct,
    /// A Linux bridge
    Bridge,
    /// Linux routing
    Routing,
    /// Linux routing, with connection tracking and nftables
    Nftables,
    /// Linux routing, with connection tracking and iptables
    Iptables,
    /// vfw at the tc hook
    VfwTc,
    /// vfw at the XDP hook
    VfwXdp,
    /// vfw's engine in user space, in copy mode
    VfwAfxdp,
}

impl Path {
    /// All of them, the yardstick first.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::Bridge,
        Self::Routing,
        Self::Nftables,
        Self::Iptables,
        Self::VfwTc,
        Self::VfwXdp,
        Self::VfwAfxdp,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bridge => "bridge",
            Self::Routing => "routing",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::VfwTc => "vfw-tc",
            Self::VfwXdp => "vfw-xdp",
            Self::VfwAfxdp => "vfw-afxdp",
        }
    }

    /// The hook of a vfw that stands there.
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::VfwTc => Some(Mode::Tc),
            Self::VfwXdp => Some(Mode::Xdp),
            Self::VfwAfxdp => Some(Mode::Afxdp),
            _ => None,
        }
    }

    /// Whether it knows flows and lets only those pass that rules allow.
    pub const fn is_firewall(self) -> bool {
        self.tracks_connections() || self.mode().is_some()
    }

    /// Whether its flows are those of Linux' connection tracking.
    pub const fn tracks_connections(self) -> bool {
        matches!(self, Self::Nftables | Self::Iptables)
    }

    /// Whether the client and the server are in one network.
    pub const fn is_one_network(self) -> bool {
        matches!(self, Self::Direct | Self::Bridge)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        let words = Path::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
        assert_eq!(names, Path::ALL.map(|path| path.name().to_owned()));
    }
}
