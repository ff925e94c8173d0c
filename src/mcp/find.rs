//! Where fast-agent's config is: in the folder one works in, or in one above it.

use super::servers::{MAX_YAML, McpServer, from_yaml};
use crate::error::{Code, Failure};
use crate::store::files;
use std::path::{Path, PathBuf};

/// What fast-agent calls its config.
pub const CONFIG: &str = "fastagent.config.yaml";
/// How many folders upwards are looked into.
pub const MAX_PARENTS: usize = 64;

/// The config nearest above `folder`, itself included.
pub fn find(folder: &Path) -> Option<PathBuf> {
    let folders = folder.ancestors().take(MAX_PARENTS);
    let mut paths = folders.map(|folder| folder.join(CONFIG));
    paths.find(|path| path.is_file())
}

/// Reads the servers of a config.
///
/// # Errors
/// `config.absent` if there is no file, `config.invalid`, `file.*`.
pub fn read(
    path: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<McpServer>, Failure> {
    let name = path.display().to_string();
    let absent = || Failure::new(Code::ConfigAbsent, format!("there is no config at {name}"));
    let bytes = files::read(path, MAX_YAML)?.ok_or_else(absent)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let why = format!("{name} is not UTF-8");
        Failure::new(Code::ConfigInvalid, why)
    })?;
    from_yaml(text, &name, variable)
}
