//! Hanging the programs on interfaces, and taking them off.
//!
//! A firewall that has a folder for pins takes over what hangs there: the kernel exchanges the program of a link, or of a
//! filter, at once, and no frame sees none.

use std::io;
use std::path::PathBuf;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::util::KernelVersion;

use super::error::{KernelError, chain, program_error};
use super::pins::Way;
use super::{Kernel, object};
use crate::interface::{Filter, Hook, add_clsact, ingress_filters, remove_empty_clsact};

/// A program on an interface.
pub(super) struct Attachment {
    interface: String,
    hook: Hook,
    hold: Hold,
}

/// What keeps it there.
enum Hold {
    /// A link: it goes when the last descriptor and the pin are gone.
    Link { _link: FdLink },
    /// Linux before 6.6: a filter, which stays until it is taken off.
    Filter(Option<SchedClassifierLink>),
}

impl Attachment {
    /// Leaves the program where it is, whoever ends; one that is pinned or a filter stays.
    fn leave(mut self) {
        if let Hold::Filter(link) = &mut self.hold {
            std::mem::forget(link.take());
        }
    }
}

impl Kernel {
    /// Attaches the programs of a hook to an interface of the calling thread's network namespace; takes over what an earlier
    /// process has left there. A program on the other hook goes after this one has come.
    pub fn attach(&mut self, interface: &str, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        let hold = match hook {
            Hook::Xdp => self.attach_xdp(ifindex).map(|link| Hold::Link { _link: link }),
            Hook::Tc if has_tcx() => self.attach_tcx(interface, ifindex).map(|link| Hold::Link { _link: link }),
            Hook::Tc => self.attach_filter(interface, ifindex),
        };
        self.hold(interface, ifindex, hook, hold)
    }

    /// Attaches the tc programs as kernels before 6.6 do it, by a filter of the `clsact` qdisc; [`Self::attach`] calls it
    /// where it has to.
    pub fn attach_by_clsact(&mut self, interface: &str, ifindex: u32) -> Result<(), KernelError> {
        let hold = self.attach_filter(interface, ifindex);
        self.hold(interface, ifindex, Hook::Tc, hold)
    }

    fn hold(
        &mut self,
        interface: &str,
        ifindex: u32,
        hook: Hook,
        hold: Result<Hold, String>,
    ) -> Result<(), KernelError> {
        let hold = hold.map_err(|reason| KernelError::Attach { interface: interface.to_owned(), hook, reason })?;
        let way = match (&hold, hook) {
            (Hold::Filter(_), _) => Way::Filter,
            (Hold::Link { .. }, Hook::Xdp) => Way::Xdp,
            (Hold::Link { .. }, Hook::Tc) => Way::Tcx,
        };
        if let Some(pins) = &self.pins {
            pins.take_off_but(way, ifindex);
        }
        // What this process had there: its link is another one, or the same under another descriptor.
        if let Some(before) =
            self.attachments.insert(ifindex, Attachment { interface: interface.to_owned(), hook, hold })
            && self.pins.is_some()
        {
            before.leave();
        }
        Ok(())
    }

    /// Takes the programs off one interface, which is there.
    pub fn detach_from(&mut self, ifindex: u32) {
        if let Some(pins) = &self.pins {
            pins.take_off(ifindex);
        }
        if let Some(Attachment { hold: Hold::Filter(link), .. }) = self.attachments.remove(&ifindex) {
            drop(link);
            remove_empty_clsact(ifindex);
        }
    }

    /// Forgets what was attached to an interface that is gone: its number may mean another interface by now, from which
    /// nothing must be taken. The kernel has taken the program off when the interface went.
    pub fn forget_interface(&mut self, ifindex: u32) {
        if let Some(pins) = &self.pins {
            pins.take_off(ifindex);
        }
        if let Some(attachment) = self.attachments.remove(&ifindex) {
            attachment.leave();
        }
    }

    /// Takes the programs off all interfaces.
    pub fn detach(&mut self) {
        let indices: Vec<u32> = self.attachments.keys().copied().collect();
        for ifindex in indices {
            self.detach_from(ifindex);
        }
        // Nothing is left to hold the programs then.
        if let Ok(program) = object::program::<Xdp>(&mut self.ebpf, object::XDP[0]) {
            let _ = program.unload();
        }
        if let Ok(program) = object::program::<SchedClassifier>(&mut self.ebpf, object::TC[0]) {
            let _ = program.unload();
        }
    }

    /// Leaves pinned programs, and filters, where they are.
    pub(super) fn leave(&mut self) {
        std::mem::take(&mut self.attachments).into_values().for_each(Attachment::leave);
    }

    /// Name, number and hook of each interface that programs hang on.
    pub(super) fn attached(&self) -> Vec<(String, u32, Hook)> {
        let attachments = self.attachments.iter();
        attachments.map(|(ifindex, Attachment { interface, hook, .. })| (interface.clone(), *ifindex, *hook)).collect()
    }

    fn attach_xdp(&mut self, ifindex: u32) -> Result<FdLink, String> {
        let (pinned, place) = self.pinned(Way::Xdp, ifindex)?;
        let program: &mut Xdp = object::program(&mut self.ebpf, object::XDP[0]).map_err(|error| error.to_string())?;
        let id = match pinned {
            Some(link) => program.attach_to_link(XdpLink::try_from(link).map_err(|error| chain(&error))?),
            None => program.attach_to_if_index(ifindex, XdpMode::Driver),
        };
        let link = id.and_then(|id| program.take_link(id)).map_err(|error| program_error(&error))?;
        keep(FdLink::try_from(link).map_err(|error| chain(&error))?, place)
    }

