//! Which exec providers run this very program.

use crate::config::{ExecProvider, ProviderConfig};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// This program, as an exec provider of another runtime names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program file, symlinks resolved.
    pub path: PathBuf,
    /// The state folder whose vault it answers from.
    pub state_dir: PathBuf,
}

impl Program {
    /// True if a provider runs a command that is not this program.
    pub fn is_other(&self, provider: &ProviderConfig) -> bool {
        match provider {
            ProviderConfig::Exec(exec) => !self.is_run_by(exec),
            ProviderConfig::Env(_) | ProviderConfig::File(_) | ProviderConfig::Vault(_) => false,
        }
    }

    /// True if a provider runs this program on this state folder: its ids are our records.
    pub fn is_run_by(&self, provider: &ExecProvider) -> bool {
        let same = |path: &Path, other: &Path| {
            path == other || std::fs::canonicalize(path).is_ok_and(|path| path == other)
        };
        let args: Vec<&str> = provider.args.iter().map(String::as_str).collect();
        let folder = args.iter().enumerate().find_map(|(i, arg)| match *arg {
            "--state-dir" => args.get(i + 1).copied(),
            arg => arg.strip_prefix("--state-dir="),
        });
        let state_dir = std::fs::canonicalize(&self.state_dir);
        let state_dir = state_dir.as_deref().unwrap_or(&self.state_dir);
        let is_us =
            || same(&provider.command, &self.path) || is_copy(&provider.command, &self.path);
        is_us()
            && args.contains(&"exec-provider")
            && folder.is_some_and(|folder| same(Path::new(folder), state_dir))
    }
}

/// True if both files hold the same bytes: other runtimes want a copy that belongs to their user.
fn is_copy(path: &Path, of: &Path) -> bool {
    let open = |path: &Path| {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    };
    let (Some((mut left, len)), Some((mut right, other_len))) = (open(path), open(of)) else {
        return false;
    };
    if len != other_len {
        return false;
    }
    let (mut a, mut b) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut rest = len;
    while rest > 0 {
        let count = usize::try_from(rest).map_or(COMPARED, |rest| rest.min(COMPARED));
        let read = left
            .read_exact(&mut a[..count])
            .and(right.read_exact(&mut b[..count]));
        if read.is_err() || a[..count] != b[..count] {
            return false;
        }
        rest -= count as u64;
    }
    true
}

/// Bytes that are compared at a time.
const COMPARED: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let bytes = vec![7; COMPARED + 1];
        let mut other = bytes.clone();
        other[COMPARED] = 8;
        let original = file("a", &bytes);
        assert!(is_copy(&file("b", &bytes), &original));
        assert!(!is_copy(&file("c", &other), &original));
        assert!(!is_copy(&file("d", &bytes[1..]), &original));
        assert!(!is_copy(folder.path(), &original));
        assert!(!is_copy(&folder.path().join("absent"), &original));
    }
}
