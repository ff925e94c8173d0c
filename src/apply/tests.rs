//! The engine and the draft, on real files and a real vault.

use super::*;
use crate::plan::{Drawn, Plan, Via, draw};
use crate::profile::Store;
use crate::runtime::fixture::new_vault;
use crate::runtime::local::Local;
use crate::store::StateDir;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const KEY: &str = "canary-groq-0123456789abcdef";
const PROFILE_KEY: &str = "canary-openai-0123456789abcdef";

struct World {
    folder: tempfile::TempDir,
    state: StateDir,
    service: Local,
}

impl World {
    fn new() -> Self {
        let (folder, state, vault) = new_vault();
        let service = Local::new(state.clone(), state.config(), vault);
        Self {
            folder,
            state,
            service,
        }
    }

    /// Our own folder with a config and profiles that hold plaintext.
    fn filled() -> Self {
        let world = Self::new();
        world.write("state/reseal.json", CONFIG);
        world.state.create_agent(&"main".parse().unwrap()).unwrap();
        world.write("state/agents/main/agent/auth-profiles.json", PROFILES);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn site(&self) -> Site {
        Site::own(&self.state, self.state.config())
    }

    fn program(&self) -> Program {
        Program {
            path: fs::canonicalize(std::env::current_exe().unwrap()).unwrap(),
            state_dir: self.state.root().to_path_buf(),
        }
    }

    fn plan(&self) -> Plan {
        draw_of(&self.site(), &Via::Vault).plan
    }

    fn draft(&mut self, plan: &Plan) -> Result<Draft, Failure> {
        let (site, program) = (self.site(), self.program());
        draft(plan, &site, &program, &mut self.service)
    }

    fn apply(&mut self, plan: &Plan) -> Result<Report, Failure> {
        let draft = self.draft(plan)?;
        run(&mut self.service, &draft.changes, &|| Ok(()), &mut |_| {})
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let request = Request::Get {
            name: name.parse().unwrap(),
            version: None,
        };
        let answer = self.service.call(request, Vec::new()).ok()?;
        Some(String::from_utf8(answer.secrets[0].expose().to_vec()).unwrap())
    }
}

fn draw_of(site: &Site, via: &Via) -> Drawn {
    let bytes = site::read(&site.config).unwrap().unwrap();
    let document = site::parse(&site.config, &bytes).unwrap();
    let config = crate::config::Config::read(&document, crate::config::Trust::Own).unwrap();
    let stores: Vec<_> = site
        .agents()
        .unwrap()
        .into_iter()
        .map(|agent| {
            let path = site.profiles(&agent);
            let text = fs::read_to_string(&path).unwrap();
            let store = Store::parse(&text, "profiles", &config.defaults).unwrap();
            (agent, store)
        })
        .collect();
    let stores: Vec<_> = stores.iter().map(|(agent, store)| (agent, store)).collect();
    draw(&config, &stores, via)
}

const CONFIG: &str = r#"{
  // The key of groq.
  "models": {"providers": {
    "groq": {"apiKey": "canary-groq-0123456789abcdef", "baseUrl": "https://x.example"}, // kept
  }},
  "unknown": [1, 2,],
}
"#;

const PROFILES: &str = r#"{"version": 1, "profiles": {
  "openai:default": {"type": "api_key", "provider": "openai",
    "key": "canary-openai-0123456789abcdef", "extra": {"a": 1}},
  "groq:default": {"type": "api_key", "provider": "groq", "key": "canary-groq-0123456789abcdef"}
}, "order": {"openai": ["openai:default"]}}
"#;

