//! How many instructions the verifier follows for each program. It gives up at a million; what grows towards that loads
//! slower and breaks on another kernel first.

use vfw::backend::kernel::Kernel;
use vfw::config::Config;
use vfw_tests::memory::image;
use vfw_tests::scenario::ZONES;

#[test]
fn every_program_stays_within_its_budget() {
    let config = Config::default();
    let kernel = Kernel::load(&image(&format!("{ZONES}default drop\n"), &config), &config).expect("loads");
    let programs = kernel.programs().expect("information");
    assert_eq!(programs.len(), 8);
    for program in programs {
        let budget = match program.name {
            "vfw_xdp" | "vfw_tc" => 500_000,
            // The walk over the rule table is most of it, once for each family.
            "vfw_xdp_first" | "vfw_tc_first" | "vfw_xdp_stale" | "vfw_tc_stale" => 400_000,
            _ => 60_000,
        };
        let followed = program.verified_instructions;
        // `cargo test --test budget -- --nocapture` shows what is left.
        println!("{:<18} {followed:>7} of {budget}", program.name);
        assert!((1..=budget).contains(&followed), "{}: {followed} instructions, the budget is {budget}", program.name);
    }
}
