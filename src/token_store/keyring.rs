//! Token sets in the keyring of the system, where and as fast-agent keeps them.
//!
//! Invariants: an entry that is there is changed in place; one that is made looks as Python's
//! `keyring` makes it; whatever is not saved is an error. If a save is killed, a whole token set is
//! there. What is broken is "none" with a [`Warning`].
//!
//! fast-agent takes no lock that we could share: while it runs on the same entries, both can send
//! one refresh token.

use super::fast_agent::{
    INDEX, Layout, MAX_INDEX, Meta, PIECE, client_user, cut, index, join, meta_user, piece_user,
    write_index,
};
use super::identity::{identities, server_of};
use super::{TokenStore, Warning};
use crate::crypto::hash::sha256;
use crate::error::{Code, Failure};
use crate::keyring::{Fault, Found, Keyring as System, Looks, Name};
use crate::oauth::TokenSet;
use crate::secret::SecretValue;
use crate::store::{RECORD_LOCK_TIMEOUT, RecordLock, take_file_lock};
use crate::sys::clock;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How many pieces fast-agent removes if nothing says how many there are.
const PIECES_BY_GUESS: usize = 10;

/// Token sets in one of fast-agent's layouts. The provider id is the server's URL or name
/// ([`Layout::Mcp`]), [`CODEX`](super::fast_agent::CODEX) or the provider's name.
pub struct Keyring {
    system: System,
    layout: Layout,
    /// Where the lock files lie.
    locks: PathBuf,
    /// How long a lock is waited for.
    patience: Duration,
    warn: Box<dyn Fn(&Warning) + Send + Sync>,
}

impl Keyring {
    /// The store in a keyring. `locks` is a private folder that all programs of ours agree on.
    pub fn new(system: System, layout: Layout, locks: impl Into<PathBuf>) -> Self {
        Self {
            system,
            layout,
            locks: locks.into(),
            patience: RECORD_LOCK_TIMEOUT,
            warn: Box::new(|_| ()),
        }
    }

    /// The same store, that tells of each entry it passes over. Without this nobody hears of them.
    pub fn warning_to(mut self, warn: impl Fn(&Warning) + Send + Sync + 'static) -> Self {
        self.warn = Box::new(warn);
        self
    }

    /// Proves that tokens can be kept, by an entry that comes and goes.
    ///
    /// # Errors
    /// Why they can't.
    pub fn check_writable(&self) -> Result<(), Fault> {
        self.system.check_writable()
    }

    /// The names that fast-agent's index lists; empty where the layout has none.
    ///
    /// # Errors
    /// `keyring.*`.
    pub fn list(&self) -> Result<BTreeSet<String>, Failure> {
        if !self.layout.has_index() {
            return Ok(BTreeSet::new());
        }
        let found = self.read(INDEX)?;
        Ok(index(found.as_ref().map(|found| &found.secret)))
    }

    /// What finds the entries that fast-agent's index lists, server by server.
    ///
    /// # Errors
    /// `keyring.*`.
    pub fn servers(&self) -> Result<Vec<String>, Failure> {
        let names = self.list()?;
        Ok(names.iter().map(|name| server_of(name)).collect())
    }

    /// How the client registered at an MCP server: the JSON document that fast-agent keeps beside
    /// the tokens.
    ///
    /// # Errors
    /// `keyring.*`.
    pub fn client_info(&self, server: &str) -> Result<Option<SecretValue>, Failure> {
        for name in self.names(server) {
            let found = self.read(&client_user(&name))?;
            if let Some(found) = found.filter(|found| !found.secret.is_empty()) {
                return Ok(Some(found.secret));
            }
        }
        Ok(None)
    }

    /// Keeps how the client registered at an MCP server.
    ///
    /// # Errors
    /// `keyring.*`; `input.too_large` if the index is full; `vault.busy`. What was there stays.
    pub fn save_client_info(&self, server: &str, document: &SecretValue) -> Result<(), Failure> {
        let _turn = self.turn()?;
        let name = self.name(server);
        self.change_index(|names| names.insert(name.clone()))?;
        self.write(&client_user(&name), document)
    }

