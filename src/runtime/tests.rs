//! The runtime on a real state folder: every request, activation in every state.

mod published;

use super::Runtime;
use super::activate::{Tolerance, require};
use super::fixture::new_vault;
use super::service::{Outcome, RefOutcome, Reply, Report, Request, SnapshotState};
use crate::error::{Code, Failure};
use crate::name::{AgentId, RecordName};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::snapshot::Event;
use crate::store::StateDir;
use crate::vault::{Expect, Meta, RecordKind};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct World {
    folder: tempfile::TempDir,
    state: StateDir,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let (folder, state, vault) = new_vault();
        let runtime = Runtime::new(state.clone(), state.config(), vault);
        Self {
            folder,
            state,
            runtime,
        }
    }

    fn config(&self, text: &str) {
        write_private(&self.state.config(), text);
    }

    fn profiles(&self, agent: &str, text: &str) {
        let agent: AgentId = agent.parse().unwrap();
        self.state.create_agent(&agent).unwrap();
        write_private(&self.state.auth_profiles(&agent), text);
    }

    fn put(&self, name: &str, value: &str) {
        self.try_put(name, value, Expect::Any).unwrap();
    }

    fn try_put(&self, name: &str, value: &str, expect: Expect) -> Result<Reply, Failure> {
        let request = Request::Put {
            name: record(name),
            kind: RecordKind::ApiKey,
            meta: Meta::default(),
            expect,
        };
        let secrets = vec![SecretValue::copy_of(value.as_bytes())];
        self.runtime
            .call(request, secrets)
            .map(|answer| answer.reply)
    }

    fn get(&self, name: &str) -> Result<String, Code> {
        let request = Request::Get {
            name: record(name),
            version: None,
        };
        let answer = self
            .runtime
            .call(request, Vec::new())
            .map_err(|failure| failure.code)?;
        Ok(text(&answer.secrets[0]))
    }

    fn resolve(&self, refs: &[&str]) -> Vec<Result<String, Code>> {
        let refs = refs
            .iter()
            .map(|text| text.parse::<SecretRef>().unwrap())
            .collect();
        let answer = self
            .runtime
            .call(Request::Resolve { refs }, Vec::new())
            .unwrap();
        let Reply::Resolved(outcomes) = answer.reply else {
            panic!("another reply")
        };
        let mut values = answer.secrets.iter();
        let result = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Ok => Ok(text(values.next().unwrap())),
                Outcome::Failed(failure) => Err(failure.code),
            })
            .collect();
        assert!(values.next().is_none(), "a value too many");
        result
    }

    fn activate(&self) -> Report {
        self.runtime.activate(Tolerance::default()).unwrap()
    }

    fn state_now(&self) -> SnapshotState {
        self.runtime.status().unwrap().snapshot.state
    }

    /// An exec provider that answers from a file of its own: what the file holds, for every id.
    fn exec_provider(&self) -> (PathBuf, String) {
        let answer = self.folder.path().join("answer");
        let command = self.folder.path().join("provider");
        let script = format!("#!/bin/sh\ncat {}\n", answer.display());
        fs::write(&command, script).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            r#"{{"secrets":{{"providers":{{"op":{{"source":"exec","command":"{}"}}}}}},
                "models":{{"providers":{{"acme":{{"apiKey":
                  {{"source":"exec","provider":"op","id":"key"}}}}}}}}}}"#,
            command.display()
        );
        (answer, config)
    }
}

fn record(name: &str) -> RecordName {
    name.parse().unwrap()
}

fn text(value: &SecretValue) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}

fn write_private(path: &std::path::Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn answer_with(path: &std::path::Path, value: &str) {
    let text = format!(r#"{{"protocolVersion":1,"values":{{"key":"{value}"}}}}"#);
    fs::write(path, text).unwrap();
}

const OPENAI: &str = r#"{"version":1,"profiles":{"openai:default":{"type":"api_key",
    "provider":"openai","keyRef":{"source":"vault","provider":"default","id":"openai/default"}}}}"#;

