//! A short soak: packets do not notice that the daemon is killed and started again. `make soak` is the long one.

use nix::sys::signal::Signal;
use vfw_tests::network::KernelObjects;
use vfw_tests::soak::{Load, Outcome, Stream, apply_others, kill_and_start, network, soak};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
/// Little: other tests run beside it.
const LOAD: Load = Load { numbered: 200, generated: 2_000, transfer: 50 };
/// How often the daemon is killed.
const KILLS: u32 = 3;
/// Numbered streams of datagrams that a rule allows: both families, both ways.
const STREAMS: u32 = 4;

/// Most datagrams of the streams that may be missing, because a queue of a link was emptied.
const QUEUED: u64 = 20;

/// What the queues of the links lose, they count: veth stops and empties one when programs for XDP come or go. The transfer, which
/// is a hundred times the streams, may lose more there; of the streams that is a handful, and nothing else may be missing.
fn vfw_loses_nothing(hook: &str, outcome: &Outcome) {
    assert!(outcome.allowed.lost() <= outcome.queues.min(QUEUED), "{hook}: {outcome:#?}");
}

#[test]
fn packets_do_not_notice_restarts() {
    for hook in ["xdp", "tc", "afxdp"] {
        let Some(network) = network(PROGRAM) else { return };
        let settings = format!("mode = \"{hook}\"");
        let restart = |firewall| kill_and_start(&network, firewall, &settings);
        let outcome = soak(&network, &settings, LOAD, KILLS, restart);
        // What the engine has in its rings when it is killed goes with it, until the kernel has closed its sockets.
        let most = if hook == "afxdp" { STREAMS * LOAD.numbered * KILLS / 20 } else { 0 };
        assert!(outcome.allowed.lost() <= u64::from(most), "{hook}: {outcome:#?}");
        assert_eq!((outcome.allowed.repeated, outcome.denied.received), (0, 0), "{hook}: {outcome:#?}");
        assert!(outcome.allowed.sent > 1_000 && outcome.denied.sent > 100, "{hook}: {outcome:#?}");
        assert!(outcome.transfer.megabits.0 > 0.0, "{hook}: {outcome:#?}");
        assert_eq!(outcome.memory.0.objects, outcome.memory.1.objects, "{hook}: {outcome:#?}");
        assert_eq!(outcome.left_over, KernelObjects::default(), "{hook}");
    }
}

/// From every hook to every other one: the daemon is told to end, and the next one begins with another mode.
#[test]
fn packets_do_not_notice_another_mode() {
    let Some(network) = network(PROGRAM) else { return };
    let mode = |hook: &str| format!("mode = \"{hook}\"");
    let mut ways = ["xdp", "afxdp", "tc", "afxdp", "xdp", "tc", "xdp"].into_iter();
    let first = mode(ways.next().expect("a hook"));
    let outcome = soak(&network, &first, LOAD, 6, |firewall| {
        firewall.stop(Signal::SIGTERM);
        network.firewall(&mode(ways.next().expect("a hook")))
    });
    vfw_loses_nothing("from one to the other", &outcome);
    assert_eq!((outcome.allowed.repeated, outcome.denied.received), (0, 0), "{outcome:#?}");
    assert!(outcome.transfer.megabits.1 > 0.0, "the connection goes on: {outcome:#?}");
    assert_eq!(outcome.left_over, KernelObjects::default());
}

#[test]
fn packets_do_not_notice_reloads() {
    for hook in ["xdp", "tc", "afxdp"] {
        let Some(network) = network(PROGRAM) else { return };
        let mut round = 0;
        let outcome = soak(&network, &format!("mode = \"{hook}\""), LOAD, 20, |firewall| {
            round += 1;
            apply_others(&network, firewall, round)
        });
        vfw_loses_nothing(hook, &outcome);
        assert_eq!((outcome.allowed.repeated, outcome.denied.received), (0, 0), "{hook}: {outcome:#?}");
        assert!(outcome.allowed.sent > 1_000 && outcome.denied.sent > 100, "{hook}: {outcome:#?}");
        assert_eq!(outcome.left_over, KernelObjects::default(), "{hook}");
    }
}

/// Not by a start, nor by the way from one hook to the other: each flow here is forbidden, and the kernel would forward.
#[test]
fn nothing_opens_the_firewall_for_a_moment() {
    let Some(network) = network(PROGRAM) else { return };
    network.set("fw", "ipv4/ip_forward", "1");
    let mut before = None;
    let mut streams = Vec::new();
    for hook in ["tc", "xdp", "tc", "tc", "xdp"] {
        let firewall = network.firewall(&format!("mode = \"{hook}\""));
        if before.is_none() {
            before = Some(network.received_by_kernel());
            streams = [("app", "db"), ("db", "app")]
                .map(|(from, to)| Stream::one_way(&network, from, to, 8000, 2_000))
                .into();
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        firewall.stop(Signal::SIGKILL);
    }
    for tally in streams.into_iter().map(Stream::stop) {
        assert!(tally.sent > 1_000 && tally.received == 0, "{tally:?}");
    }
    assert_eq!(Some(network.received_by_kernel()), before);
}
