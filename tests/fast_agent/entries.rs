//! Entries of a real GNOME Keyring that fast-agent and we share: what one signed in with, the other
//! uses.

use super::python::{installed, opaque};
use crate::idp::{Idp, Walker};
use crate::keyring::fixture::{Desk, With};
use crate::mcp::client::{Client, text};
use crate::mcp::server::{Home, Mcp, query};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use url::Url;

/// A project with this server.
fn home_with(desk: &Desk, mcp: &Mcp) -> Home {
    let home = Home::bare().on_bus(desk.address());
    home.servers(&format!(
        "mcp: {{servers: {{tools: {{url: {:?}}}}}}}",
        mcp.url()
    ));
    home
}

/// fast-agent in the project of this home, on this desk.
fn fast_agent(desk: &Desk, home: &Home) -> Command {
    let program = installed().join("fast-agent");
    let mut command = desk.command(program.to_str().unwrap());
    // Addresses stay in one line.
    command.env("COLUMNS", "4000").env("PYTHONUNBUFFERED", "1");
    command.env("TERM", "dumb").env("NO_COLOR", "1");
    command.current_dir(home.project()).stdin(Stdio::null());
    command
}

#[test]
fn fast_agent_uses_what_we_signed_in_with() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = home_with(&desk, &mcp);
    let theirs = |args: &[&str]| {
        let output = fast_agent(&desk, &home).args(args).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}{told}");
        said
    };
    let row = |table: &str| {
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with("tools"));
        line.unwrap_or_else(|| panic!("{table}")).to_owned()
    };
    assert!(row(&theirs(&["auth", "status"])).contains('✗'));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    assert!(row(&theirs(&["auth", "status"])).contains('✓'));
    let call = "***CALL_TOOL hello {}";
    let said = theirs(&[
        "go",
        "--model",
        "passthrough",
        "--servers",
        "tools",
        "-m",
        call,
    ]);
    assert!(said.contains("hi"), "{said}");
    // It is the token that we have, and is still good for us.
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    assert_eq!(client.end().0, "");
}

#[test]
fn we_use_what_fast_agent_signed_in_with() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = home_with(&desk, &mcp);
    let mut login = fast_agent(&desk, &home)
        .args(["auth", "login", "tools"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It opens no browser: it shows the address.
    let mut lines = BufReader::new(login.stdout.take().unwrap()).lines();
    let page = lines.find_map(|line| {
        let line = line.unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.contains("response_type="))?;
        Url::parse(url).ok()
    });
    let page = page.expect("the address of the page");
    let end = idp.sign_in(page.as_str(), &query(&page, "redirect_uri").unwrap());
    Walker::new("alice").get(&Url::parse(&end).unwrap());
    lines.for_each(drop);
    assert!(login.wait().unwrap().success());
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    assert_eq!(client.end().0, "");
    // And it is theirs: taken out, they have none either.
    home.ok(&["auth", "clear", "tools", "--yes"]);
    let status = fast_agent(&desk, &home).args(["auth", "status"]).output();
    let said = String::from_utf8(status.unwrap().stdout).unwrap();
    let line = said
        .lines()
        .find(|line| line.trim_start().starts_with("tools"));
    assert!(line.unwrap_or_else(|| panic!("{said}")).contains('✗'));
}
