//! How many instructions the verifier follows for each program. It gives up at a million; what grows towards that loads
//! slower and breaks on another kernel first.

use std::fs;
use std::path::Path;

use vfw::backend::kernel::{Kernel, table_bytes};
use vfw::config::Config;
use vfw_tests::memory::image;
use vfw_tests::scenario::ZONES;

#[test]
fn every_program_stays_within_its_budget() {
    let config = Config::default();
    let kernel = Kernel::load(&image(&format!("{ZONES}default drop\n"), &config), &config).expect("loads");
    let programs = kernel.programs().expect("information");
    assert_eq!(programs.len(), 9);
    let mut over = Vec::new();
    for program in programs {
        let budget = match program.name {
            "vfw_xdp_neighbour" | "vfw_tc_neighbour" | "vfw_xdp_engine" => 80_000,
            // Where rules are asked, the walk over their table is most of it, once for each family.
            _ => 360_000,
        };
        let followed = program.verified_instructions;
        // `cargo test --test budget -- --nocapture` shows what is left.
        println!("{:<18} {followed:>7} of {budget}", program.name);
        over.extend((!(1..=budget).contains(&followed)).then_some(program.name));
    }
    assert!(over.is_empty(), "above their budgets: {over:?}");
}

/// Bytes that the kernel counts for the maps that this process has open; rule tables are only held by the one that holds them.
fn bytes_of_maps() -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let is_map = |path: &Path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("bpf-map"));
    let maps = open.filter(|entry| is_map(&entry.path()));
    maps.filter_map(|entry| {
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).ok()?;
        info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<usize>().ok())
    })
    .sum()
}

#[test]
fn the_memory_that_is_announced_is_what_the_kernel_takes() {
    // In a process of its own: other tests of this file have maps open, too.
    if std::env::var_os("VFW_ALONE").is_none() {
        let test = std::env::current_exe().expect("this test");
        let name = "the_memory_that_is_announced_is_what_the_kernel_takes";
        let ended = std::process::Command::new(test).args(["--exact", name]).env("VFW_ALONE", "1").status();
        assert!(ended.expect("runs").success());
        return;
    }
    let config = Config::default();
    let image = image(&format!("{ZONES}default drop\n"), &config);
    let announced: usize =
        table_bytes(&image, &config).iter().filter(|(table, _)| *table != "rules").map(|(_, bytes)| bytes).sum();
    let _kernel = Kernel::load(&image, &config).expect("loads");
    let taken = bytes_of_maps();
    println!("announced {announced}, taken {taken}");
    assert!((taken * 9 / 10..=taken * 11 / 10).contains(&announced), "announced {announced}, taken {taken}");
}
