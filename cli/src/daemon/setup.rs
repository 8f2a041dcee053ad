//! From files to a firewall in force: policy, interfaces, tables, programs. Whatever fails, nothing is left attached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use firewall_core::Address;
use firewall_core::tables::{RuleCounter, Zone};
use thiserror::Error;

use super::port::{Attached, Orders, Port};
use crate::backend::kernel::{Kernel, KernelError};
use crate::compile::{CompileError, Image, Link, compile};
use crate::config::Config;
use crate::interface::{self, HookChoice, HookError, Interface, InterfaceError, LinkChanges, Notices};
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

/// A firewall in force. Dropping it detaches everything and gives the interfaces back.
pub struct Setup {
    /// Programs and tables.
    pub kernel: Kernel,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The same, compiled.
    pub image: Image,
    /// Its interfaces. Dropping them gives them back, so they go after the programs.
    pub ports: Vec<Port>,
    /// What each rule decided under the policies before.
    pub counted: Vec<RuleCounter>,
    changes: Option<LinkChanges>,
}

impl Setup {
    /// Puts `policy` in force on the interfaces of the calling thread's network namespace.
    pub fn start(policy: Policy, config: &Config) -> Result<Self, SetupError> {
        let policy = Arc::new(policy);
        // From here on nothing that happens to them is missed.
        let changes = LinkChanges::open()?;
        let orders = Orders { policy: &policy, config };
        let chosen = names(&policy).into_iter().map(|name| choose(orders, name)).collect::<Result<Vec<_>, _>>()?;
        // The zones are closed until all of them are ready.
        let links: Vec<Link> = chosen.iter().map(|(interface, _)| Link::away(&interface.name)).collect();
        let image = compile(&policy, config, &links)?;
        let kernel = Kernel::load(&image, config)?;
        let mut setup = Self {
            kernel,
            policy: Arc::clone(&policy),
            counted: vec![RuleCounter::NONE; image.rule_names.len()],
            image,
            ports: Vec::new(),
            changes: Some(changes),
        };
        // The programs first, then the link: no frame reaches the kernel's stack in between.
        for (interface, choice) in chosen {
            let attached = Attached::new(&mut setup.kernel, interface, choice)?;
            attached.lead_zones(&mut setup.kernel, orders)?;
            setup.ports.push(Port::new(attached));
        }
        for attached in setup.ports.iter_mut().filter_map(|port| port.attached.as_mut()) {
            attached.raise()?;
        }
        setup.move_zones()?;
        Ok(setup)
    }

    /// The notifications since the start. They can be taken once.
    pub fn take_changes(&mut self) -> Option<LinkChanges> {
        self.changes.take()
    }

    /// Detaches the programs and gives the interfaces back.
    pub fn stop(&mut self) {
        self.kernel.detach();
        self.ports.clear();
    }

    /// Makes the tables follow the interfaces.
    pub fn move_zones(&mut self) -> Result<(), SetupError> {
        let links: Vec<Link> = self.ports.iter().map(Port::link).collect();
        let before = (self.image.zones.clone(), self.image.zone_index.clone());
        self.image.move_zones(&self.policy, &links)?;
        Ok(self.kernel.move_zones((&before.0, &before.1), &self.image)?)
    }

    /// Closes the zones of interfaces that are gone, before anything else is tried: as they were `found`, in the order of the
    /// ports, before all of `notices` were read.
    pub fn close(&mut self, notices: &Notices, found: &[Result<Interface, InterfaceError>]) -> Result<(), SetupError> {
        for (port, found) in self.ports.iter_mut().zip(found) {
            port.part(&mut self.kernel, notices, found.as_ref().ok());
        }
        self.move_zones()
    }

    /// Uses the interfaces as they were `found`, in the order of the ports.
    pub fn open(&mut self, config: &Config, found: Vec<Result<Interface, InterfaceError>>) -> Result<(), SetupError> {
        let policy = Arc::clone(&self.policy);
        let orders = Orders { policy: &policy, config };
        let mut newcomers = Vec::new();
        for (number, (port, found)) in self.ports.iter_mut().zip(found).enumerate() {
            let times = port.times;
            port.follow(&mut self.kernel, orders, found);
            if port.times != times {
                newcomers.push(number);
            }
        }
        match self.move_zones() {
            // Their numbers find no room in the index of zones; the others do, as before.
            Err(SetupError::Compile(error)) => {
                for number in newcomers {
                    self.ports[number].refuse(&mut self.kernel, error.to_string());
                }
                self.move_zones()
            }
            done => done,
        }
    }

    /// MTU of the zone that leads to `destination`, or the smallest that IPv4 and IPv6 allow.
    pub fn mtu_towards(&self, destination: IpAddr) -> u32 {
        let route = self.image.route_to(&Address::from(destination));
        route.and_then(|route| self.zone(route.zone)).map_or(1280, |zone| zone.mtu)
    }

    /// What rule `rule` has decided, under the policies before too.
    pub fn rule_counter(&self, rule: u32) -> Result<RuleCounter, KernelError> {
        let before = self.counted.get(rule as usize).copied().unwrap_or(RuleCounter::NONE);
        Ok(before.and(&self.kernel.rule_counter(rule)?))
    }

    /// A zone's name.
    pub fn zone_name(&self, id: u16) -> String {
        self.policy.zone(id).map_or_else(|| format!("#{id}"), |zone| zone.name.clone())
    }

    /// A zone's record.
    pub fn zone(&self, id: u16) -> Option<&Zone> {
        self.image.zones.get(usize::from(id))
    }
}

/// The interfaces that a policy names, once each.
pub fn names(policy: &Policy) -> BTreeSet<&str> {
    policy.zones.iter().map(|zone| zone.interface.as_str()).collect()
}

/// An interface that may be taken, and the hook for it.
pub fn choose(orders: Orders, name: &str) -> Result<(Interface, HookChoice), SetupError> {
    let interface = interface::inspect(name)?;
    // Before anything is attached: it may be the way by which the operator is logged in.
    interface::refuse_addresses(&interface)?;
    interface::refuse_controller(&interface)?;
    let choice = orders.choose(&interface)?;
    Ok((interface, choice))
}
