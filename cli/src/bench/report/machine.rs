//! Where a report was made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::interface::Interface;

/// Hardware, kernel and programs that a measurement depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Mitigations that make indirect calls and returns dear.
    pub mitigations: Vec<String>,
    /// Load of the last minute before the start.
    pub load: f64,
    /// The CPU that measurements of single packets stayed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<usize>,
    /// Offloads that are on, by interface.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offloads: BTreeMap<String, Vec<String>>,
    /// Versions of other programs that took part, by program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one. What the system does not tell stays empty.
    pub fn inspect() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (cpu, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kibibytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        Self {
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kibibytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            mitigations: MITIGATIONS.into_iter().filter_map(mitigation).collect(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            ..Self::default()
        }
    }

    /// Notes the offloads of an interface under a name that says whose it is.
    pub fn note_offloads(&mut self, name: &str, interface: &Interface) {
        let features = &interface.features;
        let all = [
            ("tx-checksum", features.tx_checksum),
            ("tso", features.tso),
            ("gso", features.gso),
            ("gro", features.gro),
            ("lro", features.lro),
            ("rx-vlan", features.rx_vlan_offload),
            ("tx-vlan", features.tx_vlan_offload),
        ];
        let on = all.into_iter().filter(|(_, state)| state.is_on()).map(|(name, _)| name.to_owned());
        self.offloads.insert(name.to_owned(), on.collect());
    }

    /// Notes the first line of what `PROGRAM --version` says; nothing when it cannot be run.
    pub fn note_version(&mut self, program: &str) {
        let Ok(output) = Command::new(program).arg("--version").output() else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = said.lines().next() {
            self.versions.insert(program.to_owned(), line.trim().to_owned());
        }
    }

    /// The head of a report, at most 80 columns wide.
    pub fn text(&self) -> String {
        let mut text =
            format!("{}, {} CPUs, Linux {}, load {:.1}\n", self.processor, self.cpus, self.kernel, self.load);
        for line in &self.mitigations {
            let _ = writeln!(text, "{}", line.chars().take(80).collect::<String>());
        }
        text
    }
}

const MITIGATIONS: [&str; 3] = ["spectre_v2", "spec_rstack_overflow", "retbleed"];

fn mitigation(name: &str) -> Option<String> {
    let state = fs::read_to_string(format!("/sys/devices/system/cpu/vulnerabilities/{name}")).ok()?;
    let first = state.trim().split(';').next()?.to_owned();
    first.strip_prefix("Mitigation: ").map(|what| format!("{name}: {what}"))
}
