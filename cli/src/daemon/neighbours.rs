//! Neighbour resolution: which MAC an address has, and the frames that wait for the answer.
//!
//! A pure state machine: time comes in as nanoseconds, what is to be done comes out as [`Action`]s. Timers after
//! RFC 4861 section 10: three solicitations, a second apart; an answer counts for 30 seconds, then the neighbour is
//! asked again while its old MAC stays in use.

use std::collections::{BTreeMap, VecDeque};

use firewall_core::event::PuntHeader;
use firewall_core::tables::{NeighbourKey, NeighbourWord};
use firewall_core::{Address, DropReason};

use crate::backend::kernel::PuntedFrame;

/// Nanoseconds between solicitations (`RETRANS_TIMER`).
const RETRY: u64 = 1_000_000_000;
/// Solicitations before the neighbour counts as gone (`MAX_UNICAST_SOLICIT`).
const TRIES: u32 = 3;
/// Nanoseconds for which an answer counts (`REACHABLE_TIME`).
const REACHABLE: u64 = 30_000_000_000;
/// Nanoseconds for which frames to a neighbour that did not answer are dropped at once.
const HOLD_DOWN: u64 = 3_000_000_000;

/// Bounds of the table, from `vfw.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most neighbours, resolved or not.
    pub neighbours: usize,
    /// Most frames that wait for one neighbour.
    pub frames: usize,
    /// Most bytes that wait in all.
    pub bytes: usize,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Asked, not answered.
    Incomplete,
    /// Answered.
    Reachable,
    /// Answered before, asked again.
    Probe,
    /// Did not answer.
    Failed,
}

impl State {
    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Probe => "probe",
            Self::Failed => "failed",
        }
    }
}

/// Something that the daemon has to do.
#[derive(Debug)]
pub enum Action {
    /// Ask for the neighbour: all, or the one that had this MAC.
    Solicit(NeighbourKey, Option<[u8; 6]>),
    /// Make the neighbour known to the data path.
    Publish(u32, NeighbourKey, NeighbourWord),
    /// Change what the data path knows.
    Change(u32, NeighbourWord),
    /// Take the neighbour back.
    Withdraw(u32, NeighbourKey),
    /// Send a frame that has waited, to this MAC.
    Send(PuntedFrame, [u8; 6]),
    /// Drop a frame.
    Discard(PuntedFrame, DropReason),
}

/// One line for `vfw show neighbours`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Zone.
    pub zone: u16,
    /// Address.
    pub address: Address,
    /// MAC, when it is known.
    pub mac: Option<[u8; 6]>,
    /// State.
    pub state: State,
    /// Frames that wait.
    pub queued: usize,
}

struct Entry {
    state: State,
    mac: [u8; 6],
    /// Slot in the data path's table, when published.
    slot: Option<u32>,
    tries: u32,
    /// When something has to happen.
    deadline: u64,
    /// Whose flows ask for it, until it answers.
    asker: Option<Asker>,
    queue: VecDeque<PuntedFrame>,
}

/// The table.
pub struct Neighbours {
    limits: Limits,
    entries: BTreeMap<(u32, [u32; 4]), Entry>,
    free: Vec<u32>,
    /// The generation of each slot: never 0, never twice in a row.
    generations: Vec<u16>,
    queued_bytes: usize,
    /// Neighbours in each zone.
    in_zone: BTreeMap<u16, usize>,
    /// What each takes that asks.
    usage: BTreeMap<Asker, Usage>,
}

/// Who asks for a neighbour: the zone that began the flow. Answers have an account of their own: a host that makes up
/// senders in its zone makes others answer to absent hosts there, which must not cost them their share, nor its zone the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Asker {
    zone: u16,
    is_answer: bool,
}

impl Asker {
    fn of(header: &PuntHeader) -> Self {
        Self { zone: header.asker, is_answer: header.asker != header.from }
    }
}

#[derive(Clone, Copy, Default)]
struct Usage {
    /// Neighbours that it asks for and that have not answered.
    asked: usize,
    /// Bytes of its packets that wait.
    bytes: usize,
}

