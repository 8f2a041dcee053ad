//! `make soak`: replaces the rules of vfw, and kills and restarts it, many times under traffic on each hook, and writes what
//! became of the packets.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use vfw_tests::soak::{Load, Memory, Outcome, apply_others, kill_and_start, network, soak};

const USAGE: &str = "soak [--rounds N] [--reloads N] [--report FILE]: beside it, vfw-under-test";
/// What the receiving sockets and queues of this kind of network take without loss of their own, and as much as a core can
/// generate beside it.
const LOAD: Load = Load { numbered: 1_000, generated: 500_000, transfer: 300 };

fn main() -> ExitCode {
    let (mut rounds, mut reloads) = (100, 1_000);
    let mut report = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--rounds", Some(number)) if number.parse::<u32>().is_ok() => rounds = number.parse().unwrap_or(rounds),
            ("--reloads", Some(number)) if number.parse::<u32>().is_ok() => reloads = number.parse().unwrap_or(reloads),
            ("--report", Some(file)) => report = Some(PathBuf::from(file)),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    let program = std::env::current_exe().map(|path| path.with_file_name("vfw-under-test")).unwrap_or_default();
    let mut text = head();
    let mut is_good = true;
    for hook in ["xdp", "tc"] {
        let Some(network) = network(&program.to_string_lossy()) else { return ExitCode::FAILURE };
        let settings = format!("mode = \"{hook}\"");
        // What the network loses by itself on this machine.
        let idle = soak(&network, &settings, LOAD, rounds / 5, |firewall| {
            std::thread::sleep(Duration::from_secs(1));
            firewall
        });
        describe(&mut text, &format!("{hook}, nothing but traffic"), &idle);
        let mut number = 0;
        let reloaded = soak(&network, &settings, LOAD, reloads, |firewall| {
            number += 1;
            apply_others(&network, firewall, number)
        });
        describe(&mut text, &format!("{hook}, `vfw apply` of other rules"), &reloaded);
        let restarted =
            soak(&network, &settings, LOAD, rounds, |firewall| kill_and_start(&network, firewall, &settings));
        describe(&mut text, &format!("{hook}, `kill -9` and start"), &restarted);
        // What queues lose is the machine's; a firewall that lost packets would lose them when programs are exchanged.
        is_good &= [reloaded, restarted]
            .iter()
            .all(|outcome| outcome.allowed.lost() <= outcome.queues && outcome.denied.received == 0);
    }
    print!("{text}");
    if let Some(file) = report
        && let Err(error) = std::fs::write(&file, text)
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn head() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "# Reloads and restarts under traffic\n\nWritten by `make soak`: `vfw apply` of other rules, then `kill -9` and `vfw run` again, while numbered UDP datagrams run both ways in \
         IPv4 and IPv6 ({} a second each way), iperf3 ({} Mb/s), datagrams that no rule allows, and on links of its own a generator of datagrams from ever new ports (at most {} a \
         second). Linux {}, {cpus} CPUs.\n",
        LOAD.numbered,
        LOAD.transfer,
        LOAD.generated,
        kernel.trim()
    )
}

fn describe(text: &mut String, hook: &str, outcome: &Outcome) {
    let Outcome { rounds, actions, elapsed, allowed, denied, generated, transfer, memory, drops, .. } = outcome;
    let left_over = &outcome.left_over;
    let mean = actions.iter().sum::<Duration>() / actions.len().max(1) as u32;
    let most = actions.iter().max().copied().unwrap_or_default();
    let left = left_over.programs.len() + left_over.links.len() + left_over.maps.len();
    let lines = [
        ("rounds", format!("{rounds} in {:.0} s", elapsed.as_secs_f64())),
        ("from its begin to its end", format!("{mean:.0?} (most {most:.0?})")),
        ("allowed datagrams sent", allowed.sent.to_string()),
        ("of them lost", allowed.lost().to_string()),
        ("of those, sent within a second around a take-over", outcome.lost_nearby.to_string()),
        ("frames of all kinds that the links' queues lost", outcome.queues.to_string()),
        ("of them repeated, late", format!("{}, {}", allowed.repeated, allowed.late)),
        ("forbidden datagrams sent", denied.sent.to_string()),
        ("of them received", denied.received.to_string()),
        ("generated datagrams, a second of them", rate(generated.0, *elapsed)),
        ("of them received (queues lose the rest)", generated.1.to_string()),
        (
            "iperf3, Mb/s: mean, least second",
            format!(
                "{:.0}, {:.0}; {} segments sent again",
                transfer.megabits.0, transfer.megabits.1, transfer.retransmitted
            ),
        ),
        ("daemon and its tables after the first round", describe_memory(&memory.0)),
        ("after the last", describe_memory(&memory.1)),
        ("kernel objects of earlier daemons left", left.to_string()),
        ("drops that vfw counted, but for the policy's", drops.join(", ")),
    ];
    let _ = writeln!(text, "\n## {hook}\n\n| | |\n|---|---|");
    for (name, value) in lines {
        let _ = writeln!(text, "| {name} | {value} |");
    }
}

fn rate(number: u64, elapsed: Duration) -> String {
    format!("{number}, {}", u128::from(number) * 1_000 / elapsed.as_millis().max(1))
}

fn describe_memory(memory: &Memory) -> String {
    let Memory { resident, objects: (programs, links, maps), maps: kilobytes } = memory;
    format!("{resident} KB resident; {programs} programs, {links} links, {maps} maps ({kilobytes} KB open)")
}
