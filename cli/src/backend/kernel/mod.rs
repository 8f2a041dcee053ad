//! The kernel back end: loads the eBPF programs with the tables of a policy, attaches them, reads what they count.

mod classifier;
mod error;
mod flows;
mod mmap;
mod object;
mod rings;
mod rules;

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, MapData, PerCpuArray, lpm_trie::Key, xdp::XdpMapError};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode, tc};
use firewall_core::DropReason;
use firewall_core::classify::Block;
use firewall_core::tables::{Counter, Direction, NeighbourKey, NeighbourWord, Route, RuleCounter, Settings, Zone};
use firewall_core::verdict::DROP_REASON_SLOTS;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use classifier::{Classifier, Lookups};
pub use error::KernelError;
pub use flows::{Flows, LiveFlow};
pub use rings::{Events, PuntedFrame, Punts};

use crate::compile::Image;
use crate::config::Config;
use crate::interface::Hook;
use mmap::Words;
use object::{map_error, take_data, take_map};
use rules::RuleMap;

/// A loaded firewall. The programs stay attached as long as it lives.
pub struct Kernel {
    ebpf: Ebpf,
    rule_counters: PerCpuArray<MapData, [u8; size_of::<RuleCounter>()]>,
    zone_counters: PerCpuArray<MapData, [u8; size_of::<Counter>()]>,
    drop_counters: PerCpuArray<MapData, [u8; size_of::<Counter>()]>,
    neighbour_slots: HashMap<MapData, [u8; size_of::<NeighbourKey>()], u32>,
    neighbours: Words,
    settings: Array<MapData, [u8; size_of::<Settings>()]>,
    /// One slot: the rule table in force.
    rules: ArrayOfMaps<MapData, RuleMap>,
    /// Blocks that a rule table of the loaded programs has room for.
    rule_blocks: u32,
    devices: DevMap<MapData>,
}

/// Size and cost of one loaded program.
#[derive(Clone, Debug)]
pub struct ProgramInfo {
    /// Name of the entry point.
    pub name: &'static str,
    /// Instructions that the verifier followed.
    pub verified_instructions: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
}

impl Kernel {
    /// Loads programs and tables. Nothing is attached yet.
    pub fn load(image: &Image, config: &Config) -> Result<Self, KernelError> {
        let mut ebpf = object::load(image, config)?;
        let mut kernel = Self {
            rule_counters: take_map(&mut ebpf, "RULE_COUNTERS")?,
            zone_counters: take_map(&mut ebpf, "ZONE_COUNTERS")?,
            drop_counters: take_map(&mut ebpf, "DROP_COUNTERS")?,
            neighbour_slots: take_map(&mut ebpf, "NEIGHBOUR_SLOTS")?,
            settings: take_map(&mut ebpf, "SETTINGS")?,
            rules: take_map(&mut ebpf, "RULES")?,
            rule_blocks: rules::room(image.rules.blocks.len()),
            devices: take_map(&mut ebpf, "DEVICES")?,
            neighbours: Words::map(take_data(&mut ebpf, "NEIGHBOURS")?.fd().as_fd(), config.neighbours.max.get())
                .map_err(|source| KernelError::Mmap { map: "NEIGHBOURS", source })?,
            ebpf,
        };
        kernel.fill(image)?;
        Ok(kernel)
    }

    /// Writes the policy's tables; the settings, which put it in force, last.
    fn fill(&mut self, image: &Image) -> Result<(), KernelError> {
        fill_array::<_, { size_of::<Zone>() }>(&mut self.ebpf, "ZONES", &image.zones)?;
        fill_array::<_, 8>(&mut self.ebpf, "ZONE_INDEX", &image.zone_index)?;
        self.write_rules(&image.rules.blocks)?;
        let mut routes: LpmTrie<MapData, [u8; 16], [u8; size_of::<Route>()]> = take_map(&mut self.ebpf, "ROUTES")?;
        for (key, route) in &image.routes {
            let key = Key::new(key.prefix_length, bytes(&key.address));
            routes.insert(&key, bytes::<_, { size_of::<Route>() }>(route), 0).map_err(map_error("fill", "ROUTES"))?;
        }
        self.write_settings(&image.settings)
    }

