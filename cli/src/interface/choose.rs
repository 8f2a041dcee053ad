//! Which hook an interface gets, and why.

use std::fmt;

use serde::Serialize;

use super::{Feature, Interface};
use crate::config::Mode;

/// Largest MTU whose frames fit one buffer of native XDP: a 4 KiB page less head room, `skb_shared_info` and Ethernet header.
const SINGLE_BUFFER_MTU: u32 = 3_498;

/// Drivers with native XDP on kernels that cannot be asked (before 6.3).
const NATIVE_XDP: [&str; 26] = [
    "bnxt_en",
    "cpsw",
    "dpaa2-eth",
    "ena",
    "enetc",
    "fec",
    "gve",
    "hv_netvsc",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "stmmac",
    "tun",
    "veth",
    "virtio_net",
];

/// Warnings of a [`HookChoice`] that others have something to add to.
pub mod hazard {
    /// Super-packets of a veth's peer are cut before XDP.
    pub const CUT_AT_PEER: &str =
        "the peer's stack cuts GSO super-packets to MTU size before XDP: bulk TCP is slower than with tc";
    /// The peer of a veth takes no redirected frames.
    pub const PEER_DOES_NOT_POLL: &str =
        "frames redirected to this veth are lost until its peer polls: run `ethtool -K PEER gro on` at the other end";
    /// Tagged zones behind a veth whose peer keeps tags beside the frame.
    pub const TAGS_BESIDE_FRAMES: &str = "senders must have `tx-vlan-offload off`: a tag beside the frame is invisible to XDP, and \
                                          such frames are dropped as untagged";
    /// Untagged zones behind such a veth.
    pub const TAGS_COUNT_AS_NONE: &str =
        "a tag that the sender keeps beside the frame is invisible to XDP: such frames count as untagged";
    /// The NIC merges segments.
    pub const LRO: &str = "lro is on: some drivers refuse XDP until `ethtool -K` turns it off";
}

/// Where the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// In the driver, before the stack.
    Xdp,
    /// In the stack's ingress, with offloads intact.
    Tc,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        })
    }
}

impl HookChoice {
    /// What users call it: the mode that asks for it.
    pub fn name(&self) -> String {
        if self.engine.is_some() { Mode::Afxdp.to_string() } else { self.hook.to_string() }
    }
}

/// Which kinds of zones live on an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZoneTags {
    /// At least one zone with a VLAN tag.
    pub tagged: bool,
    /// A zone without a VLAN tag.
    pub untagged: bool,
}

/// What the engine in user space is to take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EngineOrder {
    /// Zones whose flows the programs keep all the same.
    pub kernel_zones: Vec<String>,
}

/// A hook, what it needs, and why it was picked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookChoice {
    /// The hook.
    pub hook: Hook,
    /// Call [`super::turn_off_rx_vlan_offload`] before attaching: the program must see every tag.
    pub turn_off_rx_vlan_offload: bool,
    /// The program must finish partial checksums itself.
    pub finish_checksums: bool,
    /// Frames may span buffers: attach with multi-buffer support.
    pub multi_buffer: bool,
    /// The programs hand frames to the engine in user space.
    pub engine: Option<EngineOrder>,
    /// Sentences for people.
    pub reasons: Vec<String>,
    /// Sentences about what the operator has to see to.
    pub warnings: Vec<String>,
}

