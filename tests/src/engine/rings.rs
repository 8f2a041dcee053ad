//! The other ends of a queue's rings: what the kernel and the NIC do with them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;

use nix::errno::Errno;
use vfw::backend::afxdp::sys::{Consumer, Descriptor, Producer, Rings, Umem, ring};
use vfw::backend::afxdp::{Kick, Queue};

/// Nobody has to be woken: the test looks at the rings by itself.
#[derive(Default)]
pub struct Silent {
    /// Nothing can leave, says the kernel.
    pub is_down: Cell<bool>,
}

impl Kick for Silent {
    fn send(&self) -> io::Result<()> {
        if self.is_down.get() { Err(Errno::ENETDOWN.into()) } else { Ok(()) }
    }

    fn receive(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the kernel puts a frame in a chunk.
const HEAD_ROOM: u64 = 256;

/// The other ends of one queue.
pub struct Adapter {
    fill: Consumer<u64>,
    receive: Producer<Descriptor>,
    send: Consumer<Descriptor>,
    completion: Producer<u64>,
    /// Chunks to receive into.
    chunks: VecDeque<u64>,
    /// Chunks that were sent and are not given back yet.
    sent: VecDeque<u64>,
    /// Bytes of a frame that has not come to its end.
    begun: Vec<u8>,
}

impl Adapter {
    /// Both sides of a queue with rings of `entries`.
    pub fn new(ifindex: u32, entries: u32, to_fill: u32) -> io::Result<(Self, Queue<Silent>)> {
        let (fill, fills) = ring(entries)?;
        let (receives, receive) = ring(entries)?;
        let (send, sends) = ring(entries)?;
        let (completes, completion) = ring(entries)?;
        let rings = Rings { fill, receive, send, completion };
        let adapter = Self {
            fill: fills,
            receive: receives,
            send: sends,
            completion: completes,
            chunks: VecDeque::new(),
            sent: VecDeque::new(),
            begun: Vec::new(),
        };
        Ok((adapter, Queue::new(ifindex, rings, Silent::default(), to_fill)))
    }

    fn take_chunks(&mut self) {
        while let Some(address) = self.fill.pop() {
            self.chunks.push_back(address);
        }
        self.fill.release();
    }

    /// Chunks that are here to receive frames into.
    pub fn filled(&mut self) -> usize {
        self.take_chunks();
        self.chunks.len()
    }

    /// Chunks that were sent and not given back.
    pub fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// Writes a frame into chunks, as many as it takes; whether there were enough of them.
    pub fn arrive(&mut self, umem: &mut Umem, frame: &[u8]) -> bool {
        self.take_chunks();
        let room = umem.frame_bytes() as usize;
        let pieces: Vec<&[u8]> = if frame.is_empty() { vec![frame] } else { frame.chunks(room).collect() };
        if pieces.len() > self.chunks.len() || self.receive.room(pieces.len() as u32) < pieces.len() as u32 {
            return false;
        }
        for (number, piece) in pieces.iter().enumerate() {
            let address = self.chunks.pop_front().expect("they were counted") + HEAD_ROOM;
            umem.lent_mut(address, piece.len() as u32).expect("a chunk of the fill ring").copy_from_slice(piece);
            let options = if number + 1 < pieces.len() { libc::XDP_PKT_CONTD } else { 0 };
            self.receive.push(Descriptor { address, length: piece.len() as u32, options });
        }
        self.receive.publish();
        true
    }

    /// Shows an entry that the worker must not follow.
    pub fn lie(&mut self, entry: Descriptor) {
        self.receive.push(entry);
        self.receive.publish();
    }

    /// Gives back a chunk that the worker may not have sent.
    pub fn lie_of_completion(&mut self, address: u64) {
        self.completion.push(address);
        self.completion.publish();
    }

    /// The frames that left, whole.
    pub fn departed(&mut self, umem: &mut Umem) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(entry) = self.send.pop() {
            assert!(entry.length > 0, "the kernel refuses empty parts");
            self.begun.extend_from_slice(umem.lent_mut(entry.address, entry.length).expect("a chunk that was sent"));
            self.sent.push_back(entry.address);
            if !entry.continues() {
                frames.push(std::mem::take(&mut self.begun));
            }
        }
        self.send.release();
        frames
    }

    /// Gives the chunks of frames that left back.
    pub fn complete(&mut self) {
        while let Some(address) = self.sent.pop_front() {
            self.completion.push(address);
        }
        self.completion.publish();
    }
}