    /// The names to look under, that to write under first.
    fn names(&self, provider_id: &str) -> Vec<String> {
        match self.layout {
            Layout::Mcp => identities(provider_id),
            Layout::Codex | Layout::Provider => vec![provider_id.to_owned()],
        }
    }

    fn name(&self, provider_id: &str) -> String {
        self.names(provider_id).swap_remove(0)
    }

    /// The text of an entry, put together if it is in pieces.
    fn text(&self, user: &str) -> Result<Option<Found>, Failure> {
        let whole = self.read(user)?.filter(|found| !found.secret.is_empty());
        if whole.is_some() || self.layout != Layout::Codex {
            return Ok(whole);
        }
        let Some(found) = self.read(&meta_user(user))? else {
            return Ok(None);
        };
        let Some(meta) = Meta::parse(&found.secret) else {
            self.warn(&meta_user(user), "does not say how many pieces there are");
            return Ok(None);
        };
        let mut pieces = Vec::with_capacity(meta.pieces);
        for number in 0..meta.pieces {
            let user = piece_user(user, number);
            let Some(piece) = self.read(&user)? else {
                self.warn(&user, "is missing");
                return Ok(None);
            };
            pieces.push(piece.secret);
        }
        let Some(secret) = join(&pieces, meta.size) else {
            self.warn(user, "has pieces that do not belong together");
            return Ok(None);
        };
        let modified = found.modified;
        Ok(Some(Found { secret, modified }))
    }

    /// Writes a text in one entry, or in pieces. Whoever begins to read meanwhile finds it whole.
    fn write_text(&self, user: &str, text: &SecretValue) -> Result<(), Failure> {
        if self.layout != Layout::Codex || text.len() <= PIECE {
            self.write(user, text)?;
            return self.remove_pieces(user);
        }
        let too_long = || {
            let what = "tokens are longer than fast-agent's pieces can hold";
            Failure::new(Code::InputTooLarge, what)
        };
        let pieces = cut(text).ok_or_else(too_long)?;
        let old = self.read(&meta_user(user))?;
        // Pieces can't change all at once: as long as they do, the text stands in the entry that
        // is looked at first.
        self.write(user, text)?;
        for (number, piece) in pieces.iter().enumerate() {
            self.write(&piece_user(user, number), piece)?;
        }
        let meta = Meta {
            pieces: pieces.len(),
            size: Some(text.len()),
        };
        self.write(&meta_user(user), &meta.write())?;
        self.remove(user)?;
        let before = old.and_then(|old| Meta::parse(&old.secret));
        for number in pieces.len()..before.map_or(0, |before| before.pieces) {
            self.remove(&piece_user(user, number))?;
        }
        Ok(())
    }

    /// Removes the pieces of a text.
    fn remove_pieces(&self, user: &str) -> Result<(), Failure> {
        if self.layout != Layout::Codex {
            return Ok(());
        }
        let meta = meta_user(user);
        let Some(found) = self.read(&meta)? else {
            return Ok(());
        };
        let pieces = Meta::parse(&found.secret).map_or(PIECES_BY_GUESS, |meta| meta.pieces);
        for number in 0..pieces {
            self.remove(&piece_user(user, number))?;
        }
        self.remove(&meta)?;
        Ok(())
    }

    fn change_index(
        &self,
        change: impl FnOnce(&mut BTreeSet<String>) -> bool,
    ) -> Result<(), Failure> {
        if !self.layout.has_index() {
            return Ok(());
        }
        let mut names = self.list()?;
        if !change(&mut names) {
            return Ok(());
        }
        let full = || {
            let text = format!("fast-agent's index holds at most {MAX_INDEX} names");
            Failure::new(Code::InputTooLarge, text)
        };
        self.write(INDEX, &write_index(&names).ok_or_else(full)?)
    }

    fn read(&self, user: &str) -> Result<Option<Found>, Failure> {
        Ok(self.system.read(&self.entry(user))?)
    }

