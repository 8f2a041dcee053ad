//! What the daemon tells, as data. Field names are the JSON that scripts read: they are part of the interface.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::explain::{Explanation, RulePlace};
use crate::lang::Diagnostics;
use crate::summary::Summary;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// To be shown something.
    Show(Question),
    /// To know what becomes of a packet, written as [`crate::explain::FirstPacket`] reads it.
    Explain(String),
    /// To have another policy in force.
    Apply(Box<NewPolicy>),
    /// To take everything off and end.
    Stop,
}

/// A policy as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPolicy {
    /// Names and texts of its files.
    pub files: Vec<(String, String)>,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Zones, their addresses and traffic
    Zones,
    /// Rules in order, with what each decided
    Rules,
    /// Live flows
    Flows,
    /// Dropped packets: how many for which reason, and the recent ones
    Drops,
    /// Interfaces, the hook in use and why
    Interfaces,
    /// Neighbours and frames that wait for them
    Neighbours,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Question::Zones`].
    Zones(Vec<ZoneView>),
    /// To [`Question::Rules`].
    Rules(Vec<RuleView>),
    /// To [`Question::Flows`].
    Flows(Vec<FlowView>),
    /// To [`Question::Drops`].
    Drops(DropsView),
    /// To [`Question::Interfaces`].
    Interfaces(Vec<InterfaceView>),
    /// To [`Question::Neighbours`].
    Neighbours(Vec<NeighbourView>),
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Apply`].
    Applied(Box<AppliedView>),
    /// To [`Request::Apply`], when the policy is not one or does not do what its tests say.
    BadPolicy(Diagnostics),
    /// To [`Request::Stop`]: it is about to.
    Stopping,
    /// The question makes no sense.
    BadQuestion(String),
    /// The daemon could not answer.
    Error(String),
}

/// Packets and frame bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterView {
    /// Packets.
    pub packets: u64,
    /// Frame bytes.
    pub bytes: u64,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneView {
    /// Its name.
    pub zone: String,
    /// Its interface.
    pub interface: String,
    /// Its VLAN; absent when untagged.
    pub vlan: Option<u16>,
    /// Its gateway addresses.
    pub addresses: Vec<String>,
    /// Its gateway MAC.
    pub mac: String,
    /// Largest IP packet.
    pub mtu: u32,
    /// From the zone into vfw.
    #[serde(rename = "in")]
    pub received: CounterView,
    /// From vfw into the zone.
    #[serde(rename = "out")]
    pub sent: CounterView,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleView {
    /// `file:line`; `default` for the default.
    pub place: String,
    /// The rule as it is understood.
    pub rule: String,
    /// All packets of the flows it allowed, or the packets it dropped.
    #[serde(flatten)]
    pub counter: CounterView,
    /// Seconds since the last of them.
    pub last_hit_seconds: Option<u64>,
}

/// One direction of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Address and port of the sender.
    pub address: String,
    /// Port, or the identifier of an echo.
    pub port: Option<u16>,
    /// Zone through which the sender's packets leave.
    pub to_zone: String,
    /// Packets sent.
    #[serde(flatten)]
    pub counter: CounterView,
}

/// A live flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    /// Protocol.
    pub protocol: String,
    /// Who began it.
    pub from: Direction,
    /// Who was asked.
    pub to: Direction,
    /// State.
    pub state: String,
    /// Seconds until it ends without another packet.
    pub expires_seconds: u64,
    /// Seconds since it began.
    pub age_seconds: u64,
    /// The rule that allows it; absent until its next packet when the policy has changed since the last one.
    pub rule: Option<String>,
}

/// Drops of one zone for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropView {
    /// The zone; absent for frames that came from none.
    pub zone: Option<String>,
    /// The reason.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// How much.
    #[serde(flatten)]
    pub counter: CounterView,
}

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropsView {
    /// All drops, by zone and reason.
    pub counters: Vec<DropView>,
    /// The recent ones, the oldest first.
    pub recent: Vec<RecentDropView>,
    /// Drops that were counted, and of which no more is known: they came faster than `limits.drop_rate`.
    pub unlisted: u64,
}