impl Neighbours {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            free: (0..limits.neighbours as u32).rev().collect(),
            generations: vec![0; limits.neighbours],
            entries: BTreeMap::new(),
            queued_bytes: 0,
            in_zone: BTreeMap::new(),
            usage: BTreeMap::new(),
            limits,
        }
    }

    /// A frame waits for its neighbour.
    pub fn resolve(&mut self, frame: PuntedFrame, now: u64) -> Vec<Action> {
        let (asker, to) = (Asker::of(&frame.header), frame.header.to);
        let key = NeighbourKey { address: frame.header.next_hop, zone: u32::from(to) };
        let index = index(&key);
        let known = self.entries.get(&index).map(|entry| (entry.state, entry.mac));
        match known {
            Some((State::Reachable | State::Probe, mac)) => vec![Action::Send(frame, mac)],
            Some((State::Failed, _)) => vec![Action::Discard(frame, DropReason::Unreachable)],
            Some((State::Incomplete, _)) => self.enqueue(index, frame),
            None if !self.has_room(asker, to) => vec![Action::Discard(frame, DropReason::QueueFull)],
            None => {
                self.entries.insert(index, Entry::asked(asker, now));
                *self.in_zone.entry(to).or_default() += 1;
                self.usage.entry(asker).or_default().asked += 1;
                let mut actions = vec![Action::Solicit(key, None)];
                actions.extend(self.enqueue(index, frame));
                actions
            }
        }
    }

    /// Whether `asker` may ask for one more neighbour in zone `to`. No zone fills more than half of the table,
    /// and none asks for more than a quarter without an answer: whoever scans absent addresses leaves room for the others,
    /// also in the zone that is scanned (RFC 6583 section 3).
    fn has_room(&self, asker: Asker, to: u16) -> bool {
        let all = self.limits.neighbours;
        let in_zone = self.in_zone.get(&to).copied().unwrap_or_default();
        let asked = self.usage.get(&asker).copied().unwrap_or_default().asked;
        self.entries.len() < all && in_zone < all.div_ceil(2) && asked < all.div_ceil(4)
    }

    /// Takes all frames that wait for a neighbour.
    fn take_queue(&mut self, index: (u32, [u32; 4])) -> Vec<PuntedFrame> {
        let Some(entry) = self.entries.get_mut(&index) else { return Vec::new() };
        let waiting: Vec<PuntedFrame> = entry.queue.drain(..).collect();
        for frame in &waiting {
            self.queued_bytes -= frame.bytes.len();
            self.usage.entry(Asker::of(&frame.header)).or_default().bytes -= frame.bytes.len();
        }
        waiting
    }

    fn enqueue(&mut self, index: (u32, [u32; 4]), frame: PuntedFrame) -> Vec<Action> {
        let by_asker = self.usage.entry(Asker::of(&frame.header)).or_default();
        let full = by_asker.bytes + frame.bytes.len() > self.limits.bytes / 2
            || self.queued_bytes + frame.bytes.len() > self.limits.bytes;
        match self.entries.get_mut(&index) {
            Some(entry) if !full && entry.queue.len() < self.limits.frames => {
                self.queued_bytes += frame.bytes.len();
                by_asker.bytes += frame.bytes.len();
                entry.queue.push_back(frame);
                Vec::new()
            }
            _ => vec![Action::Discard(frame, DropReason::QueueFull)],
        }
    }

    /// A neighbour showed itself.
    pub fn seen(&mut self, key: &NeighbourKey, mac: [u8; 6], now: u64) -> Vec<Action> {
        let index = index(key);
        // Who was not asked for is not remembered: announcements of made-up addresses must not fill the table.
        let waiting = self.take_queue(index);
        let Some(entry) = self.entries.get_mut(&index) else { return Vec::new() };
        let changed = entry.mac != mac;
        entry.mac = mac;
        entry.state = State::Reachable;
        entry.tries = 0;
        entry.deadline = now + REACHABLE;
        if let Some(asker) = entry.asker.take() {
            self.usage.entry(asker).or_default().asked -= 1;
        }
        // First what has waited, then the way for what comes: the order is kept as far as it can be.
        let mut actions: Vec<Action> = waiting.into_iter().map(|frame| Action::Send(frame, mac)).collect();
        match entry.slot {
            Some(slot) if changed => {
                actions.push(Action::Change(slot, NeighbourWord::new(mac, self.generations[slot as usize])));
            }
            Some(_) => {}
            None => {
                if let Some(slot) = self.free.pop() {
                    entry.slot = Some(slot);
                    let generation = self.generations[slot as usize].checked_add(1).unwrap_or(1);
                    self.generations[slot as usize] = generation;
                    actions.push(Action::Publish(slot, *key, NeighbourWord::new(mac, generation)));
                }
            }
        }
        actions
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: u64) -> Vec<Action> {
        let due: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.deadline <= now).map(|(key, _)| *key).collect();
        due.into_iter().flat_map(|index| self.expire(index, now)).collect()
    }

    fn expire(&mut self, index: (u32, [u32; 4]), now: u64) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(&index) else { return Vec::new() };
        let key = NeighbourKey { zone: index.0, address: Address { words: index.1 } };
        entry.deadline = now + RETRY;
        entry.tries += 1;
        match entry.state {
            State::Reachable => {
                entry.state = State::Probe;
                entry.tries = 1;
                vec![Action::Solicit(key, Some(entry.mac))]
            }
            State::Probe if entry.tries <= TRIES => vec![Action::Solicit(key, Some(entry.mac))],
            State::Incomplete if entry.tries <= TRIES => vec![Action::Solicit(key, None)],
            State::Incomplete | State::Probe => {
                entry.state = State::Failed;
                entry.deadline = now + HOLD_DOWN;
                let slot = entry.slot.take();
                self.free.extend(slot);
                let waiting = self.take_queue(index);
                let withdraw = slot.map(|slot| Action::Withdraw(slot, key));
                let discards = waiting.into_iter().map(|frame| Action::Discard(frame, DropReason::Unreachable));
                withdraw.into_iter().chain(discards).collect()
            }
            State::Failed => {
                let asker = entry.asker.take();
                self.entries.remove(&index);
                *self.in_zone.entry(index.0 as u16).or_default() -= 1;
                if let Some(asker) = asker {
                    self.usage.entry(asker).or_default().asked -= 1;
                }
                Vec::new()
            }
        }
    }

    /// Forgets all neighbours of a zone whose interface has gone or lost its link: others may be there when it is back.
    /// Returns what the data path has to forget, and the frames that waited.
    pub fn forget_zone(&mut self, zone: u32) -> (Vec<(u32, NeighbourKey)>, Vec<PuntedFrame>) {
        let of_zone = (zone, [u32::MIN; 4])..=(zone, [u32::MAX; 4]);
        let known: Vec<_> = self.entries.range(of_zone).map(|(index, _)| *index).collect();
        let (mut slots, mut frames) = (Vec::new(), Vec::new());
        for index in known {
            frames.extend(self.take_queue(index));
            let Some(entry) = self.entries.remove(&index) else { continue };
            *self.in_zone.entry(index.0 as u16).or_default() -= 1;
            if let Some(asker) = entry.asker {
                self.usage.entry(asker).or_default().asked -= 1;
            }
            if let Some(slot) = entry.slot {
                self.free.push(slot);
                slots.push((slot, NeighbourKey { zone, address: Address { words: index.1 } }));
            }
        }
        (slots, frames)
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.deadline).min()
    }

    /// All neighbours.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(index, entry): (&(u32, [u32; 4]), &Entry)| Row {
            zone: index.0 as u16,
            address: Address { words: index.1 },
            mac: entry.slot.map(|_| entry.mac),
            state: entry.state,
            queued: entry.queue.len(),
        };
        self.entries.iter().map(row).collect()
    }
}

