//! Which store to use where the keyring may be missing: the keyring, else the vault, else memory.

use super::{Keyring, Memory, TokenStore};
use crate::keyring::Fault;
use std::fmt;
use std::sync::Arc;

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The keyring, which has just been written to.
    Keyring,
    /// The vault, and why not the keyring.
    Vault(Fault),
    /// Memory, because there is no vault either, and why not the keyring.
    Memory(Fault),
}

impl fmt::Display for Chosen {
    /// A sentence for the person, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::Keyring => f.write_str("tokens are kept in the keyring"),
            Chosen::Vault(why) => write!(f, "tokens are kept in the vault: {why}"),
            Chosen::Memory(why) => {
                write!(
                    f,
                    "tokens are kept in memory only, until this program ends: {why}"
                )
            }
        }
    }
}

/// The first store that takes tokens: the keyring if a trial entry can be written, read and
/// removed, else the vault if there is one, else memory. `tell` hears once which it is, and why;
/// call this before a browser opens.
pub fn choose(
    keyring: Keyring,
    vault: Option<Arc<dyn TokenStore>>,
    tell: impl FnOnce(&Chosen),
) -> Arc<dyn TokenStore> {
    let (store, chosen): (Arc<dyn TokenStore>, _) = match (keyring.check_writable(), vault) {
        (Ok(()), _) => (Arc::new(keyring), Chosen::Keyring),
        (Err(why), Some(vault)) => (vault, Chosen::Vault(why)),
        (Err(why), None) => (Arc::new(Memory::new()), Chosen::Memory(why)),
    };
    tell(&chosen);
    store
}

#[cfg(test)]
mod tests {
    use super::super::fast_agent::Layout;
    use super::*;
    use crate::keyring::fixture::{Desk, With};
    use crate::oauth::TokenSet;
    use crate::secret::SecretValue;
    use crate::time::UnixMs;

    fn tokens() -> TokenSet {
        TokenSet {
            access: SecretValue::copy_of(b"a").into(),
            refresh: None,
            id_token: None,
            obtained_at: UnixMs(1),
            expires_at: None,
            metadata: Default::default(),
        }
    }

    #[test]
    fn the_keyring_else_the_vault_else_memory_and_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let choose = |desk: &Desk, vault: Option<Arc<dyn TokenStore>>| {
            let mut told = Vec::new();
            let keyring = Keyring::new(desk.keyring(), Layout::Mcp, folder.path());
            let store = choose(keyring, vault, |chosen| told.push(chosen.clone()));
            (store, told)
        };
        let desk = Desk::new(With::Unlocked);
        let vault = Arc::new(Memory::new());
        let (store, told) = choose(&desk, Some(vault.clone()));
        assert_eq!(told, [Chosen::Keyring]);
        store.save("https://h/mcp", &tokens()).unwrap();
        assert_eq!(vault.load("https://h/mcp"), Ok(None));
        let headless = Desk::new(With::NoCollection);
        let (store, told) = choose(&headless, Some(vault.clone()));
        assert_eq!(told, [Chosen::Vault(Fault::NoCollection)]);
        store.save("x", &tokens()).unwrap();
        assert_eq!(vault.load("x"), Ok(Some(tokens())));
        desk.lock();
        let (store, told) = choose(&desk, None);
        assert_eq!(told, [Chosen::Memory(Fault::Locked)]);
        store.save("x", &tokens()).unwrap();
        assert_eq!(store.load("x"), Ok(Some(tokens())));
        let text = told[0].to_string();
        assert!(
            text.contains("memory only") && text.contains("locked"),
            "{text}"
        );
    }
}
