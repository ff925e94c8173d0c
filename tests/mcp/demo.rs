//! The official TypeScript SDK's demo, as published, with its own authorization server: both sides
//! of what the client believes are somebody else's, and neither was set up by these tests.

use super::client::{Client, text};
use super::server::{Home, Mcp, query};
use crate::idp::{Consent, Walker};
use serde_json::{Value, json};
use url::Url;

const DEMO: &str = "simple-streamable-http-server";

/// Opens the page that a sign-in asks for; the demo believes whoever comes.
fn open(page: &Url) {
    let back = query(page, "redirect_uri").unwrap();
    let mut walker = Walker::new("somebody");
    let end = walker.sign_in(page.as_str(), &back, Consent::Give);
    let shown = walker.get(&Url::parse(&end).unwrap());
    assert_eq!(shown.status(), 200, "{}", shown.text());
}

#[test]
fn the_sdks_own_demo_is_signed_in_to_used_and_forgotten() {
    let mcp = Mcp::demo();
    let home = Home::new();
    home.servers(&format!(
        "mcp: {{servers: {{demo: {{url: {:?}}}}}}}",
        mcp.url()
    ));
    let (child, page) = home.begin(&["auth", "login", "demo"]);
    assert_eq!(query(&page, "resource"), Some(mcp.url()));
    assert_eq!(query(&page, "scope").as_deref(), Some("mcp:tools"));
    open(&page);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let stored = format!("Tokens stored for identity: {}", mcp.identity());
    assert!(said.contains(&stored), "{said}");

    let token = home.ok(&["auth", "token", "demo"]);
    assert_eq!(home.ok(&["auth", "token", &mcp.identity()]), token);
    let mut client = Client::start(&home, &["demo", "--no-sign-in"]);
    client.initialize_with(DEMO);
    let (_, listed) = client.ask(1, "tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let greets = tools.iter().any(|tool| tool["name"] == json!("greet"));
    assert!(greets, "{listed}");
    assert_eq!(client.end().0, "");

    let removed = home.run(&["auth", "clear", "demo", "--yes"]);
    assert!(String::from_utf8_lossy(&removed.stderr).contains("Tokens removed."));
    let (said, code) = home.fails(&["auth", "token", "demo"]);
    assert!(said.contains("reseal auth login demo"), "{said}");
    assert_eq!(code, 9);
}

#[test]
fn a_bridge_signs_in_to_the_demo_and_carries_what_the_server_asks_and_tells() {
    let mcp = Mcp::demo();
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"demo": {"url": mcp.url()}}}}));
    let mut client = Client::start(&home, &["demo", "--no-browser"]);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "tests", "version": "1"}});
    client.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}));
    open(&client.page());
    assert_eq!(client.hear()["result"]["serverInfo"]["name"], json!(DEMO));
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));

    let call = |tool: &str, arguments: Value| json!({"name": tool, "arguments": arguments});
    let greet = call("greet", json!({"name": "Zoë"}));
    assert_eq!(text(&client.ask(1, "tools/call", greet).1), "Hello, Zoë!");

    // The server asks the client in the middle of its own answer.
    let collect = call("collect-user-info", json!({"infoType": "feedback"}));
    client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": collect}));
    let asked = client.hear();
    assert_eq!(asked["method"], json!("elicitation/create"), "{asked}");
    let said = json!({"action": "accept", "content": {"rating": 5, "recommend": true}});
    client.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": said}));
    let thanks = client.hear();
    assert!(
        text(&thanks).starts_with("Thank you! Collected feedback"),
        "{thanks}"
    );

    // What it tells outside of any answer comes over the stream beside, once that is open.
    let tell = call(
        "start-notification-stream",
        json!({"interval": 1, "count": 3}),
    );
    let told = (3..100).find_map(|id| {
        let (before, _) = client.ask(id, "tools/call", tell.clone());
        before.into_iter().next()
    });
    let told = told.unwrap();
    assert_eq!(told["method"], json!("notifications/message"), "{told}");
    client.end();
}