#[test]
fn a_record_lives_through_every_request() {
    let world = World::new();
    world.put("a", "one");
    world.put("a", "two");
    assert_eq!(world.get("a").as_deref(), Ok("two"));
    let Reply::Versions(versions) = world
        .runtime
        .call(Request::History { name: record("a") }, vec![])
        .unwrap()
        .reply
    else {
        panic!("another reply")
    };
    assert_eq!(
        versions
            .iter()
            .map(|v| (v.version, v.current))
            .collect::<Vec<_>>(),
        [(2, true), (1, false)]
    );
    assert!(versions.iter().all(|version| version.created_at.is_some()));
    world
        .runtime
        .call(
            Request::Restore {
                name: record("a"),
                version: 1,
            },
            vec![],
        )
        .unwrap();
    assert_eq!(world.get("a").as_deref(), Ok("one"));
    let rename = Request::Rename {
        from: record("a"),
        to: record("b"),
    };
    let Reply::Committed(committed) = world.runtime.call(rename, vec![]).unwrap().reply else {
        panic!("another reply")
    };
    assert_eq!(
        (committed.name, committed.version),
        (Some(record("b")), Some(4))
    );
    assert_eq!(world.get("a"), Err(Code::RecordAbsent));
    let remove = |expect| Request::Remove {
        name: record("b"),
        expect,
    };
    let stale = world
        .runtime
        .call(remove(Expect::Version(3)), vec![])
        .unwrap_err();
    assert_eq!(stale.code, Code::VaultConflict);
    world
        .runtime
        .call(remove(Expect::Version(4)), vec![])
        .unwrap();
    assert_eq!(world.get("b"), Err(Code::RecordAbsent));
    assert_eq!(
        world
            .try_put("b", "x", Expect::Version(4))
            .unwrap_err()
            .code
            .kind(),
        { crate::error::Kind::Stale }
    );
}

#[test]
fn refs_resolve_without_config_and_each_for_itself() {
    let world = World::new();
    world.put("openai/default", "sk-1");
    let results = world.resolve(&["vault:openai/default", "vault:missing", "exec@op:key"]);
    assert_eq!(
        results,
        [
            Ok("sk-1".to_owned()),
            Err(Code::RefAbsent),
            Err(Code::RefProviderAbsent)
        ]
    );
}

#[test]
fn one_ref_over_the_limit_of_a_request_is_refused() {
    let world = World::new();
    let reference: SecretRef = "vault:a".parse().unwrap();
    let many = vec![reference; super::service::MAX_RESOLVE_REFS + 1];
    let failure = world
        .runtime
        .call(Request::Resolve { refs: many }, vec![])
        .unwrap_err();
    assert_eq!(failure.code, Code::RefLimit);
}

#[test]
fn what_is_no_account_is_not_stored_as_one() {
    let world = World::new();
    let request = Request::Put {
        name: record("oauth/x"),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        expect: Expect::Any,
    };
    let value = SecretValue::copy_of(br#"{"refresh":"rt-canary"}"#);
    let failure = world.runtime.call(request, vec![value]).unwrap_err();
    assert_eq!(failure.code, Code::InputInvalid);
    assert!(!failure.message.contains("canary"));
    assert_eq!(world.get("oauth/x"), Err(Code::RecordAbsent));
}

#[test]
fn a_start_resolves_what_is_in_use_and_only_that() {
    let world = World::new();
    world.put("openai/default", "sk-1");
    world.profiles("main", OPENAI);
    world.config(
        r#"{ // a comment
          "models": {"providers": {"off": {"enabled": false,
             "apiKey": {"source": "vault", "provider": "default", "id": "not/there"}}}} }"#,
    );
    let report = world.activate();
    assert_eq!(report.snapshot.state, SnapshotState::Active);
    assert_eq!(report.snapshot.refs, 1);
    let outcomes: Vec<_> = report.refs.iter().map(|r| (&*r.owner, r.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("models.providers.off.apiKey", RefOutcome::Inactive),
            ("main: openai:default", RefOutcome::Ok),
        ]
    );
    assert_eq!(world.runtime.take_events(), [Event::Activated]);
    require(&report).unwrap();
}

