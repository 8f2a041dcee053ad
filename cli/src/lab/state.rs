//! The record of a lab that is up, or on its way: what `down` must remove, also after the builder was killed.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::plan::check_name;
use super::{LabError, Plan};

const DIRECTORY: &str = "/run/vfw/lab";

/// Written before anything is built, so that a half-built lab is known.
pub(super) fn write(plan: &Plan) -> Result<(), LabError> {
    let path = path(&plan.name)?;
    let failed = |source| LabError::State { path: path.clone(), source };
    fs::create_dir_all(DIRECTORY).map_err(failed)?;
    let text = serde_json::to_string_pretty(plan).map_err(|error| failed(error.into()))?;
    fs::write(&path, text).map_err(failed)
}

pub(super) fn read(name: &str) -> Result<Option<Plan>, LabError> {
    let path = path(name)?;
    let failed = |source| LabError::State { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn delete(name: &str) -> Result<(), LabError> {
    let path = path(name)?;
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LabError::State { path, source }),
        _ => Ok(()),
    }
}

/// The name may come from a command line, and must not lead elsewhere.
fn path(name: &str) -> Result<PathBuf, LabError> {
    check_name("lab", name)?;
    Ok(PathBuf::from(DIRECTORY).join(format!("{name}.json")))
}
