//! The client's checklist of the MCP specification (2026-07-28), item by item, against servers made
//! of data. What a real server shows is in `tests/mcp`.

use super::*;
use crate::mcp::servers::Persist;
use crate::mcp::sign_in::{Held, With, sign_in};
use crate::oauth::HttpAnswer;
use crate::oauth::challenge::TokenError;
use crate::oauth::provider::FlowKind;
use crate::oauth::sign_in::SignInWith;
use crate::sign_in::{News, Pasted, Person, Wish};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

const SERVER: &str = "https://a.example/v1/mcp";
const DEEP: &str = "https://a.example/.well-known/oauth-protected-resource/v1/mcp";
const ROOT: &str = "https://a.example/.well-known/oauth-protected-resource";
const OAUTH: &str = "https://i.example/.well-known/oauth-authorization-server";
const OPENID: &str = "https://i.example/.well-known/openid-configuration";
const REGISTER: &str = "https://i.example/register";
const TOKEN: &str = "https://i.example/token";

/// Servers whose answers are data; everything else is 404.
#[derive(Default)]
struct World {
    answers: BTreeMap<String, HttpAnswer>,
    /// `METHOD URL`, or `METHOD URL BODY`.
    asked: Mutex<Vec<String>>,
}

impl World {
    /// A server with everything, whose challenge names nothing.
    fn whole() -> Self {
        let mut world = Self::default();
        world.challenge(SERVER, 401, "Bearer");
        world.put(
            DEEP,
            &json!({"resource": SERVER, "authorization_servers": ["https://i.example"],
            "scopes_supported": ["a", "b"]}),
        );
        world.put(OAUTH, &issuer());
        world.put(REGISTER, &json!({"client_id": "registered"}));
        world.put(TOKEN, &json!({"access_token": "t", "token_type": "Bearer"}));
        world
    }

    fn put(&mut self, url: &str, document: &Value) {
        let body = SecretValue::copy_of(document.to_string().as_bytes());
        self.answers
            .insert(url.to_owned(), HttpAnswer::new(200, body));
    }

    fn status(&mut self, url: &str, status: u16) {
        let answer = HttpAnswer::new(status, SecretValue::copy_of(b"{}"));
        self.answers.insert(url.to_owned(), answer);
    }

    fn challenge(&mut self, url: &str, status: u16, challenge: &str) {
        let answer = HttpAnswer {
            challenges: vec![challenge.to_owned()],
            ..HttpAnswer::new(status, SecretValue::copy_of(b""))
        };
        self.answers.insert(url.to_owned(), answer);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The body of the request to this URL.
    fn body(&self, url: &str) -> String {
        let start = format!("POST {url} ");
        let asked = self.asked();
        let found = asked.iter().find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_else(|| panic!("{asked:?}")).to_owned()
    }
}

impl Http for World {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let url = request.url.as_str();
        let body = request.body.as_ref().map(|body| body.expose().to_vec());
        let body = String::from_utf8(body.unwrap_or_default()).unwrap();
        let mut line = match request.method {
            Method::Get => format!("GET {url}"),
            Method::Post | Method::Delete => format!("POST {url}"),
        };
        if url == SERVER {
            assert_eq!(request.within, None, "a person named it");
        } else {
            let within = request.within;
            assert_eq!(within, Some(Class::Public), "{url} is named by the server");
            if !body.is_empty() {
                line.push(' ');
                line.push_str(&body);
            }
        }
        self.asked.lock().unwrap().push(line);
        let absent = || HttpAnswer::new(404, SecretValue::copy_of(b""));
        Ok(self.answers.get(url).cloned().unwrap_or_else(absent))
    }
}

