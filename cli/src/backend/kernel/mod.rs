//! The kernel back end: loads the eBPF programs with the tables of a policy, attaches them, reads what they count.

mod attach;
mod bpffs;
mod call;
mod classifier;
mod error;
mod flows;
mod generation;
mod link_info;
mod mmap;
mod object;
mod pins;
mod readers;
mod rings;
mod rules;
mod size;
mod state_maps;
mod user;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{
    Array, ArrayOfMaps, DevMap, HashMap, LpmTrie, MapData, PerCpuArray, PerCpuValues, lpm_trie::Key, xdp::XdpMapError,
};
use aya::util::nr_cpus;
use aya::{Ebpf, Pod};
use firewall_core::event::Topic;
use firewall_core::tables::{
    Counter, Direction, MAX_ZONES, NeighbourKey, NeighbourWord, Route, RouteKey, RuleCounter, SLOTS, Settings,
    ZONE_SLOTS, Zone,
};
use firewall_core::verdict::DROP_REASON_SLOTS;
use firewall_core::{DropReason, PuntTask};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use classifier::{Classifier, Lookups};
pub use error::KernelError;
pub use flows::{Flows, LiveFlow};
pub use pins::{PinError, PinFolder, Pins};
pub use rings::{Events, PuntedFrame, Punts};
pub use size::table_bytes;
pub use user::UserSpace;

use crate::compile::Image;
use crate::config::Config;
use attach::Attachment;
use mmap::Words;
use object::{map_error, take_data, take_map};
use rules::RuleMap;

/// Whether a program of this name is the first one of a hook of vfw: the one that hangs on interfaces.
pub fn is_own_program(name: &str) -> bool {
    [object::XDP[0], object::TC[0]].contains(&name)
}

/// A loaded firewall. The programs stay attached as long as it lives, and those that are pinned until they are taken off.
pub struct Kernel {
    ebpf: Ebpf,
    /// Where programs, maps and links outlive the process.
    pins: Option<Pins>,
    /// The folder of what was loaded now.
    generation: Option<PathBuf>,
    /// What was replaced, until no program of it runs any more.
    before: Option<Box<Kernel>>,
    rule_counters: PerCpuArray<MapData, [u8; size_of::<RuleCounter>()]>,
    zone_counters: PerCpuArray<MapData, [u8; size_of::<Counter>()]>,
    drop_counters: PerCpuArray<MapData, [u8; size_of::<Counter>()]>,
    lost_events: PerCpuArray<MapData, u64>,
    neighbour_slots: HashMap<MapData, [u8; size_of::<NeighbourKey>()], u32>,
    neighbours: Arc<Words>,
    /// What the engine in user space shares with the programs.
    user: user::Maps,
    /// Which slot is in force.
    active: Words,
    slot: u32,
    /// Programs may still see the other slot.
    is_seen: bool,
    /// What each slot holds.
    slots: [Slot; SLOTS as usize],
    rule_room: u32,
    settings: Array<MapData, [u8; size_of::<Settings>()]>,
    /// A rule table for each slot.
    rules: ArrayOfMaps<MapData, RuleMap>,
    /// Blocks that a rule table of the loaded programs has room for.
    rule_blocks: u32,
    zones: Array<MapData, [u8; size_of::<Zone>()]>,
    zone_index: Array<MapData, [u8; size_of::<u64>()]>,
    routes: LpmTrie<MapData, RouteData, [u8; size_of::<Route>()]>,
    devices: DevMap<MapData>,
    /// By the number of the interface.
    attachments: BTreeMap<u32, Attachment>,
}

/// What a route is found by: the slot of its policy, then the destination.
type RouteData = [u8; 20];

/// What a slot holds that has to be taken out before another policy is written to it.
#[derive(Default)]
struct Slot {
    rules: u32,
    routes: Vec<RouteKey>,
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
    /// Loads programs and tables, which go with the value. Nothing is attached yet.
    pub fn load(image: &Image, config: &Config) -> Result<Self, KernelError> {
        Self::take_maps(object::load(image, config, None)?, image, config)
    }

