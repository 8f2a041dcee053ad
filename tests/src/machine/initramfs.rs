//! A root file system in memory: busybox, modules, and the programs that a test brings.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{GuestKernel, must};

/// What a machine of tests needs of its kernel; a module that is built in is no file.
const MODULES: [&str; 9] =
    ["virtio_pci", "virtio_net", "vmxnet3", "veth", "dummy", "sch_ingress", "cls_bpf", "act_bpf", "ipv6"];

/// Mounts what a system has, loads modules and then runs each line that comes by the second serial port, answering with what
/// it prints and with its exit code.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
while read -r module; do insmod /modules/$module; done </modules/list
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
echo \"=== ready\"
while read -r line; do
    sh -c \"$line\"
    echo \"=== $?\"
done
poweroff -f
";

/// A root file system that is being put together in a folder.
pub struct Initramfs {
    folder: PathBuf,
}

impl Initramfs {
    /// One for this kernel, put together in `folder`.
    pub fn new(folder: &Path, kernel: &GuestKernel) -> Self {
        let initramfs = Self { folder: folder.to_owned() };
        for name in ["bin", "dev", "etc", "modules", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        initramfs.program("busybox", "/bin/busybox");
        for name in must(Command::new("busybox").arg("--list")).lines().filter(|name| *name != "busybox") {
            symlink("busybox", folder.join("bin").join(name)).expect("a link");
        }
        initramfs.modules(kernel);
        initramfs.text("init", INIT);
        fs::set_permissions(folder.join("init"), Permissions::from_mode(0o755)).expect("permissions");
        initramfs
    }

    fn modules(&self, kernel: &GuestKernel) {
        let mut list = Vec::new();
        for path in MODULES.iter().flat_map(|name| kernel.module(name)) {
            let name = path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
            if !list.contains(&name) {
                fs::copy(&path, self.folder.join("modules").join(&name)).expect("a module");
                list.push(name);
            }
        }
        self.text("modules/list", &(list.join("\n") + "\n"));
    }

    /// Adds a file.
    pub fn text(&self, path: &str, text: &str) {
        let path = self.folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    /// Adds a program of this machine, by its path or its name, with the libraries that it needs, as `to`.
    pub fn program(&self, program: &str, to: &str) {
        let program = if program.contains('/') { program.to_owned() } else { which(program) };
        let to = self.folder.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
        // Over a link to busybox, not through it.
        let _ = fs::remove_file(&to);
        must(Command::new("strip").args(["--strip-debug", "-o"]).arg(&to).arg(&program));
        for library in libraries(&program) {
            let to = self.folder.join(library.trim_start_matches('/'));
            if !to.exists() {
                fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
                fs::copy(&library, to).expect("a library");
            }
        }
    }

    /// Packs it into `file`.
    pub fn pack(self, file: &Path) {
        let pack = "find . | LC_ALL=C sort | cpio --create --format=newc --quiet --owner=0:0 >\"$1\"";
        must(Command::new("sh").args(["-c", pack, "sh"]).arg(file).current_dir(&self.folder));
        fs::remove_dir_all(&self.folder).expect("the folder goes");
    }
}

fn which(program: &str) -> String {
    must(Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin:/sbin command -v \"$1\"", "sh", program]))
        .trim()
        .to_owned()
}

/// What `ldd` names; nothing for a static program.
fn libraries(program: &str) -> BTreeSet<String> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect()
}