    /// Puts a rule table in force at once: a packet sees the old one or this one. Refused when the loaded programs have
    /// no room for it; see [`Self::rule_blocks`].
    pub fn write_rules(&mut self, blocks: &[Block]) -> Result<(), KernelError> {
        let table = rules::create(blocks, self.rule_blocks)?;
        self.rules.set(0, &table, 0).map_err(map_error("fill", "RULES"))
    }

    /// Blocks of 64 bytes that a rule table may have while these programs are loaded.
    pub fn rule_blocks(&self) -> u32 {
        self.rule_blocks
    }

    /// Replaces the settings.
    pub fn write_settings(&mut self, settings: &Settings) -> Result<(), KernelError> {
        self.settings.set(0, bytes(settings), 0).map_err(map_error("fill", "SETTINGS"))
    }

    /// Attaches the programs of a hook to an interface of the calling thread's network namespace.
    pub fn attach(&mut self, interface: &str, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        let fail = |reason: String| KernelError::Attach { interface: interface.to_owned(), hook, reason };
        match hook {
            Hook::Xdp => {
                let program: &mut Xdp = object::program(&mut self.ebpf, object::XDP[0])?;
                let attached = program.attach_to_if_index(ifindex, XdpMode::Driver);
                attached.map_err(|error| fail(error::program_error(&error)))?;
            }
            Hook::Tc => {
                prepare_tc(interface).map_err(fail)?;
                let program: &mut SchedClassifier = object::program(&mut self.ebpf, object::TC[0])?;
                let attached = program.attach(interface, TcAttachType::Ingress);
                attached.map_err(|error| fail(error::program_error(&error)))?;
            }
        }
        Ok(())
    }

    /// Takes the programs off all interfaces.
    pub fn detach(&mut self) {
        // Unloading a program closes its links; the kernel then detaches it.
        if let Ok(program) = object::program::<Xdp>(&mut self.ebpf, object::XDP[0]) {
            let _ = program.unload();
        }
        if let Ok(program) = object::program::<SchedClassifier>(&mut self.ebpf, object::TC[0]) {
            let _ = program.unload();
        }
    }

    /// Lets XDP programs send frames of `zone` out of an interface of the calling thread's network namespace.
    pub fn set_device(&mut self, zone: u16, ifindex: u32) -> Result<(), KernelError> {
        let refused = |error: XdpMapError| match error {
            XdpMapError::MapError(error) => map_error("fill", "DEVICES")(error),
            XdpMapError::ChainedProgramNotSupported => KernelError::Missing("DEVICES"),
        };
        self.devices.set(u32::from(zone), ifindex, None, 0).map_err(refused)
    }

    /// Publishes a neighbour: first the word, then the way to it.
    pub fn add_neighbour(&mut self, slot: u32, key: &NeighbourKey, word: NeighbourWord) -> Result<(), KernelError> {
        self.neighbours.store(slot, word.0);
        self.neighbour_slots.insert(bytes(key), slot, 0).map_err(map_error("fill", "NEIGHBOUR_SLOTS"))
    }

    /// Changes the word of a published neighbour at once.
    pub fn change_neighbour(&self, slot: u32, word: NeighbourWord) {
        self.neighbours.store(slot, word.0);
    }

    /// Takes a neighbour back. Flows that used it look for it anew.
    pub fn remove_neighbour(&mut self, slot: u32, key: &NeighbourKey) {
        self.neighbours.store(slot, 0);
        let _ = self.neighbour_slots.remove(&bytes(key));
    }

    /// A handle on the flow tables.
    pub fn flows(&self) -> Result<Flows, KernelError> {
        Flows::open(&self.ebpf)
    }

    /// The ring of events. It can be taken once.
    pub fn take_events(&mut self) -> Result<Events, KernelError> {
        take_map(&mut self.ebpf, "EVENTS").map(Events)
    }

    /// The ring of punted frames. It can be taken once.
    pub fn take_punts(&mut self) -> Result<Punts, KernelError> {
        take_map(&mut self.ebpf, "PUNTS").map(Punts)
    }

