//! `reseal auth proxy` between a client on stdio and the official SDK's server.

use super::client::{Client, text};
use super::script::{Script, result};
use super::server::{Home, Mcp, query};
use crate::idp::{Gate, Idp, Options};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

/// A home whose config knows the server.
fn home(mcp: &Mcp, auth: Value) -> Home {
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"tools": {"url": mcp.url(), "auth": auth}}}}));
    home
}

#[test]
fn a_client_without_oauth_uses_a_protected_server() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    let (before, answer) = client.ask(2, "tools/call", json!({"name": "count", "arguments": {}}));
    assert_eq!(text(&answer), "counted");
    let told: Vec<_> = before
        .iter()
        .map(|note| note["params"]["data"].clone())
        .collect();
    assert_eq!(told, [json!(1), json!(2), json!(3)]);
    let (out, _) = client.end();
    assert_eq!(out, "");
    let requests = mcp.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.starts_with("DELETE ")),
        "{requests:?}"
    );
    assert_eq!(idp.events(), ["granted authorization_code"]);
}

#[test]
fn who_never_signed_in_is_asked_to_and_a_restart_asks_nobody() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    let mut client = Client::start(&home, &["tools", "--no-browser"]);
    client.say(
        &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"}}}),
    );
    client.agree(&idp);
    assert_eq!(
        client.hear()["result"]["serverInfo"]["name"],
        json!("tests")
    );
    client.end();
    let mut again = Client::start(&home, &["tools", "--no-sign-in"]);
    again.initialize();
    assert_eq!(text(&again.call(1, "hello")), "hi");
    again.end();
    assert_eq!(idp.events(), ["granted authorization_code"]);
}

#[test]
fn a_token_that_is_refused_is_renewed_and_the_request_sent_again() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    client.initialize();
    let token = home.ok(&["auth", "token", "tools"]);
    mcp.refuse(token.trim());
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    assert_ne!(home.ok(&["auth", "token", "tools"]), token);
    assert!(idp.events().contains(&"granted refresh_token".to_owned()));
}

#[test]
fn a_session_that_the_server_forgot_is_opened_again() {
    let mcp = Mcp::open();
    let home = home(&mcp, json!({"oauth": false}));
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    mcp.forget();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let begun = mcp.requests();
    let begun = begun
        .iter()
        .filter(|request| request.as_str() == "POST initialize");
    assert_eq!(begun.count(), 2);
}

#[test]
fn a_scope_that_is_missing_is_asked_for_beside_those_that_are_held() {
    for persist in ["vault", "memory"] {
        let idp = Idp::start_with(&opaque());
        let mcp = Mcp::behind(&idp);
        let home = home(&mcp, json!({"persist": persist}));
        let mut client = Client::start(&home, &["tools", "--no-browser"]);
        client.say(
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"}}}),
        );
        let first = client.agree(&idp);
        assert_eq!(
            query(&first, "scope").as_deref(),
            Some("api offline_access")
        );
        client.hear();
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(text(&client.call(1, "hello")), "hi");
        client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": {"name": "write", "arguments": {}}}));
        let second = client.agree(&idp);
        let scope = query(&second, "scope").unwrap();
        for wanted in ["api", "api:write", "offline_access"] {
            assert!(
                scope.split(' ').any(|one| one == wanted),
                "{persist}: {scope}"
            );
        }
        assert_eq!(text(&client.hear()), "written");
        client.end();
        let kept = home.run(&["auth", "token", "tools"]).status.success();
        assert_eq!(kept, persist == "vault");
    }
}

#[test]
fn every_request_gets_an_answer_and_the_output_holds_nothing_else() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    let (_, answer) = client.ask(7, "initialize", json!({}));
    let why = answer["error"]["message"].as_str().unwrap();
    assert!(why.contains("reseal auth login tools"), "{why}");
    writeln!(client.stdin.as_mut().unwrap(), "no JSON\n").unwrap();
    let answer = client.hear();
    assert_eq!(answer["id"], Value::Null);
    assert_eq!(
        answer["error"]["message"],
        json!("what came is no JSON-RPC message (batches are not passed on)")
    );
    let (out, err) = client.end();
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
}

