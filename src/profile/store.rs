//! `auth-profiles.json`: reading it in every spelling, and editing it without touching the rest.

use super::ProfileError;
use super::entry::{self, Credential, IgnoredReason, Profile, ProfileKind, ProfileType};
use crate::document::{Document, Path};
use crate::name::ProfileId;
use crate::reference::{Defaults, SecretRef};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The most profiles that one store is read with; more are an error.
pub const MAX_PROFILES: usize = 4096;

const NEW_FILE: &str = "{\n  \"version\": 1,\n  \"profiles\": {}\n}\n";

/// The profiles of one agent.
#[derive(Clone, Debug)]
pub struct Store {
    document: Document,
    defaults: Defaults,
    profiles: Vec<Profile>,
    by_id: HashMap<ProfileId, usize>,
    ignored: Vec<Ignored>,
}

/// An entry that is no profile for us, and stays in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The id, as it stands.
    pub id: String,
    /// Why.
    pub reason: IgnoredReason,
}

/// A field that holds plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plaintext {
    /// The profile.
    pub profile: ProfileId,
    /// The field.
    pub field: &'static str,
    /// True if a ref beside it wins, so that it has no use.
    pub shadowed: bool,
}

/// A profile that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProfile {
    /// The provider; usually the part of the id before the colon.
    pub provider: String,
    /// What it authenticates with.
    pub credential: NewCredential,
    /// The account's address.
    pub email: Option<String>,
}

/// What a profile that is to be written authenticates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewCredential {
    /// `api_key` with `keyRef`.
    ApiKey(SecretRef),
    /// `token` with `tokenRef`.
    Token {
        /// The ref.
        reference: SecretRef,
        /// When it stops being valid.
        expires: Option<UnixMs>,
    },
    /// `oauth` with `oauthRef`.
    OAuth {
        /// The ref.
        reference: SecretRef,
        /// The account.
        account_id: Option<String>,
    },
}

/// Every field that holds a credential or a ref to one, of any type and era.
const CREDENTIAL_FIELDS: [&str; 11] = [
    "key", "keyRef", "apiKey", "token", "tokenRef", "oauthRef", "access", "refresh", "idToken",
    "expires", "mode",
];

impl Store {
    /// A store without profiles, in the form of a new file.
    ///
    /// # Errors
    /// None; the type is that of [`Store::parse`].
    pub fn empty(name: &str) -> Result<Self, ProfileError> {
        Self::parse(NEW_FILE, name, &Defaults::default())
    }

    /// Reads a file's text; `name` is what errors call it, `defaults` are those of the config.
    ///
    /// # Errors
    /// Not JSON, with the place; no `profiles` object; more than [`MAX_PROFILES`].
    pub fn parse(text: &str, name: &str, defaults: &Defaults) -> Result<Self, ProfileError> {
        Self::of(Document::parse(text, name)?, defaults.clone())
    }

    fn of(document: Document, defaults: Defaults) -> Result<Self, ProfileError> {
        let shape = |problem| ProfileError::Shape {
            file: document.name().to_owned(),
            problem,
        };
        let root = document
            .value()
            .as_object()
            .ok_or_else(|| shape("is not an object"))?;
        let nothing = Map::new();
        let entries = match root.get("profiles") {
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(shape("profiles is not an object")),
            None if root.keys().all(|key| KNOWN.contains(&key.as_str())) => &nothing,
            None => {
                return Err(shape(
                    "there is no profiles object (the flat form is too old)",
                ));
            }
        };
        if entries.len() > MAX_PROFILES {
            return Err(shape("more profiles than a store may hold"));
        }
        let (mut profiles, mut ignored) = (Vec::new(), Vec::new());
        let mut by_id = HashMap::new();
        for (id, value) in entries {
            match entry::read(id, value, &defaults) {
                Ok(profile) => {
                    by_id.insert(profile.id.clone(), profiles.len());
                    profiles.push(profile);
                }
                Err(reason) => ignored.push(Ignored {
                    id: id.clone(),
                    reason,
                }),
            }
        }
        Ok(Self {
            document,
            defaults,
            profiles,
            by_id,
            ignored,
        })
    }