    fn take_maps(mut ebpf: Ebpf, image: &Image, config: &Config) -> Result<Self, KernelError> {
        let mut kernel = Self {
            pins: None,
            generation: None,
            before: None,
            rule_counters: take_map(&mut ebpf, "RULE_COUNTERS")?,
            zone_counters: take_map(&mut ebpf, "ZONE_COUNTERS")?,
            drop_counters: take_map(&mut ebpf, "DROP_COUNTERS")?,
            lost_events: take_map(&mut ebpf, "LOST_EVENTS")?,
            neighbour_slots: flows::open(&ebpf, "NEIGHBOUR_SLOTS")?,
            settings: take_map(&mut ebpf, "SETTINGS")?,
            rules: take_map(&mut ebpf, "RULES")?,
            zones: take_map(&mut ebpf, "ZONES")?,
            zone_index: take_map(&mut ebpf, "ZONE_INDEX")?,
            routes: take_map(&mut ebpf, "ROUTES")?,
            active: Words::map(take_data(&mut ebpf, "ACTIVE")?.fd().as_fd(), 1)
                .map_err(|source| KernelError::Mmap { map: "ACTIVE", source })?,
            slot: 0,
            is_seen: false,
            slots: Default::default(),
            rule_room: object::rule_room(image),
            rule_blocks: rules::room(image.rules.blocks.len()),
            devices: take_map(&mut ebpf, "DEVICES")?,
            attachments: BTreeMap::new(),
            neighbours: Words::map(take_data(&mut ebpf, "NEIGHBOURS")?.fd().as_fd(), config.neighbours.max.get())
                .map(Arc::new)
                .map_err(|source| KernelError::Mmap { map: "NEIGHBOURS", source })?,
            user: user::Maps::take(&mut ebpf, object::rule_room(image))?,
            ebpf,
        };
        kernel.publish(image)?;
        Ok(kernel)
    }

    /// Puts a policy in force at once: every packet sees the one before or this one. It is written beside the one in force,
    /// which stays when anything fails. Counters of rules begin at zero. [`Self::retire`] clears up behind the policy before;
    /// without it the next policy has to wait for that.
    pub fn publish(&mut self, image: &Image) -> Result<(), KernelError> {
        for (what, wanted, room) in
            [("rules", image.rule_names.len(), self.rule_room), ("routes", image.routes.len(), object::MAX_ROUTES)]
        {
            let room = room as usize;
            if wanted > room {
                return Err(KernelError::Room { what, wanted, room });
            }
        }
        if self.is_seen {
            self.retire()?;
        }
        let slot = self.slot ^ 1;
        // Nothing, unless the last attempt failed.
        self.empty(slot)?;
        self.fill(slot, image)?;
        self.is_seen = true;
        self.active.store(0, u64::from(slot));
        self.slot = slot;
        Ok(())
    }

    /// Waits until no program sees the policy before any more, and makes room for the next one. Returns what the rules of the
    /// policy before had decided.
    pub fn retire(&mut self) -> Result<Vec<RuleCounter>, KernelError> {
        readers::wait_for_readers().map_err(KernelError::Wait)?;
        self.is_seen = false;
        if let Some(counters) = self.end_before() {
            return counters;
        }
        let slot = self.slot ^ 1;
        let counters = (0..self.slots[slot as usize].rules).map(|rule| self.rule_counter_in(slot, rule)).collect();
        self.empty(slot)?;
        counters
    }

    /// Takes out what the policy before the last left in a slot.
    fn empty(&mut self, slot: u32) -> Result<(), KernelError> {
        let Slot { rules, routes } = std::mem::take(&mut self.slots[slot as usize]);
        let first = slot * self.rule_room;
        clear(&mut self.rule_counters, first..first + rules, "RULE_COUNTERS")?;
        self.user.clear_rules(first..first + rules);
        for key in routes {
            self.routes.remove(&route_key(slot, &key)).map_err(map_error("empty", "ROUTES"))?;
        }
        Ok(())
    }

