//! Following the interfaces while vfw runs: they go, come back, change their MTU and MAC, lose their link.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use firewall_core::DropReason;
use firewall_core::tables::{Zone, zone_flag};

use super::port::{Closed, Port, Status};
use super::setup::{Setup, SetupError};
use super::solicit::announcement;
use super::state::{Shared, lock, mac};
use crate::backend::kernel::Kernel;
use crate::config::Config;
use crate::interface::{self, LinkChanges, Notices};
use crate::lang::Policy;

/// Pause before an interface that was refused is tried again though nothing was heard of it: what stood in the way, such
/// as an address, need not be part of the link.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Most looks at the interfaces in a row, when they change faster than they can be looked at: neighbours and frames wait
/// meanwhile.
const LOOKS: u32 = 4;

/// What a look at the interfaces asks the daemon to do.
#[derive(Default)]
pub struct Changes {
    /// Numbers of interfaces that are no longer vfw's.
    pub gone: BTreeSet<u32>,
    /// Numbers of interfaces that are new.
    pub come: BTreeSet<u32>,
    /// Frames that tell a zone its gateway's MAC.
    pub announce: Vec<(Zone, Vec<u8>)>,
}

/// Listens to the kernel and keeps ports and tables as the interfaces are.
pub struct Follower {
    changes: LinkChanges,
    config: Config,
    try_again: Option<Instant>,
}

impl Follower {
    /// Follows the interfaces of `setup`, from its start on.
    pub fn new(setup: &mut Setup, config: &Config) -> Result<Self, SetupError> {
        let changes = setup.take_changes().map_or_else(LinkChanges::open, Ok)?;
        Ok(Self { changes, config: config.clone(), try_again: None })
    }

    /// Whether an interface that was refused is to be tried again.
    pub fn is_due(&self) -> bool {
        self.try_again.is_some_and(|due| due <= Instant::now())
    }

    /// Looks at the interfaces if there is a reason to, and makes of them what can be made.
    pub fn follow(&mut self, shared: &Shared) -> anyhow::Result<Changes> {
        let mut notices = self.changes.take()?;
        let known: Vec<(String, Option<u32>)> =
            lock(&shared.setup).ports.iter().map(|port| (port.name.clone(), port.index())).collect();
        let concern = |notices: &Notices| known.iter().any(|(name, index)| notices.concern(name, *index));
        if !self.is_due() && !concern(&notices) {
            return Ok(Changes::default());
        }
        let inspect = || known.iter().map(|(name, _)| interface::inspect(name)).collect();
        let found: Vec<_> = look(inspect, &mut notices, || self.changes.take(), concern)?;
        let mut setup = lock(&shared.setup);
        let before: Vec<Seen> = setup.ports.iter().map(Seen::of).collect();
        let zones = setup.image.zones.clone();
        setup.close(&notices, &found)?;
        // Before the zones are open again: no frame may go to the MAC of a host that was there.
        forget_neighbours_of(shared, &mut setup, &zones);
        let closed = setup.image.zones.clone();
        setup.open(&self.config, found)?;
        forget_neighbours_of(shared, &mut setup, &closed);
        for (seen, port) in before.iter().zip(&setup.ports) {
            seen.tell(port);
        }
        let is_refused = |port: &Port| matches!(port.closed, Some(Closed::Refused(_)));
        self.try_again = setup.ports.iter().any(is_refused).then(|| Instant::now() + TRY_AGAIN);
        Ok(Changes::between(&setup.policy, &zones, &setup.image.zones, &before, &setup.ports))
    }
}

