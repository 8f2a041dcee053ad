//! One worker: frames from the rings of its queues, through the pipeline, into the rings of other queues.
//!
//! A frame stays in the chunk in which it came; what moves is who has the chunk. Every chunk that a step takes out of a ring
//! goes back in the same step: to a send ring, or to the free ones, from which the fill rings are topped up.

use std::collections::VecDeque;
use std::io;

use firewall_core::event::{Dropped, PuntHeader};
use firewall_core::packet::Packet;
use firewall_core::tables::Tables as _;
use firewall_core::{DropReason, Egress, Frame as _, Punt, PuntTask, Verdict, process};

use super::frame::{Part, UmemFrame};
use super::store::Store;
use super::sys::{Descriptor, Rings, Umem};
use super::tables::EngineTables;

/// Frames taken from one queue before the next has its turn: as many as stay in the first level cache.
const BATCH: usize = 64;
/// Frames that are looked at together before the first of them is forwarded: long enough for memory to come, and little enough to
/// stay in the cache.
const GROUP: usize = 16;
/// So many frames before its turn a frame's headers are fetched into the cache: another CPU has written them.
const AHEAD: u32 = 4;
/// Most buffers of one frame (`MAX_SKB_FRAGS` of Linux, and the linear part).
const MAX_PARTS: usize = 18;
/// Calls to the kernel for one batch: in copy mode it sends 32 frames in each.
const KICKS: usize = 16;

/// How the other side of the rings is woken.
pub trait Kick {
    /// Lets it send.
    fn send(&self) -> io::Result<()>;
    /// Lets it receive.
    fn receive(&self) -> io::Result<()>;
}

/// One queue of an interface.
pub struct Queue<K> {
    /// Number of the interface.
    pub ifindex: u32,
    /// The rings.
    pub rings: Rings,
    /// Wakes the other side.
    pub kick: K,
    /// Chunks that the fill ring is to have.
    pub to_fill: u32,
    /// Frames may leave by it.
    pub sends: bool,
    /// Chunks that it has.
    filled: u32,
    /// The last frame has not come to its end: its rest belongs to it.
    skips: bool,
    /// The link was down when frames were last to leave.
    is_down: bool,
}

impl<K> Queue<K> {
    /// A queue that receives and sends, whose fill ring is to have `to_fill` chunks.
    pub fn new(ifindex: u32, rings: Rings, kick: K, to_fill: u32) -> Self {
        Self { ifindex, rings, kick, to_fill, sends: true, filled: 0, skips: false, is_down: false }
    }
}

impl<K: Kick> Queue<K> {
    /// Gives the kernel chunks to receive into; this is queue `number` of those on `umem`.
    pub fn top_up(&mut self, umem: &mut Umem, number: u16) {
        let wanted = self.to_fill.saturating_sub(self.filled);
        if wanted == 0 {
            return;
        }
        for _ in 0..self.rings.fill.room(wanted).min(wanted) {
            let Some(address) = umem.fill(number) else { break };
            self.rings.fill.push(address);
            self.filled += 1;
        }
        self.rings.fill.publish();
        if self.rings.fill.needs_wakeup() {
            // What went wrong shows when frames are sent; there is nothing to be done about it here.
            let _ = self.kick.receive();
        }
    }
}

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Frames taken out of receive rings.
    pub received: usize,
    /// Frames put into send rings.
    pub sent: usize,
    /// Entries of the kernel's rings that made no sense.
    pub nonsense: usize,
}

/// Rings, memory and tables of one worker.
pub struct Worker<S, K> {
    umem: Umem,
    queues: Vec<Queue<K>>,
    tables: EngineTables<S>,
    /// By zone: the queues by which frames leave its interface.
    ways_out: Vec<Vec<u16>>,
    /// The frame in hand.
    parts: Vec<Part>,
    /// The frames that wait behind it.
    group: VecDeque<Waiting>,
    /// Their parts, in order.
    waiting: VecDeque<Part>,
}

/// A frame that was looked at.
struct Waiting {
    parts: usize,
    /// Of its flow.
    hash: Option<u64>,
}

impl<S: Store, K: Kick> Worker<S, K> {
    /// A worker for these queues, whose frames lie in `umem`.
    pub fn new(umem: Umem, queues: Vec<Queue<K>>, tables: EngineTables<S>) -> Self {
        let mut worker = Self {
            umem,
            queues,
            tables,
            ways_out: Vec::new(),
            parts: Vec::with_capacity(MAX_PARTS),
            group: VecDeque::with_capacity(GROUP),
            waiting: VecDeque::with_capacity(GROUP),
        };
        worker.find_ways_out();
        worker
    }

