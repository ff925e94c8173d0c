//! The client as the config has it now: for a server that does not accept the one in the record.

use super::{Runtime, Want};
use crate::oauth::provider::{Provider, SecretIn};
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
        if !is_its_server(&provider, old) || provider.client_id.as_ref() != Some(&old.client_id) {
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

/// True if a client's endpoint is the one that the config means. What a record says of itself is no
/// proof: whoever may write a record could name the config's issuer and an endpoint of his own, and
/// be sent the secret. So without an endpoint in the config it must be the issuer's own server.
fn is_its_server(provider: &Provider, client: &ClientOf) -> bool {
    match (&provider.issuer, &provider.token_endpoint) {
        (_, Some(endpoint)) => *endpoint == client.token_endpoint,
        (Some(issuer), None) => {
            client.issuer.as_deref() == Some(issuer.as_str())
                && client.token_endpoint.same_origin(issuer.url())
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_the_config_goes_to_no_server_that_only_a_record_names() {
        let mut provider = Provider::empty("acme");
        let client = |issuer: &str, endpoint: &str| ClientOf {
            issuer: Some(issuer.to_owned()),
            ..ClientOf::public("acme", endpoint.parse().unwrap(), "id")
        };
        let own = client("https://acme.example", "https://acme.example/token");
        let forged = client("https://acme.example", "https://evil.example/token");
        let other = client("https://evil.example", "https://evil.example/token");
        assert!(!is_its_server(&provider, &own));
        provider.set_issuer("https://acme.example".parse().unwrap());
        assert!(is_its_server(&provider, &own));
        assert!(!is_its_server(&provider, &forged));
        assert!(!is_its_server(&provider, &other));
        // An endpoint elsewhere counts if the config names it.
        provider.token_endpoint = Some(forged.token_endpoint.clone());
        assert!(is_its_server(&provider, &forged));
        assert!(!is_its_server(&provider, &own));
    }
}
