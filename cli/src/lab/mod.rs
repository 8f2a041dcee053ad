//! A lab: network namespaces on this machine that stand for virtual machines, with vfw between them.
//!
//! One host per zone, wired to the interfaces that the policy names. Hosts are untagged; where a zone has a VLAN, a virtual
//! switch adds and removes the tag on the way to vfw, as the port groups of a hypervisor do.
//!
//! ```text
//! vfw-lab-app  eth0 --- port0 \
//!                              vfw-lab-sw  trunk0 --- eth1  vfw-lab-fw
//! vfw-lab-db   eth0 --- port1 /
//! vfw-lab-web  eth0 ----------------------------------- eth2
//! ```

mod bpf_load;
mod guard;
mod namespace;
mod plan;
mod state;
mod vswitch;

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

pub use guard::LabGuard;
pub use plan::{Host, LabSpec, Plan, TagPlacement, Uplink, ZoneSpec};

use crate::config::Config;
use crate::daemon;
use crate::interface::{InterfaceError, inspect, set_feature};
use vswitch::AccessPort;

/// A lab that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    plan: Plan,
}

impl Lab {
    /// Works out what `spec` needs without making it.
    pub fn plan(spec: &LabSpec) -> Result<Plan, LabError> {
        Plan::new(spec)
    }

    /// Builds a lab. One that cannot be completed is removed again.
    pub fn up(spec: &LabSpec) -> Result<Self, LabError> {
        let plan = Plan::new(spec)?;
        let _building = guard::building();
        let before = state::read(&plan.name)?.map(|old| old.namespaces());
        let mut names = plan.namespaces().into_iter().chain(before.unwrap_or_default());
        if let Some(namespace) = names.find(|name| namespace::exists(name)) {
            return Err(LabError::Exists { name: plan.name, namespace });
        }
        state::write(&plan)?;
        match build(&plan) {
            Ok(()) => Ok(Self { plan }),
            Err(error) => {
                remove(&plan)?;
                Err(error)
            }
        }
    }

    /// The lab of that name, built by this process or another.
    pub fn open(name: &str) -> Result<Self, LabError> {
        match state::read(name)? {
            Some(plan) => Ok(Self { plan }),
            None => Err(LabError::NotUp { name: name.to_owned() }),
        }
    }

    /// Removes the lab of that name, also a half-built one, and the processes in it. False when there is none.
    pub fn down(name: &str) -> Result<bool, LabError> {
        let _building = guard::building();
        remove_recorded(name)
    }

    /// What the lab consists of.
    pub fn layout(&self) -> &Plan {
        &self.plan
    }

    /// Runs `work` inside the host of a zone, or the firewall (`fw`): on a thread of its own, so that processes which it starts
    /// are inside too.
    pub fn run<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let namespace = self.plan.namespace(place).ok_or_else(|| LabError::NoSuchPlace {
            place: place.to_owned(),
            known: self.plan.hosts.iter().map(|host| host.zone.clone()).collect(),
        })?;
        namespace::within(namespace, work)
    }

    /// Runs a command inside the host of a zone, or the firewall (`fw`), on this terminal; returns what a shell would as exit code.
    pub fn exec<S: AsRef<OsStr> + Sync>(&self, place: &str, command: &[S]) -> Result<i32, LabError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(LabError::Spec("there is no command to run".to_owned()));
        };
        let status = self
            .run(place, || Command::new(program).args(arguments).status())?
            .map_err(|source| LabError::Start { command: program.as_ref().to_string_lossy().into_owned(), source })?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }
}