fn index(key: &NeighbourKey) -> (u32, [u32; 4]) {
    (key.zone, key.address.words)
}

impl Entry {
    fn asked(asker: Asker, now: u64) -> Self {
        Self {
            state: State::Incomplete,
            mac: [0; 6],
            slot: None,
            tries: 1,
            deadline: now + RETRY,
            asker: Some(asker),
            queue: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_core::packet::Packet;
    use firewall_core::{Punt, PuntTask};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const SECOND: u64 = 1_000_000_000;

    fn table() -> Neighbours {
        Neighbours::new(Limits { neighbours: 8, frames: 2, bytes: 1000 })
    }

    /// A neighbour that was asked for and has answered, and what that led to.
    fn answered(table: &mut Neighbours, last: u8, now: u64) -> Vec<Action> {
        table.resolve(frame(last), now);
        table.seen(&key(last), MAC, now)
    }

    fn address(last: u8) -> Address {
        Address::from_v4([10, 0, 20, last])
    }

    /// A frame from zone 0 to a host of zone 1.
    fn frame(last: u8) -> PuntedFrame {
        frame_between(0, 1, last)
    }

    fn frame_between(from: u16, to: u16, last: u8) -> PuntedFrame {
        let (task, reason) = (PuntTask::Resolve, DropReason::Unreachable);
        let punt = Punt { task, reason, from, to };
        let packet = Packet { next_hop: address(last), asker: from, ..Packet::EMPTY };
        PuntedFrame { header: PuntHeader::new(&punt, &packet, 60, 0), bytes: vec![0; 60] }
    }

    fn flows_of(zone: u16) -> Asker {
        Asker { zone, is_answer: false }
    }

    fn key(last: u8) -> NeighbourKey {
        NeighbourKey { address: address(last), zone: 1 }
    }

    #[test]
    fn the_first_frames_wait_and_leave_in_order() {
        let mut table = table();
        assert!(matches!(table.resolve(frame(9), 0)[..], [Action::Solicit(_, None)]));
        assert!(table.resolve(frame(9), 1).is_empty());
        assert!(matches!(table.resolve(frame(9), 2)[..], [Action::Discard(_, DropReason::QueueFull)]));
        let actions = table.seen(&key(9), MAC, SECOND / 2);
        assert!(matches!(actions[..], [Action::Send(_, MAC), Action::Send(_, MAC), Action::Publish(_, _, _)]));
        assert!(matches!(table.resolve(frame(9), SECOND)[..], [Action::Send(_, MAC)]));
        assert_eq!(table.queued_bytes, 0);
    }

    #[test]
    fn silence_fails_after_three_tries_and_is_held_down() {
        let mut table = table();
        table.resolve(frame(9), 0);
        assert!(matches!(table.tick(SECOND)[..], [Action::Solicit(_, None)]));
        assert!(matches!(table.tick(2 * SECOND)[..], [Action::Solicit(_, None)]));
        assert!(matches!(table.tick(3 * SECOND)[..], [Action::Discard(_, DropReason::Unreachable)]));
        assert!(matches!(table.resolve(frame(9), 4 * SECOND)[..], [Action::Discard(_, DropReason::Unreachable)]));
        assert!(table.tick(6 * SECOND).is_empty());
        assert!(table.rows().is_empty());
    }

    #[test]
    fn a_reachable_neighbour_is_probed_and_keeps_its_mac_meanwhile() {
        let mut table = table();
        answered(&mut table, 9, 0);
        assert!(matches!(table.tick(30 * SECOND)[..], [Action::Solicit(_, Some(MAC))]));
        assert!(matches!(table.resolve(frame(9), 30 * SECOND)[..], [Action::Send(_, MAC)]));
        assert!(table.seen(&key(9), MAC, 30 * SECOND).is_empty());
        assert_eq!(table.rows()[0].state, State::Reachable);
    }

    #[test]
    fn a_new_mac_changes_the_word_in_place() {
        let mut table = table();
        answered(&mut table, 9, 0);
        let other = [2, 0, 0, 0, 0, 10];
        assert!(matches!(table.seen(&key(9), other, 1)[..], [Action::Change(_, word)] if word.mac() == other));
    }

    #[test]
    fn a_slot_used_again_has_another_generation() {
        let mut table = table();
        let Some(Action::Publish(slot, _, first)) = answered(&mut table, 9, 0).pop() else { panic!("publishes") };
        for second in [30, 31, 32, 33, 36] {
            table.tick(second * SECOND);
        }
        let Some(Action::Publish(again, _, second)) = answered(&mut table, 8, 40 * SECOND).pop() else {
            panic!("publishes")
        };
        assert_eq!(slot, again);
        assert_ne!(first.generation(), second.generation());
    }

    #[test]
    fn a_zone_gets_half_of_the_table_and_the_others_keep_theirs() {
        let mut table = table();
        for last in 1..=4 {
            answered(&mut table, last, 0);
        }
        assert!(matches!(table.resolve(frame(5), 0)[..], [Action::Discard(_, DropReason::QueueFull)]));
        assert!(matches!(table.resolve(frame_between(0, 2, 5), 0)[..], [Action::Solicit(_, None)]));
        assert_eq!(table.rows().len(), 5);
    }

    #[test]
    fn a_scan_leaves_room_for_other_zones_in_the_scanned_one() {
        let mut table = table();
        for last in 1..=2 {
            assert!(matches!(table.resolve(frame(last), 0)[..], [Action::Solicit(_, None)]));
        }
        assert!(matches!(table.resolve(frame(3), 0)[..], [Action::Discard(_, DropReason::QueueFull)]));
        assert!(matches!(table.resolve(frame_between(2, 1, 3), 0)[..], [Action::Solicit(_, None)]));
        // An answer, or the end of the silence, gives the room back.
        table.seen(&key(1), MAC, 1);
        assert!(matches!(table.resolve(frame(4), 1)[..], [Action::Solicit(_, None)]));
        for second in [1, 2, 3, 6] {
            table.tick(second * SECOND + 1);
        }
        assert_eq!(table.usage[&flows_of(0)].asked, 0);
        assert_eq!(table.usage[&flows_of(2)].asked, 0);
    }

    /// Answers of zone 0 to made-up senders of zone 1.
    #[test]
    fn answers_to_absent_hosts_cost_nobody_their_own_share() {
        let mut table = table();
        let answer = |last: u8| {
            let mut frame = frame(last);
            frame.header.asker = 1;
            frame
        };
        for last in 1..=2 {
            assert!(matches!(table.resolve(answer(last), 0)[..], [Action::Solicit(_, None)]));
        }
        assert!(matches!(table.resolve(answer(3), 0)[..], [Action::Discard(_, DropReason::QueueFull)]));
        assert!(matches!(table.resolve(frame_between(0, 2, 3), 0)[..], [Action::Solicit(_, None)]), "who answers");
        assert!(matches!(table.resolve(frame_between(1, 2, 4), 0)[..], [Action::Solicit(_, None)]), "who is answered");
        for second in [1, 2, 3, 6] {
            table.tick(second * SECOND);
        }
        assert!(table.usage.values().all(|usage| usage.asked == 0 && usage.bytes == 0));
    }

    #[test]
    fn who_was_not_asked_for_is_not_remembered() {
        let mut table = table();
        assert!(table.seen(&key(6), MAC, 0).is_empty());
        assert!(table.rows().is_empty());
    }

    #[test]
    fn waiting_bytes_of_a_zone_are_bounded_and_come_back() {
        let mut table = Neighbours::new(Limits { neighbours: 8, frames: 9, bytes: 240 });
        table.resolve(frame(1), 0);
        table.resolve(frame(1), 0);
        assert!(matches!(table.resolve(frame(1), 0)[..], [Action::Discard(_, DropReason::QueueFull)]));
        assert_eq!(table.seen(&key(1), MAC, 1).len(), 3);
        assert_eq!((table.queued_bytes, table.usage[&flows_of(0)].bytes, table.in_zone[&1]), (0, 0, 1));
    }

    #[test]
    fn a_zone_that_is_forgotten_leaves_nothing_behind() {
        let mut table = table();
        answered(&mut table, 7, 0);
        table.resolve(frame(8), 0);
        assert!(table.forget_zone(2).0.is_empty(), "another zone");
        let (slots, frames) = table.forget_zone(1);
        assert_eq!((slots.len(), slots[0].1, frames.len()), (1, key(7), 1));
        assert!(table.rows().is_empty() && table.next_deadline().is_none());
        assert_eq!(table.queued_bytes, 0);
        // The slot is free again, under a new generation.
        let published = answered(&mut table, 7, SECOND);
        let word = published.iter().find_map(|action| match action {
            Action::Publish(_, _, word) => Some(word.generation()),
            _ => None,
        });
        assert_eq!(word, Some(2));
    }
}
