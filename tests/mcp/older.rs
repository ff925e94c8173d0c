//! `reseal auth proxy` and the transport of revision 2024-11-05, HTTP with server-sent events, as
//! the official SDK's server speaks it.

use super::client::{Client, text};
use super::script::Script;
use super::server::{Home, Mcp, query};
use crate::idp::{Idp, Options};
use serde_json::json;

fn home(mcp: &Mcp, oauth: bool) -> Home {
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"tools": {
        "transport": "sse", "url": mcp.old_url(), "auth": {"oauth": oauth}}}}}));
    home
}

#[test]
fn a_server_of_the_older_transport_is_used_like_any_other() {
    let idp = Idp::start_with(&Options {
        opaque: true,
        ..Options::default()
    });
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, true);
    let (_, page) = home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    assert_eq!(query(&page, "resource"), Some(mcp.old_url()));
    let mut client = Client::start(&home, &["tools", "--no-browser"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    let (before, answer) = client.ask(2, "tools/call", json!({"name": "count", "arguments": {}}));
    assert_eq!(text(&answer), "counted");
    let told = before.iter().map(|note| note["params"]["data"].clone());
    assert_eq!(told.collect::<Vec<_>>(), [json!(1), json!(2), json!(3)]);

    // A token that is refused is renewed, a scope that is missing is asked for.
    mcp.refuse(home.ok(&["auth", "token", "tools"]).trim());
    assert_eq!(text(&client.call(3, "hello")), "hi");
    let write = json!({"name": "write", "arguments": {}});
    client.say(&json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": write}));
    let page = client.agree(&idp);
    let scope = query(&page, "scope").unwrap();
    assert!(scope.contains("api:write"), "{scope}");
    assert_eq!(text(&client.hear()), "written");
    assert_eq!(client.end().0, "");
    let opened = mcp.requests();
    let opened = opened
        .iter()
        .filter(|request| request.starts_with("GET "))
        .count();
    assert_eq!(opened, 1);
}

#[test]
fn a_stream_that_ended_begins_as_the_client_began() {
    let mcp = Mcp::open();
    let home = home(&mcp, false);
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    mcp.forget();
    // What is sent while the stream ends is answered with an error.
    let again = (2..1000).find_map(|id| {
        let (before, answer) =
            client.ask(id, "tools/call", json!({"name": "hello", "arguments": {}}));
        assert_eq!(before, [json!(null); 0], "the client did not begin again");
        answer["error"].is_null().then_some(answer)
    });
    assert_eq!(text(&again.unwrap()), "hi");
    client.end();
    let requests = mcp.requests();
    for (what, count) in [
        ("POST initialize", 2),
        ("POST notifications/initialized", 2),
    ] {
        let seen = requests.iter().filter(|request| *request == what);
        assert_eq!(seen.count(), count, "{requests:?}");
    }
}

#[test]
fn an_address_that_is_not_the_servers_own_is_refused() {
    for elsewhere in ["http://127.0.0.1:1/x", "//localhost/x", "https://["] {
        let server = Script::start(true, move |request| {
            assert!(request.starts_with("GET "), "{request}");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            format!("{head}event: endpoint\ndata: {elsewhere}\n\n")
        });
        let home = server.home_with("sse");
        let mut client = Client::start(&home, &["tools"]);
        let (_, answer) = client.ask(0, "initialize", json!({}));
        let why = answer["error"]["message"].as_str().unwrap();
        assert!(why.contains("address for messages"), "{elsewhere}: {why}");
        client.end();
    }
}
