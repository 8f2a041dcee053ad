//! What a rule table costs: to compile, and to look headers up in user space and in the kernel.

use std::hint::black_box;
use std::time::Instant;

use firewall_core::classify::{Decision, Key, lookup};
use firewall_core::tables::RuleKey;

use super::classbench::{self, Header, Rule};
use crate::backend::kernel::{Classifier, KernelError};
use crate::compile::forest::{self, Forest, TooManySteps};

/// Rounds of each measurement, of which the best counts.
const ROUNDS: usize = 7;

/// A compiled rule set.
pub struct Compiled {
    /// The table.
    pub forest: Forest,
    /// Milliseconds of the fastest round.
    pub millis: f64,
}

/// What look-ups took, and whether they were right.
#[derive(Clone, Copy, Debug)]
pub struct Lookups {
    /// Mean nanoseconds of a look-up in user space.
    pub user_ns: f64,
    /// The same in the kernel, without what a program takes that does not look up.
    pub ebpf_ns: f64,
    /// Headers that got another answer than the rules one after the other give, in user space or in the kernel.
    pub wrong: usize,
}

/// Compiles rules, several times.
pub fn compile(rules: &[Rule]) -> Result<Compiled, TooManySteps> {
    let entries = classbench::entries(rules);
    let (forest, seconds) = best(|| forest::compile(&entries));
    Ok(Compiled { forest: forest?, millis: seconds * 1e3 })
}

/// Looks headers up, several times, and compares every answer with the rules one after the other.
pub fn look_up(rules: &[Rule], forest: &Forest, headers: &[Header]) -> Result<Lookups, KernelError> {
    let keys: Vec<RuleKey> = headers.iter().map(RuleKey::from).collect();
    let image = forest.blocks.as_slice();
    let find = |key: &RuleKey| lookup(image, Key::of(key)).map_or(u32::MAX, Decision::rule);
    let (_, seconds) = best(|| black_box(&keys).iter().fold(0u32, |sum, key| sum.wrapping_add(find(key))));
    let kernel = Classifier::load(&forest.blocks, &keys)?.run()?;
    let is_wrong = |number: &usize| {
        let wanted = classbench::first_match(rules, &headers[*number]) as u32;
        find(&keys[*number]) != wanted || kernel.decisions[*number].rule() != wanted
    };
    Ok(Lookups {
        user_ns: seconds * 1e9 / f64::from(keys.len().max(1) as u32),
        ebpf_ns: kernel.nanos,
        wrong: (0..keys.len()).filter(is_wrong).count(),
    })
}

/// A result, and the seconds of the fastest of several rounds.
fn best<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut timed = || {
        let start = Instant::now();
        let result = black_box(work());
        (result, start.elapsed().as_secs_f64())
    };
    let first = timed();
    (1..ROUNDS).map(|_| timed()).fold(first, |best, next| if next.1 < best.1 { next } else { best })
}
