//! What the daemon's threads share, and the answers that they give from it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firewall_core::DropReason;
use firewall_core::event::Topic;
use firewall_core::tables::{Direction as Way, NO_ZONE};

use super::call::Caller;
use super::drops::Drops;
use super::end::End;
use super::flow::FlowReader;
use super::neighbours::Neighbours;
use super::port::Port;
use super::setup::Setup;
use crate::backend::kernel::KernelError;
use crate::clock;
use crate::config::Config;
use crate::control::{
    Answer, CounterView, DropView, DropsView, FlowView, InterfaceView, LostEventsView, NeighbourView, Question,
    Request, RuleView, ZoneView,
};
use crate::explain::{ExplainError, Explainer, FirstPacket};
use crate::lang::Policy;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Most flows in one answer.
const MAX_FLOWS: usize = 100_000;

/// Events of a zone that the daemon never saw.
#[derive(Clone, Copy, Debug)]
pub struct LostEvents {
    /// The zone whose packets they told of.
    pub zone: u16,
    /// What they were about.
    pub topic: Topic,
    /// How many.
    pub events: u64,
}

/// Shared by all threads. Locks are held for one step only, never while waiting.
pub struct Shared {
    /// How the daemon is told to end.
    pub end: End,
    /// Policy, programs, tables, interfaces.
    pub setup: Mutex<Setup>,
    /// Neighbours.
    pub neighbours: Mutex<Neighbours>,
    /// The settings.
    pub config: Config,
    /// The way to the loop.
    pub caller: Caller,
    /// Held while a policy is on its way into force.
    pub applying: Mutex<()>,
    /// Drops by the daemon itself, and the recent ones.
    pub drops: Mutex<Drops>,
}

/// A lock whose holder cannot leave half-done work behind: nothing panics while it is held.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.setup).policy)
    }

    /// A zone's name.
    pub fn zone_name(&self, zone: u16) -> String {
        self.policy().zone_name(zone)
    }

    /// The zone's gateway address to use towards `neighbour`: in its subnet if there is one.
    pub fn gateway(&self, zone: u16, neighbour: IpAddr) -> Option<IpAddr> {
        let policy = self.policy();
        let zone = policy.zone(zone)?;
        let same_family = || zone.addresses.iter().filter(|address| address.is_ipv4() == neighbour.is_ipv4());
        same_family()
            .find(|address| address.contains(neighbour))
            .or_else(|| same_family().next())
            .map(ipnetwork::IpNetwork::ip)
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Answer {
        match request {
            Request::Show(question) => self.show(*question),
            Request::Explain(packet) => self.explain(packet),
            Request::Apply(new) => self.apply(new),
            Request::Stop => {
                self.end.order().map_or_else(|error| Answer::Error(error.to_string()), |()| Answer::Stopping)
            }
        }
    }

    /// What the tables in force do with a packet.
    fn explain(&self, packet: &str) -> Answer {
        let (policy, image) = {
            let setup = lock(&self.setup);
            (Arc::clone(&setup.policy), setup.image.clone())
        };
        let packet = match FirstPacket::parse(&policy, packet) {
            Ok(packet) => packet,
            Err(error) => return Answer::BadQuestion(error.to_string()),
        };
        match Explainer::new(&policy, &image).explain(&packet) {
            Ok(explanation) => Answer::Explanation(Box::new(explanation)),
            Err(ExplainError::Packet) => Answer::BadQuestion(ExplainError::Packet.to_string()),
            Err(error) => Answer::Error(error.to_string()),
        }
    }

    fn show(&self, question: Question) -> Answer {
        let answer = match question {
            Question::Zones => self.zones().map(Answer::Zones),
            Question::Rules => self.rules().map(Answer::Rules),
            Question::Flows => self.flows().map(Answer::Flows),
            Question::Drops => self.dropped().map(Answer::Drops),
            Question::Interfaces => Ok(Answer::Interfaces(self.interfaces())),
            Question::Neighbours => Ok(Answer::Neighbours(self.neighbours())),
        };
        answer.unwrap_or_else(|error| Answer::Error(error.to_string()))
    }

    fn zones(&self) -> Result<Vec<ZoneView>, KernelError> {
        let setup = lock(&self.setup);
        let zones = setup.policy.zones.iter();
        zones
            .filter_map(|zone| Some((zone, setup.zone(zone.id)?)))
            .map(|(zone, record)| {
                let count = |way| {
                    let counter = setup.kernel.zone_counter(zone.id, way)?;
                    Ok(CounterView { packets: counter.packets, bytes: counter.bytes })
                };
                Ok(ZoneView {
                    zone: zone.name.clone(),
                    interface: zone.interface.clone(),
                    vlan: zone.vlan,
                    addresses: zone.addresses.iter().map(ToString::to_string).collect(),
                    mac: mac(record.mac),
                    mtu: record.mtu,
                    received: count(Way::In)?,
                    sent: count(Way::Out)?,
                })
            })
            .collect()
    }

    fn rules(&self) -> Result<Vec<RuleView>, KernelError> {
        let setup = lock(&self.setup);
        let now = clock::now();
        let names = setup.image.rule_names.iter().enumerate();
        names
            .map(|(rule, name)| {
                let counter = setup.rule_counter(rule as u32)?;
                Ok(RuleView {
                    place: name.place.clone(),
                    rule: name.text.clone(),
                    counter: CounterView { packets: counter.packets, bytes: counter.bytes },
                    last_hit_seconds: (counter.packets > 0).then(|| now.saturating_sub(counter.last_hit) / SECOND),
                })
            })
            .collect()
    }

    fn flows(&self) -> Result<Vec<FlowView>, KernelError> {
        let (flows, reader) = {
            let setup = lock(&self.setup);
            (setup.kernel.flows()?, FlowReader::new(&setup))
        };
        Ok(flows.live(reader.now).take(MAX_FLOWS).filter_map(|live| reader.view(&live)).collect())
    }

    fn dropped(&self) -> Result<DropsView, KernelError> {
        let (counters, unlisted) = self.drop_counters()?;
        let (recent, now) = (lock(&self.drops).recent(), clock::now());
        Ok(DropsView { counters, recent: recent.iter().map(|seen| seen.view(now)).collect(), unlisted })
    }

    /// The drops of all zones, and how many of them nothing more is known of.
    fn drop_counters(&self) -> Result<(Vec<DropView>, u64), KernelError> {
        let (mut found, mut unlisted) = (Vec::new(), 0);
        let setup = lock(&self.setup);
        let zones = setup.policy.zones.iter().map(|zone| zone.id).chain([NO_ZONE]);
        for zone in zones {
            let mut all = 0;
            for reason in DropReason::ALL {
                let counted = setup.kernel.drop_counter(zone, *reason)?;
                let by_daemon = lock(&self.drops).counter(zone, *reason);
                let counter = CounterView {
                    packets: counted.packets + by_daemon.packets,
                    bytes: counted.bytes + by_daemon.bytes,
                };
                all += counter.packets;
                if counter.packets > 0 {
                    found.push(DropView {
                        zone: (zone != NO_ZONE).then(|| setup.policy.zone_name(zone)),
                        reason: reason.name().to_owned(),
                        meaning: reason.describe().trim().to_owned(),
                        counter,
                    });
                }
            }
            unlisted += all.saturating_sub(lock(&self.drops).heard(zone));
        }
        Ok((found, unlisted))
    }

    /// Events that were lost: zone, topic, how many.
    pub fn lost_events(&self) -> Vec<LostEvents> {
        let setup = lock(&self.setup);
        let all = (0..setup.image.zones.len() as u16).flat_map(|zone| Topic::ALL.map(|topic| (zone, topic)));
        all.filter_map(|(zone, topic)| {
            let events = setup.kernel.lost_events(zone, topic).ok()?;
            (events > 0).then_some(LostEvents { zone, topic, events })
        })
        .collect()
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        let lost = self.lost_events();
        let setup = lock(&self.setup);
        setup.ports.iter().map(|port| interface(&setup, port, &lost)).collect()
    }

    fn neighbours(&self) -> Vec<NeighbourView> {
        let rows = lock(&self.neighbours).rows();
        rows.into_iter()
            .map(|row| NeighbourView {
                zone: self.zone_name(row.zone),
                address: row.address.to_string(),
                mac: row.mac.map(mac),
                state: row.state.name().to_owned(),
                queued: row.queued,
            })
            .collect()
    }
}