    /// What rule `rule` decided, all CPUs together.
    pub fn rule_counter(&self, rule: u32) -> Result<RuleCounter, KernelError> {
        let mut total = RuleCounter { packets: 0, bytes: 0, last_hit: 0 };
        for cpu in read_cpus::<RuleCounter, _>(&self.rule_counters, rule, "RULE_COUNTERS")? {
            total.packets += cpu.packets;
            total.bytes += cpu.bytes;
            total.last_hit = total.last_hit.max(cpu.last_hit);
        }
        Ok(total)
    }

    /// What crossed the edge of a zone.
    pub fn zone_counter(&self, zone: u16, direction: Direction) -> Result<Counter, KernelError> {
        sum(&self.zone_counters, u32::from(zone) * 2 + direction as u32, "ZONE_COUNTERS")
    }

    /// What was dropped; `zone` may be [`firewall_core::tables::NO_ZONE`].
    pub fn drop_counter(&self, zone: u16, reason: DropReason) -> Result<Counter, KernelError> {
        sum(&self.drop_counters, u32::from(zone) * DROP_REASON_SLOTS + reason as u32, "DROP_COUNTERS")
    }

    /// Sizes of the loaded programs.
    pub fn programs(&self) -> Result<Vec<ProgramInfo>, KernelError> {
        let names = object::XDP.into_iter().chain(object::TC);
        names
            .map(|name| {
                let program = self.ebpf.program(name).ok_or(KernelError::Missing(name))?;
                let info = program
                    .info()
                    .map_err(|error| KernelError::Program { program: name, reason: error::program_error(&error) })?;
                Ok(ProgramInfo {
                    name,
                    verified_instructions: info.verified_instruction_count().unwrap_or(0),
                    machine_bytes: info.size_jitted(),
                })
            })
            .collect()
    }

    /// The loaded object, for test runs and measurements.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// Makes sure that the program will be the one that decides: no other vfw before it; and, on kernels without tcx (before
/// 6.6), a qdisc that it can hang on.
fn prepare_tc(interface: &str) -> Result<(), String> {
    if let Ok((_, programs)) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress) {
        let is_ours = |program: &aya::programs::ProgramInfo| program.name_as_str() == Some(object::TC[0]);
        if programs.iter().any(is_ours) {
            return Err("another vfw is attached to it; end that one first".to_owned());
        }
        return Ok(());
    }
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => Ok(()),
        // The kernel says so when the qdisc is there already.
        Err(error) if error::chain(&error).contains("exists") => Ok(()),
        Err(error) => Err(format!("it has no clsact qdisc and takes none: {}", error::chain(&error))),
    }
}

/// The bytes of a record.
fn bytes<T: IntoBytes + Immutable, const N: usize>(record: &T) -> [u8; N] {
    let mut bytes = [0; N];
    let source = record.as_bytes();
    let length = source.len().min(N);
    bytes[..length].copy_from_slice(&source[..length]);
    bytes
}

fn fill_array<T: IntoBytes + Immutable, const N: usize>(
    ebpf: &mut Ebpf,
    name: &'static str,
    records: &[T],
) -> Result<(), KernelError> {
    let mut array: Array<MapData, [u8; N]> = take_map(ebpf, name)?;
    for (index, record) in records.iter().enumerate() {
        array.set(index as u32, bytes::<T, N>(record), 0).map_err(map_error("fill", name))?;
    }
    Ok(())
}

fn sum(
    map: &PerCpuArray<MapData, [u8; size_of::<Counter>()]>,
    index: u32,
    name: &'static str,
) -> Result<Counter, KernelError> {
    let mut total = Counter { packets: 0, bytes: 0 };
    for cpu in read_cpus::<Counter, _>(map, index, name)? {
        total.packets += cpu.packets;
        total.bytes += cpu.bytes;
    }
    Ok(total)
}

/// One element of a per-CPU array, CPU by CPU.
fn read_cpus<T: FromBytes, const N: usize>(
    map: &PerCpuArray<MapData, [u8; N]>,
    index: u32,
    name: &'static str,
) -> Result<Vec<T>, KernelError> {
    let values = map.get(&index, 0).map_err(map_error("read", name))?;
    Ok(values.iter().filter_map(|bytes| T::read_from_bytes(bytes).ok()).collect())
}
