//! State folders as they lie on disks: every file is found, and known for what it is.

use super::PlaceKind as K;
use super::named::{MAX_INCLUDE_DEPTH, MAX_INCLUDES};
use super::places::{MAX_FILES, MAX_FOLDER_DEPTH};
use super::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn environment(values: &[(&str, &str)]) -> HashMap<String, OsString> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    values.iter().map(owned).collect()
}

fn find(path: Option<&Path>, values: &[(&str, &str)]) -> Result<Folder, FamilyError> {
    let values = environment(values);
    Folder::find(path, &|name| values.get(name).cloned())
}

fn kinds(root: &Path) -> HashMap<String, (PlaceKind, bool, Option<String>)> {
    let found = places(&find(Some(root), &[]).unwrap());
    assert_eq!(found.skipped, []);
    let named = |p: Place| {
        let path = p.path.strip_prefix(root).unwrap().to_str().unwrap();
        (path.to_owned(), (p.kind, p.backup, p.agent))
    };
    found.places.into_iter().map(named).collect()
}

/// Every place of the contract; `AGENT` stands for the folder of the agent main.
const CONTRACT: &[(&str, K, bool)] = &[
    ("openclaw.json", K::Config, false),
    ("openclaw.json.bak", K::Config, true),
    ("openclaw.json.bak.4", K::Config, true),
    ("openclaw.json.last-good", K::Config, true),
    ("openclaw.json.pre-update", K::Config, true),
    (
        "openclaw.json.rejected.2026-06-01T00-00-00",
        K::Config,
        true,
    ),
    ("openclaw.json.clobbered.1", K::Config, true),
    (".env", K::EnvFile, false),
    (".env.bak", K::EnvFile, true),
    ("gateway.systemd.env", K::EnvFile, false),
    ("service-env/ai.openclaw.env", K::EnvFile, false),
    ("AGENT/auth-profiles.json", K::AuthProfiles, false),
    (
        "AGENT/auth-profiles.json.legacy-flat.1.bak",
        K::AuthProfiles,
        true,
    ),
    (
        "AGENT/auth-profiles.json.migrated-1-2",
        K::AuthProfiles,
        true,
    ),
    (
        "AGENT/auth-profiles.json.sqlite-import.1.bak",
        K::AuthProfiles,
        true,
    ),
    ("AGENT/auth-state.json", K::AuthState, false),
    ("AGENT/auth.json", K::LegacyAuth, false),
    ("AGENT/models.json", K::Models, false),
    ("AGENT/plugins/x/catalog.json", K::Catalog, false),
    ("AGENT/codex-home/auth.json", K::CodexHome, false),
    ("AGENT/openclaw-agent.sqlite", K::AgentDatabase, false),
    ("AGENT/openclaw-agent.sqlite-wal", K::DatabaseSide, false),
    ("AGENT/openclaw-agent.sqlite.bak-1", K::AgentDatabase, true),
    ("agents/main/sessions/s.jsonl", K::Session, false),
    ("state/openclaw.sqlite", K::SharedDatabase, false),
    ("state/openclaw.sqlite-shm", K::DatabaseSide, false),
    ("memory/main.sqlite", K::Database, false),
    ("credentials/oauth.json", K::LegacyOAuth, false),
    ("credentials/auth-profiles/a.json", K::Credentials, false),
    (
        "credentials/whatsapp/a/creds.json.bak",
        K::Credentials,
        true,
    ),
    ("mcp-oauth/s-0123456789abcdef.json", K::McpOAuth, false),
    ("identity/device.json", K::Identity, false),
    ("devices/paired.json", K::Identity, false),
    ("sandboxes/x/notes.txt", K::Other, false),
    ("logs/gateway.log", K::Session, false),
];

#[test]
fn every_place_of_the_contract_is_known() {
    let folder = TempDir::new().unwrap();
    let agent = |path: &str| path.replace("AGENT", "agents/main/agent");
    for (path, _, _) in CONTRACT {
        put(folder.path(), &agent(path), "{}");
    }
    let found = kinds(folder.path());
    assert_eq!(found.len(), CONTRACT.len());
    for (path, kind, backup) in CONTRACT {
        let of = path.starts_with('A') || path.starts_with("agents");
        let expected = (*kind, *backup, of.then(|| "main".to_owned()));
        assert_eq!(found[&agent(path)], expected, "{path}");
    }
}

