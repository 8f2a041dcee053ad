//! Every start: from files, and what an earlier process left in force, to a firewall in force.
//!
//! Interfaces that programs hang on go on forwarding all the time: other programs, with the new policy complete, take their
//! place one by one. New interfaces are closed until all of them are ready. A start that fails leaves in force what was.

use std::collections::BTreeMap;
use std::sync::Arc;

use firewall_core::tables::{RuleCounter, zone_flag};

use super::engine::EngineHost;
use super::keep::Keeper;
use super::neighbours::Neighbours;
use super::port::{Attached, Orders, Port};
use super::setup::{Setup, SetupError, choose_for, names};
use crate::backend::kernel::Kernel;
use crate::compile::{Link, compile};
use crate::config::Config;
use crate::interface::{self, Changes, Feature, InterfaceError, LinkChanges};
use crate::lang::Policy;

/// An interface that the policy names, as it is found.
enum Found {
    /// Programs of an earlier process hang on it.
    Inherited(Attached),
    /// It is to be taken; nothing hangs on it yet.
    New(Attached),
    /// It was in use and is not there.
    Away(String),
}

impl Found {
    /// What the compiler has to know of it. New interfaces stay closed until all of them are ready.
    fn link(&self, policy: &Policy) -> Link {
        match self {
            Self::Inherited(attached) => attached.link(policy),
            Self::New(attached) => Link::away(&attached.interface.name),
            Self::Away(name) => Link::away(name),
        }
    }

    fn port(self) -> Port {
        match self {
            Self::Inherited(attached) | Self::New(attached) => Port::new(attached),
            Self::Away(name) => Port::away(&name),
        }
    }
}

impl Setup {
    /// Puts `policy` in force on the interfaces of the calling thread's network namespace.
    pub fn start(mut policy: Policy, config: &Config) -> Result<Self, SetupError> {
        // From here on nothing that happens to them is missed.
        let changes = LinkChanges::open()?;
        let keeper = Keeper::open(config)?;
        if let Some(before) = keeper.found() {
            policy.keep_zone_ids(&before.zones);
        }
        let policy = Arc::new(policy);
        let mut setup = Self::load(changes, keeper, &policy, config)?;
        match setup.take(Orders { policy: &policy, config }) {
            Ok(()) => Ok(setup.0),
            Err(error) => {
                setup.0.abandon();
                Err(error)
            }
        }
    }

    /// Ends a start that failed: nothing is left of a first one, and what forwarded before goes on.
    pub(super) fn abandon(&mut self) {
        if self.keeper.found().is_none() {
            self.stop();
        }
    }

    /// Makes known to the daemon which neighbours the data path knows; takes those back whose zone is no more, or is not where
    /// it was: others may be there.
    pub(super) fn inherit_neighbours(&mut self, neighbours: &mut Neighbours, now: u64) {
        let Some(before) = self.keeper.found() else { return };
        let inherited = self.keeper.inherited();
        let is_kept = |zone: u32| {
            let name = before.zones.get(zone as usize).and_then(Option::as_deref);
            let is_same = name.is_some() && name == self.policy.zone(zone as u16).map(|zone| zone.name.as_str());
            let record = self.zone(zone as u16);
            let stays =
                record.is_some_and(|zone| zone.flags & zone_flag::DOWN == 0 && inherited.contains_key(&zone.ifindex));
            is_same && stays
        };
        let known = self.kernel.neighbours();
        let (kept, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, key, _)| is_kept(key.zone));
        let refused = neighbours.inherit(&kept, now);
        for (slot, key) in gone.into_iter().map(|(slot, key, _)| (slot, key)).chain(refused) {
            self.kernel.remove_neighbour(slot, &key);
        }
    }

    /// Begins the counters of zones at zero whose numbers were those of others.
    fn clear_new_zones(&mut self) -> Result<(), SetupError> {
        let Some(before) = self.keeper.found() else { return Ok(()) };
        for zone in &self.policy.zones {
            if before.zones.get(usize::from(zone.id)).and_then(Option::as_deref) != Some(&zone.name) {
                self.kernel.clear_zone(zone.id)?;
            }
        }
        Ok(())
    }

    /// Loads the programs; nothing is attached yet.
    fn load(
        changes: LinkChanges,
        keeper: Keeper,
        policy: &Arc<Policy>,
        config: &Config,
    ) -> Result<Beginning, SetupError> {
        let orders = Orders { policy, config };
        let mut inherited = keeper.inherited();
        let look = |name: &str| look(orders, &keeper, &mut inherited, name);
        let found = names(policy).into_iter().map(look).collect::<Result<Vec<_>, _>>()?;
        let links: Vec<Link> = found.iter().map(|found| found.link(policy)).collect();
        let mut image = compile(policy, config, &links)?;
        image.settings.epoch = keeper.pins().next_epoch();
        let loaded = Kernel::load_pinned(&image, config, keeper.pins());
        if loaded.is_err() && keeper.found().is_none() {
            keeper.remove();
        }
        let inherits = found.iter().map(|found| matches!(found, Found::Inherited(_))).collect();
        let setup = Self {
            kernel: loaded?,
            policy: Arc::clone(policy),
            counted: vec![RuleCounter::NONE; image.rule_names.len()],
            image,
            ports: found.into_iter().map(Found::port).collect(),
            keeper,
            changes: Some(changes),
            engine: EngineHost::new(config)?,
        };
        Ok(Beginning(setup, inherits, inherited))
    }
}