#[test]
fn a_plan_moves_every_value_and_keeps_everything_else() {
    let mut world = World::filled();
    let config = world.path("state/reseal.json");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let plan = world.plan();
    let report = world.apply(&plan).unwrap();
    assert_eq!((report.stored.len(), report.rewritten.len()), (3, 2));
    assert_eq!(
        world
            .value("config/models/providers/groq/apiKey")
            .as_deref(),
        Some(KEY)
    );
    assert_eq!(world.value("openai/default").as_deref(), Some(PROFILE_KEY));
    let text = world.read("state/reseal.json");
    assert!(!text.contains("canary"));
    assert!(text.contains("// The key of groq.") && text.contains("// kept"));
    assert!(text.contains("\"unknown\": [1, 2,]"));
    assert_eq!(
        fs::metadata(&config).unwrap().permissions().mode() & 0o777,
        0o640
    );
    let profiles: Value =
        serde_json::from_str(&world.read("state/agents/main/agent/auth-profiles.json")).unwrap();
    let expected = json!({"type": "api_key", "provider": "openai", "extra": {"a": 1},
        "keyRef": {"source": "vault", "provider": "default", "id": "openai/default"}});
    assert_eq!(profiles["profiles"]["openai:default"], expected);
    assert_eq!(profiles["order"], json!({"openai": ["openai:default"]}));
    // Once more: nothing is left to do.
    let again = world.apply(&plan).unwrap();
    assert_eq!(again, Report::default());
    assert!(world.plan().targets.is_empty());
}

#[test]
fn a_file_that_changed_meanwhile_stops_everything() {
    let mut world = World::filled();
    let plan = world.plan();
    let draft = world.draft(&plan).unwrap();
    let profiles = "state/agents/main/agent/auth-profiles.json";
    world.write(profiles, &PROFILES.replace("\"a\": 1", "\"a\": 2"));
    let failure = run(&mut world.service, &draft.changes, &|| Ok(()), &mut |_| {}).unwrap_err();
    assert_eq!(failure.code, Code::ConfigConflict);
    assert!(failure.message.contains("auth-profiles.json"), "{failure}");
    assert_eq!(world.read("state/reseal.json"), CONFIG);
    assert_eq!(world.value("openai/default"), None);
}

#[test]
fn a_record_with_another_value_stops_everything() {
    let mut world = World::filled();
    let put = Request::Put {
        name: "openai/default".parse().unwrap(),
        kind: RecordKind::ApiKey,
        meta: Meta::default(),
        expect: Expect::Absent,
    };
    let other = SecretValue::copy_of(b"another");
    world.service.call(put, vec![other]).unwrap();
    let plan = world.plan();
    let failure = world.apply(&plan).unwrap_err();
    assert_eq!(failure.code, Code::RecordExists);
    assert!(failure.message.contains("openai/default"), "{failure}");
    assert_eq!(world.read("state/reseal.json"), CONFIG);
    assert_eq!(world.value("config/models/providers/groq/apiKey"), None);
}

#[test]
fn a_symlink_stays_and_a_read_only_file_is_refused() {
    let mut world = World::filled();
    let (config, real) = (
        world.path("state/reseal.json"),
        world.path("dotfiles/reseal.json"),
    );
    world.write("dotfiles/reseal.json", CONFIG);
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(&real, &config).unwrap();
    let plan = world.plan();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o400)).unwrap();
    let failure = world.apply(&plan).unwrap_err();
    assert_eq!(failure.code, Code::FilePermission);
    assert!(
        failure.message.contains("reseal.json is read-only"),
        "{failure}"
    );
    assert_eq!(world.value("openai/default"), None);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    world.apply(&plan).unwrap();
    assert!(fs::symlink_metadata(&config).unwrap().is_symlink());
    assert!(!world.read("dotfiles/reseal.json").contains("canary"));
}

#[test]
fn what_a_killed_write_left_behind_goes() {
    let mut world = World::filled();
    let left = "state/reseal.json.tmp-0123456789abcdef";
    world.write(left, CONFIG);
    world.write("state/reseal.json.tmp-mine", "another program's");
    let plan = world.plan();
    world.apply(&plan).unwrap();
    assert!(!world.path(left).exists());
    assert!(world.path("state/reseal.json.tmp-mine").exists());
}

