//! Neighbour resolution: which MAC an address has, and the frames that wait for the answer.
//!
//! A pure state machine: time comes in as nanoseconds, what is to be done comes out as [`Action`]s. Timers after
//! RFC 4861 section 10: three solicitations, a second apart; an answer counts for 30 seconds, then the neighbour is
//! asked again while its old MAC stays in use.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use firewall_core::tables::{NeighbourKey, NeighbourWord};
use firewall_core::{Address, DropReason};

use super::quota::{Asked, Asker, Index, Place, Ticket, Waiting};
use crate::backend::kernel::PuntedFrame;

/// Nanoseconds between solicitations (`RETRANS_TIMER`).
const RETRY: u64 = 1_000_000_000;
/// Solicitations before the neighbour counts as gone (`MAX_UNICAST_SOLICIT`).
const TRIES: u32 = 3;
/// Nanoseconds for which an answer counts (`REACHABLE_TIME`).
const REACHABLE: u64 = 30_000_000_000;
/// Nanoseconds for which frames to a neighbour that did not answer are dropped at once.
const HOLD_DOWN: u64 = 3_000_000_000;

/// Inherited neighbours that are asked in a second.
const PROBES_PER_SECOND: u64 = 200;

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
    /// Its place among those that were asked for, until it answers.
    asked: Option<Ticket>,
    queue: VecDeque<PuntedFrame>,
}

/// The table.
pub struct Neighbours {
    limits: Limits,
    entries: BTreeMap<Index, Entry>,
    free: Vec<u32>,
    /// The generation of each slot: never 0, never twice in a row.
    generations: Vec<u16>,
    /// Neighbours in each zone that have answered.
    answered: BTreeMap<u32, usize>,
    asked: Asked,
    waiting: Waiting,
}

