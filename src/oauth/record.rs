//! What the vault keeps of a sign-in: the account with its tokens, and what stands beside it.
//!
//! Invariant: the record holds everything that a refresh needs, so that neither a restart nor a
//! changed config ends a session. A document of a newer version is refused, never half understood.

use super::claims::Claims;
use super::client::{ClientAuth, ClientOf, Dialect, NamedBy, TokenFormat};
use super::endpoint::Endpoint;
use super::grant::Grant;
use super::refusal::PermanentReason;
use super::tokens::{AccessToken, ClientSecret, IdToken, RefreshToken};
use crate::crypto::hash::sha256;
use crate::document::extract::{Miss, extract, members};
use crate::error::{Code, Coded};
use crate::secret::SecretValue;
use crate::secret::json::{Part, object};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// The version of the document.
const VERSION: u32 = 1;

/// Who signed in, as far as the tokens say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The provider's id of the account (`accountIdClaim`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account_id: Option<String>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
    /// `sub`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
}

impl Identity {
    /// What the tokens say: the access token first, then the ID token. `account_id_claim` is a path
    /// as of [`Claims::text`].
    pub fn of(
        access: &AccessToken,
        id_token: Option<&IdToken>,
        account_id_claim: Option<&str>,
    ) -> Self {
        let tokens = [Some(access.secret()), id_token.map(IdToken::secret)];
        let claims: Vec<Claims> = tokens
            .into_iter()
            .flatten()
            .filter_map(Claims::peek)
            .collect();
        let first = |read: &dyn Fn(&Claims) -> Option<String>| claims.iter().find_map(read);
        Self {
            account_id: first(&|claims| claims.text(account_id_claim?).map(str::to_owned)),
            email: first(&|claims| claims.email().map(str::to_owned)),
            subject: first(&|claims| claims.subject().map(str::to_owned)),
        }
    }

    /// True if both are the same account by the first of account id, address (in any case) and
    /// subject that both know; also if neither knows anything.
    pub fn matches(&self, other: &Identity) -> bool {
        let pairs = [
            (&self.account_id, &other.account_id, false),
            (&self.email, &other.email, true),
            (&self.subject, &other.subject, false),
        ];
        for (ours, theirs, folded) in pairs {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                return ours == theirs || (folded && ours.to_lowercase() == theirs.to_lowercase());
            }
        }
        self.is_unknown() && other.is_unknown()
    }

    /// True if nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.key().is_none()
    }

    /// What this keeps, and the rest from `older`.
    fn or(self, older: &Identity) -> Self {
        Self {
            account_id: self.account_id.or_else(|| older.account_id.clone()),
            email: self.email.or_else(|| older.email.clone()),
            subject: self.subject.or_else(|| older.subject.clone()),
        }
    }

    /// What tells accounts of one issuer apart, with what it is.
    fn key(&self) -> Option<(&'static str, String)> {
        let id = self.account_id.clone().map(|id| ("id", id));
        let email = || self.email.as_ref().map(|e| ("email", e.to_lowercase()));
        let subject = || self.subject.clone().map(|subject| ("sub", subject));
        id.or_else(email).or_else(subject)
    }
}

/// A signed-in account: the value of a vault record of kind `OAuth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What a refresh needs.
    pub client: ClientOf,
    /// The access token.
    pub access: AccessToken,
    /// The refresh token.
    pub refresh: Option<RefreshToken>,
    /// The ID token.
    pub id_token: Option<IdToken>,
    /// The scope that was granted.
    pub scope: Option<String>,
    /// The type of the access token.
    pub token_type: String,
    /// When the access token was asked for.
    pub obtained_at: UnixMs,
    /// When it ends; `None`: unknown, so only a refusal tells.
    pub expires_at: Option<UnixMs>,
    /// Whose it is.
    pub identity: Identity,
    /// The claim that holds the account id, for the tokens of the next refresh.
    pub account_id_claim: Option<String>,
    /// False: the refresh token came from another program's store and may lie there still, so it is
    /// never sent a second time after a lost answer.
    pub owned: bool,
}

/// Why the value of a record is no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a document of ours.
    #[error("the OAuth record is not readable ({0})")]
    Corrupt(&'static str),
    /// Of a later version.
    #[error("the OAuth record was written by a newer version (format {0})")]
    Newer(u64),
}

