//! CPU time of the whole machine, from `/proc/stat`.
//!
//! Not `getrusage`: much of what a stream costs is done in softirqs, in the kernel's threads and, in a lab, by the firewall,
//! none of which is charged to the two ends. What else the machine does in the meantime is in it too.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

/// Columns of the line `cpu` that are work: user, nice, system, irq, softirq. The others are idle, iowait, steal, and guest
/// time, which user time contains.
const WORK: [usize; 5] = [0, 1, 2, 5, 6];

/// A moment, and the CPU time used until then.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock {
    at: Instant,
    busy: Duration,
}

impl CpuClock {
    /// Now.
    pub fn now() -> io::Result<Self> {
        let ticks = work(&fs::read_to_string("/proc/stat")?);
        let ticks = ticks.ok_or_else(|| io::Error::other("/proc/stat has another form"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(100);
        Ok(Self { at: Instant::now(), busy: Duration::from_secs(ticks) / per_second.max(1) })
    }

    /// CPUs that were busy since, on average.
    pub fn cpus_since(self, earlier: Self) -> f64 {
        let elapsed = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let busy = self.busy.saturating_sub(earlier.busy).as_secs_f64();
        if elapsed > 0.0 { busy / elapsed } else { 0.0 }
    }
}

fn work(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let columns: Vec<u64> = line.split_whitespace().map_while(|column| column.parse().ok()).collect();
    WORK.iter().map(|column| columns.get(*column)).sum()
}

/// The boot identifier: the same for two ends on one machine, whatever their namespaces.
pub fn machine() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_what_is_not_idle_or_stolen() {
        assert_eq!(work("cpu  1 20 300 4000 50000 600000 7000000 80000000 1 0\ncpu0 1 1 1"), Some(7_600_321));
        assert_eq!(work("cpu  1 20 300 4000"), None);
        assert_eq!(work("intr 5"), None);
    }

    #[test]
    fn a_busy_thread_shows() {
        let start = CpuClock::now().expect("/proc/stat");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        assert!(CpuClock::now().expect("/proc/stat").cpus_since(start) > 0.3);
        assert!(!machine().expect("a boot identifier").is_empty());
    }
}
