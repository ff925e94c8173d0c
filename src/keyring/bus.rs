//! Where the session bus is, as the D-Bus specification has programs find it.

use super::Fault;
use std::path::PathBuf;

/// How an address of a socket in the file system starts.
const PATH: &str = "unix:path=";
/// How one in the abstract namespace starts.
const ABSTRACT: &str = "unix:abstract=";

/// The session bus. Only Unix sockets are taken: other transports of D-Bus start programs or send
/// over a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus(Option<String>);

impl Bus {
    /// The bus that `DBUS_SESSION_BUS_ADDRESS` names, else the one in `$XDG_RUNTIME_DIR`.
    pub fn of_session() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let runtime = || Some(PathBuf::from(variable("XDG_RUNTIME_DIR")?).join("bus"));
        let usual = || Some(format!("{PATH}{}", runtime()?.to_str()?));
        Self(variable("DBUS_SESSION_BUS_ADDRESS").or_else(usual))
    }

    /// The bus at a D-Bus address.
    pub fn at(address: impl Into<String>) -> Self {
        Self(Some(address.into()))
    }

    /// False if there surely is none; looks at the file system only.
    pub(super) fn may_exist(&self) -> bool {
        // Elsewhere the keyring is the system's, without a bus.
        cfg!(any(target_os = "macos", windows)) || self.address().is_ok()
    }

    /// The address to connect to.
    ///
    /// # Errors
    /// [`Fault::NoBus`] with the reason.
    pub(super) fn address(&self) -> Result<&str, Fault> {
        let Some(address) = &self.0 else {
            return Err(Fault::NoBus(
                "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set",
            ));
        };
        // Several are alternatives, of which the first is meant to be tried first.
        let first = address.split(';').next().unwrap_or_default();
        if first.starts_with(ABSTRACT) {
            return Ok(first);
        }
        let Some(path) = first.strip_prefix(PATH) else {
            return Err(Fault::NoBus("its address is not that of a Unix socket"));
        };
        let path = path.split(',').next().unwrap_or_default();
        // An escaped path is looked at by who connects.
        if path.contains('%') || PathBuf::from(path).exists() {
            Ok(first)
        } else {
            Err(Fault::NoBus("its socket is not there"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_taken() {
        let here = tempfile::NamedTempFile::new().unwrap();
        let path = here.path().to_str().unwrap();
        let there = format!("unix:path={path},guid=0;tcp:host=x");
        assert_eq!(
            Bus::at(&there).address(),
            Ok(format!("unix:path={path},guid=0").as_str())
        );
        assert!(Bus::at("unix:abstract=/tmp/x").may_exist());
        for bad in [
            "tcp:host=127.0.0.1,port=1",
            "unixexec:path=/bin/true",
            "autolaunch:",
            "unix:path=/nonexistent/bus",
            "",
        ] {
            assert!(
                matches!(Bus::at(bad).address(), Err(Fault::NoBus(_))),
                "{bad}"
            );
        }
        assert!(!Bus(None).may_exist());
    }
}