impl Neighbours {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            free: (0..limits.neighbours as u32).rev().collect(),
            generations: vec![0; limits.neighbours],
            entries: BTreeMap::new(),
            answered: BTreeMap::new(),
            asked: Asked::new(limits.neighbours / 2),
            waiting: Waiting::new(limits.bytes),
            limits,
        }
    }

    /// Takes over what the data path has known since an earlier process: slot, neighbour and word each. They are asked within
    /// seconds, one after the other, and stay in use meanwhile. Returns those that cannot be right.
    pub fn inherit(&mut self, known: &[(u32, NeighbourKey, NeighbourWord)], now: u64) -> Vec<(u32, NeighbourKey)> {
        let mut refused = Vec::new();
        for (number, (slot, key, word)) in known.iter().enumerate() {
            let is_free = self.generations.get(*slot as usize) == Some(&0);
            if !is_free || word.generation() == 0 || self.entries.contains_key(&index(key)) {
                refused.push((*slot, *key));
                continue;
            }
            self.generations[*slot as usize] = word.generation();
            *self.answered.entry(key.zone).or_default() += 1;
            let deadline = now + RETRY * number as u64 / PROBES_PER_SECOND;
            let entry = Entry { slot: Some(*slot), ..Entry::reachable(word.mac(), deadline) };
            self.entries.insert(index(key), entry);
        }
        self.free.retain(|slot| self.generations[*slot as usize] == 0);
        refused
    }

    /// A frame waits for its neighbour.
    pub fn resolve(&mut self, frame: PuntedFrame, now: u64) -> Vec<Action> {
        let key = NeighbourKey { address: frame.header.next_hop, zone: u32::from(frame.header.to) };
        let index = index(&key);
        let known = self.entries.get(&index).map(|entry| (entry.state, entry.mac));
        match known {
            Some((State::Reachable | State::Probe, mac)) => vec![Action::Send(frame, mac)],
            Some((State::Failed, _)) => vec![Action::Discard(frame, DropReason::Unreachable)],
            Some((State::Incomplete, _)) => self.enqueue(index, frame),
            None => self.ask(&key, frame, now),
        }
    }

    /// A frame waits for a neighbour that nobody has asked for.
    fn ask(&mut self, key: &NeighbourKey, frame: PuntedFrame, now: u64) -> Vec<Action> {
        let (index, asker) = (index(key), Asker::of(&frame.header));
        let mut actions = match self.asked.place(asker) {
            Place::Free if self.entries.len() < self.limits.neighbours => Vec::new(),
            Place::Free => match self.largest_zone(key.zone) {
                Some(zone) => self.give_up_answered(zone),
                None => return vec![Action::Discard(frame, DropReason::QueueFull)],
            },
            Place::Of(oldest) => self.give_up(oldest),
            Place::None => return vec![Action::Discard(frame, DropReason::QueueFull)],
        };
        let ticket = self.asked.add(asker, index);
        self.entries.insert(index, Entry::asked(ticket, now));
        actions.push(Action::Solicit(*key, None));
        actions.extend(self.enqueue(index, frame));
        actions
    }

    /// The zone with the most neighbours, if they are more than `zone` has.
    fn largest_zone(&self, zone: u32) -> Option<u32> {
        let own = self.answered.get(&zone).copied().unwrap_or_default();
        let (largest, count) = self.answered.iter().max_by_key(|(_, count)| **count)?;
        (*count > own + 1).then_some(*largest)
    }

    /// Gives up the neighbour of a zone that has been silent for longest.
    fn give_up_answered(&mut self, zone: u32) -> Vec<Action> {
        let answered = self.entries.range(of_zone(zone)).filter(|(_, entry)| entry.asked.is_none());
        let silent = answered.min_by_key(|(_, entry)| (entry.state != State::Failed, entry.deadline));
        silent.map(|(index, _)| *index).map(|index| self.give_up(index)).unwrap_or_default()
    }

    /// Forgets a neighbour for the sake of another one. Frames that wait for it have no place any longer.
    fn give_up(&mut self, index: Index) -> Vec<Action> {
        let waiting = self.take_queue(index);
        let withdraw = self.remove(index).map(|slot| Action::Withdraw(slot, key(index)));
        let discards = waiting.into_iter().map(|frame| Action::Discard(frame, DropReason::QueueFull));
        withdraw.into_iter().chain(discards).collect()
    }

    /// Takes a neighbour out of all books; the slot that it had is free.
    fn remove(&mut self, index: Index) -> Option<u32> {
        let entry = self.entries.remove(&index)?;
        match entry.asked {
            Some(ticket) => self.asked.remove(ticket),
            None => *self.answered.entry(index.0).or_default() -= 1,
        }
        self.free.extend(entry.slot);
        entry.slot
    }

    /// Takes all frames that wait for a neighbour.
    fn take_queue(&mut self, index: Index) -> Vec<PuntedFrame> {
        let Some(entry) = self.entries.get_mut(&index) else { return Vec::new() };
        let waiting: Vec<PuntedFrame> = entry.queue.drain(..).collect();
        for frame in &waiting {
            self.waiting.give_back(Asker::of(&frame.header), frame.bytes.len());
        }
        waiting
    }

    fn enqueue(&mut self, index: Index, frame: PuntedFrame) -> Vec<Action> {
        match self.entries.get_mut(&index).filter(|entry| entry.queue.len() < self.limits.frames) {
            Some(entry) if self.waiting.take(Asker::of(&frame.header), frame.bytes.len()) => {
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
        if let Some(ticket) = entry.asked.take() {
            self.asked.remove(ticket);
            *self.answered.entry(key.zone).or_default() += 1;
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

    fn expire(&mut self, index: Index, now: u64) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(&index) else { return Vec::new() };
        let key = key(index);
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
                self.remove(index);
                Vec::new()
            }
        }
    }

    /// Forgets all neighbours of a zone whose interface has gone or lost its link: others may be there when it is back.
    /// Returns what the data path has to forget, and the frames that waited.
    pub fn forget_zone(&mut self, zone: u32) -> (Vec<(u32, NeighbourKey)>, Vec<PuntedFrame>) {
        let known: Vec<Index> = self.entries.range(of_zone(zone)).map(|(index, _)| *index).collect();
        let (mut slots, mut frames) = (Vec::new(), Vec::new());
        for index in known {
            frames.extend(self.take_queue(index));
            slots.extend(self.remove(index).map(|slot| (slot, key(index))));
        }
        (slots, frames)
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.deadline).min()
    }

    /// All neighbours.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(index, entry): (&Index, &Entry)| Row {
            zone: index.0 as u16,
            address: Address { words: index.1 },
            mac: entry.slot.map(|_| entry.mac),
            state: entry.state,
            queued: entry.queue.len(),
        };
        self.entries.iter().map(row).collect()
    }
}

fn index(key: &NeighbourKey) -> Index {
    (key.zone, key.address.words)
}

fn key((zone, words): Index) -> NeighbourKey {
    NeighbourKey { zone, address: Address { words } }
}

/// Where the neighbours of a zone stand.
fn of_zone(zone: u32) -> RangeInclusive<Index> {
    (zone, [u32::MIN; 4])..=(zone, [u32::MAX; 4])
}

impl Entry {
    fn reachable(mac: [u8; 6], deadline: u64) -> Self {
        Self { state: State::Reachable, mac, slot: None, tries: 0, deadline, asked: None, queue: VecDeque::new() }
    }

