//! The parts of a measurement in time: warm-up, what counts, and a little more from the sender.

use std::time::{Duration, Instant};

use super::cpu::{self, CpuClock};
use super::error::NetError;
use super::message::{Report, Request};

/// The sender goes on for this long, because the receiver's clock starts later than its own.
const SLACK: Duration = Duration::from_millis(100);
/// Nothing goes or comes for this long: the path is broken.
pub const SILENCE: Duration = Duration::from_secs(3);

/// How long a measurement lasts.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// At the start, not counted.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
}

impl Timing {
    /// That of a request.
    pub fn of(request: &Request) -> Self {
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        Self { warm_up: millis(request.warm_up_ms), measured: millis(request.measured_ms) }
    }

    /// When the other end must be done, all delays granted.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.warm_up + self.measured + SLACK + SILENCE
    }
}

/// The time of the end that sends or asks.
pub struct Phases {
    timing: Timing,
    begin: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Slack,
}

/// What has come since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    On,
    /// What is done from here on counts.
    Start,
    /// What is done from here on does not count any longer.
    Stop,
    /// Nothing more is to be done.
    End,
}

impl Phases {
    /// From now.
    pub fn new(timing: Timing) -> Self {
        Self { timing, begin: Instant::now(), phase: Phase::WarmUp }
    }

    /// Looks at the clock. Each of `Start`, `Stop` and `End` comes once, in this order.
    pub fn turn(&mut self) -> Turn {
        let Timing { warm_up, measured } = self.timing;
        let elapsed = self.begin.elapsed();
        let (next, turn) = match self.phase {
            Phase::WarmUp if elapsed >= warm_up => (Phase::Measured, Turn::Start),
            Phase::Measured if elapsed >= warm_up + measured => (Phase::Slack, Turn::Stop),
            Phase::Slack if elapsed >= warm_up + measured + SLACK => (Phase::Slack, Turn::End),
            phase => (phase, Turn::On),
        };
        self.phase = next;
        turn
    }
}

/// Counts what arrives.
pub struct Meter {
    timing: Timing,
    state: State,
    bytes: u64,
    messages: u64,
    total: u64,
}

enum State {
    Waiting,
    WarmUp { until: Instant },
    Measuring { since: Instant, cpu: CpuClock },
    Over { elapsed: Duration, cpus: f64 },
}

impl Meter {
    /// The clock starts with the first message.
    pub fn new(timing: Timing) -> Self {
        Self { timing, state: State::Waiting, bytes: 0, messages: 0, total: 0 }
    }

    /// Counts what has just arrived.
    pub fn add(&mut self, bytes: u64, messages: u64) -> Result<(), NetError> {
        let now = Instant::now();
        self.messages += messages;
        self.total += bytes;
        match self.state {
            State::Waiting => self.state = State::WarmUp { until: now + self.timing.warm_up },
            // The clock is read last and first: what happens in between is not in the measured time.
            State::WarmUp { until } if now >= until => {
                let cpu = clock()?;
                self.state = State::Measuring { since: Instant::now(), cpu };
            }
            State::Measuring { since, cpu } => {
                self.bytes += bytes;
                let elapsed = now - since;
                if elapsed >= self.timing.measured {
                    self.state = State::Over { elapsed, cpus: clock()?.cpus_since(cpu) };
                }
            }
            State::WarmUp { .. } | State::Over { .. } => {}
        }
        Ok(())
    }

    /// Bytes of the whole run.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether the measured time is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over { .. })
    }

    /// The report, when no more arrives. Time in which nothing arrived any longer counts.
    pub fn report(mut self) -> Result<Report, NetError> {
        if let State::Measuring { since, cpu } = self.state {
            let elapsed = since.elapsed().min(self.timing.measured);
            self.state = State::Over { elapsed, cpus: clock()?.cpus_since(cpu) };
        }
        let State::Over { elapsed, cpus } = self.state else {
            return Err(NetError::Silent("no data arrived after the warm-up".to_owned()));
        };
        let machine = cpu::machine().map_err(NetError::broken("no boot identifier"))?;
        let nanos = elapsed.as_nanos() as u64;
        Ok(Report { bytes: self.bytes, nanos, messages: self.messages, cpus, machine })
    }
}

fn clock() -> Result<CpuClock, NetError> {
    CpuClock::now().map_err(NetError::broken("no CPU time"))
}
