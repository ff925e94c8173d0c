//! The folders of each era.

use super::claw::{Claw, contents, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A time that is far off, in milliseconds.
const FAR: u64 = 4_102_444_800_000;
const MAIN: &str = "agents/main/agent";

/// The last release that keeps its credentials in files.
pub fn era_b() -> Claw {
    let mut claw = Claw::new();
    let groq = config_and_env(&mut claw);
    profiles(&mut claw);
    older_files(&mut claw);
    let models = json!({"groq": {"apiKey": groq}});
    claw.put(&format!("{MAIN}/models.json"), &models.to_string());
    claw
}

/// Gives the key that stands in more than one place.
fn config_and_env(claw: &mut Claw) -> String {
    let groq = claw.moves("config/models/providers/groq/apiKey");
    let gateway = claw.moves("config/gateway/auth/token");
    let env = claw.stays(".env", "SOME_API_KEY");
    let config = json!({
        "models": {"providers": {"groq": {"apiKey": groq, "baseUrl": "https://x.example"}}},
        "gateway": {"auth": {"token": gateway}},
        "auth": {"profiles": {"openai-codex:me@x.example":
            {"provider": "openai-codex", "mode": "oauth", "email": "me@x.example"}}},
        "unknown": {"kept": [1, 2, 3]},
    });
    let config = format!("// A comment that stays.\n{config:#}\n");
    for name in ["", ".bak", ".bak.1", ".last-good"] {
        claw.put(&format!("openclaw.json{name}"), &config);
    }
    let env = format!("A=1\nGROQ_API_KEY='{groq}'\nSOME_API_KEY='{env}'\n");
    claw.put(".env", &env);
    groq
}

fn profiles(claw: &mut Claw) {
    let openai = claw.moves("openai/default");
    let manual = claw.moves("anthropic/manual");
    let [access, refresh, id] = ["accessToken", "refreshToken", "idToken"]
        .map(|member| claw.moves(&format!("oauth/openai-codex/me#40x.example {member}")));
    let coder = claw.moves("agents/coder/groq/default");
    let profiles = format!("{MAIN}/auth-profiles.json");
    let [google, google_refresh] = [0, 1].map(|_| claw.stays(&profiles, "main: google:me"));
    let odd = claw.stays(&profiles, "main: odd:one");
    let account = json!({"type": "oauth", "provider": "openai-codex", "access": access,
        "refresh": refresh, "idToken": id, "expires": FAR, "email": "me@x.example",
        "accountId": "acct-1", "extra": "kept"});
    let store = json!({"version": 1, "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "key": openai, "extra": 1},
        "anthropic:manual": {"type": "token", "provider": "anthropic", "token": manual,
            "expires": FAR},
        "openai-codex:me@x.example": account,
        "google:me": {"type": "oauth", "provider": "google", "access": google,
            "refresh": google_refresh, "expires": FAR},
        "odd:one": {"type": "hologram", "provider": "odd", "beam": odd},
    }})
    .to_string();
    claw.put(&profiles, &store);
    claw.put(&format!("{profiles}.oauth-ref.1700000000000.bak"), &store);
    let state = json!({"version": 1,
        "order": {"openai": ["openai:default"]},
        "lastGood": {"anthropic": "anthropic:manual"},
        "usageStats": {"openai:default": {"lastUsed": 5, "errorCount": 1}}});
    claw.put(&format!("{MAIN}/auth-state.json"), &state.to_string());
    let store = json!({"version": 1, "profiles": {
        "groq:default": {"type": "api_key", "provider": "groq", "key": coder},
        "openai-codex:me@x.example": account,
    }});
    claw.put("agents/coder/agent/auth-profiles.json", &store.to_string());
    let said = |text: &str| json!({"text": text}).to_string();
    claw.put("agents/main/sessions/1.jsonl", &said(&openai));
    claw.put("agents/main/sessions/2.jsonl", &said(&refresh));
}

fn older_files(claw: &mut Claw) {
    let [access, refresh] = ["accessToken", "refreshToken"]
        .map(|member| claw.moves(&format!("oauth/openai-codex/default {member}")));
    let mistral = claw.moves("mistral/default");
    let cohere = claw.moves("cohere/default");
    let conflict = claw.stays(&format!("{MAIN}/auth.json"), "auth.json: openai");
    let auth = json!({
        "mistral": {"type": "api_key", "key": mistral},
        "cohere": {"type": "api_key", "provider": "cohere", "key": cohere},
        "openai": {"type": "api_key", "provider": "openai", "key": conflict},
    });
    claw.put(&format!("{MAIN}/auth.json"), &auth.to_string());
    let oauth = json!({"openai-codex": {"access": access, "refresh": refresh, "expires": FAR}});
    claw.put("credentials/oauth.json", &oauth.to_string());
}

