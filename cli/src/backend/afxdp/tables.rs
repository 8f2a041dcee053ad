//! [`Tables`] of the engine: the policy in memory, the flows that it follows, and the [`Store`] behind them.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firewall_core::classify::Decision;
use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, Topic};
use firewall_core::limit::{Bucket, Buckets, Work};
use firewall_core::packet::Packet;
use firewall_core::parse;
use firewall_core::tables::{
    Direction, FlowTable, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, NeighbourWord, Route, RuleKey, Settings,
    Tables, Zone,
};
use firewall_core::verdict::DropReason;
use firewall_core::{Address, Frame};

use super::flows::{Flows, Followed, set_behind};
use super::recent::Recent;
use super::store::Store;
use crate::backend::{Fragments, PolicyTables};

/// A policy as the engine has it.
pub struct EnginePolicy {
    /// Its tables.
    pub tables: PolicyTables,
    /// Where the programs in the kernel have it: rules count there.
    pub slot: u32,
}

/// State that all workers share.
pub struct EngineState {
    flows: Flows,
    /// Flows that each worker remembers.
    recent: usize,
    fragments: Mutex<Fragments>,
    /// By zone; those of frames from no zone come last.
    buckets: Vec<Buckets>,
    /// Until then programs in the kernel may be at work on packets of flows that come here from now on.
    shared_until: u64,
}

impl EngineState {
    /// For so many workers, with room for so many flows and fragmented packets. `shared_until`: the time until which the kernel may still be at work on
    /// packets of the same flows.
    pub fn new(workers: usize, (flows, fragments): (usize, usize), shared_until: u64) -> Self {
        Self {
            flows: Flows::new(flows),
            recent: flows.div_ceil(workers.max(1)),
            fragments: Mutex::new(Fragments::new(fragments)),
            buckets: vec![Buckets::default(); MAX_ZONES as usize + 1],
            shared_until,
        }
    }

    /// Writes what is known of the flows into a store. They are followed on.
    pub fn write_all(&self, store: &impl Store, now: u64) {
        for followed in self.flows.all().iter().filter(|followed| followed.is_followed()) {
            self.write_newest(store, followed, now);
            // A worker may have written what is newer in between.
            if followed.is_due(now) {
                self.write(store, followed, now);
            }
        }
    }

    /// Writes what is known of a flow, unless others know more: one that has not come by for a while may go another way since
    /// another policy is in force, and was judged again there.
    fn write_newest(&self, store: &impl Store, followed: &Followed, now: u64) {
        let is_other = |outside: Flow| !followed.is_own(&outside);
        if followed.is_resting(now) && store.flow(followed.table(), followed.key()).is_some_and(is_other) {
            self.flows.forget(followed.key());
        } else {
            self.write(store, followed, now);
        }
    }

    fn write(&self, store: &impl Store, followed: &Followed, now: u64) {
        let record = followed.record();
        if store.write(followed.table(), followed.key(), &record) {
            followed.note_written(&record, now);
        } else {
            // Swept, or evicted: what comes next begins anew, as it does in the kernel.
            self.flows.forget(followed.key());
        }
    }

    fn fragments(&self) -> MutexGuard<'_, Fragments> {
        self.fragments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables of one worker: policy, state, and the store behind it.
pub struct EngineTables<S> {
    policy: Arc<EnginePolicy>,
    store: S,
    state: Arc<EngineState>,
    recent: RefCell<Recent>,
    /// The flow of the packet in hand.
    last: RefCell<Option<Arc<Followed>>>,
    /// A flow that the established table was just asked for in vain.
    missed: Cell<Option<FlowKey>>,
    /// The time of the packet in hand.
    now: Cell<u64>,
}

/// A flow that the engine follows.
pub struct FlowRef(Arc<Followed>);

impl std::ops::Deref for FlowRef {
    type Target = Flow;

    fn deref(&self) -> &Flow {
        &self.0
    }
}

impl<S: Store> EngineTables<S> {
    /// Tables under this policy.
    pub fn new(policy: Arc<EnginePolicy>, store: S, state: Arc<EngineState>) -> Self {
        let recent = RefCell::new(Recent::new(state.recent));
        Self { policy, store, state, recent, last: RefCell::default(), missed: Cell::default(), now: Cell::default() }
    }

    /// Puts another policy in force.
    pub fn set_policy(&mut self, policy: Arc<EnginePolicy>) {
        self.policy = policy;
    }

    /// The policy in force.
    pub fn policy(&self) -> &EnginePolicy {
        &self.policy
    }

    /// What is behind the tables.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Flows that are followed.
    pub fn followed(&self) -> usize {
        self.state.flows.len()
    }

    /// Forgets what the zones have asked of the daemon.
    pub fn fill_buckets(&self) {
        self.state.buckets.iter().flatten().for_each(Bucket::fill);
    }

    /// As if `nanos` had passed for what the zones ask of the daemon: for tests whose clock stands still.
    pub fn pass(&self, nanos: u64) {
        self.state.buckets.iter().flatten().for_each(|bucket| bucket.pass(nanos));
    }

