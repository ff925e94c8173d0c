//! A known secret goes through the whole program, and is looked for wherever it must not be: in
//! stdout, stderr and logs, in the state folder, in the environment of programs that are not meant
//! to have it; as it stands, in hexadecimal, in base64 at each of its three positions, in UTF-16.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The secrets: a stored value, the value that replaces it, and one of an exec provider.
const STORED: &str = "canary-stored-8d1f6a0b7c52e934";
const REPLACED: &str = "canary-replaced-41c7e0d9b35a6f28";
const FETCHED: &str = "canary-fetched-93b0f5a8d6e2714c";
const ALL: [&str; 3] = [STORED, REPLACED, FETCHED];

/// Every form in which a secret is looked for.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut forms = vec![
        bytes.to_vec(),
        HEXLOWER.encode(bytes).into_bytes(),
        HEXUPPER.encode(bytes).into_bytes(),
        secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    // In base64 the same bytes look different at each position modulo three; the characters that
    // also depend on neighbours are left out.
    for shift in 0..3 {
        let skipped = (3 - shift) % 3;
        let whole = (bytes.len() - skipped) / 3 * 3;
        forms.push(BASE64.encode(&bytes[skipped..skipped + whole]).into_bytes());
    }
    forms
}

/// The forms of the secrets that stand in some bytes.
fn found_in(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for secret in ALL {
        for form in forms(secret) {
            if bytes.windows(form.len()).any(|window| window == form) {
                found.push(format!("{secret} as {}", String::from_utf8_lossy(&form)));
            }
        }
    }
    found
}

