//! Commands that end in time: by themselves, or with the value that stands for them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running command; it is killed when this goes.
pub struct Process {
    line: String,
    pid: Pid,
    ended: mpsc::Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    output: Option<JoinHandle<Vec<u8>>>,
    error: Option<JoinHandle<Vec<u8>>>,
}

impl Process {
    /// Starts `command` in the namespace of the calling thread.
    pub fn start(mut command: Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let (output, error) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
        let pid = Pid::from_raw(child.id().cast_signed());
        Self { line, pid, ended: wait_for(child), status: None, output, error }
    }

    /// Starts `command` as [`Self::start`] does, its outputs going to the file `log`, which can be read meanwhile.
    pub fn start_logged(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("the log file");
        let copy = file.try_clone().expect("a second handle of the log file");
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        Self::start_at(command)
    }

    /// Starts `command` with the streams that it has been given.
    pub fn start_at(mut command: Command) -> Self {
        let line = command.get_program().display().to_string();
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let pid = Pid::from_raw(child.id().cast_signed());
        Self { line, pid, ended: wait_for(child), status: None, output: None, error: None }
    }

    /// Its identifier.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // One that has just ended needs none.
            let _ = kill(self.pid, signal);
        }
    }

    /// The exit status, when the command ends within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.ended.recv_timeout(patience).ok();
        }
        self.status
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        // The thread that waits for it has its end for certain after SIGKILL.
        let _ = self.wait(Duration::from_secs(5));
    }
}

/// Waits for the end of a command and takes its output; a test fails when it does not end within `patience`.
pub fn finish(mut process: Process, patience: Duration) -> Output {
    let status = process.wait(patience);
    if status.is_none() {
        process.signal(Signal::SIGKILL);
    }
    let take = |pipe: Option<JoinHandle<Vec<u8>>>| pipe.and_then(|pipe| pipe.join().ok()).unwrap_or_default();
    let (stdout, stderr) = (take(process.output.take()), take(process.error.take()));
    let Some(status) = status else {
        panic!(
            "`{}` did not end within {patience:?}\n{}{}",
            process.line,
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    };
    Output { status, stdout, stderr }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until the pipe broke is what there is.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn wait_for(mut child: Child) -> mpsc::Receiver<ExitStatus> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // The receiver may have gone.
            let _ = send.send(status);
        }
    });
    receive
}
