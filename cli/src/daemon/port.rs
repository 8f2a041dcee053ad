//! An interface that the policy names: how vfw gets it, follows its changes, and gives it back.

use std::fmt;

use firewall_core::tables::SOCKET_PORTS;

use super::setup::{SetupError, names};
use crate::backend::kernel::Kernel;
use crate::compile::Link;
use crate::config::Config;
use crate::interface::{
    self, Changes, Hook, HookChoice, Interface, InterfaceError, Notices, ZoneTags, choose_hook, prepare,
    turn_off_rx_vlan_offload,
};
use crate::lang::Policy;

/// What decides how an interface is to be used.
#[derive(Clone, Copy)]
pub struct Orders<'a> {
    /// Which zones are on it.
    pub policy: &'a Policy,
    /// Which hook it was given.
    pub config: &'a Config,
}

impl Orders<'_> {
    /// The numbers of the zones on an interface.
    fn zones_on(self, interface: &str) -> impl Iterator<Item = u16> {
        self.policy.zones.iter().filter(move |zone| zone.interface == interface).map(|zone| zone.id)
    }

    /// The hook for an interface that may be taken.
    pub fn choose(self, interface: &Interface) -> Result<HookChoice, SetupError> {
        let zones = || self.policy.zones.iter().filter(|zone| zone.interface == interface.name);
        let tags = ZoneTags {
            tagged: zones().any(|zone| zone.vlan.is_some()),
            untagged: zones().any(|zone| zone.vlan.is_none()),
        };
        let mut choice = choose_hook(interface, self.config.mode_of(&interface.name), tags)?;
        if let Some(engine) = &mut choice.engine {
            engine.kernel_zones.clone_from(&self.config.afxdp.kernel_zones);
            check_engine(self.policy, &engine.kernel_zones)?;
        }
        Ok(choice)
    }
}

/// The number of an interface among those of a policy, by which programs find the engine's sockets. One that the policy does not
/// name has none.
pub fn port_number(policy: &Policy, interface: &str) -> Option<u16> {
    names(policy).iter().position(|name| *name == interface).map(|number| number as u16)
}

/// Whether the engine can serve interfaces of this policy, but for the zones that it is to leave to the programs.
fn check_engine(policy: &Policy, kernel_zones: &[String]) -> Result<(), SetupError> {
    let (interfaces, most) = (names(policy).len(), SOCKET_PORTS as usize);
    if interfaces > most {
        return Err(SetupError::Ports { interfaces, most });
    }
    match kernel_zones.iter().find(|name| policy.zones.iter().all(|zone| zone.name != **name)) {
        Some(name) => Err(SetupError::KernelZone(name.clone())),
        None => Ok(()),
    }
}

/// How an interface is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Up,
    /// Attached, and frames cannot leave: no carrier, or set down.
    Down,
    /// There is no interface of that name.
    Away,
    /// There is one, and vfw cannot use it.
    Refused,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Away => "away",
            Self::Refused => "refused",
        })
    }
}

/// An interface that the policy names.
pub struct Port {
    /// Its name, by which it is found again.
    pub name: String,
    /// What vfw has of it.
    pub attached: Option<Attached>,
    /// Why its zones are closed, if they are.
    pub closed: Option<Closed>,
    /// How often it was attached; the number of the interface need not tell the new one from the old one.
    pub times: u32,
}

/// Why nothing passes an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is not there.
    Away,
    /// It cannot be used, for this reason.
    Refused(String),
}

/// An interface that programs hang on.
pub struct Attached {
    /// What it is.
    pub interface: Interface,
    /// How vfw is to hang on it.
    pub choice: HookChoice,
    /// The hook that the programs are on.
    hook: Hook,
    /// What was changed on it, and has to be given back.
    pub changes: Changes,
}

impl Attached {
    /// Hangs the programs on an interface that passes the checks. It is not raised yet. All that fails when the interface goes
    /// meanwhile is done here, in [`Self::lead_zones`] and in [`Self::raise`], where it costs nobody but this interface.
    pub fn new(kernel: &mut Kernel, interface: Interface, choice: HookChoice) -> Result<Self, SetupError> {
        let mut attached = Self::found(interface, choice, Changes::default());
        match attached.hang(kernel) {
            Ok(()) => Ok(attached),
            Err(error) => {
                attached.give_back(kernel);
                Err(error)
            }
        }
    }

    /// An interface on which `changes` were made before; nothing hangs on it yet, or programs of an earlier process.
    pub fn found(interface: Interface, choice: HookChoice, changes: Changes) -> Self {
        Self { interface, hook: choice.hook, choice, changes }
    }

