//! The interfaces of this machine, and which of them vfw can have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::interface::{Interface, InterfaceError, list, reserved};

/// Every interface but loopback.
#[derive(Clone, Debug)]
pub struct Interfaces {
    all: Vec<Interface>,
    /// Why one is left out, by its index.
    reserved: BTreeMap<u32, String>,
}

impl Interfaces {
    /// Looks at those of this network namespace. Those that `management` names are left out.
    pub fn look(management: &[String]) -> Result<Self, InterfaceError> {
        let mut all = list()?;
        all.retain(|interface| interface.name != "lo");
        let reserved = reserved(&all, management, session())?;
        Ok(Self { all, reserved })
    }

    /// The names of those that vfw can have.
    pub fn free(&self) -> Vec<&str> {
        let is_free = |interface: &&Interface| !self.reserved.contains_key(&interface.index);
        self.all.iter().filter(is_free).map(|interface| interface.name.as_str()).collect()
    }

    /// Whether vfw can have the one of this name.
    pub fn try_name(&self, name: &str) -> Result<(), String> {
        let Some(interface) = self.all.iter().find(|interface| interface.name == name) else {
            return Err(format!("error: there is no interface `{name}`\n  help: one of: {}", self.free().join(", ")));
        };
        self.reserved.get(&interface.index).map_or(Ok(()), |reason| {
            Err(format!("error: `{name}` cannot be had ({reason})\n  help: one of: {}", self.free().join(", ")))
        })
    }

    /// A line for each: name, Ethernet address, driver, link, and why it is left out.
    pub fn lines(&self) -> Vec<String> {
        let width = |text: fn(&Interface) -> &str| self.all.iter().map(|one| text(one).len()).max().unwrap_or(0);
        let (name, driver) = (width(|one| &one.name), width(|one| &one.driver));
        let line = |one: &Interface| {
            let mac = one.mac.map(|byte| format!("{byte:02x}")).join(":");
            let link = match (one.up, one.carrier) {
                (_, true) => "up",
                (true, false) => "no link",
                (false, false) => "down",
            };
            let reason = self.reserved.get(&one.index).map(|reason| format!("left out; {reason}"));
            let line = format!(
                "{:<name$}  {mac}  {:<driver$}  {link:<7}  {}",
                one.name,
                one.driver,
                reason.unwrap_or_default()
            );
            line.trim_end().to_owned()
        };
        self.all.iter().map(line).collect()
    }
}

/// The address of this machine at which the SSH session of this process came in (`ssh(1)`, `SSH_CONNECTION`).
fn session() -> Option<IpAddr> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    connection.split_whitespace().nth(2)?.parse().ok()
}
