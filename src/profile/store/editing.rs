//! Several edits of one store, at the cost of one.

use super::{
    CREDENTIAL_FIELDS, Ignored, NewCredential, NewProfile, Plaintext, Store, path, plaintext_in,
    static_plaintext,
};
use crate::document::Editing;
use crate::name::ProfileId;
use crate::profile::ProfileError;
use crate::profile::entry::{self, Profile, ProfileKind, ProfileType};
use crate::reference::SecretRef;
use crate::secret::SecretValue;

/// A store while it is edited. What it tells is what the edits made of it.
pub struct StoreEditing {
    /// Its profiles have the edits, its document has not.
    store: Store,
    editing: Editing,
}

impl StoreEditing {
    /// Begins.
    pub fn of(store: Store) -> Self {
        let editing = Editing::of(store.document.clone());
        Self { store, editing }
    }

    /// [`Store::get`].
    pub fn get(&self, id: &ProfileId) -> Option<&Profile> {
        self.store.get(id)
    }

    /// [`Store::plaintext`].
    pub fn plaintext(&self) -> Vec<Plaintext> {
        self.store.plaintext()
    }

    /// [`Store::refs`].
    pub fn refs(&self) -> impl Iterator<Item = (&Profile, &SecretRef)> {
        self.store.refs()
    }

    /// [`Store::plaintext_value`].
    pub fn plaintext_value(&self, id: &ProfileId) -> Option<SecretValue> {
        let field = static_plaintext(self.get(id)?)?;
        plaintext_in(self.editing.value(), id, field)
    }

    /// [`Store::put`].
    ///
    /// # Errors
    /// Those of [`Store::put`].
    pub fn put(&mut self, id: &ProfileId, new: &NewProfile) -> Result<(), ProfileError> {
        let at = path(id);
        let old = match self.editing.get(&at) {
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
        if old.is_none() {
            self.editing.set(&at, new.to_json())?;
        } else {
            let members = new.to_json();
            let members = members.as_object().into_iter().flatten();
            let fresh: Vec<_> = members.clone().map(|(key, _)| key.as_str()).collect();
            for field in CREDENTIAL_FIELDS
                .iter()
                .filter(|field| !fresh.contains(field))
            {
                self.editing.remove(&at.join(*field))?;
            }
            for (key, value) in members {
                self.editing.set(&at.join(key.as_str()), value.clone())?;
            }
        }
        self.read_again(id);
        Ok(())
    }

    /// [`Store::set_ref`].
    ///
    /// # Errors
    /// Those of [`Store::set_ref`].
    pub fn set_ref(
        &mut self,
        id: &ProfileId,
        reference: &SecretRef,
        moved: Option<&SecretValue>,
    ) -> Result<(), ProfileError> {
        let Some(old) = self.get(id) else {
            let new = NewProfile {
                provider: id.provider().to_owned(),
                credential: NewCredential::ApiKey(reference.clone()),
                email: None,
            };
            return self.put(id, &new);
        };
        let is_safe = |field: &&str| {
            let value = plaintext_in(self.editing.value(), id, field);
            value.is_some() && value.as_ref() == moved
        };
        if !old.plaintext.iter().all(is_safe) {
            return Err(ProfileError::Plaintext(id.clone()));
        }
        let (field, stale): (_, &[&str]) = match old.kind {
            ProfileKind::ApiKey { .. } => ("keyRef", &["key", "apiKey"]),
            ProfileKind::Token { .. } => ("tokenRef", &["token"]),
            ProfileKind::OAuth { .. } => return Err(ProfileError::OtherType(id.clone())),
        };
        let at = path(id);
        self.editing.set(&at.join(field), reference.to_json())?;
        for field in stale {
            self.editing.remove(&at.join(*field))?;
        }
        self.read_again(id);
        Ok(())
    }

    /// Takes over what an edit made of one profile.
    fn read_again(&mut self, id: &ProfileId) {
        let Some(value) = self.editing.get(&path(id)) else {
            return;
        };
        let Store {
            defaults,
            profiles,
            by_id,
            ignored,
            ..
        } = &mut self.store;
        match (entry::read(id.as_str(), value, defaults), by_id.get(id)) {
            (Ok(profile), Some(index)) => profiles[*index] = profile,
            (Ok(profile), None) => {
                by_id.insert(id.clone(), profiles.len());
                profiles.push(profile);
            }
            (Err(reason), _) => ignored.push(Ignored {
                id: id.to_string(),
                reason,
            }),
        }
    }

    /// The store with the edits, read again from its text.
    ///
    /// # Errors
    /// Those of [`Editing::document`] and of [`Store::parse`].
    pub fn finish(self) -> Result<Store, ProfileError> {
        Store::of(self.editing.document()?, self.store.defaults)
    }
}
