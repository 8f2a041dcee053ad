//! The embedded eBPF object: sized by configuration and policy, loaded, its parts wired together.

use std::path::Path;
use std::thread;

use aya::maps::{Map, MapData, MapError, ProgramArray};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use firewall_core::classify::image::{RULE_BLOCKS_MARKER, SPARE_BLOCKS};

use super::error::{KernelError, chain, program_error};
use firewall_core::tables::SLOTS;
use zerocopy::IntoBytes;

use super::pins::{OF_GENERATION, Pins};
use super::{rules, state_maps, user};
use crate::compile::Image;
use crate::config::Config;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vfw-ebpf"));

/// Programs of the XDP hook, by [`firewall_core::pipeline::Part`].
pub(super) const XDP: [&str; 5] = ["vfw_xdp", "vfw_xdp_first", "vfw_xdp_neighbour", "vfw_xdp_stale", "vfw_xdp_engine"];
/// Programs of the tc hook, likewise.
pub(super) const TC: [&str; 4] = ["vfw_tc", "vfw_tc_first", "vfw_tc_neighbour", "vfw_tc_stale"];

/// Most routes of a policy. The kernel allocates them one by one.
pub(super) const MAX_ROUTES: u32 = 65_536;
/// Rules that there is room for at least: what a small policy may grow to.
const LEAST_RULE_ROOM: u32 = 4_096;

/// Rules that each slot has room for: twice those of the first policy.
pub(super) fn rule_room(image: &Image) -> u32 {
    (image.rule_names.len() as u32 * 2).next_power_of_two().max(LEAST_RULE_ROOM)
}

/// Loads maps and programs, as a generation of their own if there is a folder for pins: the maps of the state are those that
/// are pinned there, or become them.
pub(super) fn load(image: &Image, config: &Config, pins: Option<(&Pins, &Path)>) -> Result<Ebpf, KernelError> {
    let rule_room = rule_room(image);
    let rule_blocks = rules::room(image.rules.blocks.len());
    let mut loader = EbpfLoader::new();
    loader
        .override_global("RULE_ROOM", &rule_room, true)
        .override_global("RULE_BLOCKS", &rule_blocks, true)
        .map_max_entries("RULE_COUNTERS", rule_room * SLOTS)
        .map_max_entries("USER_RULES", rule_room * SLOTS * user::RULE_WORDS)
        .map_max_entries("ROUTES", MAX_ROUTES * SLOTS)
        .map_max_entries("NEIGHBOUR_SLOTS", config.neighbours.max.get())
        .map_max_entries("NEIGHBOURS", config.neighbours.max.get())
        .map_max_entries("ESTABLISHED", config.flows.established.get())
        .map_max_entries("HALF_OPEN", config.flows.half_open.get())
        .map_max_entries("FRAGMENTS", config.flows.fragments.get());
    if let Some((pins, _)) = pins {
        state_maps::check(pins, config)?;
        for map in state_maps::all(config) {
            loader.map_pin_path(map.name, pins.state(map.name));
        }
    }
    let object = with_rule_blocks(rule_blocks)?;
    let mut ebpf = loader.load(object.as_bytes()).map_err(|error| KernelError::Object(chain(&error)))?;
    load_programs(&mut ebpf)?;
    wire(&mut ebpf, "XDP_PARTS", &XDP)?;
    wire(&mut ebpf, "TC_PARTS", &TC)?;
    if let Some((pins, generation)) = pins {
        // What was made just now, too: the list must say what the object makes.
        state_maps::check(pins, config)?;
        for name in OF_GENERATION {
            pin(&ebpf, name, &generation.join(name))?;
        }
    }
    Ok(ebpf)
}

