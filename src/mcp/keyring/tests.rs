//! Faults that a real server and a real keyring show only when they meet: the keyring is real, the
//! server is made of data. The whole way is in `tests/mcp/keyring.rs`.

use super::*;
use crate::keyring::fixture::{Desk, With};
use crate::mcp::servers::{Persist, Transport};
use crate::net::NetError;
use crate::oauth::{Grant, HttpAnswer, HttpRequest};
use crate::secret::SecretValue;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SERVER: &str = "https://a.example/mcp";
const DESCRIPTION: &str = "https://a.example/.well-known/oauth-protected-resource/mcp";
const ISSUER: &str = "https://i.example/.well-known/oauth-authorization-server";
const TOKEN: &str = "https://i.example/token";

/// What happens when a token is asked for.
type Event = Box<dyn Fn() + Send + Sync>;

struct Net {
    grant: HttpAnswer,
    event: Event,
    sent: Mutex<Vec<String>>,
}

impl Net {
    fn new(status: u16, grant: &Value, event: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            grant: HttpAnswer::new(status, secret(&grant.to_string())),
            event: Box::new(event),
            sent: Mutex::default(),
        }
    }

    /// The bodies of the requests for tokens.
    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Http for Net {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let document = |value: Value| Ok(HttpAnswer::new(200, secret(&value.to_string())));
        match request.url.as_str() {
            SERVER => Ok(HttpAnswer {
                challenges: vec!["Bearer".to_owned()],
                ..HttpAnswer::new(401, secret(""))
            }),
            DESCRIPTION => document(
                json!({"resource": SERVER, "authorization_servers": ["https://i.example"]}),
            ),
            ISSUER => document(json!({"issuer": "https://i.example",
                "authorization_endpoint": "https://i.example/authorize", "token_endpoint": TOKEN,
                "code_challenge_methods_supported": ["S256"]})),
            TOKEN => {
                let body = request.body.as_ref().map(|body| body.expose().to_vec());
                let body = String::from_utf8(body.unwrap_or_default()).unwrap();
                self.sent.lock().unwrap().push(body);
                (self.event)();
                Ok(self.grant.clone())
            }
            _ => Ok(HttpAnswer::new(404, secret(""))),
        }
    }
}

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn granted(access: &str) -> Value {
    json!({"access_token": access, "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": format!("r-{access}")})
}

struct World {
    desk: Arc<Desk>,
    store: Keyring,
    server: McpServer,
    url: Endpoint,
    _locks: tempfile::TempDir,
}

impl World {
    /// Somebody signed in.
    fn new() -> Self {
        let (desk, locks) = (Desk::new(With::Unlocked), tempfile::tempdir().unwrap());
        let url: Endpoint = SERVER.parse().unwrap();
        let world = Self {
            store: Keyring::new(
                desk.keyring(),
                crate::token_store::fast_agent::Layout::Mcp,
                locks.path(),
            ),
            server: McpServer::at(&url, Transport::Http, Persist::Keyring),
            desk: Arc::new(desk),
            url,
            _locks: locks,
        };
        let net = Net::new(500, &json!({}), || ());
        let client = ClientOf {
            issuer: Some("https://i.example".to_owned()),
            ..ClientOf::public(PROVIDER, TOKEN.parse().unwrap(), "client")
        };
        let grant = Grant {
            access: secret("first").into(),
            refresh: Some(secret("r-first").into()),
            id_token: None,
            token_type: "Bearer".to_owned(),
            expires_in: Some(Duration::from_secs(3600)),
            scope: Some("a b".to_owned()),
        };
        let account = Account::new(client, grant, None, clock::now());
        world.kept(&net).keep(&account).unwrap();
        world
    }

    fn kept<'a>(&'a self, net: &'a Net) -> InKeyring<'a> {
        InKeyring {
            store: &self.store,
            http: net,
            server: &self.server,
            url: &self.url,
            id: self.url.as_str(),
            client_secret: &|| Ok(None),
            is_elsewhere: &|| false,
        }
    }

    fn access(&self) -> String {
        let held = self.store.load(SERVER).unwrap().unwrap();
        String::from_utf8(held.access.secret().expose().to_vec()).unwrap()
    }
}

fn no_rescue(_: &Account) -> Result<String, Failure> {
    panic!("the keyring took the tokens")
}