impl Coded for RecordError {
    fn code(&self) -> Code {
        match self {
            RecordError::Corrupt(_) => Code::VaultCorrupt,
            RecordError::Newer(_) => Code::VaultNewer,
        }
    }
}
crate::error::failure_from!(RecordError);

impl Account {
    /// The account of a first grant, asked for at `now`.
    pub fn new(
        client: ClientOf,
        grant: Grant,
        account_id_claim: Option<String>,
        now: UnixMs,
    ) -> Self {
        let claim = account_id_claim.as_deref();
        Self {
            identity: Identity::of(&grant.access, grant.id_token.as_ref(), claim),
            expires_at: expiry(&grant, now),
            client,
            access: grant.access,
            refresh: grant.refresh,
            id_token: grant.id_token,
            scope: grant.scope,
            token_type: grant.token_type,
            obtained_at: now,
            account_id_claim,
            owned: true,
        }
    }

    /// The account after a refresh that was sent at `now`. What the grant leaves out stays as it
    /// was: refresh token, ID token, scope, identity. Whether the identity still
    /// [matches](Self::identity_matches) is for the caller to see.
    pub fn renewed(&self, grant: Grant, now: UnixMs) -> Account {
        let fresh = Account::new(
            self.client.clone(),
            grant,
            self.account_id_claim.clone(),
            now,
        );
        Account {
            // Our own from here on: the successor of an imported token is known to us alone.
            owned: self.owned || fresh.refresh.is_some(),
            refresh: fresh.refresh.or_else(|| self.refresh.clone()),
            id_token: fresh.id_token.or_else(|| self.id_token.clone()),
            scope: fresh.scope.or_else(|| self.scope.clone()),
            identity: fresh.identity.or(&self.identity),
            ..fresh
        }
    }

    /// True if `other` is the same account at the same server; see [`Identity::matches`].
    pub fn identity_matches(&self, other: &Account) -> bool {
        self.realm() == other.realm() && self.identity.matches(&other.identity)
    }

    /// What profiles of one account share, so that they don't refresh at once: the first 8 bytes of
    /// SHA-256 over issuer (or token endpoint), client id and account; `None` if the account is not
    /// known.
    pub fn lock_key(&self) -> Option<[u8; 8]> {
        let (what, account) = self.identity.key()?;
        let parts = [self.realm(), &self.client.client_id, what, &account];
        let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
        let mut framed: Vec<&[u8]> = vec![b"reseal/oauth/account\0"];
        for (length, part) in lengths.iter().zip(parts) {
            framed.extend([length.as_slice(), part.as_bytes()]);
        }
        let mut key = [0; 8];
        key.copy_from_slice(&sha256(&framed)[..8]);
        Some(key)
    }

    /// What stands beside the value, readable without opening it.
    pub fn info(&self) -> AccountInfo {
        AccountInfo {
            provider: self.client.provider.clone(),
            // As people see it: a query may hold what is nobody's business.
            server: self
                .client
                .named_by
                .as_ref()
                .map(|server| server.url.to_string()),
            issuer: self.client.issuer.clone(),
            scope: self.scope.clone(),
            client_id: self.client.client_id.clone(),
            identity: self.identity.clone(),
            obtained_at: self.obtained_at,
            refreshable: self.refresh.is_some(),
            sign_in: None,
        }
    }

    /// The server that the account belongs to.
    fn realm(&self) -> &str {
        let issuer = self.client.issuer.as_deref();
        issuer.unwrap_or(self.client.token_endpoint.as_str())
    }

    /// The value of the record: a JSON document, built in locked memory.
    pub fn to_secret(&self) -> SecretValue {
        let details = Details::of(self);
        // Serialising strings and numbers into a String can't fail.
        let details = serde_json::to_string(&details).unwrap_or_default();
        let mut members = vec![("details", Part::Json(&details))];
        members.push(("accessToken", Part::Secret("", self.access.secret())));
        let secret = |name, value| (name, Part::Secret("", value));
        if let Some(token) = &self.refresh {
            members.push(secret("refreshToken", token.secret()));
        }
        if let Some(token) = &self.id_token {
            members.push(secret("idToken", token.secret()));
        }
        if let ClientAuth::Basic(value) | ClientAuth::Post(value) = &self.client.auth {
            members.push(secret("clientSecret", value.secret()));
        }
        object(&members)
    }

