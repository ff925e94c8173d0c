//! `auth-profiles.json`: reading it in every spelling, and editing it without touching the rest.

use super::ProfileError;
use super::entry::{self, Credential, IgnoredReason, Profile, ProfileKind, ProfileType};
use crate::document::{Document, Lines, Path};
use crate::name::ProfileId;
use crate::reference::{Defaults, SecretRef};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use serde_json::{Map, Value};
use std::collections::HashMap;

mod editing;

pub use editing::StoreEditing;

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

    /// The lines of the file.
    pub fn lines(&self) -> Lines {
        Lines::of(&self.document)
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
        let field = static_plaintext(self.get(id)?)?;
        plaintext_in(self.document.value(), id, field)
    }

    /// Writes a profile: a new one, or the credential of a static one with that id, whose other
    /// keys stay. A plaintext key or token there is replaced; call [`Store::plaintext_value`] first
    /// if it is to be kept.
    ///
    /// # Errors
    /// [`ProfileError::OtherType`] if an OAuth token set, or an entry that is no profile for us,
    /// stands there: replacing it would lose what can't be made again.
    pub fn put(&mut self, id: &ProfileId, new: &NewProfile) -> Result<(), ProfileError> {
        self.edit(|editing| editing.put(id, new))
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
        self.edit(|editing| editing.set_ref(id, reference, moved))
    }

    fn edit(
        &mut self,
        edit: impl FnOnce(&mut StoreEditing) -> Result<(), ProfileError>,
    ) -> Result<(), ProfileError> {
        let mut editing = StoreEditing::of(self.clone());
        edit(&mut editing)?;
        *self = editing.finish()?;
        Ok(())
    }

    /// Takes a profile out; false if there is none.
    ///
    /// # Errors
    /// Only those of the edit itself.
    pub fn remove(&mut self, id: &ProfileId) -> Result<bool, ProfileError> {
        let mut document = self.document.clone();
        let removed = document.remove(&path(id))?;
        *self = Self::of(document, self.defaults.clone())?;
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
}

/// The field with the plaintext of a static profile.
fn static_plaintext(profile: &Profile) -> Option<&'static str> {
    match profile.kind {
        ProfileKind::ApiKey { .. } | ProfileKind::Token { .. } => {
            profile.plaintext.first().copied()
        }
        ProfileKind::OAuth { .. } => None,
    }
}

/// A field of a profile in the value of a file.
fn plaintext_in(root: &Value, id: &ProfileId, field: &str) -> Option<SecretValue> {
    let text = root
        .get("profiles")?
        .get(id.as_str())?
        .get(field)?
        .as_str()?;
    Some(SecretValue::copy_of(text.trim().as_bytes()))
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
