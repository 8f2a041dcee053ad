//! Another policy on its way into force: read, compiled, tested, compared with the one in force.

use std::time::Instant;

use firewall_core::DropReason;
use firewall_core::pipeline::judge_flow;
use firewall_core::tables::Action;

use super::flow::FlowReader;
use super::setup::names;
use super::state::{Shared, lock};
use crate::backend::kernel::{KernelError, LiveFlow};
use crate::backend::memory::{Limits, Memory};
use crate::change::Change;
use crate::compile::{Image, Link, compile};
use crate::control::{Answer, AppliedView, CutView, NewPolicy};
use crate::lang::{Diagnostics, Loaded, Policy, SourceFile, load};
use crate::preview;
use crate::summary::{Summary, milliseconds};

/// Most flows in the list of those that a policy cuts.
const LISTED: usize = 1_000;

impl Shared {
    /// Puts another policy in force, or says what that would change.
    pub fn apply(&self, new: &NewPolicy) -> Answer {
        let start = Instant::now();
        // One after another: each is compared with the one that it replaces.
        let _one = lock(&self.applying);
        let answer = self.prepare(new).and_then(|(policy, image, mut view)| {
            if !new.dry_run {
                self.caller.replace(policy, image).map_err(Answer::Error)?;
                view.in_force = true;
            }
            view.milliseconds = milliseconds(start.elapsed());
            Ok(view)
        });
        answer.map_or_else(|refused| refused, |view| Answer::Applied(Box::new(view)))
    }

    fn prepare(&self, new: &NewPolicy) -> Result<(Policy, Image, AppliedView), Answer> {
        let start = Instant::now();
        let sources: Vec<SourceFile> = new.files.iter().map(|(name, text)| SourceFile::new(name, text)).collect();
        let Loaded { mut policy, warnings } = load(&sources).map_err(Answer::BadPolicy)?;
        let before = self.policy();
        policy.keep_zone_ids(&before.zone_names());
        let bad = |found: &Diagnostics| Answer::BadPolicy(found.clone());
        // The real interfaces take their places when the policy is published, as they are then.
        let image = compile(&policy, &self.config, &Link::invent(&policy));
        let image = image.map_err(|error| bad(error.diagnostics()))?;
        let compiled = start.elapsed();
        let tests = preview::run_tests(&policy, &image, &self.config);
        if tests.errors.has_errors() {
            return Err(bad(&tests.errors));
        }
        let summary = Summary::new(&policy, &image, &self.config, &tests, compiled);
        let change = Change::between((&before, &lock(&self.setup).image), (&policy, &image));
        let (interfaces_added, interfaces_removed) = (missing(&before, &policy), missing(&policy, &before));
        let flows = self.flows_under(&image).map_err(|error| Answer::Error(error.to_string()))?;
        let view = AppliedView {
            in_force: false,
            summary,
            change,
            flows_cut: flows.cut,
            flows_kept: flows.kept,
            cut: flows.listed,
            interfaces_added,
            interfaces_removed,
            warnings,
            milliseconds: 0.0,
        };
        Ok((policy, image, view))
    }

    /// What becomes of the live flows under another policy.
    fn flows_under(&self, image: &Image) -> Result<Fate, KernelError> {
        let (flows, reader) = {
            let setup = lock(&self.setup);
            (setup.kernel.flows()?, FlowReader::new(&setup))
        };
        let tables = Memory::new(image, Limits { established: 1, half_open: 1, fragments: 1 });
        let mut fate = Fate::default();
        for live in flows.live(reader.now) {
            match judge(&tables, image, &live) {
                Ok(()) => fate.kept += 1,
                Err((reason, by)) => {
                    fate.cut += 1;
                    if fate.listed.len() < LISTED {
                        let view = |flow| CutView { flow, reason: reason.name().to_owned(), by };
                        fate.listed.extend(reader.view(&live).map(view));
                    }
                }
            }
        }
        Ok(fate)
    }
}

/// What becomes of live flows.
#[derive(Default)]
struct Fate {
    kept: usize,
    cut: usize,
    listed: Vec<CutView>,
}

/// Whether a flow goes on; why not, and by which rule.
fn judge(tables: &Memory, image: &Image, live: &LiveFlow) -> Result<(), (DropReason, Option<String>)> {
    let decision = judge_flow(tables, &live.key, &live.flow).map_err(|reason| (reason, None))?;
    let reason = match decision.action() {
        Action::Allow => return Ok(()),
        Action::Drop => DropReason::Policy,
        Action::Reject => DropReason::Reject,
    };
    Err((reason, image.rule_names.get(decision.rule() as usize).map(|name| name.place.clone())))
}

/// The interfaces of a policy that another one does not name.
fn missing(from: &Policy, of: &Policy) -> Vec<String> {
    let known = names(from);
    names(of).into_iter().filter(|name| !known.contains(name)).map(str::to_owned).collect()
}
