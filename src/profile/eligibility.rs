//! May a profile be used now, and why not.

use super::entry::{Credential, Expiry, Profile, ProfileKind, ProfileType};
use super::routing::{Mode, Routing};
use super::{Store, normal_provider};
use crate::name::ProfileId;
use crate::time::UnixMs;

/// Why a profile can't be used. The names are the family's; `plaintext` is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The store has no such profile.
    ProfileMissing,
    /// It belongs to another provider, in the store or in the config.
    ProviderMismatch,
    /// The config says another type than the store.
    ModeMismatch,
    /// Neither a value nor a ref stands there.
    MissingCredential,
    /// `expires` is no time.
    InvalidExpires,
    /// `expires` is past. A ref does not bypass it.
    Expired,
    /// Something that is meant as a ref is none.
    UnresolvedRef,
    /// The resolved key can't be one.
    MalformedApiKey,
    /// A plaintext value stands there; it is never used.
    Plaintext,
}

impl Reason {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::ProfileMissing => "profile_missing",
            Reason::ProviderMismatch => "provider_mismatch",
            Reason::ModeMismatch => "mode_mismatch",
            Reason::MissingCredential => "missing_credential",
            Reason::InvalidExpires => "invalid_expires",
            Reason::Expired => "expired",
            Reason::UnresolvedRef => "unresolved_ref",
            Reason::MalformedApiKey => "malformed_api_key",
            Reason::Plaintext => "plaintext",
        }
    }

    /// One sentence fragment for people.
    pub const fn text(self) -> &'static str {
        match self {
            Reason::ProfileMissing => "there is no such profile",
            Reason::ProviderMismatch => "it belongs to another provider",
            Reason::ModeMismatch => "the config says another type",
            Reason::MissingCredential => "it holds neither a ref nor a value",
            Reason::InvalidExpires => "its expiry is not a time",
            Reason::Expired => "it has expired",
            Reason::UnresolvedRef => "its ref is not valid",
            Reason::MalformedApiKey => "its value can't be a key",
            Reason::Plaintext => "it holds a plaintext value, which is never used",
        }
    }
}

/// The profile, if it may be used for `provider` at `now`; else the first reason against it.
///
/// # Errors
/// The reason.
pub fn eligibility<'a>(
    id: &ProfileId,
    provider: &str,
    store: &'a Store,
    routing: &Routing,
    now: UnixMs,
) -> Result<&'a Profile, Reason> {
    let provider = normal_provider(provider);
    let profile = store.get(id).ok_or(Reason::ProfileMissing)?;
    let configured = routing.profile(id);
    if profile.provider != provider || configured.is_some_and(|c| c.provider != provider) {
        return Err(Reason::ProviderMismatch);
    }
    if let Some(mode) = configured.and_then(|configured| configured.mode) {
        let fits = match (mode, profile.kind.profile_type()) {
            (Mode::ApiKey, ProfileType::ApiKey) | (Mode::Token, ProfileType::Token) => true,
            // A stored token is accepted where OAuth is configured.
            (Mode::OAuth, ProfileType::OAuth | ProfileType::Token) => true,
            (Mode::ApiKey | Mode::Token | Mode::OAuth | Mode::AwsSdk, _) => false,
        };
        if !fits {
            return Err(Reason::ModeMismatch);
        }
    }
    credential(&profile.kind, now).map(|()| profile)
}

/// What the credential itself says, whatever it is wanted for.
///
/// # Errors
/// The reason.
pub fn credential(kind: &ProfileKind, now: UnixMs) -> Result<(), Reason> {
    match kind {
        ProfileKind::ApiKey { key } => usable(key),
        ProfileKind::Token { token, expires } => {
            if *token == Credential::Missing {
                return Err(Reason::MissingCredential);
            }
            match expires {
                Expiry::Invalid => return Err(Reason::InvalidExpires),
                Expiry::At(time) if *time <= now => return Err(Reason::Expired),
                Expiry::At(_) | Expiry::Never => {}
            }
            usable(token)
        }
        // An access token that has expired is no reason: it is refreshed.
        ProfileKind::OAuth {
            reference, inline, ..
        } => match reference {
            Credential::Missing if *inline => Err(Reason::Plaintext),
            reference => usable(reference),
        },
    }
}

fn usable(credential: &Credential) -> Result<(), Reason> {
    match credential {
        Credential::Ref { .. } => Ok(()),
        Credential::Plaintext => Err(Reason::Plaintext),
        Credential::Invalid(_) => Err(Reason::UnresolvedRef),
        Credential::Missing => Err(Reason::MissingCredential),
    }
}

/// The longest API key or static token in bytes.
pub const MAX_KEY: usize = 16 * 1024;

/// Checks that the bytes of a key or token can be one: 1 to [`MAX_KEY`] visible ASCII characters,
/// as an HTTP header takes them.
///
/// # Errors
/// [`Reason::MissingCredential`] if there are none, else [`Reason::MalformedApiKey`].
pub fn check_key(bytes: &[u8]) -> Result<(), Reason> {
    if bytes.is_empty() {
        return Err(Reason::MissingCredential);
    }
    let visible = bytes.iter().all(u8::is_ascii_graphic);
    if visible && bytes.len() <= MAX_KEY {
        Ok(())
    } else {
        Err(Reason::MalformedApiKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const ALL: [Reason; 9] = [
        Reason::ProfileMissing,
        Reason::ProviderMismatch,
        Reason::ModeMismatch,
        Reason::MissingCredential,
        Reason::InvalidExpires,
        Reason::Expired,
        Reason::UnresolvedRef,
        Reason::MalformedApiKey,
        Reason::Plaintext,
    ];

    #[test]
    fn people_and_programs_can_tell_the_reasons_apart() {
        for told in [Reason::as_str, Reason::text] {
            let different: HashSet<_> = ALL.map(told).into();
            assert!(different.len() == ALL.len() && !different.contains(""));
        }
    }

    #[test]
    fn a_key_has_at_most_16_kib() {
        assert_eq!(check_key(&[b'x'; 16_384]), Ok(()));
        assert_eq!(check_key(&[b'x'; 16_385]), Err(Reason::MalformedApiKey));
    }
}
