//! The engine in user space as the daemon keeps it: on the interfaces that are to have it, under the policy in force.
//!
//! It works beside the programs and never in their way: while it is not there, or changes, they forward.

use std::io;
use std::sync::Arc;

use super::port::{Attached, port_number};
use super::setup::{Setup, SetupError};
use crate::backend::PolicyTables;
use crate::backend::afxdp::{Engine, EnginePolicy, Letterbox, Mailbox, Plan, PortPlan, Sockets, mailbox};
use crate::config::{Config, ZeroCopy};
use crate::interface::{self, Interface};
use crate::lang::Policy;

/// Most flows that the engine has records of at one time; others are found in the kernel's table again.
const MOST_FLOWS: u32 = 262_144;

/// The engine, if there is one, and what it is made with.
pub struct EngineHost {
    plan: Plan,
    mailbox: Mailbox,
    letters: Option<Letterbox>,
    engine: Option<Engine>,
    /// The start is over: from now on it follows changes.
    is_begun: bool,
    /// Why it does not work.
    fault: Option<String>,
}

/// What users are told of the engine on one interface.
pub struct EngineView {
    /// `copy` or `zero-copy`, while it works.
    pub frames: Option<String>,
    /// Sentences for people.
    pub reasons: Vec<String>,
    /// What the operator should see to.
    pub warnings: Vec<String>,
}

const LOSES_ANSWERS: &str = "virtio_net loses what the programs in the kernel answer to frames that were not copied: ARP, \
    neighbour discovery, pings to a gateway; take `afxdp.zerocopy = \"auto\"`";

impl EngineHost {
    /// No engine yet.
    pub fn new(config: &Config) -> io::Result<Self> {
        let (mailbox, letters) = mailbox()?;
        let plan = Plan {
            needs_zero_copy: config.afxdp.zerocopy == ZeroCopy::Require,
            cpus: config.afxdp.cpus.as_slice().to_vec(),
            busy_poll: config.afxdp.busy_poll,
            flows: (config.flows.established.get() + config.flows.half_open.get()).min(MOST_FLOWS) as usize,
            fragments: config.flows.fragments.get() as usize,
        };
        Ok(Self { plan, mailbox, letters: Some(letters), engine: None, is_begun: false, fault: None })
    }

    /// What the engine tells. It can be taken once.
    pub fn take_letters(&mut self) -> Option<Letterbox> {
        self.letters.take()
    }

    /// Whether the engine serves other interfaces than these.
    pub fn is_other(&self, ports: Result<Vec<PortPlan>, SetupError>) -> bool {
        self.engine.as_ref().is_some_and(|engine| ports.map_or(true, |ports| ports != engine.ports()))
    }

    /// Queues by which it can send there. One that works is not ended because they cannot be read again.
    fn senders(&self, interface: &Interface) -> u32 {
        let ports = self.engine.as_ref().map_or(&[][..], Engine::ports);
        let known = || ports.iter().find(|port| port.ifindex == interface.index).map(|port| port.senders);
        interface::send_queues(&interface.name).or_else(known).unwrap_or_else(|| {
            // The first one always does.
            tracing::warn!(
                interface = interface.name,
                "cannot read in /sys how many queues send: the engine takes one"
            );
            1
        })
    }

    /// What users are told.
    pub fn view(&self, attached: &Attached) -> EngineView {
        let mut view = EngineView { frames: None, reasons: Vec::new(), warnings: Vec::new() };
        let Some(engine) = self.engine.as_ref().filter(|engine| engine.is_running()) else {
            let why = self.fault.clone().unwrap_or_else(|| "it has ended".to_owned());
            view.warnings.push(format!("the engine does not work here, and the programs in the kernel forward: {why}"));
            return view;
        };
        let (frames, reason) = if engine.is_zero_copy() {
            ("zero-copy", "frames come and go without being copied")
        } else if engine.loses_uncopied() {
            ("copy", "virtio_net loses what the kernel answers without copies: it copies each frame, `xdp` is faster")
        } else {
            ("copy", "no zero-copy mode on all interfaces: the kernel copies each frame in and out, `xdp` is faster")
        };
        view.frames = Some(frames.to_owned());
        view.reasons.push(reason.to_owned());
        if engine.is_zero_copy() && engine.loses_uncopied() {
            view.warnings.push(LOSES_ANSWERS.to_owned());
        }
        let cpus: Vec<String> = engine.cpus().map(|cpu| cpu.to_string()).collect();
        view.reasons.push(match cpus.as_slice() {
            [cpu] => {
                format!("one worker, on CPU {cpu}: one queue receives or sends, or there is one CPU for it")
            }
            several => format!("{} workers, on CPUs {}", several.len(), several.join(", ")),
        });
        let lost = engine.statistics(attached.interface.index);
        let frames = lost.lost + lost.without_chunk;
        if frames > 0 {
            view.warnings.push(format!("{frames} frames were lost before the engine, which could not keep up"));
        }
        view
    }
}

