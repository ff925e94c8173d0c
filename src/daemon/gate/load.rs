//! The grants as they stand in the state folder's own config, and who asks a person for them.

use super::Load;
use crate::config::{Config, Confirm, Trust};
use crate::error::{Code, Failure};
use crate::grants::{Holder, Policy};
use crate::store::files::{MAX_STATE_FILE, read_guarded};
use crate::sys::users;
use std::path::{Path, PathBuf};

/// What the gate goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The grants.
    pub policy: Policy,
    /// What asks a person where a grant wants that.
    pub confirm: Option<Confirm>,
}

impl From<Config> for Rules {
    fn from(config: Config) -> Self {
        Self {
            policy: config.grants,
            confirm: config.daemon.confirm,
        }
    }
}

/// Reads the grants of a config each time that it is asked. It must be the user's or root's, and so
/// must its folder, with no right for others to change them.
pub fn from_config(path: PathBuf) -> Load {
    Box::new(move || read(&path))
}

/// Reads the grants of a config, and what asks for them. Without grants nobody needs to be asked.
///
/// # Errors
/// The config can't be read or understood, or others could change it.
pub fn read(path: &Path) -> Result<Rules, Failure> {
    let Some((bytes, guarded)) = read_guarded(path, MAX_STATE_FILE)? else {
        return Ok(Rules::default());
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        let text = format!("{} is not UTF-8 text", path.display());
        Failure::new(Code::ConfigInvalid, text)
    })?;
    let config = Config::parse(&text, &path.display().to_string(), Trust::Own)?;
    if config.grants.grants.is_empty() {
        return Ok(Rules::default());
    }
    guarded?;
    let mut rules = Rules::from(config);
    // A user who can't be looked up is unknown, and gets nothing.
    rules.policy = rules
        .policy
        .settle(|name| users::uid_of(name).ok().flatten());
    // Who is shown as this user may be anybody.
    let anybody = Holder::Uid(users::overflow_uid());
    rules.policy.grants.retain(|grant| grant.to != anybody);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_config_that_others_could_change_grants_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reseal.json");
        let load = from_config(path.clone());
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(load().unwrap(), Rules::default());
        fs::write(&path, r#"{"grants": {"a": {"to": {"user": "root"}}}}"#).unwrap();
        chmod(&path, 0o600);
        assert_eq!(load().unwrap().policy.grants[0].to, Holder::Uid(0));
        for mode in [0o620, 0o602, 0o666] {
            chmod(&path, mode);
            assert_eq!(load().unwrap_err().code, Code::FilePermission, "{mode:o}");
        }
        chmod(&path, 0o644);
        assert!(load().is_ok());
        for mode in [0o770, 0o707, 0o1777] {
            chmod(folder.path(), mode);
            assert_eq!(load().unwrap_err().code, Code::FilePermission, "{mode:o}");
        }
        chmod(folder.path(), 0o755);
        assert!(load().is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            assert_eq!(load().unwrap_err().code, Code::FilePermission);
        }
        fs::write(
            &path,
            r#"{"grants": {"a": {"to": {"uid": 1}, "refs": ["vault:a*"]}}}"#,
        )
        .unwrap();
        assert_eq!(load().unwrap_err().code, Code::ConfigInvalid);
    }
}