    fn attach_tcx(&mut self, interface: &str, ifindex: u32) -> Result<FdLink, String> {
        let (pinned, place) = self.pinned(Way::Tcx, ifindex)?;
        let link = if let Some(link) = pinned {
            let link = SchedClassifierLink::try_from(link).map_err(|error| chain(&error))?;
            let program = self.tc()?;
            program.attach_to_link(link).and_then(|id| program.take_link(id)).map_err(|error| program_error(&error))?
        } else {
            refuse_another(interface)?;
            self.attach_tc(interface, TcAttachOptions::TcxOrder(LinkOrder::default()))?
        };
        keep(FdLink::try_from(link).map_err(|error| chain(&error))?, place)
    }

    /// The link that is pinned for an interface and lives; else the place for one, if it is to be pinned.
    fn pinned(&self, way: Way, ifindex: u32) -> Result<(Option<FdLink>, Option<PathBuf>), String> {
        let Some(pins) = &self.pins else { return Ok((None, None)) };
        let place = pins.place(way, ifindex);
        if !pins.is_live(way, ifindex) {
            // Of an interface that is gone and had the same number.
            pins.unpin(way, ifindex);
            return Ok((None, Some(place)));
        }
        let link = PinnedLink::from_pin(place).map_err(|error| chain(&error))?;
        Ok((Some(link.into()), None))
    }

    fn attach_filter(&mut self, interface: &str, ifindex: u32) -> Result<Hold, String> {
        let filters = ingress_filters(ifindex).map_err(|error| error.to_string())?;
        let own = filters.into_iter().find(|filter| filter.program == object::TC[0]);
        let is_marked = self.pins.as_ref().is_some_and(|pins| pins.is_live(Way::Filter, ifindex));
        let link = match own {
            Some(Filter { priority, handle, .. }) if is_marked => {
                let link = filter_link(interface, priority, handle).map_err(|error| error.to_string())?;
                let program = self.tc()?;
                let id = program.attach_to_link(link);
                id.and_then(|id| program.take_link(id)).map_err(|error| program_error(&error))?
            }
            Some(_) => {
                return Err(format!(
                    "another vfw is attached to it; end that one first. A program that nobody knows goes with \
                     `tc qdisc del dev {interface} clsact`"
                ));
            }
            None => {
                if let Some(pins) = &self.pins {
                    pins.mark_filter(ifindex).map_err(|error| error.to_string())?;
                }
                add_clsact(interface).map_err(|error| error.to_string())?;
                // Without a priority of its own a filter comes before those that are there.
                self.attach_tc(interface, TcAttachOptions::Netlink(NlOptions::default()))?
            }
        };
        Ok(Hold::Filter(Some(link)))
    }

    fn attach_tc(&mut self, interface: &str, options: TcAttachOptions) -> Result<SchedClassifierLink, String> {
        let program = self.tc()?;
        let id = program.attach_with_options(interface, TcAttachType::Ingress, options);
        id.and_then(|id| program.take_link(id)).map_err(|error| program_error(&error))
    }

    fn tc(&mut self) -> Result<&mut SchedClassifier, String> {
        object::program(&mut self.ebpf, object::TC[0]).map_err(|error| error.to_string())
    }
}

/// Refuses an interface on which a vfw hangs that is not this one: the program that comes first decides.
fn refuse_another(interface: &str) -> Result<(), String> {
    let others = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    let (_, others) = others.map_err(|error| program_error(&error))?;
    if others.iter().filter_map(ProgramInfo::name_as_str).any(|name| name == object::TC[0]) {
        return Err("another vfw is attached to it; end that one first".to_owned());
    }
    Ok(())
}

/// Takes vfw's filters off an interface of the calling thread's network namespace, as far as there are any.
pub(super) fn take_filters_off(ifindex: u32) {
    let Ok(filters) = ingress_filters(ifindex) else { return };
    let own: Vec<Filter> = filters.into_iter().filter(|filter| filter.program == object::TC[0]).collect();
    for Filter { interface, priority, handle, .. } in &own {
        // The link takes its filter off when it goes.
        drop(filter_link(interface, *priority, *handle));
    }
    if !own.is_empty() {
        remove_empty_clsact(ifindex);
    }
}

/// Whether a filter of vfw hangs on an interface of the calling thread's network namespace.
pub(super) fn has_filter(ifindex: u32) -> bool {
    ingress_filters(ifindex).is_ok_and(|filters| filters.iter().any(|filter| filter.program == object::TC[0]))
}

fn filter_link(interface: &str, priority: u16, handle: u32) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, TcAttachType::Ingress, priority, TcHandle::from(handle), None)
}

/// Pins a new link, if there is a place for it.
fn keep(link: FdLink, place: Option<PathBuf>) -> Result<FdLink, String> {
    match place {
        None => Ok(link),
        Some(place) => link.pin(place).map(FdLink::from).map_err(|error| format!("cannot pin it: {}", chain(&error))),
    }
}

/// Since Linux 6.6. An unknown version is not taken for an old one: the kernel will say what it cannot do.
fn has_tcx() -> bool {
    KernelVersion::current().map_or(true, |version| version >= KernelVersion::new(6, 6, 0))
}
