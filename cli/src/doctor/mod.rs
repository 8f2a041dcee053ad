//! `vfw doctor`: what keeps this machine from forwarding well, and what mends it.
//!
//! In three steps that do not mix: [`facts`] are gathered from the kernel and a running vfw, [`checks`] are pure functions from
//! facts to [`Finding`]s, and a [`Change`] of a finding can be made. So every check is tested on machines that are made up.

pub mod change;
pub mod checks;
pub mod facts;
pub mod finding;
mod hooks;
mod host;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Config, Mode};
use crate::control::{InterfaceView, ZoneView};
use crate::interface::sysfs::in_own_sysfs;
use crate::interface::{self, InterfaceError};
use crate::lang::Policy;
use change::{Applied, Change};
use facts::{Ability, Facts, InterfaceFacts, Missing, Running, ZoneFacts};
pub use finding::{Finding, Severity};
pub use hooks::{Possible, possible};

/// What to look at, and what is known before the kernel is asked.
#[derive(Debug, Default)]
pub struct Order {
    /// Interfaces by name; without any those that rules or a running vfw name, else all that could serve.
    pub interfaces: Vec<String>,
    /// Zones by interface.
    pub zones: BTreeMap<String, Vec<ZoneFacts>>,
    /// What a running vfw says of its interfaces; nothing when none runs.
    pub running: Option<Vec<InterfaceView>>,
    /// Do not try whether the kernel takes the programs.
    pub quick: bool,
    /// The settings, if they are given.
    pub config: Option<Config>,
}

impl Order {
    /// Takes the zones of a policy.
    pub fn add_policy(&mut self, policy: &Policy) {
        for zone in &policy.zones {
            let zones = self.zones.entry(zone.interface.clone()).or_default();
            zones.push(ZoneFacts { name: zone.name.clone(), vlan: zone.vlan });
        }
    }

    /// Takes the zones that a running vfw has.
    pub fn add_views(&mut self, views: Vec<ZoneView>) {
        for view in views {
            let zones = self.zones.entry(view.interface).or_default();
            zones.push(ZoneFacts { name: view.zone, vlan: view.vlan });
        }
    }

    fn names(&self) -> Result<Vec<String>, InterfaceError> {
        if !self.interfaces.is_empty() {
            return Ok(self.interfaces.clone());
        }
        if !self.zones.is_empty() {
            return Ok(self.zones.keys().cloned().collect());
        }
        let all = interface::list()?.into_iter();
        Ok(all.filter(facts::is_candidate).map(|interface| interface.name).collect())
    }

    fn running(&self, name: &str) -> Option<Running> {
        let views = self.running.as_ref()?;
        let view = views.iter().find(|view| view.interface == name)?;
        Some(Running { state: view.state.clone(), hook: view.hook.clone(), frames: view.frames.clone() })
    }

    fn look(&self, name: &str) -> Result<InterfaceFacts, InterfaceError> {
        let told = facts::Told {
            zones: self.zones.get(name).cloned().unwrap_or_default(),
            mode: self.config.as_ref().map_or(Mode::Auto, |config| config.mode_of(name)),
            running: self.running(name),
        };
        let mut found = facts::interface(name, told)?;
        if self.config.is_none() {
            found.mode = mode_in_use(&found).unwrap_or_default();
        }
        Ok(found)
    }
}

/// The mode that a running vfw must have been given, where `auto` would lead elsewhere.
fn mode_in_use(interface: &InterfaceFacts) -> Option<Mode> {
    let hook = interface.running.as_ref()?.hook.as_deref()?;
    let is_auto = interface.choice().is_ok_and(|choice| choice.name() == hook);
    let modes = [Mode::Xdp, Mode::Tc, Mode::Afxdp].into_iter();
    modes.filter(|_| !is_auto).find(|mode| mode.to_string() == hook)
}

/// Asks the kernel, in the network namespace of the calling thread. It changes nothing.
///
/// Whether the kernel takes the programs is tried, which takes a second or two, unless that is known from facts gathered `before`.
pub fn gather(order: &Order, before: Option<&Facts>) -> Result<Facts, InterfaceError> {
    in_own_sysfs(|| {
        let vfw_runs = order.running.is_some();
        let mut facts = Facts { machine: facts::machine(), vfw_runs, ..Facts::default() };
        facts.machine.programs = match before {
            Some(before) => before.machine.programs.clone(),
            None if vfw_runs => Ability::yes("vfw runs"),
            None if order.quick => Ability::unknown("not tried (--quick)"),
            None => facts::try_programs(),
        };
        let mut seen = BTreeSet::new();
        for name in order.names()?.into_iter().filter(|name| seen.insert(name.clone())) {
            match order.look(&name) {
                Ok(found) => facts.interfaces.push(found),
                Err(error) if error.is_gone() => {
                    facts.missing.push(Missing { name, reason: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(facts)
    })
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was made.
    Made(Applied),
    /// It would be made.
    Planned {
        /// The command that does the same.
        command: String,
    },
    /// It could not be made.
    Failed {
        /// The command that does the same.
        command: String,
        /// Why not.
        error: String,
    },
}

/// Makes the safe changes of all findings, each once; with `dry_run` only tells of them.
pub fn fix(findings: &[Finding], dry_run: bool) -> Vec<Outcome> {
    let mut changes: Vec<&Change> = Vec::new();
    for change in findings.iter().flat_map(Finding::changes) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    in_own_sysfs(|| changes.into_iter().map(|change| outcome(change, dry_run)).collect())
}

fn outcome(change: &Change, dry_run: bool) -> Outcome {
    let command = change.command();
    if dry_run {
        return Outcome::Planned { command };
    }
    match change.apply() {
        Ok(applied) => Outcome::Made(applied),
        Err(error) => Outcome::Failed { command, error: error.to_string() },
    }
}
