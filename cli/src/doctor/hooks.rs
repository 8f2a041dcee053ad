//! Which hooks an interface can have, and how that is known.

use serde::Serialize;

use super::checks::{lacks_platform_access, refuses_xdp};
use super::facts::{Ability, Facts, InterfaceFacts};
use crate::interface::runs_native_xdp;

/// A hook, or a way of one, and whether it can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Possible {
    /// What it is called.
    pub hook: &'static str,
    /// Whether it can be had.
    #[serde(flatten)]
    pub ability: Ability,
}

/// Drivers with zero-copy `AF_XDP` on kernels that cannot be asked (before 6.3).
const ZERO_COPY: [&str; 8] = ["gve", "i40e", "ice", "igc", "ixgbe", "mlx5_core", "nfp", "stmmac"];

/// What `interface` can have, from the best to the last.
pub fn possible(facts: &Facts, interface: &InterfaceFacts) -> Vec<Possible> {
    let native = native(interface);
    let copy = match (native.can, facts.machine.af_xdp.can) {
        (Some(true), Some(true)) => Ability::yes("with native XDP"),
        (Some(false), _) => Ability::no("it needs native XDP"),
        _ => facts.machine.af_xdp.clone(),
    };
    let zero_copy = if copy.can == Some(true) { zero_copy(interface) } else { copy.clone() };
    vec![
        Possible { hook: "native XDP", ability: native },
        Possible { hook: "tcx", ability: facts.machine.tcx.clone() },
        Possible { hook: "clsact", ability: facts.machine.clsact.clone() },
        Possible { hook: "AF_XDP zero-copy", ability: zero_copy },
        Possible { hook: "AF_XDP copy", ability: copy },
        Possible { hook: "generic XDP", ability: Ability::yes("slow, not used") },
    ]
}

fn native(interface: &InterfaceFacts) -> Ability {
    let driver = interface.driver();
    if let Some(obstacle) = refuses_xdp(interface) {
        return Ability::no(obstacle);
    }
    match (runs_native_xdp(&interface.interface), interface.interface.xdp) {
        (true, Some(_)) => Ability::yes("told by the kernel"),
        (true, None) => Ability::yes(format!("inferred from the driver `{driver}`")),
        (false, Some(_)) => Ability::no(format!("the kernel says that the driver `{driver}` has none")),
        (false, None) => Ability::no(format!("inferred from the driver `{driver}`")),
    }
}

fn zero_copy(interface: &InterfaceFacts) -> Ability {
    match interface.running.as_ref().and_then(|running| running.frames.as_deref()) {
        Some("zero-copy") => return Ability::yes("in use"),
        Some(_) if interface.interface.loses_uncopied() => {
            return Ability::no(
                "the driver loses what vfw answers in the kernel: copied unless `afxdp.zerocopy` requires it",
            );
        }
        Some(_) => return Ability::no("the running vfw has tried"),
        None => {}
    }
    let driver = interface.driver();
    match interface.interface.xdp {
        Some(xdp) if xdp.zero_copy && lacks_platform_access(interface) => Ability::no(
            "the driver has it, and the device is not set up for it (QEMU: iommu_platform=on,disable-legacy=on)",
        ),
        Some(xdp) if xdp.zero_copy => Ability::yes("told by the kernel"),
        Some(_) => Ability::no(format!("the kernel says that the driver `{driver}` has none")),
        None if ZERO_COPY.contains(&driver) => Ability::yes(format!("inferred from the driver `{driver}`")),
        None => Ability::unknown(format!("this kernel does not tell, and the driver `{driver}` is not known for it")),
    }
}
