//! One profile, in every spelling of the family.

use crate::name::ProfileId;
use crate::profile::normal_provider;
use crate::reference::{Defaults, RefError, SecretInput, SecretRef};
use crate::time::UnixMs;
use serde_json::{Map, Value};

/// The last point in time that the family takes for an expiry, in milliseconds.
pub const MAX_EXPIRES: u64 = 8_640_000_000_000_000;

/// A profile. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The id.
    pub id: ProfileId,
    /// The provider, in the form of [`normal_provider`].
    pub provider: String,
    /// What it authenticates with.
    pub kind: ProfileKind,
    /// The account's address.
    pub email: Option<String>,
    /// A name for people.
    pub display_name: Option<String>,
    /// Whether copies for other agents are wished for.
    pub copy_to_agents: Option<bool>,
    /// `"optional": true`: its ref may fail.
    pub optional: bool,
    /// Fields that hold plaintext, also where a ref beside them wins.
    pub plaintext: Vec<&'static str>,
}

/// What a profile authenticates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileKind {
    /// An API key.
    ApiKey {
        /// `keyRef`, `key` or `apiKey`.
        key: Credential,
    },
    /// A static token.
    Token {
        /// `tokenRef` or `token`.
        token: Credential,
        /// `expires`.
        expires: Expiry,
    },
    /// An OAuth token set, which lies in the vault.
    OAuth {
        /// `oauthRef`.
        reference: Credential,
        /// True if `access` or `refresh` stands there in plaintext.
        inline: bool,
        /// `expires`.
        expires: Expiry,
        /// `accountId`.
        account_id: Option<String>,
    },
}

/// The type of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileType {
    /// `oauth`: first in a discovered order.
    OAuth,
    /// `token`.
    Token,
    /// `api_key`.
    ApiKey,
}

impl ProfileType {
    /// The name in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProfileType::OAuth => "oauth",
            ProfileType::Token => "token",
            ProfileType::ApiKey => "api_key",
        }
    }
}

impl ProfileKind {
    /// The type.
    pub fn profile_type(&self) -> ProfileType {
        match self {
            ProfileKind::ApiKey { .. } => ProfileType::ApiKey,
            ProfileKind::Token { .. } => ProfileType::Token,
            ProfileKind::OAuth { .. } => ProfileType::OAuth,
        }
    }

    /// The credential: the key, the token, or the ref of a token set.
    pub fn credential(&self) -> &Credential {
        match self {
            ProfileKind::ApiKey { key } => key,
            ProfileKind::Token { token, .. } => token,
            ProfileKind::OAuth { reference, .. } => reference,
        }
    }

    /// When it stops being valid.
    pub fn expires(&self) -> Expiry {
        match self {
            ProfileKind::ApiKey { .. } => Expiry::Never,
            ProfileKind::Token { expires, .. } | ProfileKind::OAuth { expires, .. } => *expires,
        }
    }
}

/// What stands where a credential belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A ref.
    Ref {
        /// The ref.
        reference: SecretRef,
        /// True if it is not an object with all three keys in the field for refs.
        older: bool,
    },
    /// A value stands there itself. Never used, not kept.
    Plaintext,
    /// Something that is meant as a ref and is none.
    Invalid(RefError),
    /// Nothing.
    Missing,
}

impl Credential {
    /// The ref, if there is one.
    pub fn reference(&self) -> Option<&SecretRef> {
        match self {
            Credential::Ref { reference, .. } => Some(reference),
            Credential::Plaintext | Credential::Invalid(_) | Credential::Missing => None,
        }
    }
}

/// When a credential stops being valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// No `expires`.
    Never,
    /// At this time.
    At(UnixMs),
    /// `expires` is not a number from 1 to [`MAX_EXPIRES`].
    Invalid,
}

/// Why an entry of `profiles` is no profile for us. It stays in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredReason {
    /// Not an object.
    NonObject,
    /// No `provider`.
    MissingProvider,
    /// A `type` that this version does not know, or none.
    InvalidType,
    /// The id is not `PROVIDER:NAME`.
    InvalidId,
}

impl IgnoredReason {
    /// The family's name of the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            IgnoredReason::NonObject => "non_object",
            IgnoredReason::MissingProvider => "missing_provider",
            IgnoredReason::InvalidType => "invalid_type",
            IgnoredReason::InvalidId => "invalid_id",
        }
    }
}

