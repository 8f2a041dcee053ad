//! What is compared: each way under each condition, measured once a round in an order that is new each time.

use anyhow::{Result, anyhow};

use super::awake::Awake;
use super::latency::Latencies;
use super::way::Way;
use super::{NetError, StreamFigures, Timing};
use crate::bench::report::{Condition, Cpus, Document, Family, Figure, Protocol, Row};
use crate::bench::rounds::Rounds;

/// What is measured of each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream of messages.
    Stream(Protocol, u32),
    /// Transactions.
    Exchange(Protocol, u32),
    /// Connections.
    Connections,
}

/// A run.
pub struct Plan {
    /// The ways.
    pub ways: Vec<Way>,
    /// Protocol of the network, where it is told.
    pub family: Option<Family>,
    /// What is measured of each.
    pub kinds: Vec<Kind>,
    /// With what CPUs do in the meantime; nothing where that is not told.
    pub cpus: Vec<Option<Cpus>>,
    /// For how long each time.
    pub timing: Timing,
    /// How often.
    pub rounds: u32,
}

/// One way under one condition.
struct Subject<'a> {
    way: &'a Way,
    kind: Kind,
    cpus: Option<Cpus>,
    samples: Samples,
    /// Why there are no more samples.
    failure: Option<anyhow::Error>,
}

/// What the rounds gave.
enum Samples {
    Streams(Vec<StreamFigures>),
    /// The figures of each round, and the transactions of all rounds together: those of each would take much memory.
    Latencies(Vec<LatencyFigures>, Latencies),
}

/// The figures of a round of transactions or connections.
struct LatencyFigures {
    rate: f64,
    /// Microseconds, of [`QUANTILES`].
    quantiles: [f64; 4],
    lost: f64,
}

/// The latencies that are told, and the shares of transactions that do not exceed them.
const QUANTILES: [(Figure, f64); 4] =
    [(Figure::P50Us, 0.5), (Figure::P90Us, 0.9), (Figure::P99Us, 0.99), (Figure::P999Us, 0.999)];

/// Measures everything and adds the rows to `document`. What cannot be measured is left out with a note that says why; it is an
/// error when nothing is left, or when it would be the same everywhere.
pub fn measure(plan: &Plan, document: &mut Document) -> Result<()> {
    let conditions = plan.kinds.iter().flat_map(|kind| plan.cpus.iter().map(move |cpus| (*kind, *cpus)));
    let all = conditions.flat_map(|(kind, cpus)| plan.ways.iter().map(move |way| Subject::new(way, kind, cpus)));
    let mut subjects = all.collect::<Result<Vec<_>>>()?;
    let mut rounds = Rounds::new(plan.rounds, subjects.len() as u64 * u64::from(plan.rounds))?;
    rounds.each(&mut subjects, Subject::title, |subject, _| subject.measure(plan.timing))?;
    drop(rounds);
    let mut failure = None;
    for subject in subjects {
        let title = subject.title();
        match subject.finish(plan.family) {
            Ok(row) => document.results.push(row),
            Err(error) => {
                document.note([format!("{title}: not measured: {error:#}")]);
                failure.get_or_insert(error);
            }
        }
    }
    failure.filter(|_| document.results.is_empty()).map_or(Ok(()), Err)
}

impl<'a> Subject<'a> {
    fn new(way: &'a Way, kind: Kind, cpus: Option<Cpus>) -> Result<Self> {
        let samples = match kind {
            Kind::Stream(..) => Samples::Streams(Vec::new()),
            Kind::Exchange(..) | Kind::Connections => Samples::Latencies(Vec::new(), Latencies::new()?),
        };
        Ok(Self { way, kind, cpus, samples, failure: None })
    }

    fn title(&self) -> String {
        let way = self.way.name();
        match self.kind {
            Kind::Stream(protocol, size) | Kind::Exchange(protocol, size) => {
                format!("{way}, {} {size} bytes", protocol.title())
            }
            Kind::Connections => format!("{way}, connections"),
        }
    }

    /// One measurement. A way on which nothing comes through is not tried again; other errors end the run.
    fn measure(&mut self, timing: Timing) -> Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        match self.once(timing) {
            Err(error) if error.downcast_ref::<NetError>().is_some_and(NetError::is_of_the_path) => {
                self.failure = Some(error);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn once(&mut self, timing: Timing) -> Result<()> {
        let _awake = (self.cpus == Some(Cpus::Awake)).then(Awake::keep).transpose()?;
        let latencies = match self.kind {
            Kind::Stream(protocol, size) => {
                let found = self.way.stream(protocol, size, timing)?;
                if let Samples::Streams(rounds) = &mut self.samples {
                    rounds.push(found);
                }
                return Ok(());
            }
            Kind::Exchange(protocol, size) => self.way.exchange(protocol, size, timing)?,
            Kind::Connections => self.way.connections(timing)?,
        };
        if let Samples::Latencies(rounds, all) = &mut self.samples {
            all.add(&latencies)?;
            rounds.push(LatencyFigures {
                rate: latencies.rate(),
                quantiles: QUANTILES.map(|(_, share)| latencies.quantile_us(share)),
                lost: latencies.lost(),
            });
        }
        Ok(())
    }

    fn finish(self, family: Option<Family>) -> Result<Row> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let (protocol, size) = match self.kind {
            Kind::Stream(protocol, size) | Kind::Exchange(protocol, size) => (protocol, Some(size)),
            Kind::Connections => (Protocol::Tcp, None),
        };
        let path = self.way.name().to_owned();
        let (protocol, cpus) = (Some(protocol), self.cpus);
        let condition = Condition { path, family, protocol, size, cpus, ..Condition::default() };
        match self.samples {
            Samples::Streams(rounds) => Ok(stream_row(condition, &rounds)),
            Samples::Latencies(rounds, all) => latency_row(condition, &rounds, &all, self.kind),
        }
    }
}

fn stream_row(condition: Condition, all: &[StreamFigures]) -> Row {
    let each = |figure: fn(&StreamFigures) -> Option<f64>| all.iter().filter_map(figure).collect::<Vec<f64>>();
    Row::new(
        condition,
        [
            (Figure::Mbps, each(|found| Some(found.mbps))),
            (Figure::CpuSPerGbit, each(|found| found.cpu_s_per_gbit)),
            (Figure::Retransmits, each(|found| found.retransmits.map(|count| count as f64))),
            (Figure::Loss, each(|found| found.loss)),
        ],
    )
}

fn latency_row(condition: Condition, rounds: &[LatencyFigures], all: &Latencies, kind: Kind) -> Result<Row> {
    let each = |figure: &dyn Fn(&LatencyFigures) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let rate = if kind == Kind::Connections { Figure::Connections } else { Figure::Transactions };
    let mut samples = vec![(rate, each(&|round| round.rate))];
    for (place, (figure, _)) in QUANTILES.into_iter().enumerate() {
        samples.push((figure, each(&|round| round.quantiles[place])));
    }
    // Over TCP, a transaction that is not answered ends the measurement.
    if kind == Kind::Connections || condition.protocol == Some(Protocol::Udp) {
        samples.push((Figure::Loss, each(&|round| round.lost)));
    }
    let mut row = Row::new(condition, samples);
    row.cdf_us = all.distribution();
    if row.cdf_us.is_empty() {
        return Err(anyhow!("no transaction came to its end"));
    }
    Ok(row)
}
