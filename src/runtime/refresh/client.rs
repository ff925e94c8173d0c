//! The client as the config has it now: for a server that does not accept the one in the record.

use super::{Runtime, Want};
use crate::oauth::provider::SecretIn;
use crate::oauth::{Account, ClientAuth, ClientOf, ClientSecret};
use crate::secret::SecretValue;

impl Runtime {
    /// The client of an account with the secret that the config points at now; `None` if that is
    /// what the record holds, or if the config means another client by now: a refresh token belongs
    /// to the client that it was issued to, and a secret to the server that it was made for.
    pub(super) fn client_now(&self, account: &Account) -> Option<ClientOf> {
        let old = &account.client;
        let ground = self.ground().ok()?;
        let provider = ground.config.oauth_provider(&old.provider)?;
        let issuer = provider.issuer.as_ref().map(|issuer| issuer.as_str());
        let same_server = match (issuer, &provider.token_endpoint) {
            (_, Some(endpoint)) => *endpoint == old.token_endpoint,
            (Some(issuer), None) => Some(issuer) == old.issuer.as_deref(),
            (None, None) => false,
        };
        if !same_server || provider.client_id.as_ref() != Some(&old.client_id) {
            return None;
        }
        let reference = provider.client_secret?;
        let outcomes = self.resolve_with(&ground.config, [reference.clone()], Want::ANY);
        let secret: SecretValue = outcomes.ok()?.remove(&reference)?.ok()?;
        let secret = ClientSecret::from(secret);
        let in_body = match (provider.client_secret_in, &old.auth) {
            (Some(place), _) => place == SecretIn::Post,
            (None, auth) => matches!(auth, ClientAuth::Post(_)),
        };
        let auth = if in_body {
            ClientAuth::Post(secret)
        } else {
            ClientAuth::Basic(secret)
        };
        let client = ClientOf {
            auth,
            ..old.clone()
        };
        Some(client).filter(|client| client != old)
    }
}
