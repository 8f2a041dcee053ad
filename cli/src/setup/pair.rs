//! The two files of a folder, rules and settings, replaced together.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{AccessFlags, access};
use tempfile::{Builder, NamedTempFile};

/// A folder with `rules.fw` and `vfw.toml`.
#[derive(Clone, Debug)]
pub struct Pair {
    folder: PathBuf,
}

/// A file that could not be read or written; both are as they were.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}{}", way_out(source))]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There are rules where there must be none.
    #[error("there are rules already: {0}; edit them, or run `vfw setup` without --first")]
    NotFirst(PathBuf),
}

fn way_out(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { " (run it as root, or choose another --folder)" } else { "" }
}

impl PairError {
    fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, path: path.to_owned(), source }
    }
}

impl Pair {
    /// Of a folder, which need not exist yet. One that cannot be written to is told now, and not when all is answered.
    pub fn new(folder: &Path, first: bool) -> Result<Self, PairError> {
        let pair = Self { folder: folder.to_owned() };
        let nearest = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
        let refused = |error: nix::Error| PairError::system("write to", nearest)(error.into());
        access(nearest, AccessFlags::W_OK | AccessFlags::X_OK).map_err(refused)?;
        if first && pair.rules().symlink_metadata().is_ok() {
            return Err(PairError::NotFirst(pair.rules()));
        }
        Ok(pair)
    }

    /// The file of the rules.
    pub fn rules(&self) -> PathBuf {
        self.folder.join("rules.fw")
    }

    /// The file of the settings.
    pub fn settings(&self) -> PathBuf {
        self.folder.join("vfw.toml")
    }

    /// The text of the settings that are there.
    pub fn read_settings(&self) -> Result<Option<String>, PairError> {
        let path = self.settings();
        let text = read(&path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(text)
    }

    /// Writes both files; returns the names of copies of what was there. With `first`, rules that have come to be there
    /// meanwhile stay.
    ///
    /// The settings go first: a machine that loses power between the two has the rules it had, and whole settings. No signal
    /// comes between them, and when the second cannot be written the first is put back.
    pub fn write(&self, rules: &str, settings: &str, first: bool) -> Result<Vec<PathBuf>, PairError> {
        fs::create_dir_all(&self.folder).map_err(PairError::system("make the folder", &self.folder))?;
        let (new_settings, new_rules) = (Part::new(self.settings(), settings)?, Part::new(self.rules(), rules)?);
        let kept = [new_rules.keep(rules)?, new_settings.keep(settings)?];
        let before = mask_signals()
            .map_err(|error| PairError::system("hold back signals while writing to", &self.folder)(error.into()))?;
        let written = new_settings.put(false).and_then(|settings| {
            new_rules.put(first).map(drop).inspect_err(|_| {
                // The error tells why the rules were not written; that it is so is what counts here.
                let _ = settings.put_back();
            })
        });
        // It was in force before.
        let _ = before.thread_set_mask();
        written?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(PairError::system("sync", &self.folder))?;
        Ok(kept.into_iter().flatten().collect())
    }
}

/// Holds back what could end this process; returns the mask that was.
fn mask_signals() -> nix::Result<SigSet> {
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];
    let set: SigSet = ends.into_iter().collect();
    set.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PairError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PairError::system("read", path)(error)),
    }
}

/// A file that is to be replaced, and the new one beside it.
struct Part {
    path: PathBuf,
    new: NamedTempFile,
    before: Option<Vec<u8>>,
}

impl Part {
    fn new(path: PathBuf, text: &str) -> Result<Self, PairError> {
        let before = read(&path)?;
        let new = beside(&path, text.as_bytes()).map_err(PairError::system("write", &path))?;
        Ok(Self { path, new, before })
    }

    /// Keeps what is there when it is not the same; returns the name of the copy.
    fn keep(&self, text: &str) -> Result<Option<PathBuf>, PairError> {
        let Some(bytes) = self.before.as_ref().filter(|bytes| *bytes != text.as_bytes()) else { return Ok(None) };
        let mut copy = self.path.clone().into_os_string();
        copy.push(".before");
        let copy = PathBuf::from(copy);
        beside(&self.path, bytes)
            .and_then(|kept| kept.persist(&copy).map_err(io::Error::from))
            .map_err(PairError::system("write", &copy))?;
        Ok(Some(copy))
    }

