//! What a provider's own flow has to do, and the token sets that flows give and stores keep.
//!
//! The interfaces for authors of agent runtimes: a provider that is not data, such as one whose
//! sign-in is its own protocol, implements [`OAuthFlow`]; `token_store::TokenStore` keeps what it
//! gives; `credentials::Credentials` puts both together.

use super::freshness::is_fresh;
use super::{AccessToken, IdToken, RefreshToken};
use crate::error::Failure;
use crate::time::UnixMs;
use std::collections::BTreeMap;
use std::time::Duration;

/// The tokens of one account, as a flow gives them and a store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    /// What an API is asked with.
    pub access: AccessToken,
    /// What the next access token is asked with.
    pub refresh: Option<RefreshToken>,
    /// Who signed in, as a JWT.
    pub id_token: Option<IdToken>,
    /// When the access token was asked for.
    pub obtained_at: UnixMs,
    /// When the access token ends; `None`: unknown, so it is used until it is refused.
    pub expires_at: Option<UnixMs>,
    /// What else the flow wants to know next time; no secrets.
    pub metadata: BTreeMap<String, String>,
}

/// One provider's way to get tokens and to renew them.
///
/// Both calls may block; [`OAuthFlow::refresh`] is called by one thread at a time for one account.
/// What they return is kept before anyone uses it.
pub trait OAuthFlow: Send + Sync {
    /// The id under which a store keeps the tokens, such as `acme`.
    fn provider_id(&self) -> &str;

    /// Signs in: shows whatever the person needs, waits, and returns the first token set.
    ///
    /// # Errors
    /// `oauth.denied`, `oauth.timeout`, `oauth.unavailable`, whatever fits.
    fn authenticate(&self) -> Result<TokenSet, Failure>;

    /// Renews a token set. What the server does not send anew (a refresh token that stays, the
    /// metadata) is taken over from `tokens`.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if the refresh token is refused for good, `oauth.unavailable` if
    /// trying again later can help.
    fn refresh(&self, tokens: &TokenSet) -> Result<TokenSet, Failure>;

    /// True while the access token is good for longer than the margin: five minutes, at most a
    /// tenth of its lifetime.
    fn is_valid(&self, tokens: &TokenSet, now: UnixMs) -> bool {
        is_fresh(
            tokens.obtained_at,
            tokens.expires_at,
            now,
            None,
            Duration::ZERO,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;

    /// A flow that is asked nothing but whether tokens are good.
    struct Silent;

    impl OAuthFlow for Silent {
        fn provider_id(&self) -> &str {
            "acme"
        }

        fn authenticate(&self) -> Result<TokenSet, Failure> {
            unreachable!()
        }

        fn refresh(&self, _: &TokenSet) -> Result<TokenSet, Failure> {
            unreachable!()
        }
    }

    #[test]
    fn tokens_are_good_until_the_margin_unless_a_flow_knows_better() {
        let minutes = |minutes: u64| UnixMs(minutes * 60_000);
        let tokens = TokenSet {
            access: SecretValue::copy_of(b"t").into(),
            refresh: None,
            id_token: None,
            obtained_at: minutes(0),
            expires_at: Some(minutes(60)),
            metadata: BTreeMap::new(),
        };
        assert_eq!(Silent.provider_id(), "acme");
        let valid = |now| Silent.is_valid(&tokens, minutes(now));
        assert_eq!(
            [valid(0), valid(54), valid(55), valid(61)],
            [true, true, false, false]
        );
    }
}