    /// Writes a policy to a slot. What was written is remembered as it goes, so that a failure can be taken out.
    fn fill(&mut self, slot: u32, image: &Image) -> Result<(), KernelError> {
        self.slots[slot as usize].rules = image.rule_names.len() as u32;
        fill_array(&mut self.zones, "ZONES", slot * MAX_ZONES, &image.zones, &[])?;
        fill_array(&mut self.zone_index, "ZONE_INDEX", slot * ZONE_SLOTS, &image.zone_index, &[])?;
        // The table that the slot had is freed when its last reader has ended.
        let table = rules::create(&image.rules.blocks, self.rule_blocks)?;
        self.rules.set(slot, &table, 0).map_err(map_error("fill", "RULES"))?;
        for (key, route) in &image.routes {
            let value = bytes::<_, { size_of::<Route>() }>(route);
            self.routes.insert(&route_key(slot, key), value, 0).map_err(map_error("fill", "ROUTES"))?;
            self.slots[slot as usize].routes.push(*key);
        }
        self.settings.set(slot, bytes(&image.settings), 0).map_err(map_error("fill", "SETTINGS"))
    }

    /// Replaces zones and their index, those `before`, by the ones of `image`: first where frames may leave, then where they
    /// come from. While the index changes, a frame may find no zone; it never finds another than its own. The interface of a
    /// zone that comes has been told before ([`Self::set_device`]): that fails when it has gone meanwhile, this does not.
    pub fn move_zones(&mut self, before: (&[Zone], &[u64]), image: &Image) -> Result<(), KernelError> {
        let (zones, index) = before;
        fill_array(&mut self.zones, "ZONES", self.slot * MAX_ZONES, &image.zones, zones)?;
        fill_array(&mut self.zone_index, "ZONE_INDEX", self.slot * ZONE_SLOTS, &image.zone_index, index)
    }

    /// Lets XDP programs send frames of `zone` out of an interface of the calling thread's network namespace. The kernel forgets
    /// an interface that goes away by itself.
    pub fn set_device(&mut self, zone: u16, ifindex: u32) -> Result<(), KernelError> {
        (0..SLOTS).try_for_each(|slot| self.set_device_in(slot, zone, ifindex))
    }

    /// The same for the policy that is to be published next; the one in force sends where it did.
    pub fn set_next_device(&mut self, zone: u16, ifindex: u32) -> Result<(), KernelError> {
        self.set_device_in(self.slot ^ 1, zone, ifindex)
    }

    fn set_device_in(&mut self, slot: u32, zone: u16, ifindex: u32) -> Result<(), KernelError> {
        let refused = |error: XdpMapError| match error {
            XdpMapError::MapError(error) => map_error("fill", "DEVICES")(error),
            XdpMapError::ChainedProgramNotSupported => KernelError::Missing("DEVICES"),
        };
        self.devices.set(slot * MAX_ZONES + u32::from(zone), ifindex, None, 0).map_err(refused)
    }

