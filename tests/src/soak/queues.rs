//! Frames that the queues of links lost, on their way to vfw and from it.

use crate::network::Network;

/// Frames that links have dropped so far because a queue was full, as the kernel counts them: by the link, and for XDP by the
/// driver.
pub fn dropped(network: &Network) -> u64 {
    let places = [("app", "eth0"), ("db", "eth0"), ("fw", "eth1"), ("fw", "eth2")];
    places
        .into_iter()
        .map(|(place, interface)| by_link(network, place, interface) + by_driver(network, place, interface))
        .sum()
}

/// Frames that a host has received so far.
pub fn received(network: &Network, host: &str) -> u64 {
    statistics(network, host, "eth0")["rx"]["packets"].as_u64().unwrap_or(0)
}

fn by_link(network: &Network, place: &str, interface: &str) -> u64 {
    let statistics = statistics(network, place, interface);
    let count = |way: &str| statistics[way]["dropped"].as_u64().unwrap_or(0);
    count("rx") + count("tx")
}

fn statistics(network: &Network, place: &str, interface: &str) -> serde_json::Value {
    let text = network.must(place, &["ip", "-s", "-j", "link", "show", interface]);
    let links: serde_json::Value = serde_json::from_str(&text).expect("JSON of iproute2");
    links[0]["stats64"].clone()
}

fn by_driver(network: &Network, place: &str, interface: &str) -> u64 {
    let text = network.must(place, &["ethtool", "-S", interface]);
    let counters = text.lines().filter_map(|line| line.trim().split_once(": "));
    let lost = counters.filter(|(name, _)| name.ends_with("_xdp_tx_errors") || name.ends_with("_xdp_xmit_errors"));
    lost.filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
}
