//! From a checked policy to the records that the pipeline reads.
//!
//! [`compile`] turns a [`Policy`] into an [`Image`]: plain data, the same for every back end. Everything a back end
//! cannot hold is refused here, with the place in the rules that caused it.

mod classes;
pub mod forest;
mod prefix;
mod route;
mod rule;
mod zone;

use std::collections::HashMap;

use firewall_core::Address;
use firewall_core::conntrack::FlowState;
use firewall_core::limit::{Rate, WORKS, Work};
use firewall_core::tables::{Route, RouteKey, Settings, TIMEOUTS, Zone};

use crate::config::{Config, Timeouts};
use crate::lang::{Diagnostics, Policy};

pub use forest::Forest;
pub use rule::{MAX_ENTRIES, RuleName};

/// What the compiler has to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its kernel index; 0 when it is away.
    pub ifindex: u32,
    /// Its MAC, which becomes the gateway's.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Frames may come in with their transport checksum left to hardware.
    pub partial_checksums: bool,
    /// It is a veth whose peer may be entered directly.
    pub peer: bool,
    /// Frames can leave by it.
    pub up: bool,
    /// Its number among the interfaces whose frames the engine in user space takes, if it is one of them.
    pub port: Option<u16>,
    /// The zones on it whose flows the programs keep all the same.
    pub kernel_zones: Vec<String>,
}

impl Link {
    /// One made-up link for each interface of a policy, to check the policy where these interfaces are not.
    pub fn invent(policy: &Policy) -> Vec<Self> {
        let mut links: Vec<Self> = Vec::new();
        for zone in &policy.zones {
            if links.iter().all(|link| link.name != zone.interface) {
                let ifindex = links.len() as u32 + 1;
                let [.., high, low] = ifindex.to_be_bytes();
                links.push(Self {
                    name: zone.interface.clone(),
                    ifindex,
                    mac: [0x02, 0, 0, 0, high, low],
                    mtu: 1500,
                    partial_checksums: false,
                    peer: false,
                    up: true,
                    port: None,
                    kernel_zones: Vec::new(),
                });
            }
        }
        links
    }

    /// Stands for an interface that is not there: nothing comes from it, nothing leaves by it.
    pub fn away(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            ifindex: 0,
            mac: [0; 6],
            mtu: 0,
            partial_checksums: false,
            peer: false,
            up: false,
            port: None,
            kernel_zones: Vec::new(),
        }
    }
}

/// Why a policy was not compiled. Each carries the places in the rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// The rules ask for more than the tables hold.
    #[error("the policy does not fit: {0}")]
    Policy(Diagnostics),
    /// The rules name interfaces that this system does not have.
    #[error("interfaces are missing: {0}")]
    Interface(Diagnostics),
}

impl CompileError {
    /// What to show.
    pub fn diagnostics(&self) -> &Diagnostics {
        match self {
            Self::Policy(found) | Self::Interface(found) => found,
        }
    }
}

/// A compiled policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// What holds for all packets.
    pub settings: Settings,
    /// Zones by their numbers; a number that no zone has is closed.
    pub zones: Vec<Zone>,
    /// Finds the zone of an interface and VLAN; see [`firewall_core::tables::zone_slot`].
    pub zone_index: Vec<u64>,
    /// The rule table.
    pub rules: Forest,
    /// Lines that the rules became: their combinations of zones, addresses and services, and the prefixes of classes of addresses.
    pub entries: usize,
    /// What to call each rule of the file; the default last.
    pub rule_names: Vec<RuleName>,
    /// Routes, the longest prefix first.
    pub routes: Vec<(RouteKey, Route)>,
}

impl Image {
    /// The route to an address: they come with the longest prefix first.
    pub fn route_to(&self, address: &Address) -> Option<&Route> {
        let holds = |key: &RouteKey| {
            let mask = Address::mask(u8::try_from(key.prefix_length).unwrap_or(128));
            address.and(&mask) == key.address.and(&mask)
        };
        self.routes.iter().find(|(key, _)| holds(key)).map(|(_, route)| route)
    }

    /// Puts the zones on links that have changed. Rules and routes name zones and stay as they are.
    pub fn move_zones(&mut self, policy: &Policy, links: &[Link]) -> Result<(), CompileError> {
        let zones = zone::records(policy, links)?;
        self.zone_index = zone::index(policy, &zones)?;
        self.zones = zones;
        Ok(())
    }
}

/// Compiles a policy for these interfaces. The epoch is 1; a reload raises it.
pub fn compile(policy: &Policy, config: &Config, links: &[Link]) -> Result<Image, CompileError> {
    let zones = zone::records(policy, links)?;
    let zone_index = zone::index(policy, &zones)?;
    let (entries, rule_names) = rule::table(policy)?;
    let rules =
        forest::compile(&entries).map_err(|found| CompileError::Policy(rule::too_many_steps(policy, &found)))?;
    let (bytes, most) = (size_of_val(rules.blocks.as_slice()), config.rules.bytes.get());
    if bytes > most as usize {
        return Err(CompileError::Policy(rule::too_large(policy, bytes, most)));
    }
    let entries = entries.v4.count() + entries.v6.count();
    let settings = Settings { timeouts: timeouts(&config.timeouts), rates: rates(config), epoch: 1, padding: 0 };
    Ok(Image { settings, zones, zone_index, rules, entries, rule_names, routes: route::table(policy) })
}

fn timeouts(seconds: &Timeouts) -> [u64; TIMEOUTS] {
    let mut table = [0; TIMEOUTS];
    for (state, time) in [
        (FlowState::SynSent, seconds.tcp_syn_sent),
        (FlowState::SynReceived, seconds.tcp_syn_received),
        (FlowState::Established, seconds.tcp_established),
        (FlowState::FinWait, seconds.tcp_fin_wait),
        (FlowState::Closing, seconds.tcp_closing),
        (FlowState::TimeWait, seconds.tcp_time_wait),
        (FlowState::Closed, seconds.tcp_closed),
        (FlowState::UdpUnreplied, seconds.udp_unreplied),
        (FlowState::UdpReplied, seconds.udp_replied),
        (FlowState::EchoUnreplied, seconds.icmp),
        (FlowState::EchoReplied, seconds.icmp),
        (FlowState::OtherUnreplied, seconds.other),
        (FlowState::OtherReplied, seconds.other),
    ] {
        if let Some(slot) = table.get_mut(state as usize) {
            *slot = time.nanos();
        }
    }
    table
}

fn rates(config: &Config) -> [Rate; WORKS] {
    let (limits, log) = (&config.limits, config.log.rate.get());
    let mut table = [Rate::NONE; WORKS];
    for (work, rate) in [
        (Work::Resolve, Rate::new(limits.resolve_rate.get(), limits.resolve_burst.get())),
        (Work::Answer, Rate::new(limits.resolve_rate.get(), limits.resolve_burst.get())),
        (Work::Report, limits.errors()),
        (Work::Log, Rate::new(log, log)),
        (Work::Neighbour, Rate::new(limits.neighbour_rate.get(), limits.neighbour_burst.get())),
        (Work::Drop, Rate::new(limits.drop_rate.get(), limits.drop_burst.get())),
    ] {
        table[work as usize] = rate;
    }
    table
}

/// The link of each zone, by the interface's name.
fn by_name(links: &[Link]) -> HashMap<&str, &Link> {
    links.iter().map(|link| (link.name.as_str(), link)).collect()
}

#[cfg(test)]
mod tests;