#[test]
fn a_server_that_wants_no_token_gets_none() {
    let mcp = Mcp::open();
    let home = home(&mcp, json!({"oauth": false}));
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let requests = mcp.requests();
    assert!(
        requests.contains(&"POST tools/call".to_owned()),
        "{requests:?}"
    );
}

#[test]
fn an_answer_is_enough_although_its_stream_stays_open() {
    let server = Script::start(false, |request| {
        let event = format!("data: {}\n\n", result(request));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
            event.len()
        )
    });
    let home = server.home();
    let mut client = Client::start(&home, &["tools"]);
    client.ask(0, "initialize", json!({}));
    // More than may be on their way at once: each has left when it was answered.
    for id in 1..80 {
        client.ask(id, "tools/list", json!({}));
    }
    client.end();
}

#[test]
fn a_connection_that_the_server_closed_is_not_used_again() {
    let server = Script::start(true, |request| {
        let body = result(request).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    });
    let home = server.home();
    let mut client = Client::start(&home, &["tools"]);
    // Whoever uses a connection at the very moment at which it closes is told so.
    let mut told = 0;
    for id in 0..20 {
        let (_, answer) = client.ask(id, "initialize", json!({}));
        told += usize::from(answer["error"].is_object());
    }
    assert!(told < 5, "{told} of 20 were lost");
    client.end();
}

#[test]
fn a_server_that_forgets_every_session_hangs_nothing() {
    let server = Script::start(false, |request| {
        if !request.contains("\"initialize\"") {
            return "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
        }
        let body = result(request).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    });
    let home = server.home();
    let mut client = Client::start(&home, &["tools"]);
    client.ask(0, "initialize", json!({}));
    for id in 1..3 {
        let (_, answer) = client.ask(id, "tools/list", json!({}));
        let why = answer["error"]["message"].as_str().unwrap();
        assert!(why.contains("HTTP 404"), "{why}");
    }
    client.end();
}

#[test]
fn what_wants_no_answer_is_never_lost() {
    let gate = Gate::default();
    let told = Arc::new(AtomicUsize::new(0));
    let (held, count) = (gate.clone(), told.clone());
    let server = Script::start(false, move |request| {
        if request.contains("\"notifications/progress\"") {
            held.pass();
            count.fetch_add(1, Ordering::Relaxed);
            return "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned();
        }
        let body = result(request).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    });
    let home = server.home();
    let mut client = Client::start(&home, &["tools"]);
    client.ask(0, "initialize", json!({}));
    // More than may be on their way at once, behind one that takes its time.
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress"});
    for _ in 0..200 {
        client.say(&progress);
    }
    gate.open();
    client.ask(1, "tools/list", json!({}));
    client.end();
    assert_eq!(told.load(Ordering::Relaxed), 200);
}

#[test]
fn what_is_not_answered_in_time_is_answered_with_an_error_once_the_client_went_away() {
    let server = Script::start(false, |request| match request.contains("\"initialize\"") {
        true => {
            let body = result(request).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            format!("{head}content-length: {}\r\n\r\n{body}", body.len())
        }
        false => String::new(),
    });
    let home = server.home();
    let mut client = Client::start(&home, &["tools"]);
    client.ask(0, "initialize", json!({}));
    client.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    let answer: Value = serde_json::from_str(&client.end().0).unwrap();
    assert_eq!(answer["id"], json!(1));
    let why = "the client went away before the answer";
    assert_eq!(answer["error"]["message"], json!(why));
}

#[test]
fn who_cancels_makes_room() {
    let mcp = Mcp::open();
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {
        "http": {"url": mcp.url(), "auth": {"oauth": false}},
        "sse": {"transport": "sse", "url": mcp.old_url(), "auth": {"oauth": false}},
    }}}));
    for name in ["http", "sse"] {
        let mut client = Client::start(&home, &[name]);
        client.initialize();
        // In all more than may be on their way at once.
        for round in 0..4 {
            for id in 100 * round + 1..100 * round + 32 {
                let hang = json!({"name": "hang", "arguments": {}});
                let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                    "params": hang});
                client.say(&call);
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                    "params": {"requestId": id}});
                client.say(&cancel);
            }
            let hello = json!({"name": "hello", "arguments": {}});
            let (before, answer) = client.ask(100 * round + 99, "tools/call", hello);
            assert_eq!((before, text(&answer)), (Vec::new(), "hi"), "{name}");
        }
        client.end();
    }
}
