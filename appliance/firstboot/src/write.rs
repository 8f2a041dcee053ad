//! Writing what a seed asks for.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::seed::Seed;

/// The text of the seed that was used last.
const LAST: &str = "var/lib/vfw/seed";

/// Whether a seed is another than the one used last.
pub fn is_new(seed: &Seed, root: &Path) -> bool {
    fs::read_to_string(root.join(LAST)).ok().as_deref() != Some(seed.text.as_str())
}

/// Writes all of it below `root`; returns what was done.
pub fn all(seed: &Seed, root: &Path) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    if let Some(name) = &seed.hostname {
        write(root, "etc/hostname", 0o644, &format!("{name}\n"))?;
        let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n");
        write(root, "etc/hosts", 0o644, &hosts)?;
    }
    if let Some(network) = &seed.network {
        write(root, "etc/systemd/network/10-management.network", 0o644, &network.to_networkd())?;
        done.push("the management interface is configured".to_owned());
    }
    if !seed.keys.is_empty() {
        write(root, "root/.ssh/authorized_keys", 0o600, &(seed.keys.join("\n") + "\n"))?;
        done.push(format!("SSH keys of root: {}", seed.keys.len()));
    }
    for (name, content) in &seed.files {
        write(root, &format!("etc/vfw/{name}"), 0o644, content)?;
        done.push(format!("written: /etc/vfw/{name}"));
    }
    // Last: a seed that was written in part is used again.
    write(root, LAST, 0o600, &seed.text)?;
    Ok(done)
}

fn write(root: &Path, path: &str, mode: u32, content: &str) -> anyhow::Result<()> {
    let path = root.join(path);
    let written = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        // In one step: the machine may lose power.
        let part = path.with_extension("part");
        let mut file = File::create(&part)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}
