//! The random values of one sign-in: PKCE's verifier and challenge, state, nonce.
//!
//! Invariants: each has 256 random bits of its own (a state that is the verifier would show it to
//! the front channel); a verifier is not `Clone` and is given away to be redeemed, so that no code
//! is redeemed twice with it.

use super::tokens::is_token;
use crate::crypto::hash::{equal, sha256};
use crate::crypto::{Random, bleach};
use crate::secret::SecretValue;
use data_encoding::BASE64URL_NOPAD;
use std::fmt;

/// Random bytes of each value.
const RANDOM_LEN: usize = 32;

/// PKCE's `code_verifier` (RFC 7636 section 4.1): 43 characters.
#[derive(Debug)]
pub struct Verifier(SecretValue);

impl Verifier {
    /// Makes one from 32 random bytes.
    pub fn make(rng: &mut dyn Random) -> Self {
        let raw = SecretValue::build(RANDOM_LEN, |bytes| rng.fill(bytes));
        let len = BASE64URL_NOPAD.encode_len(RANDOM_LEN);
        Self(SecretValue::build(len, |text| {
            BASE64URL_NOPAD.encode_mut(raw.expose(), text);
        }))
    }

    /// The verifier that a server made itself (OpenAI's device flow); `None` if it can't be one.
    pub(super) fn from_server(value: SecretValue) -> Option<Self> {
        (is_token(&value) && value.len() <= MAX_VERIFIER).then_some(Self(value))
    }

    /// Its challenge, method S256 (RFC 7636 section 4.2).
    pub fn challenge(&self) -> Challenge {
        let digest = sha256(&[self.0.expose()]);
        bleach();
        Challenge(BASE64URL_NOPAD.encode(&digest))
    }

    /// The value, to be redeemed.
    pub(super) fn secret(&self) -> &SecretValue {
        &self.0
    }
}

/// The longest verifier in characters (RFC 7636 section 4.1).
pub const MAX_VERIFIER: usize = 128;

/// PKCE's `code_challenge`: public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// As it stands in the request.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// It goes through the browser, but `Debug` does not show it.
        #[derive(Clone)]
        pub struct $name(String);

        impl $name {
            /// Makes one from 32 random bytes.
            pub fn make(rng: &mut dyn Random) -> Self {
                let bytes: [u8; RANDOM_LEN] = crate::crypto::make_bytes(rng);
                Self(BASE64URL_NOPAD.encode(&bytes))
            }

            /// As it stands in the request.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// True if this is what came back; in constant time.
            pub fn is(&self, text: &str) -> bool {
                equal(self.0.as_bytes(), text.as_bytes())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}

marks! {
    /// `state` (RFC 6749 section 10.12): ties an answer of the browser to the flow that asked.
    State;
    /// `nonce` (OpenID Connect Core section 3.1.2.1): ties an ID token to the flow that asked.
    Nonce;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // RFC 7636 appendix B.
        let octets = [
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212,
            37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
        ];
        let mut rng = |bytes: &mut [u8]| bytes.copy_from_slice(&octets);
        let verifier = Verifier::make(&mut rng);
        let expected = b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(verifier.secret().expose(), expected);
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(verifier.challenge().as_str(), challenge);
    }

    #[test]
    fn marks_are_compared_whole_and_not_shown() {
        let state = State::make(&mut |bytes: &mut [u8]| bytes.fill(7));
        assert_eq!(state.as_str().len(), 43);
        assert!(state.is(state.as_str()));
        assert!(!state.is("") && !state.is(&state.as_str()[..42]));
        assert_eq!(format!("{state:?}"), "State([redacted])");
    }

    #[test]
    fn a_verifier_of_a_server_is_bounded() {
        let of = |len: usize| Verifier::from_server(SecretValue::copy_of(&vec![b'v'; len]));
        assert!(of(1).is_some() && of(MAX_VERIFIER).is_some());
        assert!(of(0).is_none() && of(MAX_VERIFIER + 1).is_none());
        assert!(Verifier::from_server(SecretValue::copy_of(b"a\nb")).is_none());
    }
}
