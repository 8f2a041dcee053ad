//! The other end of a veth pair, also in another network namespace that has a name (`ip netns`).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::thread;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::sched::{CloneFlags, setns};
use serde::Serialize;

use super::netlink::Netlink;
use super::{Interface, link_name, list_links};

/// Where iproute2 keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// The other end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name there.
    pub name: String,
    /// Its MTU.
    pub mtu: u32,
    /// The namespace that it is in, by the name that iproute2 knows; nothing when it is in that of the calling thread.
    pub namespace: Option<String>,
}

/// The other end of `interface`; nothing when it is none of a pair, or its other end is where nobody can name it.
pub fn peer(interface: &Interface) -> Option<Peer> {
    let index = interface.peer_index?;
    if !interface.peer_is_elsewhere {
        return end(index, None);
    }
    let id = namespace_id(interface)?;
    let names = fs::read_dir(NAMESPACES).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().find_map(|name| {
        let file = File::open(Path::new(NAMESPACES).join(&name)).ok()?;
        if id_of(&file).ok()? != Some(id) {
            return None;
        }
        let there = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).ok()?;
            end(index, Some(name))
        });
        there.join().ok()?
    })
}

/// The interface of that number in the namespace of the calling thread.
fn end(index: u32, namespace: Option<String>) -> Option<Peer> {
    let links = list_links("all interfaces").ok()?;
    let link = links.iter().find(|link| link.header.index == index)?;
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    Some(Peer { name: link_name(link)?.to_owned(), mtu: mtu?, namespace })
}

/// The number under which this namespace knows that of the other end.
fn namespace_id(interface: &Interface) -> Option<i32> {
    let links = list_links(&interface.name).ok()?;
    let link = links.iter().find(|link| link.header.index == interface.index)?;
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    })
}

/// The number under which this namespace knows another one; nothing when it does not.
fn id_of(namespace: &File) -> io::Result<Option<i32>> {
    let mut request = NsidMessage::default();
    request.attributes.push(NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned()));
    let answers = Netlink::route()?.call(RouteNetlinkMessage::GetNsId(request), 0)?;
    Ok(answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(told) => told.attributes.into_iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) if id >= 0 => Some(id),
            _ => None,
        }),
        _ => None,
    }))
}