#[test]
fn a_token_that_is_refused_is_renewed_in_place_and_only_once() {
    let world = World::new();
    let net = Net::new(200, &granted("second"), || ());
    let kept = world.kept(&net);
    let first = AccessToken::from(secret("first"));
    let fresh = kept.token(&Wanted::default(), &no_rescue).unwrap().unwrap();
    assert_eq!(fresh.access, first);
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    for _ in 0..2 {
        let renewed = kept.token(&wanted, &no_rescue).unwrap().unwrap();
        assert_eq!(renewed.access, secret("second").into());
    }
    assert_eq!(world.access(), "second");
    let [sent] = net.sent().try_into().unwrap();
    assert!(sent.contains("refresh_token=r-first"), "{sent}");
    assert!(
        sent.contains("resource=https%3A%2F%2Fa.example%2Fmcp"),
        "{sent}"
    );
    // What the server did not repeat stays.
    let held = kept.held().unwrap();
    assert_eq!(held.issuer.as_deref(), Some("https://i.example"));
    assert_eq!(held.scopes, ["a", "b"]);
}

#[test]
fn what_was_renewed_and_not_kept_goes_where_it_survives_and_is_an_error() {
    let world = World::new();
    let desk = world.desk.clone();
    let net = Net::new(200, &granted("second"), move || desk.lock());
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let saved = Mutex::new(None);
    let rescue = |account: &Account| {
        *saved.lock().unwrap() = Some(account.clone());
        Ok("in the vault now".to_owned())
    };
    let failure = world.kept(&net).token(&wanted, &rescue).unwrap_err();
    assert_eq!(failure.code, Code::KeyringLocked);
    assert!(
        failure.message.contains("they are in the vault now"),
        "{}",
        failure.message
    );
    let account = saved.lock().unwrap().take().unwrap();
    assert_eq!(account.refresh, Some(secret("r-second").into()));
    assert_eq!(account.client.issuer.as_deref(), Some("https://i.example"));
    // Where a trial entry shows that it can't be kept, nothing is sent.
    let none = |_: &Account| panic!("nothing was renewed");
    let failure = world.kept(&net).token(&wanted, &none).unwrap_err();
    assert_eq!(failure.code, Code::KeyringLocked);
    assert_eq!(net.sent().len(), 1);
}

#[test]
fn what_somebody_saved_elsewhere_meanwhile_counts_and_nothing_is_sent() {
    let world = World::new();
    let net = Net::new(200, &granted("second"), || ());
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let kept = InKeyring {
        is_elsewhere: &|| true,
        ..world.kept(&net)
    };
    assert_eq!(kept.token(&wanted, &no_rescue), Ok(None));
    assert_eq!(net.sent(), [""; 0]);
    assert_eq!(world.access(), "first");
}

/// A server that takes its time to say where tokens are renewed: something happens meanwhile.
struct Slow<'a>(&'a Net, &'a (dyn Fn() + Sync));

impl Http for Slow<'_> {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        if request.url.as_str() == ISSUER {
            (self.1)();
        }
        self.0.send(request)
    }
}

#[test]
fn nobody_waits_while_a_server_is_asked_and_who_signs_in_meanwhile_counts() {
    let world = World::new();
    let net = Net::new(200, &granted("second"), || ());
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let client = json!({"client_id": "another", "token_endpoint_auth_method": "none",
        "issuer": "https://i.example"});
    let change = || {
        drop(world.store.refresh_guard(SERVER).unwrap());
        let client = secret(&client.to_string());
        world.store.save_client_info(SERVER, &client).unwrap();
    };
    let slow = Slow(&net, &change);
    let kept = InKeyring {
        http: &slow,
        ..world.kept(&net)
    };
    kept.token(&wanted, &no_rescue).unwrap().unwrap();
    let [sent] = net.sent().try_into().unwrap();
    assert!(sent.contains("client_id=another"), "{sent}");
    // Without an end to it, it ends.
    let number = Mutex::new(0);
    let change = || {
        let mut number = number.lock().unwrap();
        *number += 1;
        let mut client = client.clone();
        client["client_id"] = format!("c{number}").into();
        let client = secret(&client.to_string());
        world.store.save_client_info(SERVER, &client).unwrap();
    };
    let slow = Slow(&net, &change);
    let second = AccessToken::from(secret("second"));
    let wanted = Wanted {
        refused: Some(&second),
        ..Wanted::default()
    };
    let kept = InKeyring {
        http: &slow,
        ..world.kept(&net)
    };
    let failure = kept.token(&wanted, &no_rescue).unwrap_err();
    assert_eq!(failure.code, Code::VaultBusy);
    assert_eq!(*number.lock().unwrap(), MAX_LOOKS);
    assert_eq!(net.sent().len(), 1);
}

#[test]
fn what_is_saved_nowhere_is_said() {
    let world = World::new();
    let desk = world.desk.clone();
    let net = Net::new(200, &granted("second"), move || desk.lock());
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let rescue = |_: &Account| Err(Failure::new(Code::VaultAbsent, "there is no vault"));
    let failure = world.kept(&net).token(&wanted, &rescue).unwrap_err();
    let text = failure.message;
    assert!(
        text.contains("nor did the vault (there is no vault): sign in again"),
        "{text}"
    );
}

