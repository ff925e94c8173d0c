//! The secrets of OAuth, a type for each meaning: one can't stand where another belongs.

use crate::secret::SecretValue;
use crate::secret::json::build;

/// The longest token, code or client secret in bytes.
pub const MAX_TOKEN: usize = 64 * 1024;

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// `Debug` shows no content and equality takes constant time, as of any [`SecretValue`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(SecretValue);

        impl $name {
            /// The value.
            pub fn secret(&self) -> &SecretValue {
                &self.0
            }
        }

        impl From<SecretValue> for $name {
            fn from(value: SecretValue) -> Self {
                Self(value)
            }
        }
    )*};
}

secrets! {
    /// An access token (RFC 6749 section 1.4): what an API is asked with.
    AccessToken;
    /// A refresh token (RFC 6749 section 1.5): sent to the token endpoint, at most once if it
    /// rotates.
    RefreshToken;
    /// An ID token (OpenID Connect Core section 2): a JWT that says who signed in.
    IdToken;
    /// The secret of a confidential client (RFC 6749 section 2.3.1).
    ClientSecret;
    /// An authorization code (RFC 6749 section 4.1.2): redeemed once.
    AuthorizationCode;
    /// A device code (RFC 8628 section 3.2), or OpenAI's `device_auth_id`.
    DeviceCode;
}

impl AccessToken {
    /// The value of `Authorization` (RFC 6750 section 2.1).
    pub(crate) fn bearer(&self) -> SecretValue {
        build(|sink| {
            sink(b"Bearer ");
            sink(self.0.expose());
        })
    }
}

/// True for what may be a token: 1 to [`MAX_TOKEN`] printable ASCII characters (RFC 6749
/// appendix A). A line end in a token could end a header.
pub(crate) fn is_token(value: &SecretValue) -> bool {
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    (1..=MAX_TOKEN).contains(&value.len()) && value.expose().iter().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_printable_and_bounded() {
        let is = |text: &str| is_token(&SecretValue::copy_of(text.as_bytes()));
        assert!(is("a") && is("sk-ant ~"));
        assert!(is(&"a".repeat(MAX_TOKEN)));
        assert!(!is("") && !is("a\r\nb") && !is("ä") && !is("a\x7f"));
        assert!(!is(&"a".repeat(MAX_TOKEN + 1)));
    }

    #[test]
    fn debug_shows_no_token() {
        let token = AccessToken::from(SecretValue::copy_of(b"canary"));
        assert_eq!(format!("{token:?}"), "AccessToken(SecretValue([redacted]))");
    }
}