#[test]
fn eras_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let era = || Era::of(&places(&find(Some(folder.path()), &[]).unwrap()).places);
    put(folder.path(), "openclaw.json", "{}");
    assert_eq!(era(), None);
    for (file, expected) in [
        ("agents/main/agent/auth.json", Era::A),
        ("agents/main/agent/auth-profiles.json", Era::A),
        ("agents/main/agent/auth-state.json", Era::B),
        ("state/openclaw.sqlite.bak-1", Era::B),
        ("agents/main/agent/openclaw-agent.sqlite", Era::C),
        ("state/openclaw.sqlite", Era::D),
    ] {
        put(folder.path(), file, "");
        assert_eq!(era(), Some(expected), "{file}");
    }
}

#[test]
fn folders_are_found_as_the_runtime_finds_them() {
    let home = TempDir::new().unwrap();
    let home_text = home.path().to_str().unwrap();
    let vars = [("HOME", home_text)];
    let absent = FamilyError::Absent(home.path().join(".openclaw"));
    assert_eq!(find(None, &vars), Err(absent));
    assert_eq!(find(None, &[]), Err(FamilyError::NoHome));
    put(home.path(), ".clawdbot/clawdbot.json", "{}");
    let folder = find(None, &vars).unwrap();
    assert_eq!(folder.config, home.path().join(".clawdbot/clawdbot.json"));
    put(home.path(), ".openclaw/openclaw.json", "{}");
    let folder = find(None, &vars).unwrap();
    assert_eq!(folder.root, home.path().join(".openclaw"));
    assert_eq!(folder.env_files.len(), 2);
    for (name, config, runtime) in [
        (".fased", "fased.json", Runtime::Fased),
        (".jarvis", "openclaw.json", Runtime::Jarvis),
        (".coderclaw", "none", Runtime::CoderClaw),
        ("copy", "clawdbot.json", Runtime::Clawdbot),
    ] {
        put(home.path(), &format!("{name}/{config}"), "{}");
        let folder = find(Some(&home.path().join(name)), &vars).unwrap();
        assert_eq!(folder.runtime, runtime, "{name}");
        assert_eq!(folder.env_files, Vec::<PathBuf>::new());
    }
    let jarvis = find(Some(&home.path().join(".jarvis")), &vars).unwrap();
    assert_eq!(jarvis.config, home.path().join(".jarvis/openclaw.json"));
}

#[test]
fn overrides_count_for_the_folder_that_the_environment_leads_to() {
    let home = TempDir::new().unwrap();
    let at = |path: &str| home.path().join(path);
    let text = |path: &str| at(path).to_str().unwrap().to_owned();
    put(home.path(), "state/x", "");
    put(home.path(), "other/openclaw.json", "{}");
    put(
        home.path(),
        "etc/my.json",
        "{\"agents\": {\"list\": [{\"id\": \"b\", \"agentDir\": \"../b\"}]}}",
    );
    put(home.path(), "etc/.env", "A=1");
    put(home.path(), "oauth/oauth.json", "{}");
    put(home.path(), "a/auth-profiles.json", "{}");
    put(home.path(), "b/auth.json", "{}");
    let (state, config, oauth, agent) =
        (text("state"), text("etc/my.json"), text("oauth"), text("a"));
    let vars = [
        ("OPENCLAW_STATE_DIR", state.as_str()),
        ("OPENCLAW_CONFIG_PATH", &config),
        ("OPENCLAW_OAUTH_DIR", &oauth),
        ("OPENCLAW_AGENT_DIR", &agent),
    ];
    let found = places(&find(Some(&at("state")), &vars).unwrap());
    let found: HashMap<_, _> = found.places.iter().map(|p| (&p.path, p)).collect();
    let kind = |path: &str| found.get(&at(path)).map(|p| (p.kind, p.agent.as_deref()));
    assert_eq!(kind("etc/my.json"), Some((PlaceKind::Config, None)));
    assert_eq!(kind("etc/.env"), Some((PlaceKind::EnvFile, None)));
    assert_eq!(
        kind("oauth/oauth.json"),
        Some((PlaceKind::LegacyOAuth, None))
    );
    let profiles = (PlaceKind::AuthProfiles, Some("main"));
    assert_eq!(kind("a/auth-profiles.json"), Some(profiles));
    assert_eq!(
        kind("b/auth.json"),
        Some((PlaceKind::LegacyAuth, Some("b")))
    );
    let other = places(&find(Some(&at("other")), &vars).unwrap());
    assert_eq!(other.places.len(), 1);
}

