//! The queues to the daemon: bounded, apart from each other, and every frame counted once, also one that finds no room.

use firewall_core::limit::{Rate, WORKS};
use firewall_core::{DropReason, PuntTask};
use vfw::interface::Hook;
use vfw_tests::kernel::TestRun;
use vfw_tests::packet::routed;
use vfw_tests::scenario::{APP, Backend, Count, DB, Family, LAB, Outcome, Scenario, ZONES, scenarios};

/// More than the queues hold.
const REPORTS: u64 = 700;
const UNRESOLVED: u64 = 2_500;
/// No limit that a test reaches.
const MANY: [Rate; WORKS] = [Rate::new(1_000_000, 65_536); WORKS];

/// A back end without neighbours, whose zones may ask for everything.
fn begin(hook: Hook) -> TestRun {
    let mut backend = TestRun::new(hook, None);
    backend.begin(&Scenario {
        policy: format!("{ZONES}allow any -> any\n"),
        neighbours: Vec::new(),
        rates: Some(MANY),
        ..scenarios().swap_remove(0)
    });
    backend
}

fn drops(backend: &mut TestRun) -> Vec<(u16, DropReason, u64)> {
    backend
        .counters()
        .drops
        .into_iter()
        .map(|((zone, reason), (packets, _)): (_, Count)| (zone, reason, packets))
        .collect()
}

fn full_queues(hook: Hook) {
    let mut backend = begin(hook);
    let packet = APP.to(&DB, Family::V4);
    let expired = packet.clone().ttl(1).udp(1, 2, b"expired");
    for _ in 0..REPORTS {
        backend.play("eth1", &expired);
    }
    let waits = LAB.to(&DB, Family::V4).udp(1, 2, b"waits");
    let resolve = Outcome::Punt {
        task: PuntTask::Resolve,
        reason: DropReason::Unreachable,
        from: LAB.zone(),
        zone: DB.zone(),
        next_hop: Some(DB.address(Family::V4).parse().expect("an address")),
        frame: routed(&waits, &DB.from_gateway().to([0; 6])),
    };
    assert_eq!(backend.inject("eth3", &waits, None), resolve, "reports leave the other queue its room");
    assert_eq!(drops(&mut backend), [(APP.zone(), DropReason::TtlExceeded, REPORTS)], "counted once, queued or not");
    let queued = backend.take_punted();
    assert!((100..REPORTS).contains(&queued), "{queued} reports");

    let unresolved = packet.udp(1, 2, b"waits");
    for _ in 0..UNRESOLVED {
        backend.play("eth1", &unresolved);
    }
    let queued = backend.take_punted();
    assert!((1_000..UNRESOLVED).contains(&queued), "{queued} frames");
    assert_eq!(
        drops(&mut backend),
        [(APP.zone(), DropReason::TtlExceeded, REPORTS), (APP.zone(), DropReason::QueueFull, UNRESOLVED - queued)],
        "each is queued or counted"
    );
}

#[test]
fn xdp() {
    full_queues(Hook::Xdp);
}

#[test]
fn tc() {
    full_queues(Hook::Tc);
}
