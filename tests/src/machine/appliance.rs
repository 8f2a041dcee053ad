//! The appliance in a machine, reached by SSH on its management interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use super::{Hardware, PATIENCE, Qemu, Start, must};
use crate::network::{Network, Process, finish};
use crate::terminal::Line;

/// A running appliance.
pub struct Appliance<'a> {
    network: &'a Network,
    qemu: Qemu,
}

impl<'a> Appliance<'a> {
    /// Boots the disk `image` with a seed of these files.
    pub fn boot(network: &'a Network, image: &Path, seed: &[(&str, &str)], hardware: Hardware) -> Self {
        let start = Start::Disk { image: image.to_owned(), seed: pack(network.folder(), seed), hardware };
        Self { network, qemu: Qemu::start(network, &["eth1", "eth2"], &start) }
    }

    /// A public key whose private half [`Self::ssh`] uses.
    pub fn key(network: &Network) -> String {
        let key = network.folder().join("key");
        must(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        fs::read_to_string(key.with_extension("pub")).expect("the public key").trim().to_owned()
    }

    /// Runs a line of shell in the appliance.
    pub fn ssh(&self, line: &str) -> Output {
        let mut command = self.client("ssh");
        command.args(["root@127.0.0.1", line]);
        finish(self.network.within("fw", || Process::start(command)), PATIENCE)
    }

    /// Copies a file to the appliance.
    pub fn copy(&self, file: &Path, to: &str) {
        let mut command = self.client("scp");
        command.arg(file).arg(format!("root@127.0.0.1:{to}"));
        let output = finish(self.network.within("fw", || Process::start(command)), PATIENCE);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-i").arg(self.network.folder().join("key"));
        for option in [
            "Port=2222",
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=60",
            // A machine that starts again forgets its connections.
            "ServerAliveInterval=15",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    /// Runs a line of shell that has to succeed; returns what it prints.
    pub fn must(&self, line: &str) -> String {
        let output = self.ssh(line);
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{said}{error}\n{}", output.status, self.console());
        said.into_owned()
    }

    /// Waits until a line of shell succeeds.
    pub fn until(&mut self, line: &str) {
        self.wait(line, |appliance| appliance.ssh(line).status.success());
    }

    /// Waits until the console shows a text.
    pub fn until_console_shows(&mut self, text: &str) {
        self.wait(text, |appliance| appliance.console().contains(text));
    }

    /// The console, for somebody who sits at it.
    pub fn sit_down(&self) -> Line {
        self.qemu.sit_down()
    }

    /// What is on its console.
    pub fn console(&self) -> String {
        self.qemu.console()
    }

    fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(self.qemu.is_running() && Instant::now() < deadline, "in vain: {what}\n{}", self.console());
            thread::sleep(Duration::from_millis(300));
        }
    }
}

/// A CD as clouds hand it over, or vCenter when it has its file.
fn pack(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
    let (content, image) = (folder.join("seed"), folder.join("seed.iso"));
    fs::create_dir_all(&content).expect("a folder");
    for (name, text) in files {
        fs::write(content.join(name), text).expect("a file");
    }
    let label = if files.iter().any(|(name, _)| *name == "ovf-env.xml") { "OVF ENV" } else { "cidata" };
    must(Command::new("genisoimage").args(["-quiet", "-V", label, "-J", "-r", "-o"]).arg(&image).arg(&content));
    image
}
