//! What a daemon has of memory.

use std::fs;

use crate::network::KernelObjects;

/// Memory of a daemon and of what it has in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident kilobytes of the process.
    pub resident: u64,
    /// Programs, links and maps.
    pub objects: (usize, usize, usize),
    /// Kilobytes of the maps that it has open.
    pub maps: u64,
}

impl Memory {
    /// As it is now.
    pub fn of(process: i32) -> Self {
        let objects = KernelObjects::of(process);
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let folder = fs::read_dir(format!("/proc/{process}/fdinfo")).expect("the descriptors of a process");
        let texts = folder.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let maps = texts.filter(|text| text.contains("map_id:")).map(|text| number(&text, "memlock:"));
        Self {
            resident: number(&status, "VmRSS:"),
            objects: (objects.programs.len(), objects.links.len(), objects.maps.len()),
            maps: maps.sum::<u64>() / 1024,
        }
    }
}

fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