    /// Hangs the programs on it, or takes over those of an earlier process.
    pub fn hang(&mut self, kernel: &mut Kernel) -> Result<(), SetupError> {
        let Interface { name, index, .. } = &self.interface;
        if self.choice.turn_off_rx_vlan_offload {
            turn_off_rx_vlan_offload(name, &mut self.changes)?;
        }
        Ok(kernel.attach(name, *index, self.choice.hook)?)
    }

    /// Lets XDP send frames of its zones out of it.
    pub fn lead_zones(&self, kernel: &mut Kernel, orders: Orders) -> Result<(), SetupError> {
        let Interface { name, index, .. } = &self.interface;
        Ok(orders.zones_on(name).try_for_each(|zone| kernel.set_device(zone, *index))?)
    }

    /// Takes the link from the kernel's stack and sets it up.
    pub fn raise(&mut self) -> Result<(), InterfaceError> {
        prepare(&self.interface.name, &mut self.changes)?;
        let found = interface::inspect(&self.interface.name)?;
        // The programs hang on the one that was attached.
        if found.index != self.interface.index {
            return Err(InterfaceError::Replaced { name: found.name });
        }
        self.see(found);
        Ok(())
    }

    /// Takes over what has changed, but for the offloads that vfw itself has turned off.
    fn see(&mut self, found: Interface) {
        let before = self.interface.features.rx_vlan_offload;
        self.interface = found;
        if !self.changes.offloads.is_empty() {
            self.interface.features.rx_vlan_offload = before;
        }
    }

    /// Follows changes of the interface.
    fn update(&mut self, kernel: &mut Kernel, orders: Orders, found: Interface) -> Result<(), SetupError> {
        let strips_tags = found.features.rx_vlan_offload.is_on();
        self.see(found);
        interface::refuse_controller(&self.interface)?;
        self.choose(orders, strips_tags)?;
        self.move_to_choice(kernel)
    }

    /// Chooses the hook as zones and settings ask for it now. The programs stay where they are; the answer is the choice
    /// before.
    pub fn choose_again(&mut self, orders: Orders) -> Result<HookChoice, SetupError> {
        let strips_tags = self.changes.offloads.is_empty() && self.interface.features.rx_vlan_offload.is_on();
        self.choose(orders, strips_tags)
    }

    fn choose(&mut self, orders: Orders, strips_tags: bool) -> Result<HookChoice, SetupError> {
        let choice = orders.choose(&self.interface)?;
        if choice.turn_off_rx_vlan_offload && strips_tags {
            turn_off_rx_vlan_offload(&self.interface.name, &mut self.changes)?;
        }
        Ok(std::mem::replace(&mut self.choice, choice))
    }

    /// Hangs the programs on the hook that is chosen, if they are on another. Those before go when these are there: no frame
    /// passes by both.
    pub fn move_to_choice(&mut self, kernel: &mut Kernel) -> Result<(), SetupError> {
        if self.hook != self.choice.hook {
            kernel.attach(&self.interface.name, self.interface.index, self.choice.hook)?;
            self.hook = self.choice.hook;
        }
        Ok(())
    }

    /// What the compiler has to know of it.
    pub fn link(&self, policy: &Policy) -> Link {
        let Self { interface, choice, .. } = self;
        Link {
            name: interface.name.clone(),
            ifindex: interface.index,
            mac: interface.mac,
            mtu: interface.mtu,
            partial_checksums: choice.finish_checksums,
            // The peer of a veth may be entered directly only where frames arrive as socket buffers.
            peer: interface.peer_is_elsewhere && choice.hook == Hook::Tc,
            up: interface.up && interface.carrier,
            port: choice.engine.as_ref().and_then(|_| port_number(policy, &interface.name)),
            kernel_zones: choice.engine.as_ref().map(|engine| engine.kernel_zones.clone()).unwrap_or_default(),
        }
    }

    /// Takes the programs off and gives the interface back.
    pub fn give_back(self, kernel: &mut Kernel) {
        // The link goes down first, if vfw has set it up: no frame reaches the kernel's stack.
        self.changes.give_back(self.interface.index);
        kernel.detach_from(self.interface.index);
    }

    /// Forgets an interface that is gone. Nothing may be put back: its number may be another's by now.
    fn forget(self, kernel: &mut Kernel) {
        kernel.forget_interface(self.interface.index);
    }
}

impl Port {
    /// An interface in use.
    pub fn new(attached: Attached) -> Self {
        Self { name: attached.interface.name.clone(), attached: Some(attached), closed: None, times: 1 }
    }

