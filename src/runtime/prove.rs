//! Does somebody know a keyslot's secret?

use super::Runtime;
use crate::error::{Code, Failure};
use crate::store::{Options, VaultFile};
use crate::sys::tty::PromptError;
use crate::unlock::{self, Given};
use crate::vault::Header;

impl Runtime {
    /// Opens a keyslot of the vault with what was given, and forgets the key at once. Costs what
    /// the keyslot's secret costs.
    ///
    /// # Errors
    /// `slot.no_match` if it opens none, without saying which there are; `vault.sealed` after
    /// [`Runtime::lock`]; as reading the vault's header.
    pub fn prove(&self, given: &Given) -> Result<(), Failure> {
        let ground = self.ground()?;
        let options = Options {
            allow_network_fs: ground.config.vault.allow_network_fs,
            ..Options::default()
        };
        let file = VaultFile::open(&self.vault_path()?, options)?;
        let header = Header::parse(&file.read_header()?)?;
        // The keys stay where they are: a lock wipes them also while a slow slot is tried.
        self.with_vault(|vault| Ok(header.verify_with(vault.vault().keys())?))?;
        let nobody = &mut |_: &str| Err(PromptError::NoTerminal);
        let wrong = || Failure::new(Code::SlotNoMatch, "no keyslot opens with this secret");
        let opened = unlock::open(&header, given, nobody).map_err(|_| wrong())?;
        header.verify(&opened.root).map_err(|_| wrong())?;
        Ok(())
    }
}