#[test]
fn includes_are_followed_inside_the_roots_and_circles_end() {
    let folder = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    put(outside.path(), "far.json", "{}");
    let far = outside.path().join("far.json");
    let config = format!(
        "{{ // comment\n \"$include\": [\"one.json5\", \"{}\"], \"x\": {{\"tokenFile\": \"t\"}} }}",
        far.display()
    );
    put(folder.path(), "openclaw.json", &config);
    put(
        folder.path(),
        "one.json5",
        "{channels: {\"$include\": './sub/two.json'}}",
    );
    put(
        folder.path(),
        "sub/two.json",
        "{\"$include\": \"../openclaw.json\"}",
    );
    put(folder.path(), "t", "x");
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    let kinds: Vec<_> = found.places.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [K::Include, K::Config, K::Include, K::TokenFile]);
    assert_eq!(found.skipped.len(), 1);
    assert_eq!(found.skipped[0].path, far);
}

#[test]
fn links_make_no_loop_and_a_file_counts_once() {
    let folder = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    put(outside.path(), "main/agent/auth.json", "{}");
    put(outside.path(), "real.json", "{}");
    symlink(outside.path(), folder.path().join("agents")).unwrap();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    symlink(
        outside.path().join("real.json"),
        folder.path().join("openclaw.json"),
    )
    .unwrap();
    symlink("nowhere", folder.path().join("dead")).unwrap();
    fs::hard_link(
        outside.path().join("real.json"),
        folder.path().join("twin.json"),
    )
    .unwrap();
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    let kinds: Vec<_> = found.places.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [PlaceKind::LegacyAuth, PlaceKind::Config]);
    let skipped: Vec<_> = found.skipped.iter().map(|s| s.path.clone()).collect();
    assert_eq!(skipped, [folder.path().join("loop")]);
}

#[test]
fn one_level_too_deep_is_skipped_and_said() {
    let folder = TempDir::new().unwrap();
    let deepest = "d/".repeat(MAX_FOLDER_DEPTH);
    put(folder.path(), &format!("{deepest}f"), "");
    assert_eq!(kinds(folder.path()).len(), 1);
    put(folder.path(), &format!("{deepest}e/g"), "");
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    assert_eq!((found.places.len(), found.skipped.len()), (1, 1));
    assert!(found.skipped[0].why.contains("24"), "{:?}", found.skipped);
}

#[test]
fn one_file_too_many_is_skipped_and_said() {
    let folder = TempDir::new().unwrap();
    for i in 0..=MAX_FILES {
        fs::write(folder.path().join(format!("{i:06}")), b"").unwrap();
    }
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    assert_eq!((found.places.len(), found.skipped.len()), (MAX_FILES, 1));
    assert_eq!(found.skipped[0].path, folder.path());
}

#[test]
fn sealed_files_of_our_own_are_known() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "reseal.json", "{}");
    put(folder.path(), "vault.reseal", "");
    put(folder.path(), "anchors/a", "");
    let own = Folder::own(folder.path(), &folder.path().join("reseal.json"));
    let kinds: Vec<_> = places(&own).places.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [K::Sealed, K::Config, K::Sealed]);
}

#[test]
fn one_include_too_many_and_one_too_deep_are_skipped_and_said() {
    let folder = TempDir::new().unwrap();
    let names = (0..=MAX_INCLUDES).map(|i| format!("{i:03}.json"));
    let names: Vec<String> = names.collect();
    for name in &names {
        put(folder.path(), name, "{}");
    }
    let config = serde_json::json!({ "$include": names }).to_string();
    put(folder.path(), "openclaw.json", &config);
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
    assert_eq!(found.skipped[0].path, folder.path().join("256.json"));

    let folder = TempDir::new().unwrap();
    let next = |i: usize| format!("{{\"$include\": \"{i}.json\"}}");
    put(folder.path(), "openclaw.json", &next(1));
    for i in 1..=MAX_INCLUDE_DEPTH + 1 {
        put(folder.path(), &format!("{i}.json"), &next(i + 1));
    }
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
    assert_eq!(found.skipped[0].path, folder.path().join("11.json"));
}

#[test]
fn one_unit_too_many_is_skipped_and_said() {
    let home = TempDir::new().unwrap();
    let units = home.path().join(".config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    for i in 0..=outside::MAX_UNITS {
        fs::write(units.join(format!("{i:04}.service")), b"").unwrap();
    }
    let found = outside::units(home.path());
    assert_eq!(found.places.len(), outside::MAX_UNITS);
    assert_eq!(found.skipped.len(), 1);
    assert_eq!(found.skipped[0].path, units.join("4096.service"));
}