    /// Puts the new file in its place, or only where there is none.
    fn put(self, only_new: bool) -> Result<Replaced, PairError> {
        let Self { path, new, before } = self;
        match if only_new { new.persist_noclobber(&path) } else { new.persist(&path) } {
            Ok(_) => Ok(Replaced { path, before }),
            Err(error) if only_new && error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(PairError::NotFirst(path))
            }
            Err(error) => Err(PairError::system("write", &path)(error.error)),
        }
    }
}

/// A file that was replaced.
struct Replaced {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl Replaced {
    fn put_back(&self) -> io::Result<()> {
        let Some(bytes) = &self.before else { return fs::remove_file(&self.path) };
        beside(&self.path, bytes)?.persist(&self.path)?;
        Ok(())
    }
}

/// A file in the folder of `path`, with the permissions of what is there.
fn beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = Builder::new().prefix(".vfw-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(metadata) = fs::metadata(path) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::{Pair, PairError};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vfw-pair-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn files(&self) -> BTreeMap<String, String> {
            let entries = fs::read_dir(&self.0).expect("the folder").map(|entry| entry.expect("an entry"));
            let name = |entry: &fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
            entries.map(|entry| (name(&entry), fs::read_to_string(entry.path()).unwrap_or_default())).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn writes_both_and_keeps_what_was_there() {
        let folder = Folder::new("both");
        let inside = Folder(folder.0.join("a/b"));
        let pair = Pair::new(&inside.0, true).expect("can be made");
        assert_eq!(pair.write("r1", "s1", true).expect("written"), [] as [PathBuf; 0]);
        let pair = Pair::new(&inside.0, false).expect("there");
        let kept = pair.write("r2", "s2", false).expect("written");
        assert_eq!(kept, ["rules.fw.before", "vfw.toml.before"].map(|name| inside.0.join(name)));
        assert_eq!(pair.write("r2", "s2", false).expect("the same"), [] as [PathBuf; 0]);
        let secret = Permissions::from_mode(0o600);
        fs::set_permissions(pair.rules(), secret.clone()).expect("permissions");
        assert_eq!(pair.write("r3", "s2", false).expect("written"), [inside.0.join("rules.fw.before")]);
        assert_eq!(pair.write("r2", "s2", false).expect("written"), [inside.0.join("rules.fw.before")]);
        for name in ["rules.fw", "rules.fw.before"] {
            let mode = fs::metadata(inside.0.join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o777, secret.mode(), "{name}");
        }
        let expected = [("rules.fw", "r2"), ("rules.fw.before", "r3"), ("vfw.toml", "s2"), ("vfw.toml.before", "s1")];
        assert_eq!(inside.files(), files(&expected));
    }

    #[test]
    fn rules_that_came_meanwhile_stay_and_so_do_the_settings() {
        let folder = Folder::new("meanwhile");
        for settings in [None, Some("s0")] {
            let pair = Pair::new(&folder.0, true).expect("no rules yet");
            if let Some(text) = settings {
                fs::write(pair.settings(), text).expect("settings");
            }
            fs::write(pair.rules(), "by hand").expect("rules");
            assert!(matches!(pair.write("r", "s", true), Err(PairError::NotFirst(path)) if path == pair.rules()));
            assert_eq!(fs::read_to_string(pair.settings()).ok().as_deref(), settings);
            assert_eq!(fs::read_to_string(pair.rules()).expect("rules"), "by hand");
            let names = folder.files().into_keys().filter(|name| !name.contains(".before"));
            assert!(names.eq(["rules.fw", "vfw.toml"].into_iter().take(1 + usize::from(settings.is_some()))));
            fs::remove_file(pair.rules()).expect("the rules go");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_told_and_nothing_is_written() {
        let folder = Folder::new("refused");
        fs::create_dir(folder.0.join("rules.fw")).expect("a folder in its place");
        let pair = Pair::new(&folder.0, false).expect("a folder");
        let error = pair.write("r", "s", false).expect_err("a folder is no file").to_string();
        assert!(error.contains("cannot read") && error.contains("rules.fw"), "{error}");
        assert_eq!(folder.files(), files(&[("rules.fw", "")]));
        assert!(matches!(Pair::new(&folder.0, true), Err(PairError::NotFirst(_))));
        fs::write(folder.0.join("file"), "").expect("a file");
        assert!(matches!(Pair::new(&folder.0.join("file/vfw"), false), Err(PairError::System { .. })));
    }
}
