//! The rule table by number of rules, kind of rules and family.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;
use vfw::bench::classbench::{Header, Rule};
use vfw::bench::measure::{self, Compiled, Lookups};
use vfw_tests::ruleset::{self, Class};

use crate::report::Target;

/// Numbers of rules.
pub const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

/// What one rule set gave.
#[derive(Clone, Debug, Serialize)]
pub struct Set {
    /// Kind of rules and family.
    pub name: String,
    /// Whether it is IPv6.
    pub v6: bool,
    /// Number of rules.
    pub rules: usize,
    /// Bytes of the table for each rule.
    pub bytes_per_rule: f64,
    /// Milliseconds to compile it.
    pub compile_ms: f64,
    /// Most steps that a packet can take.
    pub worst_steps: u32,
    /// Nanoseconds of a look-up in user space: headers on corners of rules, and with fields of different rules.
    pub user_ns: [f64; 2],
    /// The same in the kernel.
    pub ebpf_ns: [f64; 2],
    /// Wrong answers.
    pub wrong: usize,
}

/// Passes over all sets, of which the best figures count: other work on a machine comes and goes in minutes.
const PASSES: usize = 3;

/// Measures generated rule sets of all classes, both families and the given sizes.
pub fn measure(sizes: &[usize], headers: usize) -> Result<Vec<Set>> {
    let mut sets = pass(sizes, headers)?;
    for _ in 1..PASSES {
        for (set, again) in sets.iter_mut().zip(pass(sizes, headers)?) {
            set.take_better(&again);
        }
    }
    Ok(sets)
}

impl Set {
    /// Takes the times of another pass where they are shorter.
    fn take_better(&mut self, other: &Self) {
        let times = [&mut self.compile_ms].into_iter().chain(&mut self.user_ns).chain(&mut self.ebpf_ns);
        for (time, other) in times.zip([other.compile_ms].iter().chain(&other.user_ns).chain(&other.ebpf_ns)) {
            *time = time.min(*other);
        }
        self.wrong += other.wrong;
    }
}

fn pass(sizes: &[usize], headers: usize) -> Result<Vec<Set>> {
    let mut sets = Vec::new();
    for class in Class::ALL {
        for v6 in [false, true] {
            for count in sizes {
                let name = format!("{class:?} {}", if v6 { "v6" } else { "v4" }).to_lowercase();
                eprintln!("{name}, {count} rules ...");
                let rules = ruleset::rules(class, v6, *count, 1_000 + *count as u64);
                sets.push(set(&name, v6, &rules, headers).with_context(|| format!("{name}, {count} rules"))?);
            }
        }
    }
    Ok(sets)
}

fn set(name: &str, v6: bool, rules: &[Rule], count: usize) -> Result<Set> {
    let Compiled { forest, millis } = measure::compile(rules)?;
    let [corner, mixed] = headers(rules, count);
    let corner = measure::look_up(rules, &forest, &corner)?;
    let mixed = measure::look_up(rules, &forest, &mixed)?;
    let both = |part: fn(&Lookups) -> f64| [part(&corner), part(&mixed)];
    Ok(Set {
        name: name.to_owned(),
        v6,
        rules: rules.len(),
        bytes_per_rule: size_of_val(forest.blocks.as_slice()) as f64 / rules.len() as f64,
        compile_ms: millis,
        worst_steps: forest.worst_steps.into_iter().max().unwrap_or(0),
        user_ns: both(|found| found.user_ns),
        ebpf_ns: both(|found| found.ebpf_ns),
        wrong: corner.wrong + mixed.wrong,
    })
}

/// Headers on corners, and mixed ones: every fourth that is made.
fn headers(rules: &[Rule], count: usize) -> [Vec<Header>; 2] {
    let made = ruleset::headers(rules, count * 4, 1);
    let kind = |is_mixed: bool| {
        let of_kind = made.iter().enumerate().filter(move |(number, _)| (number % 4 == 3) == is_mixed);
        of_kind.map(|(_, header)| *header).take(count).collect()
    };
    [kind(false), kind(true)]
}