    fn asked(ticket: Ticket, now: u64) -> Self {
        Self {
            state: State::Incomplete,
            mac: [0; 6],
            slot: None,
            tries: 1,
            deadline: now + RETRY,
            asked: Some(ticket),
            queue: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_core::event::PuntHeader;
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
    fn what_an_earlier_process_knew_stays_in_use_and_is_asked_soon() {
        let mut table = table();
        let known = |slot, last, generation| (slot, key(last), NeighbourWord::new(MAC, generation));
        let garbage = [known(5, 4, 9), known(8, 5, 1), known(6, 6, 0), known(7, 7, 3)];
        let refused = table.inherit(&[&[known(5, 7, 9), known(2, 9, 4)], garbage.as_slice()].concat(), 0);
        assert_eq!(refused.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [5, 8, 6, 7]);
        assert!(matches!(table.resolve(frame(9), 0)[..], [Action::Send(_, MAC)]));
        let asked = table.tick(SECOND);
        assert!(matches!(asked[..], [Action::Solicit(_, Some(MAC)), Action::Solicit(_, Some(MAC))]), "{asked:?}");
        assert!(table.seen(&key(9), MAC, SECOND).is_empty());
        // Slots in use are not given out; one that comes free gets another generation.
        let Some(Action::Publish(slot, ..)) = answered(&mut table, 8, SECOND).pop() else { panic!("publishes") };
        assert!(slot != 5 && slot != 2, "{slot}");
        table.forget_zone(1);
        let published = (10..18).filter_map(|last| match answered(&mut table, last, SECOND).pop() {
            Some(Action::Publish(slot, _, word)) => Some((slot, word.generation())),
            _ => None,
        });
        let published: Vec<_> = published.collect();
        assert!(published.contains(&(5, 10)) && published.contains(&(2, 5)), "{published:?}");
    }

    /// A neighbour in zone `to` that has answered to zone 0.
    fn answered_in(table: &mut Neighbours, to: u16, last: u8, now: u64) -> Vec<Action> {
        let actions = table.resolve(frame_between(0, to, last), now);
        table.seen(&NeighbourKey { zone: u32::from(to), ..key(last) }, MAC, now);
        actions
    }

    fn is_asked(actions: &[Action]) -> bool {
        matches!(actions, [.., Action::Solicit(_, None)])
    }

    fn is_refused(actions: &[Action]) -> bool {
        matches!(actions, [Action::Discard(_, DropReason::QueueFull)])
    }

    #[test]
    fn a_zone_that_fills_the_table_makes_room_for_the_others() {
        let mut table = table();
        for last in 1..=8 {
            answered_in(&mut table, 1, last, u64::from(last));
        }
        assert!(is_refused(&table.resolve(frame(9), 9)), "its own newcomers wait");
        for last in 1..=4 {
            let given_up = NeighbourKey { zone: 1, ..key(last) };
            let actions = answered_in(&mut table, 2, last, 10);
            assert!(matches!(&actions[..], [Action::Withdraw(_, key), Action::Solicit(_, None)] if *key == given_up));
        }
        assert!(is_refused(&table.resolve(frame_between(0, 2, 9), 10)), "both have the same now");
        assert!(is_asked(&table.resolve(frame_between(0, 3, 9), 10)));
        assert_eq!((table.rows().len(), table.answered[&1], table.answered[&2]), (8, 4, 3));
    }

    #[test]
    fn scans_from_many_zones_leave_room_for_others_in_the_scanned_one() {
        let mut table = Neighbours::new(Limits { neighbours: 64, frames: 2, bytes: 100_000 });
        answered_in(&mut table, 1, 254, 0);
        for scanner in 10..30 {
            for last in 0..100 {
                table.resolve(frame_between(scanner, 1, last), 0);
            }
        }
        assert_eq!(table.rows().len(), 33, "half of the table, and the one that has answered");
        for last in 200..203 {
            let actions = table.resolve(frame_between(2, 1, last), 0);
            assert!(last > 200 || is_asked(&actions), "{actions:?}");
        }
        assert!(table.rows().iter().any(|row| row.state == State::Reachable));
        // The end of the silence gives the room back.
        for second in [1, 2, 3, 6] {
            table.tick(second * SECOND);
        }
        assert_eq!(table.rows().len(), 1);
        assert!(is_asked(&table.resolve(frame_between(10, 1, 1), 7 * SECOND)));
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
        assert!((1..=4).all(|last| is_asked(&table.resolve(answer(last), 0))));
        assert!(is_refused(&table.resolve(answer(5), 0)));
        assert!(is_asked(&table.resolve(frame_between(0, 2, 6), 0)), "who answers");
        assert!(is_asked(&table.resolve(frame_between(1, 2, 7), 0)), "who is answered");
        assert!(is_refused(&table.resolve(answer(8), 0)));
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
        table.resolve(frame(2), 0);
        assert!(table.resolve(frame(2), 0).is_empty(), "the room is free again");
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
        // The slot is free again, under a new generation.
        let published = answered(&mut table, 7, SECOND);
        let word = published.iter().find_map(|action| match action {
            Action::Publish(_, _, word) => Some(word.generation()),
            _ => None,
        });
        assert_eq!(word, Some(2));
    }
}