/// Recent drops that are alike: the last of them, and how many there were. What is not known of it is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentDropView {
    /// How many were told of.
    pub packets: u64,
    /// Seconds since the first of them.
    pub first_seen_seconds: u64,
    /// Seconds since the last of them.
    pub last_seen_seconds: u64,
    /// The zone; absent for frames that came from none.
    pub zone: Option<String>,
    /// The zone that its route leads to; absent when it was dropped before that was looked for.
    pub to_zone: Option<String>,
    /// The interface that it came in through.
    pub interface: Option<String>,
    /// The VLAN of its tag.
    pub vlan: Option<u16>,
    /// The reason.
    pub reason: String,
    /// The rule that refused it.
    pub decided: Option<RulePlace>,
    /// Frame bytes.
    pub bytes: u32,
    /// MAC of the sender.
    pub source_mac: Option<String>,
    /// MAC that it was sent to.
    pub destination_mac: Option<String>,
    /// EtherType.
    pub ether_type: Option<u16>,
    /// IP protocol.
    pub protocol: Option<String>,
    /// Source address.
    pub source: Option<String>,
    /// Destination address.
    pub destination: Option<String>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// TCP flags: `SYN,ACK`.
    pub tcp_flags: Option<String>,
    /// `first` or `later`, for a fragment.
    pub fragment: Option<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub interface: String,
    /// `up`, `down`, `away` or `refused`.
    pub state: String,
    /// Its driver; like what follows absent while vfw has no such interface.
    pub driver: Option<String>,
    /// Hook in use.
    pub hook: Option<String>,
    /// How frames get to the engine in user space, where it works: `copy` or `zero-copy`.
    pub frames: Option<String>,
    /// Largest IP packet.
    pub mtu: Option<u32>,
    /// MAC.
    pub mac: Option<String>,
    /// Zones on it.
    pub zones: Vec<String>,
    /// Why this hook.
    pub reasons: Vec<String>,
    /// What the operator should mend.
    pub warnings: Vec<String>,
    /// Events of its zones that were lost since the start.
    pub lost_events: Vec<LostEventsView>,
}

/// Events of a zone that were lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostEventsView {
    /// The zone whose packets they told of.
    pub zone: String,
    /// `log` (packets that a rule logs) or `neighbour` (what hosts say of themselves).
    pub topic: String,
    /// How many.
    pub events: u64,
}

/// What another policy changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedView {
    /// Whether it is in force now; otherwise nothing was changed.
    pub in_force: bool,
    /// What it needs and does, in numbers.
    pub summary: Summary,
    /// The lines that differ from the policy before.
    pub change: Change,
    /// Live flows that it no longer allows: each ends with its next packet.
    pub flows_cut: usize,
    /// Live flows that it still allows.
    pub flows_kept: usize,
    /// The flows that it no longer allows, as many as are listed.
    pub cut: Vec<CutView>,
    /// Interfaces that vfw takes.
    pub interfaces_added: Vec<String>,
    /// Interfaces that vfw gives back.
    pub interfaces_removed: Vec<String>,
    /// What its author should know; never errors.
    pub warnings: Diagnostics,
    /// Milliseconds from the request to the answer.
    pub milliseconds: f64,
}

/// A flow that a policy no longer allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutView {
    /// The flow.
    pub flow: FlowView,
    /// Why its next packet is dropped.
    pub reason: String,
    /// Place of the rule that says so; absent when the rules are not asked.
    pub by: Option<String>,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Zone.
    pub zone: String,
    /// Address.
    pub address: String,
    /// MAC, when it is known.
    pub mac: Option<String>,
    /// State.
    pub state: String,
    /// Frames that wait for it.
    pub queued: usize,
}