/// Looks until nothing has changed since. What was deleted before it was looked at has to be known, and what came after the
/// look has to be seen. Of interfaces that never rest, what is not among the `notices` by then is heard of in the next round.
fn look<T>(
    inspect: impl Fn() -> T,
    notices: &mut Notices,
    take: impl Fn() -> io::Result<Notices>,
    concern: impl Fn(&Notices) -> bool,
) -> io::Result<T> {
    for _ in 1..LOOKS {
        let found = inspect();
        let later = take()?;
        let is_latest = !concern(&later);
        notices.extend(later);
        if is_latest {
            return Ok(found);
        }
    }
    Ok(inspect())
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

impl Changes {
    fn between(policy: &Policy, before: &[Zone], after: &[Zone], seen: &[Seen], ports: &[Port]) -> Self {
        let mut changes = Self::default();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for (seen, port) in seen.iter().zip(ports) {
            if seen.times != port.times || seen.index != port.index() {
                others.insert(&port.name);
                changes.gone.extend(seen.index);
                changes.come.extend(port.index());
            }
        }
        changes.announce_zones(policy, (before, after), |interface| others.contains(interface));
        changes
    }

    /// Announces the gateways of zones that have opened, have another MAC, or are on an interface that `is_another`.
    pub fn announce_zones(
        &mut self,
        policy: &Policy,
        (before, after): (&[Zone], &[Zone]),
        is_another: impl Fn(&str) -> bool,
    ) {
        for zone in &policy.zones {
            let id = usize::from(zone.id);
            let Some(new) = after.get(id).filter(|new| is_open(new)) else { continue };
            let is_same = |old: &Zone| is_open(old) && is_same_place(old, new) && old.mac == new.mac;
            let is_as_before = before.get(id).is_some_and(is_same);
            if !is_as_before || is_another(&zone.interface) {
                let frames = zone.addresses.iter().filter_map(|gateway| announcement(new, gateway.ip()));
                self.announce.extend(frames.map(|frame| (*new, frame)));
            }
        }
    }
}

fn forget_neighbours_of(shared: &Shared, setup: &mut Setup, before: &[Zone]) {
    forget_neighbours(shared, &setup.policy, &mut setup.kernel, (before, &setup.image.zones));
}

/// Forgets the neighbours of zones that were open `before` and are not `after`, or are elsewhere.
pub fn forget_neighbours(shared: &Shared, policy: &Policy, kernel: &mut Kernel, (before, after): (&[Zone], &[Zone])) {
    let stays = |id: usize, old: &Zone| after.get(id).is_some_and(|new| is_open(new) && is_same_place(old, new));
    let left = before.iter().enumerate().filter(|(id, old)| is_open(old) && !stays(*id, old));
    for zone in left.map(|(id, _)| id as u16) {
        let (slots, frames) = lock(&shared.neighbours).forget_zone(u32::from(zone));
        for (slot, key) in slots {
            kernel.remove_neighbour(slot, &key);
        }
        for frame in frames {
            shared.count_drop(policy, &frame, DropReason::InterfaceDown);
        }
    }
}

/// Whether the hosts of a zone are where they were.
fn is_same_place(old: &Zone, new: &Zone) -> bool {
    (old.ifindex, old.vlan) == (new.ifindex, new.vlan)
}

fn is_open(zone: &Zone) -> bool {
    zone.flags & zone_flag::DOWN == 0
}

/// A port as it was, to tell what has changed.
struct Seen {
    status: Status,
    closed: Option<Closed>,
    index: Option<u32>,
    times: u32,
    mtu: u32,
    mac: [u8; 6],
}

impl Seen {
    fn of(port: &Port) -> Self {
        let (mtu, mac) =
            port.attached.as_ref().map_or((0, [0; 6]), |attached| (attached.interface.mtu, attached.interface.mac));
        Self { status: port.status(), closed: port.closed.clone(), index: port.index(), times: port.times, mtu, mac }
    }

    /// Logs what has become of the port since.
    fn tell(&self, port: &Port) {
        let now = Self::of(port);
        let interface = port.name.as_str();
        match (now.status, now.index) {
            (Status::Away, _) if self.status != Status::Away => {
                tracing::warn!(interface, "the interface is gone; its zones are closed until it is back");
            }
            (Status::Refused, _) if self.closed != now.closed => {
                if let Some(warning) = port.warning() {
                    tracing::error!(interface, "{warning}");
                }
            }
            (Status::Up | Status::Down, Some(index)) if self.times != now.times => {
                tracing::info!(interface, index, mtu = now.mtu, mac = mac(now.mac), "the interface is attached again");
                port.announce();
            }
            (Status::Up, _) if self.status != Status::Up => tracing::info!(interface, "the link is up"),
            (Status::Down, _) if self.status != Status::Down => {
                tracing::warn!(interface, "the link is down; frames to its zones are dropped as interface-down");
            }
            _ => {}
        }
        if self.times == now.times && now.index.is_some() {
            if self.mtu != now.mtu {
                tracing::info!(interface, before = self.mtu, mtu = now.mtu, "the MTU has changed");
            }
            if self.mac != now.mac {
                tracing::info!(interface, before = mac(self.mac), mac = mac(now.mac), "the MAC has changed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn changed(index: u32) -> Notices {
        Notices { changed: BTreeSet::from([index]), ..Notices::default() }
    }

    /// Interfaces that have changed again after each of the first `times` looks: looks, and what was heard of.
    fn looks(times: u32) -> (u32, usize) {
        let (looked, mut notices) = (Cell::new(0), changed(0));
        let inspect = || {
            looked.set(looked.get() + 1);
            looked.get()
        };
        let take = || Ok(if looked.get() <= times { changed(looked.get()) } else { Notices::default() });
        let is_told = |notices: &Notices| !notices.changed.is_empty();
        let found = look(inspect, &mut notices, take, is_told).expect("looks");
        assert_eq!(found, looked.get(), "the last look is the one that is used");
        (found, notices.changed.len())
    }

    #[test]
    fn interfaces_that_never_rest_do_not_stop_everything_else() {
        assert_eq!(looks(0), (1, 1));
        assert_eq!(looks(2), (3, 3));
        assert_eq!(looks(u32::MAX), (LOOKS, LOOKS as usize));
    }
}
