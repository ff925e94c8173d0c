//! A broker and its client in one process; `tests/cli/sandbox.rs` has whole daemons.

use super::*;
use crate::config::{Config, ExecProvider, ProviderConfig, Trust};
use crate::source::{Outside, Unopened};
use rustix::io::Errno;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

const ROLE: &str = "RESEAL_TEST_BROKER";

/// A broker is forked before there is a secret: each test is this program, started again.
fn in_child(test: &str) -> Option<tempfile::TempDir> {
    in_child_of(Command::new(std::env::current_exe().unwrap()), test)
}

/// As [`in_child`], started by a command that has a program behind it.
fn in_child_of(mut starter: Command, test: &str) -> Option<tempfile::TempDir> {
    if std::env::var_os(ROLE).is_some() {
        return Some(tempfile::tempdir().unwrap());
    }
    let output = starter
        .args(["--exact", &format!("daemon::broker::tests::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(ROLE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{text}{said}");
    None
}

fn broker(folder: &Path) -> Client {
    start(Surroundings {
        state: StateDir::at(folder),
        config: folder.join("reseal.json"),
    })
    .unwrap()
}

fn write_config(folder: &Path, providers: serde_json::Value) {
    let config = serde_json::json!({ "secrets": { "providers": providers } });
    std::fs::write(folder.join("reseal.json"), config.to_string()).unwrap();
}

/// The exec provider of the alias `op` in the config.
fn provider(folder: &Path) -> ExecProvider {
    let text = std::fs::read_to_string(folder.join("reseal.json")).unwrap();
    let config = Config::parse(&text, "config", Trust::Own).unwrap();
    match &config.providers[&"op".parse().unwrap()] {
        ProviderConfig::Exec(provider) => provider.clone(),
        other => panic!("{other:?}"),
    }
}

/// Writes a script by another process: a file open for writing can't be run.
fn script(path: &Path, body: &str) {
    let script = format!("#!/bin/sh\n{body}\n");
    let written = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$0\""])
        .arg(path)
        .arg(script)
        .status();
    assert!(written.unwrap().success());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn it_runs_and_opens_what_the_config_names_and_nothing_else() {
    let Some(folder) = in_child("it_runs_and_opens_what_the_config_names_and_nothing_else") else {
        return;
    };
    let folder = folder.path();
    let command = folder.join("command");
    script(&command, "cat");
    let file = folder.join("file");
    std::fs::write(&file, "content").unwrap();
    write_config(
        folder,
        serde_json::json!({
            "op": {"source": "exec", "command": command},
            "mounted": {"source": "file", "path": file},
        }),
    );
    let client = broker(folder);
    let provider = provider(folder);
    let written = client.exec("op", &["x"], &provider).unwrap();
    let request = r#"{"protocolVersion":1,"provider":"op","ids":["x"]}"#;
    assert_eq!(written.bytes(), request.as_bytes());

    // What its caller says of a provider does not count.
    let mut other = provider.clone();
    other.command = "/bin/false".into();
    assert!(client.exec("op", &["x"], &other).is_ok());
    let refused = client.exec("other", &["x"], &provider).unwrap_err();
    assert_eq!(refused.failure.code, Code::RefProviderAbsent);
    let refused = client.exec("mounted", &["x"], &provider).unwrap_err();
    assert_eq!(refused.failure.code, Code::RefProviderMismatch);

    let limits = crate::config::FileProvider {
        path: crate::config::UserPath::new("/etc/shadow").unwrap(),
        mode: crate::config::FileMode::Json,
        timeout: Duration::from_secs(60),
        max_bytes: 1,
        allow_insecure_path: false,
    };
    let opened = client.open("mounted", &limits).unwrap();
    assert_eq!(
        io::read_to_string(std::fs::File::from(opened)).unwrap(),
        "content"
    );
    assert!(matches!(
        client.open("op", &limits),
        Err(Unopened::Refused(_))
    ));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        client.open("mounted", &limits).unwrap_err(),
        Unopened::System(Errno::NOENT)
    );

    // A config that can't be understood changes nothing; one that can counts at once.
    std::fs::write(folder.join("reseal.json"), "{").unwrap();
    assert!(client.exec("op", &["x"], &provider).is_ok());
    write_config(folder, serde_json::json!({}));
    let refused = client.exec("op", &["x"], &provider).unwrap_err();
    assert_eq!(refused.failure.code, Code::RefProviderAbsent);
}

