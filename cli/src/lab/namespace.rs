//! Named network namespaces (`ip netns`): making, entering, ending.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LabError;

/// Where iproute2 keeps namespaces.
const DIRECTORY: &str = "/run/netns";
/// How long a process in a lab may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

pub(super) fn exists(name: &str) -> bool {
    path(name).exists()
}

pub(super) fn add(name: &str) -> Result<(), LabError> {
    checked(ip().args(["netns", "add", name]))
}

/// What `ip netns del` does, without a process that a second Ctrl-C could end half way.
pub(super) fn delete(name: &str) -> Result<(), LabError> {
    let path = path(name);
    let failed = |source: io::Error| LabError::Delete { namespace: name.to_owned(), source };
    match umount2(&path, MntFlags::MNT_DETACH) {
        // Made by an `ip netns add` that was ended between the file and the mount.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    fs::remove_file(&path).map_err(failed)
}

/// Runs `work` on a thread of its own inside the namespace and waits for it. Processes that it starts are inside as well.
pub(super) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let failed = |source| LabError::Enter { namespace: name.to_owned(), source };
    let namespace = File::open(path(name)).map_err(failed)?;
    let outcome = thread::scope(|scope| {
        let thread = scope.spawn(move || setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
        thread.join()
    });
    match outcome {
        Ok(result) => result.map_err(|errno| failed(errno.into())),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// iproute2 in a process group of its own: Ctrl-C on the terminal reaches vfw, which cleans up, and not a command half done.
fn ip() -> Command {
    let mut command = Command::new("ip");
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Runs lines of `ip -batch` in the namespace of the calling thread; the error shows the line that failed.
pub(super) fn ip_batch(lines: &[String]) -> Result<(), LabError> {
    let mut command = ip();
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| LabError::Start { command: "ip -batch -".to_owned(), source })?;
    let fed = child.stdin.take().map_or(Ok(()), |mut input| input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output =
        child.wait_with_output().map_err(|source| LabError::Start { command: "ip -batch -".to_owned(), source })?;
    if output.status.success() && fed.is_ok() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // "Command failed -:3"
    let line = said.rsplit("-:").next().and_then(|number| number.trim().parse::<usize>().ok());
    let failing = line.and_then(|line| lines.get(line.checked_sub(1)?));
    Err(LabError::Command {
        command: failing.map_or_else(|| "ip -batch -".to_owned(), |line| format!("ip {line}")),
        said: first_line(&said),
    })
}

fn checked(command: &mut Command) -> Result<(), LabError> {
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(output) => {
            Err(LabError::Command { command: line, said: first_line(&String::from_utf8_lossy(&output.stderr)) })
        }
        Err(source) => Err(LabError::Start { command: line, source }),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("no message").trim().to_owned()
}

/// Ends the processes inside the namespaces, first politely. Never the calling process.
pub(super) fn end_processes(names: &[String]) {
    let inodes: Vec<(u64, u64)> = names.iter().filter_map(|name| identity(&path(name)).ok()).collect();
    signal_all(&inodes, Signal::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while !processes(&inodes).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    signal_all(&inodes, Signal::SIGKILL);
}

fn signal_all(inodes: &[(u64, u64)], signal: Signal) {
    for process in processes(inodes) {
        // A process that has just ended is what we want.
        let _ = kill(process, signal);
    }
}

fn processes(inodes: &[(u64, u64)]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| identity(&entry.path().join("ns/net")).is_ok_and(|id| inodes.contains(&id)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|process| *process != Pid::this())
        .collect()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|data| (data.dev(), data.ino()))
}
