//! `oauth.providers.<id>`: who grants tokens, over what is built in under the same id.
//!
//! Strict: an unknown key is an error that names it. A project's config sets `env` and nothing
//! else: whoever moves an endpoint gets the tokens.

use super::Trust;
use super::wire::Fields;
use crate::oauth::claims::MAX_CLAIM_PATH;
use crate::oauth::client::{Dialect, TokenFormat};
use crate::oauth::provider::{
    DynamicClient, FlowKind, MAX_EXTRA, MAX_FALLBACK_PORTS, MAX_PARAMETER, MAX_REFRESH_MARGIN,
    MAX_SCOPES, ProfileIdFrom, Provider, Redirect, RedirectHost, SecretIn, is_extra, is_scope,
};
use crate::oauth::{Endpoint, builtin};
use crate::reference::{Defaults, SecretInput, SecretRef};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

const KEYS: &[&str] = &[
    "label",
    "issuer",
    "authorizationEndpoint",
    "tokenEndpoint",
    "deviceAuthorizationEndpoint",
    "revocationEndpoint",
    "clientId",
    "clientSecretRef",
    "clientSecretIn",
    "dynamicClient",
    "flows",
    "dialect",
    "tokenFormat",
    "revocationFormat",
    "scopes",
    "requiredScopes",
    "resource",
    "audience",
    "redirect",
    "extraAuthorizeParams",
    "extraTokenParams",
    "accountIdClaim",
    "profileIdFrom",
    "env",
    "refreshMarginMs",
];

/// Reads one entry; every error is noted.
pub(super) fn provider(
    fields: &Fields<'_>,
    id: &str,
    trust: Trust,
    defaults: &Defaults,
) -> Provider {
    let mut provider = builtin::get(id).unwrap_or_else(|| Provider::empty(id));
    if fields.value("clientSecret").is_some() {
        fields.fail("clientSecret", "would be plaintext; use clientSecretRef");
    } else {
        fields.only(KEYS);
    }
    if trust == Trust::Project {
        for (key, _) in fields.entries().filter(|(key, _)| *key != "env") {
            fields.fail(key, "is not allowed in a project's config");
        }
        return provider;
    }
    server(fields, &mut provider);
    client(fields, &mut provider, defaults);
    request(fields, &mut provider);
    account(fields, &mut provider);
    let flows = fields.texts("flows", FlowKind::ALL.len(), &flow_names(), |text| {
        FlowKind::parse(text).is_some()
    });
    match flows {
        Some(flows) => provider.flows = flows.iter().filter_map(|f| FlowKind::parse(f)).collect(),
        None if provider.flows.is_empty() => provider.flows = provider.implied_flows(),
        None => {}
    }
    for (key, problem) in provider.missing() {
        // What is there and wrong has been reported.
        if fields.value(key).is_none() {
            fields.fail(key, problem);
        }
    }
    provider
}

fn flow_names() -> String {
    format!("one of {}", FlowKind::ALL.map(FlowKind::as_str).join(", "))
}

/// Where it is.
fn server(fields: &Fields<'_>, provider: &mut Provider) {
    if let Some(issuer) = parsed(fields, "issuer") {
        provider.set_issuer(issuer);
    }
    let places = [
        (
            "authorizationEndpoint",
            &mut provider.authorization_endpoint,
        ),
        ("tokenEndpoint", &mut provider.token_endpoint),
        (
            "deviceAuthorizationEndpoint",
            &mut provider.device_authorization_endpoint,
        ),
        ("revocationEndpoint", &mut provider.revocation_endpoint),
    ];
    for (key, place) in places {
        set_some(place, parsed::<Endpoint>(fields, key));
    }
    set(
        &mut provider.dialect,
        one_of(fields, "dialect", &Dialect::ALL, Dialect::as_str),
    );
    set(&mut provider.token_format, format(fields, "tokenFormat"));
    set(
        &mut provider.revocation_format,
        format(fields, "revocationFormat"),
    );
}

/// Who asks.
fn client(fields: &Fields<'_>, provider: &mut Provider, defaults: &Defaults) {
    if let Some(id) = parameter(fields, "clientId") {
        // What is built in says how to get, or what to think of, the id that it replaces.
        if provider.client_id.as_deref() != Some(&id) {
            provider.dynamic_client = None;
            provider.notice = None;
        }
        provider.client_id = Some(id);
    }
    if let Some(dynamic) = fields.object("dynamicClient") {
        dynamic.only(&["firstParams", "installIdParam"]);
        let install_id_param = dynamic.text("installIdParam").map(str::to_owned);
        if install_id_param
            .as_ref()
            .is_some_and(|name| !is_extra(name))
        {
            dynamic.fail("installIdParam", "is not the name of an extra parameter");
        }
        provider.dynamic_client = Some(DynamicClient {
            first_params: extra(&dynamic, "firstParams").unwrap_or_default(),
            install_id_param,
        });
    }
    set_some(
        &mut provider.client_secret,
        secret_ref(fields, "clientSecretRef", defaults),
    );
    set_some(
        &mut provider.client_secret_in,
        one_of(fields, "clientSecretIn", &SecretIn::ALL, SecretIn::as_str),
    );
}

