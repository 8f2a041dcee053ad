//! Upgrades of the appliance that nobody would want to install.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::must;

/// A key and its certificate.
pub struct Signer {
    key: PathBuf,
    certificate: PathBuf,
}

impl Signer {
    /// The one that an appliance trusts which was built without a key.
    pub fn of_development() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let file = |name| workspace.join("target/upgrade-key").join(name);
        Self { key: file("development.key"), certificate: file("development.cert") }
    }

    /// Somebody else, with a key in `folder`.
    pub fn stranger(folder: &Path) -> Self {
        let signer = Self { key: folder.join("stranger.key"), certificate: folder.join("stranger.cert") };
        let mut request = Command::new("openssl");
        request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=vfw development"]);
        must(request.arg("-keyout").arg(&signer.key).arg("-out").arg(&signer.certificate));
        signer
    }

    /// Packs and signs a folder as the upgrade `file`.
    fn pack(&self, folder: &Path, file: &Path) {
        let mut pack = Command::new("rauc");
        pack.arg("--cert").arg(&self.certificate).arg("--key").arg(&self.key).arg("bundle");
        must(pack.arg("--mksquashfs-args=-comp zstd -Xcompression-level 1").arg(folder).arg(file));
        fs::remove_dir_all(folder).expect("the folder goes");
    }

    /// An upgrade for the product `compatible`, of which nothing but the signature and the product are looked at.
    pub fn hollow(&self, compatible: &str, file: &Path) {
        let folder = file.with_extension("content");
        fs::create_dir_all(&folder).expect("a folder");
        // RAUC packs no less than a page, so what does not get smaller.
        must(Command::new("openssl").args(["rand", "-out"]).arg(folder.join("rootfs.ext4")).arg("65536"));
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion=0\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.ext4\n"
        );
        fs::write(folder.join("manifest.raucm"), manifest).expect("a file");
        self.pack(&folder, file);
    }

    /// The upgrade `of` with other files in its root.
    pub fn changed(&self, of: &Path, files: &[(&str, &str)], file: &Path) {
        let folder = file.with_extension("content");
        must(Command::new("unsquashfs").args(["-no-progress", "-quiet", "-dest"]).arg(&folder).arg(of));
        let (text, commands) = (file.with_extension("text"), file.with_extension("commands"));
        for (path, content) in files {
            fs::write(&text, content).expect("a file");
            fs::write(&commands, format!("rm {path}\nwrite {} {path}\n", text.display())).expect("a file");
            let root = folder.join("rootfs.ext4");
            must(Command::new("debugfs").arg("-w").arg("-f").arg(&commands).arg(&root));
            // It ends with success whatever has happened.
            let there = must(Command::new("debugfs").arg("-R").arg(format!("cat {path}")).arg(&root));
            assert_eq!(there, *content, "{path}");
        }
        self.pack(&folder, file);
    }
}
