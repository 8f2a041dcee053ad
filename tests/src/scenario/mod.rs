//! Scenarios: what must become of which frames, as data, for every back end.
//!
//! A scenario says the rules, the neighbours, the frames and what is expected of each. [`run`] asserts the verdict, the
//! exact bytes, and after every frame *all* counters. Time passes only by [`Step::Advance`].

mod dropped;
mod ip;
mod limit;
mod link;
mod neighbour;
mod reload;
mod state;
mod tcp;
mod topology;
mod transport;

use std::collections::BTreeMap;
use std::net::IpAddr;

use firewall_core::event::Event;
use firewall_core::limit::{Rate, WORKS};
use firewall_core::tables::NO_ZONE;
use firewall_core::{DropReason, PuntTask};

pub use topology::{APP, BLUE, DB, Family, GUEST, Host, INTERFACES, Interface, LAB, RED, SMALL, ZONES, zone_id};

use crate::packet::{Ethernet, Mac, routed};

/// One story: rules, then frames.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique, like `tcp/v4/close`.
    pub name: String,
    /// The whole rule file: [`ZONES`] and the rules; empty for no policy at all.
    pub policy: String,
    /// Neighbours that are known: zone, address, MAC.
    pub neighbours: Vec<(u16, IpAddr, Mac)>,
    /// Sizes of the half-open and the established table; `None` for any that are large enough.
    pub tables: Option<(usize, usize)>,
    /// How much a zone may ask of the daemon, by [`firewall_core::limit::Work`]; `None` for the defaults.
    pub rates: Option<[Rate; WORKS]>,
    /// Frames come with their transport checksum left to hardware.
    pub partial_checksums: bool,
    /// Needs a clock that tests can move: kernel back ends have to set short timeouts instead, or leave it out.
    pub needs_clock: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A frame arrives.
    Inject(Injection),
    /// Nanoseconds pass.
    Advance(u64),
    /// A neighbour becomes known, or changes its MAC.
    Learn(u16, IpAddr, Mac),
    /// A neighbour is forgotten.
    Forget(u16, IpAddr),
    /// Another policy takes the place of the one in force, flows stay: a whole rule file like [`Scenario::policy`].
    Replace(String),
}

impl Step {
    /// Lets it happen, whatever comes of it; what becomes of a frame is the answer.
    pub fn play(&self, backend: &mut dyn Backend) -> Option<Outcome> {
        match self {
            Self::Inject(injection) => {
                return Some(backend.inject(injection.interface, &injection.frame, injection.stripped_tag));
            }
            Self::Advance(nanos) => backend.advance(*nanos),
            Self::Learn(zone, address, mac) => backend.learn(*zone, *address, *mac),
            Self::Forget(zone, address) => backend.forget(*zone, *address),
            Self::Replace(policy) => backend.replace(policy),
        }
        None
    }
}

/// A frame that arrives, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The interface, one of [`INTERFACES`].
    pub interface: &'static str,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Tag control information that a NIC took out of the bytes.
    pub stripped_tag: Option<u16>,
    /// The zone that it is counted for; [`NO_ZONE`] when none is found.
    pub from: u16,
    /// What becomes of it.
    pub expect: Outcome,
    /// The rule that is counted for it, if any.
    pub rule: Option<u32>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It left, or an answer of vfw did.
    Transmit {
        /// Through this zone.
        zone: u16,
        /// An answer of vfw itself.
        reply: bool,
        /// Its bytes, with any tag in them.
        frame: Vec<u8>,
    },
    /// It was dropped.
    Drop(DropReason),
    /// It was for vfw, or of no interest to a router.
    Consume,
    /// The daemon got it.
    Punt {
        /// What the daemon is to do.
        task: PuntTask,
        /// The reason, for [`PuntTask::Report`].
        reason: DropReason,
        /// Ingress zone.
        from: u16,
        /// Egress zone ([`PuntTask::Resolve`]) or ingress zone ([`PuntTask::Report`]).
        zone: u16,
        /// The neighbour to resolve.
        next_hop: Option<IpAddr>,
        /// The bytes handed over, with any tag in them.
        frame: Vec<u8>,
    },
}

/// Packets and bytes.
pub type Count = (u64, u64);

/// Everything that a back end counted; what is zero may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By rule; the default comes last.
    pub rules: BTreeMap<u32, Count>,
    /// By zone, into vfw.
    pub zones_in: BTreeMap<u16, Count>,
    /// By zone, out of vfw.
    pub zones_out: BTreeMap<u16, Count>,
    /// By zone ([`NO_ZONE`] for none) and reason.
    pub drops: BTreeMap<(u16, DropReason), Count>,
}