/// The worst of each figure beside what was aimed at.
pub fn targets(sets: &[Set]) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: &str, aim: f64, figures: &mut dyn Iterator<Item = f64>| {
        if let Some(measured) = figures.reduce(f64::max) {
            targets.push(Target { what: what.to_owned(), measured, relation: "<=", aim, met: measured <= aim });
        }
    };
    let of = |v6: bool, rules: usize| sets.iter().filter(move |set| set.v6 == v6 && set.rules == rules);
    let all = |rules: usize| sets.iter().filter(move |set| set.rules == rules);
    let large = |v6: bool| sets.iter().filter(move |set| set.v6 == v6 && set.rules >= 1_000);
    add("wrong answers, all sets", 0.0, &mut sets.iter().map(|set| set.wrong as f64));
    add("worst steps, all sets", 128.0, &mut sets.iter().map(|set| f64::from(set.worst_steps)));
    add("ns in user space, 100,000 rules", 100.0, &mut all(100_000).flat_map(|set| set.user_ns));
    add("ns in eBPF, 1,000 rules", 75.0, &mut all(1_000).flat_map(|set| set.ebpf_ns));
    add("ns in eBPF, 100,000 rules", 200.0, &mut all(100_000).flat_map(|set| set.ebpf_ns));
    add("growth of ns in eBPF, 1,000 to 100,000 rules", 2.0, &mut growth(sets).into_iter());
    add("bytes a rule, IPv4, 1,000 rules and more", 48.0, &mut large(false).map(|set| set.bytes_per_rule));
    add("bytes a rule, IPv6, 1,000 rules and more", 96.0, &mut large(true).map(|set| set.bytes_per_rule));
    for (rules, aim, what) in [
        (1_000, 5.0, "ms to compile 1,000 rules, IPv4"),
        (10_000, 50.0, "ms to compile 10,000 rules, IPv4"),
        (100_000, 150.0, "ms to compile 100,000 rules, IPv4"),
    ] {
        add(what, aim, &mut of(false, rules).map(|set| set.compile_ms));
    }
    add("ms to compile 100,000 rules, IPv6", 300.0, &mut of(true, 100_000).map(|set| set.compile_ms));
    targets
}

/// How much longer a look-up takes with the most rules than with a thousand, for each kind of rules and of headers.
fn growth(sets: &[Set]) -> Vec<f64> {
    let small = sets.iter().filter(|set| set.rules == 1_000);
    let pairs = small.flat_map(|small| {
        let large = sets.iter().filter(|set| set.rules == 100_000 && set.name == small.name);
        large.flat_map(|large| [0, 1].map(|kind| large.ebpf_ns[kind] / small.ebpf_ns[kind]))
    });
    pairs.collect()
}

/// The sets as a table, at most 80 columns wide.
pub fn text(sets: &[Set]) -> String {
    let mut text = String::from(
        "LOOK-UPS, ns: headers on corners of rules, and with fields of different rules\n\n  \
         rules             bytes    ms to  worst  user space         eBPF          wrong\n                    \
         a rule   compile  steps  corner  mixed   corner  mixed\n",
    );
    let mut last = "";
    for set in sets {
        if set.name != last {
            text.push('\n');
            last = &set.name;
        }
        let (user, ebpf) = (set.user_ns, set.ebpf_ns);
        let _ = writeln!(
            text,
            "  {:<7} {:>8} {:>7.1} {:>9.2} {:>6} {:>7.0} {:>6.0} {:>8.0} {:>6.0} {:>7}",
            set.name,
            set.rules,
            set.bytes_per_rule,
            set.compile_ms,
            set.worst_steps,
            user[0],
            user[1],
            ebpf[0],
            ebpf[1],
            set.wrong
        );
    }
    text
}
