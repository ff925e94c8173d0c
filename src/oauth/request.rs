//! Requests to an authorization server, ready to be sent, and the answers as they came.
//!
//! Invariant: a body and an `Authorization` header are made in locked memory at their final size.

use super::address::Class;
use super::endpoint::Endpoint;
use crate::secret::SecretValue;
use crate::secret::json::{Part, build, write_object};
use crate::time::UnixMs;
use data_encoding::BASE64;
use std::time::Duration;
use url::form_urlencoded::byte_serialize;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

/// A request, whole.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub url: Endpoint,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<&'static str>,
    /// The value of `Authorization`.
    pub authorization: Option<SecretValue>,
    /// Further headers, such as `x-api-key`.
    pub headers: Vec<(&'static str, SecretValue)>,
    /// The body.
    pub body: Option<SecretValue>,
    /// Set if a server named `url`, not a person: the class of the address at which that server
    /// answered. Then only public addresses are connected to, and those of this class, so that a
    /// server can't lead further inside than it stands itself.
    pub within: Option<Class>,
    /// `Accept: application/json`; GitHub answers in form encoding without it.
    pub accept_json: bool,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body; bounded by who read it.
    pub body: SecretValue,
    /// `Retry-After`, in seconds or as a date, counted from the answer.
    pub retry_after: Option<Duration>,
    /// `Date`: a hint how far the clocks are apart.
    pub date: Option<UnixMs>,
    /// Each `WWW-Authenticate`, as it came; bounded by who read it.
    pub challenges: Vec<String>,
    /// What the address reaches that the answer came from; `None` behind a proxy.
    pub from: Option<Class>,
}

impl HttpAnswer {
    /// An answer whose headers say nothing of interest.
    pub fn new(status: u16, body: SecretValue) -> Self {
        Self {
            status,
            body,
            retry_after: None,
            date: None,
            challenges: Vec::new(),
            from: None,
        }
    }

    /// True for 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text, for the readers of this module.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.body.expose()).ok()
    }
}

/// A parameter of a request body.
#[derive(Clone, Copy)]
pub(super) enum Parameter<'a> {
    Text(&'a str),
    Secret(&'a SecretValue),
}

impl<'a> Parameter<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Parameter::Text(text) => text.as_bytes(),
            Parameter::Secret(value) => value.expose(),
        }
    }
}

impl HttpRequest {
    /// `GET` of a JSON document.
    pub fn get(url: Endpoint) -> Self {
        Self {
            method: Method::Get,
            url,
            content_type: None,
            authorization: None,
            headers: Vec::new(),
            body: None,
            within: None,
            accept_json: true,
        }
    }

    /// The same, to an address that a server named; see [`HttpRequest::within`].
    #[must_use]
    pub fn within(self, class: Class) -> Self {
        Self {
            within: Some(class),
            ..self
        }
    }

    /// `POST` of `application/x-www-form-urlencoded` parameters.
    pub(super) fn form(url: Endpoint, parameters: &[(&str, Parameter<'_>)]) -> Self {
        let body = build(|sink| {
            for (i, (name, value)) in parameters.iter().enumerate() {
                if i > 0 {
                    sink(b"&");
                }
                form_encode(name.as_bytes(), sink);
                sink(b"=");
                form_encode(value.bytes(), sink);
            }
        });
        Self::post(url, "application/x-www-form-urlencoded", body)
    }

    /// `POST` of a JSON object of strings.
    pub(super) fn json(url: Endpoint, parameters: &[(&str, Parameter<'_>)]) -> Self {
        let members: Vec<(&str, Part<'_>)> = parameters
            .iter()
            .map(|(name, value)| match value {
                Parameter::Text(text) => (*name, Part::Text(text)),
                Parameter::Secret(value) => (*name, Part::Secret("", value)),
            })
            .collect();
        let body = build(|sink| write_object(&members, sink));
        Self::post(url, "application/json", body)
    }

    fn post(url: Endpoint, content_type: &'static str, body: SecretValue) -> Self {
        Self {
            method: Method::Post,
            url,
            content_type: Some(content_type),
            authorization: None,
            headers: Vec::new(),
            body: Some(body),
            within: None,
            accept_json: true,
        }
    }
}

/// `Basic` credentials of a client: both parts are form-encoded first (RFC 6749 section 2.3.1).
pub(super) fn basic(id: &str, secret: &SecretValue) -> SecretValue {
    let pair = build(|sink| {
        form_encode(id.as_bytes(), sink);
        sink(b":");
        form_encode(secret.expose(), sink);
    });
    let start = b"Basic ";
    SecretValue::build(start.len() + BASE64.encode_len(pair.len()), |target| {
        let (head, rest) = target.split_at_mut(start.len());
        head.copy_from_slice(start);
        BASE64.encode_mut(pair.expose(), rest);
    })
}

fn form_encode(bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
    for piece in byte_serialize(bytes) {
        sink(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn here() -> Endpoint {
        "https://a.example/token".parse().unwrap()
    }

    #[test]
    fn basic_credentials_are_form_encoded_first() {
        let made = basic("my client", &SecretValue::copy_of(b"a:b%"));
        let plain = BASE64.decode(&made.expose()[6..]).unwrap();
        assert_eq!(plain, b"my+client:a%3Ab%25");
        assert!(made.expose().starts_with(b"Basic "));
    }

    #[test]
    fn an_address_that_a_server_named_is_asked_only_within_its_class() {
        let request = HttpRequest::get(here());
        assert_eq!((request.method, request.within), (Method::Get, None));
        let named = HttpRequest::get(here()).within(Class::Public);
        assert_eq!(named.within, Some(Class::Public));
        assert_eq!((named.url, named.accept_json), (here(), true));
    }

    #[test]
    fn debug_shows_neither_body_nor_authorization() {
        let secret = SecretValue::copy_of(b"canary");
        let mut request = HttpRequest::form(here(), &[("a", Parameter::Secret(&secret))]);
        request.authorization = Some(basic("id", &secret));
        let answer = HttpAnswer::new(200, secret);
        let shown = format!("{request:?} {answer:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("Basic"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn bodies_read_back(name in "[a-z_]{1,9}", value in any::<String>()) {
            let secret = SecretValue::copy_of(value.as_bytes());
            let parameters = [
                (name.as_str(), Parameter::Text(&value)),
                ("secret", Parameter::Secret(&secret)),
            ];
            let form = HttpRequest::form(here(), &parameters).body.unwrap();
            let pairs: Vec<(String, String)> = url::form_urlencoded::parse(form.expose())
                .into_owned()
                .collect();
            let same = vec![(name.clone(), value.clone()), ("secret".into(), value.clone())];
            prop_assert_eq!(pairs, same);
            let json = HttpRequest::json(here(), &parameters[1..]).body.unwrap();
            let json: serde_json::Value = serde_json::from_slice(json.expose()).unwrap();
            prop_assert_eq!(json, serde_json::json!({"secret": value}));
        }
    }
}
