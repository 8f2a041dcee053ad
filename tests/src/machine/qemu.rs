//! QEMU at the firewall's place of a network.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::network::{Network, until};
use crate::terminal::Line;

/// What a machine starts from.
pub enum Start {
    /// A kernel and its first file system.
    Kernel {
        /// The kernel.
        image: PathBuf,
        /// The file system.
        initramfs: PathBuf,
    },
    /// A disk, of which the machine changes a copy, and a CD.
    Disk {
        /// The disk.
        image: PathBuf,
        /// The CD.
        seed: PathBuf,
        /// What the machine has around it.
        hardware: Hardware,
    },
}

/// What is around a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hardware {
    /// A BIOS and virtio network cards with several queues, as KVM has it.
    Kvm,
    /// UEFI and vmxnet3, as the OVA describes it. The disk is on virtio all the same: the UEFI at hand does not start from pvscsi.
    Ova,
}

impl Start {
    /// Queues of each interface: as many as the machine's CPUs to receive, and as many again, on which the driver sends what
    /// XDP redirects. QEMU's vmxnet3 has one for a tap.
    const fn queues(&self) -> usize {
        match self {
            Self::Disk { hardware: Hardware::Ova, .. } => 1,
            _ => 4,
        }
    }

    /// Model of the network cards, and options of those behind a tap, in QEMU's words.
    fn network_card(&self) -> (&str, String) {
        let queues = format!(",mq=on,vectors={}", 2 * self.queues() + 2);
        match self {
            // A driver that does not map what it shows to the device cannot let AF_XDP into its rings.
            Self::Kernel { .. } => ("virtio-net-pci", queues + ",iommu_platform=on,disable-legacy=on"),
            Self::Disk { hardware: Hardware::Kvm, .. } => ("virtio-net-pci", queues),
            Self::Disk { hardware: Hardware::Ova, .. } => ("vmxnet3", String::new()),
        }
    }
}

/// A running QEMU; the machine is switched off when this goes.
pub struct Qemu {
    /// The process. Its standard streams are the machine's second serial port.
    pub child: Child,
    console: PathBuf,
}

/// The socket that the first serial port is, beside the file with all that it has printed.
fn socket(console: &Path) -> PathBuf {
    console.with_extension("socket")
}

impl Qemu {
    /// Starts a machine: its interface `eth0` is for management (this machine's port 2222 at the firewall's place leads to its
    /// SSH), `eth1` and those after it are on bridges with those that `interfaces` names there.
    pub fn start(network: &Network, interfaces: &[&str], start: &Start) -> Self {
        let console = network.folder().join("console");
        let lines = interfaces.iter().enumerate().flat_map(|(port, name)| bridge(port, name, start.queues()));
        network.ip_batch(&lines.chain(["link set lo up".to_owned()]).collect::<Vec<_>>());
        let mut command = Command::new("nice");
        command.args(["-n", "19", "qemu-system-x86_64"]).args(machine(&console));
        command.args(boot(network.folder(), start)).args(ports(interfaces.len(), start));
        let errors = File::create(network.folder().join("qemu")).expect("a file");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        Self { child: network.within("fw", || command.spawn()).expect("QEMU"), console }
    }

    /// The console, for somebody who sits at it. What was printed before is not in it.
    pub fn sit_down(&self) -> Line {
        // QEMU makes it when it has read its command line.
        let socket = until("the console", || UnixStream::connect(socket(&self.console)).ok());
        Line::new(socket.try_clone().expect("a second handle"), socket, super::PATIENCE)
    }

    /// What it has printed on its console.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // One that has ended by itself is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of `ip -batch` that join `interface` with a port for the machine.
fn bridge(port: usize, interface: &str, queues: usize) -> Vec<String> {
    let several = if queues > 1 { " multi_queue" } else { "" };
    vec![
        format!("link add bridge{port} type bridge mcast_snooping 0"),
        format!("tuntap add dev port{port} mode tap vnet_hdr{several}"),
        format!("link set {interface} master bridge{port}"),
        format!("link set port{port} master bridge{port} up"),
        format!("link set {interface} up"),
        format!("link set bridge{port} up"),
    ]
}

fn words(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

fn machine(console: &Path) -> Vec<OsString> {
    // QEMU 7.2 without KVM runs cmpxchg16b wrong, which kernels from 6.12 on use; and with a thread for each processor a kernel that
    // changes its own text may stop at an int3 that is not there any more.
    let fixed = "-machine q35 -accel tcg,thread=single -cpu qemu64,-cx16 -m 1024 -smp 2 -nodefaults -display none";
    let mut all: Vec<OsString> = fixed.split_whitespace().map(OsString::from).collect();
    let port = format!(
        "socket,id=console,path={},server=on,wait=off,logfile={}",
        socket(console).display(),
        console.display()
    );
    all.extend(words(&[&"-chardev", &port, &"-serial", &"chardev:console", &"-serial", &"stdio"]));
    all
}

fn boot(folder: &Path, start: &Start) -> Vec<OsString> {
    match start {
        Start::Kernel { image, initramfs } => {
            // A busy host keeps QEMU's timer waiting, which the kernel takes for a broken one.
            let line = "console=ttyS0 panic=-1 net.ifnames=0 mitigations=off no_timer_check";
            words(&[&"-no-reboot", &"-kernel", image, &"-initrd", initramfs, &"-append", &line])
        }
        Start::Disk { image, seed, hardware } => {
            let copy = folder.join("disk.qcow2");
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(image).arg(&copy);
            super::must(&mut create);
            let disk = format!("if=virtio,format=qcow2,file={}", copy.display());
            let seed = format!("media=cdrom,format=raw,readonly=on,file={}", seed.display());
            let mut all = words(&[&"-drive", &disk, &"-drive", &seed]);
            if *hardware == Hardware::Ova {
                for (file, mode) in [("OVMF_CODE.fd", "readonly=on"), ("OVMF_VARS.fd", "snapshot=on")] {
                    let flash = format!("if=pflash,format=raw,{mode},file={}/{file}", super::UEFI);
                    all.extend(words(&[&"-drive", &flash]));
                }
            }
            all
        }
    }
}

fn ports(count: usize, start: &Start) -> Vec<OsString> {
    let management = "user,id=management,hostfwd=tcp:127.0.0.1:2222-:22";
    let (queues, (model, options)) = (start.queues(), start.network_card());
    // Cards of one driver are counted in their order.
    let mut all = words(&[&"-netdev", &management, &"-device", &format!("{model},netdev=management")]);
    for port in 0..count {
        let link = format!("tap,id=n{port},ifname=port{port},script=no,downscript=no,queues={queues}");
        let device = format!("{model},netdev=n{port},mac=52:54:00:00:00:{port:02x}{options}");
        all.extend(words(&[&"-netdev", &link, &"-device", &device]));
    }
    all
}
