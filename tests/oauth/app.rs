//! A program that signs in, made of the library's parts as the command line puts them together.

use crate::idp::Idp;
use reseal::config::{Config, Trust};
use reseal::net::{Client, Http, Listener, NetError, Page, Policy, Verdict};
use reseal::oauth::{
    Account, Answer, CodeFlow, DiscoveryStep, Endpoints, FlowError, FlowKind, Grant, HttpAnswer,
    HttpRequest, Provider, Refusal, SaidNo, Server, SignInWith, read_grant, refresh_request,
};
use reseal::sys::{clock, random};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// No test waits this long unless it is going to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A provider from a dozen lines of config, with some of them changed.
pub fn provider(idp: &Idp, changes: Value) -> Provider {
    let mut acme = json!({
        "issuer": idp.issuer(),
        "clientId": "public",
        "flows": ["pkce", "device"],
        "scopes": ["openid", "offline_access", "email", "api"],
        "extraAuthorizeParams": {"prompt": "consent"},
        "accountIdClaim": "https://api.openai.com/auth/chatgpt_account_id",
        "profileIdFrom": "email",
    });
    for (name, value) in changes.as_object().unwrap() {
        acme[name] = value.clone();
    }
    let text = json!({"oauth": {"providers": {"acme": acme}}}).to_string();
    let config = Config::parse(&text, "reseal.json", Trust::Own).unwrap();
    config.oauth_provider("acme").unwrap()
}

/// Sends a request by the real client.
pub fn send(request: &HttpRequest) -> Result<HttpAnswer, NetError> {
    Client::new(&Policy::default()).send(request)
}

/// Asks the issuer for its endpoints.
pub fn server(provider: &Provider, flow: FlowKind) -> Server {
    let mut discovery = match provider.endpoints(flow).unwrap() {
        Endpoints::Known(server) => return *server,
        Endpoints::Discover(discovery) => discovery,
    };
    loop {
        let answer = send(&discovery.request()).unwrap();
        match discovery.step(&answer).unwrap() {
            DiscoveryStep::Done(metadata) => return provider.server(flow, *metadata).unwrap(),
            DiscoveryStep::Next(next) => discovery = next,
        }
    }
}

/// A sign-in whose listener is bound and whose browser is not open yet.
pub struct SignIn {
    pub flow: CodeFlow,
    pub listener: Listener,
}

impl SignIn {
    pub fn begin(provider: &Provider, with: &SignInWith) -> Self {
        let listener = Listener::bind(&provider.redirect).unwrap();
        let server = server(provider, FlowKind::Pkce);
        let uri = listener.redirect_uri();
        let flow = CodeFlow::start(provider, &server, &uri, with, &mut random::fill).unwrap();
        Self { flow, listener }
    }

    /// Waits for the browser and redeems the code. The browser gets its page.
    pub fn finish(self) -> Result<Account, End> {
        let Self { flow, listener } = self;
        let until = Instant::now() + PATIENCE;
        let (answer, reply) = listener
            .wait(until, |query| match flow.read_query(query) {
                Ok(answer) => Verdict::Take(answer),
                Err(_) => Verdict::Keep,
            })
            .unwrap();
        let provider = "acme";
        let accepted = match answer {
            Answer::Accepted(accepted) => accepted,
            Answer::Refused(no) => {
                reply.send(&Page::Denied { provider });
                return Err(End::SaidNo(no));
            }
        };
        let (request, awaited) = flow.redeem(accepted).unwrap();
        let now = clock::now();
        let outcome = match send(&request) {
            Ok(answer) => awaited.finish(&answer, now).map_err(End::Flow),
            Err(error) => Err(End::Net(error)),
        };
        let account = outcome.as_ref().ok().map(|account| &account.identity);
        let account = account.and_then(|identity| identity.email.as_deref());
        match &outcome {
            Ok(_) => reply.send(&Page::SignedIn { provider, account }),
            Err(_) => reply.send(&Page::Failed {
                provider,
                why: "see the terminal",
            }),
        }
        outcome
    }
}

/// How a sign-in ends without an account; shown where a test fails.
#[derive(Debug)]
#[allow(dead_code)]
pub enum End {
    SaidNo(SaidNo),
    Flow(FlowError),
    Net(NetError),
}

/// Signs in with a browser that walks the pages.
pub fn sign_in_with(idp: &Idp, provider: &Provider, with: &SignInWith) -> Account {
    let sign_in = SignIn::begin(provider, with);
    let callback = idp.sign_in(sign_in.flow.url().as_str(), sign_in.flow.redirect_uri());
    let browser = open(callback);
    let account = sign_in.finish().unwrap();
    assert!(browser.join().unwrap().contains("You are signed in"));
    account
}

/// Signs in as a public client.
pub fn sign_in(idp: &Idp) -> Account {
    sign_in_with(idp, &provider(idp, json!({})), &SignInWith::default())
}

/// Opens an address as a browser would: the page that it shows.
pub fn open(address: String) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let url = url::Url::parse(&address).unwrap();
        let answer = crate::idp::Walker::new("nobody").get(&url);
        String::from_utf8(answer.body).unwrap()
    })
}

/// Sends the account's refresh token once.
pub fn refresh(account: &Account) -> Result<Result<Grant, Refusal>, NetError> {
    let request = refresh_request(&account.client, account.refresh.as_ref().unwrap());
    let answer = send(&request)?;
    Ok(read_grant(&answer, account.client.dialect))
}
