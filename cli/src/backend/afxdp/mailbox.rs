//! The way from the engine to the daemon: events and frames, as the rings of the programs in the kernel carry them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firewall_core::PuntTask;
use firewall_core::event::{Event, PuntHeader, Topic};

use crate::backend::kernel::PuntedFrame;

/// Events of each topic, and frames of each task, that may wait. What is above is lost, and counted by whoever sent it.
const MAX_EVENTS: usize = 4096;
const MAX_FRAMES: usize = 1024;
/// Bytes of all frames that wait for one task.
const MAX_BYTES: usize = 1 << 22;

#[derive(Default)]
struct Letters {
    /// By topic.
    events: [VecDeque<Event>; Topic::ALL.len()],
    /// To resolve, to report.
    frames: [Frames; 2],
}

#[derive(Default)]
struct Frames {
    waiting: VecDeque<PuntedFrame>,
    bytes: usize,
}

/// The engine's end.
#[derive(Clone)]
pub struct Mailbox {
    letters: Arc<Mutex<Letters>>,
    bell: Arc<UnixStream>,
}

/// The daemon's end: readable when something has come.
pub struct Letterbox {
    letters: Arc<Mutex<Letters>>,
    bell: UnixStream,
    /// The other end of the bell.
    reminder: Arc<UnixStream>,
}

/// Both ends.
pub fn mailbox() -> io::Result<(Mailbox, Letterbox)> {
    let (ring, listen) = UnixStream::pair()?;
    ring.set_nonblocking(true)?;
    listen.set_nonblocking(true)?;
    let letters = Arc::new(Mutex::new(Letters::default()));
    let ring = Arc::new(ring);
    let letterbox = Letterbox { letters: Arc::clone(&letters), bell: listen, reminder: Arc::clone(&ring) };
    Ok((Mailbox { letters, bell: ring }, letterbox))
}

fn lock(letters: &Mutex<Letters>) -> MutexGuard<'_, Letters> {
    letters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// Tells of an event; whether there was room.
    pub fn tell(&self, topic: Topic, event: &Event) -> bool {
        let mut letters = lock(&self.letters);
        let Some(events) = letters.events.get_mut(topic as usize).filter(|events| events.len() < MAX_EVENTS) else {
            return false;
        };
        events.push_back(*event);
        let is_first = events.len() == 1;
        drop(letters);
        self.ring(is_first);
        true
    }

    /// Hands a frame over; whether there was room.
    pub fn punt(&self, header: &PuntHeader, bytes: &[u8]) -> bool {
        let mut letters = lock(&self.letters);
        let number = usize::from(header.task == PuntTask::Report as u8);
        let Some(frames) = letters.frames.get_mut(number) else { return false };
        if frames.waiting.len() >= MAX_FRAMES || frames.bytes + bytes.len() > MAX_BYTES {
            return false;
        }
        frames.bytes += bytes.len();
        frames.waiting.push_back(PuntedFrame { header: *header, bytes: bytes.to_vec() });
        let is_first = frames.waiting.len() == 1;
        drop(letters);
        self.ring(is_first);
        true
    }

    fn ring(&self, is_first: bool) {
        if is_first {
            // A bell that rings already is as good.
            let _ = (&*self.bell).write(&[0]);
        }
    }
}

impl Letterbox {
    /// Hears the bell. Before the letters are taken: one that comes later rings again.
    pub fn hear(&self) {
        while (&self.bell).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }

    /// Rings again for what was left.
    pub fn remind(&self) {
        let letters = lock(&self.letters);
        let is_empty = letters.events.iter().all(VecDeque::is_empty)
            && letters.frames.iter().all(|frames| frames.waiting.is_empty());
        drop(letters);
        if !is_empty {
            // A bell that rings already is as good.
            let _ = (&*self.reminder).write(&[0]);
        }
    }

    /// The next event of a topic, if there is one.
    pub fn event(&self, topic: Topic) -> Option<Event> {
        lock(&self.letters).events.get_mut(topic as usize)?.pop_front()
    }

    /// The next frame for a task, if there is one.
    pub fn frame(&self, task: PuntTask) -> Option<PuntedFrame> {
        let mut letters = lock(&self.letters);
        let frames = letters.frames.get_mut(usize::from(task == PuntTask::Report))?;
        let frame = frames.waiting.pop_front()?;
        frames.bytes -= frame.bytes.len();
        Some(frame)
    }
}

impl AsFd for Letterbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
