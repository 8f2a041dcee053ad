//! The rules of the firewalls that are compared: the same in each language.
//!
//! The client may reach the server's UDP ports 5000 to 5299 and TCP ports 5200 to 5299; nothing else may pass. Where there is
//! an attacker, it may send to TCP ports 6000 to 6099 of an address that nobody has.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::topology::ADDRESS_NOBODY;

/// Lowest and highest UDP port of the server that the client may reach.
pub const UDP_PORTS: [u16; 2] = [5_000, 5_299];
/// Lowest and highest TCP port of the server that the client may reach.
pub const TCP_PORTS: [u16; 2] = [5_200, 5_299];
/// Lowest and highest TCP port that the attacker may send to.
pub const ATTACK_PORTS: [u16; 2] = [6_000, 6_099];

/// What rules are to be in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Rules in front of those that allow something here, each for one address and port of other networks.
    pub others: u32,
    /// Whether there is an attacker.
    pub attacked: bool,
}

/// A rule about another network: protocol, source, destination port.
fn other(number: u32) -> (&'static str, Ipv4Addr, u16) {
    // 172.16.0.0/12 has a million addresses; ports differ so that no rule hides another.
    let address = Ipv4Addr::from(0xac10_0000 + number.wrapping_mul(7) % 0x10_0000);
    (if number.is_multiple_of(2) { "tcp" } else { "udp" }, address, 1_024 + (number % 40_000) as u16)
}

impl Rules {
    fn others(self) -> impl Iterator<Item = (&'static str, Ipv4Addr, u16)> {
        (0..self.others).map(other)
    }

    /// In vfw's language.
    pub fn vfw(self) -> String {
        let mut text = String::from(
            "zone a { interface f0  address 10.0.1.1/24, fd00:1::1/64 }\n\
             zone b { interface f1  address 10.0.2.1/24, fd00:2::1/64 }\n",
        );
        if self.attacked {
            text.push_str("zone c { interface f2  address 10.3.255.254/16 }\n");
        }
        text.push_str("default drop\n");
        for (protocol, source, port) in self.others() {
            let _ = writeln!(text, "allow a -> b  from {source}  service {protocol} {port}");
        }
        let ([udp, udp_end], [tcp, tcp_end]) = (UDP_PORTS, TCP_PORTS);
        let _ = writeln!(text, "allow a -> b  service udp {udp}-{udp_end}\nallow a -> b  service tcp {tcp}-{tcp_end}");
        if self.attacked {
            let [first, last] = ATTACK_PORTS;
            let _ = writeln!(text, "allow c -> b  to {ADDRESS_NOBODY}  service tcp {first}-{last}");
        }
        text
    }

    /// For `nft -f`.
    pub fn nftables(self) -> String {
        let mut text = String::from(
            "table inet filter {\n chain forward {\n  type filter hook forward priority filter; policy drop;\n  \
             ct state established,related accept\n",
        );
        for (protocol, source, port) in self.others() {
            let _ = writeln!(text, "  iifname f0 oifname f1 ip saddr {source} {protocol} dport {port} accept");
        }
        let ([udp, udp_end], [tcp, tcp_end]) = (UDP_PORTS, TCP_PORTS);
        let _ = writeln!(text, "  iifname f0 oifname f1 ct state new udp dport {udp}-{udp_end} accept");
        let _ = writeln!(text, "  iifname f0 oifname f1 ct state new tcp dport {tcp}-{tcp_end} accept");
        if self.attacked {
            let [first, last] = ATTACK_PORTS;
            let _ = writeln!(text, "  iifname f2 oifname f1 ip daddr {ADDRESS_NOBODY} tcp dport {first}-{last} accept");
        }
        text.push_str(" }\n}\n");
        text
    }

    /// For `iptables-restore`.
    pub fn iptables(self) -> String {
        let mut text =
            String::from("*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n");
        for (protocol, source, port) in self.others() {
            let _ = writeln!(text, "-A FORWARD -i f0 -o f1 -s {source} -p {protocol} --dport {port} -j ACCEPT");
        }
        for (protocol, [first, last]) in [("udp", UDP_PORTS), ("tcp", TCP_PORTS)] {
            let _ = writeln!(
                text,
                "-A FORWARD -i f0 -o f1 -p {protocol} --dport {first}:{last} -m conntrack --ctstate NEW -j ACCEPT"
            );
        }
        if self.attacked {
            let [first, last] = ATTACK_PORTS;
            let _ =
                writeln!(text, "-A FORWARD -i f2 -o f1 -d {ADDRESS_NOBODY} -p tcp --dport {first}:{last} -j ACCEPT");
        }
        text.push_str("COMMIT\n");
        text
    }
}
