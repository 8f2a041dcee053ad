//! The Debian package: built as `make deb` does, from a quick build, and looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Runs a command that has to succeed and to complain of nothing; returns what it prints.
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn build() -> PathBuf {
    let built = must(Command::new(workspace().join("packaging/deb.sh")).args(["dev", "target/deb-test"]));
    workspace().join(built.trim())
}

#[test]
fn has_what_a_system_needs() {
    let deb = build();
    let bytes = fs::read(&deb).expect("the package");
    assert!(fs::read(build()).expect("the package") == bytes, "the same sources give the same package");

    let root = std::env::temp_dir().join(format!("vfw-package-{}", std::process::id()));
    must(Command::new("dpkg-deb").arg("--raw-extract").arg(&deb).arg(&root));
    let program = root.join("usr/bin/vfw");
    assert_eq!(must(Command::new(&program).arg("--version")).trim(), concat!("vfw ", env!("CARGO_PKG_VERSION")));
    the_unit_is_good(&root);
    every_command_has_a_page(&root, &must(Command::new(&program).arg("--help")));
    for shell in ["bash", "fish", "zsh"] {
        let file = match shell {
            "bash" => "bash-completion/completions/vfw.bash",
            "fish" => "fish/vendor_completions.d/vfw.fish",
            _ => "zsh/vendor-completions/_vfw",
        };
        let text = fs::read_to_string(root.join("usr/share").join(file)).expect("completions");
        assert!(text.contains("explain"), "{file}");
    }
    must(Command::new("bash").arg("-n").arg(root.join("usr/share/bash-completion/completions/vfw.bash")));
    // What comes as configuration is good, and belongs to the administrator.
    let conffiles = fs::read_to_string(root.join("DEBIAN/conffiles")).expect("conffiles");
    let conffiles: BTreeSet<&str> = conffiles.lines().collect();
    assert_eq!(conffiles, ["/etc/vfw/rules.fw", "/etc/vfw/vfw.toml"].into());
    let [settings, rules] = ["etc/vfw/vfw.toml", "etc/vfw/rules.fw"].map(|path| root.join(path));
    must(Command::new(&program).arg("check").arg("--config").arg(settings).arg(rules));
    fs::remove_dir_all(root).expect("the folder goes");
}

fn the_unit_is_good(root: &Path) {
    let unit = fs::read_to_string(root.join("lib/systemd/system/vfw.service")).expect("the unit");
    // Forwarding and what the next start has to know of it outlive the service.
    assert!(!unit.contains("ExecStop") && unit.contains("RuntimeDirectoryPreserve=yes"));
    let unit = unit.replace("/usr/bin/vfw", root.join("usr/bin/vfw").to_str().expect("UTF-8"));
    let file = root.join("vfw.service");
    fs::write(&file, unit).expect("a file");
    must(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(file));
}

fn every_command_has_a_page(root: &Path, help: &str) {
    let pages = root.join("usr/share/man/man1");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() >= 8, "{help}");
    for command in commands.iter().filter(|command| **command != "help") {
        let page = pages.join(format!("vfw-{command}.1.gz"));
        let shown = must(Command::new("man").args(["--local-file", "--warnings"]).arg(&page).env("MANWIDTH", "80"));
        assert!(shown.contains("SYNOPSIS"), "{command}: {shown}");
    }
    assert!(pages.join("vfw.1.gz").exists());
}
