//! What the commands for MCP servers leave in their memory.

use super::server::{Home, Mcp, query};
use crate::idp::{Fault, Gate, Idp, Options, TOKEN, Walker};
use crate::scanner::{
    AtExit, Hits, NO_SECRET_MEMORY, accounts, at_its_end, may_look, now, refusing, values_of,
};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use url::Url;

#[test]
fn commands_for_servers_leave_nothing_in_their_memory() {
    if !may_look() {
        return;
    }
    let idp = Idp::start_with(&Options {
        opaque: true,
        ..Options::default()
    });
    let mcp = Mcp::behind(&idp);
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"tools": {"url": mcp.url()}}}}));
    let change = |command: Command| refusing(&[NO_SECRET_MEMORY], &command);

    let (child, page) = home.begin_by(change, &["auth", "login", "tools"]);
    let gate = Gate::default();
    idp.proxy.plan(TOKEN, Fault::HoldAnswer(gate.clone()));
    let back = query(&page, "redirect_uri").unwrap();
    let end: Url = idp.sign_in(page.as_str(), &back).parse().unwrap();
    let code = query(&end, "code").unwrap();
    let page = std::thread::spawn(move || Walker::new("alice").get(&end).status());
    idp.proxy.wait_for(TOKEN, 1);
    // While the code is being redeemed it is there.
    assert_ne!(now(child.id(), &[&code]), Hits::new());
    let mut at_exit = AtExit::of(&child);
    gate.open();
    at_exit.wait();
    let secrets = values_of(&accounts(&home.state(), Path::new(&home.key())));
    assert_eq!(secrets.len(), 2, "access and refresh token");
    let mut secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    secrets.push(&code);
    assert_eq!(at_exit.look_for(&secrets), Hits::new(), "sign-in");
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(page.join().unwrap(), 200);

    for arguments in [
        &["auth", "token", "tools"][..],
        &["auth", "token", "tools", "--json"],
        &["auth", "status"],
    ] {
        let ended = at_its_end(&change(home.command(arguments)), b"", &secrets);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.hits, Hits::new(), "{arguments:?}");
    }
}
