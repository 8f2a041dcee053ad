//! Virtual machines for tests: a kernel of one's choice, or the appliance, at the firewall's place of a [`Network`].
//!
//! QEMU runs in the namespace of the firewall and has a port of a bridge for each of its interfaces, so that the machine sees
//! the frames that vfw would see there, tags included. It needs no KVM: what is tested is function, never speed.

mod appliance;
mod initramfs;
mod kernel;
mod qemu;
mod shell;
mod upgrade;

pub use appliance::Appliance;
pub use initramfs::Initramfs;
pub use kernel::GuestKernel;
pub use qemu::{Hardware, Qemu, Start};
pub use shell::Machine;
pub use upgrade::Signer;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Nothing that a test asks of a machine takes longer, on two busy processors without KVM.
const PATIENCE: Duration = Duration::from_secs(900);

/// Where Debian's UEFI for QEMU is.
const UEFI: &str = "/usr/share/OVMF";

/// The variable with which a machine without QEMU passes on purpose.
const WITHOUT: &str = "VFW_TEST_WITHOUT_QEMU";

/// Whether virtual machines can be run here. A test that wants them and has no QEMU fails, unless the user has said that it
/// need not run.
pub fn available() -> bool {
    let missing: Vec<&str> = [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
        ("busybox", "busybox-static"),
        ("cpio", "cpio"),
        ("depmod", "kmod"),
        ("genisoimage", "genisoimage"),
        ("ssh", "openssh-client"),
    ]
    .into_iter()
    .filter(|(tool, _)| !is_installed(tool))
    .map(|(_, package)| package)
    .chain(Some("ovmf").filter(|_| !Path::new(UEFI).join("OVMF_CODE.fd").exists()))
    .collect();
    if missing.is_empty() {
        return true;
    }
    let what = format!("this test boots virtual machines: `apt-get install {}`", missing.join(" "));
    assert!(std::env::var_os(WITHOUT).is_some(), "{what}, or set {WITHOUT}=1 to do without");
    eprintln!("NOT RUN ({WITHOUT} is set): {what}");
    false
}

fn is_installed(tool: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).chain([Path::new("/usr/sbin").into()]).any(|folder| folder.join(tool).exists())
}

/// Runs a tool of the host that has to succeed; returns what it prints.
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
