use super::*;
use crate::doctor::change::Applied;
use crate::doctor::facts::Machine;

fn report(machine: Machine, fixes: Vec<Outcome>) -> Report {
    Report::new(Facts { machine, ..Facts::default() }, fixes)
}

#[test]
fn exit_codes_follow_the_worst_that_is_left() {
    let good = || Machine { version: Some((6, 12)), jit: Some(1), ..Machine::default() };
    assert_eq!(report(good(), Vec::new()).exit(), Exit::Success);
    assert_eq!(report(Machine { jit: Some(2), ..good() }, Vec::new()).exit(), Exit::Found);
    let failed = Outcome::Failed { command: "true".to_owned(), error: "no".to_owned() };
    assert_eq!(report(good(), vec![failed]).exit(), Exit::Refused);
}

#[test]
fn commands_are_never_broken_and_the_rest_fits_80_columns() {
    let made = Outcome::Made(Applied {
        command: "sysctl -w net.core.bpf_jit_enable=1".to_owned(),
        was: "2".to_owned(),
        undo: "sysctl -w net.core.bpf_jit_enable=2".to_owned(),
    });
    let machine = Machine {
        version: Some((5, 10)),
        jit: Some(2),
        governors: vec!["powersave".to_owned()],
        irqbalance: true,
        clock_follows: Some(false),
        ..Machine::default()
    };
    let text = text::report(&report(machine, vec![made]), true);
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(text.contains("here     cpupower frequency-set -g performance\n"), "{text}");
    assert!(text.contains("changed    sysctl -w net.core.bpf_jit_enable=1\n           was 2; undo: sysctl"), "{text}");
}
