//! The memory back end under scenarios.

use std::cell::Cell;
use std::net::IpAddr;

use firewall_core::event::{Event, Topic};
use firewall_core::packet::Packet;
use firewall_core::tables::Tables as _;
use firewall_core::{DropReason, Verdict, process};
use vfw::backend::memory::{Limits, Memory, MemoryFrame};
use vfw::compile::{Image, Link, compile};
use vfw::config::Config;
use vfw::lang::{SourceFile, load, render};

use crate::packet::Mac;
use crate::scenario::{Backend, Counters, INTERFACES, Outcome, Scenario};

/// Where the clock starts: not at 0, which no monotonic clock ever shows to a packet.
pub const START: u64 = 1_000_000_000;

/// A policy in memory, and a clock.
pub struct MemoryBackend {
    /// The tables.
    pub memory: Memory,
    /// The time, nanoseconds.
    pub now: u64,
    /// What was found of the last packet.
    pub packet: Cell<Packet>,
}

/// The links of the topology, numbered from 1.
pub fn links() -> Vec<Link> {
    let link = |(index, interface): (usize, &crate::scenario::Interface)| Link {
        name: interface.name.to_owned(),
        ifindex: index as u32 + 1,
        mac: interface.mac,
        mtu: interface.mtu,
        partial_checksums: interface.partial_checksums,
        peer: false,
        up: true,
        port: None,
        kernel_zones: Vec::new(),
    };
    INTERFACES.iter().enumerate().map(link).collect()
}

/// Compiles a rule file for the links of the topology.
pub fn image(text: &str, config: &Config) -> Image {
    let files = [SourceFile::new("scenario.fw", text)];
    let loaded = load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100)));
    compile(&loaded.policy, config, &links()).expect("compiles")
}

impl MemoryBackend {
    /// A back end with the policy and the neighbours of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let config = Config::default();
        let memory = if scenario.policy.is_empty() {
            Memory::empty()
        } else {
            let mut limits = Limits::of(&config);
            if let Some((half_open, established)) = scenario.tables {
                limits = Limits { half_open, established, ..limits };
            }
            let mut image = image(&scenario.policy, &config);
            image.settings.rates = scenario.rates.unwrap_or(image.settings.rates);
            Memory::new(&image, limits)
        };
        for (zone, address, mac) in &scenario.neighbours {
            memory.add_neighbour(*zone, *address, *mac);
        }
        Self::around(memory)
    }

    /// A back end with these tables.
    pub fn around(memory: Memory) -> Self {
        Self { memory, now: START, packet: Cell::new(Packet::EMPTY) }
    }

    /// Takes a frame to its verdict; what the pipeline made of it stays in `frame`.
    pub fn process(&self, interface: &str, frame: &mut MemoryFrame) -> Verdict {
        let ifindex = INTERFACES.iter().position(|known| known.name == interface).map_or(0, |at| at as u32 + 1);
        let mut packet = Packet::EMPTY;
        let verdict = process(frame, &self.memory, ifindex, self.now, &mut packet);
        self.packet.set(packet);
        verdict
    }
}

impl Backend for MemoryBackend {
    fn inject(&mut self, interface: &str, frame: &[u8], stripped_tag: Option<u16>) -> Outcome {
        let mut frame = MemoryFrame { stripped_tag, ..MemoryFrame::new(frame.to_vec()) };
        match self.process(interface, &mut frame) {
            Verdict::Transmit(egress) => {
                Outcome::Transmit { zone: egress.zone, reply: egress.reply, frame: frame.bytes }
            }
            Verdict::Drop(reason) => Outcome::Drop(reason),
            Verdict::Consume => Outcome::Consume,
            Verdict::Punt(punt) => Outcome::Punt {
                task: punt.task,
                reason: punt.reason,
                from: punt.from,
                zone: punt.to,
                next_hop: Some(self.packet.get().next_hop).filter(|next| !next.is_unspecified()).map(IpAddr::from),
                frame: frame.bytes,
            },
        }
    }

    fn counters(&mut self) -> Counters {
        let counted = self.memory.counters();
        let mut counters = Counters::default();
        for (rule, counter) in counted.rules {
            counters.rules.insert(rule, (counter.packets, counter.bytes));
        }
        for (zone, [into, out]) in counted.zones {
            counters.zones_in.insert(zone, (into.packets, into.bytes));
            counters.zones_out.insert(zone, (out.packets, out.bytes));
        }
        for ((zone, reason), counter) in counted.drops {
            let reason: DropReason = reason;
            counters.drops.insert((zone, reason), (counter.packets, counter.bytes));
        }
        counters
    }

    fn advance(&mut self, nanos: u64) {
        self.now += nanos;
    }

    fn learn(&mut self, zone: u16, address: IpAddr, mac: Mac) {
        self.memory.add_neighbour(zone, address, mac);
    }

    fn replace(&mut self, policy: &str) {
        let mut image = image(policy, &Config::default());
        image.settings.epoch = self.memory.settings().map_or(0, |settings| settings.epoch) + 1;
        self.memory.replace(&image);
    }

    fn take_drops(&mut self) -> Vec<Event> {
        self.memory.take_events(Topic::Drop)
    }

    fn forget(&mut self, zone: u16, address: IpAddr) {
        self.memory.remove_neighbour(zone, address);
    }
}
