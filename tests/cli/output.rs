//! What programs and people see.

use super::world::{BIN, World, finish};
use std::process::{Command, Stdio};

#[test]
fn errors_are_a_sentence_a_hint_and_with_json_a_document() {
    let world = World::new();
    let ran = world
        .with_passphrase(&["--json", "secrets", "get", "nope"])
        .code(3);
    let error = &ran.json()["error"];
    assert_eq!(error["code"], "record.absent");
    assert_eq!(error["kind"], "absent");
    assert!(error["message"].as_str().unwrap().starts_with("failed to "));
    assert!(error["hint"].is_string());
    assert!(
        ran.stderr.starts_with("error: failed to "),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("\nhint: "), "{}", ran.stderr);
    // stdout is the program's own there.
    let ran = world.with_passphrase(&["--json", "run", "--env", "X=vault:nope", "--", "true"]);
    assert_eq!(ran.code(3).text(), "");
}

#[test]
fn control_characters_never_reach_the_reader_raw() {
    let world = World::new();
    let note = "red\u{1b}[31m\u{202e}\u{9b}2J";
    world
        .piped_with_passphrase(&["secrets", "set", "a", "--note", note], b"x")
        .ok();
    for args in [&["secrets", "list"][..], &["--json", "secrets", "list"]] {
        let ran = world.with_passphrase(args).ok();
        assert!(
            !ran.text().contains(['\u{1b}', '\u{202e}', '\u{9b}']),
            "{:?}",
            ran.text()
        );
    }
    let json = world
        .with_passphrase(&["--json", "secrets", "list"])
        .ok()
        .json();
    assert_eq!(json["records"][0]["meta"]["note"], note, "nothing is lost");
    let ran = world.run(&["secrets", "get", "bad\u{1b}[31mname"]).code(2);
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let world = World::unlocked();
    for i in 0..40 {
        world.store(&format!("record/{i}"), "value");
    }
    for args in [
        "secrets list",
        "--json secrets list",
        "secrets get record/1",
        "completions bash",
    ] {
        // The reader is gone before the program writes its first byte.
        let script = format!(
            "{{ {BIN} --state-dir {} {args}; echo $? >&2; }} 3<&- | exec 0<&-",
            world.state().display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null());
        let ran = finish(shell, None);
        assert_eq!(ran.stderr, "0\n", "{args}");
    }
}

#[test]
fn quiet_says_nothing_and_verbose_more() {
    let world = World::new();
    let ran = world
        .piped_with_passphrase(&["-q", "secrets", "set", "a"], b"x")
        .ok();
    assert_eq!((ran.text(), ran.stderr.as_str()), ("vault:a\n", ""));
    world.run(&["-q", "-v", "vault", "status"]).code(2);
}

