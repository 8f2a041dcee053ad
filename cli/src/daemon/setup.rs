//! From files to a firewall in force: policy, interfaces, tables, programs. Whatever fails, nothing is left attached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use firewall_core::Address;
use firewall_core::tables::Zone;
use thiserror::Error;

use crate::backend::kernel::{Kernel, KernelError};
use crate::compile::{CompileError, Image, Link, compile};
use crate::config::Config;
use crate::interface::{
    self, Guard, Hook, HookChoice, HookError, Interface, InterfaceError, ZoneTags, choose_hook, prepare,
    set_rx_vlan_offload,
};
use crate::lang::Policy;

/// Why a policy could not be put in force.
#[derive(Debug, Error)]
pub enum SetupError {
    /// An interface is missing or refuses.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// No hook fits.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The policy does not fit the tables.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// An interface in use.
pub struct Port {
    /// What it is.
    pub interface: Interface,
    /// How vfw hangs on it.
    pub choice: HookChoice,
}

/// A firewall in force. Dropping it detaches everything and gives the interfaces back.
pub struct Setup {
    /// Programs and tables.
    pub kernel: Kernel,
    /// The compiled policy.
    pub image: Image,
    /// Its interfaces.
    pub ports: Vec<Port>,
    guards: Vec<Guard>,
}

impl Setup {
    /// Puts `policy` in force on the interfaces of the calling thread's network namespace.
    pub fn start(policy: &Policy, config: &Config) -> Result<Self, SetupError> {
        let ports = names(policy).into_iter().map(|name| port(policy, config, name)).collect::<Result<Vec<_>, _>>()?;
        let links: Vec<Link> = ports.iter().map(link).collect();
        let image = compile(policy, config, &links)?;
        let mut kernel = Kernel::load(&image, config)?;
        for (id, zone) in image.zones.iter().enumerate() {
            kernel.set_device(id as u16, zone.ifindex)?;
        }
        // The programs first, then the link: no frame reaches the kernel's stack in between.
        for port in &ports {
            if port.choice.turn_off_rx_vlan_offload {
                set_rx_vlan_offload(&port.interface.name, false)?;
            }
            kernel.attach(&port.interface.name, port.interface.index, port.choice.hook)?;
        }
        let guards = ports.iter().map(|port| prepare(&port.interface.name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { kernel, image, ports, guards })
    }

    /// Detaches the programs and gives the interfaces back.
    pub fn stop(&mut self) {
        self.kernel.detach();
        self.guards.clear();
    }

    /// MTU of the zone that leads to `destination`, or the smallest that IPv4 and IPv6 allow.
    pub fn mtu_towards(&self, destination: IpAddr) -> u32 {
        let address = Address::from(destination);
        let longest = self.image.routes.iter().find(|(key, _)| {
            let length = u8::try_from(key.prefix_length).unwrap_or(128);
            address.and(&Address::mask(length)) == key.address.and(&Address::mask(length))
        });
        longest.and_then(|(_, route)| self.zone(route.zone)).map_or(1280, |zone| zone.mtu)
    }

    /// A zone's record.
    pub fn zone(&self, id: u16) -> Option<&Zone> {
        self.image.zones.get(usize::from(id))
    }
}

/// The interfaces that a policy names, once each.
fn names(policy: &Policy) -> BTreeSet<&str> {
    policy.zones.iter().map(|zone| zone.interface.as_str()).collect()
}

fn port(policy: &Policy, config: &Config, name: &str) -> Result<Port, SetupError> {
    let interface = interface::inspect(name)?;
    // Before anything is attached: it may be the way by which the operator is logged in.
    interface::refuse_addresses(&interface)?;
    interface::refuse_controller(&interface)?;
    let zones = || policy.zones.iter().filter(|zone| zone.interface == name);
    let tags =
        ZoneTags { tagged: zones().any(|zone| zone.vlan.is_some()), untagged: zones().any(|zone| zone.vlan.is_none()) };
    let choice = choose_hook(&interface, config.mode_of(name), tags)?;
    Ok(Port { interface, choice })
}

fn link(port: &Port) -> Link {
    Link {
        name: port.interface.name.clone(),
        ifindex: port.interface.index,
        mac: port.interface.mac,
        mtu: port.interface.mtu,
        partial_checksums: port.choice.finish_checksums,
        // The peer of a veth may be entered directly only where frames arrive as socket buffers.
        peer: port.interface.peer_is_elsewhere && port.choice.hook == Hook::Tc,
    }
}
