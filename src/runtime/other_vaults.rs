//! Vaults of `vault` providers with a path of their own, opened by their identity file.

use super::local::held;
use super::open_vault::{OpenOptions, OpenVault};
use super::values::{read_records, value_elsewhere};
use crate::config::VaultProvider;
use crate::error::{Code, Failure};
use crate::name::Alias;
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::source::{Outside, Unopened};
use crate::store::{Options, VaultFile};
use crate::sys::tty::PromptError;
use crate::unlock::age::MAX_IDENTITY_FILE;
use crate::unlock::{self, Given, key_file};
use crate::vault::Header;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The most vaults that are open at a time beside the state folder's own.
pub const MAX_OTHER_VAULTS: usize = 16;

/// Vaults that were opened once and stay open until the runtime is locked.
pub struct OtherVaults {
    anchors: PathBuf,
    open: Mutex<HashMap<PathBuf, OpenVault>>,
}

impl OtherVaults {
    /// No vault is open yet.
    pub fn new(anchors: PathBuf) -> Self {
        Self {
            anchors,
            open: Mutex::new(HashMap::new()),
        }
    }

    /// Wipes their keys.
    pub fn close(&self) {
        held(&self.open).clear();
    }

    /// Reads records of the vault that the provider of these refs names. An identity file that this
    /// process may not open is opened by `outside`.
    pub fn read(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
        outside: Option<&dyn Outside>,
    ) -> Vec<Result<SecretValue, Failure>> {
        self.read_all(provider, refs, outside)
            .unwrap_or_else(|failure| vec![Err(failure); refs.len()])
    }

    fn read_all(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
        outside: Option<&dyn Outside>,
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        let home = std::env::home_dir();
        let expand = |path: &crate::config::UserPath| {
            path.expand(home.as_deref()).ok_or_else(|| {
                Failure::new(
                    Code::ConfigInvalid,
                    format!("{path} starts with ~ but there is no home"),
                )
            })
        };
        let path = provider
            .path
            .as_ref()
            .map(expand)
            .transpose()?
            .unwrap_or_default();
        let identity = provider.identity.as_ref().map(expand).transpose()?;
        let mut open = held(&self.open);
        if !open.contains_key(&path) {
            if open.len() >= MAX_OTHER_VAULTS {
                let text = format!("more than {MAX_OTHER_VAULTS} vaults are named by providers");
                return Err(Failure::new(Code::RefLimit, text));
            }
            let Some(identity) = identity else {
                let path = path.display();
                let text = format!("the provider of {path} names no identity to open it");
                return Err(Failure::new(Code::VaultSealed, text));
            };
            let alias = refs.first().map(SecretRef::provider);
            let given = given(identity, outside.zip(alias))?;
            open.insert(path.clone(), self.open_with(&path, &given)?);
        }
        match open.get_mut(&path) {
            Some(vault) => {
                let found = read_records(vault, refs).into_iter();
                Ok(found.map(|found| found.and_then(value_elsewhere)).collect())
            }
            None => Err(Failure::new(
                Code::Bug,
                "a vault that was just opened is gone",
            )),
        }
    }

    fn open_with(&self, path: &Path, given: &Given) -> Result<OpenVault, Failure> {
        let file = VaultFile::open(path, Options::default())?;
        let header = Header::parse(&file.read_header()?)?;
        let mut nobody = |_: &str| Err(PromptError::NoTerminal);
        let unlocked = unlock::open(&header, given, &mut nobody)?;
        let keys = header.verify(&unlocked.root)?;
        let options = OpenOptions {
            authenticated: unlocked.authenticated,
            ..OpenOptions::default()
        };
        OpenVault::open(file, header, keys, &self.anchors, &options)
    }
}

/// What opens a vault: the identity file, or its content as somebody outside has opened it.
fn given(identity: PathBuf, outside: Option<(&dyn Outside, &Alias)>) -> Result<Given, Failure> {
    let given = Given {
        no_input: true,
        ..Given::default()
    };
    let Some((outside, alias)) = outside else {
        let identities = vec![identity];
        return Ok(Given {
            identities,
            ..given
        });
    };
    let place = identity.display().to_string();
    let opened = outside
        .open_identity(alias.as_str())
        .map_err(|why| match why {
            Unopened::System(error) => {
                let error = std::io::Error::from(error);
                Failure::new(Code::FileIo, format!("{place}: {error}"))
            }
            Unopened::Refused(failure) => failure,
        })?;
    let data = key_file::read_opened(opened, &identity, MAX_IDENTITY_FILE)?;
    let identity_data = vec![(place, data)];
    Ok(Given {
        identity_data,
        ..given
    })
}
