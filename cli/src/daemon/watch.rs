//! The daemon's loop.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use firewall_core::event::{Event, EventKind, Topic};
use firewall_core::tables::{NeighbourKey, Zone};
use firewall_core::{DropReason, PuntTask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::call::{Call, Calls, calls};
use super::end::End;
use super::events::EventLog;
use super::follow::{Changes, Follower};
use super::neighbours::{Action, Limits, Neighbours};
use super::port::Port;
use super::replace::replace;
use super::report::{ErrorLimit, Received, icmp_error};
use super::setup::Setup;
use super::solicit::solicitation;
use super::state::{Shared, lock, mac};
use super::transmit::Ports;
use crate::backend::afxdp::Letterbox;
use crate::backend::kernel::{Events, PuntedFrame, Punts};
use crate::clock;
use crate::compile::Image;
use crate::config::Config;
use crate::control::{Server, serve};
use crate::lang::Policy;

/// Frames or events handled before timers and the other ring get their turn.
const BATCH: usize = 256;
/// Pause between two sweeps of the flow tables.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// Runs until it is told to end, then leaves forwarding as it is or takes everything off ([`End`]). `ready` is called once,
/// when the policy is in force. Clients that have come to `server` before are answered then.
pub fn run(
    config: &Config,
    end: End,
    server: Server,
    mut setup: Setup,
    ready: impl FnOnce(&Setup),
) -> anyhow::Result<()> {
    let (caller, calls) = calls().inspect_err(|_| setup.abandon())?;
    let mut watch = Watch::new(&mut setup, config, calls).inspect_err(|_| setup.abandon())?;
    // Programs of earlier processes are gone, which would look for sockets elsewhere. And its sockets are the last that are
    // opened: the kernel closes them first when this process is killed, and the programs forward.
    setup.start_engine().inspect_err(|_| setup.abandon())?;
    ready(&setup);
    let limits = Limits {
        neighbours: config.neighbours.max.get() as usize,
        frames: config.neighbours.queue_frames.get() as usize,
        bytes: config.neighbours.queue_bytes.get() as usize,
    };
    let mut neighbours = Neighbours::new(limits);
    setup.inherit_neighbours(&mut neighbours, clock::now());
    let shared = Arc::new(Shared {
        end,
        setup: Mutex::new(setup),
        neighbours: Mutex::new(neighbours),
        config: config.clone(),
        caller,
        applying: Mutex::new(()),
        drops: Mutex::default(),
    });
    let listener = server.listener()?;
    let answering = Arc::clone(&shared);
    thread::Builder::new().name("control".into()).spawn(move || serve(&listener, |asked| answering.answer(&asked)))?;
    let mut flows = lock(&shared.setup).kernel.flows()?;
    thread::Builder::new().name("sweep".into()).spawn(move || {
        loop {
            thread::sleep(SWEEP_PAUSE);
            if let Err(error) = flows.sweep(clock::now()) {
                tracing::error!(%error, "cannot remove ended flows");
            }
        }
    })?;
    let ended = watch.until_end(&shared);
    drop(server);
    lock(&shared.setup).end_engine();
    if shared.end.takes_off() {
        // The other threads only read; the programs go here, with the last user of what they hang on.
        lock(&shared.setup).stop();
    }
    ended
}

/// How long the loop may wait; at most a second.
fn until_next_timer(shared: &Shared) -> PollTimeout {
    let deadline = lock(&shared.neighbours).next_deadline();
    let wait = deadline.map_or(1000, |deadline| deadline.saturating_sub(clock::now()).div_ceil(1_000_000));
    PollTimeout::from(u16::try_from(wait.min(1000)).unwrap_or(1000))
}

/// What the loop owns.
struct Watch {
    logged: Events,
    neighbour_news: Events,
    dropped: Events,
    unresolved: Punts,
    reports: Punts,
    ports: Ports,
    log: EventLog,
    errors: ErrorLimit,
    interfaces: Follower,
    calls: Calls,
    letters: Letterbox,
}

impl Watch {
    fn new(setup: &mut Setup, config: &Config, calls: Calls) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        for index in setup.ports.iter().filter_map(Port::index) {
            ports.open(index)?;
        }
        Ok(Self {
            logged: setup.kernel.take_events(Topic::Log)?,
            neighbour_news: setup.kernel.take_events(Topic::Neighbour)?,
            dropped: setup.kernel.take_events(Topic::Drop)?,
            unresolved: setup.kernel.take_punts(PuntTask::Resolve)?,
            reports: setup.kernel.take_punts(PuntTask::Report)?,
            ports,
            log: EventLog::default(),
            errors: ErrorLimit::new(config.limits.errors()),
            interfaces: Follower::new(setup, config)?,
            calls,
            letters: setup.engine.take_letters().ok_or_else(|| anyhow::anyhow!("the engine's letters are taken"))?,
        })
    }

    fn until_end(&mut self, shared: &Shared) -> anyhow::Result<()> {
        loop {
            let timeout = until_next_timer(shared);
            let mut waiting = [
                PollFd::new(shared.end.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.logged.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.neighbour_news.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.unresolved.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.reports.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.interfaces.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.calls.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.dropped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.letters.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if waiting[0].any() == Some(true) {
                return Ok(());
            }
            // First: what has gone must not be sent to.
            if waiting[5].any() == Some(true) || self.interfaces.is_due() {
                let changes = self.interfaces.follow(shared)?;
                self.follow(changes);
            }
            while let Some(call) = self.calls.take() {
                self.perform_call(shared, call);
            }
            lock(&shared.setup).watch_engine();
            self.drain(shared);
        }
    }

    /// Does what another thread asks for.
    fn perform_call(&mut self, shared: &Shared, call: Call) {
        match call {
            Call::Replace(policy, answer) => {
                // Who asked may have gone away.
                let tell = |outcome| drop(answer.send(outcome));
                self.replace(shared, *policy, tell);
            }
        }
    }

    /// Puts another policy in force; `tell` is called as soon as it is, or is not to be.
    fn replace(&mut self, shared: &Shared, (policy, image): (Policy, Image), tell: impl FnOnce(Result<(), String>)) {
        let (zones, rules) = (policy.zones.len(), policy.rules.len());
        let mut setup = lock(&shared.setup);
        match replace(&mut setup, shared, policy, image) {
            Ok(mut before) => {
                self.follow(std::mem::take(&mut before.changes));
                tell(Ok(()));
                tracing::info!(zones, rules, "another policy is in force");
                if let Err(error) = setup.retire(&before) {
                    tracing::error!(%error, "cannot clear up behind the policy before; counters of rules begin anew");
                }
            }
            Err(error) => {
                tracing::error!(%error, "another policy was refused; the one before stays in force");
                tell(Err(error.to_string()));
            }
        }
    }

    /// Does what the changes of interfaces ask for.
    fn follow(&mut self, changes: Changes) {
        for index in changes.gone {
            self.ports.close(index);
        }
        for index in changes.come {
            if let Err(error) = self.ports.open(index) {
                tracing::error!(%error, index, "cannot send frames of the daemon's own; neighbours there stay unknown");
            }
        }
        for (zone, frame) in changes.announce {
            self.send(&zone, &frame);
        }
    }

    fn drain(&mut self, shared: &Shared) {
        self.letters.hear();
        for _ in 0..BATCH {
            let Some(event) = self.neighbour_news.take().or_else(|| self.letters.event(Topic::Neighbour)) else {
                break;
            };
            self.neighbour_news(shared, &event);
        }
        for _ in 0..BATCH {
            let Some(frame) = self.unresolved.take().or_else(|| self.letters.frame(PuntTask::Resolve)) else { break };
            let actions = lock(&shared.neighbours).resolve(frame, clock::now());
            self.perform(shared, actions);
        }
        for _ in 0..BATCH {
            let Some(frame) = self.reports.take().or_else(|| self.letters.frame(PuntTask::Report)) else { break };
            if let Some(reason) = DropReason::from_code(frame.header.reason) {
                self.report(shared, &frame, reason);
            }
        }
        for _ in 0..BATCH {
            let Some(event) = self.logged.take().or_else(|| self.letters.event(Topic::Log)) else { break };
            self.log.rule(shared, &event);
        }
        for _ in 0..BATCH {
            let Some(event) = self.dropped.take().or_else(|| self.letters.event(Topic::Drop)) else { break };
            shared.remember_drop(&event);
        }
        self.letters.remind();
        let now = clock::now();
        self.log.tell_of_lost(shared, now);
        let due = lock(&shared.neighbours).tick(now);
        self.perform(shared, due);
    }

    fn neighbour_news(&mut self, shared: &Shared, event: &Event) {
        if event.kind == EventKind::NeighbourSeen as u8 {
            let key = NeighbourKey { address: event.source, zone: u32::from(event.from) };
            let actions = lock(&shared.neighbours).seen(&key, event.mac, clock::now());
            self.perform(shared, actions);
        } else if event.kind == EventKind::AddressConflict as u8 && self.log.admits(event.time) {
            let zone = shared.zone_name(event.from);
            tracing::warn!(zone, address = %event.source, mac = mac(event.mac), "another host uses a gateway address");
        }
    }

    /// Tells the sender of a dropped packet, unless its zone asks for too much of that.
    fn report(&mut self, shared: &Shared, frame: &PuntedFrame, reason: DropReason) {
        let id = frame.header.from;
        if !self.errors.admits(id, clock::now()) {
            return;
        }
        let Some(received) = Received::of(frame) else { return };
        let Some((source, destination)) = received.addresses() else { return };
        let Some(gateway) = shared.gateway(id, source) else { return };
        let setup = lock(&shared.setup);
        let Some(zone) = setup.zone(id).copied() else { return };
        let mtu = setup.mtu_towards(destination);
        drop(setup);
        if let Some(error) = icmp_error(&zone, gateway, &received, reason, mtu) {
            self.send(&zone, &error);
        }
    }

    fn perform(&mut self, shared: &Shared, actions: Vec<Action>) {
        for action in actions {
            let mut setup = lock(&shared.setup);
            match action {
                Action::Publish(slot, key, word) => {
                    // Without it the neighbour's packets go the long way, by the daemon; no reason to stop.
                    if let Err(error) = setup.kernel.add_neighbour(slot, &key, word)
                        && self.log.admits(clock::now())
                    {
                        tracing::error!(%error, "cannot publish a neighbour");
                    }
                }
                Action::Change(slot, word) => setup.kernel.change_neighbour(slot, word),
                Action::Withdraw(slot, key) => setup.kernel.remove_neighbour(slot, &key),
                Action::Discard(frame, reason) => {
                    shared.count_drop(&setup.policy, &frame, reason);
                    drop(setup);
                    if reason == DropReason::Unreachable {
                        self.report(shared, &frame, reason);
                    }
                }
                Action::Solicit(key, known) => {
                    let id = key.zone as u16;
                    let target = key.address.into();
                    let zone = setup.zone(id).copied();
                    drop(setup);
                    let question = zone.zip(shared.gateway(id, target));
                    let frame = question.and_then(|(zone, from)| solicitation(&zone, from, target, known));
                    if let Some((zone, frame)) = zone.zip(frame) {
                        self.send(&zone, &frame);
                    }
                }
                Action::Send(mut frame, mac) => {
                    let Some(zone) = setup.zone(frame.header.to).copied() else { continue };
                    drop(setup);
                    if let Err(error) = self.ports.finish(&zone, &mut frame, mac) {
                        tracing::debug!(%error, "cannot send a frame that waited");
                        shared.count_drop(&shared.policy(), &frame, DropReason::Rewrite);
                    }
                }
            }
        }
    }

    fn send(&mut self, zone: &Zone, frame: &[u8]) {
        if let Err(error) = self.ports.send(zone, frame)
            && self.log.admits(clock::now())
        {
            tracing::warn!(%error, ifindex = zone.ifindex, "cannot send");
        }
    }
}
