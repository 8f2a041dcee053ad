//! Where a report was made.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

/// Machine, kernel and time of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// CPUs that are there.
    pub cpus: usize,
    /// The CPU that measurements of single packets stayed on.
    pub cpu: usize,
    /// Kernel release.
    pub kernel: String,
    /// Mitigations that make indirect calls and returns dear.
    pub mitigations: Vec<String>,
    /// Others' load at the start, one minute average.
    pub load: f64,
    /// Day of the run, UTC.
    pub date: String,
    /// The command line.
    pub command: String,
}

impl Machine {
    /// This one.
    pub fn inspect(cpu: usize, command: String) -> Result<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo")?;
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            cpu,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            mitigations: ["spectre_v2", "spec_rstack_overflow", "retbleed"]
                .into_iter()
                .filter_map(mitigation)
                .collect(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400),
            command,
        })
    }

    /// The head of the report.
    pub fn text(&self, title: &str) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{title}, {}", self.date);
        let _ = writeln!(text, "{}, {} CPUs, Linux {}, load {:.1}", self.processor, self.cpus, self.kernel, self.load);
        for line in &self.mitigations {
            let _ = writeln!(text, "{}", line.chars().take(80).collect::<String>());
        }
        text
    }
}

fn mitigation(name: &str) -> Option<String> {
    let state = std::fs::read_to_string(format!("/sys/devices/system/cpu/vulnerabilities/{name}")).ok()?;
    let first = state.trim().split(';').next()?.to_owned();
    first.strip_prefix("Mitigation: ").map(|what| format!("{name}: {what}"))
}

/// The Gregorian date of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> String {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_454), "2026-01-01");
    }
}
