//! Another policy in the place of the one in force.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use firewall_core::tables::RuleCounter;

use super::follow::{Changes, forget_neighbours};
use super::port::{Attached, Orders, Port};
use super::setup::{Setup, SetupError, choose, names};
use super::state::{Shared, lock};
use crate::backend::kernel::KernelError;
use crate::compile::{Image, Link, RuleName};
use crate::interface::{Hook, HookChoice};
use crate::lang::Policy;

/// A policy that has been replaced.
pub struct Replaced {
    /// What the loop has to do about interfaces and hosts.
    pub changes: Changes,
    /// The names of its rules.
    rules: Vec<RuleName>,
    /// What they had decided under the policies before it.
    counted: Vec<RuleCounter>,
}

/// Puts `policy` in force at once: each packet is judged by the one before or by this one. What can fail comes first, and
/// leaves the one before in force. [`Setup::retire`] has to follow.
pub fn replace(setup: &mut Setup, shared: &Shared, policy: Policy, image: Image) -> Result<Replaced, SetupError> {
    let before = (setup.ports.len(), setup.image.zones.clone());
    let newcomers = setup.take_newcomers(Orders { policy: &policy, config: &shared.config })?;
    setup.ports.extend(newcomers);
    setup.note_if_possible();
    let (rules, counted) = match setup.publish(shared, policy, image) {
        Ok(before) => before,
        Err(error) => {
            let newcomers = setup.ports.split_off(before.0);
            setup.give_back(newcomers);
            return Err(error);
        }
    };
    let mut changes = Changes::default();
    changes.come.extend(setup.ports.iter().skip(before.0).filter_map(Port::index));
    let gone = setup.take_retired();
    changes.gone.extend(gone.iter().filter_map(Port::index));
    setup.give_back(gone);
    setup.note_if_possible();
    changes.announce_zones(&setup.policy, (&before.1, &setup.image.zones), |_| false);
    Ok(Replaced { changes, rules, counted })
}

/// A hook that was chosen again for a port, and the choice before.
struct Rechosen {
    port: usize,
    before: HookChoice,
}

impl Setup {
    /// Takes the interfaces that only the new policy names. No frame passes them until it is in force.
    fn take_newcomers(&mut self, orders: Orders) -> Result<Vec<Port>, SetupError> {
        let is_known = |name: &str| self.ports.iter().any(|port| port.name == name);
        let new: Vec<&str> = names(orders.policy).into_iter().filter(|name| !is_known(name)).collect();
        let chosen = new.into_iter().map(|name| choose(orders, name)).collect::<Result<Vec<_>, _>>()?;
        let mut taken = Vec::new();
        for (interface, choice) in chosen {
            let ready = Attached::new(&mut self.kernel, interface, choice).and_then(|mut attached| {
                let raised = attached.raise();
                taken.push(Port::new(attached));
                Ok(raised?)
            });
            if let Err(error) = ready {
                self.give_back(taken);
                return Err(error);
            }
        }
        Ok(taken)
    }

    /// Takes the programs off interfaces that are there, and gives them back.
    fn give_back(&mut self, ports: Vec<Port>) {
        for attached in ports.into_iter().filter_map(|port| port.attached) {
            attached.give_back(&mut self.kernel);
        }
    }

    /// The ports that the policy does not name.
    fn take_retired(&mut self) -> Vec<Port> {
        let policy = Arc::clone(&self.policy);
        let named = names(&policy);
        let (kept, retired) =
            std::mem::take(&mut self.ports).into_iter().partition(|port| named.contains(port.name.as_str()));
        self.ports = kept;
        retired
    }

    /// Publishes a policy for the interfaces that are taken. Returns names and earlier counters of the rules before.
    fn publish(
        &mut self,
        shared: &Shared,
        policy: Policy,
        mut image: Image,
    ) -> Result<(Vec<RuleName>, Vec<RuleCounter>), SetupError> {
        let mut rechosen = Vec::new();
        let published = self
            .choose_again(Orders { policy: &policy, config: &shared.config }, &mut rechosen)
            // A tag that XDP cannot see must not be trusted by the new policy; tc sees all of them.
            .and_then(|()| self.move_to(Hook::Tc, &rechosen))
            .and_then(|()| self.publish_image(shared, &policy, &mut image));
        if let Err(error) = published {
            self.undo(rechosen);
            // Another one may have ended for what does not come now.
            self.follow_engine();
            return Err(error);
        }
        self.policy = Arc::new(policy);
        let rules = std::mem::replace(&mut self.image, image).rule_names;
        let counted = std::mem::take(&mut self.counted);
        self.follow_engine();
        if let Err(error) = self.move_to(Hook::Xdp, &rechosen) {
            // The policy is in force all the same, on the hook before.
            tracing::error!(%error, "an interface cannot be moved to the hook that its zones ask for");
            self.undo(rechosen);
            if let Err(error) = self.move_zones() {
                tracing::error!(%error, "the zones do not follow");
            }
        }
        Ok((rules, counted))
    }