/// A lab that could not be built, found or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The description asks for something that cannot be.
    #[error("{0}")]
    Spec(String),
    /// There is one already.
    #[error("the lab `{name}` is up already (namespace {namespace} exists); remove it with `vfw lab down`")]
    Exists {
        /// Its name.
        name: String,
        /// The namespace in the way.
        namespace: String,
    },
    /// There is none.
    #[error("the lab `{name}` is not up; build it with `vfw lab up`")]
    NotUp {
        /// The name that was asked for.
        name: String,
    },
    /// The lab has no host of that name.
    #[error("the lab has no `{place}`; there are: fw, {}", known.join(", "))]
    NoSuchPlace {
        /// The name that was asked for.
        place: String,
        /// Its zones.
        known: Vec<String>,
    },
    /// A command could not be started.
    #[error("cannot run `{command}`: {source}{}", install(command, source))]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// Its message.
        said: String,
    },
    /// A namespace could not be entered.
    #[error("cannot enter the namespace {namespace}: {source}")]
    Enter {
        /// The namespace.
        namespace: String,
        /// What the system said.
        source: io::Error,
    },
    /// A namespace could not be removed.
    #[error("cannot remove the namespace {namespace}: {source}")]
    Delete {
        /// The namespace.
        namespace: String,
        /// What the system said.
        source: io::Error,
    },
    /// The switch could not be made.
    #[error("cannot join the ports of the virtual switch: {0} (it needs root, and a kernel with CONFIG_NET_CLS_BPF)")]
    Switch(io::Error),
    /// An interface could not be set as the lab needs it.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A kernel setting could not be written.
    #[error("cannot write {path} in a namespace of the lab: {source}")]
    Setting {
        /// The setting.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The record of the lab could not be kept.
    #[error("cannot keep the record of the lab in {}: {source}{}", path.display(), root(source))]
    State {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn root(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { " (the lab needs root)" } else { "" }
}

fn install(command: &str, source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound if command.starts_with("ip ") => "; the lab needs the package iproute2",
        io::ErrorKind::NotFound => "; is it installed?",
        _ => "",
    }
}

fn build(plan: &Plan) -> Result<(), LabError> {
    plan.namespaces().iter().try_for_each(|name| namespace::add(name))?;
    for silent in std::iter::once(&plan.firewall).chain(&plan.switch) {
        namespace::within(silent, || configure(&SILENT))??;
    }
    for host in &plan.hosts {
        namespace::within(&host.namespace, || configure(&HOST))??;
    }
    namespace::ip_batch(&plan.links())?;
    if let Some(switch) = &plan.switch {
        namespace::within(switch, || build_switch(plan))??;
    }
    let ends: Vec<String> = plan.uplinks.iter().map(|uplink| format!("link set {} up", uplink.interface)).collect();
    namespace::within(&plan.firewall, || namespace::ip_batch(&ends))??;
    for host in &plan.hosts {
        namespace::within(&host.namespace, || build_host(plan, host))??;
    }
    Ok(())
}

/// A kernel setting and its value.
type Setting = (&'static str, &'static str);

/// Keeps the kernel of the firewall's and the switch's namespace from speaking or routing by itself.
const SILENT: [Setting; 3] = [
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    ("/proc/sys/net/ipv4/ip_forward", "0"),
];

/// Makes hosts ready at once, without seconds of duplicate address detection, and quiet: they are configured, not advertised to.
const HOST: [Setting; 3] = [
    ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
    ("/proc/sys/net/ipv6/conf/default/router_solicitations", "0"),
];

fn configure(settings: &[Setting]) -> Result<(), LabError> {
    for &(path, value) in settings {
        match std::fs::write(path, value) {
            // A kernel without IPv6 has nothing to set.
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::Setting { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn build_switch(plan: &Plan) -> Result<(), LabError> {
    for uplink in &plan.uplinks {
        let Some(trunk) = &uplink.trunk else { continue };
        let mut up = vec![format!("link set {trunk} up")];
        let mut ports = Vec::new();
        for (host, vlan) in &uplink.hosts {
            let port = plan::port(*host);
            ports.push(AccessPort { index: inspect(&port)?.index, vlan: *vlan });
            up.push(format!("link set {port} up"));
        }
        if plan.tags == TagPlacement::InFrame {
            set_feature(trunk, "tx-vlan-hw-insert", false)?;
        }
        vswitch::join(inspect(trunk)?.index, &ports).map_err(LabError::Switch)?;
        namespace::ip_batch(&up)?;
        poll(trunk)?;
    }
    Ok(())
}

fn build_host(plan: &Plan, host: &Host) -> Result<(), LabError> {
    if !plan.tx_checksum {
        set_feature("eth0", "tx-checksum-ip-generic", false)?;
    }
    namespace::ip_batch(&host.configuration())?;
    poll("eth0")
}

/// A veth takes frames that XDP redirects to it only while its other end polls, which GRO makes it do.
/// The kernel announces it to the first end (`ndo-xmit`) only when GRO is turned on while the link is up.
fn poll(name: &str) -> Result<(), LabError> {
    set_feature(name, "rx-gro", true).map_err(LabError::from)
}

/// Removes a lab by its record; the caller keeps others from building meanwhile.
fn remove_recorded(name: &str) -> Result<bool, LabError> {
    match state::read(name)? {
        Some(plan) => remove(&plan).map(|()| true),
        None => Ok(false),
    }
}

fn remove(plan: &Plan) -> Result<(), LabError> {
    let names: Vec<String> = plan.namespaces().into_iter().filter(|name| namespace::exists(name)).collect();
    namespace::end_processes(&names);
    if names.contains(&plan.firewall) {
        // A vfw that ran there with the built-in settings, as `vfw lab exec fw -- vfw run FILE` does.
        let cleared = namespace::within(&plan.firewall, || daemon::clear_away(&Config::default()))?;
        if let Err(error) = cleared {
            tracing::warn!(%error, "programs of the lab's vfw stay");
        }
    }
    names.iter().try_for_each(|name| namespace::delete(name))?;
    state::delete(&plan.name)
}

#[cfg(test)]
mod tests;
