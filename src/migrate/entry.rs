//! One credential as another runtime keeps it, to what the vault takes.
//!
//! Invariants: the same entry always gives the same value, so that a run that was interrupted knows
//! its records again; what can't be taken whole is not taken, and the reason says what helps.

use crate::config::Config;
use crate::crypto::hash::sha256;
use crate::oauth::record::Identity;
use crate::oauth::tokens::{AccessToken, IdToken, RefreshToken};
use crate::oauth::{Account, ClientOf, TokenSet};
use crate::profile::entry::MAX_EXPIRES;
use crate::profile::{ProfileType, normal_provider};
use crate::reference::{Defaults, SecretInput};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

/// The fields that hold a credential, in any spelling of the family.
pub(super) const SECRET_FIELDS: [&str; 6] =
    ["key", "apiKey", "token", "access", "refresh", "idToken"];

/// What says of a credential what it is; no secret.
const DESCRIPTION: [&str; 7] = [
    "type",
    "mode",
    "provider",
    "expires",
    "email",
    "displayName",
    "accountId",
];

/// The provider with whose client the family signs in to `openai`, too.
const CODEX: &str = "openai-codex";

/// What newer versions of the family put in place of tokens during a refresh.
const FENCE: &str = "openclaw-oauth-refresh-fence:";

/// A credential.
#[derive(Clone)]
pub(super) enum Credential {
    /// A key or a token.
    Static {
        kind: ProfileType,
        value: SecretValue,
        expires: Option<UnixMs>,
    },
    /// An account that this program can refresh.
    Account(Box<Account>),
}

impl Credential {
    /// Every value of it.
    fn values(&self) -> Vec<&SecretValue> {
        match self {
            Credential::Static { value, .. } => vec![value],
            Credential::Account(account) => {
                let refresh = account.refresh.iter().map(RefreshToken::secret);
                let id = account.id_token.iter().map(IdToken::secret);
                let access = std::iter::once(account.access.secret());
                access.chain(refresh).chain(id).collect()
            }
        }
    }
}

/// A field for secrets whose value the credential does not have: it would be lost with the entry.
pub(super) fn not_in(credential: &Credential, entry: &Map<String, Value>) -> Option<&'static str> {
    let values = credential.values();
    let is_elsewhere = |value: &Value| match SecretInput::parse(value, &Defaults::default()) {
        Ok(SecretInput::Empty | SecretInput::Managed) => true,
        Ok(SecretInput::Plaintext | SecretInput::Ref { .. }) | Err(_) => {
            let text = value.as_str().unwrap_or_default().trim();
            let own = SecretValue::copy_of(text.as_bytes());
            value.is_null() || values.iter().any(|value| **value == own)
        }
    };
    SECRET_FIELDS.into_iter().find(|field| {
        let value = entry.get(*field);
        value.is_some_and(|value| !is_elsewhere(value))
    })
}

/// A member that goes with an entry and is nowhere else: neither in the credential nor in the
/// profile that has it.
pub(super) fn only_in<'a>(
    entry: &'a Map<String, Value>,
    credential: &Credential,
    profile: &Map<String, Value>,
) -> Option<&'a str> {
    if let Some(field) = not_in(credential, entry) {
        return Some(field);
    }
    let is_known = |key: &str| DESCRIPTION.contains(&key) || SECRET_FIELDS.contains(&key);
    let mut members = entry.iter();
    let only = members.find(|(key, value)| {
        let is_nothing = value.is_null() || value.as_str().is_some_and(|t| t.trim().is_empty());
        !is_known(key) && !is_nothing && profile.get(*key) != Some(*value)
    });
    only.map(|(key, _)| key.as_str())
}

/// Reads an entry. `provider` is the one that it names or stands under.
///
/// # Errors
/// Why it stays where it is, in words.
pub(super) fn read(
    provider: &str,
    entry: &Map<String, Value>,
    config: &Config,
) -> Result<Credential, String> {
    let named = text(entry, "type").or_else(|| text(entry, "mode"));
    let has = |field| text(entry, field).is_some();
    // Files that came before the field have an account for an account and a key for a key.
    let implied = if has("access") || has("refresh") {
        "oauth"
    } else if has("token") {
        "token"
    } else {
        "api_key"
    };
    match named.unwrap_or(implied) {
        "api_key" | "apiKey" => {
            let value = secret(entry, "key").or_else(|| secret(entry, "apiKey"));
            fixed(ProfileType::ApiKey, value, None)
        }
        "token" => fixed(ProfileType::Token, secret(entry, "token"), expires(entry)),
        "oauth" => account(provider, entry, config),
        _ => Err("its type is not known to this version".to_owned()),
    }
}

pub(super) fn fixed(
    kind: ProfileType,
    value: Option<SecretValue>,
    expires: Option<UnixMs>,
) -> Result<Credential, String> {
    let value = value.ok_or("it holds no plaintext value")?;
    Ok(Credential::Static {
        kind,
        value,
        expires,
    })
}

