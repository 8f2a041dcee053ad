//! CPUs kept from sleeping while something is measured: to wake one takes longer than what most firewalls do to a packet.

#![allow(unsafe_code, reason = "sched_setscheduler has no wrapper in what vfw depends on")]

use std::hint::spin_loop;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cpus;

const THREAD: &str = "vfw-awake";

/// No CPU that this process may use sleeps until the value goes.
pub struct Awake {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    /// Keeps each CPU busy with a thread that any other takes the CPU from at once (`SCHED_IDLE`).
    pub fn keep() -> Result<Self> {
        let own = cpus::own().context("cannot tell which CPUs there are")?;
        let mut awake = Self { is_over: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        let (ready, begun) = channel();
        for cpu in own {
            let (is_over, ready) = (Arc::clone(&awake.is_over), ready.clone());
            let spin = move || spin(cpu, &is_over, ready);
            awake.threads.push(thread::Builder::new().name(THREAD.to_owned()).spawn(spin)?);
        }
        drop(ready);
        begun.iter().collect::<io::Result<()>>().context("cannot keep CPUs awake")?;
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked is over as well.
            let _ = thread.join();
        }
    }
}

fn spin(cpu: usize, is_over: &AtomicBool, ready: Sender<io::Result<()>>) {
    let outcome = stay(cpu).and_then(|()| give_way());
    let is_ready = outcome.is_ok();
    let _ = ready.send(outcome);
    drop(ready);
    while is_ready && !is_over.load(Ordering::Relaxed) {
        spin_loop();
    }
}

/// Binds the calling thread to a CPU.
fn stay(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// Lets every thread of another policy go before the calling one.
fn give_way() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: zero is the calling thread; the parameter lives during the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// Scheduling policies of the threads that keep CPUs awake: the 41st field of `stat`, counted from the one behind the name.
    fn policies() -> Vec<String> {
        let tasks = fs::read_dir("/proc/self/task").expect("threads").flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let own = stats.filter(|stat| stat.contains(&format!("({THREAD})")));
        own.filter_map(|stat| Some(stat.rsplit_once(')')?.1.split_whitespace().nth(38)?.to_owned())).collect()
    }

    /// Ticks that all CPUs have slept: idle and iowait. What a hypervisor takes away is neither sleep nor work.
    fn slept() -> u64 {
        let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
        let columns = stat.lines().next().expect("a line").split_whitespace().skip(4).take(2);
        columns.map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
    }

    #[test]
    fn no_cpu_sleeps_and_no_thread_waits() {
        let awake = Awake::keep().expect("threads");
        let (before, begin) = (slept(), Instant::now());
        let cpus = thread::available_parallelism().expect("CPUs").get();
        assert_eq!(policies(), vec![libc::SCHED_IDLE.to_string(); cpus]);
        while begin.elapsed() < Duration::from_millis(300) {
            spin_loop();
        }
        // Of 30 ticks of each CPU.
        let slept = slept() - before;
        assert!(slept < 6 * cpus as u64, "{cpus} CPUs slept for {slept} ticks");
        drop(awake);
        // The kernel wakes who joins a thread before it takes it from the list.
        let end = Instant::now() + Duration::from_secs(10);
        while !policies().is_empty() {
            assert!(Instant::now() < end, "threads are left: {:?}", policies());
        }
    }
}