/// Reads one entry of `profiles`.
pub(super) fn read(id: &str, value: &Value, defaults: &Defaults) -> Result<Profile, IgnoredReason> {
    let id: ProfileId = id.parse().map_err(|_| IgnoredReason::InvalidId)?;
    let object = value.as_object().ok_or(IgnoredReason::NonObject)?;
    let provider = text(object, "provider").ok_or(IgnoredReason::MissingProvider)?;
    let mut plaintext = Vec::new();
    let kind = match text(object, "type")
        .or_else(|| text(object, "mode"))
        .as_deref()
    {
        Some("api_key" | "apiKey") => {
            let key = credential(
                object,
                "keyRef",
                &["key", "apiKey"],
                defaults,
                &mut plaintext,
            );
            ProfileKind::ApiKey { key }
        }
        Some("token") => {
            let token = credential(object, "tokenRef", &["token"], defaults, &mut plaintext);
            ProfileKind::Token {
                token,
                expires: expiry(object),
            }
        }
        Some("oauth") => {
            for field in ["access", "refresh", "idToken"] {
                if text(object, field).is_some() {
                    plaintext.push(field);
                }
            }
            let inline = plaintext.iter().any(|field| *field != "idToken");
            let reference = credential(object, "oauthRef", &[], defaults, &mut plaintext);
            let account_id = text(object, "accountId");
            ProfileKind::OAuth {
                reference,
                inline,
                expires: expiry(object),
                account_id,
            }
        }
        _ => return Err(IgnoredReason::InvalidType),
    };
    Ok(Profile {
        id,
        provider: normal_provider(&provider),
        kind,
        email: text(object, "email"),
        display_name: text(object, "displayName"),
        copy_to_agents: object.get("copyToAgents").and_then(Value::as_bool),
        optional: object.get("optional") == Some(&Value::Bool(true)),
        plaintext,
    })
}

/// A string that is not blank, trimmed.
fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The ref field first, then the fields that hold a value, an inline ref, or an older spelling.
fn credential(
    object: &Map<String, Value>,
    ref_field: &'static str,
    fields: &[&'static str],
    defaults: &Defaults,
    plaintext: &mut Vec<&'static str>,
) -> Credential {
    let mut best = object.get(ref_field).map_or(Credential::Missing, |value| {
        match SecretInput::parse(value, defaults) {
            Ok(SecretInput::Ref { reference, older }) => Credential::Ref { reference, older },
            Ok(SecretInput::Empty | SecretInput::Managed) => Credential::Missing,
            Ok(SecretInput::Plaintext) => Credential::Invalid(RefError::Form),
            Err(error) => Credential::Invalid(error),
        }
    });
    for field in fields {
        let Some(value) = object.get(*field) else {
            continue;
        };
        let found = match SecretInput::parse(value, defaults) {
            Ok(SecretInput::Ref { reference, .. }) => Credential::Ref {
                reference,
                older: true,
            },
            Ok(SecretInput::Empty | SecretInput::Managed) => Credential::Missing,
            Ok(SecretInput::Plaintext) => {
                plaintext.push(field);
                Credential::Plaintext
            }
            Err(error) => Credential::Invalid(error),
        };
        // A broken ref is never passed over for the plaintext beside it.
        if best == Credential::Missing {
            best = found;
        }
    }
    best
}

fn expiry(object: &Map<String, Value>) -> Expiry {
    let Some(value) = object.get("expires") else {
        return Expiry::Never;
    };
    match whole(value) {
        Some(ms) if (1..=MAX_EXPIRES).contains(&ms) => Expiry::At(UnixMs(ms)),
        _ => Expiry::Invalid,
    }
}

/// A number that is not negative, without its fraction.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let float = value
        .as_f64()
        .filter(|float| *float >= 0.0 && *float <= u64::MAX as f64);
    value.as_u64().or_else(|| float.map(|float| float as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason(id: &str, value: &Value) -> &'static str {
        read(id, value, &Defaults::default()).unwrap_err().as_str()
    }

    #[test]
    fn what_is_no_profile_is_told_in_the_family_s_words() {
        assert_eq!(reason("p:a", &json!(1)), "non_object");
        assert_eq!(reason("p:a", &json!({"type": "token"})), "missing_provider");
        let unknown = json!({"provider": "p", "type": "later"});
        assert_eq!(reason("p:a", &unknown), "invalid_type");
        assert_eq!(reason("p", &unknown), "invalid_id");
    }

    #[test]
    fn only_true_makes_a_profile_optional() {
        for (optional, expected) in [
            (json!(true), true),
            (json!(false), false),
            (json!("true"), false),
            (Value::Null, false),
        ] {
            let entry = json!({"provider": "p", "type": "token", "optional": optional});
            let profile = read("p:a", &entry, &Defaults::default()).unwrap();
            assert_eq!(profile.optional, expected, "{entry}");
        }
    }

    #[test]
    fn numbers_lose_their_fraction_but_are_never_bent_into_the_range() {
        for (number, expected) in [
            (json!(5.9), Some(5)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(-1), None),
            (json!(-1.5), None),
            (json!(1e30), None),
            (json!("5"), None),
        ] {
            assert_eq!(whole(&number), expected, "{number}");
        }
    }
}
