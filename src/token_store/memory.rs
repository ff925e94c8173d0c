//! Token sets in this process only, in locked memory.

use super::TokenStore;
use crate::error::{Code, Failure};
use crate::oauth::TokenSet;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most token sets in one store.
pub const MAX_TOKEN_SETS: usize = 1_024;

/// A store that ends with the process.
#[derive(Default)]
pub struct Memory {
    sets: Mutex<BTreeMap<String, TokenSet>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Each change is one insertion or removal, so a thread that panicked left nothing halved.
    fn sets(&self) -> MutexGuard<'_, BTreeMap<String, TokenSet>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for Memory {
    fn load(&self, provider_id: &str) -> Result<Option<TokenSet>, Failure> {
        Ok(self.sets().get(provider_id).cloned())
    }

    /// # Errors
    /// `input.too_large` for more than [`MAX_TOKEN_SETS`] providers.
    fn save(&self, provider_id: &str, tokens: &TokenSet) -> Result<(), Failure> {
        let mut sets = self.sets();
        if sets.len() >= MAX_TOKEN_SETS && !sets.contains_key(provider_id) {
            let text = format!("a token store in memory holds at most {MAX_TOKEN_SETS} token sets");
            return Err(Failure::new(Code::InputTooLarge, text));
        }
        sets.insert(provider_id.to_owned(), tokens.clone());
        Ok(())
    }

    fn clear(&self, provider_id: &str) -> Result<bool, Failure> {
        Ok(self.sets().remove(provider_id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;
    use crate::time::UnixMs;

    fn tokens(access: &str) -> TokenSet {
        TokenSet {
            access: SecretValue::copy_of(access.as_bytes()).into(),
            refresh: None,
            id_token: None,
            obtained_at: UnixMs(1),
            expires_at: None,
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_until_it_is_cleared() {
        let store = Memory::new();
        assert_eq!(store.load("a"), Ok(None));
        store.save("a", &tokens("one")).unwrap();
        store.save("a", &tokens("two")).unwrap();
        store.save("b", &tokens("three")).unwrap();
        assert_eq!(store.load("a"), Ok(Some(tokens("two"))));
        assert_eq!(store.clear("a"), Ok(true));
        assert_eq!(store.clear("a"), Ok(false));
        assert_eq!(store.load("a"), Ok(None));
        assert_eq!(store.load("b"), Ok(Some(tokens("three"))));
    }

    #[test]
    fn a_store_in_memory_has_a_limit() {
        let store = Memory::new();
        for i in 0..MAX_TOKEN_SETS {
            store.save(&i.to_string(), &tokens("t")).unwrap();
        }
        let refused = store.save("one more", &tokens("t")).unwrap_err();
        assert_eq!(refused.code, Code::InputTooLarge);
        store.save("0", &tokens("another")).unwrap();
    }
}
