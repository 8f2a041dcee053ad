//! What can go wrong with an interface, and the way out.

use std::io;

use ipnetwork::IpNetwork;

/// An interface that cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("there is no interface `{name}`{}", others(known))]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// The interfaces of this namespace, without loopback.
        known: Vec<String>,
    },
    /// Another one has its name now.
    #[error("the interface `{name}` was replaced by another one meanwhile")]
    Replaced {
        /// The name.
        name: String,
    },
    /// The kernel refused a request.
    #[error("interface `{name}`: cannot {action}: {source}{}", permission(source))]
    System {
        /// The interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel setting could not be read or written.
    #[error("interface `{name}`: cannot set {path} to {value}: {source}{}", permission(source))]
    Sysctl {
        /// The interface.
        name: String,
        /// The file of the setting.
        path: String,
        /// The value that was wanted.
        value: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The driver never changes this feature.
    #[error(
        "interface `{name}`: the driver has {feature} fixed {state}; use another hook (`mode = \"tc\"`) or another NIC"
    )]
    FeatureFixed {
        /// The interface.
        name: String,
        /// The feature as `ethtool -k` prints it.
        feature: &'static str,
        /// `on` or `off`.
        state: &'static str,
    },
    /// The driver took the request and did not follow it.
    #[error(
        "interface `{name}`: the driver keeps {feature} {state} although asked to change it; use `mode = \"tc\"` or another NIC"
    )]
    FeatureRefused {
        /// The interface.
        name: String,
        /// The feature as `ethtool -k` prints it.
        feature: &'static str,
        /// `on` or `off`.
        state: &'static str,
    },
    /// The kernel has addresses on an interface that is to belong to vfw.
    #[error(
        "interface `{name}` has kernel addresses ({}); vfw owns its data interfaces, so keep management on another one and \
         remove these with `ip address flush dev {name}`",
        list(addresses)
    )]
    KernelAddresses {
        /// The interface.
        name: String,
        /// Its addresses.
        addresses: Vec<IpNetwork>,
    },
    /// The interface is a port of another one.
    #[error(
        "the interface `{name}` is a port of a bridge or bond (interface number {index}), which forwards by itself; \
         take it out with `ip link set {name} nomaster`"
    )]
    Controlled {
        /// The interface.
        name: String,
        /// The interface that it is a port of.
        index: u32,
    },
}

impl InterfaceError {
    /// Whether there is no such interface, or none any more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound { .. })
            || matches!(self, Self::System { source, .. } if source.raw_os_error() == Some(libc::ENODEV))
    }

    /// Adds the interface and the action to what the kernel said.
    pub(super) fn system(name: &str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { name: name.to_owned(), action, source }
    }
}

fn others(known: &[String]) -> String {
    if known.is_empty() { "; this namespace has none".to_owned() } else { format!("; there are: {}", known.join(", ")) }
}

fn list(addresses: &[IpNetwork]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn permission(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { " (vfw needs root or CAP_NET_ADMIN)" } else { "" }
}
