//! How much of the daemon's work one zone may cause: token buckets, one for each zone and kind of [`Work`].
//!
//! A bucket fills with a steady rate up to its burst; what finds it empty is refused. It holds time instead of tokens (the
//! generic cell rate algorithm, ITU-T I.371 annex A, in its leaky bucket form): one word of state, no division.

use crate::shared::Shared;
use crate::tables::{Tables, plain};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What the data path asks of the daemon.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Work {
    /// Frames whose neighbour is not known.
    Resolve = 0,
    /// ICMP errors.
    Report = 1,
    /// Lines for logged rules.
    Log = 2,
    /// What neighbours say of themselves.
    Neighbour = 3,
    /// Dropped packets, for the list of the recent ones.
    Drop = 4,
    /// Answers, to flows that the zone began, whose neighbour there is not known. A bucket of their own: whoever makes up
    /// senders makes others answer to hosts that do not exist.
    Answer = 5,
}

/// Number of kinds of [`Work`]; a power of two, which bounds an index by a mask.
pub const WORKS: usize = 8;
const _: () = assert!(WORKS.is_power_of_two());

plain! {
    /// How fast a bucket fills, and what it holds.
    pub struct Rate {
        /// Nanoseconds in which one token is earned.
        pub interval: u64,
        /// Nanoseconds in which an empty bucket gets full.
        pub depth: u64,
    }
}

impl Rate {
    /// Refuses everything.
    pub const NONE: Self = Self { interval: 1, depth: 0 };

    /// `per_second` tokens a second, of which at most `burst` gather.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let Some(interval) = SECOND.checked_div(per_second as u64) else { return Self::NONE };
        Self { interval, depth: interval * burst as u64 }
    }
}

/// Room that a frame for the daemon takes in its queue, bytes: an ordinary frame, and a jumbo frame or GSO super-packet.
pub const SMALL_FRAME: u32 = 2_048;
/// See [`SMALL_FRAME`].
pub const LARGE_FRAME: u32 = 66_048;

/// Tokens of [`Work::Resolve`] that a frame of `length` bytes costs: one for each [`SMALL_FRAME`] of room that it takes.
#[inline(always)]
pub const fn resolve_tokens(length: u32) -> u32 {
    // Not a comparison: the verifier would tell long frames from short ones for the rest of the program.
    let is_large = SMALL_FRAME.wrapping_sub(length) >> 31;
    1 + is_large * (LARGE_FRAME.div_ceil(SMALL_FRAME) - 1)
}

/// The state of a bucket: the time at which it was empty, given what it holds now; 0 for a bucket that nobody has taken from.
///
/// Packets on several CPUs share it without a lock: when two of them take at one moment, one token may count for both.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Bucket(Shared<i64>);

/// The buckets of one zone, by [`Work`].
pub type Buckets = [Bucket; WORKS];

impl Bucket {
    /// Makes it full.
    pub fn fill(&self) {
        self.0.set(0);
    }

    /// As if `nanos` had passed: for tests whose clock stands still.
    pub fn pass(&self, nanos: u64) {
        if self.0.get() != 0 {
            self.0.set(self.0.get().wrapping_sub(nanos.cast_signed()));
        }
    }

    /// Takes `tokens` at `now` (nanoseconds), all or none; whether they were there.
    #[inline(always)]
    pub fn take(&self, rate: &Rate, tokens: u32, now: u64) -> bool {
        let (now, depth) = (now.cast_signed(), rate.depth.cast_signed());
        let empty_at = self.0.get();
        let earned = if empty_at == 0 { depth } else { now.wrapping_sub(empty_at).min(depth) };
        let price = rate.interval.wrapping_mul(u64::from(tokens)).cast_signed();
        // Another CPU may have read the clock later, so that less than nothing seems to be earned.
        if earned < price {
            return false;
        }
        let empty_at = now.wrapping_sub(earned).wrapping_add(price);
        self.0.set(if empty_at == 0 { -1 } else { empty_at });
        true
    }
}

/// Whether packets from `zone` may cause this work at `now` (nanoseconds), at the price of `tokens`.
#[inline(always)]
pub fn admits<T: Tables>(tables: &T, zone: u16, work: Work, tokens: u32, now: u64) -> bool {
    let (Some(settings), Some(bucket)) = (tables.settings(), tables.bucket(zone, work)) else { return false };
    bucket.take(&settings.rates[work as usize & (WORKS - 1)], tokens, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000 * SECOND;

    fn taken(bucket: &Bucket, rate: &Rate, tries: u32, now: u64) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(rate, 1, now))).sum()
    }

    #[test]
    fn a_new_bucket_holds_its_burst_whatever_the_time() {
        let rate = Rate::new(1, 5);
        for now in [0, 1, SECOND, START] {
            assert_eq!(taken(&Bucket::default(), &rate, 10, now), 5, "{now}");
        }
    }

    #[test]
    fn it_fills_with_its_rate_up_to_its_burst() {
        let (bucket, rate) = (Bucket::default(), Rate::new(100, 50));
        assert_eq!(taken(&bucket, &rate, 200, START), 50);
        assert_eq!(taken(&bucket, &rate, 200, START + 9_999_999), 0);
        assert_eq!(taken(&bucket, &rate, 200, START + 10_000_000), 1);
        assert_eq!(taken(&bucket, &rate, 200, START + SECOND / 5), 19);
        assert_eq!(taken(&bucket, &rate, 200, START + 60 * SECOND), 50);
    }

    #[test]
    fn over_time_it_gives_no_more_than_its_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(100, 50));
        // 10,000 tries a second for ten seconds, by a clock that ticks every 4 ms.
        let tries = (0..100_000_u64).map(|number| START + number / 40 * 4_000_000);
        let taken = tries.filter(|now| bucket.take(&rate, 1, *now)).count();
        assert!((1_040..=1_050).contains(&taken), "{taken}");
    }

    #[test]
    fn many_tokens_are_taken_together_or_not_at_all() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 40));
        assert!(bucket.take(&rate, 33, START));
        assert!(!bucket.take(&rate, 33, START));
        assert_eq!(taken(&bucket, &rate, 10, START), 7);
        assert!(!bucket.take(&Rate::new(10, 20), 33, START + 3_600 * SECOND), "more than it ever holds");
    }

    #[test]
    fn a_clock_that_is_a_tick_behind_earns_nothing() {
        let (bucket, rate) = (Bucket::default(), Rate::new(100, 5));
        assert_eq!(taken(&bucket, &rate, 10, START), 5);
        assert_eq!(taken(&bucket, &rate, 10, START - 4_000_000), 0);
    }

    #[test]
    fn a_frame_pays_for_the_room_it_takes() {
        assert_eq!([60, 2_048, 2_049, 65_000].map(resolve_tokens), [1, 1, 33, 33]);
    }

    #[test]
    fn no_rate_refuses_everything() {
        assert_eq!(taken(&Bucket::default(), &Rate::NONE, 10, START), 0);
        assert_eq!(Rate::new(0, 5), Rate::NONE);
    }
}