/// One file for everything, and no `#` in the ids of exec refs.
pub fn era_a() -> Claw {
    let mut claw = Claw::new();
    let openai = claw.moves("openai/default");
    let mail = claw.moves("mistral/me.40x.example");
    let [access, refresh] = ["accessToken", "refreshToken"]
        .map(|member| claw.moves(&format!("oauth/openai-codex/default {member}")));
    claw.put("openclaw.json", "{}");
    claw.put(
        &format!("{MAIN}/auth-profiles.json"),
        &json!({"version": 1, "profiles": {
        "openai:default": {"mode": "apiKey", "provider": "openai", "apiKey": openai},
        "mistral:me@x.example": {"type": "api_key", "provider": "mistral", "key": mail},
        "openai-codex:default": {"type": "oauth", "provider": "openai-codex", "access": access,
            "refresh": refresh, "expires": FAR},
    }, "order": {"openai": ["openai:default"]},
    "usageStats": {"openai:default": {"lastUsed": 7}}})
        .to_string(),
    );
    claw
}

fn json_of(claw: &Claw, own: bool, name: &str) -> Value {
    let folder = if own { claw.own() } else { claw.from() };
    let text = fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn era_b_moves_whole() {
    let claw = era_b();
    let before = contents(&claw.from());
    let plan = claw.migrate(&["--dry-run"]);
    assert_eq!(plan["mode"], "dry-run");
    assert_eq!(contents(&claw.from()), before, "a dry run writes nothing");
    assert!(claw.records().is_empty());

    let report = claw.migrate(&[]);
    assert_eq!(report["era"], "B");
    claw.check(&report);
    let sessions = report["residue"].to_string();
    assert!(
        sessions.contains("1.jsonl") && sessions.contains("2.jsonl"),
        "{sessions}"
    );

    let profiles = format!("{MAIN}/auth-profiles.json");
    let theirs = json_of(&claw, false, &profiles);
    let account = &theirs["profiles"]["openai-codex:me@x.example"];
    let record = "oauth/openai-codex/me#40x.example";
    assert_eq!(account["type"], "token");
    assert_eq!(account["tokenRef"]["id"], record);
    assert_eq!(account["extra"], "kept");
    assert!(
        account.get("expires").is_none(),
        "an end that is not that of the next token"
    );
    assert_eq!(theirs["profiles"]["openai:default"]["extra"], 1);
    let coder = json_of(&claw, false, "agents/coder/agent/auth-profiles.json");
    let shared = &coder["profiles"]["openai-codex:me@x.example"]["tokenRef"]["id"];
    assert_eq!(shared, record, "one account, one record");
    let config = fs::read_to_string(claw.from().join("openclaw.json")).unwrap();
    assert!(config.contains("// A comment that stays.") && config.contains("\"kept\""));
    assert!(!config.contains("\"oauth\""), "{config}");
    assert!(!claw.from().join("credentials/oauth.json").exists());

    let ours = json_of(&claw, true, &profiles);
    assert_eq!(
        ours["profiles"]["openai-codex:me@x.example"]["oauthRef"]["id"],
        record
    );
    assert_eq!(
        ours["profiles"]["mistral:default"]["keyRef"]["source"],
        "vault"
    );
    let state = json_of(&claw, true, &format!("{MAIN}/auth-state.json"));
    assert_eq!(state["lastGood"]["anthropic"], "anthropic:manual");

    let token = claw.run(&["token", "openai-codex:me@x.example"]);
    let access = claw
        .moved
        .iter()
        .find(|(_, r)| **r == format!("{record} accessToken"));
    assert_eq!(text(&token.stdout).trim_end(), access.unwrap().0);

    let after = (contents(&claw.from()), contents(&claw.own()));
    let again = claw.migrate(&[]);
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!((contents(&claw.from()), contents(&claw.own())), after);
}

#[test]
fn era_a_moves_whole() {
    let claw = era_a();
    let report = claw.migrate(&[]);
    assert_eq!(report["era"], "A");
    claw.check(&report);
    let state = json_of(&claw, true, &format!("{MAIN}/auth-state.json"));
    assert_eq!(state["order"]["openai"], json!(["openai:default"]));
    assert_eq!(claw.migrate(&[])["changed"], false);
}

/// The form that came before the object `profiles`, with what nobody understands.
#[test]
fn the_flat_form_moves() {
    let mut claw = Claw::new();
    let [ollama, work] = ["ollama/default", "openai/work"].map(|record| claw.moves(record));
    let [access, refresh] = ["accessToken", "refreshToken"]
        .map(|member| claw.moves(&format!("oauth/openai-codex/default {member}")));
    let file = format!("{MAIN}/auth-profiles.json");
    let loose = claw.stays(&file, "main: loose");
    let flat = json!({
        "ollama": {"apiKey": ollama, "baseUrl": "http://x.example"},
        "openai:work": {"type": "token", "token": work},
        "openai-codex": {"access": access, "refresh": refresh, "expires": FAR},
        "loose": loose,
    });
    claw.put("openclaw.json", "{}");
    claw.put(&file, &flat.to_string());
    let backup = format!("{file}.legacy-flat.1700000000000.bak");
    claw.put(&backup, &json!({"ollama": {"apiKey": ollama}}).to_string());
    let report = claw.migrate(&[]);
    claw.check(&report);
    let theirs = json_of(&claw, false, &file);
    assert_eq!(theirs["version"], 1);
    assert_eq!(
        theirs["profiles"]["ollama:default"]["keyRef"]["id"],
        "ollama/default"
    );
    assert_eq!(
        theirs["profiles"]["ollama:default"]["baseUrl"],
        "http://x.example"
    );
    let ours = json_of(&claw, true, &file);
    assert_eq!(ours["profiles"].as_object().unwrap().len(), 3);
    assert_eq!(claw.migrate(&[])["changed"], false);
}

#[test]
fn a_value_of_our_own_is_never_replaced() {
    let claw = era_a();
    let mut set = claw.command(&["secrets", "set", "openai/default"]);
    let key = "the-value-of-our-own";
    let mut child = set.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), key.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    claw.migrate(&[]);
    let records = claw.records();
    assert_eq!(records["openai/default"], key);
    let theirs = json_of(&claw, false, &format!("{MAIN}/auth-profiles.json"));
    assert_eq!(
        theirs["profiles"]["openai:default"]["keyRef"]["id"],
        "openai/default.2"
    );
    let moved = claw
        .moved
        .iter()
        .find(|(_, record)| *record == "openai/default")
        .unwrap();
    assert_eq!(&records["openai/default.2"], moved.0);
}