/// A firewall whose programs are loaded, with the numbers of its ports that programs of an earlier process hang on; and what
/// others hang on that the policy does not name.
struct Beginning(Setup, Vec<bool>, BTreeMap<u32, Changes>);

impl Beginning {
    /// Takes the interfaces. New ones first: most of what can fail is theirs, and then nothing of what forwards has changed.
    fn take(&mut self, orders: Orders) -> Result<(), SetupError> {
        // What is to be changed is written down before it is, or a process that is killed could not give it back.
        self.0.note()?;
        if let Err(error) = self.take_new(orders).and_then(|()| self.0.check_engine()) {
            self.back_out();
            return Err(error);
        }
        self.0.clear_new_zones()?;
        self.take_over()?;
        let Self(setup, _, left) = self;
        for (index, changes) in std::mem::take(left) {
            changes.give_back(index);
            setup.kernel.detach_from(index);
        }
        setup.note()?;
        setup.move_zones()?;
        Ok(setup.kernel.end_others()?)
    }

    /// The programs first, then the link: no frame reaches the kernel's stack in between.
    fn take_new(&mut self, orders: Orders) -> Result<(), SetupError> {
        let Self(setup, inherited, _) = self;
        let new = setup.ports.iter_mut().zip(inherited).filter(|(_, inherited)| !**inherited);
        let mut new: Vec<&mut Attached> = new.filter_map(|(port, _)| port.attached.as_mut()).collect();
        for attached in &mut new {
            attached.hang(&mut setup.kernel)?;
            attached.lead_zones(&mut setup.kernel, orders)?;
        }
        new.into_iter().try_for_each(|attached| Ok(attached.raise()?))
    }

    /// Gives new interfaces back, where others forward.
    fn back_out(&mut self) {
        let Self(setup, inherited, _) = self;
        if setup.keeper.found().is_none() {
            return;
        }
        for (port, _) in setup.ports.iter_mut().zip(inherited).filter(|(_, inherited)| !**inherited) {
            port.release(&mut setup.kernel);
        }
        setup.kernel.discard();
        setup.keeper.restore();
    }

    /// Takes the interfaces over on which programs of an earlier process hang.
    fn take_over(&mut self) -> Result<(), SetupError> {
        let Self(setup, inherited, _) = self;
        // Before the first of them sends to the others.
        setup.kernel.set_devices(&setup.image)?;
        let ports = setup.ports.iter_mut().zip(inherited).filter(|(_, inherited)| **inherited);
        for attached in ports.filter_map(|(port, _)| port.attached.as_mut()) {
            attached.hang(&mut setup.kernel)?;
            attached.raise()?;
        }
        Ok(())
    }
}

/// Looks at an interface that the policy names.
fn look(
    orders: Orders,
    keeper: &Keeper,
    inherited: &mut BTreeMap<u32, Changes>,
    name: &str,
) -> Result<Found, SetupError> {
    let was_in_use = keeper.found().is_some_and(|before| before.names(name));
    let mut interface = match interface::inspect(name) {
        Err(InterfaceError::NotFound { .. }) if was_in_use => return Ok(Found::Away(name.to_owned())),
        other => other?,
    };
    let changes = inherited.get(&interface.index).cloned();
    if changes.as_ref().is_some_and(|changes| !changes.offloads.is_empty()) {
        // vfw itself has turned it off.
        interface.features.rx_vlan_offload = Feature::On;
    }
    let choice = choose_for(orders, &interface)?;
    if let Some(changes) = changes {
        inherited.remove(&interface.index);
        return Ok(Found::Inherited(Attached::found(interface, choice, changes)));
    }
    let changes = Changes::planned(&interface, choice.turn_off_rx_vlan_offload)?;
    Ok(Found::New(Attached::found(interface, choice, changes)))
}
