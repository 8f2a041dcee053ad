//! What a process has in the kernel: programs, links and maps, by their identifiers.
#![allow(unsafe_code, reason = "bpf(2); aya opens each map that it lists, see `next`")]

use std::collections::BTreeSet;
use std::fs;

/// Identifiers of the programs, links and maps of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelObjects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Links, which attach programs.
    pub links: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
}

// Commands of bpf(2)
const PROGRAM_AFTER: libc::c_long = 11;
const MAP_AFTER: libc::c_long = 12;
const LINK_AFTER: libc::c_long = 31;

impl KernelObjects {
    /// Those that the process has descriptors of, and the maps that its programs use.
    pub fn of(process: i32) -> Self {
        let folder = fs::read_dir(format!("/proc/{process}/fdinfo")).expect("the descriptors of a process");
        let text: Vec<String> = folder.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
        let ids = |key: &str| {
            let lines = text.iter().flat_map(|text| text.lines());
            lines.filter_map(|line| line.strip_prefix(key)?.trim().parse().ok()).collect::<BTreeSet<u32>>()
        };
        let (programs, links, mut maps) = (ids("prog_id:"), ids("link_id:"), ids("map_id:"));
        let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
        let ours = loaded.filter(|program| programs.contains(&program.id()));
        maps.extend(ours.filter_map(|program| program.map_ids().ok().flatten()).flatten());
        Self { programs, links, maps }
    }

    /// Those of them that exist.
    #[must_use]
    pub fn existing(&self) -> Self {
        let existing = |command, ids: &BTreeSet<u32>| all(command).intersection(ids).copied().collect();
        Self {
            programs: existing(PROGRAM_AFTER, &self.programs),
            links: existing(LINK_AFTER, &self.links),
            maps: existing(MAP_AFTER, &self.maps),
        }
    }
}

fn all(command: libc::c_long) -> BTreeSet<u32> {
    std::iter::successors(next(command, 0), |last| next(command, *last)).collect()
}

/// The first identifier after `last`. Nothing is opened: opening and closing a map of programs while its owner closes it
/// makes Linux leak the map (`prog_array_map_clear` takes a reference also when its work is queued already).
fn next(command: libc::c_long, last: u32) -> Option<u32> {
    let mut request = [last, 0, 0, 0];
    // SAFETY: the request has the layout of bpf_attr for these commands and its size is passed; the kernel writes the
    // second word.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, request.as_mut_ptr(), size_of_val(&request)) };
    (result == 0).then_some(request[1])
}