fn interface(setup: &Setup, port: &Port, lost: &[LostEvents]) -> InterfaceView {
    let policy = &setup.policy;
    let on_it = policy.zones.iter().filter(|zone| zone.interface == port.name);
    let attached = port.attached.as_ref();
    let mut warnings: Vec<String> = port.warning().into_iter().collect();
    warnings.extend(attached.iter().flat_map(|attached| attached.choice.warnings.clone()));
    let engine =
        attached.filter(|attached| attached.choice.engine.is_some()).map(|attached| setup.engine.view(attached));
    let mut reasons = attached.map(|attached| attached.choice.reasons.clone()).unwrap_or_default();
    if let Some(engine) = &engine {
        reasons.extend(engine.reasons.clone());
        warnings.extend(engine.warnings.clone());
    }
    InterfaceView {
        interface: port.name.clone(),
        state: port.status().to_string(),
        driver: attached.map(|attached| attached.interface.driver.clone()),
        hook: attached.map(|attached| attached.choice.name()),
        mtu: attached.map(|attached| attached.interface.mtu),
        mac: attached.map(|attached| mac(attached.interface.mac)),
        zones: on_it.map(|zone| zone.name.clone()).collect(),
        frames: engine.and_then(|engine| engine.frames),
        reasons,
        warnings,
        lost_events: lost_on(policy, &port.name, lost),
    }
}

/// The lost events of an interface's zones.
fn lost_on(policy: &Policy, interface: &str, lost: &[LostEvents]) -> Vec<LostEventsView> {
    let here = lost.iter().filter_map(|lost| {
        let zone = policy.zone(lost.zone).filter(|zone| zone.interface == interface)?;
        Some((zone, lost))
    });
    here.map(|(zone, lost)| LostEventsView {
        zone: zone.name.clone(),
        topic: lost.topic.name().to_owned(),
        events: lost.events,
    })
    .collect()
}

/// A MAC as people write it.
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