    /// Changes the tables, and follows where zones are now.
    pub fn change(&mut self, change: impl FnOnce(&mut EngineTables<S>)) {
        change(&mut self.tables);
        self.find_ways_out();
    }

    /// The tables.
    pub fn tables(&self) -> &EngineTables<S> {
        &self.tables
    }

    /// The memory of the frames.
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The same, for a test in the kernel's place.
    pub fn umem_mut(&mut self) -> &mut Umem {
        &mut self.umem
    }

    /// The queues.
    pub fn queues(&self) -> &[Queue<K>] {
        &self.queues
    }

    fn find_ways_out(&mut self) {
        let queues = &self.queues;
        let of = |ifindex: u32| {
            let own =
                queues.iter().enumerate().filter(|(_, queue)| queue.sends && queue.ifindex == ifindex && ifindex != 0);
            own.map(|(number, _)| number as u16).collect()
        };
        self.ways_out = self.tables.policy().tables.zones.iter().map(|zone| of(zone.ifindex)).collect();
    }

    /// Has the drivers look for frames now, in place of an interrupt.
    pub fn poll(&self) {
        for queue in &self.queues {
            // Nothing has come, or the interface is gone: the step that follows sees either.
            let _ = queue.kick.receive();
        }
    }

    /// Takes what has come, once round the queues, at `now` (nanoseconds).
    pub fn step(&mut self, now: u64) -> Work {
        let mut work = Work::default();
        for number in 0..self.queues.len() {
            self.reclaim(number, &mut work);
            if let Some(queue) = self.queues.get_mut(number) {
                queue.top_up(&mut self.umem, number as u16);
            }
            for _ in 0..BATCH / GROUP {
                self.gather(number, &mut work);
                if self.group.is_empty() {
                    break;
                }
                while let Some(frame) = self.group.pop_front() {
                    self.parts.extend(self.waiting.drain(..frame.parts));
                    self.forward(number, now, &mut work);
                }
            }
            if let Some(queue) = self.queues.get_mut(number) {
                queue.rings.receive.release();
            }
            self.transmit();
        }
        self.tables.store().end_step();
        work
    }

    /// Takes back the chunks of frames that were sent.
    fn reclaim(&mut self, number: usize, work: &mut Work) {
        let Some(queue) = self.queues.get_mut(number) else { return };
        while let Some(address) = queue.rings.completion.pop() {
            if !self.umem.completed(address, number as u16) {
                work.nonsense += 1;
            }
        }
        queue.rings.completion.release();
    }

    /// Takes a group of frames out of a receive ring, and has fetched what forwarding them will look at.
    fn gather(&mut self, number: usize, work: &mut Work) {
        while self.group.len() < GROUP && self.receive(number, work) {
            let hash = self.tables.fetch_way(&UmemFrame::new(&mut self.umem, &mut self.parts));
            self.group.push_back(Waiting { parts: self.parts.len(), hash });
            self.waiting.extend(self.parts.drain(..));
        }
        for hash in self.group.iter().filter_map(|frame| frame.hash) {
            self.tables.fetch_flow(hash);
        }
    }

    /// Takes one whole frame out of a receive ring into `parts`; whether there was one.
    fn receive(&mut self, number: usize, work: &mut Work) -> bool {
        let Self { umem, queues, parts, .. } = self;
        let Some(queue) = queues.get_mut(number) else { return false };
        while let Some(entry) = queue.rings.receive.pop() {
            if let Some(later) = queue.rings.receive.peek(AHEAD) {
                umem.prefetch(later.address);
            }
            let is_end = !entry.continues();
            let received = umem.received(entry.address, entry.length, number as u16);
            queue.filled = queue.filled.saturating_sub(u32::from(received.is_some()));
            match received {
                None => {
                    work.nonsense += 1;
                    queue.skips = true;
                }
                Some((chunk, _)) if queue.skips || parts.len() >= MAX_PARTS => {
                    umem.give(chunk);
                    queue.skips = true;
                }
                Some((chunk, offset)) => parts.push(Part { chunk, offset, length: entry.length }),
            }
            if !is_end {
                continue;
            }
            if std::mem::take(&mut queue.skips) {
                parts.drain(..).for_each(|part| umem.give(part.chunk));
                continue;
            }
            work.received += 1;
            return true;
        }
        // The rest of a frame that the kernel has not written whole: it writes all parts of one or none.
        if !parts.is_empty() {
            work.nonsense += 1;
            queue.skips = true;
            parts.drain(..).for_each(|part| umem.give(part.chunk));
        }
        false
    }