    /// Chooses the hooks of the interfaces anew: other zones may ask for others.
    fn choose_again(&mut self, orders: Orders, rechosen: &mut Vec<Rechosen>) -> Result<(), SetupError> {
        let named = names(orders.policy);
        for (number, port) in self.ports.iter_mut().enumerate() {
            if let Some(attached) = port.attached.as_mut().filter(|_| named.contains(port.name.as_str())) {
                let before = attached.choose_again(orders)?;
                rechosen.push(Rechosen { port: number, before });
            }
        }
        Ok(())
    }

    /// Moves the ports for which this hook was chosen.
    fn move_to(&mut self, hook: Hook, rechosen: &[Rechosen]) -> Result<(), SetupError> {
        for Rechosen { port, .. } in rechosen {
            if let Some(attached) = self.ports[*port].attached.as_mut().filter(|port| port.choice.hook == hook) {
                attached.move_to_choice(&mut self.kernel)?;
            }
        }
        Ok(())
    }

    /// Back to the choices before.
    fn undo(&mut self, rechosen: Vec<Rechosen>) {
        for Rechosen { port, before } in rechosen {
            let Some(attached) = &mut self.ports[port].attached else { continue };
            attached.choice = before;
            if let Err(error) = attached.move_to_choice(&mut self.kernel) {
                tracing::error!(interface = attached.interface.name, %error, "cannot go back to the hook before");
            }
        }
    }

    fn publish_image(&mut self, shared: &Shared, policy: &Policy, image: &mut Image) -> Result<(), SetupError> {
        let named = names(policy);
        let ports = self.ports.iter().filter(|port| named.contains(port.name.as_str()));
        image.move_zones(policy, &ports.map(|port| port.link(policy)).collect::<Vec<Link>>())?;
        image.settings.epoch = self.image.settings.epoch.wrapping_add(1).max(1);
        for zone in &policy.zones {
            if self.policy.zone(zone.id).is_none_or(|before| before.name != zone.name) {
                self.kernel.clear_zone(zone.id)?;
                lock(&shared.drops).forget_zone(zone.id);
            }
            let ifindex = image.zones.get(usize::from(zone.id)).map_or(0, |record| record.ifindex);
            if ifindex != 0 {
                self.kernel.set_next_device(zone.id, ifindex)?;
            }
        }
        // Hosts of a zone that moves are not where they were.
        forget_neighbours(shared, &self.policy, &mut self.kernel, (&self.image.zones, &image.zones));
        // Sockets of interfaces that have other numbers now, or go, are not where the programs look for them.
        if self.engine.is_other(self.ports_of_engine(policy)) {
            self.end_engine();
        }
        match self.kernel.publish(image) {
            Err(KernelError::Room { .. }) => {
                // It counts in tables of the programs that go.
                self.end_engine();
                Ok(self.kernel.replace(image, &shared.config)?)
            }
            done => Ok(done?),
        }
    }

    /// Clears up behind the policy before. What its rules had decided counts for those of the one in force: a rule is the same
    /// when it says the same; of several that do, the first is the first.
    pub fn retire(&mut self, before: &Replaced) -> Result<(), SetupError> {
        let last = self.kernel.retire()?;
        let mut known: HashMap<&str, VecDeque<RuleCounter>> = HashMap::new();
        for (rule, (name, last)) in before.rules.iter().zip(last).enumerate() {
            let earlier = before.counted.get(rule).copied().unwrap_or(RuleCounter::NONE);
            known.entry(&name.text).or_default().push_back(earlier.and(&last));
        }
        let mut carry = |name: &RuleName| known.get_mut(name.text.as_str())?.pop_front();
        let names = self.image.rule_names.iter();
        self.counted = names.map(|name| carry(name).unwrap_or(RuleCounter::NONE)).collect();
        Ok(())
    }
}