    /// The text of the file, with every edit.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        self.document.name()
    }

    /// The profiles, in the order of the file.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// One profile.
    pub fn get(&self, id: &ProfileId) -> Option<&Profile> {
        self.by_id.get(id).map(|index| &self.profiles[*index])
    }

    /// The entries that are no profiles for us.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The tables that era A keeps in this file: `order`, `lastGood`, `usageStats`.
    pub(super) fn root(&self) -> &Value {
        self.document.value()
    }

    /// The line on which a profile stands, from 1.
    pub fn line(&self, id: &ProfileId) -> Option<usize> {
        self.document
            .position(&path(id))
            .map(|position| position.line)
    }

    /// Every field that holds plaintext.
    pub fn plaintext(&self) -> Vec<Plaintext> {
        let fields = self.profiles.iter().flat_map(|profile| {
            let shadowed = profile.kind.credential().reference().is_some();
            profile.plaintext.iter().map(move |field| Plaintext {
                profile: profile.id.clone(),
                field,
                shadowed,
            })
        });
        fields.collect()
    }

    /// The plaintext key or token of a static profile, for moving it into the vault.
    pub fn plaintext_value(&self, id: &ProfileId) -> Option<SecretValue> {
        let profile = self.get(id)?;
        let field = match profile.kind {
            ProfileKind::ApiKey { .. } | ProfileKind::Token { .. } => profile.plaintext.first()?,
            ProfileKind::OAuth { .. } => return None,
        };
        self.plaintext_in(id, field)
    }

    fn plaintext_in(&self, id: &ProfileId, field: &str) -> Option<SecretValue> {
        let text = self.document.get(&path(id).join(field))?.as_str()?;
        Some(SecretValue::copy_of(text.trim().as_bytes()))
    }

    /// Writes a profile: a new one, or the credential of a static one with that id, whose other
    /// keys stay. A plaintext key or token there is replaced; call [`Store::plaintext_value`] first
    /// if it is to be kept.
    ///
    /// # Errors
    /// [`ProfileError::OtherType`] if an OAuth token set, or an entry that is no profile for us,
    /// stands there: replacing it would lose what can't be made again.
    pub fn put(&mut self, id: &ProfileId, new: &NewProfile) -> Result<(), ProfileError> {
        let at = path(id);
        let old = match self.document.get(&at) {
            None => None,
            Some(_) => Some(
                self.get(id)
                    .ok_or_else(|| ProfileError::OtherType(id.clone()))?,
            ),
        };
        let is_oauth = matches!(new.credential, NewCredential::OAuth { .. });
        if old.is_some_and(|old| !is_oauth && old.kind.profile_type() == ProfileType::OAuth) {
            return Err(ProfileError::OtherType(id.clone()));
        }
        let mut document = self.document.clone();
        if old.is_none() {
            document.set(&at, new.to_json())?;
        } else {
            let members = new.to_json();
            let members = members.as_object().into_iter().flatten();
            let fresh: Vec<_> = members.clone().map(|(key, _)| key.as_str()).collect();
            for field in CREDENTIAL_FIELDS
                .iter()
                .filter(|field| !fresh.contains(field))
            {
                document.remove(&at.join(*field))?;
            }
            for (key, value) in members {
                document.set(&at.join(key.as_str()), value.clone())?;
            }
        }
        self.adopt(document)
    }

    /// Points a profile at a ref: its type and everything else stay. A profile that is not there
    /// becomes an API key of the id's provider.
    ///
    /// # Errors
    /// [`ProfileError::Plaintext`] if a plaintext value would be lost that is not `moved`, which is
    /// safe elsewhere; [`ProfileError::OtherType`] as for [`Store::put`].
    pub fn set_ref(
        &mut self,
        id: &ProfileId,
        reference: &SecretRef,
        moved: Option<&SecretValue>,
    ) -> Result<(), ProfileError> {
        let (provider, credential) = match self.get(id) {
            None => (
                id.provider().to_owned(),
                NewCredential::ApiKey(reference.clone()),
            ),
            Some(old) => {
                let is_safe = |field: &&str| {
                    let value = self.plaintext_in(id, field);
                    value.is_some() && value.as_ref() == moved
                };
                if !old.plaintext.iter().all(is_safe) {
                    return Err(ProfileError::Plaintext(id.clone()));
                }
                return self.change_ref(id, &old.kind.clone(), reference);
            }
        };
        self.put(
            id,
            &NewProfile {
                provider,
                credential,
                email: None,
            },
        )
    }

    fn change_ref(
        &mut self,
        id: &ProfileId,
        kind: &ProfileKind,
        reference: &SecretRef,
    ) -> Result<(), ProfileError> {
        let (field, stale): (_, &[&str]) = match kind {
            ProfileKind::ApiKey { .. } => ("keyRef", &["key", "apiKey"]),
            ProfileKind::Token { .. } => ("tokenRef", &["token"]),
            ProfileKind::OAuth { .. } => return Err(ProfileError::OtherType(id.clone())),
        };
        let at = path(id);
        let mut document = self.document.clone();
        document.set(&at.join(field), reference.to_json())?;
        for field in stale {
            document.remove(&at.join(*field))?;
        }
        self.adopt(document)
    }

    /// Takes a profile out; false if there is none.
    ///
    /// # Errors
    /// Only those of the edit itself.
    pub fn remove(&mut self, id: &ProfileId) -> Result<bool, ProfileError> {
        let mut document = self.document.clone();
        let removed = document.remove(&path(id))?;
        self.adopt(document)?;
        Ok(removed)
    }

    /// The refs of all profiles, in the order of the file, each with its profile.
    pub fn refs(&self) -> impl Iterator<Item = (&Profile, &SecretRef)> {
        self.profiles.iter().filter_map(|profile| {
            profile
                .kind
                .credential()
                .reference()
                .map(|reference| (profile, reference))
        })
    }

    /// True if some profile's ref is written in an older spelling.
    pub fn has_older_spellings(&self) -> bool {
        let older =
            |p: &Profile| matches!(p.kind.credential(), Credential::Ref { older: true, .. });
        self.profiles.iter().any(older)
    }

    fn adopt(&mut self, document: Document) -> Result<(), ProfileError> {
        *self = Self::of(document, self.defaults.clone())?;
        Ok(())
    }
}

/// The keys that a file without profiles may have.
pub(super) const KNOWN: [&str; 4] = ["version", "order", "lastGood", "usageStats"];

fn path(id: &ProfileId) -> Path {
    Path::of_keys(["profiles", id.as_str()])
}

impl NewProfile {
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        let profile_type = match &self.credential {
            NewCredential::ApiKey(_) => ProfileType::ApiKey,
            NewCredential::Token { .. } => ProfileType::Token,
            NewCredential::OAuth { .. } => ProfileType::OAuth,
        };
        put("type", profile_type.as_str().into());
        put("provider", self.provider.as_str().into());
        match &self.credential {
            NewCredential::ApiKey(reference) => {
                put("keyRef", reference.to_json());
            }
            NewCredential::Token { reference, expires } => {
                put("tokenRef", reference.to_json());
                if let Some(expires) = expires {
                    put("expires", expires.0.into());
                }
            }
            NewCredential::OAuth {
                reference,
                account_id,
            } => {
                put("oauthRef", reference.to_json());
                if let Some(account_id) = account_id {
                    put("accountId", account_id.as_str().into());
                }
            }
        }
        if let Some(email) = &self.email {
            put("email", email.as_str().into());
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests;
