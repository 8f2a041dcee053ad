//! Connection tracking of Linux: how many flows it has room for, and how many it knows.

use std::fs;

use anyhow::{Context as _, Result, anyhow};

use super::place::Place;
use crate::interface::netlink::{Attributes, Netlink};

/// `IPCTNL_MSG_CT_DELETE` of the subsystem `NFNL_SUBSYS_CTNETLINK`, and no family in particular (linux/netfilter/nfnetlink.h).
const DELETE: u16 = 1 << 8 | 2;
const ALL_FAMILIES: u8 = 0;

/// Most flows: one value for all namespaces.
pub fn room() -> Result<u32> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.trim().parse().map_err(|_| anyhow!("{path} holds no number"))
}

/// Flows that were seen in both directions.
pub fn established(firewall: &Place) -> Result<u64> {
    firewall.run(|| {
        // Not /proc/net, which shows the namespace of the first thread.
        let text = fs::read_to_string("/proc/thread-self/net/nf_conntrack")?;
        Ok(text.lines().filter(|line| !line.contains("[UNREPLIED]")).count() as u64)
    })
}

/// Forgets all flows: deletes without saying which.
pub fn flush(firewall: &Place) -> Result<()> {
    firewall.run(|| {
        // The header of nfnetlink is laid out as that of generic netlink.
        let answer = Netlink::netfilter()?.call_generic(DELETE, ALL_FAMILIES, Attributes::default());
        answer.map(drop).context("cannot flush connection tracking")
    })
}
