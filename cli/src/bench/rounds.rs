//! Rounds: everything that is compared is measured in each of them, in an order that is new each time, so that what else
//! happens on the machine meets all of it alike. A bar on the terminal tells how far it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::headers::Numbers;
use crate::clock;

/// The rounds of a run.
pub struct Rounds {
    count: u32,
    bar: ProgressBar,
    numbers: Numbers,
    is_ended: Arc<AtomicBool>,
}

impl Rounds {
    /// `count` rounds of some `steps` in all, for the bar. From here on, Ctrl-C ends the run between two measurements, so that
    /// everything is cleaned up.
    pub fn new(count: u32, steps: u64) -> io::Result<Self> {
        let is_ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&is_ended))?;
        }
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta:>4} left  {msg}") {
            bar.set_style(style);
        }
        Ok(Self { count, bar, numbers: Numbers::new(clock::now()), is_ended })
    }

    /// Says what is being done before the measurements.
    pub fn prepare(&self, what: &str) -> Result<()> {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
        self.check()
    }

    /// Measures each of `subjects` once a round; `what` names one for the reader. `once` has the number of the round.
    pub fn each<S>(
        &mut self,
        subjects: &mut [S],
        what: impl Fn(&S) -> String,
        mut once: impl FnMut(&mut S, u32) -> Result<()>,
    ) -> Result<()> {
        for round in 0..self.count {
            for place in self.order(subjects.len()) {
                let Some(subject) = subjects.get_mut(place) else { continue };
                self.check()?;
                self.bar.set_message(what(subject));
                once(subject, round)?;
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    /// All numbers below `count` in any order (Fisher and Yates).
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            order.swap(place, self.numbers.below(place + 1));
        }
        order
    }

    fn check(&self) -> Result<()> {
        if self.is_ended.load(Ordering::Relaxed) {
            bail!("ended by a signal; nothing is left of the lab");
        }
        Ok(())
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_all_subjects_in_an_order_of_its_own() {
        let mut rounds = Rounds::new(20, 0).expect("signals");
        let (mut subjects, mut seen) = (['a', 'b', 'c', 'd'], Vec::new());
        let once = |subject: &mut char, round| {
            seen.push((round, *subject));
            Ok(())
        };
        rounds.each(&mut subjects, char::to_string, once).expect("nothing fails");
        let of = |round: u32| seen.iter().filter(move |(number, _)| *number == round).map(|(_, subject)| *subject);
        let mut orders: Vec<String> = (0..20).map(|round| of(round).collect()).collect();
        for order in &orders {
            let mut letters: Vec<char> = order.chars().collect();
            letters.sort_unstable();
            assert_eq!(letters, subjects);
        }
        orders.sort();
        orders.dedup();
        assert!(orders.len() > 1, "the order was always {}", orders[0]);
    }
}