#[test]
fn the_steps_come_in_their_order() {
    let mut world = World::filled();
    world.write("state/.env", &format!("GROQ_API_KEY={KEY}\n"));
    let (plan, site) = (world.plan(), world.site());
    let mut draft = world.draft(&plan).unwrap();
    scrub(&mut draft, &site, &site.places().places, plan.options).unwrap();
    let mut steps = Vec::new();
    let mut note = |step: Step<'_>| {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        steps.push(match step {
            Step::Checking => "check".to_owned(),
            Step::Storing(count) => format!("store {count}"),
            Step::Comparing => "compare".to_owned(),
            Step::Rewriting(path) => format!("rewrite {}", name(path)),
            Step::Scrubbing(path) => format!("scrub {}", name(path)),
        });
    };
    run(&mut world.service, &draft.changes, &|| Ok(()), &mut note).unwrap();
    let expected = [
        "check",
        "store 3",
        "compare",
        "rewrite reseal.json",
        "rewrite auth-profiles.json",
        "scrub .env",
    ];
    assert_eq!(steps, expected);
    assert_eq!(world.read("state/.env"), "");
}

/// An entry goes with its key only if that was all of it.
#[test]
fn an_older_entry_that_holds_more_than_a_moved_key_stays() {
    let mut world = World::filled();
    let name = "state/agents/main/agent/auth.json";
    let auth = json!({
        "bare": {"type": "api_key", "provider": "groq", "key": KEY},
        "twice": {"key": KEY, "token": PROFILE_KEY},
        "refresh": {"type": "oauth", "token": KEY, "refresh": "another", "access": "one"},
        "key": {"type": "api_key", "key": KEY, "token": "another"},
        "deep": {"in": {"key": KEY}},
    });
    world.write(name, &auth.to_string());
    let (plan, site) = (world.plan(), world.site());
    let mut draft = world.draft(&plan).unwrap();
    scrub(&mut draft, &site, &site.places().places, plan.options).unwrap();
    let warned = draft
        .warnings
        .iter()
        .any(|w| w.contains("auth.json still holds"));
    assert!(warned, "{:?}", draft.warnings);
    run(&mut world.service, &draft.changes, &|| Ok(()), &mut |_| {}).unwrap();
    let mut kept = auth;
    kept.as_object_mut()
        .unwrap()
        .retain(|key, _| !["bare", "twice"].contains(&key.as_str()));
    let now: Value = serde_json::from_str(&world.read(name)).unwrap();
    assert_eq!(now, kept);
}

/// The other runtime may start while a person reads the plan, or while values are sealed.
#[test]
fn what_starts_meanwhile_stops_the_run_before_its_first_write() {
    let mut world = World::filled();
    let plan = world.plan();
    let draft = world.draft(&plan).unwrap();
    let before = world.read("state/reseal.json");
    let asked = std::cell::Cell::new(0);
    for (last, words) in [
        (1, "it runs; nothing was written"),
        (
            2,
            "it runs; nothing is lost: 3 of the values went into the vault and 0 of the files",
        ),
    ] {
        asked.set(0);
        let watch = || {
            asked.set(asked.get() + 1);
            match asked.get() == last {
                true => Err(Failure::new(Code::FolderBusy, "it runs")),
                false => Ok(()),
            }
        };
        let ran = run(&mut world.service, &draft.changes, &watch, &mut |_| {});
        let failure = ran.unwrap_err();
        assert!(failure.message.starts_with(words), "{failure}");
        assert_eq!(failure.code, Code::FolderBusy);
        assert_eq!(world.read("state/reseal.json"), before);
        let is_sealed = world.value("openai/default").is_some();
        assert_eq!(is_sealed, last == 2);
    }
}

#[test]
fn a_link_that_should_go_stops_the_run() {
    let mut world = World::filled();
    let (link, real) = (world.path("link.json"), world.path("real.json"));
    world.write("real.json", KEY);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let changes = Changes {
        scrubs: vec![FileChange {
            path: link,
            before: Some(Zeroizing::new(KEY.as_bytes().to_vec())),
            after: None,
            edits: Vec::new(),
        }],
        ..Changes::default()
    };
    let failure = run(&mut world.service, &changes, &|| Ok(()), &mut |_| {}).unwrap_err();
    assert!(failure.message.contains("link.json is a link"), "{failure}");
    assert_eq!(world.read("real.json"), KEY);
}

