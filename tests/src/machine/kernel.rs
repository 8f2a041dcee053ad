//! Kernels of Debian that tests boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::must;

/// An unpacked kernel package.
pub struct GuestKernel {
    /// Its files, as in a root file system.
    root: PathBuf,
    /// As `uname -r` prints it.
    pub version: String,
}

impl GuestKernel {
    /// The newest kernel of `package` in a suite of Debian; kept in the target directory.
    pub fn fetch(suite: &str, package: &str) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let root = must(
            Command::new("sh")
                .arg(workspace.join("tests/fetch-kernel.sh"))
                .args([suite, package])
                .arg(workspace.join("target/guest-kernels")),
        );
        let root = PathBuf::from(root.trim());
        let modules = fs::read_dir(root.join("lib/modules")).expect("modules").flatten().next().expect("a version");
        Self { version: modules.file_name().into_string().expect("UTF-8"), root }
    }

    /// The image to boot.
    pub fn image(&self) -> PathBuf {
        let own = self.root.join(format!("lib/modules/{}/vmlinuz", self.version));
        if own.exists() { own } else { self.root.join(format!("boot/vmlinuz-{}", self.version)) }
    }

    /// Files of a module and of those that it needs, in the order of loading. None when the kernel has it built in, or not.
    pub fn module(&self, name: &str) -> Vec<PathBuf> {
        let output = Command::new("/usr/sbin/modprobe")
            .arg("--dirname")
            .arg(&self.root)
            .args(["--set-version", &self.version, "--show-depends", name])
            .output()
            .expect("kmod");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = text.lines().filter_map(|line| line.strip_prefix("insmod ")?.split(' ').next());
        paths.map(PathBuf::from).collect()
    }
}
