//! Every `NAME.fw` of `rules/invalid` gives exactly the diagnostics in `NAME.expected`.
//!
//! After a wanted change, `VFW_BLESS=1 cargo test -p vfw --test lang_invalid` writes the files anew; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use vfw::lang::{SourceFile, load, render};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/invalid")
}

fn with_extension(wanted: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .expect("rules/invalid")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == wanted))
        .collect();
    files.sort();
    files
}

fn diagnostics(path: &Path) -> String {
    let name = path.file_name().expect("a name").to_string_lossy();
    let files = [SourceFile::from_bytes(name, fs::read(path).expect("the file"))];
    let found = match load(&files) {
        Err(errors) => {
            assert!(errors.has_errors(), "{} fails without an error", path.display());
            errors
        }
        Ok(loaded) => loaded.warnings,
    };
    assert!(!found.is_empty(), "{} is not invalid", path.display());
    format!("{}{}\n", render(&found, &files, false, 100), found.summary())
}

#[test]
fn invalid_files_give_the_expected_diagnostics() {
    let bless = std::env::var_os("VFW_BLESS").is_some();
    let files = with_extension("fw");
    assert!(files.len() >= 15);
    let mut wrong = Vec::new();
    for path in files {
        let expectation = path.with_extension("expected");
        let found = diagnostics(&path);
        if bless {
            fs::write(&expectation, &found).expect("write");
            continue;
        }
        match fs::read_to_string(&expectation) {
            Err(_) => wrong.push(format!("{} has no .expected beside it", path.display())),
            Ok(text) if text == found => {}
            Ok(text) => wrong.push(format!("{}:\nexpected:\n{text}\nfound:\n{found}", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{}\n(VFW_BLESS=1 accepts what was found)", wrong.join("\n"));
}

#[test]
fn every_expectation_has_its_file() {
    for path in with_extension("expected") {
        assert!(path.with_extension("fw").exists(), "{} belongs to nothing", path.display());
    }
}