/// The verifier takes most of the time of a start; it looks at the programs of both hooks at once.
fn load_programs(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let (mut of_xdp, mut of_tc) = (Vec::new(), Vec::new());
    for (name, program) in ebpf.programs_mut() {
        let named = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        match program {
            Program::Xdp(program) => of_xdp.extend(named(&XDP).map(|name| (name, program))),
            Program::SchedClassifier(program) => of_tc.extend(named(&TC).map(|name| (name, program))),
            _ => {}
        }
    }
    let refused = |program| move |error| KernelError::Program { program, reason: program_error(&error) };
    let (xdp, tc) = thread::scope(|scope| {
        let load = || of_tc.into_iter().try_for_each(|(name, program)| program.load().map_err(refused(name)));
        let tc = scope.spawn(load);
        let xdp = of_xdp.into_iter().try_for_each(|(name, program)| program.load().map_err(refused(name)));
        (xdp, tc.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    xdp.and(tc)
}

fn pin(ebpf: &Ebpf, name: &'static str, path: &Path) -> Result<(), KernelError> {
    let Some(Map::Array(map) | Map::ProgramArray(map)) = ebpf.map(name) else {
        return Err(KernelError::Missing(name));
    };
    let fail = |error| map_error("pin", name)(MapError::PinError { name: Some(name.to_owned()), error });
    map.pin(path).map_err(fail)
}

/// The object with the size of its rule tables in place of the marker. In words, for their alignment.
pub(super) fn with_rule_blocks(blocks: u32) -> Result<Vec<u64>, KernelError> {
    let object = OBJECT;
    let marker = (RULE_BLOCKS_MARKER as u32).to_le_bytes();
    let is_size = |array: &[u8]| array[..BTF_ARRAY.len()] == BTF_ARRAY && array[BTF_ARRAY_LENGTH..] == marker;
    let arrays = object.windows(BTF_ARRAY_LENGTH + marker.len()).enumerate();
    let mut places = arrays.filter(|(_, bytes)| is_size(bytes)).map(|(place, _)| place + BTF_ARRAY_LENGTH);
    let (Some(place), None) = (places.next(), places.next()) else { return Err(KernelError::Missing("RULES")) };
    let mut words = vec![0u64; object.len().div_ceil(8)];
    let bytes = words.as_mut_bytes();
    bytes[..object.len()].copy_from_slice(object);
    bytes[place..place + marker.len()].copy_from_slice(&(blocks + SPARE_BLOCKS).to_le_bytes());
    Ok(words)
}

/// How an array type begins in the object's type information: no name, kind 3, no size (`Documentation/bpf/btf.rst`, 2.2.3);
/// sizes of maps are written as lengths of arrays.
const BTF_ARRAY: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
/// Offset of the array's length behind the types of its elements and of its index.
const BTF_ARRAY_LENGTH: usize = 20;

/// Tells the programs of a hook where the others are. The array stays with the object, or its pin: the kernel empties it when
/// its last user closes it.
fn wire(ebpf: &mut Ebpf, map: &'static str, names: &[&'static str]) -> Result<(), KernelError> {
    for (part, name) in names.iter().copied().enumerate() {
        let program = ebpf.program(name).ok_or(KernelError::Missing(name))?;
        let fd = match program {
            Program::Xdp(program) => program.fd(),
            Program::SchedClassifier(program) => program.fd(),
            _ => return Err(KernelError::Missing(name)),
        };
        let fd = fd.map_err(|error| KernelError::Program { program: name, reason: program_error(&error) })?;
        let fd = fd.try_clone().map_err(|source| KernelError::Mmap { map, source })?;
        let parts = ebpf.map_mut(map).ok_or(KernelError::Missing(map))?;
        let mut parts = ProgramArray::try_from(parts).map_err(map_error("open", map))?;
        parts.set(part as u32, &fd, 0).map_err(map_error("fill", map))?;
    }
    Ok(())
}

/// A program by name and type.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(KernelError::Missing(name))
}

/// Takes a map out of the object.
pub(super) fn take_map<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Missing(name))?.try_into().map_err(map_error("open", name))
}

/// Takes the bare data of a map out of the object.
pub(super) fn take_data(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) => Ok(data),
        _ => Err(KernelError::Missing(name)),
    }
}

/// An error of map `map` while doing `action`.
pub(super) fn map_error(action: &'static str, map: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { action, map, source: Box::new(source) }
}