    /// Has the way to the flow of a frame fetched whose turn comes soon: a hash for [`Self::fetch_flow`].
    pub fn fetch_way(&self, frame: &impl Frame) -> Option<u64> {
        let mut packet = Packet::EMPTY;
        let ethernet = parse::ethernet(frame, &mut packet).ok()?;
        parse::ip(frame, &ethernet, &mut packet).ok()?;
        let (key, _) = FlowKey::of(&packet);
        let hash = self.state.flows.hash(&key);
        self.recent.borrow().fetch_place(hash);
        Some(hash)
    }

    /// Has its record fetched.
    pub fn fetch_flow(&self, hash: u64) {
        self.recent.borrow().fetch_record(hash);
    }

    /// Begins with a packet.
    pub fn begin(&self, now: u64) {
        self.now.set(now);
        self.missed.set(None);
    }

    /// Ends a packet: where its flow has moved on, the record outside follows.
    pub fn settle(&self) {
        let now = self.now.get();
        if let Some(followed) = self.last.borrow_mut().take()
            && followed.is_due(now)
        {
            self.state.write(&self.store, &followed, now);
        }
    }

    /// Writes what is known of the flows and follows none any more. `is_quiet`: no packet of them is anywhere, so that the
    /// windows are exact.
    pub fn let_go(&self, is_quiet: bool) {
        for followed in self.state.flows.take_all() {
            let record = if is_quiet { Flow::clone(&followed) } else { followed.record() };
            self.store.write(followed.table(), followed.key(), &record);
        }
    }

    fn follow(&self, key: &FlowKey, table: FlowTable, flow: Flow, written: u64) -> FlowRef {
        let (followed, evicted) = self.state.flows.follow(key, table, flow, written);
        if let Some(evicted) = evicted {
            self.state.write_newest(&self.store, &evicted, self.now.get());
        }
        self.recent.borrow_mut().add(self.state.flows.hash(key), &followed);
        self.note(followed)
    }

    /// A flow that is followed.
    fn met(&self, key: &FlowKey) -> Option<Arc<Followed>> {
        let hash = self.state.flows.hash(key);
        if let Some(followed) = self.recent.borrow().find(hash, key) {
            followed.note_used();
            return Some(Arc::clone(followed));
        }
        let followed = self.state.flows.find(hash, key)?;
        self.recent.borrow_mut().add(hash, &followed);
        Some(followed)
    }

    fn note(&self, followed: Arc<Followed>) -> FlowRef {
        *self.last.borrow_mut() = Some(Arc::clone(&followed));
        FlowRef(followed)
    }
}

impl<S: Store> Tables for EngineTables<S> {
    type Flow = FlowRef;

    fn settings(&self) -> Option<&Settings> {
        self.policy.tables.settings.as_ref()
    }

    fn zone_slot(&self, slot: u32) -> u64 {
        self.policy.tables.zone_slot(slot)
    }

    fn zone(&self, zone: u16) -> Option<&Zone> {
        self.policy.tables.zone(zone)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<FlowRef> {
        if let Some(followed) = self.met(key) {
            return (followed.table() == table).then(|| self.note(followed));
        }
        let is_established = table == FlowTable::Established;
        if is_established && self.missed.get() == Some(*key) {
            return None;
        }
        let Some(flow) = self.store.flow(table, key) else {
            if is_established {
                self.missed.set(Some(*key));
            }
            return None;
        };
        if self.now.get() < self.state.shared_until {
            set_behind(&flow);
        }
        Some(self.follow(key, table, flow, 0))
    }

    fn add_flow(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Option<FlowRef> {
        let mut flow = Flow::default();
        fill(&mut flow);
        if !self.store.add(key, &flow) {
            return None;
        }
        Some(self.follow(key, FlowTable::HalfOpen, flow, self.now.get()))
    }

    fn confirm_flow(&self, key: &FlowKey, flow: &FlowRef) -> Option<FlowRef> {
        if !self.store.confirm(key, &flow.0.record()) {
            return None;
        }
        flow.0.establish();
        Some(FlowRef(Arc::clone(&flow.0)))
    }

    fn remove_flow(&self, table: FlowTable, key: &FlowKey) {
        self.state.flows.forget(key);
        self.store.remove(table, key);
    }

    fn route(&self, address: &Address) -> Option<Route> {
        self.policy.tables.route(address)
    }

    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32> {
        self.store.neighbour_slot(key)
    }

    fn neighbour(&self, slot: u32) -> NeighbourWord {
        self.store.neighbour(slot)
    }

    fn judge(&self, key: impl FnOnce() -> RuleKey) -> Option<Decision> {
        self.policy.tables.judge(&key())
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.state.fragments().find(key)
    }

    fn add_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        self.state.fragments().insert(key, ports);
    }

    fn count_rule(&self, rule: u32, bytes: u32, now: u64) {
        self.store.count_rule(self.policy.slot, rule, bytes, now);
    }

    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32) {
        self.store.count_zone(zone, direction, bytes);
    }

    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32) {
        self.store.count_drop(zone, reason, bytes);
    }

    fn count_lost(&self, zone: u16, topic: Topic) {
        self.store.count_lost(zone, topic);
    }

    fn bucket(&self, zone: u16, work: Work) -> Option<&Bucket> {
        self.state.buckets.get(usize::from(zone))?.get(work as usize)
    }

    fn tell(&self, topic: Topic, fill: impl FnOnce(&mut Event)) -> bool {
        let mut event = Event::EMPTY;
        fill(&mut event);
        self.store.tell(topic, &event)
    }
}
