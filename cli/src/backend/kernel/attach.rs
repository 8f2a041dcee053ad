//! Hanging the programs on interfaces, and taking them off.

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::util::KernelVersion;

use super::error::{KernelError, program_error};
use super::{Kernel, object};
use crate::interface::{Clsact, Hook, add_clsact, ingress_filters};

/// A program on an interface. Dropping it takes the program off.
pub(super) enum Attachment {
    Xdp {
        _link: XdpLink,
    },
    Tcx {
        _link: SchedClassifierLink,
    },
    /// Linux before 6.6: a filter, which outlives the process, and the qdisc that it hangs on when vfw made it.
    Filter {
        link: SchedClassifierLink,
        qdisc: Option<Clsact>,
    },
}

impl Attachment {
    /// Forgets a program whose interface is gone: its number may mean another interface by now, from which nothing must be
    /// taken. The kernel has taken the program off when the interface went.
    fn forget(self) {
        match self {
            // These hold the kernel's own record of the attachment, which names no interface any more.
            Self::Xdp { .. } | Self::Tcx { .. } => {}
            Self::Filter { link, qdisc } => {
                // A filter is taken off by the number of its interface.
                std::mem::forget(link);
                if let Some(qdisc) = qdisc {
                    qdisc.forget();
                }
            }
        }
    }
}

impl Kernel {
    /// Attaches the programs of a hook to an interface of the calling thread's network namespace.
    pub fn attach(&mut self, interface: &str, ifindex: u32, hook: Hook) -> Result<(), KernelError> {
        let attached = match hook {
            Hook::Xdp => self.attach_xdp(ifindex),
            Hook::Tc if has_tcx() => self.attach_tcx(interface),
            Hook::Tc => self.attach_filter(interface),
        };
        let attachment =
            attached.map_err(|reason| KernelError::Attach { interface: interface.to_owned(), hook, reason })?;
        self.attachments.insert(ifindex, attachment);
        Ok(())
    }

    /// Attaches the tc programs as kernels before 6.6 do it, by a filter of the `clsact` qdisc; [`Self::attach`] calls it
    /// where it has to.
    pub fn attach_by_clsact(&mut self, interface: &str, ifindex: u32) -> Result<(), KernelError> {
        let fail = |reason| KernelError::Attach { interface: interface.to_owned(), hook: Hook::Tc, reason };
        let attachment = self.attach_filter(interface).map_err(fail)?;
        self.attachments.insert(ifindex, attachment);
        Ok(())
    }

    /// Takes the programs off one interface, which is there.
    pub fn detach_from(&mut self, ifindex: u32) {
        self.attachments.remove(&ifindex);
    }

    /// Forgets what was attached to an interface that is gone.
    pub fn forget_interface(&mut self, ifindex: u32) {
        if let Some(attachment) = self.attachments.remove(&ifindex) {
            attachment.forget();
        }
    }

    /// Takes the programs off all interfaces.
    pub fn detach(&mut self) {
        self.attachments.clear();
        // Nothing is left to hold the programs then.
        if let Ok(program) = object::program::<Xdp>(&mut self.ebpf, object::XDP[0]) {
            let _ = program.unload();
        }
        if let Ok(program) = object::program::<SchedClassifier>(&mut self.ebpf, object::TC[0]) {
            let _ = program.unload();
        }
    }

    fn attach_xdp(&mut self, ifindex: u32) -> Result<Attachment, String> {
        let program: &mut Xdp = object::program(&mut self.ebpf, object::XDP[0]).map_err(|error| error.to_string())?;
        let link = program.attach_to_if_index(ifindex, XdpMode::Driver).and_then(|id| program.take_link(id));
        Ok(Attachment::Xdp { _link: link.map_err(|error| program_error(&error))? })
    }

    fn attach_tcx(&mut self, interface: &str) -> Result<Attachment, String> {
        let others = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
        let (_, others) = others.map_err(|error| program_error(&error))?;
        // The program that comes first decides.
        if others.iter().filter_map(ProgramInfo::name_as_str).any(|name| name == object::TC[0]) {
            return Err("another vfw is attached to it; end that one first".to_owned());
        }
        let link = self.attach_tc(interface, TcAttachOptions::TcxOrder(LinkOrder::default()))?;
        Ok(Attachment::Tcx { _link: link })
    }

    fn attach_filter(&mut self, interface: &str) -> Result<Attachment, String> {
        let others = ingress_filters(interface).map_err(|error| error.to_string())?;
        if others.iter().any(|name| name == object::TC[0]) {
            return Err(format!(
                "a vfw is attached to it; end that one first. If it was killed, take its program off with \
                 `tc qdisc del dev {interface} clsact`"
            ));
        }
        let qdisc = add_clsact(interface).map_err(|error| error.to_string())?;
        // Without a priority of its own a filter comes before those that are there.
        let link = self.attach_tc(interface, TcAttachOptions::Netlink(NlOptions::default()))?;
        Ok(Attachment::Filter { link, qdisc })
    }

    fn attach_tc(&mut self, interface: &str, options: TcAttachOptions) -> Result<SchedClassifierLink, String> {
        let program: &mut SchedClassifier =
            object::program(&mut self.ebpf, object::TC[0]).map_err(|error| error.to_string())?;
        let attached = program.attach_with_options(interface, TcAttachType::Ingress, options);
        attached.and_then(|id| program.take_link(id)).map_err(|error| program_error(&error))
    }
}

/// Since Linux 6.6. An unknown version is not taken for an old one: the kernel will say what it cannot do.
fn has_tcx() -> bool {
    KernelVersion::current().map_or(true, |version| version >= KernelVersion::new(6, 6, 0))
}
