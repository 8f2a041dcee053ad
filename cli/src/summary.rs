//! What a policy needs and does, in numbers: what `vfw check` and `vfw apply` print.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::kernel::table_bytes;
use crate::compile::Image;
use crate::config::Config;
use crate::lang::Policy;
use crate::preview;

/// A compiled policy in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Zones.
    pub zones: usize,
    /// Rules, without the default.
    pub rules: usize,
    /// Lines that the rules became: their combinations of zones, addresses and services.
    pub entries: usize,
    /// Most steps that the first packet of a flow takes through the rules.
    pub worst_steps: u32,
    /// Routes: connected ones, vfw's own addresses, static ones.
    pub routes: usize,
    /// Bytes of each table.
    pub bytes: Vec<TableBytes>,
    /// Test cases as expected.
    pub tests_passed: usize,
    /// Test cases with another decision.
    pub tests_failed: usize,
    /// Milliseconds from text to tables.
    pub compile_ms: f64,
}

/// The size of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableBytes {
    /// What it holds.
    pub table: String,
    /// Bytes of kernel memory.
    pub bytes: usize,
}

impl Summary {
    /// Of a policy that took `compiled` from text to tables.
    pub fn new(policy: &Policy, image: &Image, config: &Config, tests: &preview::Report, compiled: Duration) -> Self {
        let bytes = table_bytes(image, config).into_iter();
        Self {
            zones: policy.zones.len(),
            rules: policy.rules.len(),
            entries: image.entries,
            worst_steps: image.rules.worst_steps.into_iter().max().unwrap_or(0),
            routes: image.routes.len(),
            bytes: bytes.map(|(table, bytes)| TableBytes { table: table.to_owned(), bytes }).collect(),
            tests_passed: tests.passed,
            tests_failed: tests.failed,
            compile_ms: milliseconds(compiled),
        }
    }

    /// As people read it, a line for each kind of thing.
    pub fn lines(&self) -> Vec<String> {
        let (rules, entries, steps) = (self.rules, self.entries, self.worst_steps);
        let total = self.bytes.iter().map(|table| table.bytes).sum();
        let tables = self.bytes.iter().map(|table| format!("{} {}", table.table, size(table.bytes)));
        vec![
            format!("zones    {}", self.zones),
            format!("rules    {rules} ({entries} table entries, at most {steps} steps for a new flow)"),
            format!("routes   {} (connected, own and static)", self.routes),
            format!("memory   {} ({})", size(total), tables.collect::<Vec<_>>().join(", ")),
            format!("compile  {:.1} ms", self.compile_ms),
            format!("tests    {} passed, {} failed", self.tests_passed, self.tests_failed),
        ]
    }
}

/// Milliseconds with their fraction.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Bytes as a person reads them.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}
