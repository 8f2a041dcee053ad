//! Programs on real interfaces: frames go in and come out through the hosts' ends of veth pairs.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use firewall_core::event::Event;
use vfw::backend::kernel::{Kernel, KernelError};
use vfw::compile::Link;
use vfw::interface::Hook;

use super::test_run::with_tag;
use super::{Firewall, network};
use crate::packet::Mac;
use crate::raw_socket::RawSocket;
use crate::scenario::{Backend, Counters, INTERFACES, Outcome, Scenario};

/// The programs of one hook, attached.
pub struct Veth {
    firewall: Firewall,
    hook: Hook,
    nics: Vec<RawSocket>,
    tags: Vec<Option<u16>>,
}

/// How long a frame may take. Reached only when something is wrong, or when nothing at all is to happen.
const PATIENCE: Duration = Duration::from_millis(500);
/// After the frame was counted: how long what became of it may take to show.
const SETTLE: Duration = Duration::from_millis(3);

impl Veth {
    /// Loads and attaches the programs in a new network namespace, in which the calling thread stays.
    pub fn new(hook: Hook, tables: Option<(usize, usize)>) -> Self {
        Self::attached(hook, tables, |kernel, link| kernel.attach(&link.name, link.ifindex, hook))
    }

    /// The same for tc, in the way of kernels before 6.6.
    pub fn by_clsact(tables: Option<(usize, usize)>) -> Self {
        Self::attached(Hook::Tc, tables, |kernel, link| kernel.attach_by_clsact(&link.name, link.ifindex))
    }

    fn attached(
        hook: Hook,
        tables: Option<(usize, usize)>,
        attach: impl Fn(&mut Kernel, &Link) -> Result<(), KernelError>,
    ) -> Self {
        let (links, nics) = network::build();
        let mut firewall = Firewall::load(links, tables);
        firewall.set_devices();
        for link in &firewall.links.clone() {
            attach(&mut firewall.kernel, link).expect("attaches");
        }
        let tags = vec![Some(10), Some(20), None, Some(100), Some(200), None, None];
        Self { firewall, hook, nics, tags }
    }

    /// Puts the policy of a scenario in force.
    pub fn begin(&mut self, scenario: &Scenario) {
        self.firewall.begin(scenario);
        for nic in &self.nics {
            while nic.receive().is_some() {}
        }
    }

    /// The firewall, whose programs are attached.
    pub fn firewall(&mut self) -> &mut Firewall {
        &mut self.firewall
    }

    /// The interface and bytes of a frame that left, if one did.
    fn arrived(&self) -> Option<(usize, Vec<u8>)> {
        self.nics.iter().enumerate().find_map(|(at, nic)| nic.receive().map(|frame| (at, frame)))
    }
}

impl Backend for Veth {
    fn inject(&mut self, interface: &str, frame: &[u8], stripped_tag: Option<u16>) -> Outcome {
        let at = INTERFACES.iter().position(|known| known.name == interface).expect("an interface");
        let before = self.firewall.counters();
        self.nics[at].send(&with_tag(frame, stripped_tag)).expect("sends");
        let deadline = Instant::now() + PATIENCE;
        let mut counted_at = None;
        loop {
            let after = self.firewall.counters();
            let (punted, arrived) = (self.firewall.punted(), self.arrived());
            let shows = punted.is_some() || arrived.is_some();
            if counted_at.is_none() && after != before {
                counted_at = Some(Instant::now());
            }
            let settled = counted_at.is_some_and(|at| at.elapsed() > SETTLE);
            if !shows && !settled && Instant::now() < deadline {
                continue;
            }
            let after = self.firewall.counters();
            let through = arrived.as_ref().map(|(at, _)| INTERFACES[*at].name);
            let outcome = self.firewall.outcome(&before, &after, punted, arrived.map(|(_, frame)| frame));
            if let (Outcome::Transmit { zone, .. }, Some(through)) = (&outcome, through) {
                let expected = super::INTERFACE_OF_ZONE[usize::from(*zone)];
                assert_eq!(through, expected, "left through the wrong interface");
            }
            return match outcome {
                // At tc a tag travels beside the bytes; the daemon adds it.
                Outcome::Punt { task, reason, from, zone, next_hop, frame } if self.hook == Hook::Tc => {
                    let frame = with_tag(&frame, self.tags[usize::from(zone)]);
                    Outcome::Punt { task, reason, from, zone, next_hop, frame }
                }
                other => other,
            };
        }
    }

    fn counters(&mut self) -> Counters {
        self.firewall.counters()
    }

    fn advance(&mut self, nanos: u64) {
        self.firewall.advance(nanos);
    }

    fn learn(&mut self, zone: u16, address: IpAddr, mac: Mac) {
        self.firewall.learn(zone, address, mac);
    }

    fn replace(&mut self, policy: &str) {
        self.firewall.replace(policy);
    }

    fn take_drops(&mut self) -> Vec<Event> {
        self.firewall.take_drops()
    }

    fn forget(&mut self, zone: u16, address: IpAddr) {
        self.firewall.forget(zone, address);
    }

    fn counted(&self, frame: &[u8], stripped_tag: Option<u16>) -> u64 {
        let among_the_bytes = with_tag(frame, stripped_tag).len() as u64;
        // The kernel takes the outer tag out of the bytes before tc sees them.
        let is_tagged = stripped_tag.is_some() || matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        if self.hook == Hook::Tc && is_tagged { among_the_bytes - 4 } else { among_the_bytes }
    }

    fn keeps_partial_checksums(&self) -> bool {
        self.hook == Hook::Tc
    }
}
