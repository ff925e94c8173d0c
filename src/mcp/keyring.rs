//! The tokens of an MCP server in the keyring, where and as fast-agent keeps them: kept, renewed,
//! revoked.
//!
//! fast-agent keeps tokens and client, not where tokens are renewed: the server is asked for that
//! each time. Invariants: nothing is sent whose answer could not be kept, as far as a trial entry
//! shows; of our programs one renews at a time; a client goes to the issuer that registered it, or,
//! where nobody noted that, to the first that the server names, which is noted before. What the
//! vault promises beyond that (an answer that was lost is found out) a keyring does not. Whether
//! the keyring is the place at all is for the caller to see.

use super::discovery::{Allowed, discover};
use super::servers::McpServer;
use super::sign_in::{Held, PROVIDER};
use crate::error::{Code, Failure};
use crate::net::Http;
use crate::oauth::client::ClientAuth;
use crate::oauth::freshness::{is_alive, is_fresh};
use crate::oauth::kept_client::{KeptClient, read_client, write_client};
use crate::oauth::provider::SecretIn;
use crate::oauth::{
    AccessToken, Account, ClientOf, ClientSecret, Endpoint, Metadata, NamedBy, Refusal, Revoked,
    TokenSet, read_grant, read_revocation, refresh_request, revoke_request,
};
use crate::runtime::service::Revocation;
use crate::secret::SecretValue;
use crate::sys::clock;
use crate::token_store::fast_agent::with_member;
use crate::token_store::{Keyring, TokenStore};
use std::time::Duration;

/// The member of [`TokenSet::metadata`] with the scope that was granted.
const SCOPE: &str = "scope";

/// What a token has to be good for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// How long it must be valid, beside the usual margin.
    pub min_ttl: Duration,
    /// One that the server did not take.
    pub refused: Option<&'a AccessToken>,
}

impl Wanted<'_> {
    fn is_met_by(&self, tokens: &TokenSet) -> bool {
        let (obtained_at, now) = (tokens.obtained_at, clock::now());
        Some(&tokens.access) != self.refused
            && is_fresh(obtained_at, tokens.expires_at, now, None, self.min_ttl)
    }
}

/// Where renewed tokens go that the keyring did not take: it says where they are, in words.
pub type Rescue<'a> = &'a dyn Fn(&Account) -> Result<String, Failure>;

/// Reads a client's secret, which may be in a vault that is not open.
pub type Secret<'a> = &'a dyn Fn() -> Result<Option<ClientSecret>, Failure>;

/// How often tokens are looked at anew that somebody else changed while the server was asked.
const MAX_LOOKS: usize = 3;

/// What a renewal needs.
struct Ready {
    account: Account,
    /// The client's entry that the account was made with.
    document: Option<SecretValue>,
    /// The same with the issuer that nobody had noted.
    bound: Option<SecretValue>,
}

/// What became of a renewal.
enum Looked {
    Renewed(TokenSet),
    /// Newer tokens are elsewhere.
    Elsewhere,
    /// The entries are no longer those that were read.
    Changed,
}

/// A server whose tokens are in the keyring.
#[derive(Clone, Copy)]
pub struct InKeyring<'a> {
    /// The keyring.
    pub store: &'a Keyring,
    /// The network.
    pub http: &'a dyn Http,
    /// The server.
    pub server: &'a McpServer,
    /// Its URL.
    pub url: &'a Endpoint,
    /// What its entries are found by: its URL, or [`Identity::key`](super::Identity::key).
    pub id: &'a str,
    /// Reads the secret of a client that was registered beforehand; asked only if it is needed.
    pub client_secret: Secret<'a>,
    /// True if newer tokens than these are elsewhere by now; asked once nobody else renews.
    pub is_elsewhere: &'a dyn Fn() -> bool,
}

