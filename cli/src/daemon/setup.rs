//! A firewall in force: policy, interfaces, tables, programs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use firewall_core::Address;
use firewall_core::tables::{RuleCounter, Zone};
use thiserror::Error;

use super::engine::EngineHost;
use super::keep::{KeepError, Keeper};
use super::port::{Orders, Port};
use super::record::RecordError;
use crate::backend::afxdp::EngineError;
use crate::backend::kernel::{Kernel, KernelError};
use crate::compile::{CompileError, Image, Link};
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
    /// What is in force already cannot be taken over.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The state file cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The engine in user space cannot do what it is to do.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system refused something.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// More interfaces than the engine can tell apart.
    #[error("the policy names {interfaces} interfaces; with `mode = \"afxdp\"` it may name {most}")]
    Ports {
        /// How many it names.
        interfaces: usize,
        /// How many it may.
        most: usize,
    },
    /// A zone that the policy has not got.
    #[error("`afxdp.kernel_zones` names the zone `{0}`, which the policy has not got (vfw.toml)")]
    KernelZone(String),
}

/// A firewall in force. Dropping it leaves it in force; [`Self::stop`] ends it.
pub struct Setup {
    /// Programs and tables.
    pub kernel: Kernel,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The same, compiled.
    pub image: Image,
    /// Its interfaces.
    pub ports: Vec<Port>,
    /// What each rule decided under the policies before.
    pub counted: Vec<RuleCounter>,
    /// What outlives the process.
    pub(super) keeper: Keeper,
    pub(super) changes: Option<LinkChanges>,
    /// The engine in user space.
    pub(super) engine: EngineHost,
}

impl Setup {
    /// The notifications since the start. They can be taken once.
    pub fn take_changes(&mut self) -> Option<LinkChanges> {
        self.changes.take()
    }

    /// Detaches the programs and gives the interfaces back.
    pub fn stop(&mut self) {
        self.end_engine();
        for mut port in self.ports.drain(..) {
            port.release(&mut self.kernel);
        }
        self.kernel.detach();
        self.keeper.remove();
    }

    /// Writes down for the next process what is in force.
    pub fn note(&mut self) -> Result<(), RecordError> {
        self.keeper.note(&self.policy, &self.ports)
    }

    /// The same while vfw runs: forwarding is worth more than the note.
    pub fn note_if_possible(&mut self) {
        if let Err(error) = self.note() {
            tracing::error!(%error, "a restart will not know of what has changed");
        }
    }

    /// Makes the tables follow the interfaces.
    pub fn move_zones(&mut self) -> Result<(), SetupError> {
        let links: Vec<Link> = self.ports.iter().map(|port| port.link(&self.policy)).collect();
        let before = (self.image.zones.clone(), self.image.zone_index.clone());
        self.image.move_zones(&self.policy, &links)?;
        self.kernel.move_zones((&before.0, &before.1), &self.image)?;
        self.follow_engine();
        Ok(())
    }

    /// Closes the zones of interfaces that are gone, before anything else is tried: as they were `found`, in the order of the
    /// ports, before all of `notices` were read.
    pub fn close(&mut self, notices: &Notices, found: &[Result<Interface, InterfaceError>]) -> Result<(), SetupError> {
        for (port, found) in self.ports.iter_mut().zip(found) {
            port.part(&mut self.kernel, notices, found.as_ref().ok());
        }
        self.note_if_possible();
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
        self.note_if_possible();
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
    let choice = choose_for(orders, &interface)?;
    Ok((interface, choice))
}

/// The hook for an interface, if it may be taken.
pub fn choose_for(orders: Orders, interface: &Interface) -> Result<HookChoice, SetupError> {
    // Before anything is attached: it may be the way by which the operator is logged in.
    interface::refuse_addresses(interface)?;
    interface::refuse_controller(interface)?;
    orders.choose(interface)
}
