//! What stands in files that systemd reads.

use super::error::{CliError, io_failure};
use crate::error::Code;
use crate::unlock::systemd_creds::CREDENTIAL;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::path::Path;

/// Where root's credential goes, unless another place is named; the units that are installed look
/// for it there.
pub const SYSTEM_CREDENTIAL: &str = "/etc/reseal/reseal.key.cred";

/// The line that hands an encrypted credential to a service.
pub fn encrypted_credential(file: &Path) -> String {
    format!("LoadCredentialEncrypted={CREDENTIAL}:{}", file.display())
}

/// The line that hands a key to a service as it is.
pub fn plain_credential(file: &Path) -> String {
    format!("LoadCredential={CREDENTIAL}:{}", file.display())
}

/// The option of `daemon install` that gives such a line.
pub fn option_of(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let file = value.strip_prefix(CREDENTIAL)?.strip_prefix(':')?;
    match key {
        "LoadCredentialEncrypted" => Some(format!("--credential {file}")),
        "LoadCredential" => Some(format!("--key-file {file}")),
        _ => None,
    }
}

/// Refuses a path with characters that mean something else in a unit.
pub fn check_path(path: &Path, doing: &str) -> Result<(), CliError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "\"'\\%$;:#".contains(c);
    let text = path.to_str();
    if path.is_absolute() && text.is_some_and(|text| !text.contains(bad)) {
        return Ok(());
    }
    let why = format!(
        "{} can't stand in a unit: it must be absolute, without spaces and \" ' \\ % $ ; : #",
        path.display()
    );
    Err(CliError::because(doing, Code::InputInvalid, why))
}

/// Makes the folder of a file, with those above, where they are missing: readable by all, as the
/// other folders of `/etc`, whatever our umask is.
pub fn make_folder_of(file: &Path, doing: &str) -> Result<(), CliError> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    make(folder).map_err(|error| CliError::new(doing, io_failure(folder, &error)))
}

fn make(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make(above)?;
    }
    fs::create_dir(folder)?;
    // By descriptor: what lies at the path may be another's symlink by now.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_something_else_in_a_unit_are_refused() {
        for good in [
            "/usr/local/bin/reseal",
            "/srv/m\u{fc}ller/.reseal/run/a-b_c@d+e.sock",
        ] {
            assert!(check_path(Path::new(good), "").is_ok(), "{good}");
        }
        for bad in [
            "relative", "/a b", "/a%h", "/a$b", "/a\"b", "/a;b", "/a:b", "/a\n", "/a#b",
        ] {
            assert!(check_path(Path::new(bad), "").is_err(), "{bad}");
        }
    }
}
