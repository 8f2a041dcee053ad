//! What a seed asks for, whatever its form.

use std::path::Path;

use crate::network::Network;

/// What is to be configured.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// All of its text: a seed is new when this is.
    pub text: String,
    /// Name of the machine.
    pub hostname: Option<String>,
    /// Public keys of those who may log in, as in `authorized_keys`.
    pub keys: Vec<String>,
    /// Files for `/etc/vfw`: name and content.
    pub files: Vec<(String, String)>,
    /// The management interface.
    pub network: Option<Network>,
    /// What was left out and is no mistake.
    pub notes: Vec<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Seed {
    /// Takes a name that a machine can have (RFC 1123, 2.1).
    pub fn take_hostname(&mut self, name: &str) {
        let is_label = |label: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(good)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 64 && name.split('.').all(is_label) {
            self.hostname = Some(name.to_owned());
        } else {
            self.problem(format!("`{name}` is no host name"));
        }
    }

    /// Takes a public key.
    pub fn take_key(&mut self, key: &str) {
        let key = key.trim();
        let kinds = ["ssh-", "ecdsa-", "sk-"];
        if kinds.iter().any(|kind| key.starts_with(kind)) && key.contains(' ') && !key.contains(['\n', '\r']) {
            self.keys.push(key.to_owned());
        } else {
            let begin: String = key.chars().take(20).collect();
            self.problem(format!("`{begin}...` is no SSH public key"));
        }
    }

    /// Takes a file. Only rules and settings of vfw can come by a seed.
    pub fn take_file(&mut self, path: &str, content: String) {
        let name = path.strip_prefix("/etc/vfw/").filter(|name| !name.contains('/') && !name.starts_with('.'));
        match name {
            Some(name) if name == "vfw.toml" || Path::new(name).extension().is_some_and(|end| end == "fw") => {
                self.files.push((name.to_owned(), content));
            }
            _ => self.problem(format!("file `{path}`: a seed may write /etc/vfw/vfw.toml and /etc/vfw/*.fw")),
        }
    }

    /// Adds something that is wrong.
    pub fn problem(&mut self, text: impl std::fmt::Display) {
        self.problems.push(format!("PROBLEM: {text}"));
    }
}