#[test]
fn a_runtime_that_runs_is_left_alone() {
    let claw = era_a();
    let from = claw.from();
    let plan = claw.beside("plan.json");
    let [from, plan] = [&from, &plan].map(|path| path.to_str().unwrap());
    let drawn = claw.without_key(&["secrets", "plan", "--from", from, "--out", plan]);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    let before = contents(&claw.from());
    let lock = json!({"pid": std::process::id(), "configPath": claw.from().join("openclaw.json")});
    let uid = fs::metadata(claw.from()).unwrap().uid();
    let gateway = claw.beside(&format!("tmp/openclaw-{uid}/gateway.0badcafe.lock"));
    let store = claw.from().join(MAIN).join("auth-profiles.json.lock");
    for path in [gateway, store] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, lock.to_string()).unwrap();
        let args = claw.migrate_args();
        let migrate: Vec<&str> = args.iter().map(String::as_str).collect();
        let apply = ["secrets", "apply", "--from", plan].to_vec();
        for args in [migrate, apply] {
            let output = claw.run(&args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(8), "{said}");
            assert!(said.contains(&std::process::id().to_string()), "{said}");
            assert!(said.contains(path.to_str().unwrap()), "{said}");
            assert!(said.contains("nothing was written"), "{said}");
        }
        fs::remove_file(path).unwrap();
    }
    assert_eq!(contents(&claw.from()), before);
    let output = claw.run(&["secrets", "apply", "--from", plan]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn without_a_terminal_it_wants_to_be_told() {
    let claw = era_a();
    let from = claw.from();
    let output = claw.run(&["secrets", "migrate", from.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(claw.records().is_empty());
}

#[test]
fn broken_files_are_named_and_nothing_is_written() {
    let claw = era_a();
    claw.put(
        &format!("{MAIN}/auth.json"),
        "{\"openai\": {\n  \"key\": \n}}",
    );
    let before = contents(&claw.from());
    let args = claw.migrate_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = claw.run(&args);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("auth.json") && said.contains("line 3"),
        "{said}"
    );
    assert_eq!(contents(&claw.from()), before);
    assert!(claw.records().is_empty());
}
