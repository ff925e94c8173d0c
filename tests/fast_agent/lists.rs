//! fast-agent's config: what it finds of it, and what it calls a server's identity.

use super::python::installed;
use crate::mcp::server::Home;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const CONFIG: &str = "mcp:
  servers:
    plain: {transport: http, url: 'https://plain.example/mcp'}
    shared: {transport: sse, url: 'https://plain.example/sse'}
    nested: {transport: http, url: 'https://nested.example/api/mcp/'}
    query: {transport: http, url: 'https://query.example/mcp?x=1'}
    twice: {transport: http, url: 'https://twice.example/mcp/mcp'}
    slashes: {transport: http, url: 'https://slashes.example/mcp//'}
    bare: {url: 'https://bare.example'}
    v6: {transport: http, url: 'http://[::1]:9955/mcp'}
    none: {transport: http, url: 'https://none.example/mcp', auth: {oauth: false}}
    mem: {transport: http, url: 'https://mem.example/mcp', auth: {persist: memory}}
    local: {command: npx, args: [x]}
";

/// Name, transport, whether it has OAuth, where its tokens are kept, identity.
type Row = [String; 5];

/// What `fast-agent auth status` lists in this folder.
fn theirs(folder: &Path, home: Option<&Path>) -> BTreeSet<Row> {
    let mut command = Command::new(installed().join("fast-agent"));
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin");
    command
        .env("COLUMNS", "200")
        .env("TERM", "dumb")
        .env("NO_COLOR", "1");
    command.envs(home.map(|home| ("FAST_AGENT_HOME", home)));
    let output = command
        .args(["auth", "status"])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let rows = said.lines().filter(|line| line.contains("://"));
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let last = *words.last().unwrap();
        [words[0], words[1], words[2], words[3], last].map(str::to_owned)
    })
    .collect()
}

/// What we do.
fn ours(home: &Home, folder: &Path, fast_agent_home: Option<&Path>) -> BTreeSet<Row> {
    let mut command = home.command(&["auth", "status"]);
    command.env("COLUMNS", "200").current_dir(folder);
    command.envs(fast_agent_home.map(|home| ("FAST_AGENT_HOME", home)));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let rows = said.lines().filter(|line| line.contains("://"));
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let last = *words.last().unwrap();
        [words[0], words[1], words[2], words[3], last].map(str::to_owned)
    })
    .collect()
}

#[test]
fn fast_agent_lists_the_same_servers_wherever_its_config_is() {
    let home = Home::new();
    let folder = home.project();
    let elsewhere = folder.join("elsewhere");
    for (place, name, named) in [
        (folder.clone(), "fastagent.config.yaml", None),
        (folder.clone(), "fast-agent.config.yaml", None),
        (folder.clone(), "fast-agent.yaml", None),
        (folder.join(".fast-agent"), "fast-agent.yaml", None),
        (
            elsewhere.clone(),
            "fastagent.config.yaml",
            Some(elsewhere.as_path()),
        ),
    ] {
        fs::create_dir_all(&place).unwrap();
        let path = place.join(name);
        fs::write(&path, CONFIG).unwrap();
        let theirs = theirs(&folder, named);
        assert_eq!(theirs.len(), 10, "{theirs:?}");
        assert_eq!(ours(&home, &folder, named), theirs, "{}", path.display());
        fs::remove_file(&path).unwrap();
    }
    // Two of them in one folder: neither reads any.
    for name in ["fast-agent.yaml", "fastagent.config.yaml"] {
        fs::write(folder.join(name), CONFIG).unwrap();
    }
    let none = BTreeSet::new();
    assert_eq!(
        (theirs(&folder, None), ours(&home, &folder, None)),
        (none.clone(), none)
    );
    let all: Value = serde_json::from_str(&home.ok(&["auth", "status", "--json"])).unwrap();
    assert_eq!(all["mcp"]["servers"], serde_json::json!([]));
}
