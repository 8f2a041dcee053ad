//! Sends the frames that the daemon finishes: those that waited for a neighbour, questions, and errors.

use std::collections::HashMap;
use std::io;

use firewall_core::frame::{ETHERNET, TAGGED_ETHERNET};
use firewall_core::packet::{Packet, protocol};
use firewall_core::parse;
use firewall_core::tables::Zone;

use super::packet_socket::{GSO_TCPV4, GSO_TCPV6, GSO_UDP, Offload, PacketSocket};
use crate::backend::kernel::PuntedFrame;
use crate::backend::memory::MemoryFrame;

/// One socket per interface.
#[derive(Default)]
pub struct Ports {
    sockets: HashMap<u32, PacketSocket>,
}

impl Ports {
    /// Opens the interface in the calling thread's network namespace.
    pub fn open(&mut self, ifindex: u32) -> io::Result<()> {
        self.sockets.insert(ifindex, PacketSocket::open(ifindex)?);
        Ok(())
    }

    /// Closes the socket of an interface that is gone.
    pub fn close(&mut self, ifindex: u32) {
        self.sockets.remove(&ifindex);
    }

    /// Sends a frame as it is.
    pub fn send(&self, zone: &Zone, frame: &[u8]) -> io::Result<()> {
        self.send_offloaded(zone, frame, Offload::default())
    }

    /// Sends a frame that waited, now that its neighbour's MAC is known.
    pub fn finish(&self, zone: &Zone, punted: &mut PuntedFrame, mac: [u8; 6]) -> io::Result<()> {
        let offload = offload(punted);
        let frame = &mut punted.bytes;
        if let Some(destination) = frame.get_mut(..mac.len()) {
            destination.copy_from_slice(&mac);
        }
        // A tag beside the frame is lost on the way to user space.
        let offload = match zone.tag() {
            Some(vlan) if frame.get(12..14) != Some(&[0x81, 0x00]) && frame.len() > 12 => {
                let [high, low] = vlan.to_be_bytes();
                frame.splice(12..12, [0x81, 0x00, high, low]);
                offload.moved_by((TAGGED_ETHERNET - ETHERNET) as u16)
            }
            _ => offload,
        };
        self.send_offloaded(zone, frame, offload)
    }

    fn send_offloaded(&self, zone: &Zone, frame: &[u8], offload: Offload) -> io::Result<()> {
        let socket = self.sockets.get(&zone.ifindex).ok_or(io::ErrorKind::NotFound)?;
        socket.send(frame, offload)
    }
}

/// What the kernel still has to do to a punted frame: an unfinished checksum, and the segments of a super-packet.
fn offload(punted: &PuntedFrame) -> Offload {
    let frame = MemoryFrame::new(punted.bytes.clone());
    let mut packet = Packet::EMPTY;
    let Ok(ethernet) = parse::ethernet(&frame, &mut packet) else { return Offload::default() };
    if parse::ip(&frame, &ethernet, &mut packet).is_err() {
        return Offload::default();
    }
    let (field, kind, header) = match packet.protocol {
        protocol::TCP => {
            let kind = if packet.is_v4() { GSO_TCPV4 } else { GSO_TCPV6 };
            (16, kind, u32::from(packet.tcp.header_length))
        }
        protocol::UDP => (6, GSO_UDP, 8),
        _ => return Offload::default(),
    };
    let is_unfinished = firewall_core::rewrite::is_unfinished(&frame, &packet).unwrap_or(false);
    let start = packet.transport_offset as u16;
    let size = punted.header.gso_size as u16;
    Offload {
        checksum: (is_unfinished || size != 0).then_some((start, field)),
        segments: (size != 0).then_some((kind, start + header as u16, size)),
    }
}
