//! What the tests of several flows share: a provider, its server, answers, tokens.

use super::client::Dialect;
use super::provider::{FlowKind, Provider};
use super::request::{HttpAnswer, HttpRequest};
use super::server::{Endpoints, Server};
use crate::secret::SecretValue;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

pub(super) fn answer(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer::new(status, secret(body))
}

pub(super) fn jwt(payload: &Value) -> String {
    let payload = BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
    format!("e30.{payload}.c2ln")
}

/// Randomness that never repeats.
pub(super) fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0u8;
    move |bytes: &mut [u8]| {
        next += 1;
        bytes.fill(next);
    }
}

/// A provider with every endpoint given.
pub(super) fn acme() -> Provider {
    let at = |path: &str| format!("https://acme.example{path}").parse().ok();
    Provider {
        issuer: "https://acme.example".parse().ok(),
        authorization_endpoint: at("/auth?tenant=1"),
        token_endpoint: at("/token"),
        device_authorization_endpoint: at("/device"),
        client_id: Some("client".to_owned()),
        flows: vec![FlowKind::Pkce, FlowKind::Device],
        scopes: vec!["a".to_owned(), "b".to_owned()],
        ..Provider::empty("acme")
    }
}

/// A provider of OpenAI's dialect, or of its earlier form.
pub(super) fn openai(dialect: Dialect) -> Provider {
    Provider {
        issuer: "http://127.0.0.1:9".parse().ok(),
        client_id: Some("app".to_owned()),
        flows: vec![FlowKind::Pkce, FlowKind::Device],
        dialect,
        ..Provider::empty("openai-like")
    }
}

/// The server of a provider that needs no discovery.
pub(super) fn server(provider: &Provider, flow: FlowKind) -> Server {
    match provider.endpoints(flow).unwrap() {
        Endpoints::Known(server) => *server,
        Endpoints::Discover(_) => panic!("its endpoints are not known"),
    }
}

/// The parameters of a URL.
pub(super) fn query(url: &str) -> BTreeMap<String, String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().into_owned().collect()
}

/// The parameters of a form.
pub(super) fn form(request: &HttpRequest) -> BTreeMap<String, String> {
    let body = request.body.as_ref().unwrap();
    url::form_urlencoded::parse(body.expose())
        .into_owned()
        .collect()
}

/// The members of a JSON body.
pub(super) fn json(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.body.as_ref().unwrap().expose()).unwrap()
}
