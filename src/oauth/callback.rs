//! What comes back from the browser, taken apart: a query, a pasted URL, or a pasted `code#state`.
//!
//! Invariant: nothing here is believed yet; [`super::authorize`] checks it. A parameter that stands
//! there twice is refused (RFC 6749 section 3.1): two readers could see two answers.

use super::refusal::known;
use super::tokens::{AuthorizationCode, is_token};
use crate::secret::SecretValue;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The longest callback in bytes: a query, or what a person pastes.
pub const MAX_CALLBACK: usize = 16 * 1024;
/// The most parameters.
pub const MAX_PARAMETERS: usize = 32;
/// The longest description of an error that is shown, in characters.
pub const MAX_DESCRIPTION: usize = 200;

/// Why a text is no callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Over [`MAX_CALLBACK`] or [`MAX_PARAMETERS`], or not UTF-8.
    #[error("it is too long, or not text")]
    TooLarge,
    /// A URL that leads elsewhere.
    #[error("it is not the address that the sign-in comes back to")]
    OtherAddress,
    /// A code without the state that ties it to this sign-in.
    #[error("the state is missing: paste the whole address, or CODE#STATE")]
    NoState,
    /// A parameter twice.
    #[error("it names {0} twice")]
    Twice(&'static str),
    /// Neither a code nor an error.
    #[error("it holds neither a code nor an error")]
    Empty,
    /// The state is another one.
    #[error("it belongs to another sign-in (its state is not ours)")]
    OtherState,
    /// The answer comes from another issuer, or does not say from which (RFC 9207).
    #[error("it does not come from the server that was asked (its issuer is not the expected one)")]
    OtherIssuer,
    /// A client id where none may change, or none where one must come.
    #[error("its client id is not acceptable")]
    ClientId,
}

/// The parameters of a callback that we know.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) code: Option<AuthorizationCode>,
    pub(super) state: Zeroizing<String>,
    pub(super) iss: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) error: Option<SaidNo>,
}

/// What an authorization server says instead of a code (RFC 6749 section 4.1.2.1), sanitised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidNo {
    /// The code, if it is one of the standards'.
    pub code: Option<&'static str>,
    /// True for `access_denied`: the person said no.
    pub denied: bool,
    /// What the server says about it: printable ASCII, at most [`MAX_DESCRIPTION`] characters.
    pub description: Option<String>,
}

impl Callback {
    /// Reads a query, without its question mark.
    pub(super) fn from_query(query: &SecretValue) -> Result<Self, CallbackError> {
        Self::parse(text(query)?)
    }

    /// Reads what a person pasted: the whole URL, its query, or `CODE#STATE`. `redirect_uri` is
    /// where a URL has to lead.
    pub(super) fn from_paste(
        pasted: &SecretValue,
        redirect_uri: &str,
    ) -> Result<Self, CallbackError> {
        let text = text(pasted)?.trim();
        if text.contains("://") {
            // A browser may keep a fragment at the end of the address bar.
            let text = text.split('#').next().unwrap_or(text);
            let (address, query) = text.split_once('?').unwrap_or((text, ""));
            if address != redirect_uri {
                return Err(CallbackError::OtherAddress);
            }
            return Self::parse(query);
        }
        let query = text.strip_prefix('?').unwrap_or(text);
        if query.contains('=') && !query.contains('#') {
            return Self::parse(query);
        }
        let (code, state) = text.split_once('#').ok_or(CallbackError::NoState)?;
        let code = SecretValue::copy_of(code.as_bytes());
        if state.is_empty() {
            return Err(CallbackError::NoState);
        }
        if !is_token(&code) {
            return Err(CallbackError::Empty);
        }
        Ok(Self {
            code: Some(code.into()),
            state: Zeroizing::new(state.to_owned()),
            iss: None,
            client_id: None,
            error: None,
        })
    }

    fn parse(query: &str) -> Result<Self, CallbackError> {
        if query.split('&').count() > MAX_PARAMETERS {
            return Err(CallbackError::TooLarge);
        }
        const NAMES: [&str; 6] = [
            "code",
            "state",
            "iss",
            "client_id",
            "error",
            "error_description",
        ];
        let mut found: [Option<Zeroizing<String>>; 6] = Default::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let Some(place) = NAMES.iter().position(|known| *known == name) else {
                continue;
            };
            let twice = found[place].replace(owned(value)).is_some();
            if twice {
                return Err(CallbackError::Twice(NAMES[place]));
            }
        }
        let [code, state, iss, client_id, error, description] = found;
        let code = code
            .map(|code| SecretValue::copy_of(code.as_bytes()))
            .filter(is_token);
        if code.is_none() && error.is_none() {
            return Err(CallbackError::Empty);
        }
        Ok(Self {
            code: code.map(AuthorizationCode::from),
            state: state.ok_or(CallbackError::NoState)?,
            iss: iss.map(|iss| iss.to_string()),
            client_id: client_id.map(|id| id.to_string()),
            error: error.map(|code| SaidNo {
                code: named(&code),
                denied: code.as_str() == "access_denied",
                description: description.and_then(|text| sanitised(&text)),
            }),
        })
    }
}