    /// An interface that is not there.
    pub fn away(name: &str) -> Self {
        Self { name: name.to_owned(), attached: None, closed: Some(Closed::Away), times: 0 }
    }

    /// How it is.
    pub fn status(&self) -> Status {
        match (&self.closed, &self.attached) {
            (Some(Closed::Refused(_)), _) => Status::Refused,
            (Some(Closed::Away), _) | (None, None) => Status::Away,
            (None, Some(attached)) if attached.interface.up && attached.interface.carrier => Status::Up,
            (None, Some(_)) => Status::Down,
        }
    }

    /// Logs on which hook it is, and why.
    pub fn announce(&self) {
        let interface = self.name.as_str();
        if let Some(Attached { choice, .. }) = &self.attached {
            let hook = choice.name();
            for reason in &choice.reasons {
                tracing::info!(interface, hook, "{reason}");
            }
            for warning in &choice.warnings {
                tracing::warn!(interface, hook, "{warning}");
            }
        }
        if let Some(warning) = self.warning() {
            tracing::warn!(interface, "{warning}");
        }
    }

    /// What the operator should know when it is not up.
    pub fn warning(&self) -> Option<String> {
        match (&self.closed, self.status()) {
            (Some(Closed::Refused(reason)), _) => {
                Some(format!("cannot be used, so nothing passes it; tried again at every change: {reason}"))
            }
            (_, Status::Away) => {
                Some("there is no interface of this name; its zones are closed until it is back".to_owned())
            }
            (_, Status::Down) => Some("the link is down: frames to its zones are dropped as interface-down".to_owned()),
            _ => None,
        }
    }

    /// What the compiler has to know of it.
    pub fn link(&self, policy: &Policy) -> Link {
        match (&self.attached, &self.closed) {
            (Some(attached), None) => attached.link(policy),
            _ => Link::away(&self.name),
        }
    }

    /// Takes the programs off, if any hang there, and gives the interface back.
    pub fn release(&mut self, kernel: &mut Kernel) {
        if let Some(attached) = self.attached.take() {
            attached.give_back(kernel);
        }
    }

    /// Its number while programs hang on it.
    pub fn index(&self) -> Option<u32> {
        self.attached.as_ref().map(|attached| attached.interface.index)
    }

    /// Makes of the interface what can be made of it as it was `found`.
    pub fn follow(&mut self, kernel: &mut Kernel, orders: Orders, found: Result<Interface, InterfaceError>) {
        let outcome = match found {
            Ok(found) => self.take(kernel, orders, found).map_err(|error| Closed::Refused(error.to_string())),
            Err(error) if error.is_gone() => Err(Closed::Away),
            Err(error) => Err(Closed::Refused(error.to_string())),
        };
        self.closed = outcome.err();
    }

    /// Ends what vfw has of an interface that is no longer the one of this name: as it was `found`, before all of `notices`
    /// were read.
    pub fn part(&mut self, kernel: &mut Kernel, notices: &Notices, found: Option<&Interface>) {
        let Some(attached) = self.attached.take() else { return };
        let index = attached.interface.index;
        let is_here = found.is_some_and(|found| found.index == index);
        match (notices.deleted.contains(&index), is_here, notices.lost) {
            (false, true, false) => self.attached = Some(attached),
            // It has another name now; or it may be another of the same name and number, which is to be attached then.
            (false, false, false) | (false, true, true) => attached.give_back(kernel),
            // Also when nobody knows whether it was renamed or deleted.
            (true, ..) | (false, false, true) => attached.forget(kernel),
        }
    }

    /// Uses an interface: the one that vfw has, or a new one after the same checks as at the start.
    fn take(&mut self, kernel: &mut Kernel, orders: Orders, found: Interface) -> Result<(), SetupError> {
        if let Some(attached) = &mut self.attached {
            return attached.update(kernel, orders, found);
        }
        interface::refuse_addresses(&found)?;
        interface::refuse_controller(&found)?;
        let choice = orders.choose(&found)?;
        let mut attached = Attached::new(kernel, found, choice)?;
        let ready = attached.lead_zones(kernel, orders).and_then(|()| Ok(attached.raise()?));
        if let Err(error) = ready {
            attached.give_back(kernel);
            return Err(error);
        }
        self.attached = Some(attached);
        self.times += 1;
        Ok(())
    }

    /// Gives up an interface for `reason`.
    pub fn refuse(&mut self, kernel: &mut Kernel, reason: String) {
        self.release(kernel);
        self.closed = Some(Closed::Refused(reason));
    }
}
