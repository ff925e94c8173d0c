//! `vault.autoSeal`: plaintext keys and tokens of auth profiles move into the vault at activation.
//!
//! Invariant: a value leaves its file only after it was sealed, flushed and read back; a file that
//! changed meanwhile is left as it is. What can't be moved stays where it is and is reported.

use super::ground::{Agent, Ground};
use super::local::Runtime;
use crate::error::{Code, Failure};
use crate::name::{ProfileId, RecordName};
use crate::profile::{ProfileError, ProfileType};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::clock;
use crate::vault::{Change, Expect, Meta, RecordKind};
use std::path::Path;

impl Runtime {
    /// Moves the plaintext of static profiles into the vault, if the config asks for it. True if
    /// anything was moved: the ground has to be read again.
    ///
    /// # Errors
    /// `vault.*` if a value can't be sealed; `config.conflict` if a file changed meanwhile;
    /// `record.exists` if another value stands under the profile's record name. Nothing is lost.
    pub(super) fn auto_seal(&self, ground: &Ground) -> Result<bool, Failure> {
        let mut moved = false;
        if ground.config.vault.auto_seal {
            for agent in &ground.agents {
                moved |= self.seal_agent(agent)?;
            }
        }
        Ok(moved)
    }

    fn seal_agent(&self, agent: &Agent) -> Result<bool, Failure> {
        let before = agent.store.text().to_owned();
        let mut store = agent.store.clone();
        for found in agent.store.plaintext() {
            // A ref that wins makes the plaintext beside it useless, but it may be the only copy
            // of something: that is for a person to decide.
            let Some(value) = store
                .plaintext_value(&found.profile)
                .filter(|_| !found.shadowed)
            else {
                continue;
            };
            let kind = match store
                .get(&found.profile)
                .map(|profile| profile.kind.profile_type())
            {
                Some(ProfileType::ApiKey) => RecordKind::ApiKey,
                Some(ProfileType::Token | ProfileType::OAuth) | None => RecordKind::Static,
            };
            let name = self.seal_value(&found.profile, kind, &value)?;
            match store.set_ref(&found.profile, &SecretRef::to_record(&name), Some(&value)) {
                // Another value stands beside it, which would be lost.
                Err(ProfileError::Plaintext(_)) => {}
                other => other?,
            }
        }
        if store.text() == before {
            return Ok(false);
        }
        let path = Path::new(agent.store.name());
        files::write(path, Some(before.as_bytes()), store.text().as_bytes())?;
        Ok(true)
    }

    /// Seals a value under the profile's record name and reads it back.
    fn seal_value(
        &self,
        profile: &ProfileId,
        kind: RecordKind,
        value: &SecretValue,
    ) -> Result<RecordName, Failure> {
        let name = RecordName::for_profile(profile)?;
        let taken = || {
            let text = format!("{profile} holds plaintext, and another value is sealed as {name}");
            Failure::new(Code::RecordExists, text)
        };
        self.with_vault(|vault| {
            vault.catch_up()?;
            match vault.get(&name, None) {
                Ok((_, sealed)) if sealed == *value => return Ok(()),
                Ok(_) => return Err(taken()),
                Err(failure) if failure.code == Code::RecordAbsent => {}
                Err(failure) => return Err(failure),
            }
            let meta = Meta {
                created_at: Some(clock::now()),
                ..Meta::default()
            };
            vault.commit(vec![Change::Put {
                name: name.clone(),
                kind,
                meta,
                value: value.clone(),
                expect: Expect::Absent,
            }])?;
            let (_, sealed) = vault.get(&name, None)?;
            if sealed == *value {
                Ok(())
            } else {
                Err(taken())
            }
        })?;
        Ok(name)
    }
}