/// A hook that was ordered and cannot be had safely.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// Only the slow generic mode would be left.
    #[error("interface `{name}`: the driver `{driver}` has no native XDP; use `mode = \"tc\"` or `mode = \"auto\"`")]
    NoNativeXdp {
        /// The interface.
        name: String,
        /// Its driver.
        driver: String,
    },
    /// Tagged frames would look untagged.
    #[error(
        "interface `{name}` carries tagged and untagged zones: a tag that the peer's stack keeps beside the frame is invisible \
         to XDP on `{driver}`, and a tagged frame would enter the untagged zone; use `mode = \"tc\"`, or separate interfaces"
    )]
    HiddenTags {
        /// The interface.
        name: String,
        /// Its driver.
        driver: String,
    },
    /// The NIC strips tags and cannot be stopped.
    #[error(
        "interface `{name}`: the driver `{driver}` strips VLAN tags on receipt (rx-vlan-offload fixed on), so XDP would see \
         tagged frames as untagged; use `mode = \"tc\"` or another NIC model"
    )]
    VlanOffloadFixed {
        /// The interface.
        name: String,
        /// Its driver.
        driver: String,
    },
    /// Frames need several buffers and the driver has one.
    #[error(
        "interface `{name}`: an MTU of {mtu} needs several buffers per frame, which XDP on `{driver}` cannot give; set the MTU to \
         {SINGLE_BUFFER_MTU} or less, or use `mode = \"tc\"`"
    )]
    MtuTooLarge {
        /// The interface.
        name: String,
        /// Its driver.
        driver: String,
        /// Its MTU.
        mtu: u32,
    },
}

/// Picks the hook of `interface`. A pure function: nothing is changed, and an order that cannot be followed is an error.
pub fn choose_hook(interface: &Interface, requested: Mode, zones: ZoneTags) -> Result<HookChoice, HookError> {
    match requested {
        Mode::Tc => Ok(tc(interface, "ordered by mode = tc".to_owned())),
        Mode::Xdp => xdp(interface, zones, "ordered by mode = xdp".to_owned()),
        Mode::Afxdp => {
            let mut choice = xdp(interface, zones, "ordered by mode = afxdp".to_owned())?;
            choice.engine = Some(EngineOrder::default());
            Ok(choice)
        }
        Mode::Auto if interface.is_virtual() => {
            let peer = format!("`{}` joins a guest or another stack on this host", interface.driver);
            Ok(tc(interface, peer))
        }
        Mode::Auto => {
            let native = format!("the driver `{}` runs XDP natively: lowest cost per packet", interface.driver);
            xdp(interface, zones, native).or_else(|obstacle| Ok(tc(interface, short(&obstacle))))
        }
    }
}

fn tc(interface: &Interface, why: String) -> HookChoice {
    let mut reasons = vec![why];
    if interface.carries_super_packets() {
        reasons.push("GSO/GRO super-packets up to 64 KB pass whole, one decision each".to_owned());
    }
    if interface.may_carry_partial_checksum() {
        reasons.push("checksums that the sender left to offload stay with the frame".to_owned());
    }
    if interface.features.rx_vlan_offload.is_on() {
        reasons.push("VLAN tags beside the frame are visible to tc".to_owned());
    }
    HookChoice {
        hook: Hook::Tc,
        turn_off_rx_vlan_offload: false,
        finish_checksums: false,
        multi_buffer: false,
        engine: None,
        reasons,
        warnings: Vec::new(),
    }
}

fn xdp(interface: &Interface, zones: ZoneTags, why: String) -> Result<HookChoice, HookError> {
    let mut choice = HookChoice {
        hook: Hook::Xdp,
        turn_off_rx_vlan_offload: false,
        finish_checksums: interface.may_carry_partial_checksum(),
        multi_buffer: interface.mtu > SINGLE_BUFFER_MTU,
        engine: None,
        reasons: vec![why],
        warnings: Vec::new(),
    };
    check_driver(interface, &mut choice)?;
    check_tags(interface, zones, &mut choice)?;
    check_mtu(interface, &mut choice)?;
    if choice.finish_checksums {
        choice.reasons.push("checksums that the sender left to offload are finished in the program".to_owned());
    }
    if interface.is_veth() {
        choice.warnings.push(hazard::CUT_AT_PEER.to_owned());
    }
    if interface.features.lro.is_on() {
        choice.warnings.push(hazard::LRO.to_owned());
    }
    Ok(choice)
}

