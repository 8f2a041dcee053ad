//! A short soak: packets do not notice that the daemon is killed and started again. `make soak` is the long one.

use vfw_tests::soak::{Load, kill_and_start, network, soak};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
/// Little: other tests run beside it.
const LOAD: Load = Load { numbered: 200, generated: 2_000, transfer: 50 };

#[test]
fn packets_do_not_notice_restarts() {
    for hook in ["xdp", "tc"] {
        let Some(network) = network(PROGRAM) else { return };
        let settings = format!("mode = \"{hook}\"");
        let restart = |firewall| kill_and_start(&network, firewall, &settings);
        let outcome = soak(&network, &settings, LOAD, 3, restart);
        assert_eq!(outcome.allowed.lost(), 0, "{hook}: {outcome:#?}");
        assert_eq!((outcome.allowed.repeated, outcome.denied.received), (0, 0), "{hook}: {outcome:#?}");
        assert!(outcome.allowed.sent > 1_000 && outcome.denied.sent > 100, "{hook}: {outcome:#?}");
        assert!(outcome.transfer.megabits.0 > 0.0, "{hook}: {outcome:#?}");
        assert_eq!(outcome.memory.0.objects, outcome.memory.1.objects, "{hook}: {outcome:#?}");
        assert_eq!(outcome.left_over, vfw_tests::network::KernelObjects::default(), "{hook}");
    }
}