#[test]
fn commands_get_ids_and_messages_of_their_form_and_nothing_else() {
    let name = "commands_get_ids_and_messages_of_their_form_and_nothing_else";
    let Some(folder) = in_child(name) else {
        return;
    };
    let folder = folder.path();
    let (command, hook, told) = (folder.join("c"), folder.join("hook"), folder.join("told"));
    script(&command, "cat");
    script(&hook, &format!("cat > {}", told.display()));
    let config = serde_json::json!({
        "secrets": {"providers": {"op": {"source": "exec", "command": command}}},
        "daemon": {"hooks": {"onChange": {"command": hook}}},
    });
    std::fs::write(folder.join("reseal.json"), config.to_string()).unwrap();
    let client = broker(folder);
    let provider = provider(folder);
    for id in ["", "a b", "--option", "$(id)", "../a", "a\n"] {
        let refused = client.exec("op", &["x", id], &provider).unwrap_err();
        assert_eq!(refused.failure.code, Code::RefInvalid, "{id}");
    }
    assert!(client.exec("op", &["x"], &provider).is_ok());

    let parsed = Config::parse(&config.to_string(), "config", Trust::Own).unwrap();
    let hook = parsed.daemon.on_change.unwrap();
    for message in [
        r#"{"event":"other","refs":[]}"#,
        r#"{"event":"changed","refs":["no ref"]}"#,
        r#"{"event":"changed","refs":[],"more":1}"#,
        "text",
    ] {
        let refused = client.hook(message.as_bytes(), &hook).unwrap_err();
        assert_eq!(refused.failure.code, Code::Bug, "{message}");
    }
    assert!(!told.exists());
    let message = r#"{"event":"changed","refs":["vault:openai/default","exec@op:a"]}"#;
    client.hook(message.as_bytes(), &hook).unwrap();
    assert_eq!(std::fs::read_to_string(&told).unwrap(), message);
}

#[test]
fn one_job_over_the_limit_is_refused() {
    let Some(folder) = in_child("one_job_over_the_limit_is_refused") else {
        return;
    };
    let folder = folder.path();
    let (command, started, go) = (folder.join("c"), folder.join("started"), folder.join("go"));
    let fifos = Command::new("/usr/bin/mkfifo")
        .arg(&started)
        .arg(&go)
        .status();
    assert!(fifos.unwrap().success());
    let body = format!(
        "echo . > {}; read x < {}; echo done",
        started.display(),
        go.display()
    );
    script(&command, &body);
    write_config(
        folder,
        serde_json::json!({
            "op": {"source": "exec", "command": command, "timeoutMs": 100_000},
        }),
    );
    let client = &broker(folder);
    let provider = &provider(folder);
    std::thread::scope(|scope| {
        let (sender, answers) = channel();
        for _ in 0..MAX_JOBS {
            let sender = sender.clone();
            scope.spawn(move || {
                sender
                    .send(client.exec("op", &["x"], provider).is_ok())
                    .unwrap()
            });
        }
        // Open for both, so that no command sees an end between two others.
        let mut starts = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&started)
            .unwrap();
        let mut dots = [0; 2 * MAX_JOBS];
        io::Read::read_exact(&mut starts, &mut dots).unwrap();
        // Looked at when nobody waits any more.
        let refused = client.exec("op", &["x"], provider);
        let lines = "\n".repeat(MAX_JOBS);
        let mut go = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&go)
            .unwrap();
        io::Write::write_all(&mut go, lines.as_bytes()).unwrap();
        assert!(answers.iter().take(MAX_JOBS).all(|answered| answered));
        let refused = refused.unwrap_err();
        assert_eq!(refused.failure.code, Code::SourceUnavailable);
        assert!(
            refused.failure.message.starts_with("64 commands are"),
            "{refused}"
        );
        assert!(refused.may_pass);
    });
    assert!(client.is_alive());
}

