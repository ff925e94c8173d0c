//! Token sets in a vault: for programs that bring their own flow and have a vault at hand.
//!
//! Invariants: a set is on the disk when `save` returns; a record that is no token set is neither
//! read nor written over. Unlike an account that this program signs in itself, a set is one value:
//! whoever may read the record gets the refresh token with it, because the flow needs it.

use crate::daemon::client::Client;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::oauth::TokenSet;
use crate::runtime::service::{Answer, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::store::{RECORD_LOCK_TIMEOUT, StateDir, state_dir::make_private_folder, take_file_lock};
use crate::token_store::{TokenStore, agentos};
use crate::vault::{Expect, Meta, RecordKind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Member of a record's metadata: it holds the token set of this provider id.
const MARK: &str = "tokenSet";
/// The most times that a save starts again because somebody else was faster.
const MAX_ATTEMPTS: usize = 5;

/// Token sets in a vault, each in the record `tokens/PROVIDER_ID`.
///
/// ```no_run
/// use reseal::credentials::VaultStore;
/// use reseal::store::StateDir;
/// use reseal::token_store::TokenStore;
/// use std::path::Path;
///
/// # fn main() -> Result<(), reseal::error::Failure> {
/// let state = StateDir::at("/home/me/.reseal");
/// // `reseal vault unlock` has started the daemon that holds the vault open.
/// let store = VaultStore::of_daemon(&state);
/// let tokens = store.load("acme")?;
/// assert!(tokens.is_none(), "nobody signed in yet");
/// # Ok(())
/// # }
/// ```
pub struct VaultStore {
    way: Way,
    /// Where the lock files lie.
    locks: PathBuf,
}

/// Who is asked.
enum Way {
    /// The daemon at this socket, on a connection of its own for each call.
    Daemon(PathBuf),
    /// A vault that is open in this process.
    Own(Mutex<Box<dyn Service + Send>>),
}

impl VaultStore {
    /// The vault of a state folder, through the daemon that holds it open.
    pub fn of_daemon(state: &StateDir) -> Self {
        Self {
            way: Way::Daemon(state.socket()),
            locks: state.tokens(),
        }
    }

    /// The vault of a state folder that is open in this process.
    pub fn over(service: impl Service + Send + 'static, state: &StateDir) -> Self {
        Self {
            way: Way::Own(Mutex::new(Box::new(service))),
            locks: state.tokens(),
        }
    }

    fn call(&self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        match &self.way {
            Way::Daemon(socket) => {
                let us = rustix::process::geteuid().as_raw();
                let sealed = || Failure::new(Code::VaultSealed, "no daemon holds the vault open");
                let mut daemon = Client::connect(socket, us)?.ok_or_else(sealed)?;
                daemon.call(request, secrets)
            }
            // A call that panicked left the vault as the disk has it.
            Way::Own(service) => {
                let mut service = service.lock().unwrap_or_else(PoisonError::into_inner);
                service.call(request, secrets)
            }
        }
    }

    /// The record, its version and its value, if there is one.
    fn get(&self, provider_id: &str) -> Result<Option<(u64, SecretValue)>, Failure> {
        let name = record(provider_id)?;
        let get = Request::Get {
            name: name.clone(),
            version: None,
        };
        let answer = match self.call(get, Vec::new()) {
            Err(failure) if failure.code == Code::RecordAbsent => return Ok(None),
            other => other?,
        };
        let (info, value) = match (answer.reply, answer.secrets.into_iter().next()) {
            (Reply::Value(info), Some(value)) => (info, value),
            _ => return Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
        };
        let mark = info.meta.other.get(MARK).and_then(|mark| mark.as_str());
        if mark != Some(provider_id) {
            let text = format!("{name} holds something else than the tokens of {provider_id}");
            return Err(Failure::new(Code::RecordExists, text));
        }
        Ok(Some((info.version, value)))
    }
}

/// The record of a token set.
fn record(provider_id: &str) -> Result<RecordName, Failure> {
    Ok(RecordName::for_tokens(provider_id)?)
}

impl TokenStore for VaultStore {
    /// # Errors
    /// `vault.sealed`, `daemon.*`, `vault.*`; `record.exists` if the record is something else;
    /// `vault.corrupt` if it holds no tokens.
    fn load(&self, provider_id: &str) -> Result<Option<TokenSet>, Failure> {
        let Some((_, value)) = self.get(provider_id)? else {
            return Ok(None);
        };
        // The time is in the document: `save` has put it there.
        let entry = agentos::parse(value.expose(), Default::default());
        let broken = |why| {
            let text = format!("the tokens of {provider_id} in the vault: {why}");
            Failure::new(Code::VaultCorrupt, text)
        };
        Ok(Some(entry.map_err(broken)?.tokens))
    }

    /// # Errors
    /// Those of [`TokenStore::load`]; `input.invalid` for tokens that no header could hold.
    fn save(&self, provider_id: &str, tokens: &TokenSet) -> Result<(), Failure> {
        let unfit = || {
            let text = format!("a token of {provider_id} is not printable ASCII, or too long");
            Failure::new(Code::InputInvalid, text)
        };
        let document = agentos::write(provider_id, tokens).ok_or_else(unfit)?;
        let mut attempts = 0..MAX_ATTEMPTS;
        loop {
            let there = self.get(provider_id)?;
            let mut meta = Meta {
                expires_at: tokens.expires_at,
                ..Meta::default()
            };
            meta.other.insert(MARK.to_owned(), provider_id.into());
            let put = Request::Put {
                name: record(provider_id)?,
                kind: RecordKind::Static,
                meta,
                expect: there.map_or(Expect::Absent, |(version, _)| Expect::Version(version)),
            };
            match self.call(put, vec![document.clone()]) {
                Err(failure)
                    if matches!(failure.code, Code::VaultConflict | Code::RecordExists)
                        && attempts.next().is_some() => {}
                outcome => return outcome.map(|_| ()),
            }
        }
    }

    fn clear(&self, provider_id: &str) -> Result<bool, Failure> {
        let Some((version, _)) = self.get(provider_id)? else {
            return Ok(false);
        };
        let remove = Request::Remove {
            name: record(provider_id)?,
            expect: Expect::Version(version),
        };
        self.call(remove, Vec::new()).map(|_| true)
    }

    /// A lock file in the state folder.
    ///
    /// # Errors
    /// `vault.busy` after [`RECORD_LOCK_TIMEOUT`]; `file.permission`; `file.io`.
    fn refresh_guard(&self, provider_id: &str) -> Result<Box<dyn Send>, Failure> {
        make_private_folder(&self.locks)?;
        let digest = crate::crypto::hash::sha256(&[b"vault\0", provider_id.as_bytes()]);
        let name = data_encoding::HEXLOWER.encode(&digest[..8]);
        let path = self.locks.join(format!("{name}.lock"));
        Ok(Box::new(take_file_lock(&path, RECORD_LOCK_TIMEOUT)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fixture::new_vault;
    use crate::runtime::local::Local;
    use crate::time::UnixMs;
    use std::sync::Arc;

    struct World {
        _folder: tempfile::TempDir,
        store: Arc<VaultStore>,
    }

    impl World {
        /// A real vault, open in this process.
        fn new() -> Self {
            let (folder, state, vault) = new_vault();
            let service = Local::new(state.clone(), state.config(), vault);
            Self {
                _folder: folder,
                store: Arc::new(VaultStore::over(service, &state)),
            }
        }
    }

    fn tokens(access: &str) -> TokenSet {
        let secret = |text: &str| SecretValue::copy_of(text.as_bytes());
        TokenSet {
            access: secret(access).into(),
            refresh: Some(secret("r").into()),
            id_token: Some(secret("i").into()),
            obtained_at: UnixMs(1),
            expires_at: Some(UnixMs(5)),
            metadata: [("scope".to_owned(), "a b".to_owned())].into(),
        }
    }

    #[test]
    fn what_is_saved_in_the_vault_is_loaded_until_it_is_cleared() {
        let store = World::new();
        let store = &store.store;
        assert_eq!(store.load("acme"), Ok(None));
        store.save("acme", &tokens("one")).unwrap();
        store.save("acme", &tokens("two")).unwrap();
        store
            .save("https://h.example/a b", &tokens("three"))
            .unwrap();
        assert_eq!(store.load("acme"), Ok(Some(tokens("two"))));
        assert_eq!(store.clear("acme"), Ok(true));
        assert_eq!(store.clear("acme"), Ok(false));
        assert_eq!(store.load("acme"), Ok(None));
        let other = store.load("https://h.example/a b");
        assert_eq!(other, Ok(Some(tokens("three"))));
        let refused = store.save("acme", &tokens("a\r\nb")).unwrap_err();
        assert_eq!(refused.code, Code::InputInvalid);
        let long = store.load(&"x".repeat(300)).unwrap_err();
        assert_eq!(long.code, Code::NameInvalid);
    }

    #[test]
    fn a_record_that_is_no_token_set_is_left_alone() {
        let world = World::new();
        let put = Request::Put {
            name: record("acme").unwrap(),
            kind: RecordKind::Static,
            meta: Meta::default(),
            expect: Expect::Absent,
        };
        let value = SecretValue::copy_of(b"somebody's own");
        world.store.call(put, vec![value]).unwrap();
        let refused = [
            world.store.load("acme").unwrap_err(),
            world.store.save("acme", &tokens("t")).unwrap_err(),
            world.store.clear("acme").unwrap_err(),
        ];
        assert!(
            refused
                .iter()
                .all(|failure| failure.code == Code::RecordExists)
        );
    }

    #[test]
    fn saves_at_once_all_come_to_an_end_and_one_refreshes_at_a_time() {
        let world = World::new();
        world.store.save("acme", &tokens("0")).unwrap();
        let count = 4;
        std::thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    let _guard = world.store.refresh_guard("acme").unwrap();
                    let held = world.store.load("acme").unwrap().unwrap();
                    let text = held.access.secret().expose().to_vec();
                    let number: u32 = String::from_utf8(text).unwrap().parse().unwrap();
                    let next = tokens(&(number + 1).to_string());
                    world.store.save("acme", &next).unwrap();
                });
            }
        });
        let end = world.store.load("acme");
        assert_eq!(end, Ok(Some(tokens(&count.to_string()))));
    }
}
