//! What the data path sends to user space: events and punted frames.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use firewall_core::event::{Event, PuntHeader};
use zerocopy::FromBytes;

/// The ring of events.
pub struct Events(pub(super) RingBuf<MapData>);

/// The ring of punted frames.
pub struct Punts(pub(super) RingBuf<MapData>);

/// A frame that the data path could not finish.
#[derive(Clone, Debug)]
pub struct PuntedFrame {
    /// What is to be done with it.
    pub header: PuntHeader,
    /// Its bytes, from the destination MAC on; a tag that travelled beside them is not among them.
    pub bytes: Vec<u8>,
}

impl Events {
    /// The next event, if there is one.
    pub fn take(&mut self) -> Option<Event> {
        let record = self.0.next()?;
        Event::read_from_prefix(&record).ok().map(|(event, _)| event)
    }
}

impl Punts {
    /// The next frame, if there is one.
    pub fn take(&mut self) -> Option<PuntedFrame> {
        let record = self.0.next()?;
        let (header, rest) = PuntHeader::read_from_prefix(&record).ok()?;
        let bytes = rest.get(..header.length as usize)?.to_vec();
        Some(PuntedFrame { header, bytes })
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Punts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