/// Whether the driver runs XDP programs that redirect: as the kernel tells, else by the driver's name.
pub fn runs_native_xdp(interface: &Interface) -> bool {
    match interface.xdp {
        Some(xdp) => xdp.basic && xdp.redirect,
        None => NATIVE_XDP.contains(&interface.driver.as_str()),
    }
}

fn check_driver(interface: &Interface, choice: &mut HookChoice) -> Result<(), HookError> {
    let Interface { name, driver, .. } = interface;
    if !runs_native_xdp(interface) {
        return Err(HookError::NoNativeXdp { name: name.clone(), driver: driver.clone() });
    }
    match interface.xdp {
        None => choice
            .reasons
            .push("this kernel does not tell XDP abilities (6.3 does); judged by the driver's name".to_owned()),
        Some(xdp) if xdp.ndo_xmit => {}
        Some(_) if interface.is_veth() => choice.warnings.push(hazard::PEER_DOES_NOT_POLL.to_owned()),
        Some(_) => choice.reasons.push("the driver takes redirected frames once a program is attached".to_owned()),
    }
    Ok(())
}

fn check_tags(interface: &Interface, zones: ZoneTags, choice: &mut HookChoice) -> Result<(), HookError> {
    let Interface { name, driver, .. } = interface;
    if interface.is_veth() {
        // The switch of this end does nothing on veth: what counts is the sender's tx-vlan-offload.
        match (zones.tagged, zones.untagged) {
            (true, true) => return Err(HookError::HiddenTags { name: name.clone(), driver: driver.clone() }),
            (true, false) => choice.warnings.push(hazard::TAGS_BESIDE_FRAMES.to_owned()),
            (false, _) => choice.warnings.push(hazard::TAGS_COUNT_AS_NONE.to_owned()),
        }
        return Ok(());
    }
    match interface.features.rx_vlan_offload {
        Feature::FixedOn => {
            return Err(HookError::VlanOffloadFixed { name: name.clone(), driver: driver.clone() });
        }
        Feature::On => {
            choice.turn_off_rx_vlan_offload = true;
            choice
                .reasons
                .push("rx-vlan-offload will be turned off, so that the program sees every VLAN tag".to_owned());
        }
        Feature::Off | Feature::FixedOff => {}
    }
    Ok(())
}

fn check_mtu(interface: &Interface, choice: &mut HookChoice) -> Result<(), HookError> {
    let Interface { name, driver, mtu, .. } = interface;
    if !choice.multi_buffer {
        return Ok(());
    }
    match interface.xdp {
        Some(xdp) if !xdp.rx_sg => {
            return Err(HookError::MtuTooLarge { name: name.clone(), driver: driver.clone(), mtu: *mtu });
        }
        Some(xdp) => {
            choice.reasons.push(format!("an MTU of {mtu} needs several buffers per frame; the driver gives them"));
            if !xdp.ndo_xmit_sg && !interface.is_veth() {
                choice
                    .warnings
                    .push(format!("the driver may not send redirected frames above {SINGLE_BUFFER_MTU} bytes"));
            }
        }
        None => choice
            .warnings
            .push(format!("an MTU of {mtu} needs several buffers per frame; the driver may refuse at attach")),
    }
    Ok(())
}

/// What kept `auto` from XDP, in a clause.
fn short(obstacle: &HookError) -> String {
    match obstacle {
        HookError::NoNativeXdp { driver, .. } if driver.is_empty() => "no driver, no native XDP".to_owned(),
        HookError::NoNativeXdp { driver, .. } => format!("the driver `{driver}` has no native XDP"),
        HookError::HiddenTags { .. } => "VLAN tags could be hidden from XDP".to_owned(),
        HookError::VlanOffloadFixed { driver, .. } => {
            format!("the driver `{driver}` strips VLAN tags before XDP and cannot be stopped")
        }
        HookError::MtuTooLarge { driver, mtu, .. } => {
            format!("an MTU of {mtu} does not fit XDP on `{driver}`")
        }
    }
}
