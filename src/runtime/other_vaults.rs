//! Vaults of `vault` providers with a path of their own, opened by their identity file.

use super::local::held;
use super::open_vault::{OpenOptions, OpenVault};
use super::values::{read_records, value_elsewhere};
use crate::config::VaultProvider;
use crate::error::{Code, Failure};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::store::{Options, VaultFile};
use crate::sys::tty::PromptError;
use crate::unlock::{self, Given};
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

    /// Reads records of the vault that the provider names.
    pub fn read(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
    ) -> Vec<Result<SecretValue, Failure>> {
        self.read_all(provider, refs)
            .unwrap_or_else(|failure| vec![Err(failure); refs.len()])
    }

    fn read_all(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
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
            open.insert(path.clone(), self.open_by_identity(&path, identity)?);
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

    fn open_by_identity(
        &self,
        path: &Path,
        identity: Option<PathBuf>,
    ) -> Result<OpenVault, Failure> {
        let Some(identity) = identity else {
            let text = format!(
                "the provider of {} names no identity to open it",
                path.display()
            );
            return Err(Failure::new(Code::VaultSealed, text));
        };
        let file = VaultFile::open(path, Options::default())?;
        let header = Header::parse(&file.read_header()?)?;
        let given = Given {
            identities: vec![identity],
            no_input: true,
            ..Given::default()
        };
        let mut nobody = |_: &str| Err(PromptError::NoTerminal);
        let unlocked = unlock::open(&header, &given, &mut nobody)?;
        let keys = header.verify(&unlocked.root)?;
        let options = OpenOptions {
            authenticated: unlocked.authenticated,
            ..OpenOptions::default()
        };
        OpenVault::open(file, header, keys, &self.anchors, &options)
    }
}
