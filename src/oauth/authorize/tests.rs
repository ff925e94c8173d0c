use super::*;
use crate::oauth::builtin;
use crate::oauth::fixture::{acme, answer, counting, form, jwt, query, secret, server};
use crate::oauth::record::Account;
use crate::time::UnixMs;
use serde_json::{Value, json};

const REDIRECT: &str = "http://127.0.0.1:4000/callback";

fn flow_of(provider: &Provider, server: &Server, with: &SignInWith) -> CodeFlow {
    CodeFlow::start(provider, server, REDIRECT, with, &mut counting()).unwrap()
}

fn flow(provider: &Provider) -> CodeFlow {
    let server = server(provider, FlowKind::Pkce);
    flow_of(provider, &server, &SignInWith::default())
}

fn read(flow: &CodeFlow, query: &str) -> Result<Answer, CallbackError> {
    flow.read_query(&secret(query))
}

fn accepted(flow: &CodeFlow, more: &str) -> Accepted {
    let query = format!("code=c&state={}{more}", flow.state.as_str());
    match read(flow, &query) {
        Ok(Answer::Accepted(accepted)) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

#[test]
fn the_request_has_every_parameter_once() {
    let mut provider = acme();
    provider.scopes.insert(0, "openid".to_owned());
    provider.resource = Some("https://api.example/v1".to_owned());
    provider.audience = Some("aud".to_owned());
    provider.extra_authorize = vec![("prompt".to_owned(), "consent".to_owned())];
    let with = SignInWith {
        login_hint: Some("me@example.com".to_owned()),
        ..SignInWith::default()
    };
    let flow = flow_of(&provider, &server(&provider, FlowKind::Pkce), &with);
    let sent = query(flow.url().as_str());
    let expected = [
        ("audience", "aud"),
        ("client_id", "client"),
        ("code_challenge", flow.verifier.challenge().as_str()),
        ("code_challenge_method", "S256"),
        ("login_hint", "me@example.com"),
        ("nonce", sent["nonce"].as_str()),
        ("prompt", "consent"),
        ("redirect_uri", REDIRECT),
        ("resource", "https://api.example/v1"),
        ("response_type", "code"),
        ("scope", "openid a b"),
        ("state", flow.state.as_str()),
        ("tenant", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent.clone().into_iter().collect::<Vec<_>>(), expected);
    let different = [&sent["state"], &sent["nonce"], &sent["code_challenge"]];
    assert!(different[0] != different[1] && different[1] != different[2]);
    assert!(!flow.url().to_string().contains('?'), "people see no state");
    assert_eq!(flow.redirect_uri(), REDIRECT);
}

#[test]
fn no_nonce_and_no_scope_where_none_is_asked_for() {
    let mut provider = acme();
    provider.scopes.clear();
    let sent = query(flow(&provider).url().as_str());
    assert!(!sent.contains_key("scope") && !sent.contains_key("nonce"));
}

#[test]
fn a_code_is_redeemed_with_its_verifier() {
    let flow = flow(&acme());
    let challenge = flow.verifier.challenge();
    let accepted = accepted(&flow, "");
    let (request, _awaited) = flow.redeem(accepted).unwrap();
    let sent = form(&request);
    assert_eq!(request.url.as_str(), "https://acme.example/token");
    assert_eq!(sent["grant_type"], "authorization_code");
    assert_eq!(sent["code"], "c");
    assert_eq!(sent["redirect_uri"], REDIRECT);
    assert_eq!(sent["client_id"], "client");
    let verifier = Verifier::from_server(secret(&sent["code_verifier"])).unwrap();
    assert_eq!(verifier.challenge(), challenge);
}

#[test]
fn another_state_is_never_ours() {
    let flow = flow(&acme());
    let state = flow.state.as_str();
    for query in [
        "code=c&state=x".to_owned(),
        "code=c&state=".to_owned(),
        format!("code=c&state={}", &state[1..]),
        format!("code=c&state={state}x"),
        "error=access_denied&state=x".to_owned(),
    ] {
        let is = read(&flow, &query).unwrap_err();
        assert_eq!(is, CallbackError::OtherState, "{query}");
    }
    assert_eq!(read(&flow, "code=c").unwrap_err(), CallbackError::NoState);
    let pasted = flow.read_paste(&secret(&format!("c#{state}")));
    assert!(matches!(pasted, Ok(Answer::Accepted(_))));
    let elsewhere = format!("http://127.0.0.1:4001/callback?code=c&state={state}");
    let elsewhere = flow.read_paste(&secret(&elsewhere)).unwrap_err();
    assert_eq!(elsewhere, CallbackError::OtherAddress);
}

#[test]
fn a_code_of_another_flow_is_not_redeemed() {
    let provider = acme();
    let server = server(&provider, FlowKind::Pkce);
    let with = SignInWith::default();
    let mut rng = counting();
    let mut start = || CodeFlow::start(&provider, &server, REDIRECT, &with, &mut rng).unwrap();
    let (ours, theirs) = (start(), start());
    let error = ours.redeem(accepted(&theirs, "")).unwrap_err();
    assert_eq!(error, FlowError::Callback(CallbackError::OtherState));
}

#[test]
fn the_issuer_in_all_four_cases() {
    let provider = acme();
    let mut server = server(&provider, FlowKind::Pkce);
    let with = SignInWith::default();
    let ours = "&iss=https%3A%2F%2Facme.example";
    let theirs = "&iss=https%3A%2F%2Facme.example%2F";
    for promised in [false, true] {
        server.names_itself = promised;
        let flow = flow_of(&provider, &server, &with);
        let state = flow.state.as_str();
        let is = |more: &str| read(&flow, &format!("code=c&state={state}{more}")).map(|_| ());
        assert_eq!(is(ours), Ok(()), "{promised}");
        assert_eq!(is(theirs), Err(CallbackError::OtherIssuer), "{promised}");
        let absent = if promised {
            Err(CallbackError::OtherIssuer)
        } else {
            Ok(())
        };
        assert_eq!(is(""), absent, "{promised}");
        // An error of somebody else is not shown.
        let error = format!("error=access_denied&state={state}{theirs}");
        assert_eq!(read(&flow, &error).unwrap_err(), CallbackError::OtherIssuer);
    }
}

#[test]
fn without_a_known_issuer_the_origin_counts() {
    let mut provider = acme();
    provider.issuer = None;
    let flow = flow(&provider);
    let state = flow.state.as_str();
    let is = |iss: &str| read(&flow, &format!("code=c&state={state}&iss={iss}")).map(|_| ());
    assert_eq!(is("https://acme.example/realm"), Ok(()));
    for other in ["https://evil.example", "http://acme.example", "acme"] {
        assert_eq!(is(other), Err(CallbackError::OtherIssuer), "{other}");
    }
}

#[test]
fn a_refusal_with_our_state_ends_the_flow() {
    let flow = flow(&acme());
    let query = format!("error=access_denied&code=c&state={}", flow.state.as_str());
    match read(&flow, &query) {
        Ok(Answer::Refused(no)) => assert!(no.denied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_description_that_repeats_the_state_is_not_shown() {
    let flow = flow(&acme());
    let state = flow.state.as_str();
    let described = |text: &str| {
        let query = format!("error=access_denied&error_description={text}&state={state}");
        match read(&flow, &query) {
            Ok(Answer::Refused(no)) => no.description,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(described("not+you").as_deref(), Some("not you"));
    for text in [
        format!("no:{state}."),
        format!("%07{}%07{}", &state[..9], &state[9..]),
    ] {
        assert_eq!(described(&text), None, "{text}");
    }
}

fn first_sign_in() -> (Provider, CodeFlow) {
    let provider = builtin::get("openai").unwrap();
    let flow = flow(&provider);
    (provider, flow)
}

#[test]
fn a_client_id_is_issued_at_the_first_sign_in() {
    let (provider, flow) = first_sign_in();
    let sent = query(flow.url().as_str());
    assert_eq!(sent["client_id"], "dynamic_agent_client");
    assert_eq!(sent["agent_name_hint"], "reseal");
    assert_eq!(sent["resource"], "https://api.openai.com/v1");
    let host = "urn:uuid:00000000-0000-8000-8000-000000000000";
    assert_eq!(sent["ext_agent_host_id"], host);
    let state = flow.state.as_str().to_owned();
    for bad in [
        "",
        "&client_id=dynamic_agent_client",
        "&client_id=a%20b",
        "&client_id=",
    ] {
        let query = format!("code=c&state={state}{bad}");
        let is = read(&flow, &query).unwrap_err();
        assert_eq!(is, CallbackError::ClientId, "{bad}");
    }
    let accepted = accepted(&flow, "&client_id=oaiapp_1");
    let (request, awaited) = flow.redeem(accepted).unwrap();
    assert_eq!(form(&request)["client_id"], "oaiapp_1");
    assert_eq!(awaited.client.client_id, "oaiapp_1");

    let with = SignInWith {
        issued_client_id: Some("oaiapp_1".to_owned()),
        ..SignInWith::default()
    };
    let again = flow_of(&provider, &server(&provider, FlowKind::Pkce), &with);
    let sent = query(again.url().as_str());
    assert_eq!(sent["client_id"], "oaiapp_1");
    assert!(!sent.contains_key("agent_name_hint"));
    let state = again.state.as_str();
    let is = |more: &str| read(&again, &format!("code=c&state={state}{more}")).map(|_| ());
    assert_eq!(is(""), Ok(()));
    assert_eq!(is("&client_id=oaiapp_1"), Ok(()));
    assert_eq!(is("&client_id=oaiapp_2"), Err(CallbackError::ClientId));
}

/// Finishes a sign-in at `acme` with `openid`: `claims` become the ID token.
fn finish(change: impl FnOnce(&mut Value)) -> Result<Account, FlowError> {
    let mut provider = acme();
    provider.scopes.push("openid".to_owned());
    let flow = flow(&provider);
    let nonce = query(flow.url().as_str())["nonce"].clone();
    let accepted = accepted(&flow, "");
    let (_, awaited) = flow.redeem(accepted).unwrap();
    let mut claims = json!({
        "iss": "https://acme.example", "aud": "client", "nonce": nonce, "email": "me@example.com",
    });
    change(&mut claims);
    let mut body = json!({"access_token": "a", "refresh_token": "r", "expires_in": 60});
    if !claims.is_null() {
        body["id_token"] = jwt(&claims).into();
    }
    awaited.finish(&answer(200, &body.to_string()), UnixMs(1000))
}

#[test]
fn an_id_token_has_to_be_for_this_sign_in() {
    let account = finish(|_| ()).unwrap();
    assert_eq!(account.identity.email.as_deref(), Some("me@example.com"));
    assert_eq!(account.expires_at, Some(UnixMs(61_000)));
    assert_eq!(
        account.client.issuer.as_deref(),
        Some("https://acme.example")
    );
    let wrong = |key: &'static str, value: &str| {
        let value = value.to_owned();
        finish(move |claims| claims[key] = value.into()).unwrap_err()
    };
    let issuer = FlowError::IdToken("comes from another issuer");
    assert_eq!(wrong("iss", "https://evil.example"), issuer);
    assert_eq!(
        wrong("aud", "other"),
        FlowError::IdToken("is for another client")
    );
    assert_eq!(
        wrong("nonce", "n"),
        FlowError::IdToken("belongs to another sign-in")
    );
    assert_eq!(
        finish(|claims| *claims = Value::Null),
        Err(FlowError::NoIdToken)
    );
    let text = finish(|claims| *claims = json!("text"));
    assert_eq!(text, Err(FlowError::IdToken("is not readable")));
}

#[test]
fn a_grant_without_a_required_scope_is_no_account() {
    let with_scope = |scope: &str| {
        let mut provider = acme();
        provider.required_scopes = vec!["plan.use".to_owned()];
        let flow = flow(&provider);
        let accepted = accepted(&flow, "");
        let (_, awaited) = flow.redeem(accepted).unwrap();
        let body = json!({"access_token": "a", "scope": scope}).to_string();
        awaited.finish(&answer(200, &body), UnixMs(1)).map(|_| ())
    };
    assert_eq!(with_scope("a plan.use"), Ok(()));
    for scope in ["a", "a plan.use.more", ""] {
        assert_eq!(
            with_scope(scope),
            Err(FlowError::Scope("plan.use".to_owned()))
        );
    }
}

#[test]
fn a_provider_without_the_flow_does_not_start_it() {
    let anthropic = builtin::get("anthropic").unwrap();
    let server = server(&acme(), FlowKind::Pkce);
    let with = SignInWith::default();
    let started = CodeFlow::start(&anthropic, &server, REDIRECT, &with, &mut counting());
    let expected = FlowError::Server(ServerError::Flow(FlowKind::Pkce));
    assert_eq!(started.map(|_| ()).unwrap_err(), expected);
}

#[test]
fn debug_shows_neither_state_nor_code_nor_verifier() {
    let flow = flow(&acme());
    let (state, code) = (flow.state.as_str().to_owned(), accepted(&flow, ""));
    let verifier = flow.verifier.secret().expose().to_vec();
    let shown = format!("{flow:?} {code:?}");
    assert!(!shown.contains(&state));
    assert!(!shown.contains(std::str::from_utf8(&verifier).unwrap()));
}
