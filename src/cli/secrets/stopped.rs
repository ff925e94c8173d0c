//! Whether the runtime whose folder is changed is stopped.

use crate::error::Failure;
use crate::family::{Folder, lock};
use std::path::PathBuf;

/// Refuses a folder whose runtime runs: it would write its files anew from memory.
pub(super) fn check(folder: &Folder) -> Result<(), Failure> {
    let temp = [std::env::temp_dir(), PathBuf::from("/tmp")];
    Ok(lock::check_free(folder, &temp)?)
}