    /// Reads what [`Account::to_secret`] made.
    ///
    /// # Errors
    /// Something else, or of a newer version.
    pub fn from_secret(value: &SecretValue) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(value.expose())
            .map_err(|_| RecordError::Corrupt("it is not UTF-8"))?;
        let not_json = |_| RecordError::Corrupt("it is not a JSON object");
        let found = members(text, &HashMap::from([("details", 0)])).map_err(not_json)?;
        let details = found[0].ok_or(RecordError::Corrupt("its details are missing"))?;
        let details = Details::parse(details)?;
        const SECRETS: [&str; 4] = ["/accessToken", "/refreshToken", "/idToken", "/clientSecret"];
        let mut secrets = extract(text, &SECRETS).map_err(not_json)?.into_iter();
        let mut next = || match secrets.next() {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(Miss::Absent)) | None => Ok(None),
            Some(Err(_)) => Err(RecordError::Corrupt("a token is not a string")),
        };
        let access = next()?.ok_or(RecordError::Corrupt("its access token is missing"))?;
        let (refresh, id_token, client_secret) = (next()?, next()?, next()?);
        details.into_account(
            access.into(),
            refresh.map(RefreshToken::from),
            id_token.map(IdToken::from),
            client_secret.map(ClientSecret::from),
        )
    }
}

/// When the access token of a grant ends: as the server says, else as the token says.
fn expiry(grant: &Grant, now: UnixMs) -> Option<UnixMs> {
    match grant.expires_in {
        Some(lifetime) => Some(now.plus(lifetime)),
        None => Claims::peek(grant.access.secret())?.expires_at(),
    }
}

/// How the client proves itself, in the document.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AuthKind {
    None,
    Basic,
    Post,
}

/// What of the document is no secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    version: u32,
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    issuer: Option<String>,
    token_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revocation_endpoint: Option<Endpoint>,
    client_id: String,
    client_auth: AuthKind,
    format: TokenFormat,
    revocation_format: TokenFormat,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    named_by: Option<NamedBy>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    extra: Vec<(String, String)>,
    dialect: Dialect,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    refresh_margin_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    scope: Option<String>,
    token_type: String,
    obtained_at: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_at: Option<UnixMs>,
    #[serde(flatten)]
    identity: Identity,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    account_id_claim: Option<String>,
    owned: bool,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Details {
    fn of(account: &Account) -> Self {
        let client = account.client.clone();
        let margin = client.refresh_margin.map(|margin| margin.as_millis());
        Self {
            version: VERSION,
            provider: client.provider,
            issuer: client.issuer,
            token_endpoint: client.token_endpoint,
            revocation_endpoint: client.revocation_endpoint,
            client_id: client.client_id,
            client_auth: match client.auth {
                ClientAuth::None => AuthKind::None,
                ClientAuth::Basic(_) => AuthKind::Basic,
                ClientAuth::Post(_) => AuthKind::Post,
            },
            format: client.format,
            revocation_format: client.revocation_format,
            resource: client.resource,
            named_by: client.named_by,
            extra: client.extra,
            dialect: client.dialect,
            refresh_margin_ms: margin.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            scope: account.scope.clone(),
            token_type: account.token_type.clone(),
            obtained_at: account.obtained_at,
            expires_at: account.expires_at,
            identity: account.identity.clone(),
            account_id_claim: account.account_id_claim.clone(),
            owned: account.owned,
        }
    }

    fn parse(json: &str) -> Result<Self, RecordError> {
        let broken = |_| RecordError::Corrupt("its details are broken");
        let version: Version = serde_json::from_str(json).map_err(broken)?;
        if version.version > u64::from(VERSION) {
            return Err(RecordError::Newer(version.version));
        }
        serde_json::from_str(json).map_err(broken)
    }

    fn into_account(
        self,
        access: AccessToken,
        refresh: Option<RefreshToken>,
        id_token: Option<IdToken>,
        client_secret: Option<ClientSecret>,
    ) -> Result<Account, RecordError> {
        let auth = match (self.client_auth, client_secret) {
            (AuthKind::None, _) => ClientAuth::None,
            (AuthKind::Basic, Some(secret)) => ClientAuth::Basic(secret),
            (AuthKind::Post, Some(secret)) => ClientAuth::Post(secret),
            (AuthKind::Basic | AuthKind::Post, None) => {
                return Err(RecordError::Corrupt("its client secret is missing"));
            }
        };
        Ok(Account {
            client: ClientOf {
                provider: self.provider,
                issuer: self.issuer,
                token_endpoint: self.token_endpoint,
                revocation_endpoint: self.revocation_endpoint,
                client_id: self.client_id,
                auth,
                format: self.format,
                revocation_format: self.revocation_format,
                resource: self.resource,
                named_by: self.named_by,
                extra: self.extra,
                dialect: self.dialect,
                refresh_margin: self.refresh_margin_ms.map(Duration::from_millis),
            },
            access,
            refresh,
            id_token,
            scope: self.scope,
            token_type: self.token_type,
            obtained_at: self.obtained_at,
            expires_at: self.expires_at,
            identity: self.identity,
            account_id_claim: self.account_id_claim,
            owned: self.owned,
        })
    }
}