fn account(
    provider: &str,
    entry: &Map<String, Value>,
    config: &Config,
) -> Result<Credential, String> {
    let refresh = secret(entry, "refresh").map(RefreshToken::from);
    let access = secret(entry, "access").map(AccessToken::from);
    let (Some(refresh), Some(access)) = (refresh, access) else {
        return Err("an account without both tokens; sign in again instead".to_owned());
    };
    let fenced = |field| text(entry, field).is_some_and(|text| text.starts_with(FENCE));
    if fenced("refresh") || fenced("access") {
        return Err("its last refresh there did not end; sign in again instead".to_owned());
    }
    let client_id = text(entry, "clientId");
    let (client, claim) = client(provider, client_id, config)?;
    let id_token = secret(entry, "idToken").map(IdToken::from);
    let known = Identity::of(&access, id_token.as_ref(), claim.as_deref());
    let own = |field| text(entry, field).map(str::to_owned);
    Ok(Credential::Account(Box::new(Account {
        client,
        access,
        refresh: Some(refresh),
        id_token,
        scope: own("scope"),
        token_type: "Bearer".to_owned(),
        // Not known. So long ago that the token is due at once: then the copies that lie about are
        // used up soon.
        obtained_at: UnixMs(0),
        expires_at: expires(entry),
        identity: Identity {
            account_id: own("accountId").or(known.account_id),
            email: own("email").or(known.email),
            subject: known.subject,
        },
        account_id_claim: claim,
        owned: false,
    })))
}

/// The credential that a token set of a provider is: an account if it can be renewed.
///
/// # Errors
/// Why it stays where it is, in words.
pub(super) fn of_tokens(
    provider: &str,
    tokens: &TokenSet,
    config: &Config,
) -> Result<Credential, String> {
    if tokens.refresh.is_none() {
        let value = tokens.access.secret().clone();
        return fixed(ProfileType::Token, Some(value), tokens.expires_at);
    }
    let (client, claim) = client(provider, None, config)?;
    Ok(Credential::Account(Box::new(Account {
        client,
        access: tokens.access.clone(),
        refresh: tokens.refresh.clone(),
        id_token: None,
        scope: tokens.metadata.get("scope").cloned(),
        token_type: "Bearer".to_owned(),
        obtained_at: tokens.obtained_at,
        expires_at: tokens.expires_at,
        identity: Identity::of(&tokens.access, None, claim.as_deref()),
        account_id_claim: claim,
        owned: false,
    })))
}

/// Whom a refresh asks, and the claim that holds the account.
fn client(
    provider: &str,
    client_id: Option<&str>,
    config: &Config,
) -> Result<(ClientOf, Option<String>), String> {
    let id = normal_provider(provider);
    let unknown = || {
        format!(
            "nothing says how an account of {id} is refreshed; describe {id} in oauth.providers of \
             reseal.json (tokenEndpoint, clientId) and run this again"
        )
    };
    let mut known = config.oauth_provider(&id).ok_or_else(unknown)?;
    // The family signs in to both with the client of the Codex CLI; ours has its own at `openai`.
    let codex = config.oauth_provider(CODEX).filter(|codex| {
        known.dynamic_client.is_some()
            && client_id.is_none_or(|id| Some(id) == codex.client_id.as_deref())
    });
    known = codex.unwrap_or(known);
    if known.client_secret.is_some() {
        return Err(format!(
            "its provider has a client secret; sign in with `reseal models auth login --provider \
             {id}`"
        ));
    }
    // A refresh needs no flow, which a provider that only moves in may not have.
    let server = known.known_server().ok_or_else(unknown)?;
    let client = known.client(&server, client_id, None);
    if client.client_id.is_empty() {
        return Err(unknown());
    }
    Ok((client, known.account_id_claim))
}

/// What an account that moves is known by again, also after it was refreshed: a digest of its
/// refresh token, kept beside the record. `None` without one: then only its value tells.
pub(super) fn mark(account: &Account) -> Option<String> {
    let token = account.refresh.as_ref()?.secret().expose();
    Some(HEXLOWER.encode(&sha256(&[b"reseal/migrate\0", token])[..16]))
}

/// A string that is not blank, trimmed.
pub(super) fn text<'a>(entry: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    let text = entry.get(field)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// A string that is neither blank nor a ref.
fn secret(entry: &Map<String, Value>, field: &str) -> Option<SecretValue> {
    let text = text(entry, field)?;
    let input = SecretInput::parse(entry.get(field)?, &Defaults::default());
    (input == Ok(SecretInput::Plaintext)).then(|| SecretValue::copy_of(text.as_bytes()))
}

pub(super) fn expires(entry: &Map<String, Value>) -> Option<UnixMs> {
    let number = entry.get("expires")?;
    let whole = number.as_u64().or_else(|| {
        let float = number.as_f64()?;
        (float >= 1.0 && float <= MAX_EXPIRES as f64).then_some(float as u64)
    })?;
    (1..=MAX_EXPIRES).contains(&whole).then_some(UnixMs(whole))
}