#[test]
fn a_client_goes_to_its_issuer_and_one_of_nobody_is_bound_first() {
    let mut world = World::new();
    let bind = |world: &World, issuer: Option<&str>| {
        let mut document = json!({"client_id": "theirs", "token_endpoint_auth_method": "none"});
        if let Some(issuer) = issuer {
            document["issuer"] = issuer.into();
        }
        let document = secret(&document.to_string());
        world.store.save_client_info(SERVER, &document).unwrap();
    };
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    bind(&world, Some("https://other.example"));
    let net = Net::new(200, &granted("second"), || ());
    let failure = world.kept(&net).token(&wanted, &no_rescue).unwrap_err();
    assert_eq!(failure.code, Code::OAuthInvalid);
    assert_eq!(net.sent(), [""; 0]);
    // Nor does what they hold go to the issuer of a client that the config has by now.
    world.server.client_id = Some("ours".to_owned());
    world.server.client_issuer = Some("https://i.example".parse().unwrap());
    let kept = InKeyring {
        client_secret: &|| panic!("nothing is sent that would need it"),
        ..world.kept(&net)
    };
    let failure = kept.token(&wanted, &no_rescue).unwrap_err();
    assert_eq!(failure.code, Code::OAuthSignIn);
    assert!(failure.message.contains("are of https://other.example"));
    assert_eq!(net.sent(), [""; 0]);
    let world = World::new();
    bind(&world, None);
    world.kept(&net).token(&wanted, &no_rescue).unwrap();
    assert!(net.sent()[0].contains("client_id=theirs"));
    let document = world.store.client_info(SERVER).unwrap().unwrap();
    let issuer = read_client(&document).unwrap().issuer.unwrap();
    assert_eq!(issuer.as_str(), "https://i.example");
}

#[test]
fn whoever_only_looks_writes_nothing() {
    let world = World::new();
    let document = secret(r#"{"client_id": "theirs", "token_endpoint_auth_method": "none"}"#);
    world.store.save_client_info(SERVER, &document).unwrap();
    let net = Net::new(500, &json!({}), || ());
    let held = world.store.load(SERVER).unwrap().unwrap();
    let account = world.kept(&net).account(&held).unwrap();
    assert_eq!(account.client.issuer.as_deref(), Some("https://i.example"));
    let kept = world.store.client_info(SERVER).unwrap();
    assert_eq!(kept, Some(document));
}

#[test]
fn who_was_faster_counts_and_a_refusal_for_good_wants_a_person() {
    let world = World::new();
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let refusal = json!({"error": "invalid_grant"});
    let net = Net::new(400, &refusal, || ());
    let failure = world.kept(&net).token(&wanted, &no_rescue).unwrap_err();
    assert_eq!(failure.code, Code::OAuthSignIn);
    assert_eq!(world.access(), "first");
    // As fast-agent does it, without a lock of ours.
    let (desk, folder) = (world.desk.clone(), tempfile::tempdir().unwrap());
    let net = Net::new(400, &refusal, move || {
        let layout = crate::token_store::fast_agent::Layout::Mcp;
        let other = Keyring::new(desk.keyring(), layout, folder.path());
        let mut tokens = other.load(SERVER).unwrap().unwrap();
        tokens.access = secret("theirs").into();
        other.save(SERVER, &tokens).unwrap();
    });
    let tokens = world
        .kept(&net)
        .token(&wanted, &no_rescue)
        .unwrap()
        .unwrap();
    assert_eq!(tokens.access, secret("theirs").into());
}

#[test]
fn a_token_serves_while_nobody_can_renew_it() {
    let world = World::new();
    let net = Net::new(503, &json!({}), || ());
    let mut held = world.store.load(SERVER).unwrap().unwrap();
    let wanted = Wanted {
        min_ttl: Duration::from_secs(3600),
        refused: None,
    };
    // It is asked to be good for nine tenths of its life, of which some part is over soon.
    held.expires_at = Some(clock::now().plus(Duration::from_secs(9)));
    world.store.save(SERVER, &held).unwrap();
    while net.sent().is_empty() {
        let tokens = world.kept(&net).token(&wanted, &no_rescue).unwrap();
        assert_eq!(tokens.unwrap().access, secret("first").into());
    }
    let first = AccessToken::from(secret("first"));
    let wanted = Wanted {
        refused: Some(&first),
        ..Wanted::default()
    };
    let failure = world.kept(&net).token(&wanted, &no_rescue).unwrap_err();
    assert_eq!(failure.code, Code::OAuthUnavailable);
}