struct World {
    folder: tempfile::TempDir,
    /// Everything that any command said.
    said: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self {
            folder,
            said: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command, keeps what it said, and returns its output.
    fn reseal(&mut self, stdin: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("RUST_BACKTRACE", "full")
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(["--no-input", "-v"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses early does not read.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        self.said.extend(&output.stdout);
        self.said.extend(&output.stderr);
        output
    }

    fn works(&mut self, stdin: &str, arguments: &[&str]) -> Output {
        let output = self.reseal(stdin, arguments);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {talk}");
        output
    }

    fn fails(&mut self, stdin: &str, arguments: &[&str]) {
        let output = self.reseal(stdin, arguments);
        assert!(!output.status.success(), "{arguments:?} did not fail");
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.path(name);
        let mut options = fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
        path
    }
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn a_search_that_finds_nothing_would_find_something() {
    for secret in ALL {
        for padding in ["", "x", "xy"] {
            let text = format!("{padding}{secret}tail");
            for form in [
                text.clone().into_bytes(),
                HEXLOWER.encode(text.as_bytes()).into_bytes(),
                BASE64.encode(text.as_bytes()).into_bytes(),
                text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            ] {
                assert!(
                    !found_in(&form).is_empty(),
                    "{}",
                    String::from_utf8_lossy(&form)
                );
            }
        }
    }
    assert!(found_in(b"canary-stored-").is_empty());
}

#[test]
fn no_secret_is_said_or_rests_readable() {
    let mut world = World::new();
    set_up(&mut world);
    let key = world.path("key");
    world.works(
        "",
        &["vault", "unlock", "--key-file", key.to_str().unwrap()],
    );
    use_everything(&mut world);
    fail_everywhere(&mut world);
    let environment = fs::read(world.path("environment")).unwrap();
    assert!(!environment.is_empty(), "the exec provider ran");
    assert_eq!(
        found_in(&environment),
        Vec::<String>::new(),
        "in a source's environment"
    );
    let while_open = readable(&world);
    world.works("", &["vault", "lock"]);
    assert_eq!(
        while_open,
        Vec::<String>::new(),
        "in the state folder while it is unlocked"
    );
    assert_eq!(
        readable(&world),
        Vec::<String>::new(),
        "in the state folder"
    );
    assert_eq!(
        found_in(&world.said),
        Vec::<String>::new(),
        "in what the commands said"
    );
}

/// A vault, a provider that fetches, a config and profiles with refs.
fn set_up(world: &mut World) {
    let key = world.path("key");
    world.works("", &["init", "--generate-key-file", key.to_str().unwrap()]);
    // The provider writes down what it was given, and answers with a secret.
    let answer = format!("{{\"protocolVersion\":1,\"values\":{{\"a\":\"{FETCHED}\"}}}}");
    let environment = world.path("environment");
    let script = format!(
        "#!/bin/sh\nenv >> '{}'\ncat > /dev/null\necho 'talk of {FETCHED}' >&2\necho '{answer}'\n",
        environment.display()
    );
    let command = world.write("provider", 0o700, &script);
    let stored =
        serde_json::json!({ "source": "vault", "provider": "default", "id": "openai/default" });
    let config = serde_json::json!({
        "secrets": { "providers": { "op": { "source": "exec", "command": command } } },
        "models": { "providers": {
            "openai": { "apiKey": stored },
            "other": { "apiKey": { "source": "exec", "provider": "op", "id": "a" } },
        } },
    });
    world.write("state/reseal.json", 0o600, &config.to_string());
    let open = ["--key-file", key.to_str().unwrap()];
    world.works(
        STORED,
        &[&["secrets", "set", "openai/default"][..], &open].concat(),
    );
    let point = [
        "secrets",
        "set",
        "openai:default",
        "--ref",
        "vault:openai/default",
    ];
    world.works("", &[&point[..], &open].concat());
}

fn use_everything(world: &mut World) {
    world.works(
        REPLACED,
        &["secrets", "set", "openai/default", "--note", "the second"],
    );
    let reports = [
        &["secrets", "list"][..],
        &["secrets", "history", "openai/default"],
        &["secrets", "resolve"],
        &["secrets", "reload"],
        &["vault", "status"],
        &["vault", "verify"],
        &["vault", "slot", "list"],
        &["models", "auth", "list"],
        &["agents", "list"],
    ];
    for report in reports {
        world.works("", report);
        world.works("", &[&["--json"], report].concat());
    }
    world.reseal("", &["doctor"]);
    // The program gets the values, and says only how long they are.
    let script = "printf '%s %s' \"${#A}\" \"${#B}\"";
    let run = [
        "run",
        "--env",
        "A=vault:openai/default",
        "--env",
        "B=exec@op:a",
        "--",
    ];
    let output = world.works("", &[&run[..], &["sh", "-c", script]].concat());
    let lengths = format!("{} {}", REPLACED.len(), FETCHED.len());
    assert_eq!(String::from_utf8_lossy(&output.stdout), lengths);
    // And with --mask it may say them.
    let mask = ["run", "--mask", "--env", "A=vault:openai/default", "--"];
    let output = world.works("", &[&mask[..], &["sh", "-c", "echo \"key: $A\""]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("key: "));
    world.works(
        "",
        &["secrets", "restore", "openai/default", "--version", "1"],
    );
    world.works("", &["secrets", "mv", "openai/default", "openai/moved"]);
    world.works("", &["secrets", "mv", "openai/moved", "openai/default"]);
    world.works("", &["vault", "compact"]);
}

/// Errors with a secret in reach.
fn fail_everywhere(world: &mut World) {
    world.fails(STORED, &["secrets", "set", "no such name", "--raw"]);
    world.fails(&STORED.repeat(40_000), &["secrets", "set", "too/large"]);
    world.fails(&format!("{{{STORED}"), &["exec-provider"]);
    world.fails(
        &format!("{STORED} {{{{ secretref:{STORED} }}}}"),
        &["inject"],
    );
    let env_file = format!("A={STORED}\nB {REPLACED}\n");
    let env_file = world.write("broken.env", 0o600, &env_file);
    world.fails(
        "",
        &[
            "run",
            "--env-file",
            env_file.to_str().unwrap(),
            "--",
            "true",
        ],
    );
    world.fails("", &["secrets", "get", "absent"]);
    let run = [
        "run",
        "--env",
        "A=vault:openai/default",
        "--env",
        "B=vault:absent",
        "--",
    ];
    world.fails("", &[&run[..], &["sh", "-c", "echo started $A"]].concat());
    // A config that holds plaintext, whole and broken.
    let plain = format!("{{\"models\":{{\"providers\":{{\"x\":{{\"apiKey\":\"{STORED}\"}}}}}}}}");
    for (name, text) in [
        ("plain.json", &plain[..]),
        ("broken.json", &plain[..plain.len() - 2]),
    ] {
        let config = world.write(name, 0o600, text);
        let config = config.to_str().unwrap();
        world.reseal("", &["--config", config, "secrets", "resolve"]);
        let target = [
            "secrets",
            "set",
            "models.providers.x.apiKey",
            "--ref",
            "vault:a",
        ];
        world.fails("", &[&["--config", config][..], &target].concat());
    }
}

/// What is readable in the state folder, by file.
fn readable(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for path in files(&world.path("state")) {
        let inside = found_in(&fs::read(&path).unwrap());
        found.extend(
            inside
                .into_iter()
                .map(|what| format!("{}: {what}", path.display())),
        );
    }
    found
}