#[test]
fn usage_errors_are_exit_2_and_help_is_not() {
    let world = World::empty();
    world.run(&["no-such-command"]).code(2);
    world.run(&["secrets"]).code(2);
    world.run(&["secrets", "get"]).code(2);
    let help = world.run(&["secrets", "get", "--help"]).ok();
    assert!(
        help.text().contains("Usage: reseal secrets get"),
        "{}",
        help.text()
    );
    let version = world.run(&["--version"]).ok();
    assert_eq!(
        version.text(),
        concat!("reseal ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn usage_errors_are_documents_too() {
    let world = World::empty();
    for args in [
        &["--json", "no-such-command"][..],
        &["secrets", "get", "--json"],
        &["secrets", "--json"],
        &["vault", "unlock", "--no-such-option", "--json"],
    ] {
        let ran = world.run(args).code(2);
        let error = &ran.json()["error"];
        assert_eq!(error["code"], "usage", "{args:?}");
        assert_eq!(error["kind"], "invalid", "{args:?}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("failed to ") && !message.contains('\n'),
            "{message}"
        );
        assert!(error["hint"].is_string(), "{args:?}");
        assert!(!ran.stderr.is_empty());
    }
    // No document where stdout is for something else, or where --json is the program's own.
    for args in [
        &["--json", "run", "--no-such-option"][..],
        &["--agent", "run", "inject", "--json", "--no-such-option"],
        &["secrets", "get", "--", "a", "--json"],
    ] {
        assert_eq!(world.run(args).code(2).text(), "", "{args:?}");
    }
}

#[test]
fn verbose_shows_the_code_of_an_error_and_the_file_of_each_ref() {
    let world = World::unlocked();
    world.store("a", "x");
    let ran = world.run(&["-v", "secrets", "get", "nope"]).code(3);
    assert!(ran.stderr.contains(" [record.absent]\n"), "{}", ran.stderr);
    let ran = world.run(&["secrets", "get", "nope"]).code(3);
    assert!(!ran.stderr.contains("record.absent"), "{}", ran.stderr);
    world
        .run(&["secrets", "set", "openai:x", "--ref", "vault:a"])
        .ok();
    let file = "auth-profiles.json";
    let ran = world.run(&["-v", "secrets", "resolve"]).ok();
    assert!(ran.stderr.contains(file), "{}", ran.stderr);
    assert!(
        !world
            .run(&["secrets", "resolve"])
            .ok()
            .stderr
            .contains(file)
    );
    let ran = world.with_passphrase(&["-v", "vault", "unlock"]).ok();
    assert!(ran.stderr.contains(file), "{}", ran.stderr);
}

#[test]
fn help_shows_how_run_is_used_and_what_the_daemon_s_limits_are() {
    let world = World::empty();
    let help = world.run(&["run", "--help"]).ok();
    let text = help.text();
    assert!(
        text.contains("Usage: reseal run [OPTIONS] -- <CMD>..."),
        "{text}"
    );
    let arguments = text
        .find("\nArguments:\n")
        .expect("a section for arguments");
    let next = text[arguments + 1..].find("\n\n").unwrap();
    assert!(text[arguments..][..next].contains("<CMD>..."), "{text}");
    let help = world.run(&["daemon", "--help"]).ok();
    assert!(!help.text().contains("default: 12h"), "{}", help.text());
    assert!(!help.text().contains("default: 15m"), "{}", help.text());
}

#[test]
fn errors_name_what_failed() {
    let world = World::new();
    let wrong = world.private_file("wrong", b"not it");
    for command in [
        &["secrets", "get", "a"][..],
        &["secrets", "get", "vault:a"],
        &[
            "run",
            "--env",
            "X=vault:a",
            "--passphrase-file",
            &wrong,
            "--",
            "true",
        ],
    ] {
        let with_wrong = [command, &["--passphrase-file", &wrong]].concat();
        let is_run = command[0] == "run";
        let ran = world.run(if is_run { command } else { &with_wrong });
        let why = "failed to open the vault: wrong passphrase (slot ";
        assert!(ran.code(5).stderr.contains(why), "{command:?}");
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = world.run(&["completions", shell]).ok();
        assert!(ran.text().contains("exec-provider"), "{shell}");
    }
    let page = world.run(&["man", "secrets", "set"]).ok();
    assert!(page.text().contains(".TH"), "{}", page.text());
    assert!(page.text().contains("\\-\\-ref"), "{}", page.text());
    assert!(
        page.text().contains(".TH \"reseal set\""),
        "{}",
        page.text()
    );
    let usage = "\\fBreseal secrets set\\fR [OPTIONS]";
    assert!(page.text().contains(usage), "{}", page.text());
    world.run(&["man", "no", "such"]).code(2);
    let folder = world.beside("man");
    world.run(&["man", "--out-dir", &folder]).ok();
    assert!(
        std::path::Path::new(&folder)
            .join("reseal-vault-slot-add-key.1")
            .exists()
    );
}

#[test]
fn doctor_names_what_is_wrong_and_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.run(&["doctor"]).ok();
    std::fs::set_permissions(world.vault(), PermissionsExt::from_mode(0o644)).unwrap();
    let ran = world.run(&["--json", "doctor"]).code(1);
    let json = ran.json();
    let finding = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["severity"] == "error");
    let finding = finding.unwrap();
    assert_eq!(finding["check"], "vault");
    assert!(
        finding["remedy"].as_str().unwrap().contains("chmod 600"),
        "{finding}"
    );
}

#[test]
fn the_state_folder_comes_from_option_variable_or_home() {
    let world = World::new();
    let run = |variables: &[(&str, &std::path::Path)], args: &[&str]| {
        let mut command = Command::new(BIN);
        command.env_clear().args(args).stdin(Stdio::null());
        for (name, value) in variables {
            command.env(name, value);
        }
        finish(command, None)
    };
    let state = world.state();
    run(&[("RESEAL_STATE_DIR", &state)], &["vault", "fingerprint"]).ok();
    let home = state.parent().unwrap();
    std::fs::rename(&state, home.join(".reseal")).unwrap();
    run(&[("HOME", home)], &["vault", "fingerprint"]).ok();
    run(&[], &["vault", "fingerprint"]).code(2);
    std::fs::rename(home.join(".reseal"), &state).unwrap();
}
