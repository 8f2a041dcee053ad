//! Two documents of the same test: what is faster, slower, or no more different than rounds of one run are.
//!
//! Each figure of each condition is tested by itself (Mann and Whitney's U test on the rounds, two-sided). Among many tests a few
//! would find differences where there are none; the procedure of Benjamini and Hochberg keeps those to one in twenty of what
//! is found.

use serde::Serialize;
use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

use super::view::describe;
use super::{Better, Condition, Document, Figure, Row};

/// Fewest rounds of each document: with less, no difference would be too large to be chance.
pub const FEWEST_ROUNDS: usize = 4;
/// Share of differences found that may be none.
const FALSE_DISCOVERIES: f64 = 0.05;

/// What has become of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The second document is better.
    Faster,
    /// The second document is worse.
    Slower,
    /// They differ no more than rounds of one run do, or less than matters.
    WithinNoise,
    /// There are fewer rounds than [`FEWEST_ROUNDS`].
    TooFewRounds,
}

impl Verdict {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::WithinNoise => "within noise",
            Self::TooFewRounds => "too few rounds",
        }
    }
}

/// One figure under one condition in both documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The condition.
    #[serde(flatten)]
    pub condition: Condition,
    /// The figure.
    pub figure: Figure,
    /// Median in the first document.
    pub before: f64,
    /// Median in the second.
    pub after: f64,
    /// Probability of such a difference by chance, all tests considered; nothing when there are too few rounds.
    pub p: Option<f64>,
    /// What it comes to.
    pub verdict: Verdict,
}

impl Change {
    /// How much the median has grown, as a share of the first.
    pub fn growth(&self) -> Option<f64> {
        (self.before != 0.0).then(|| (self.after - self.before) / self.before.abs())
    }
}

/// What became of all figures of a test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Figure by figure.
    pub changes: Vec<Change>,
    /// What the reader has to know.
    pub notes: Vec<String>,
}

/// Compares two documents of the same test. Medians that differ by less than the share `least` count as the same.
pub fn compare(before: &Document, after: &Document, least: f64) -> Result<Comparison, String> {
    if before.test != after.test {
        return Err(format!("one is of `{}`, the other of `{}`", before.test.name(), after.test.name()));
    }
    let mut changes = Vec::new();
    for old in &before.results {
        if let Some(new) = after.results.iter().find(|new| new.condition == old.condition) {
            changes.extend(figures(old, new));
        }
    }
    if changes.is_empty() {
        return Err("they have no condition in common".to_owned());
    }
    adjust(&mut changes);
    for change in &mut changes {
        change.verdict = verdict(change, least);
    }
    Ok(Comparison { changes, notes: notes(before, after) })
}

fn figures(old: &Row, new: &Row) -> Vec<Change> {
    let change = |(figure, before): (&Figure, &Vec<f64>)| {
        let after = new.samples.get(figure).filter(|_| figure.better() != Better::Neither)?;
        Some(Change {
            condition: old.condition.clone(),
            figure: *figure,
            before: old.median(*figure)?,
            after: new.median(*figure)?,
            p: probability(before, after),
            verdict: Verdict::TooFewRounds,
        })
    };
    old.samples.iter().filter_map(change).collect()
}

fn probability(before: &[f64], after: &[f64]) -> Option<f64> {
    if before.len().min(after.len()) < FEWEST_ROUNDS {
        return None;
    }
    // The normal approximation: it takes ties, and is as good as exact where it matters (four rounds against four, apart: 0.030
    // for 0.029). The exact method of statrs 0.19 turns the probability round when the first sample is not the larger one.
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let test = mannwhitneyu(before, after, method, Alternative::TwoSided);
    // Rounds that are all the same have no order that could be tested: they do not differ.
    Some(test.ok().map(|(_, p)| p).filter(|p| p.is_finite()).unwrap_or(1.0).min(1.0))
}

/// Makes of the probability of each test that of finding so much among all of them (Benjamini and Hochberg, 1995).
fn adjust(changes: &mut [Change]) {
    let mut tested: Vec<&mut f64> = changes.iter_mut().filter_map(|change| change.p.as_mut()).collect();
    tested.sort_by(|one, other| one.total_cmp(other));
    let (count, mut least) = (tested.len() as f64, 1.0);
    for (place, p) in tested.into_iter().enumerate().rev() {
        least = f64::min(least, *p * count / (place + 1) as f64);
        *p = least;
    }
}

fn verdict(change: &Change, least: f64) -> Verdict {
    let Some(p) = change.p else { return Verdict::TooFewRounds };
    let is_small = change.growth().map_or(change.after.abs() < f64::EPSILON, |growth| growth.abs() < least);
    if p > FALSE_DISCOVERIES || is_small {
        return Verdict::WithinNoise;
    }
    let is_better = (change.after > change.before) == (change.figure.better() == Better::Higher);
    if is_better { Verdict::Faster } else { Verdict::Slower }
}

