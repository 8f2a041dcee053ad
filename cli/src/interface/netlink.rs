//! One blocking netlink socket.
//!
//! A socket belongs to the network namespace of the thread that opens it, for as long as it lives. It is therefore opened where
//! it is used and never shared through a runtime.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::constants::{NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

/// Id of the family that knows the other families.
const CONTROLLER: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Command, version and two reserved bytes.
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// A connection with the kernel in the namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Links, addresses, queueing disciplines.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// Families that are known by name: `ethtool`, `netdev`.
    pub(crate) fn generic() -> io::Result<Self> {
        Self::open(NETLINK_GENERIC)
    }

    /// Connection tracking.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a routing request; see [`Self::request`].
    pub(crate) fn call(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, flags)
    }

    /// Sends a request of family `family`; returns the attributes of each answer.
    pub(crate) fn call_generic(
        &mut self,
        family: u16,
        command: u8,
        attributes: Attributes,
    ) -> io::Result<Vec<Vec<u8>>> {
        let request = Generic { family, command, version: 1, attributes: attributes.0 };
        Ok(self.request(request, 0)?.into_iter().map(|answer| answer.attributes).collect())
    }

    /// The id of a generic family; nothing when this kernel does not have it.
    pub(crate) fn family(&mut self, name: &str) -> io::Result<Option<u16>> {
        let attributes = Attributes::default().text(CTRL_ATTR_FAMILY_NAME, name);
        let request = Generic { family: CONTROLLER, command: CTRL_CMD_GETFAMILY, version: 2, attributes: attributes.0 };
        match self.request(request, 0) {
            Ok(answers) => Ok(answers
                .iter()
                .flat_map(|answer| attributes_of(&answer.attributes))
                .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)
                .and_then(|(_, value)| value.try_into().ok().map(u16::from_ne_bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one request and collects the answers up to the kernel's acknowledgement.
    fn request<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Debug,
    {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.collect(&datagram, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes the messages of one datagram; true when the last one was among them.
    fn collect<M>(&self, mut datagram: &[u8], answers: &mut Vec<M>) -> io::Result<bool>
    where
        M: NetlinkDeserializable + Debug,
    {
        while !datagram.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(datagram)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(length.max(16)..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) => {
                    return if error.code.is_none() { Ok(true) } else { Err(error.to_io()) };
                }
                NetlinkPayload::Done(done) => {
                    return if done.code < 0 { Err(io::Error::from_raw_os_error(-done.code)) } else { Ok(true) };
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Attributes of a generic message, written one after another.
#[derive(Debug, Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds raw bytes.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = ATTRIBUTE_HEADER + value.len();
        self.0.extend_from_slice(&(length as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a string.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds a flag, which is true by being there.
    pub(crate) fn flag(self, kind: u16, value: bool) -> Self {
        if value { self.bytes(kind, &[]) } else { self }
    }

    /// Adds attributes inside an attribute.
    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }
}

/// The attributes in `bytes`; ends at the first that is cut short.
pub(crate) fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<ATTRIBUTE_HEADER>()?;
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A generic netlink message whose attributes are left as bytes.
#[derive(Debug)]
struct Generic {
    family: u16,
    command: u8,
    version: u8,
    attributes: Vec<u8>,
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..GENERIC_HEADER].copy_from_slice(&[self.command, self.version, 0, 0]);
        buffer[GENERIC_HEADER..self.buffer_len()].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let Some(([command, version, _, _], attributes)) = payload.split_first_chunk::<GENERIC_HEADER>() else {
            return Err(DecodeError::from("a generic netlink message without its header"));
        };
        Ok(Self { family: header.message_type, command: *command, version: *version, attributes: attributes.to_vec() })
    }
}