/// Values of places that an interrupted run had done come from the vault.
#[test]
fn a_half_done_run_is_finished() {
    let mut world = World::filled();
    let plan = world.plan();
    let draft = world.draft(&plan).unwrap();
    let changes = Changes {
        files: draft.changes.files.into_iter().take(1).collect(),
        ..draft.changes
    };
    run(&mut world.service, &changes, &|| Ok(()), &mut |_| {}).unwrap();
    let draft = world.draft(&plan).unwrap();
    assert_eq!((draft.changes.files.len(), draft.moved.len()), (1, 3));
    world.apply(&plan).unwrap();
    assert!(
        !world
            .read("state/agents/main/agent/auth-profiles.json")
            .contains("canary")
    );
}

#[test]
fn what_does_not_fit_the_files_is_refused_by_its_place() {
    let mut world = World::filled();
    let profile = |field: &str, id: &str, more: Value| {
        let kind = if field == "key" {
            "auth-profiles.api_key.key"
        } else {
            "auth-profiles.token.token"
        };
        let mut target = json!({"type": kind, "path": format!("profiles.{id}.{field}"),
            "agentId": "main", "ref": {"source": "vault", "provider": "default", "id": "x/y"}});
        target
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        target
    };
    let config = |reference: Value| {
        json!({"type": "models.providers.apiKey", "path": "models.providers.groq.apiKey",
            "ref": reference})
    };
    for (target, expected) in [
        (
            profile("token", "openai:default", json!({})),
            "type mismatch: expected \"token\", got \"api_key\"",
        ),
        (
            profile("key", "new:one", json!({})),
            "no authProfileProvider",
        ),
        (
            profile("key", "new:one", json!({"authProfileProvider": "new"})),
            "the vault has no record x/y",
        ),
        (
            config(json!({"source": "exec", "provider": "gone", "id": "a"})),
            "is not configured",
        ),
    ] {
        let plan = json!({"version": 1, "protocolVersion": 1, "targets": [target]});
        let plan = Plan::parse(&plan.to_string(), "plan").unwrap();
        let failure = world.draft(&plan).unwrap_err();
        assert!(failure.message.contains(expected), "{failure}\n{expected}");
    }
    assert_eq!(world.read("state/reseal.json"), CONFIG);
}

/// A ref keeps its meaning, so its variable need not be set for that.
#[test]
fn refs_in_an_older_spelling_get_the_newer_form() {
    let mut world = World::new();
    world.write(
        "state/reseal.json",
        r#"{"talk": {"apiKey": "${TALK_KEY}"}}"#,
    );
    world.state.create_agent(&"main".parse().unwrap()).unwrap();
    let profiles =
        r#"{"profiles": {"a:b": {"type": "token", "provider": "a", "token": "$A_KEY"}}}"#;
    world.write("state/agents/main/agent/auth-profiles.json", profiles);
    let plan = world.plan();
    let draft = world.draft(&plan).unwrap();
    assert!(draft.outside.is_empty() && draft.moved.is_empty());
    run(&mut world.service, &draft.changes, &|| Ok(()), &mut |_| {}).unwrap();
    let env = |id: &str| json!({"source": "env", "provider": "default", "id": id});
    let config: Value = serde_json::from_str(&world.read("state/reseal.json")).unwrap();
    assert_eq!(config["talk"]["apiKey"], env("TALK_KEY"));
    let profiles = world.read("state/agents/main/agent/auth-profiles.json");
    let profiles: Value = serde_json::from_str(&profiles).unwrap();
    let expected = json!({"type": "token", "provider": "a", "tokenRef": env("A_KEY")});
    assert_eq!(profiles["profiles"]["a:b"], expected);
    assert!(world.plan().targets.is_empty());
}

#[test]
fn a_place_outside_the_vault_is_left_to_be_compared() {
    let mut world = World::filled();
    let plan = json!({"version": 1, "protocolVersion": 1, "targets": [
        {"type": "models.providers.apiKey", "path": "models.providers.groq.apiKey",
         "ref": {"source": "env", "provider": "default", "id": "GROQ_API_KEY"}}]});
    let plan = Plan::parse(&plan.to_string(), "plan").unwrap();
    let draft = world.draft(&plan).unwrap();
    assert!(draft.changes.records.is_empty() && draft.moved.is_empty());
    let plaintext = draft.outside[0].plaintext.clone().unwrap();
    assert!(plaintext == SecretValue::copy_of(KEY.as_bytes()));
    assert!(!format!("{draft:?}").contains("canary"));
}