#[test]
fn folders_of_credentials_inside_of_the_folder_are_known_for_what_they_are() {
    let home = TempDir::new().unwrap();
    let at = |path: &str| home.path().join(path);
    let text = |path: &str| at(path).to_str().unwrap().to_owned();
    let config = "{agents: {list: [{id: 'carl', agentDir: './workers/carl'}],
                            entries: {dan: {agentDir: 'workers/dan'}}}}";
    put(home.path(), "s/openclaw.json", config);
    for file in [
        "s/aa/oauth.json",
        "s/workers/carl/auth.json",
        "s/workers/carl/auth-profiles.json.bak",
        "s/workers/carl/codex-home/auth.json",
        "s/workers/dan/openclaw-agent.sqlite",
        "s/workers/eve/auth-profiles.json",
    ] {
        put(home.path(), file, "");
    }
    symlink("nowhere-else", at("s/workers/carl/dead")).unwrap();
    let (state, oauth, agent) = (text("s"), text("s/aa"), text("s/workers/eve"));
    let vars = [
        ("OPENCLAW_STATE_DIR", state.as_str()),
        ("OPENCLAW_OAUTH_DIR", &oauth),
        ("OPENCLAW_AGENT_DIR", &agent),
    ];
    let found = places(&find(Some(&at("s")), &vars).unwrap());
    let found: Vec<_> = found
        .places
        .iter()
        .map(|p| (p.kind, p.backup, p.agent.as_deref()))
        .collect();
    let expected = [
        (K::LegacyOAuth, false, None),
        (K::Config, false, None),
        (K::AuthProfiles, true, Some("carl")),
        (K::LegacyAuth, false, Some("carl")),
        (K::CodexHome, false, Some("carl")),
        (K::AgentDatabase, false, Some("dan")),
        (K::AuthProfiles, false, Some("main")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_agent_in_the_state_folder_itself_takes_nothing_from_it() {
    let folder = TempDir::new().unwrap();
    let config = "{agents: {list: [{id: 'carl', agentDir: '.'}]}}";
    put(folder.path(), "openclaw.json", config);
    put(folder.path(), "auth-profiles.json", "");
    put(folder.path(), "agents/main/agent/auth.json", "");
    put(folder.path(), "credentials/oauth.json", "");
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    let found: Vec<_> = found
        .places
        .iter()
        .map(|p| (p.kind, p.agent.as_deref()))
        .collect();
    let expected = [
        (K::LegacyAuth, Some("main")),
        (K::AuthProfiles, Some("carl")),
        (K::LegacyOAuth, None),
        (K::Config, None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_store_that_is_reached_first_under_another_name_is_known_all_the_same() {
    // By a link to the file, and by a link to its folder.
    for link in [
        "agents/main/agent/auth-profiles.json",
        "agents/main/agent",
        "agents/main",
    ] {
        let folder = TempDir::new().unwrap();
        let target = match link {
            "agents/main" => "_shared/agent/auth-profiles.json",
            _ => "_shared/auth-profiles.json",
        };
        put(folder.path(), "openclaw.json", "{}");
        put(folder.path(), target, "{}");
        let link = folder.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let end = if link.ends_with("auth-profiles.json") {
            target
        } else {
            "_shared"
        };
        symlink(folder.path().join(end), &link).unwrap();
        let found = places(&find(Some(folder.path()), &[]).unwrap());
        let kinds: Vec<_> = found
            .places
            .iter()
            .map(|p| (p.kind, p.agent.as_deref()))
            .collect();
        let expected = [(K::AuthProfiles, Some("main")), (K::Config, None)];
        assert_eq!(kinds, expected, "{}", link.display());
        assert_eq!(found.skipped, []);
    }
}

#[test]
fn only_a_link_that_leads_nowhere_is_passed_over_in_silence() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "openclaw.json", "{}");
    symlink("nowhere", folder.path().join("dead")).unwrap();
    symlink("openclaw.json/x", folder.path().join("dead-too")).unwrap();
    symlink("circle", folder.path().join("circle")).unwrap();
    symlink(".env", folder.path().join(".env")).unwrap();
    let found = places(&find(Some(folder.path()), &[]).unwrap());
    assert_eq!(found.places.len(), 1);
    let skipped: Vec<_> = found.skipped.iter().map(|s| s.path.clone()).collect();
    let expected = [".env", "circle"].map(|name| folder.path().join(name));
    assert_eq!(skipped, expected);
}