impl InKeyring<'_> {
    /// The scopes that were granted, and by whom; nothing if nobody signed in.
    ///
    /// # Errors
    /// `keyring.*`.
    pub fn held(&self) -> Result<Held, Failure> {
        let Some(held) = self.store.load(self.id)? else {
            return Ok(Held::default());
        };
        let document = self.store.client_info(self.id)?;
        let known = document.and_then(|document| read_client(&document).ok());
        let issuer = known.and_then(|known| known.issuer);
        Ok(Held::of(
            issuer.map(|issuer| issuer.as_str().to_owned()),
            held.metadata.get(SCOPE).map(String::as_str),
        ))
    }

    /// Keeps an account that was signed in.
    ///
    /// # Errors
    /// `keyring.*`: what was there before is there still, as far as the keyring lets that be done.
    pub fn keep(&self, account: &Account) -> Result<(), Failure> {
        let id = self.id;
        let _guard = self.store.refresh_guard(id)?;
        let before = self.store.client_info(id)?;
        let redirect = &self.server.redirect;
        // The secret of the config's client stays where the config says that it is.
        let client = write_client(
            &account.client,
            &redirect.uri(redirect.port),
            account.scope.as_deref(),
            self.server.client_id.is_none(),
        );
        self.store.save_client_info(id, &client)?;
        let saved = self.store.save(id, &tokens_of(account));
        if let (Err(_), Some(before)) = (&saved, before) {
            // The tokens that are there are of the client before. What this fails with is what the
            // save failed with.
            let _ = self.store.save_client_info(id, &before);
        }
        saved
    }

    /// Tokens that are good enough, renewed if need be; `None` if nobody signed in, or newer ones
    /// are elsewhere.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if only a person can help; `keyring.*`, also if tokens were renewed
    /// and not kept there: the text says where they are then; `oauth.*`, `net.denied`.
    pub fn token(
        &self,
        wanted: &Wanted<'_>,
        rescue: Rescue<'_>,
    ) -> Result<Option<TokenSet>, Failure> {
        for _ in 0..MAX_LOOKS {
            let held = match self.store.load(self.id)? {
                Some(held) if !wanted.is_met_by(&held) => held,
                other => return Ok(other),
            };
            let alive = is_alive(held.obtained_at, held.expires_at, clock::now());
            let serves = alive && wanted.refused.is_none();
            let outcome = self.renewed_once(&held, rescue);
            return match outcome {
                // While the renewal fails, the old token serves to its end.
                Err(failure) if failure.code == Code::OAuthUnavailable && serves => Ok(Some(held)),
                Ok(Looked::Changed) => continue,
                Ok(Looked::Elsewhere) => Ok(None),
                Ok(Looked::Renewed(tokens)) => Ok(Some(tokens)),
                Err(failure) => Err(failure),
            };
        }
        let text = format!("the entries of {} change all the time", self.server.label());
        Err(Failure::new(Code::VaultBusy, text))
    }

    /// Renews tokens, unless somebody else changed something while the server was asked.
    fn renewed_once(&self, held: &TokenSet, rescue: Rescue<'_>) -> Result<Looked, Failure> {
        let id = self.id;
        // The server is asked, and perhaps a person: nobody else is made to wait for that.
        let ready = self.ready(held)?;
        let _guard = self.store.refresh_guard(id)?;
        if (self.is_elsewhere)() {
            return Ok(Looked::Elsewhere);
        }
        // Somebody else may have renewed them meanwhile, or signed in: theirs count.
        let same = |now: &TokenSet| now.access == held.access && now.refresh == held.refresh;
        if !self.store.load(id)?.as_ref().is_some_and(same)
            || self.store.client_info(id)? != ready.document
        {
            return Ok(Looked::Changed);
        }
        let renewed = self.renew(&ready)?;
        let Some(renewed) = renewed else {
            // fast-agent takes no lock: it may have been faster with this refresh token.
            let newer = self.store.load(id)?;
            let newer = newer.filter(|newer| newer.access != held.access);
            return newer
                .map(Looked::Renewed)
                .ok_or_else(|| self.sign_in_needed("its refresh token was refused"));
        };
        let tokens = tokens_of(&renewed);
        match self.store.save(id, &tokens) {
            Ok(()) => Ok(Looked::Renewed(tokens)),
            Err(why) => Err(self.not_kept(&renewed, &why, rescue)),
        }
    }

    /// Revokes and forgets the tokens; `None` if there are none.
    ///
    /// # Errors
    /// `keyring.*`: they may still be there.
    pub fn sign_out(&self, local_only: bool) -> Result<Option<Revocation>, Failure> {
        let id = self.id;
        let _guard = self.store.refresh_guard(id)?;
        let Some(held) = self.store.load(id)? else {
            // What is broken, or a client without tokens.
            return Ok(self.store.clear(id)?.then_some(Revocation::Skipped));
        };
        let revocation = match local_only {
            true => Revocation::Skipped,
            false => self.revoke(&held).unwrap_or_else(Revocation::Failed),
        };
        self.store.clear(id)?;
        Ok(Some(revocation))
    }

    fn revoke(&self, held: &TokenSet) -> Result<Revocation, Failure> {
        let account = self.account(held)?;
        let token = match &account.refresh {
            Some(refresh) => Revoked::Refresh(refresh),
            None => Revoked::Access(&account.access),
        };
        let Some(request) = revoke_request(&account.client, token) else {
            return Ok(Revocation::NotOffered);
        };
        let answer = self.http.send(&request)?;
        read_revocation(&answer, account.client.dialect)?;
        Ok(Revocation::Revoked)
    }

    /// All that a renewal needs; nothing is sent yet that could be used up.
    fn ready(&self, held: &TokenSet) -> Result<Ready, Failure> {
        if held.refresh.is_none() {
            return Err(self.sign_in_needed("there is no refresh token"));
        }
        self.store.check_writable()?;
        let document = self.store.client_info(self.id)?;
        let (account, bound) = self.described(held)?;
        Ok(Ready {
            account,
            document,
            bound,
        })
    }

    /// The account after a renewal; `None` if the refresh token was refused for good.
    fn renew(&self, ready: &Ready) -> Result<Option<Account>, Failure> {
        let account = &ready.account;
        let Some(refresh) = &account.refresh else {
            return Err(self.sign_in_needed("there is no refresh token"));
        };
        if let Some(bound) = &ready.bound {
            self.store.save_client_info(self.id, bound)?;
        }
        let now = clock::now();
        let answer = self.http.send(&refresh_request(&account.client, refresh))?;
        match read_grant(&answer, account.client.dialect) {
            Err(Refusal::Permanent(_)) => Ok(None),
            other => Ok(Some(account.renewed(other?, now))),
        }
    }

    /// The account that the entries tell of, with what the server says now. Nothing is written.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if the client is not known; `keyring.*`, `oauth.*`, `net.denied`.
    pub fn account(&self, held: &TokenSet) -> Result<Account, Failure> {
        self.described(held).map(|(account, _)| account)
    }

    /// [`Self::account()`]; and the client's entry with the issuer in it if that was not noted,
    /// which is to be saved, by who holds the lock, before anything is sent.
    fn described(&self, held: &TokenSet) -> Result<(Account, Option<SecretValue>), Failure> {
        let id = self.id;
        let document = self.store.client_info(id)?;
        let known = document.as_ref().map(read_client).transpose()?;
        let mut server = self.server.clone();
        // Whoever granted the tokens, whatever the config says of its client.
        let granter = known.as_ref().and_then(|known| known.issuer.clone());
        if server.client_issuer.is_none() {
            server.client_issuer = granter.clone();
        }
        let allowed = Allowed {
            // Who renews was allowed to sign in.
            old_servers: true,
            unsaid_pkce: true,
        };
        let ground = discover(self.http, &server, self.url, None, allowed)?;
        let granted_by = &ground.metadata.issuer;
        if let Some(granter) = granter.or(server.client_issuer)
            && !granter.is(granted_by.as_str())
        {
            let text = format!("its tokens are of {granter}, and they would go to {granted_by}");
            return Err(self.sign_in_needed(&text));
        }
        let client = self.client(known.as_ref(), &ground.metadata)?;
        let bound = match (&document, &known) {
            (Some(document), Some(KeptClient { issuer: None, .. })) => {
                with_member(document, "issuer", granted_by.as_str())
            }
            _ => None,
        };
        let account = Account {
            client: ClientOf {
                resource: Some(ground.resource),
                named_by: Some(NamedBy {
                    url: self.url.clone(),
                    class: ground.class,
                }),
                ..client
            },
            access: held.access.clone(),
            refresh: held.refresh.clone(),
            id_token: None,
            scope: held.metadata.get(SCOPE).cloned(),
            token_type: "Bearer".to_owned(),
            obtained_at: held.obtained_at,
            expires_at: held.expires_at,
            identity: Default::default(),
            account_id_claim: None,
            // fast-agent may send it as well.
            owned: false,
        };
        Ok((account, bound))
    }

    /// The client of the config, else the one that is kept.
    fn client(&self, known: Option<&KeptClient>, metadata: &Metadata) -> Result<ClientOf, Failure> {
        let (client_id, auth) = match (&self.server.client_id, known) {
            (Some(id), _) => {
                let auth = match ((self.client_secret)()?, metadata.secret_in) {
                    (None, _) => ClientAuth::None,
                    (Some(secret), Some(SecretIn::Post)) => ClientAuth::Post(secret),
                    (Some(secret), _) => ClientAuth::Basic(secret),
                };
                (id.clone(), auth)
            }
            (None, Some(known)) => {
                let registered = known.registered.clone();
                (registered.client_id, registered.auth)
            }
            (None, None) => return Err(self.sign_in_needed("the client's entry is gone")),
        };
        let no_endpoint = || {
            let text = format!("{} names no token endpoint", metadata.issuer);
            Failure::new(Code::OAuthInvalid, text)
        };
        let token = metadata.token.clone().ok_or_else(no_endpoint)?;
        Ok(ClientOf {
            issuer: Some(metadata.issuer.as_str().to_owned()),
            revocation_endpoint: metadata.revocation.clone(),
            auth,
            ..ClientOf::public(PROVIDER, token, &client_id)
        })
    }

    /// The old refresh token may be used up: these tokens are the only ones there are.
    fn not_kept(&self, account: &Account, why: &Failure, rescue: Rescue<'_>) -> Failure {
        let label = self.server.label();
        let lost = format!(
            "the tokens of {label} were renewed, and the keyring did not take the new ones ({})",
            why.message
        );
        let text = match rescue(account) {
            Ok(place) => format!("{lost}; they are {place}"),
            Err(other) => format!(
                "{lost}, nor did the vault ({}): sign in again",
                other.message
            ),
        };
        Failure::new(why.code, text)
    }

    fn sign_in_needed(&self, why: &str) -> Failure {
        let text = format!(
            "{}: {why}; somebody has to sign in again",
            self.server.label()
        );
        Failure::new(Code::OAuthSignIn, text)
    }
}

/// What the keyring keeps of an account.
fn tokens_of(account: &Account) -> TokenSet {
    let scope = account.scope.clone();
    TokenSet {
        access: account.access.clone(),
        refresh: account.refresh.clone(),
        id_token: None,
        obtained_at: account.obtained_at,
        expires_at: account.expires_at,
        metadata: scope.map(|s| (SCOPE.to_owned(), s)).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
