//! Programs by `BPF_PROG_TEST_RUN`: a frame in, a verdict and a frame out, no interface involved.

use std::net::IpAddr;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use firewall_core::event::Event;
use vfw::interface::Hook;

use super::{Firewall, network};
use crate::packet::Mac;
use crate::raw_socket::RawSocket;
use crate::scenario::{Backend, Counters, INTERFACES, Outcome, Scenario};

/// The programs of one hook, run by hand.
pub struct TestRun {
    firewall: Firewall,
    hook: Hook,
    ifindexes: Vec<u32>,
    /// VLAN of each zone; at tc a tag that was pushed is beside the bytes and does not come back.
    tags: Vec<Option<u16>>,
    /// The counters after the last frame: reading them takes longer than the frame.
    counted: Option<Counters>,
    _network: Vec<RawSocket>,
}

const XDP_REDIRECT: u32 = 4;
const TC_ACT_REDIRECT: u32 = 7;
/// `struct xdp_md` and `struct __sk_buff` (`include/uapi/linux/bpf.h`): sizes, and where the interface stands.
const XDP_MD: usize = 24;
const SK_BUFF: usize = 192;

impl TestRun {
    /// Loads the programs in a new network namespace, in which the calling thread stays.
    pub fn new(hook: Hook, tables: Option<(usize, usize)>) -> Self {
        let (links, network) = network::build();
        let ifindexes = links.iter().map(|link| link.ifindex).collect();
        let mut firewall = Firewall::load(links, tables);
        firewall.set_devices();
        if hook == Hook::Xdp {
            // A test run names the interface by a receive queue that XDP knows, which takes an attached program.
            for (interface, link) in INTERFACES.iter().zip(&firewall.links.clone()) {
                firewall.kernel.attach(interface.name, link.ifindex, hook).expect("attaches");
            }
        }
        let tags = vec![Some(10), Some(20), None, Some(100), Some(200), None, None];
        Self { firewall, hook, ifindexes, tags, counted: None, _network: network }
    }

    /// Puts the policy of a scenario in force.
    pub fn begin(&mut self, scenario: &Scenario) {
        self.firewall.begin(scenario);
        self.counted = None;
    }

    /// Whether a test run takes this frame: at tc the kernel wants a byte behind the link header, and of IP packets without a
    /// tag in the bytes the whole header (`net/bpf/test_run.c`).
    pub fn takes(&self, frame: &[u8]) -> bool {
        let payload = match (self.hook, frame.get(12..14)) {
            (Hook::Xdp, _) => 0,
            (Hook::Tc, Some([0x08, 0x00])) => 20,
            (Hook::Tc, Some([0x86, 0xdd])) => 40,
            (Hook::Tc, _) => 1,
        };
        frame.len() >= 14 + payload
    }

    /// Takes a frame through the program. What is punted stays in its queue, what is counted is not looked at.
    pub fn play(&mut self, interface: &str, frame: &[u8]) {
        let at = INTERFACES.iter().position(|known| known.name == interface).expect("an interface");
        self.counted = None;
        self.run(self.ifindexes[at], frame);
    }

    /// Empties the queues to the daemon; the number of frames in them.
    pub fn take_punted(&mut self) -> u64 {
        std::iter::from_fn(|| self.firewall.punted()).count() as u64
    }

    fn run(&mut self, ifindex: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let mut context = vec![0; if self.hook == Hook::Xdp { XDP_MD } else { SK_BUFF }];
        match self.hook {
            Hook::Xdp => {
                context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
                context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
            }
            Hook::Tc => context[40..44].copy_from_slice(&ifindex.to_ne_bytes()),
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let ebpf = self.firewall.kernel.ebpf_mut();
        let result = match self.hook {
            Hook::Xdp => {
                let program: &mut Xdp = ebpf.program_mut("vfw_xdp").expect("loaded").try_into().expect("XDP");
                program.test_run(options)
            }
            Hook::Tc => {
                let program: &mut SchedClassifier = ebpf.program_mut("vfw_tc").expect("loaded").try_into().expect("tc");
                program.test_run(options)
            }
        }
        .unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }
}

impl Backend for TestRun {
    fn inject(&mut self, interface: &str, frame: &[u8], stripped_tag: Option<u16>) -> Outcome {
        let at = INTERFACES.iter().position(|known| known.name == interface).expect("an interface");
        let frame = with_tag(frame, stripped_tag);
        let before = self.counted.take().unwrap_or_else(|| self.firewall.counters());
        let (verdict, mut out) = self.run(self.ifindexes[at], &frame);
        let after = self.firewall.counters();
        self.counted = Some(after.clone());
        let punted = self.firewall.punted();
        let redirected = match self.hook {
            Hook::Xdp => verdict == XDP_REDIRECT,
            Hook::Tc => verdict == TC_ACT_REDIRECT,
        };
        let outcome = |firewall: &Firewall, out: Vec<u8>| {
            firewall.outcome(&before, &after, punted.clone(), redirected.then_some(out))
        };
        if let Outcome::Transmit { zone, .. } = outcome(&self.firewall, out.clone())
            && self.hook == Hook::Tc
        {
            out = with_tag(&out, self.tags[usize::from(zone)]);
        }
        match outcome(&self.firewall, out) {
            // Nor is it among the bytes of a punted frame; the daemon adds it.
            Outcome::Punt { task, reason, from, zone, next_hop, frame } if self.hook == Hook::Tc => {
                let tag = if task == firewall_core::PuntTask::Resolve { self.tags[usize::from(zone)] } else { None };
                Outcome::Punt { task, reason, from, zone, next_hop, frame: with_tag(&frame, tag) }
            }
            other => other,
        }
    }

    fn counters(&mut self) -> Counters {
        self.firewall.counters()
    }

    fn counted(&self, frame: &[u8], stripped_tag: Option<u16>) -> u64 {
        with_tag(frame, stripped_tag).len() as u64
    }

    fn keeps_partial_checksums(&self) -> bool {
        self.hook == Hook::Tc
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
}

/// A frame with a tag written into its bytes.
pub(super) fn with_tag(frame: &[u8], tag: Option<u16>) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(tag) = tag
        && frame.len() >= 12
    {
        let [high, low] = tag.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
    }
    frame
}