/// Why an account has to sign in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignInReason {
    /// The server refused its refresh token for good.
    Refused(PermanentReason),
    /// A refresh was sent and its answer was lost; the old token is used up and the new one never
    /// arrived.
    Lost,
}

impl SignInReason {
    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            SignInReason::Refused(reason) => reason.as_str(),
            SignInReason::Lost => "answer_lost",
        }
    }

    /// The reason with this text.
    pub fn parse(text: &str) -> Option<Self> {
        let refused = PermanentReason::ALL.map(SignInReason::Refused);
        let mut all = refused.into_iter().chain([SignInReason::Lost]);
        all.find(|reason| reason.as_str() == text)
    }
}

/// That an account has to sign in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Why.
    pub reason: SignInReason,
    /// Since when.
    pub since: UnixMs,
}

/// What stands beside an account in the record's metadata (member `oauth`), sealed with the index
/// and readable without opening the value. `Meta::expires_at` holds the end of the access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// The id of the provider.
    pub provider: String,
    /// The server that the tokens are for, if it named who grants them.
    pub server: Option<String>,
    /// Who granted them, if it has a name.
    pub issuer: Option<String>,
    /// The scope that was granted.
    pub scope: Option<String>,
    /// The client's id: where the server issues it, the next sign-in comes with the same one.
    pub client_id: String,
    /// Whose it is.
    pub identity: Identity,
    /// When the access token was asked for.
    pub obtained_at: UnixMs,
    /// True if there is a refresh token.
    pub refreshable: bool,
    /// Set once only a new sign-in can help.
    pub sign_in: Option<SignIn>,
}

/// The metadata as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InfoWire {
    provider: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    scope: Option<String>,
    #[serde(default)]
    client_id: String,
    #[serde(flatten)]
    identity: Identity,
    obtained_at: UnixMs,
    refreshable: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sign_in_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sign_in_since: Option<UnixMs>,
}

impl AccountInfo {
    /// The member of the record's metadata.
    pub const KEY: &'static str = "oauth";

    /// As it stands in the metadata.
    pub fn to_json(&self) -> Value {
        let wire = InfoWire {
            provider: self.provider.clone(),
            server: self.server.clone(),
            issuer: self.issuer.clone(),
            scope: self.scope.clone(),
            client_id: self.client_id.clone(),
            identity: self.identity.clone(),
            obtained_at: self.obtained_at,
            refreshable: self.refreshable,
            sign_in_reason: self.sign_in.map(|s| s.reason.as_str().to_owned()),
            sign_in_since: self.sign_in.map(|s| s.since),
        };
        serde_json::to_value(wire).unwrap_or_default()
    }

    /// Reads what [`AccountInfo::to_json`] made; `None` for anything else. A reason that only a
    /// newer version knows counts as `invalid_grant`: the account still has to sign in.
    pub fn from_json(value: &Value) -> Option<Self> {
        let wire = InfoWire::deserialize(value).ok()?;
        let sign_in = wire.sign_in_reason.map(|reason| SignIn {
            reason: SignInReason::parse(&reason)
                .unwrap_or(SignInReason::Refused(PermanentReason::InvalidGrant)),
            since: wire.sign_in_since.unwrap_or_default(),
        });
        Some(Self {
            provider: wire.provider,
            server: wire.server,
            issuer: wire.issuer,
            scope: wire.scope,
            client_id: wire.client_id,
            identity: wire.identity,
            obtained_at: wire.obtained_at,
            refreshable: wire.refreshable,
            sign_in,
        })
    }
}

#[cfg(test)]
mod tests;
