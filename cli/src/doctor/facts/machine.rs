//! What the machine is like.

use std::collections::BTreeSet;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::platform::{self, Firmware};
use super::{Ability, ClockSource, Conntrack, Machine, Memlock, probe, time};
use crate::interface::sysfs::{line, names, value};

/// Number of the capability to lock any amount of memory (`linux/capability.h`).
const CAP_IPC_LOCK: u32 = 14;

/// Gathers what is known of the machine, but for whether the kernel takes the programs; see [`probe::try_programs`].
pub fn gather() -> Machine {
    let kernel = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let firmware = Firmware::read();
    let platform = platform::platform(&firmware, platform::hypervisor().as_deref());
    let abilities = probe::abilities();
    Machine {
        version: version(&kernel),
        kernel,
        platform,
        product: firmware.product(),
        container: platform::container(),
        cpus: cpus(),
        isolated: numbers(&line("/sys/devices/system/cpu/isolated").unwrap_or_default()),
        btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or_default(),
        jit: value("/proc/sys/net/core/bpf_jit_enable"),
        jit_harden: value("/proc/sys/net/core/bpf_jit_harden"),
        bpf_stats: value("/proc/sys/kernel/bpf_stats_enabled"),
        programs: Ability::default(),
        tcx: abilities.tcx,
        clsact: abilities.clsact,
        af_xdp: abilities.af_xdp,
        memlock: memlock(),
        governors: governors(),
        irqbalance: is_running("irqbalance"),
        spectre_v2: line("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
        clock: clock(),
        clock_follows: time::clock_follows(),
        conntrack: conntrack(),
        backlog_dropped: backlog(&fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default()),
    }
}

/// The first two numbers of a release: `6.12.10-cloud-amd64`.
fn version(release: &str) -> Option<(u8, u8)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn cpus() -> u32 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// The numbers of a list of CPUs, like `2,4-7`.
fn numbers(list: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn memlock() -> Memlock {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    Memlock {
        limit: soft.and_then(|text| text.parse().ok()),
        exempt: effective.is_some_and(|bits| bits & 1 << CAP_IPC_LOCK != 0),
    }
}

fn governors() -> Vec<String> {
    let folder = "/sys/devices/system/cpu";
    let cpus = names(folder).into_iter().filter(|name| name.starts_with("cpu"));
    let read = cpus.filter_map(|cpu| line(format!("{folder}/{cpu}/cpufreq/scaling_governor")));
    read.collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_running(program: &str) -> bool {
    let processes = names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    processes.filter_map(|id| line(format!("/proc/{id}/comm"))).any(|name| name == program)
}

fn clock() -> Option<ClockSource> {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let available = line(format!("{folder}/available_clocksource")).unwrap_or_default();
    Some(ClockSource {
        current: line(format!("{folder}/current_clocksource"))?,
        available: available.split_whitespace().map(ToOwned::to_owned).collect(),
    })
}

fn conntrack() -> Option<Conntrack> {
    let entries = value("/proc/sys/net/netfilter/nf_conntrack_count")?;
    let module = "/sys/module/nf_conntrack";
    let is_module = fs::exists(format!("{module}/refcnt")).unwrap_or_default();
    Some(Conntrack { entries, is_module, users: names(format!("{module}/holders")) })
}

/// Drops of all CPUs: the second word of each line, in hexadecimal.
fn backlog(text: &str) -> u64 {
    let dropped = text.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    dropped.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(numbers("2,4-7"), [2, 4, 5, 6, 7]);
        assert!(numbers("").is_empty());
    }

    #[test]
    fn releases_and_counters_are_read() {
        assert_eq!(version("6.12.95-cloud-amd64"), Some((6, 12)));
        assert_eq!((version("5.10"), version("")), (Some((5, 10)), None));
        assert_eq!(backlog("0000ffff 0000000a 00000000\n00000001 00000001 00000000\n"), 11);
    }
}