    fn write(&self, user: &str, secret: &SecretValue) -> Result<(), Failure> {
        let service = self.layout.service();
        let looks = Looks {
            label: format!("Password for '{user}' on '{service}'"),
            application: "Python keyring library".to_owned(),
        };
        Ok(self.system.write(&self.entry(user), &looks, secret)?)
    }

    fn remove(&self, user: &str) -> Result<bool, Failure> {
        Ok(self.system.remove(&self.entry(user))?)
    }

    fn entry(&self, user: &str) -> Name {
        Name::new(self.layout.service(), user)
    }

    fn warn(&self, user: &str, why: &str) {
        (self.warn)(&Warning {
            place: format!("{}/{user}", self.layout.service()),
            why: why.to_owned(),
        });
    }

    /// Held while entries that belong together are written, by one of our programs at a time.
    fn turn(&self) -> Result<RecordLock, Failure> {
        self.lock(self.layout.service())
    }

    fn lock(&self, name: &str) -> Result<RecordLock, Failure> {
        super::file::make_folder(&self.locks)?;
        let path = self.locks.join(format!("{name}.lock"));
        Ok(take_file_lock(&path, self.patience)?)
    }
}

impl TokenStore for Keyring {
    /// # Errors
    /// `keyring.*`; `vault.busy` if another program keeps saving.
    fn load(&self, provider_id: &str) -> Result<Option<TokenSet>, Failure> {
        // Pieces are read while none of ours writes them: halves of two texts can make a third.
        let in_pieces = self.layout == Layout::Codex;
        let _turn = in_pieces.then(|| self.turn()).transpose()?;
        for name in self.names(provider_id) {
            let user = self.layout.user(&name);
            let Some(found) = self.text(&user)? else {
                continue;
            };
            let tokens = self.layout.parse(&found.secret, found.modified);
            if tokens.is_none() {
                self.warn(&user, "holds no tokens");
            }
            return Ok(tokens);
        }
        Ok(None)
    }

    /// # Errors
    /// `keyring.*`; `input.invalid` for tokens that no header could hold; `input.too_large`;
    /// `vault.busy` if another program keeps saving.
    fn save(&self, provider_id: &str, tokens: &TokenSet) -> Result<(), Failure> {
        let no_token = || {
            let text = format!("a token of {provider_id} is not printable ASCII");
            Failure::new(Code::InputInvalid, text)
        };
        let text = self.layout.write(tokens, clock::now());
        let text = text.ok_or_else(no_token)?;
        let _turn = self.turn()?;
        let name = self.name(provider_id);
        // A name without an entry does no harm; fast-agent lists no entry without a name.
        self.change_index(|names| names.insert(name.clone()))?;
        self.write_text(&self.layout.user(&name), &text)
    }

    /// Forgets the tokens under every name of the provider, and how the client registered there.
    fn clear(&self, provider_id: &str) -> Result<bool, Failure> {
        let _turn = self.turn()?;
        let mut any = false;
        let names = self.names(provider_id);
        for name in &names {
            let user = self.layout.user(name);
            any |= self.text(&user)?.is_some();
            self.remove(&user)?;
            self.remove_pieces(&user)?;
            if self.layout == Layout::Mcp {
                any |= self.remove(&client_user(name))?;
            }
        }
        self.change_index(|listed| {
            let before = listed.len();
            listed.retain(|name| !names.contains(name));
            listed.len() != before
        })?;
        Ok(any)
    }

    /// A lock file in the folder that the store was given.
    ///
    /// # Errors
    /// `vault.busy` after [`RECORD_LOCK_TIMEOUT`]; `file.permission`; `file.io`.
    fn refresh_guard(&self, provider_id: &str) -> Result<Box<dyn Send>, Failure> {
        let name = self.name(provider_id);
        let digest = sha256(&[self.layout.service().as_bytes(), b"\0", name.as_bytes()]);
        let guard = self.lock(&data_encoding::HEXLOWER.encode(&digest[..8]))?;
        Ok(Box::new(guard))
    }
}

#[cfg(test)]
mod tests;