    /// Takes the frame in `parts` through the pipeline and to its end.
    fn forward(&mut self, number: usize, now: u64, work: &mut Work) {
        let ifindex = self.queues.get(number).map_or(0, |queue| queue.ifindex);
        self.tables.begin(now);
        let mut packet = Packet::EMPTY;
        let mut frame = UmemFrame::new(&mut self.umem, &mut self.parts);
        let verdict = process(&mut frame, &self.tables, ifindex, now, &mut packet);
        match verdict {
            Verdict::Transmit(egress) => {
                let length = frame.length();
                if self.send(egress, number) {
                    work.sent += 1;
                } else {
                    let from = packet_zone(&self.tables, ifindex, &packet);
                    let dropped = Dropped { from, reason: DropReason::Rewrite, ifindex, length, now };
                    self.tables.count_dropped(&dropped, &packet);
                }
            }
            Verdict::Punt(punt) => punt_frame(&self.tables, &frame, punt, &packet, (ifindex, now)),
            Verdict::Drop(_) | Verdict::Consume => {}
        }
        self.tables.settle();
        self.parts.drain(..).for_each(|part| self.umem.give(part.chunk));
    }

    /// Puts the frame in `parts` into a send ring of its zone; whether there was one with room.
    fn send(&mut self, egress: Egress, from: usize) -> bool {
        let ways = self.ways_out.get(usize::from(egress.zone)).map_or(&[][..], Vec::as_slice);
        // Frames of one receive queue leave by one send queue, in order.
        let Some(way) = ways.get(from.checked_rem(ways.len()).unwrap_or(0)).copied() else { return false };
        let Some(queue) = self.queues.get_mut(usize::from(way)) else { return false };
        // Cut off by an answer of vfw that is shorter than its question.
        while let Some(part) = self.parts.pop_if(|part| part.length == 0) {
            self.umem.give(part.chunk);
        }
        let wanted = self.parts.len() as u32;
        if queue.rings.send.room(wanted) < wanted {
            return false;
        }
        let count = self.parts.len();
        for (number, part) in self.parts.drain(..).enumerate() {
            let options = if number + 1 < count { libc::XDP_PKT_CONTD } else { 0 };
            let address = self.umem.send(part.chunk, part.offset, way);
            queue.rings.send.push(Descriptor { address, length: part.length, options });
        }
        true
    }

    /// Lets the kernel send what is in the send rings.
    fn transmit(&mut self) {
        for queue in &mut self.queues {
            queue.rings.send.publish();
            queue.is_down = false;
            for _ in 0..KICKS {
                if queue.rings.send.pending() == 0 {
                    break;
                }
                // What could not leave stays in the ring for the next step: memory is short, or the link is down.
                match queue.kick.send().map_err(|error| error.raw_os_error()) {
                    Err(Some(libc::EAGAIN)) => continue,
                    Err(Some(libc::ENETDOWN)) => queue.is_down = true,
                    _ => {}
                }
                break;
            }
        }
    }

    /// Whether frames are on their way to the kernel: the next step has to come without being asked for. Those for a link that is
    /// down have time.
    pub fn is_sending(&mut self) -> bool {
        self.queues.iter_mut().any(|queue| !queue.is_down && queue.rings.send.pending() > 0)
    }
}

/// The zone of a frame that the pipeline has sent on, as far as it can be told.
fn packet_zone<S: Store>(tables: &EngineTables<S>, ifindex: u32, packet: &Packet) -> u16 {
    let mut zone = firewall_core::tables::NO_ZONE;
    let _ = firewall_core::zone::find(tables, ifindex, packet.vlan, 0, &mut zone);
    zone
}

/// Bytes of a frame that an ICMP error can use, as for the programs in the kernel.
const QUOTED: usize = 1_280;

/// Hands a copy of a frame to the daemon. One that was to go on counts as dropped when there is no room; one that is to be
/// reported has been counted by the pipeline.
fn punt_frame<S: Store>(
    tables: &EngineTables<S>,
    frame: &UmemFrame,
    punt: Punt,
    packet: &Packet,
    (ifindex, now): (u32, u64),
) {
    let mut bytes = frame.to_vec();
    if punt.task == PuntTask::Report {
        bytes.truncate(QUOTED);
    }
    let header = PuntHeader::new(&punt, packet, bytes.len() as u32, 0);
    if !tables.store().punt(&header, &bytes) && punt.task == PuntTask::Resolve {
        let (reason, length) = (DropReason::QueueFull, frame.length());
        tables.count_dropped(&Dropped { from: punt.from, reason, ifindex, length, now }, packet);
    }
}