fn notes(before: &Document, after: &Document) -> Vec<String> {
    let mut notes = Vec::new();
    let (old, new) = (&before.machine, &after.machine);
    if (&old.processor, old.cpus) != (&new.processor, new.cpus) {
        notes.push("They were measured on different machines.".to_owned());
    }
    if old.kernel != new.kernel {
        notes.push(format!("The kernels differ: {} and {}.", old.kernel, new.kernel));
    }
    if before.vfw != after.vfw {
        notes.push(format!("vfw {} and {}.", before.vfw, after.vfw));
    }
    for (document, other, which) in [(before, after, "first"), (after, before, "second")] {
        let alone = |row: &&Row| !other.results.iter().any(|one| one.condition == row.condition);
        for row in document.results.iter().filter(alone) {
            notes.push(format!("Only the {which} has: {}.", describe(&row.condition)));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Machine, Test};

    fn document(samples: &[(&str, Figure, &[f64])]) -> Document {
        let mut document = Document::new(Test::Pps, 5, "vfw bench pps --lab".to_owned(), Machine::default());
        for (path, figure, all) in samples {
            let condition = Condition { path: (*path).to_owned(), ..Condition::default() };
            document.results.push(Row::new(condition, [(*figure, all.to_vec())]));
        }
        document
    }

    fn verdicts(before: &[(&str, Figure, &[f64])], after: &[(&str, Figure, &[f64])]) -> Vec<Verdict> {
        let comparison = compare(&document(before), &document(after), 0.01).expect("they can be compared");
        comparison.changes.into_iter().map(|change| change.verdict).collect()
    }

    #[test]
    fn better_depends_on_the_figure() {
        let (few, many): (&[f64], &[f64]) = (&[1.0, 1.1, 1.2, 1.05, 1.15], &[2.0, 2.1, 2.2, 2.05, 2.15]);
        assert_eq!(verdicts(&[("a", Figure::Mpps, few)], &[("a", Figure::Mpps, many)]), [Verdict::Faster]);
        assert_eq!(verdicts(&[("a", Figure::NetNs, few)], &[("a", Figure::NetNs, many)]), [Verdict::Slower]);
        let same = verdicts(&[("a", Figure::Mpps, few)], &[("a", Figure::Mpps, &[1.12, 1.02, 1.18, 1.08, 1.11])]);
        assert_eq!(same, [Verdict::WithinNoise]);
    }

    #[test]
    fn probabilities_are_those_of_tables() {
        let p = |one: &[f64], other: &[f64]| probability(one, other).expect("enough rounds");
        // Exact: 2 of 70, and 2 of 252.
        assert!((p(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]) - 2.0 / 70.0).abs() < 0.005);
        assert!((p(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0]) - 2.0 / 252.0).abs() < 0.005);
        assert!((p(&[2.0; 5], &[2.0; 5]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn few_rounds_say_nothing_and_small_changes_do_not_count() {
        let three: &[f64] = &[1.0, 1.1, 1.2];
        assert_eq!(verdicts(&[("a", Figure::Mpps, three)], &[("a", Figure::Mpps, three)]), [Verdict::TooFewRounds]);
        let (old, new): (&[f64], &[f64]) = (&[100.0, 100.1, 100.2, 100.3], &[100.5, 100.6, 100.7, 100.8]);
        assert_eq!(verdicts(&[("a", Figure::Mpps, old)], &[("a", Figure::Mpps, new)]), [Verdict::WithinNoise]);
        let zeros: &[f64] = &[0.0; 5];
        assert_eq!(verdicts(&[("a", Figure::Loss, zeros)], &[("a", Figure::Loss, zeros)]), [Verdict::WithinNoise]);
    }

    #[test]
    fn one_difference_among_many_tests_must_be_clearer() {
        let noise: &[f64] = &[1.0, 1.3, 1.1, 1.2, 1.15];
        let (low, high): (&[f64], &[f64]) = (&[1.0, 1.1, 1.2, 1.3, 2.5], &[2.0, 2.1, 2.2, 2.3, 2.4]);
        let alone = verdicts(&[("a", Figure::Mpps, low)], &[("a", Figure::Mpps, high)]);
        let names: Vec<String> = (0..30).map(|number| format!("p{number}")).collect();
        let with = |first: &'static [f64]| {
            names.iter().map(|name| (name.as_str(), Figure::Mpps, noise)).chain([("a", Figure::Mpps, first)])
        };
        let among = verdicts(&with(low).collect::<Vec<_>>(), &with(high).collect::<Vec<_>>());
        assert_eq!(among.iter().filter(|verdict| **verdict != Verdict::WithinNoise).count(), 0, "{alone:?} {among:?}");
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let one = document(&[("a", Figure::Mpps, &[1.0])]);
        let mut other = document(&[("b", Figure::Mpps, &[1.0])]);
        assert_eq!(compare(&one, &other, 0.0), Err("they have no condition in common".to_owned()));
        other.test = Test::Rr;
        assert_eq!(compare(&one, &other, 0.0), Err("one is of `pps`, the other of `rr`".to_owned()));
    }
}
