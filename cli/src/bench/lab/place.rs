//! Network namespaces without names: the kernel removes them with the process, however it ends.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio, id};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::unistd::Pid;

use crate::bench::report::Family;

/// A network namespace.
pub struct Place(File);

impl Place {
    /// A new one, in which nothing speaks by itself. Interfaces that it gets have IPv6 only where that is the `family`.
    pub fn new(family: Family) -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (root is needed)")?;
            // No link-local addresses, and no questions to routers that come with them.
            let quiet = [("addr_gen_mode", "1"), ("accept_ra", "0")];
            let none = [("disable_ipv6", "1")];
            let settings = if family == Family::Ipv6 { &quiet[..] } else { &none };
            for (scope, (name, value)) in
                ["all", "default"].iter().flat_map(|scope| settings.iter().map(move |it| (scope, it)))
            {
                // A kernel without IPv6 has nothing to set; where it is needed, addresses are refused.
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), value);
            }
            // What a datagram without one of its fragments keeps waiting: it takes memory of which there is little
            // (`ipfrag_high_thresh`), and none that comes later is put together while that is used up.
            for (name, seconds) in [("ipv4/ipfrag_time", "1"), ("ipv6/ip6frag_time", "1")] {
                let _ = std::fs::write(format!("/proc/sys/net/{name}"), seconds);
            }
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        })
    }

    /// Runs `work` inside, on a thread of its own. Processes that it starts are inside as well.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            work()
        })
    }

    /// The same on one CPU.
    pub fn run_on<T: Send>(&self, cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.run(|| {
            let mut cpus = CpuSet::new();
            cpus.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one CPU")?;
            work()
        })
    }

    /// What `ip` can open to find this place.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", id(), self.0.as_raw_fd())
    }

    /// Runs lines of `ip -batch` inside.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        self.feed("ip", &["-batch", "-"], &lines.join("\n")).map(drop)
    }

    /// Runs a command inside with `input` on its standard input; returns what it says.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        self.run(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {program}"))?;
            if let Some(mut pipe) = child.stdin.take() {
                // A program that ends early says why.
                let _ = pipe.write_all(input.as_bytes()).and_then(|()| pipe.write_all(b"\n"));
            }
            let output = child.wait_with_output()?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let mut said = String::new();
            write!(said, "{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim())?;
            bail!(said)
        })
    }

    /// Writes a kernel setting inside.
    pub fn set(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| std::fs::write(path, value).with_context(|| format!("cannot write {path}")))
    }
}

/// A namespace belongs to a thread, so each visit has one.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(anyhow!("a thread of the benchmark ended early")))
}