fn issuer() -> Value {
    json!({
        "issuer": "https://i.example",
        "authorization_endpoint": "https://i.example/authorize",
        "token_endpoint": TOKEN,
        "registration_endpoint": REGISTER,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

fn changed(mut document: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

fn server() -> McpServer {
    let url = SERVER.parse().unwrap();
    McpServer::at(&url, Transport::Http, Persist::Vault)
}

fn find(world: &World, allowed: Allowed) -> Result<Ground, Failure> {
    discover(world, &server(), &SERVER.parse().unwrap(), None, allowed)
}

#[test]
fn the_address_of_a_challenge_comes_first_then_the_path_then_the_root() {
    let mut world = World::whole();
    let named = "https://a.example/elsewhere";
    let challenge = format!("Bearer resource_metadata=\"{named}\", scope=\"x\"");
    world.challenge(SERVER, 401, &challenge);
    let found = find(&world, Allowed::default()).unwrap();
    // What the challenge wants goes before what the description lists.
    assert_eq!(found.scopes, Some(vec!["x".to_owned()]));
    let gets: Vec<String> = [named, DEEP, OAUTH].map(|url| format!("GET {url}")).into();
    assert_eq!(world.asked()[1..], gets);

    let mut world = World::whole();
    let document = world.answers.remove(DEEP).unwrap();
    world.answers.insert(ROOT.to_owned(), document);
    let found = find(&world, Allowed::default()).unwrap();
    assert_eq!(found.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(
        world.asked()[1..3],
        [DEEP, ROOT].map(|url| format!("GET {url}"))
    );
}

#[test]
fn a_challenge_that_is_known_counts() {
    let world = World::whole();
    let challenge = Challenge {
        scopes: Some(vec!["more".to_owned()]),
        ..Challenge::default()
    };
    let url = SERVER.parse().unwrap();
    let allowed = Allowed::default();
    let found = discover(&world, &server(), &url, Some(challenge), allowed).unwrap();
    assert_eq!(found.scopes, Some(vec!["more".to_owned()]));
}

#[test]
fn a_description_of_another_resource_is_refused() {
    let mut world = World::whole();
    world.put(
        DEEP,
        &json!({"resource": "https://b.example/mcp",
            "authorization_servers": ["https://i.example"]}),
    );
    let refused = find(&world, Allowed::default()).unwrap_err();
    assert_eq!(refused.code, Code::OAuthInvalid);
    assert!(
        refused.message.contains("about another resource"),
        "{refused}"
    );
}

#[test]
fn both_kinds_of_metadata_are_read_and_the_issuer_has_to_be_itself() {
    let mut world = World::whole();
    world.answers.remove(OAUTH);
    world.put(OPENID, &issuer());
    assert!(find(&world, Allowed::default()).is_ok());
    world.put(
        OPENID,
        &changed(issuer(), &json!({"issuer": "https://evil.example"})),
    );
    let refused = find(&world, Allowed::default()).unwrap_err();
    assert!(
        refused.message.contains("names another issuer"),
        "{refused}"
    );
    // The slash of the root alone may differ: servers in use disagree about it.
    world.put(
        OPENID,
        &changed(issuer(), &json!({"issuer": "https://i.example/"})),
    );
    let found = find(&world, Allowed::default()).unwrap();
    assert_eq!(found.metadata.issuer.as_str(), "https://i.example/");
}

#[test]
fn pkce_is_required() {
    let without = |methods: Value| {
        let mut world = World::whole();
        let change = json!({"code_challenge_methods_supported": methods});
        world.put(OAUTH, &changed(issuer(), &change));
        world
    };
    let allowed = Allowed {
        unsaid_pkce: true,
        ..Allowed::default()
    };
    let unsaid = find(&without(Value::Null), Allowed::default()).unwrap_err();
    assert!(
        unsaid.message.contains("--allow-missing-pkce-metadata"),
        "{unsaid}"
    );
    assert!(find(&without(Value::Null), allowed).is_ok());
    // Who says no means no.
    let plain = find(&without(json!(["plain"])), allowed).unwrap_err();
    assert!(plain.message.contains("does not support PKCE"), "{plain}");
}

#[test]
fn old_servers_are_signed_in_to_only_if_a_person_says_so() {
    let old = Allowed {
        old_servers: true,
        ..Allowed::default()
    };
    let mut world = World::default();
    world.challenge(SERVER, 401, "Bearer");
    let refused = find(&world, Allowed::default()).unwrap_err();
    assert!(refused.message.contains("--allow-old-servers"), "{refused}");
    let found = find(&world, old).unwrap();
    assert_eq!(found.resource, SERVER);
    let at = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(|url| url.as_str().to_owned());
    let metadata = &found.metadata;
    assert_eq!(
        at(&metadata.authorization).as_deref(),
        Some("https://a.example/authorize")
    );
    assert_eq!(
        at(&metadata.token).as_deref(),
        Some("https://a.example/token")
    );
    assert_eq!(
        at(&metadata.registration).as_deref(),
        Some("https://a.example/register")
    );
}

#[test]
fn a_server_that_answers_or_fails_is_told_apart() {
    let mut world = World::default();
    world.put(SERVER, &json!({"jsonrpc": "2.0"}));
    let open = find(&world, Allowed::default()).unwrap_err();
    assert_eq!(open.code, Code::OAuthFlowAbsent);
    world.challenge(SERVER, 401, "Bearer");
    world.status(DEEP, 503);
    let busy = find(&world, Allowed::default()).unwrap_err();
    assert_eq!(busy.code, Code::OAuthUnavailable);
    let mut world = World::whole();
    world.status(OAUTH, 502);
    let busy = find(&world, Allowed::default()).unwrap_err();
    assert_eq!(busy.code, Code::OAuthUnavailable);
}

#[test]
fn a_client_that_was_registered_beforehand_is_its_issuers_alone() {
    let world = World::whole();
    let url = SERVER.parse().unwrap();
    let known = |issuer: &str| McpServer {
        client_id: Some("known".to_owned()),
        client_issuer: issuer.parse().ok(),
        ..server()
    };
    let at = |server: &McpServer| discover(&world, server, &url, None, Allowed::default());
    assert!(at(&known("https://i.example/")).is_ok());
    let moved = at(&known("https://old.example")).unwrap_err();
    assert!(
        moved
            .message
            .contains("no longer names https://old.example"),
        "{moved}"
    );
}

/// A browser that comes straight back, with what `answer` makes of its address.
struct Comes<F>(F, Option<Endpoint>);

impl<F: Fn(&Endpoint) -> String> Person for Comes<F> {
    fn tell(&mut self, news: News<'_>) -> Result<(), Failure> {
        if let News::Authorize { url, .. } = news {
            self.1 = Some(url.clone());
        }
        Ok(())
    }

    fn paste(&mut self, _: BorrowedFd<'_>) -> Result<Pasted, Failure> {
        let address = self.0(self.1.as_ref().unwrap());
        Ok(Pasted::Text(SecretValue::copy_of(address.as_bytes())))
    }
}

fn parameter(url: &Endpoint, name: &str) -> Option<String> {
    let query = url.as_str().split_once('?').map_or("", |(_, query)| query);
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn wish() -> Wish {
    Wish {
        flow: FlowKind::Pkce,
        paste_only: true,
        open_browser: false,
        timeout: std::time::Duration::from_secs(60),
        with: SignInWith::default(),
    }
}

fn held_of(issuer: &str, scopes: &str) -> Held {
    Held::of(Some(issuer.to_owned()), Some(scopes))
}

/// Signs in with the right answer: the account's scope, and the page that was opened.
fn signed_in(world: &World, server: &McpServer, held: &[&str]) -> (Option<String>, Endpoint) {
    let back = |url: &Endpoint| {
        let get = |name| parameter(url, name).unwrap();
        format!(
            "{}?code=c&state={}&iss=https://i.example",
            get("redirect_uri"),
            get("state")
        )
    };
    let mut person = Comes(back, None);
    let with = With {
        held: held_of("https://i.example", &held.join(" ")),
        ..With::default()
    };
    let done = sign_in(server, world, &mut person, &wish(), with).unwrap();
    let client = &done.account.client;
    assert_eq!(client.resource.as_deref(), Some(SERVER));
    let named_by = client.named_by.as_ref().unwrap();
    assert_eq!(
        (named_by.url.as_str(), named_by.class),
        (SERVER, Class::Public)
    );
    (done.account.scope.clone(), person.1.unwrap())
}

#[test]
fn the_resource_and_the_scopes_are_in_every_request() {
    let mut world = World::whole();
    let change = json!({"scopes_supported": ["openid", "offline_access"]});
    world.put(OAUTH, &changed(issuer(), &change));
    let (scope, page) = signed_in(&world, &server(), &["held"]);
    assert_eq!(parameter(&page, "resource").as_deref(), Some(SERVER));
    assert_eq!(
        parameter(&page, "scope").as_deref(),
        Some("held a b offline_access")
    );
    assert_eq!(parameter(&page, "prompt").as_deref(), Some("consent"));
    assert_eq!(scope.as_deref(), Some("held a b offline_access"));
    assert!(
        world
            .body(TOKEN)
            .contains("resource=https%3A%2F%2Fa.example%2Fv1%2Fmcp")
    );
    let client: Value = serde_json::from_str(&world.body(REGISTER)).unwrap();
    assert_eq!(client["application_type"], json!("native"));
    assert_eq!(client["token_endpoint_auth_method"], json!("none"));
    assert_eq!(
        client["redirect_uris"],
        json!(["http://127.0.0.1:3030/callback"])
    );

    // Scopes of the config go before those of the server; without any, the server decides.
    let chosen = McpServer {
        scopes: vec!["mine".to_owned()],
        ..server()
    };
    let (_, page) = signed_in(&World::whole(), &chosen, &[]);
    assert_eq!(parameter(&page, "scope").as_deref(), Some("mine"));
    let mut silent = World::whole();
    let issuers = ["https://i.example"];
    silent.put(
        DEEP,
        &json!({"resource": SERVER, "authorization_servers": issuers}),
    );
    let (scope, page) = signed_in(&silent, &server(), &[]);
    assert_eq!((scope, parameter(&page, "scope")), (None, None));
}

#[test]
fn a_client_is_known_or_a_document_or_registered_in_this_order() {
    let id = |world: &World, server: &McpServer| {
        let (_, page) = signed_in(world, server, &[]);
        parameter(&page, "client_id").unwrap()
    };
    let documents = || {
        let mut world = World::whole();
        let change = json!({"client_id_metadata_document_supported": true});
        world.put(OAUTH, &changed(issuer(), &change));
        world
    };
    let document = McpServer {
        client_metadata_url: "https://c.example/client.json".parse().ok(),
        ..server()
    };
    let known = McpServer {
        client_id: Some("known".to_owned()),
        ..document.clone()
    };
    assert_eq!(id(&documents(), &known), "known");
    assert_eq!(id(&documents(), &document), "https://c.example/client.json");
    assert_eq!(id(&World::whole(), &document), "registered");
    assert_eq!(id(&documents(), &server()), "registered");
    let world = World::whole();
    id(&world, &server());
    let asked = world
        .asked()
        .iter()
        .filter(|line| line.contains(REGISTER))
        .count();
    assert_eq!(asked, 1);
}

#[test]
fn a_secret_that_the_server_registers_is_used() {
    let mut world = World::whole();
    world.put(
        REGISTER,
        &json!({"client_id": "r", "client_secret": "s e",
            "token_endpoint_auth_method": "client_secret_post"}),
    );
    signed_in(&world, &server(), &[]);
    assert!(
        world.body(TOKEN).contains("client_secret=s+e"),
        "{}",
        world.body(TOKEN)
    );
}

#[test]
fn nobody_is_registered_where_nobody_can_be() {
    let mut world = World::whole();
    world.put(
        OAUTH,
        &changed(issuer(), &json!({"registration_endpoint": null})),
    );
    let mut person = Comes(|_: &Endpoint| panic!("no page"), None);
    let mut fails = |world: &World| {
        let outcome = sign_in(&server(), world, &mut person, &wish(), With::default());
        outcome.err().unwrap()
    };
    let nowhere = fails(&world);
    assert!(nowhere.message.contains("auth.clientId"), "{nowhere}");
    // A complaint about the client is answered once, without the newer member.
    let mut world = World::whole();
    let complaint = SecretValue::copy_of(br#"{"error":"invalid_client_metadata"}"#);
    world
        .answers
        .insert(REGISTER.to_owned(), HttpAnswer::new(400, complaint));
    let refused = fails(&world);
    assert_eq!(refused.code, Code::OAuthRefused);
    let tries: Vec<bool> = world
        .asked()
        .iter()
        .filter(|line| line.contains(REGISTER))
        .map(|line| line.contains("application_type"))
        .collect();
    assert_eq!(tries, [true, false]);
}

/// The scopes that the page of a sign-in asks for, to which the person says no.
fn asked_for(challenge: Challenge, held: Held) -> String {
    let server = McpServer {
        scopes: vec!["mine".to_owned()],
        ..server()
    };
    let back = |url: &Endpoint| {
        let get = |name| parameter(url, name).unwrap();
        let (redirect, state) = (get("redirect_uri"), get("state"));
        format!("{redirect}?error=access_denied&state={state}&iss=https://i.example")
    };
    let mut person = Comes(back, None);
    let with = With {
        challenge: Some(challenge),
        held,
        ..With::default()
    };
    let outcome = sign_in(&server, &World::whole(), &mut person, &wish(), with);
    assert!(outcome.is_err());
    parameter(&person.1.unwrap(), "scope").unwrap()
}

/// Two refusals of the same scope: with what the config asks for, and with what is missing as well.
#[test]
fn a_scope_that_is_missing_goes_beside_those_of_the_config() {
    let asked = |error| {
        let challenge = Challenge {
            scopes: Some(vec!["more".to_owned()]),
            error,
            ..Challenge::default()
        };
        asked_for(challenge, held_of("https://i.example", "held"))
    };
    assert_eq!(asked(Some(TokenError::InsufficientScope)), "held more mine");
    assert_eq!(asked(None), "held mine");
}

#[test]
fn nobody_is_asked_for_the_scopes_of_another_issuer() {
    let asked = |held| asked_for(Challenge::default(), held);
    assert_eq!(asked(held_of("https://i.example/", "held")), "held mine");
    assert_eq!(asked(held_of("https://old.example", "held")), "mine");
    assert_eq!(asked(Held::of(None, Some("held"))), "mine");
}