/// Others' commits come into a work tree: a config there must not start programs.
#[test]
fn a_config_in_a_git_work_tree_is_a_projects() {
    let world = World::new();
    let (_, config) = world.exec_provider();
    let project = world.folder.path().join("project");
    fs::create_dir_all(project.join("deep")).unwrap();
    let path = project.join("deep/reseal.json");
    write_private(&path, &config);
    assert!(super::ground::Ground::read(&world.state, &path).is_ok());
    fs::create_dir(project.join(".git")).unwrap();
    let failure = super::ground::Ground::read(&world.state, &path)
        .err()
        .unwrap();
    assert_eq!(failure.code, Code::ConfigInvalid);
    assert!(
        failure.message.contains("secrets.providers.op"),
        "{failure}"
    );
}

#[test]
fn plaintext_in_the_config_is_reported_by_its_path() {
    let world = World::new();
    world.config(r#"{"models":{"providers":{"openai":{"apiKey":"sk-plain-canary"}}}}"#);
    let report = world.activate();
    let entry = &report.refs[0];
    assert_eq!(&*entry.owner, "models.providers.openai.apiKey");
    assert_eq!(entry.outcome, RefOutcome::Plaintext);
    assert!(!format!("{report:?}").contains("canary"));
}

#[test]
fn a_failed_start_lists_every_failure() {
    let world = World::new();
    world.profiles("main", OPENAI);
    world.profiles("second", &OPENAI.replace("openai/default", "also/missing"));
    let report = world.activate();
    assert_eq!(report.snapshot.state, SnapshotState::Failed);
    let failure = require(&report).unwrap_err();
    assert_eq!(failure.code, Code::RefAbsent);
    for part in [
        "main: openai:default",
        "second: openai:default",
        "2 required",
    ] {
        assert!(failure.message.contains(part), "{failure}");
    }
    let tolerant = world
        .runtime
        .activate(Tolerance {
            allow_degraded: true,
        })
        .unwrap();
    assert_eq!(tolerant.snapshot.state, SnapshotState::Degraded);
    world.put("openai/default", "sk-1");
    world.put("also/missing", "sk-2");
    assert_eq!(world.state_now(), SnapshotState::Active);
}

#[test]
fn a_failed_reload_keeps_the_last_good_snapshot_and_tells_it_once() {
    let world = World::new();
    let (answer, config) = world.exec_provider();
    world.config(&config);
    answer_with(&answer, "first");
    assert_eq!(world.activate().snapshot.state, SnapshotState::Active);
    assert_eq!(world.runtime.take_events(), [Event::Activated]);

    fs::write(&answer, "garbage").unwrap();
    for _ in 0..3 {
        let report = world.runtime.reload().unwrap();
        assert_eq!(report.snapshot.state, SnapshotState::Degraded);
        assert!(!report.snapshot.failures.is_empty());
    }
    assert_eq!(world.runtime.take_events(), [Event::Degraded]);
    assert_eq!(world.resolve(&["exec@op:key"]), [Ok("first".to_owned())]);

    answer_with(&answer, "second");
    assert_eq!(
        world.runtime.reload().unwrap().snapshot.state,
        SnapshotState::Active
    );
    assert_eq!(world.runtime.take_events(), [Event::Recovered]);
    assert_eq!(world.resolve(&["exec@op:key"]), [Ok("second".to_owned())]);
}

/// A command is expensive, and may ask a person: it runs again only when what it is asked for, or
/// the config around it, is another.
#[test]
fn a_commit_does_not_run_commands_again() {
    let world = World::new();
    let (answer, config) = world.exec_provider();
    world.config(&config);
    world.profiles("main", OPENAI);
    world.put("openai/default", "sk-1");
    answer_with(&answer, "first");
    world.activate();
    answer_with(&answer, "second");

    world.put("openai/default", "sk-2");
    assert_eq!(world.runtime.refresh(), Ok(SnapshotState::Active));
    assert_eq!(world.resolve(&["exec@op:key"]), [Ok("first".to_owned())]);
    let snapshot = world.runtime.status().unwrap().snapshot;
    assert_eq!(
        snapshot.generation,
        world.runtime.status().unwrap().vault.unwrap().generation
    );

    world.config(&format!("// a comment more\n{config}"));
    assert_eq!(world.runtime.refresh(), Ok(SnapshotState::Active));
    assert_eq!(world.resolve(&["exec@op:key"]), [Ok("first".to_owned())]);

    world.config(&config.replace(
        "\"source\":\"exec\",\"command\"",
        "\"source\":\"exec\",\"retries\":1,\"command\"",
    ));
    assert_eq!(world.runtime.refresh(), Ok(SnapshotState::Active));
    assert_eq!(world.resolve(&["exec@op:key"]), [Ok("second".to_owned())]);
}

/// Plaintext is moved only if the config asks for it, and only to where it can't displace
/// anything; what can't be moved stays, and the start says why.
#[test]
fn plaintext_profiles_are_sealed_on_request() {
    const PLAIN: &str = r#"{"version":1, "mine": 7, "profiles":{
        "openai:default":{"type":"api_key","provider":"openai","key":"sk-plain-canary"}}}"#;
    let world = World::new();
    world.profiles("main", PLAIN);
    let path = world.state.auth_profiles(&AgentId::main());
    let report = world.activate();
    assert_eq!(report.refs[0].outcome, RefOutcome::Plaintext);
    assert_eq!(&*report.refs[0].owner, "main: openai:default (key)");
    require(&report).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), PLAIN);
    assert_eq!(world.get("openai/default"), Err(Code::RecordAbsent));

    world.config(r#"{"vault":{"autoSeal":true}}"#);
    let report = world.activate();
    assert_eq!(report.snapshot.state, SnapshotState::Active);
    assert_eq!(report.snapshot.refs, 1);
    assert_eq!(
        world.get("openai/default").as_deref(),
        Ok("sk-plain-canary")
    );
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("canary") && text.contains("\"mine\": 7"),
        "{text}"
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let other = PLAIN.replace("sk-plain-canary", "sk-other");
    world.profiles("main", &other);
    let failure = world.runtime.activate(Tolerance::default()).unwrap_err();
    assert_eq!(failure.code, Code::RecordExists);
    assert!(failure.message.contains("openai:default"), "{failure}");
    assert_eq!(fs::read_to_string(&path).unwrap(), other);
    assert_eq!(
        world.get("openai/default").as_deref(),
        Ok("sk-plain-canary")
    );
}

