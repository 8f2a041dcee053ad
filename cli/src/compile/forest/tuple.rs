//! The choice of a tuple: the bits of the key in which many entries are specific, and by whose hash they are found.

use firewall_core::classify::Tuple;
use firewall_core::classify::image::HASHED;

use super::cut::log2;
use super::specific::{DESTINATION_PORT, FROM, LOW, Masks, NONE, PROTOCOL, SOURCE_PORT, Specific, TO};

/// Entries that a choice looks at.
const SAMPLE: usize = 1024;
/// Lengths of prefixes that are tried for each side.
const LENGTHS: usize = 10;
/// Choices by addresses that are tried with ports, protocol and zones as well.
const REFINED: usize = 6;

/// A choice of bits, and what is said for it.
#[derive(Clone, Copy)]
struct Choice {
    masks: Masks,
    score: i64,
}

/// The bits by whose hash most of `list` is told apart; none when nothing is gained by it. `leaving` is what it must gain, in bits, to leave half of the entries to another tuple.
pub(super) fn choose(all: &[Specific], list: &[u32], is_v4: bool, leaving: i64) -> Masks {
    let step = list.len().div_ceil(SAMPLE);
    let sample: Vec<Specific> =
        list.iter().step_by(step).filter_map(|entry| all.get(*entry as usize).copied()).collect();
    let mut judge = Judge { sample: &sample, entries: list.len(), leaving, seen: Vec::new() };
    let [sources, destinations] = lengths(&sample, is_v4);
    let mut choices: Vec<Choice> = Vec::new();
    for source in &sources {
        for destination in &destinations {
            let mut masks = NONE;
            for (word, mask) in masks.iter_mut().enumerate() {
                *mask = source[word] | destination[word];
            }
            choices.extend(judge.judge(&masks));
        }
    }
    choices.sort_by_key(|choice| -choice.score);
    choices.dedup_by_key(|choice| choice.masks);
    choices.truncate(REFINED);
    choices.extend(judge.judge(&NONE));
    let refined = choices.into_iter().map(|choice| judge.refine(choice, is_v4));
    match refined.reduce(|best, next| if next.score > best.score { next } else { best }) {
        Some(best) if best.score > 0 => best.masks,
        _ => NONE,
    }
}

/// Lengths of prefixes worth a trial, as masks: of sources and of destinations.
fn lengths(sample: &[Specific], is_v4: bool) -> [Vec<Masks>; 2] {
    let sides: [Masks; 2] = if is_v4 {
        [[LOW, 0, 0, 0, 0, 0], [LOW << 32, 0, 0, 0, 0, 0]]
    } else {
        [[u64::MAX, u64::MAX, 0, 0, 0, 0], [0, 0, u64::MAX, u64::MAX, 0, 0]]
    };
    sides.map(|side| {
        let mask = |specific: &Specific| {
            let mut masks = side;
            masks.iter_mut().zip(&specific.exact).for_each(|(mask, exact)| *mask &= exact);
            masks
        };
        let mut found: Vec<Masks> = sample.iter().map(mask).collect();
        found.sort_unstable();
        let count = found.len();
        let mut tried: Vec<Masks> =
            (0..LENGTHS).filter_map(|number| found.get(number * count / LENGTHS).copied()).collect();
        tried.push(NONE);
        tried.sort_unstable();
        tried.dedup();
        tried
    })
}

/// Judges choices by a sample of the entries.
struct Judge<'a> {
    sample: &'a [Specific],
    entries: usize,
    leaving: i64,
    /// Hashes that were seen, at a place that follows from the hash, with their number.
    seen: Vec<(u64, u32)>,
}

impl Judge<'_> {
    /// What a choice does, with all bits that its entries have in common; `None` when it keeps too few.
    fn judge(&mut self, masks: &Masks) -> Option<Choice> {
        const SEEN: usize = 2 * SAMPLE;
        let kept = self.sample.iter().filter(|specific| specific.has(masks));
        let mut common = [u64::MAX; HASHED];
        let mut number = 0usize;
        for specific in kept.clone() {
            number += 1;
            common.iter_mut().zip(&specific.exact).for_each(|(common, exact)| *common &= exact);
        }
        if number * 16 < self.sample.len() {
            return None;
        }
        let tuple = Tuple::new(&common, 0, SEEN as u32);
        self.seen.clear();
        self.seen.resize(SEEN, (0, 0));
        let mut pairs = 0u64;
        for specific in kept {
            let hash = tuple.hash(&specific.value);
            let mut place = tuple.number(hash) as usize;
            while let Some((other, count)) = self.seen.get_mut(place % SEEN) {
                if *count == 0 || *other == hash {
                    pairs += u64::from(*count);
                    (*other, *count) = (hash, *count + 1);
                    break;
                }
                place += 1;
            }
        }
        // What a packet that matches one of the entries meets on average, in sixteenths of an entry.
        let scale = (self.entries / self.sample.len()).max(1) as u64;
        let met = (16 + pairs * 32 * scale / number as u64).max(24);
        let gain = log2(self.entries as u64 * 16) - log2(met);
        let left = log2(self.sample.len() as u64 * 16) - log2(number as u64 * 16);
        Some(Choice { masks: common, score: gain - left * self.leaving })
    }

    /// The choice with ports, protocol and zones as long as they help.
    fn refine(&mut self, mut choice: Choice, is_v4: bool) -> Choice {
        let [ports, fields] = if is_v4 { [1, 2] } else { [4, 5] };
        let parts = [(ports, DESTINATION_PORT), (ports, SOURCE_PORT), (fields, PROTOCOL), (fields, FROM), (fields, TO)];
        loop {
            let mut best = choice;
            for (word, part) in parts {
                let mut masks = choice.masks;
                if masks[word] & part == part {
                    continue;
                }
                masks[word] |= part;
                if let Some(next) = self.judge(&masks)
                    && next.score > best.score
                {
                    best = next;
                }
            }
            if best.score == choice.score {
                return choice;
            }
            choice = best;
        }
    }
}
