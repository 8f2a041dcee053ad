//! How long transactions took.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::error::NetError;

/// Longest time that is told apart, nanoseconds; longer ones count as this.
const LONGEST: u64 = 60_000_000_000;
/// Decimal digits that are kept of each time.
const DIGITS: u8 = 3;

/// Times of transactions, and their number per second.
#[derive(Clone, Debug)]
pub struct Latencies {
    times: Histogram<u64>,
    /// Transactions that did not come to their end.
    pub failed: u64,
    /// The time in which they were counted.
    pub elapsed: Duration,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self, NetError> {
        let times = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        let times = times.map_err(|error| NetError::Silent(format!("no histogram: {error}")))?;
        Ok(Self { times, failed: 0, elapsed: Duration::ZERO })
    }

    /// Forgets the warm-up.
    pub fn clear(&mut self) {
        self.times.reset();
        self.failed = 0;
    }

    /// A transaction took this long.
    pub fn record(&mut self, time: Duration) {
        self.times.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }

    /// Transactions.
    pub fn count(&self) -> u64 {
        self.times.len()
    }

    /// Transactions per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.count() as f64 / seconds } else { 0.0 }
    }

    /// Share of the transactions that did not come to their end.
    pub fn lost(&self) -> f64 {
        self.failed as f64 / (self.failed + self.count()).max(1) as f64
    }

    /// Adds the transactions of another round.
    pub fn add(&mut self, round: &Self) -> Result<(), NetError> {
        let added = self.times.add(&round.times);
        added.map_err(|error| NetError::Silent(format!("no histogram: {error}")))?;
        self.failed += round.failed;
        self.elapsed += round.elapsed;
        Ok(())
    }

    /// Points of the distribution: microseconds, and the share of the transactions that took no longer. Percents, and the
    /// tail. None without transactions.
    pub fn distribution(&self) -> Vec<[f64; 2]> {
        if self.count() == 0 {
            return Vec::new();
        }
        let percents = (1..100).map(|percent| f64::from(percent) / 100.0);
        let tail = [0.995, 0.999, 0.9995, 0.9999, 1.0];
        percents.chain(tail).map(|share| [self.quantile_us(share), share]).collect()
    }

    /// The time, in microseconds, that this share of the transactions did not exceed.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.times.value_at_quantile(share) as f64 / 1e3
    }
}