/// The hook hears which refs changed, once for each change, and no value.
#[test]
fn the_change_hook_hears_of_every_change_once() {
    let world = World::new();
    let heard = world.folder.path().join("heard");
    let command = world.folder.path().join("hook");
    fs::write(&command, format!("#!/bin/sh\ncat >>{}\n", heard.display())).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    let command = command.display();
    world.config(&format!(
        r#"{{"daemon":{{"hooks":{{"onChange":{{"command":"{command}"}}}}}}}}"#
    ));
    world.profiles("main", OPENAI);
    world.put("openai/default", "sk-1");
    world.activate();
    world.runtime.tell_changes().unwrap();
    assert!(!heard.exists(), "a start changes nothing");

    world.put("openai/default", "sk-2");
    world.put("other", "not in use");
    for _ in 0..2 {
        world.runtime.tell_changes().unwrap();
    }
    let text = fs::read_to_string(&heard).unwrap();
    assert_eq!(
        text,
        r#"{"event":"changed","refs":["vault:openai/default"]}"#
    );
}

#[test]
fn a_broken_config_degrades_and_names_the_place() {
    let world = World::new();
    world.put("openai/default", "sk-1");
    world.profiles("main", OPENAI);
    world.activate();
    world.config("{\n  \"models\": oops\n}");
    let failure = world.runtime.reload().unwrap_err();
    assert_eq!(failure.code, Code::ConfigInvalid);
    assert!(failure.message.contains("reseal.json"), "{failure}");
    assert_eq!(world.state_now(), SnapshotState::Degraded);
    assert_eq!(
        world.resolve(&["vault:openai/default"]),
        [Ok("sk-1".to_owned())]
    );
}