/// What is asked.
fn request(fields: &Fields<'_>, provider: &mut Provider) {
    for (key, place) in [
        ("scopes", &mut provider.scopes),
        ("requiredScopes", &mut provider.required_scopes),
    ] {
        set(place, fields.texts(key, MAX_SCOPES, "a scope", is_scope));
    }
    if let Some(resource) = parsed::<Endpoint>(fields, "resource") {
        // As written: a server compares it as text.
        let written = fields.text("resource").map(str::to_owned);
        provider.resource = written.or_else(|| Some(resource.as_str().to_owned()));
    }
    set_some(&mut provider.audience, parameter(fields, "audience"));
    set(
        &mut provider.extra_authorize,
        extra(fields, "extraAuthorizeParams"),
    );
    set(&mut provider.extra_token, extra(fields, "extraTokenParams"));
    if let Some(fields) = fields.object("redirect") {
        redirect(&fields, &mut provider.redirect);
    }
}

/// Each given key overrides; but with another port of one's own, the built-in fallbacks go.
fn redirect(fields: &Fields<'_>, redirect: &mut Redirect) {
    fields.only(&["host", "port", "fallbackPorts", "path"]);
    if let Some(text) = fields.text("host") {
        match RedirectHost::parse(text) {
            Some(host) => redirect.host = host,
            None => fields.fail("host", "is none of 127.0.0.1, [::1], localhost"),
        }
    }
    let max = u64::from(u16::MAX);
    if let Some(port) = fields.number("port", 0, max) {
        redirect.port = u16::try_from(port).unwrap_or_default();
        redirect.fallback_ports.clear();
    }
    if let Some(value) = fields.value("fallbackPorts") {
        let ports = value
            .as_array()
            .filter(|list| list.len() <= MAX_FALLBACK_PORTS);
        let ports = ports.and_then(|list| {
            let port = |port: &serde_json::Value| u16::try_from(port.as_u64()?).ok();
            list.iter().map(port).collect::<Option<Vec<u16>>>()
        });
        match ports {
            Some(ports) => redirect.fallback_ports = ports,
            None => fields.fail(
                "fallbackPorts",
                format!("is not a list of at most {MAX_FALLBACK_PORTS} ports"),
            ),
        }
    }
    if let Some(path) = fields.text("path") {
        if Redirect::is_path(path) {
            redirect.path = path.to_owned();
        } else {
            fields.fail("path", "is not a path of letters, digits and / - . _ ~");
        }
    }
}

/// What the answer means.
fn account(fields: &Fields<'_>, provider: &mut Provider) {
    set(&mut provider.label, parameter(fields, "label"));
    if let Some(claim) = fields.text("accountIdClaim") {
        if claim.len() <= MAX_CLAIM_PATH {
            provider.account_id_claim = Some(claim.to_owned());
        } else {
            let problem = format!("is longer than {MAX_CLAIM_PATH} bytes");
            fields.fail("accountIdClaim", problem);
        }
    }
    let from = one_of(
        fields,
        "profileIdFrom",
        &ProfileIdFrom::ALL,
        ProfileIdFrom::as_str,
    );
    set(&mut provider.profile_id_from, from);
    let max = u64::try_from(MAX_REFRESH_MARGIN.as_millis()).unwrap_or(u64::MAX);
    let margin = fields.number("refreshMarginMs", 1, max);
    set_some(
        &mut provider.refresh_margin,
        margin.map(Duration::from_millis),
    );
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn set_some<T>(place: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *place = value;
    }
}

fn parsed<T: FromStr<Err: Display>>(fields: &Fields<'_>, key: &str) -> Option<T> {
    match fields.text(key)?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            fields.fail(key, error.to_string());
            None
        }
    }
}

fn one_of<T: Copy>(
    fields: &Fields<'_>,
    key: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Option<T> {
    let text = fields.text(key)?;
    let found = all.iter().copied().find(|one| name(*one) == text);
    if found.is_none() {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        fields.fail(key, format!("is none of {}", names.join(", ")));
    }
    found
}

fn format(fields: &Fields<'_>, key: &str) -> Option<TokenFormat> {
    one_of(fields, key, &TokenFormat::ALL, TokenFormat::as_str)
}

/// A text that becomes a parameter of a request.
fn parameter(fields: &Fields<'_>, key: &str) -> Option<String> {
    let text = fields.text(key)?;
    if text.len() > MAX_PARAMETER {
        fields.fail(key, format!("is longer than {MAX_PARAMETER} bytes"));
        return None;
    }
    Some(text.to_owned())
}

/// An object of texts.
fn extra(fields: &Fields<'_>, key: &str) -> Option<Vec<(String, String)>> {
    let inner = fields.object(key)?;
    if inner.entries().count() > MAX_EXTRA {
        fields.fail(key, format!("has more than {MAX_EXTRA} entries"));
    }
    let mut pairs = Vec::new();
    for (name, _) in inner.entries().take(MAX_EXTRA) {
        if !is_extra(name) {
            inner.fail(name, "is not a parameter that can be added");
        } else if let Some(value) = parameter(&inner, name) {
            pairs.push((name.clone(), value));
        }
    }
    Some(pairs)
}

fn secret_ref(fields: &Fields<'_>, key: &str, defaults: &Defaults) -> Option<SecretRef> {
    let value = fields.value(key)?;
    match SecretInput::parse(value, defaults) {
        Ok(input) => {
            let reference = input.reference().cloned();
            if reference.is_none() {
                fields.fail(key, "is not a SecretRef");
            }
            reference
        }
        Err(error) => {
            fields.fail(key, format!("is not a SecretRef: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
