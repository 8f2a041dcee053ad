//! The qdisc on which tc programs hang before Linux 6.6, and what hangs on it.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use super::netlink::Netlink;
use super::{InterfaceError, index_of};

/// `TC_H_CLSACT` is the parent of the qdisc, `ffff:` its handle, and `ffff:fff2` where filters of received frames hang
/// (`linux/pkt_sched.h`).
const PARENT: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
const HANDLE: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff2 };

/// A qdisc that vfw has added. It goes when this is dropped.
#[must_use = "dropping it removes the qdisc"]
pub struct Clsact {
    index: u32,
    netlink: Netlink,
    /// False when its interface is gone.
    exists: bool,
}

/// Adds the `clsact` qdisc to the interface `name`; nothing when there is one already.
pub fn add_clsact(name: &str) -> Result<Option<Clsact>, InterfaceError> {
    let index = index_of(name)?;
    let add = || {
        let mut netlink = Netlink::route()?;
        match netlink.call(RouteNetlinkMessage::NewQueueDiscipline(qdisc(index)), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(Some(Clsact { index, netlink, exists: true })),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(None),
            Err(error) => Err(error),
        }
    };
    add().map_err(InterfaceError::system(name, "add the clsact qdisc, on which tc programs hang before Linux 6.6,"))
}

/// Names of the eBPF programs that see what the interface `name` receives, by filters of its `clsact` qdisc.
pub fn ingress_filters(name: &str) -> Result<Vec<String>, InterfaceError> {
    let index = index_of(name)?;
    let mut request = TcMessage::with_index(index.cast_signed());
    request.header.parent = INGRESS;
    let answers = Netlink::route()
        .and_then(|mut netlink| netlink.call(RouteNetlinkMessage::GetTrafficFilter(request), NLM_F_DUMP))
        .map_err(InterfaceError::system(name, "list tc filters"))?;
    let programs = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => program_name(filter),
        _ => None,
    });
    Ok(programs.collect())
}

fn program_name(filter: TcMessage) -> Option<String> {
    let options = filter.attributes.into_iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    options.into_iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
        _ => None,
    })
}

fn qdisc(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = HANDLE;
    message.header.parent = PARENT;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}

impl Clsact {
    /// Leaves alone what has gone with its interface, whose number may be another's by now.
    pub fn forget(mut self) {
        self.exists = false;
    }

    fn remove(&mut self) -> io::Result<()> {
        self.netlink.call(RouteNetlinkMessage::DelQueueDiscipline(qdisc(self.index)), 0).map(drop)
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        if self.exists
            && let Err(error) = self.remove()
        {
            tracing::debug!(index = self.index, %error, "clsact qdisc not removed");
        }
    }
}