fn text(value: &SecretValue) -> Result<&str, CallbackError> {
    if value.len() > MAX_CALLBACK {
        return Err(CallbackError::TooLarge);
    }
    std::str::from_utf8(value.expose()).map_err(|_| CallbackError::TooLarge)
}

fn owned(value: Cow<'_, str>) -> Zeroizing<String> {
    Zeroizing::new(value.into_owned())
}

fn named(code: &str) -> Option<&'static str> {
    match code {
        "access_denied" => Some("access_denied"),
        "server_error" => Some("server_error"),
        "temporarily_unavailable" => Some("temporarily_unavailable"),
        other => known(other),
    }
}

/// The printable ASCII of a text, bounded: a terminal shows it, so nothing may steer it.
fn sanitised(text: &str) -> Option<String> {
    let printable = text.chars().filter(|c| (' '..='~').contains(c));
    let kept: String = printable.take(MAX_DESCRIPTION).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REDIRECT: &str = "http://localhost:1455/auth/callback";

    fn query(text: &str) -> Result<Callback, CallbackError> {
        Callback::from_query(&SecretValue::copy_of(text.as_bytes()))
    }

    fn paste(text: &str) -> Result<Callback, CallbackError> {
        Callback::from_paste(&SecretValue::copy_of(text.as_bytes()), REDIRECT)
    }

    fn code(callback: &Callback) -> &[u8] {
        callback.code.as_ref().unwrap().secret().expose()
    }

    #[test]
    fn every_form_of_an_answer() {
        for text in [
            "http://localhost:1455/auth/callback?code=c%2F1&state=s%3D",
            " http://localhost:1455/auth/callback?state=s%3D&code=c%2F1&x=y#top\n",
            "code=c%2F1&state=s%3D",
            "?state=s%3D&code=c%2F1",
            "c/1#s=",
        ] {
            let read = paste(text).unwrap();
            assert_eq!(code(&read), b"c/1", "{text}");
            assert_eq!(read.state.as_str(), "s=", "{text}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        let no = |text: &str| paste(text).unwrap_err();
        for text in [
            "http://127.0.0.1:1455/auth/callback?code=c&state=s",
            "http://localhost:1455/auth/callback/?code=c&state=s",
            "https://localhost:1455/auth/callback?code=c&state=s",
            "https://evil.example/?u=http://localhost:1455/auth/callback?code=c&state=s",
        ] {
            assert_eq!(no(text), CallbackError::OtherAddress, "{text}");
        }
        assert_eq!(no("just-a-code"), CallbackError::NoState);
        assert_eq!(no("code#"), CallbackError::NoState);
        assert_eq!(no("code=c"), CallbackError::NoState);
        assert_eq!(no("#s"), CallbackError::Empty);
        assert_eq!(no("state=s"), CallbackError::Empty);
        assert_eq!(no("code=&state=s"), CallbackError::Empty);
        assert_eq!(
            no(&format!("{REDIRECT}#code=c&state=s")),
            CallbackError::Empty
        );
        assert_eq!(no("code=a&code=b&state=s"), CallbackError::Twice("code"));
        assert_eq!(
            no("code=a&state=s&st%61te=s"),
            CallbackError::Twice("state")
        );
        assert_eq!(no(""), CallbackError::NoState);
    }

    #[test]
    fn sizes_are_bounded() {
        let parameters = |count: usize| format!("code=c&state=s{}", "&x=1".repeat(count - 2));
        assert!(query(&parameters(MAX_PARAMETERS)).is_ok());
        let many = query(&parameters(MAX_PARAMETERS + 1)).unwrap_err();
        assert_eq!(many, CallbackError::TooLarge);
        let long = |len: usize| format!("state=s&code={}", "c".repeat(len - 13));
        assert!(query(&long(16_384)).is_ok());
        assert_eq!(query(&long(16_385)).unwrap_err(), CallbackError::TooLarge);
        let bytes = SecretValue::copy_of(b"\xff");
        assert_eq!(
            Callback::from_query(&bytes).unwrap_err(),
            CallbackError::TooLarge
        );
    }

    #[test]
    fn errors_are_sanitised() {
        let read = query("error=access_denied&error_description=%1b[31mNo%0a%C3%A4!&state=s");
        let error = read.unwrap().error.unwrap();
        assert_eq!(error.code, Some("access_denied"));
        assert!(error.denied);
        assert_eq!(error.description.as_deref(), Some("[31mNo!"));
        let unknown = query("error=canary&state=s").unwrap().error.unwrap();
        let expected = SaidNo {
            code: None,
            denied: false,
            description: None,
        };
        assert_eq!(unknown, expected);
        let long = format!("error=x&state=s&error_description={}", "d".repeat(500));
        let long = query(&long).unwrap().error.unwrap().description.unwrap();
        assert_eq!(long.len(), MAX_DESCRIPTION);
    }

    proptest! {
        #[test]
        fn any_code_and_state_come_back(code_text in "[ -~]{1,30}", state in "[ -~]{1,30}") {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("code", &code_text)
                .append_pair("state", &state)
                .finish();
            for text in [query.clone(), format!("?{query}"), format!("{REDIRECT}?{query}")] {
                let read = paste(&text).unwrap();
                prop_assert_eq!(code(&read), code_text.as_bytes());
                prop_assert_eq!(read.state.as_str(), state.as_str());
            }
        }
    }
}