/// Another runtime gets an exec provider that names this program; its profiles of the same provider
/// with the same value follow, those with another one stay.
#[test]
fn another_runtimes_folder_is_pointed_at_this_program() {
    let mut world = World::new();
    world.write("claw/openclaw.json", CONFIG);
    let profiles = PROFILES.replace("\"groq:default\"", "\"groq:work\"");
    world.write("claw/agents/main/agent/auth-profiles.json", &profiles);
    let other = profiles.replace("canary-groq", "canary-other");
    world.write("claw/agents/coder/agent/auth-profiles.json", &other);
    let site = Site::foreign(&world.path("claw")).unwrap();
    let program = world.program();
    let (path, dir) = (program.path.to_str(), world.state.root().to_str());
    let definition = draw::exec_definition(path.unwrap(), dir.unwrap());
    let upsert = draw::exec_upsert(&Default::default(), &json!({}), definition);
    let mut plan = draw_of(&site, &Via::Exec(upsert)).plan;
    // Only the config's own target: the profiles follow by themselves.
    plan.targets
        .retain(|target| matches!(target.place, crate::plan::Place::Config(_)));
    let draft = draft(&plan, &site, &program, &mut world.service).unwrap();
    assert!(draft.outside.is_empty());
    assert_eq!(
        draft.warnings,
        ["coder: groq:work holds another value, and keeps it"]
    );
    run(&mut world.service, &draft.changes, &|| Ok(()), &mut |_| {}).unwrap();
    let config = world.read("claw/openclaw.json");
    assert!(config.contains("\"exec-provider\"") && !config.contains("canary"));
    let profiles = world.read("claw/agents/main/agent/auth-profiles.json");
    assert!(!profiles.contains("canary-groq") && profiles.contains("canary-openai"));
    assert!(profiles.contains("config/models/providers/groq/apiKey"));
    assert_eq!(
        world.read("claw/agents/coder/agent/auth-profiles.json"),
        other
    );
}

/// How often each byte of the files is parsed for a plan of this many config keys and profiles,
/// with a backup of the config beside it.
fn passes(count: usize) -> usize {
    let mut world = World::new();
    let key = |name: &str, n: usize| format!("canary-{name}-{n:04}-0123456789abcdef");
    let providers = (0..count).map(|n| (format!("p{n}"), json!({"apiKey": key("config", n)})));
    let config = json!({"models": {"providers": Value::Object(providers.collect())}});
    let profiles = (0..count).map(|n| {
        let profile = json!({"type": "api_key", "provider": "q", "key": key("profile", n)});
        (format!("q:{n}"), profile)
    });
    let profiles = json!({"version": 1, "profiles": Value::Object(profiles.collect())});
    let (config, profiles) = (format!("{config:#}"), format!("{profiles:#}"));
    world.write("state/reseal.json", &config);
    world.write("state/reseal.json.bak", &config);
    world.state.create_agent(&"main".parse().unwrap()).unwrap();
    world.write("state/agents/main/agent/auth-profiles.json", &profiles);
    let plan = world.plan();
    let places = world.site().places().places;
    let cost = crate::document::cost::of(|| {
        let mut draft = world.draft(&plan).unwrap();
        scrub(&mut draft, &world.site(), &places, plan.options).unwrap();
        let changes = &draft.changes;
        assert_eq!((changes.records.len(), changes.files.len()), (2 * count, 2));
        assert_eq!(changes.scrubs[0].edits.len(), count);
    });
    cost / (2 * config.len() + profiles.len())
}

#[test]
fn a_plan_of_many_places_reads_its_files_as_often_as_one_of_few() {
    let (few, many) = (passes(4), passes(128));
    assert!(
        many <= few,
        "{few} passes over the files for 8 places, {many} for 256"
    );
}