impl Setup {
    /// What the engine is to serve, under a policy.
    pub(super) fn ports_of_engine(&self, policy: &Policy) -> Result<Vec<PortPlan>, SetupError> {
        let ports = self.ports.iter().filter(|port| port.closed.is_none());
        let attached =
            ports.filter_map(|port| port.attached.as_ref()).filter(|attached| attached.choice.engine.is_some());
        // Those that the policy does not name are on their way out.
        let numbered = attached.filter_map(|attached| Some((attached, port_number(policy, &attached.interface.name)?)));
        numbered
            .map(|(attached, port)| {
                let interface = &attached.interface;
                Ok(PortPlan {
                    name: interface.name.clone(),
                    ifindex: interface.index,
                    port,
                    queues: interface::receive_queues(&interface.name)?,
                    senders: self.engine.senders(interface),
                    mtu: interface.mtu,
                    loses_uncopied: interface.loses_uncopied(),
                })
            })
            .collect()
    }

    /// Refuses what is known not to work, before anything is taken over.
    pub(super) fn check_engine(&self) -> Result<(), SetupError> {
        let ports = self.ports_of_engine(&self.policy)?;
        if !ports.is_empty() {
            self.engine.plan.places()?;
        }
        if self.engine.plan.needs_zero_copy {
            Sockets::open(&ports, &self.engine.plan)?;
        }
        Ok(())
    }

    /// Starts the engine, where an interface is to have it.
    pub fn start_engine(&mut self) -> Result<(), SetupError> {
        self.engine.is_begun = true;
        self.serve()
    }

    /// Has the engine follow what has changed. That it cannot is no reason to stop: the programs forward.
    pub(super) fn follow_engine(&mut self) {
        if !self.engine.is_begun {
            return;
        }
        if let Err(error) = self.serve() {
            tracing::error!(%error, "the engine does not work; the programs in the kernel forward");
            // One that goes by another policy must not go on.
            self.end_engine();
            self.engine.fault = Some(error.to_string());
        }
    }

    /// The engine on the interfaces as they are, under the policy in force.
    fn serve(&mut self) -> Result<(), SetupError> {
        let ports = self.ports_of_engine(&self.policy)?;
        let tables = PolicyTables::of(&self.image);
        let policy = Arc::new(EnginePolicy { tables, slot: self.kernel.slot() });
        if let Some(engine) = self.engine.engine.as_ref().filter(|engine| engine.is_running())
            && engine.ports() == ports
        {
            engine.set_policy(&policy);
            return Ok(());
        }
        self.end_engine();
        if ports.is_empty() {
            return Ok(());
        }
        let store = || Ok::<_, SetupError>(self.kernel.user_space(self.engine.mailbox.clone())?);
        let engine = Engine::start(ports, &self.engine.plan, &policy, store)?;
        self.kernel.set_sockets(engine.listening())?;
        self.engine.engine = Some(engine);
        self.engine.fault = None;
        Ok(())
    }

    /// Ends an engine that has ended by itself, and says so: the programs forward since then.
    pub(super) fn watch_engine(&mut self) {
        if self.engine.engine.as_ref().is_some_and(|engine| !engine.is_running()) {
            tracing::error!("the engine does not work: one of its workers failed; the programs in the kernel forward");
            self.end_engine();
            self.engine.fault = Some("one of its workers failed; `vfw apply` or a restart begins it anew".to_owned());
        }
    }

    /// Ends the engine; the programs go on with its flows. No frame that it was handed is lost.
    pub(super) fn end_engine(&mut self) {
        let Some(mut engine) = self.engine.engine.take() else { return };
        match self.kernel.user_space(self.engine.mailbox.clone()) {
            // Of an engine that has ended by itself the records of the programs are the newer ones.
            Ok(store) if engine.is_running() => engine.write_flows(&store),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "flows that the engine follows may be known by older records"),
        }
        self.kernel.unset_sockets(engine.listening());
        // Programs that have found a socket put their frames into its ring.
        if let Err(error) = self.kernel.wait_for_programs() {
            tracing::warn!(%error, "frames on their way to the engine may be lost");
        }
        engine.end();
    }
}
