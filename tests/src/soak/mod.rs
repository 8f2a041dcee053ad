//! Traffic that must not notice what happens to the firewall: an action is repeated under it, and every packet is accounted for.
//!
//! Streams of numbered datagrams run both ways, in IPv4 and IPv6; streams that no rule allows must never arrive; a TCP
//! transfer (iperf3) runs beside them. A generator of datagrams from ever new ports loads the programs, on links of its own: the
//! queue of a virtual link overflows by itself at its rate, which nobody could tell from what vfw loses.

mod generator;
mod iperf;
mod memory;
mod queues;
mod sequence;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::network::{Firewall, KernelObjects, Network, Shape, until};
use generator::Generator;
use iperf::Iperf;
pub use iperf::Transfer;
pub use memory::Memory;
pub use sequence::{Stream, Tally};

/// The rules that the traffic runs through.
pub const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
zone generator { interface eth3  address 10.0.30.1/24 }
zone sink      { interface eth4  address 10.0.40.1/24 }
default drop
allow app -> db  service udp 9000-9999, tcp 5201, ping
allow generator -> sink  service udp 9001, ping
";

/// Port of the numbered datagrams, of the generator's, and one that no rule allows.
const NUMBERED: u16 = 9000;
const GENERATED: u16 = 9001;
const DENIED: u16 = 8000;

/// Pause after each action, in which traffic runs undisturbed.
const PAUSE: Duration = Duration::from_millis(200);

/// How much traffic.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Numbered datagrams of each stream, per second.
    pub numbered: u32,
    /// Datagrams of the generator per second; 0: as many as it can.
    pub generated: u32,
    /// Megabits per second of the transfer.
    pub transfer: u32,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Actions.
    pub rounds: u32,
    /// Time that each of them took.
    pub actions: Vec<Duration>,
    /// All of it.
    pub elapsed: Duration,
    /// Numbered datagrams that a rule allows.
    pub allowed: Tally,
    /// How many of those that were lost were sent within a second around the end of an action.
    pub lost_nearby: u64,
    /// Frames of all kinds that queues of links lost, in which vfw has no part.
    pub queues: u64,
    /// Datagrams that none does.
    pub denied: Tally,
    /// Datagrams of the generator, and those of them that came to their host.
    pub generated: (u64, u64),
    /// The transfer.
    pub transfer: Transfer,
    /// The daemon after the first action, and after the last.
    pub memory: (Memory, Memory),
    /// Objects in the kernel that belonged to daemons before the last.
    pub left_over: KernelObjects,
    /// Drops that vfw counted, but for the policy's.
    pub drops: Vec<String>,
}

/// A network for a soak; nothing without root.
pub fn network(program: &str) -> Option<Network> {
    Shape::new(program, RULES).up()
}

/// Repeats `action` under traffic.
pub fn soak<'n>(
    network: &'n Network,
    settings: &str,
    load: Load,
    rounds: u32,
    mut action: impl FnMut(Firewall<'n>) -> Firewall<'n>,
) -> Outcome {
    let mut firewall = network.firewall(settings);
    meet(network, &firewall);
    let began = Instant::now();
    let queues = queues::dropped(network);
    let allowed = [false, true].map(|v6| Stream::both_ways(network, v6, NUMBERED, load.numbered));
    let denied = [("app", "db"), ("db", "app")].map(|(from, to)| Stream::one_way(network, from, to, DENIED, 200));
    let arrived = queues::received(network, "sink");
    let generator = Generator::start(network, GENERATED, load.generated);
    let transfer = Iperf::start(network, load.transfer);
    std::thread::sleep(PAUSE);
    let (mut actions, mut ends) = (Vec::new(), Vec::new());
    let mut seen = vec![KernelObjects::of(firewall.pid())];
    let mut first = None;
    for _ in 0..rounds {
        let acted = Instant::now();
        firewall = action(firewall);
        actions.push(acted.elapsed());
        ends.push(began.elapsed().as_millis() as u64);
        std::thread::sleep(PAUSE);
        first = first.or_else(|| Some(Memory::of(firewall.pid())));
        seen.push(KernelObjects::of(firewall.pid()));
    }
    let generated = (generator.stop(), queues::received(network, "sink") - arrived);
    let transfer = transfer.stop();
    let allowed: Tally = allowed.into_iter().flatten().map(Stream::stop).sum();
    let is_near = |at: &&u64| ends.iter().any(|end| at.abs_diff(*end) < 1_000);
    let denied = denied.into_iter().map(Stream::stop).sum();
    let last = Memory::of(firewall.pid());
    Outcome {
        rounds,
        actions,
        elapsed: began.elapsed(),
        lost_nearby: allowed.missing_at.iter().filter(is_near).count() as u64,
        queues: queues::dropped(network) - queues,
        allowed,
        denied,
        generated,
        transfer,
        memory: (first.unwrap_or_else(|| last.clone()), last),
        left_over: left_over(&seen),
        drops: firewall.drop_reasons(&["policy"]),
    }
}

/// Ends the daemon as nothing else would, and starts it again.
pub fn kill_and_start<'n>(network: &'n Network, firewall: Firewall<'n>, settings: &str) -> Firewall<'n> {
    firewall.stop(Signal::SIGKILL);
    network.firewall(settings)
}

/// Puts other rules in force that mean the same for the traffic; each `round` has other ones than the round before.
pub fn apply_others<'n>(network: &'n Network, firewall: Firewall<'n>, round: u32) -> Firewall<'n> {
    let other =
        format!("drop app -> db  service tcp {}\nallow db -> app  service tcp {}\n", round + 10_000, round + 10_000);
    let rules =
        if round.is_multiple_of(2) { RULES.replace("default drop\n", &other) } else { RULES.to_owned() + &other };
    std::fs::write(network.folder().join("other.fw"), rules).expect("the rule file");
    let socket = network.socket();
    let output = network.vfw_run(&["apply", "other.fw", "--socket", socket.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    firewall
}

/// Makes the hosts and the gateways known to each other.
fn meet(network: &Network, firewall: &Firewall) {
    for (from, to, v6) in [("app", "db", false), ("app", "db", true), ("generator", "sink", false)] {
        let to = network.address(to, v6).to_string();
        network.must(from, &["ping", "-n", "-c", "1", "-W", "5", &to]);
    }
    until("all neighbours are known", || {
        let rows = firewall.show("neighbours");
        let known = rows.as_array().expect("a list").iter().filter(|row| row["mac"].is_string());
        (known.count() >= 6).then_some(())
    });
}

/// What exists of the objects of all daemons but the last.
fn left_over(seen: &[KernelObjects]) -> KernelObjects {
    let Some((last, before)) = seen.split_last() else { return KernelObjects::default() };
    let gone = || {
        let mut left = KernelObjects::default();
        for objects in before {
            let existing = objects.existing();
            left.programs.extend(existing.programs.difference(&last.programs));
            left.links.extend(existing.links.difference(&last.links));
            left.maps.extend(existing.maps.difference(&last.maps));
        }
        left
    };
    // The kernel frees them when the last reader has finished.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = gone();
        if left == KernelObjects::default() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
