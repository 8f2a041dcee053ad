//! Who may take how much of the neighbour table and of the queues, so that nobody takes them from the others.

use std::collections::BTreeMap;

use firewall_core::event::PuntHeader;

/// A neighbour: its zone and address.
pub type Index = (u32, [u32; 4]);

/// Who asks for a neighbour: the zone that began the flow. Answers have an account of their own: a host that makes up
/// senders in its zone makes others answer to absent hosts there, which must not cost them their share, nor its zone the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Asker {
    /// The zone.
    pub zone: u16,
    /// Whether others answer to it.
    pub is_answer: bool,
}

impl Asker {
    /// Who asks for the neighbour of a frame.
    pub fn of(header: &PuntHeader) -> Self {
        Self { zone: header.asker, is_answer: header.asker != header.from }
    }
}

/// Whether one more neighbour may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There is room.
    Free,
    /// When this one is given up for it: the oldest of whoever asks for most.
    Of(Index),
    /// No: nobody asks for more than who wants it.
    None,
}

/// Neighbours that were asked for and have not answered. Whoever scans absent addresses fills this part of the table, and gives
/// up a place for everyone who asks for less (RFC 6583 section 3 wants the same of routers).
pub struct Asked {
    room: usize,
    count: usize,
    next: u64,
    /// In the order in which they were asked for.
    by_asker: BTreeMap<Asker, BTreeMap<u64, Index>>,
}

/// A place among those that were asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(Asker, u64);

impl Asked {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        Self { room, count: 0, next: 0, by_asker: BTreeMap::new() }
    }

    /// The place for one more.
    pub fn place(&self, asker: Asker) -> Place {
        if self.count < self.room {
            return Place::Free;
        }
        let own = self.by_asker.get(&asker).map_or(0, BTreeMap::len);
        let most = self.by_asker.values().max_by_key(|asked| asked.len());
        match most.filter(|asked| asked.len() > own + 1).and_then(BTreeMap::first_key_value) {
            Some((_, index)) => Place::Of(*index),
            None => Place::None,
        }
    }

    /// Takes a place.
    pub fn add(&mut self, asker: Asker, index: Index) -> Ticket {
        let number = self.next;
        self.next += 1;
        self.count += 1;
        self.by_asker.entry(asker).or_default().insert(number, index);
        Ticket(asker, number)
    }

    /// Gives it back.
    pub fn remove(&mut self, Ticket(asker, number): Ticket) {
        let Some(asked) = self.by_asker.get_mut(&asker) else { return };
        self.count -= usize::from(asked.remove(&number).is_some());
        if asked.is_empty() {
            self.by_asker.remove(&asker);
        }
    }
}

/// Bytes of frames that wait. Each asker may have as many as are left free (the dynamic threshold of shared buffers, Choudhury and
/// Hahne 1998): alone half of all, and with others so much less that a newcomer finds room within the time that a frame waits.
pub struct Waiting {
    limit: usize,
    all: usize,
    by_asker: BTreeMap<Asker, usize>,
}

impl Waiting {
    /// At most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, all: 0, by_asker: BTreeMap::new() }
    }

    /// Takes room for a frame, if there is enough.
    pub fn take(&mut self, asker: Asker, bytes: usize) -> bool {
        let own = self.by_asker.get(&asker).copied().unwrap_or_default();
        if own + bytes > self.limit.saturating_sub(self.all) {
            return false;
        }
        self.all += bytes;
        *self.by_asker.entry(asker).or_default() += bytes;
        true
    }

    /// Gives it back.
    pub fn give_back(&mut self, asker: Asker, bytes: usize) {
        let Some(own) = self.by_asker.get_mut(&asker) else { return };
        (*own, self.all) = (own.saturating_sub(bytes), self.all.saturating_sub(bytes));
        if *own == 0 {
            self.by_asker.remove(&asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(zone: u16) -> Asker {
        Asker { zone, is_answer: false }
    }

    /// Asks as long as there is a place; what has been given up.
    fn ask(asked: &mut Asked, tickets: &mut BTreeMap<Index, Ticket>, zone: u16, times: u32) -> usize {
        let mut got = 0;
        for number in 0..times {
            match asked.place(asker(zone)) {
                Place::Free => {}
                Place::Of(index) => asked.remove(tickets.remove(&index).expect("a ticket")),
                Place::None => break,
            }
            let index = (u32::from(zone), [number; 4]);
            tickets.insert(index, asked.add(asker(zone), index));
            got += 1;
        }
        got
    }

    #[test]
    fn however_many_scan_everyone_has_a_share() {
        let (mut asked, mut tickets) = (Asked::new(64), BTreeMap::new());
        assert_eq!(ask(&mut asked, &mut tickets, 0, 1_000), 64, "nobody else wants any");
        for zone in 1..16 {
            assert!(ask(&mut asked, &mut tickets, zone, 1_000) >= 64 / 17, "zone {zone}");
        }
        let shares: Vec<usize> = asked.by_asker.values().map(BTreeMap::len).collect();
        assert!(shares.len() == 16 && shares.iter().all(|share| (3..=6).contains(share)), "{shares:?}");
        assert_eq!(ask(&mut asked, &mut tickets, 99, 1), 1, "a newcomer");
        assert_eq!(asked.count, 64);
        for ticket in tickets.into_values() {
            asked.remove(ticket);
        }
        assert!(asked.by_asker.is_empty() && asked.count == 0);
    }

    #[test]
    fn bytes_that_wait_leave_room_for_others() {
        let mut waiting = Waiting::new(4_096);
        let mut fill = |zone| (0..100).take_while(|_| waiting.take(asker(zone), 100)).count();
        assert_eq!([fill(0), fill(1), fill(2)], [20, 10, 5]);
        waiting.give_back(asker(0), 2_000);
        assert!((0..10).all(|_| waiting.take(asker(3), 100)));
    }
}