impl Counters {
    /// Leaves out what is zero.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        self.rules.retain(|_, count| *count != (0, 0));
        self.zones_in.retain(|_, count| *count != (0, 0));
        self.zones_out.retain(|_, count| *count != (0, 0));
        self.drops.retain(|_, count| *count != (0, 0));
        self
    }

    /// Counts what an injection must change.
    fn expect(&mut self, injection: &Injection, bytes: u64) {
        let add = |count: &mut Count| *count = (count.0 + 1, count.1 + bytes);
        let Injection { from, expect, rule, .. } = injection;
        if *from != NO_ZONE {
            add(self.zones_in.entry(*from).or_default());
        }
        if let Some(rule) = rule {
            add(self.rules.entry(*rule).or_default());
        }
        match expect {
            Outcome::Transmit { reply: true, .. } | Outcome::Consume => {}
            Outcome::Transmit { zone, .. } | Outcome::Punt { task: PuntTask::Resolve, zone, .. } => {
                add(self.zones_out.entry(*zone).or_default());
            }
            Outcome::Drop(reason) | Outcome::Punt { reason, .. } => {
                add(self.drops.entry((*from, *reason)).or_default());
            }
        }
    }
}

/// A back end with the policy of one scenario.
pub trait Backend {
    /// Takes a frame to its verdict.
    fn inject(&mut self, interface: &str, frame: &[u8], stripped_tag: Option<u16>) -> Outcome;
    /// Everything counted since the policy was loaded.
    fn counters(&mut self) -> Counters;
    /// Lets time pass.
    fn advance(&mut self, nanos: u64);
    /// Makes a neighbour known.
    fn learn(&mut self, zone: u16, address: IpAddr, mac: Mac);
    /// Puts another policy in force; flows stay.
    fn replace(&mut self, policy: &str);
    /// Forgets a neighbour.
    fn forget(&mut self, zone: u16, address: IpAddr);
    /// What the data path has told of drops since it was asked last.
    fn take_drops(&mut self) -> Vec<Event>;
    /// Bytes that the pipeline counts for a frame: a tag counts where it is among the bytes.
    fn counted(&self, frame: &[u8], stripped_tag: Option<u16>) -> u64 {
        let _ = stripped_tag;
        frame.len() as u64
    }
    /// Whether frames keep the state "checksum left to hardware" on their way, so that it stays unfinished.
    fn keeps_partial_checksums(&self) -> bool {
        false
    }
}

/// Plays a scenario on a back end that holds its policy and neighbours. The error tells the step and what differs.
pub fn run(scenario: &Scenario, backend: &mut dyn Backend) -> Result<(), String> {
    let mut expected = Counters::default();
    for (number, step) in scenario.steps.iter().enumerate() {
        let played = step.play(backend);
        let (Step::Inject(injection), Some(got)) = (step, played) else { continue };
        let at = format!("{}, step {number}", scenario.name);
        let mut expect = expected_of(scenario, injection, backend);
        accept_quote(&mut expect, &got);
        if got != expect {
            return Err(format!("{at}:\nexpected {}\ngot      {}", show(&expect), show(&got)));
        }
        let bytes = backend.counted(&injection.frame, injection.stripped_tag);
        let told = backend.take_drops();
        // A scenario with rates of its own may have none left for the list of drops.
        if scenario.rates.is_none() {
            dropped::check(injection, bytes, &told).map_err(|error| format!("{at}: {error}\ntold {told:?}"))?;
        }
        expected.expect(injection, bytes);
        let counted = backend.counters().without_zeros();
        if counted != expected {
            return Err(format!("{at}: counters\nexpected {expected:?}\ngot      {counted:?}"));
        }
    }
    Ok(())
}

/// What is expected of this back end: where a partial checksum stays as it is, the transport bytes leave as they came.
fn expected_of(scenario: &Scenario, injection: &Injection, backend: &dyn Backend) -> Outcome {
    let mut expect = injection.expect.clone();
    if scenario.partial_checksums
        && backend.keeps_partial_checksums()
        && let Outcome::Transmit { frame, .. } = &mut expect
    {
        let transport = crate::packet::transport_length(&injection.frame);
        let (at, from) = (frame.len() - transport, injection.frame.len() - transport);
        frame[at..].copy_from_slice(&injection.frame[from..]);
    }
    expect
}

/// Bytes of a frame that a kernel program hands over at the least for an ICMP error.
const QUOTE: usize = 1_280;

/// For an ICMP error the beginning of a long frame is enough.
fn accept_quote(expect: &mut Outcome, got: &Outcome) {
    if let (Outcome::Punt { task: PuntTask::Report, frame, .. }, Outcome::Punt { frame: quoted, .. }) = (expect, got)
        && quoted.len() >= QUOTE
    {
        frame.truncate(quoted.len());
    }
}

fn show(outcome: &Outcome) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    match outcome {
        Outcome::Transmit { zone, reply, frame } => format!("Transmit zone {zone} reply {reply} {}", hex(frame)),
        Outcome::Drop(reason) => format!("Drop {reason:?}"),
        Outcome::Consume => "Consume".to_owned(),
        Outcome::Punt { task, reason, from, zone, next_hop, frame } => {
            format!("Punt {task:?} {reason:?} from {from} zone {zone} next hop {next_hop:?} {}", hex(frame))
        }
    }
}

