//! What a daemon has to know of the programs that it finds in force, beyond what the kernel tells: a file in JSON.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use firewall_core::tables::ABI_VERSION;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::interface::Changes;

/// Most bytes of the file: 1,024 zones and interfaces with long names take a fifth of it.
const MAX_BYTES: u64 = 1 << 20;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`ABI_VERSION`] of the programs.
    pub abi: u32,
    /// Where they forward.
    #[serde(flatten)]
    pub place: Place,
    /// The kernel's number for their table of established flows: the record is of these programs and no others.
    pub flows: u32,
    /// Names of the zones by their numbers.
    pub zones: Vec<Option<String>>,
    /// The interfaces that they hang on.
    pub interfaces: Vec<InterfaceRecord>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The kernel's identifier of this boot.
    pub boot: String,
    /// Inode of the namespace.
    pub namespace: u64,
}

/// An interface that programs hang on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// Its name, by which the policy knows it.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// What was changed on it, and is to be given back.
    pub changes: Changes,
}

/// A record that cannot be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source} (vfw.toml: state.file)", path.display())]
pub struct RecordError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Place {
    /// The network namespace of the calling thread.
    pub fn here() -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { boot, namespace: fs::metadata("/proc/thread-self/ns/net")?.ino() })
    }
}

impl Record {
    /// The record of programs that hang on nothing yet.
    pub fn new(place: Place, flows: u32, zones: Vec<Option<String>>) -> Self {
        Self { abi: ABI_VERSION, place, flows, zones, interfaces: Vec::new() }
    }

    /// Reads a file; nothing when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let failed = |source| RecordError { action: "read", path: path.to_owned(), source };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        serde_json::from_str(&text).map(Some).map_err(|error| failed(error.into()))
    }

    /// Writes a file, for root alone: whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let failed = |source| RecordError { action: "write", path: path.to_owned(), source };
        let new = path.with_extension("new");
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            // Nothing is to survive the kernel, whose objects do not.
            drop(file);
            fs::rename(&new, path)
        };
        write().map_err(failed)
    }

    /// Removes a file, if there is one.
    pub fn remove(path: &Path) -> Result<(), RecordError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RecordError { action: "remove", path: path.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    /// What was changed on an interface.
    pub fn changes(&self, index: u32) -> Changes {
        let known = self.interfaces.iter().find(|interface| interface.index == index);
        known.map(|interface| interface.changes.clone()).unwrap_or_default()
    }

    /// Whether it tells of an interface of this name.
    pub fn names(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|known| known.name == interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vfw-record-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn what_is_written_is_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = folder("round");
        let path = folder.join("deeper/state.json");
        let mut record = Record::new(Place::here().expect("a place"), 7, vec![None, Some("app".to_owned())]);
        let changes = Changes { ipv6: true, offloads: vec!["rx-vlan-hw-parse".to_owned()], ..Changes::default() };
        record.interfaces.push(InterfaceRecord { name: "eth1".to_owned(), index: 4, changes: changes.clone() });
        record.write(&path).expect("writes");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(Record::read(&path).expect("reads"), Some(record.clone()));
        assert_eq!((record.changes(4), record.changes(5)), (changes, Changes::default()));
        assert!(record.names("eth1") && !record.names("eth2"));
        Record::remove(&path).expect("removes");
        assert_eq!(Record::read(&path).expect("no file"), None);
        fs::remove_dir_all(folder).expect("the folder");
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        let folder = folder("garbage");
        let path = folder.join("state.json");
        let long = format!("{{\"abi\": 1, \"boot\": \"{}\"}}", "x".repeat(MAX_BYTES as usize));
        for text in ["", "{", "[]", "null", "{\"abi\": -1}", "{\"abi\": 1}", "\u{0}\u{1}", &long] {
            fs::write(&path, text).expect("writes");
            let error = Record::read(&path).expect_err("garbage").to_string();
            assert!(error.starts_with(&format!("cannot read {}", path.display())), "{error}");
            assert!(error.ends_with("(vfw.toml: state.file)"), "{error}");
        }
        fs::write(&path, [0xff, 0xfe]).expect("writes");
        assert!(Record::read(&path).is_err());
        fs::remove_dir_all(folder).expect("the folder");
    }
}
