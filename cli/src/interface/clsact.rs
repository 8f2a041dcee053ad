//! The qdisc on which tc programs hang before Linux 6.6, and what hangs on it.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::netlink::Netlink;
use super::{InterfaceError, index_of, link_name, list_links};

/// `TC_H_CLSACT` is the parent of the qdisc, `ffff:` its handle, and `ffff:fff2` where filters of received frames hang
/// (`linux/pkt_sched.h`).
const PARENT: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
const HANDLE: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff2 };
/// Likewise of sent ones.
const EGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff3 };

/// A filter that runs an eBPF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The interface on which it hangs.
    pub interface: String,
    /// Its place among others.
    pub priority: u16,
    /// Its number at that place.
    pub handle: u32,
    /// Name of the program.
    pub program: String,
}

/// Adds the `clsact` qdisc to the interface `name`; nothing when there is one already.
pub fn add_clsact(name: &str) -> Result<(), InterfaceError> {
    let index = index_of(name)?;
    let add = || {
        let request = RouteNetlinkMessage::NewQueueDiscipline(qdisc(index));
        match Netlink::route()?.call(request, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    };
    add().map_err(InterfaceError::system(name, "add the clsact qdisc, on which tc programs hang before Linux 6.6,"))
}

/// Removes the `clsact` qdisc of an interface when nothing hangs on it any more.
pub fn remove_empty_clsact(index: u32) {
    let is_empty = |parent| filters(index, parent).is_ok_and(|filters| filters.is_empty());
    if !is_empty(INGRESS) || !is_empty(EGRESS) {
        return;
    }
    let remove = || Netlink::route()?.call(RouteNetlinkMessage::DelQueueDiscipline(qdisc(index)), 0);
    if let Err(error) = remove() {
        tracing::debug!(index, %error, "clsact qdisc not removed");
    }
}

/// The eBPF programs that see what an interface receives, by filters of its `clsact` qdisc.
pub fn ingress_filters(index: u32) -> Result<Vec<Filter>, InterfaceError> {
    let name = list_links("all interfaces")?
        .iter()
        .find(|link| link.header.index == index)
        .and_then(|link| link_name(link).map(ToOwned::to_owned))
        .unwrap_or_default();
    let found = filters(index, INGRESS).map_err(InterfaceError::system(&name, "list tc filters"))?;
    Ok(found.into_iter().filter_map(|filter| read(&name, filter)).collect())
}

fn filters(index: u32, parent: TcHandle) -> io::Result<Vec<TcMessage>> {
    let mut request = TcMessage::with_index(index.cast_signed());
    request.header.parent = parent;
    let answers = Netlink::route()?.call(RouteNetlinkMessage::GetTrafficFilter(request), NLM_F_DUMP)?;
    let filters = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => Some(filter),
        _ => None,
    });
    Ok(filters.collect())
}

fn read(interface: &str, filter: TcMessage) -> Option<Filter> {
    let TcHandle { major, minor } = filter.header.handle;
    // Priority in the upper half, protocol in the lower one.
    let priority = (filter.header.info >> 16) as u16;
    let options = filter.attributes.into_iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let program = options.into_iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
        _ => None,
    })?;
    let handle = u32::from(major) << 16 | u32::from(minor);
    Some(Filter { interface: interface.to_owned(), priority, handle, program })
}

fn qdisc(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = HANDLE;
    message.header.parent = PARENT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}
