//! `auth.json` of an agent and `credentials/oauth.json`: what came before the profiles.
//!
//! An entry moves if its profile, `PROVIDER:default`, is not there. Only what moved, or is sealed
//! already, is taken out of the file, and only if no other member of the entry is lost with it; the
//! file goes when nothing is left in it. A file behind a link becomes an empty object. An entry
//! without a `provider` is that of its key.

use super::entry::{self, Credential};
use super::rows::Shelf;
use super::theirs::{Theirs, record_of, strings};
use super::{Work, is_source};
use crate::apply::{Edit, FileChange, Shown, site};
use crate::config::Path;
use crate::document::Editing;
use crate::error::Failure;
use crate::family::{Place, PlaceKind};
use crate::name::{AgentId, ProfileId};
use crate::oauth::Account;
use crate::profile::normal_provider;
use crate::secret::SecretValue;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

impl Work<'_> {
    pub(super) fn legacy(
        &mut self,
        theirs: &mut Theirs<'_>,
        places: &[Place],
    ) -> Result<(), Failure> {
        // The refs that the profiles have by now are compared with what the older files hold.
        self.put_provider(theirs)?;
        for place in places.iter().filter(|place| is_source(place)) {
            let agent = match &place.agent {
                Some(agent) => match agent.parse::<AgentId>() {
                    Ok(agent) => agent,
                    Err(_) => continue,
                },
                None => AgentId::main(),
            };
            let shelf = theirs.home(&agent);
            self.file(theirs, place, &shelf)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        theirs: &mut Theirs<'_>,
        place: &Place,
        shelf: &Shelf,
    ) -> Result<(), Failure> {
        let path = &place.path;
        let Some(before) = site::read(path)? else {
            return Ok(());
        };
        let mut document = Editing::of(site::parse(path, &before)?);
        let shown = path.display();
        let Some(entries) = document.value().as_object().cloned() else {
            self.leave(shown.to_string(), "it is no JSON object");
            return Ok(());
        };
        let mut edits = Vec::new();
        for (key, value) in &entries {
            let at = format!("{shown}: {key}");
            let moved = match value.as_object() {
                Some(entry) => self.entry(theirs, place.kind, shelf, key, entry)?,
                None => Err("it is no entry of a provider".to_owned()),
            };
            match moved {
                Err(why) => {
                    strings(value, &mut self.kept);
                    self.leave(at, why);
                }
                Ok(()) => {
                    document.remove(&Path::of_keys([key.as_str()]))?;
                    edits.push(Edit {
                        place: key.clone(),
                        line: None,
                        before: Shown::Text("(the entry)".to_owned()),
                        after: Shown::Nothing,
                    });
                }
            }
        }
        if edits.is_empty() {
            return Ok(());
        }
        let document = document.document()?;
        let empty = document.value().as_object().is_some_and(Map::is_empty);
        let after = match empty {
            // A link stays, and what it leads to holds nothing afterwards.
            true if path.is_symlink() => Some(b"{}\n".to_vec()),
            true => None,
            false => Some(document.text().as_bytes().to_vec()),
        };
        theirs.source(FileChange {
            path: path.clone(),
            before: Some(before),
            after: after.map(Zeroizing::new),
            edits,
        });
        Ok(())
    }

    /// Moves an entry; why it stays if it does.
    fn entry(
        &mut self,
        theirs: &mut Theirs<'_>,
        kind: PlaceKind,
        shelf: &Shelf,
        key: &str,
        entry: &Map<String, Value>,
    ) -> Result<Result<(), String>, Failure> {
        let provider = normal_provider(entry::text(entry, "provider").unwrap_or(key));
        let Ok(id) = format!("{provider}:default").parse::<ProfileId>() else {
            return Ok(Err("its key is no provider".to_owned()));
        };
        let mut entry = entry.clone();
        if kind == PlaceKind::LegacyOAuth && !entry.contains_key("type") {
            entry.insert("type".to_owned(), "oauth".into());
        }
        let credential = match entry::read(&provider, &entry, self.wish.config) {
            Ok(credential) => credential,
            Err(why) => return Ok(Err(why)),
        };
        let Some(profile) = theirs.entry(shelf, id.as_str()) else {
            return self.move_in(theirs, shelf, &id, &entry, credential);
        };
        if !self.is_sealed(theirs, shelf, &id, &credential)? {
            let why = format!("profile {id} is there and holds another credential");
            return Ok(Err(why));
        }
        // What was compared is its credential alone.
        Ok(match entry::only_in(&entry, &credential, &profile) {
            None => Ok(()),
            Some(member) => Err(format!(
                "profile {id} has its credential, but not its `{member}`; remove the entry if you \
                 don't need that"
            )),
        })
    }

    /// True if the profile's ref leads to this very credential.
    fn is_sealed(
        &mut self,
        theirs: &Theirs<'_>,
        shelf: &Shelf,
        id: &ProfileId,
        credential: &Credential,
    ) -> Result<bool, Failure> {
        let config = theirs.config()?;
        let store = theirs.store(shelf, &config)?;
        let profile = store.get(id);
        let reference = profile.and_then(|profile| profile.kind.credential().reference());
        let name = reference.and_then(|r| record_of(&config, self.wish.program, r));
        let Some(name) = name else {
            return Ok(false);
        };
        let (value, account): (SecretValue, Option<&Account>) = match credential {
            Credential::Static { value, .. } => (value.clone(), None),
            Credential::Account(account) => (account.to_secret(), Some(account)),
        };
        match self.will_hold(&name, &value, account) {
            Some(is_same) => Ok(is_same),
            None => Ok(self.holds(&name, &value, account)? == Some(true)),
        }
    }
}