/// Every scenario. Names are unique.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        transport::scenarios(family, &mut all);
        tcp::scenarios(family, &mut all);
        ip::scenarios(family, &mut all);
        state::scenarios(family, &mut all);
        reload::scenarios(family, &mut all);
        limit::scenarios(family, &mut all);
    }
    ip::of_ipv4(&mut all);
    ip::of_ipv6(&mut all);
    link::scenarios(&mut all);
    neighbour::scenarios(&mut all);
    all
}

impl Scenario {
    /// A scenario with these rules behind [`ZONES`], in which one host of each zone is known.
    pub(crate) fn new(name: impl Into<String>, rules: &str) -> Self {
        let hosts = [APP, DB, LAB, RED, BLUE, GUEST, SMALL];
        let neighbours = hosts.iter().flat_map(|host| {
            [Family::V4, Family::V6]
                .map(|family| (host.zone(), host.address(family).parse().expect("address of a host"), host.mac))
        });
        Self {
            name: name.into(),
            policy: format!("{ZONES}{rules}"),
            neighbours: neighbours.collect(),
            tables: None,
            rates: None,
            partial_checksums: false,
            needs_clock: false,
            steps: Vec::new(),
        }
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// These rules behind [`ZONES`] come into force.
    pub(crate) fn replace(self, rules: &str) -> Self {
        self.step(Step::Replace(format!("{ZONES}{rules}")))
    }

    fn inject(self, from: &Host, frame: Vec<u8>, expect: Outcome, rule: Option<u32>) -> Self {
        let zone = from.zone();
        self.step(Step::Inject(Injection {
            interface: from.interface,
            frame,
            stripped_tag: None,
            from: zone,
            expect,
            rule,
        }))
    }

    /// The frame reaches the host, and this rule is counted.
    pub(crate) fn pass(self, from: &Host, to: &Host, frame: &[u8], rule: u32) -> Self {
        let expect = Outcome::Transmit { zone: to.zone(), reply: false, frame: routed(frame, &to.from_gateway()) };
        self.inject(from, frame.to_vec(), expect, Some(rule))
    }

    /// The frame is dropped, no rule is counted.
    pub(crate) fn drop(self, from: &Host, frame: &[u8], reason: DropReason) -> Self {
        self.inject(from, frame.to_vec(), Outcome::Drop(reason), None)
    }

    /// The frame is dropped by this rule.
    pub(crate) fn deny(self, from: &Host, frame: &[u8], rule: u32) -> Self {
        self.inject(from, frame.to_vec(), Outcome::Drop(DropReason::Policy), Some(rule))
    }

    /// The frame is dropped, and the daemon is to tell its sender.
    pub(crate) fn report(self, from: &Host, frame: &[u8], reason: DropReason) -> Self {
        let (zone, frame) = (from.zone(), frame.to_vec());
        let task = PuntTask::Report;
        let punt = Outcome::Punt { task, reason, from: zone, zone, next_hop: None, frame: frame.clone() };
        self.inject(from, frame, punt, None)
    }

    /// The frame waits for a neighbour that is not known yet.
    pub(crate) fn resolve(self, from: &Host, to: &Host, next_hop: &str, frame: &[u8], rule: u32) -> Self {
        let expect = Outcome::Punt {
            task: PuntTask::Resolve,
            reason: DropReason::Unreachable,
            from: from.zone(),
            zone: to.zone(),
            next_hop: Some(next_hop.parse().expect("next hop")),
            frame: routed(frame, &to.from_gateway().to([0; 6])),
        };
        self.inject(from, frame.to_vec(), expect, Some(rule))
    }

    /// The frame ends in vfw, without an answer.
    pub(crate) fn consume(self, from: &Host, frame: &[u8]) -> Self {
        self.inject(from, frame.to_vec(), Outcome::Consume, None)
    }

    /// vfw itself answers with these bytes.
    pub(crate) fn answer(self, from: &Host, frame: &[u8], answer: Vec<u8>) -> Self {
        let expect = Outcome::Transmit { zone: from.zone(), reply: true, frame: answer };
        self.inject(from, frame.to_vec(), expect, None)
    }

    /// A frame that finds no zone.
    pub(crate) fn lost(self, interface: &'static str, frame: &[u8], reason: DropReason) -> Self {
        let frame = frame.to_vec();
        let expect = Outcome::Drop(reason);
        self.step(Step::Inject(Injection { interface, frame, stripped_tag: None, from: NO_ZONE, expect, rule: None }))
    }

    /// The last frame comes with its tag beside the bytes.
    pub(crate) fn stripped(mut self, tag: u16) -> Self {
        if let Some(Step::Inject(injection)) = self.steps.last_mut() {
            injection.stripped_tag = Some(tag);
        }
        self
    }

    pub(crate) fn add_to(self, all: &mut Vec<Self>) {
        all.push(self);
    }
}

/// A frame's link layer as a host of `zone` sees it: from the gateway.
fn from_gateway(host: &Host) -> Ethernet {
    let link = Ethernet::new(host.gateway, host.mac);
    if host.vlan == 0 { link } else { link.vlan(host.vlan) }
}
