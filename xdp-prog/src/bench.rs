//! Look-ups without packets, for `vfw bench classify`: loaded by that command only.

use firewall_core::tables::{RuleKey, Tables};

use crate::maps;
use crate::tables::KernelTables;

/// Decides the next key; each run takes one, going round.
#[inline(always)]
pub fn next(decide: impl Fn(&RuleKey) -> u32) -> Option<()> {
    let next = maps::BENCH_NEXT.get_ptr_mut(0)?;
    // SAFETY: one test run at a time uses the element.
    let number = unsafe {
        let [number, count] = *next;
        (*next)[0] = if number + 1 < count { number + 1 } else { 0 };
        number
    };
    let decision = decide(maps::BENCH_KEYS.get(number)?);
    let place = maps::BENCH_DECISIONS.get_ptr_mut(number)?;
    // SAFETY: as above.
    unsafe { *place = decision };
    Some(())
}

/// What the rules say; all ones without a usable table.
#[inline(always)]
pub fn classify(key: &RuleKey) -> u32 {
    KernelTables::current().judge(|| *key).map_or(u32::MAX, |decision| decision.0)
}

/// The same without the rules: something of the key, so that it is read.
#[inline(always)]
pub fn nothing(key: &RuleKey) -> u32 {
    u32::from(key.source_port)
}