#[test]
fn requests_and_answers_have_limits() {
    let Some(folder) = in_child("requests_and_answers_have_limits") else {
        return;
    };
    let folder = folder.path();
    let command = folder.join("command");
    script(&command, "printf 12345");
    write_config(
        folder,
        serde_json::json!({"op": {"source": "exec", "command": command}}),
    );
    let client = broker(folder);
    let mut provider = provider(folder);
    provider.max_output_bytes = 5;
    assert_eq!(
        client.exec("op", &["x"], &provider).unwrap().bytes(),
        b"12345"
    );
    // The broker goes by the config, which allows more than its caller now takes.
    provider.max_output_bytes = 4;
    let refused = client.exec("op", &["x"], &provider).unwrap_err();
    assert!(
        refused
            .failure
            .message
            .ends_with("no answer that could be read"),
        "{refused}"
    );
    provider.max_output_bytes = 5;
    // The config's limits are held here too, whatever its caller says.
    let many = vec!["x"; crate::reference::plan::BATCH_REFS + 1];
    let refused = client.exec("op", &many, &provider).unwrap_err();
    assert_eq!(refused.failure.code, Code::RefLimit);
    let long = "x".repeat(MAX_REQUEST);
    let refused = client.exec("op", &[&long], &provider).unwrap_err();
    assert_eq!(refused.failure.code, Code::SourceUnavailable);
    assert!(client.exec("op", &["x"], &provider).is_ok());
}

#[test]
fn secrets_that_are_held_already_keep_it_from_starting() {
    let Some(folder) = in_child("secrets_that_are_held_already_keep_it_from_starting") else {
        return;
    };
    let _secret = crate::secret::SecretValue::copy_of(b"a secret");
    let surroundings = Surroundings {
        state: StateDir::at(folder.path()),
        config: folder.path().join("reseal.json"),
    };
    let refused = start(surroundings).unwrap_err();
    assert_eq!(refused.code, Code::DaemonUnavailable);
}

/// A file system that answers nothing, for a program started in it, which finds its place in
/// `RESEAL_TEST_HUNG`.
const HUNG: &str = "set -e; exec 3<>/dev/fuse; \
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung \"$RESEAL_TEST_HUNG\"; \
    exec \"$0\" \"$@\"";

#[test]
fn files_that_hang_keep_no_command_from_running_and_end_with_whoever_waits() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut starter = Command::new("unshare");
    starter
        .args(["--mount", "/bin/sh", "-c", HUNG])
        .arg(std::env::current_exe().unwrap());
    if std::env::var_os(ROLE).is_none() {
        starter.env("RESEAL_TEST_HUNG", place.path());
    }
    let name = "files_that_hang_keep_no_command_from_running_and_end_with_whoever_waits";
    let Some(folder) = in_child_of(starter, name) else {
        return;
    };
    let hung = std::env::var_os("RESEAL_TEST_HUNG").unwrap();
    let folder = folder.path();
    let (command, file) = (folder.join("command"), folder.join("file"));
    script(&command, "cat");
    std::fs::write(&file, "content").unwrap();
    write_config(
        folder,
        serde_json::json!({
            "op": {"source": "exec", "command": command},
            "hung": {"source": "file", "path": Path::new(&hung).join("x")},
            "mounted": {"source": "file", "path": file},
        }),
    );
    let client = broker(folder);
    let alias = "hung".to_owned();
    let job = Job::Open { alias };
    // As many as there were places for all sorts of jobs together.
    let waiting: Vec<_> = (0..MAX_JOBS).map(|_| client.send(&job).unwrap()).collect();
    let provider = provider(folder);
    assert!(client.exec("op", &["x"], &provider).is_ok());
    let limits = crate::config::FileProvider {
        path: crate::config::UserPath::new("/none").unwrap(),
        mode: crate::config::FileMode::Json,
        timeout: Duration::from_secs(60),
        max_bytes: 1,
        allow_insecure_path: false,
    };
    let Err(Unopened::Refused(failure)) = client.open("mounted", &limits) else {
        panic!("one file over the limit was opened");
    };
    assert!(failure.message.starts_with("32 files are"), "{failure}");
    drop(waiting);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while client.open("mounted", &limits).is_err() {
        assert!(std::time::Instant::now() < deadline, "they wait still");
        std::thread::yield_now();
    }
}

#[test]
fn a_job_in_the_place_of_another_sort_is_not_done() {
    assert!(
        Sort::ALL
            .into_iter()
            .all(|sort| Sort::of(sort.byte()) == Some(sort))
    );
    assert_eq!(Sort::of(b'j'), None);
    let alias = String::new;
    let exec = Job::Exec {
        alias: alias(),
        ids: Vec::new(),
    };
    assert_eq!(exec.sort(), Sort::Command);
    for open in [
        Job::Open { alias: alias() },
        Job::Identity { alias: alias() },
        Job::Config,
    ] {
        assert_eq!(open.sort(), Sort::Open);
    }
}