    /// Begins the counters of a zone at zero: its number may have been another's.
    pub fn clear_zone(&mut self, zone: u16) -> Result<(), KernelError> {
        let zone = u32::from(zone);
        let ways = zone * 2..zone * 2 + 2;
        clear(&mut self.zone_counters, ways, "ZONE_COUNTERS")?;
        let reasons = zone * DROP_REASON_SLOTS..(zone + 1) * DROP_REASON_SLOTS;
        clear(&mut self.drop_counters, reasons, "DROP_COUNTERS")?;
        let topics = Topic::ALL.len() as u32;
        self.user.clear_zone(zone);
        clear(&mut self.lost_events, zone * topics..(zone + 1) * topics, "LOST_EVENTS")
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

    /// The neighbours that the data path knows, with their slots.
    pub fn neighbours(&self) -> Vec<(u32, NeighbourKey, NeighbourWord)> {
        let known = self.neighbour_slots.iter().flatten();
        known
            .filter_map(|(key, slot)| {
                let key = NeighbourKey::read_from_bytes(&key).ok()?;
                Some((slot, key, NeighbourWord(self.neighbours.load(slot)?)))
            })
            .collect()
    }

    /// A handle on the flow tables.
    pub fn flows(&self) -> Result<Flows, KernelError> {
        Flows::open(&self.ebpf)
    }

    /// The ring of a topic's events. It can be taken once.
    pub fn take_events(&mut self, topic: Topic) -> Result<Events, KernelError> {
        let name = match topic {
            Topic::Log => "LOG_EVENTS",
            Topic::Neighbour => "NEIGHBOUR_EVENTS",
            Topic::Drop => "DROP_EVENTS",
        };
        take_map(&mut self.ebpf, name).map(Events)
    }

    /// The ring of the frames punted for a task. It can be taken once.
    pub fn take_punts(&mut self, task: PuntTask) -> Result<Punts, KernelError> {
        let name = match task {
            PuntTask::Resolve => "PUNTS",
            PuntTask::Report => "REPORTS",
        };
        take_map(&mut self.ebpf, name).map(Punts)
    }

    /// What rule `rule` decided since its policy was published, all CPUs together.
    pub fn rule_counter(&self, rule: u32) -> Result<RuleCounter, KernelError> {
        self.rule_counter_in(self.slot, rule)
    }

    fn rule_counter_in(&self, slot: u32, rule: u32) -> Result<RuleCounter, KernelError> {
        let index = slot * self.rule_room + rule;
        let mut total = self.user.rule(index);
        for cpu in read_cpus::<RuleCounter, _>(&self.rule_counters, index, "RULE_COUNTERS")? {
            total = total.and(&cpu);
        }
        Ok(total)
    }

    /// What crossed the edge of a zone.
    pub fn zone_counter(&self, zone: u16, direction: Direction) -> Result<Counter, KernelError> {
        let counted = sum(&self.zone_counters, u32::from(zone) * 2 + direction as u32, "ZONE_COUNTERS")?;
        Ok(self.user.zone(zone, direction, counted))
    }

    /// What was dropped; `zone` may be [`firewall_core::tables::NO_ZONE`].
    pub fn drop_counter(&self, zone: u16, reason: DropReason) -> Result<Counter, KernelError> {
        let counted = sum(&self.drop_counters, u32::from(zone) * DROP_REASON_SLOTS + reason as u32, "DROP_COUNTERS")?;
        Ok(self.user.drops(zone, reason, counted))
    }

    /// Events of a zone that were lost, because it caused too many or the daemon could not keep up.
    pub fn lost_events(&self, zone: u16, topic: Topic) -> Result<u64, KernelError> {
        let index = u32::from(zone) * Topic::ALL.len() as u32 + topic as u32;
        let values = self.lost_events.get(&index, 0).map_err(map_error("read", "LOST_EVENTS"))?;
        Ok(values.iter().sum::<u64>() + self.user.lost(index))
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

/// The key of a route in the trie of both slots.
fn route_key(slot: u32, key: &RouteKey) -> Key<RouteData> {
    let mut data = [0; size_of::<RouteData>()];
    data[..4].copy_from_slice(&slot.to_ne_bytes());
    data[4..].copy_from_slice(&key.address.bytes());
    Key::new(32 + key.prefix_length, data)
}

/// The bytes of a record.
fn bytes<T: IntoBytes + Immutable, const N: usize>(record: &T) -> [u8; N] {
    let mut bytes = [0; N];
    let source = record.as_bytes();
    let length = source.len().min(N);
    bytes[..length].copy_from_slice(&source[..length]);
    bytes
}

/// Writes the records that differ from those of `before`, from the element `start` on.
fn fill_array<T: IntoBytes + Immutable + PartialEq, const N: usize>(
    array: &mut Array<MapData, [u8; N]>,
    name: &'static str,
    start: u32,
    records: &[T],
    before: &[T],
) -> Result<(), KernelError> {
    let changed = records.iter().enumerate().filter(|(index, record)| before.get(*index) != Some(record));
    for (index, record) in changed {
        array.set(start + index as u32, bytes::<T, N>(record), 0).map_err(map_error("fill", name))?;
    }
    Ok(())
}

/// Makes zeros of elements of a per-CPU array.
fn clear<T: Pod + Default>(
    map: &mut PerCpuArray<MapData, T>,
    elements: Range<u32>,
    name: &'static str,
) -> Result<(), KernelError> {
    let fail = |source| KernelError::Mmap { map: name, source };
    let cpus = nr_cpus().map_err(|(_, source)| fail(source))?;
    for index in elements {
        let zeros = PerCpuValues::try_from(vec![T::default(); cpus]).map_err(fail)?;
        map.set(index, zeros, 0).map_err(map_error("empty", name))?;
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