#[test]
fn a_commit_reaches_the_snapshot_before_it_is_acknowledged() {
    let world = World::new();
    world.put("openai/default", "sk-1");
    world.profiles("main", OPENAI);
    let before = world.activate().snapshot.generation.unwrap();
    world.put("openai/default", "sk-2");
    let after = world.runtime.status().unwrap().snapshot.generation.unwrap();
    assert!(after > before);
    assert_eq!(
        world.resolve(&["vault:openai/default"]),
        [Ok("sk-2".to_owned())]
    );
}

#[test]
fn a_locked_runtime_answers_nothing_and_holds_nothing() {
    let world = World::new();
    world.put("openai/default", "sk-1");
    world.profiles("main", OPENAI);
    world.activate();
    world.runtime.lock();
    assert_eq!(world.get("openai/default"), Err(Code::VaultSealed));
    assert_eq!(
        world.resolve(&["vault:openai/default"]),
        [Err(Code::VaultSealed)]
    );
    let status = world.runtime.status().unwrap();
    assert_eq!(status.snapshot.state, SnapshotState::Sealed);
    assert!(status.vault.is_none());
    let failure = world.runtime.reload().unwrap_err();
    assert_eq!(failure.code, Code::VaultSealed);
    assert_eq!(world.state_now(), SnapshotState::Sealed);
}

#[test]
fn an_unusable_profiles_file_is_an_error_that_names_it() {
    let world = World::new();
    world.profiles(
        "main",
        "{\"version\":1,\"profiles\":{\"openai:default\":{\"type\":\"api_",
    );
    let failure = world.runtime.activate(Tolerance::default()).unwrap_err();
    assert_eq!(failure.code, Code::ProfilesInvalid);
    assert!(failure.message.contains("auth-profiles.json"), "{failure}");
}

#[test]
fn a_report_changes_nothing() {
    let world = World::new();
    world.profiles("main", OPENAI);
    let request = Request::Report { agent: None };
    let Reply::Report(report) = world.runtime.call(request, vec![]).unwrap().reply else {
        panic!("another reply")
    };
    assert_eq!(report.refs[0].outcome, RefOutcome::Error);
    assert_eq!(world.state_now(), SnapshotState::Sealed);
    assert!(world.runtime.take_events().is_empty());
}

#[test]
fn values_that_come_after_the_lock_are_for_nobody() {
    let world = World::new();
    world.put("a", "canary");
    let late: SecretRef = "vault:a".parse().unwrap();
    let value = SecretValue::copy_of(b"canary");
    let wanted = [crate::snapshot::Wanted {
        reference: late.clone(),
        owner: "test".into(),
        optional: false,
    }];
    let resolution = std::collections::HashMap::from([(late, Ok(value))]);
    let tolerance = Tolerance::default();
    world
        .runtime
        .publish(2, &wanted, resolution.clone(), tolerance);
    assert_eq!(world.runtime.snapshot_status().state, SnapshotState::Active);
    world.runtime.lock();
    world.runtime.publish(3, &wanted, resolution, tolerance);
    let status = world.runtime.snapshot_status();
    assert_eq!((status.state, status.refs), (SnapshotState::Sealed, 0));
}
