//! The commands against the real server: sign in, hand tokens to programs, sign out.

use crate::idp::walker::{Consent, Walker};
use crate::idp::{Idp, Options};
use crate::program::program;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use url::Url;

/// A state folder with a vault that a key file opens, and a config that knows the server.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new(idp: &Idp) -> Self {
        let home = Self {
            folder: TempDir::new().unwrap(),
        };
        let key = home.key();
        home.ok(&["init", "--no-recovery", "--generate-key-file", &key]);
        let config = json!({"oauth": {"providers": {"acme": {
            "issuer": idp.issuer(),
            "clientId": "public",
            "scopes": ["openid", "offline_access", "email", "api"],
            "extraAuthorizeParams": {"prompt": "consent"},
            "env": ["ACME_TOKEN"],
        }}}});
        std::fs::write(home.state().join("reseal.json"), config.to_string()).unwrap();
        home
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn key(&self) -> String {
        self.folder.path().join("key").to_str().unwrap().to_owned()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.arg("--state-dir").arg(self.state());
        command.arg("--no-input").args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn unlock(&self) {
        self.ok(&["vault", "unlock", "--key-file", &self.key()]);
    }

    /// Begins a sign-in; gives its first line of output.
    fn begin(&self, args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, String) {
        self.begin_by(|command| command, args)
    }

    /// The same by a changed command.
    pub fn begin_by(
        &self,
        change: impl FnOnce(Command) -> Command,
        args: &[&str],
    ) -> (Child, BufReader<std::process::ChildStdout>, String) {
        let login = ["models", "auth", "login", "--provider", "acme"];
        let mut command = change(self.command(&[&login[..], args].concat()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        (child, lines, first.trim_end().to_owned())
    }

    /// Signs in as alice, with a browser that comes back to the listener.
    fn sign_in(&self, idp: &Idp, args: &[&str]) {
        let (child, _lines, url) = self.begin(&[args, &["--no-browser"]].concat());
        let end = idp.sign_in(&url, &redirect_uri(&url));
        let page = Walker::new("alice").get(&Url::parse(&end).unwrap());
        assert_eq!(page.status(), 200, "{}", page.text());
        succeeded(child);
    }

    fn profiles(&self, agent: &str) -> Value {
        let place = format!("agents/{agent}/agent/auth-profiles.json");
        let text = std::fs::read_to_string(self.state().join(place)).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["vault", "lock"]);
    }
}

pub fn redirect_uri(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(name, _)| name == "redirect_uri");
    found.unwrap().1.into_owned()
}

#[track_caller]
pub fn succeeded(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

pub fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

const PROFILE: &str = "acme:default";
const RECORD: &str = "oauth/acme/default";

#[test]
fn a_sign_in_gives_tokens_to_programs_until_the_sign_out() {
    let idp = Idp::start_with(&opaque());
    let home = Home::new(&idp);
    home.ok(&["agents", "add", "second"]);
    home.unlock();
    home.sign_in(&idp, &["--sync-agents"]);
    let profile = &home.profiles("main")["profiles"][PROFILE];
    let reference = json!({"source": "vault", "provider": "default", "id": RECORD});
    assert_eq!(
        *profile,
        json!({"type": "oauth", "provider": "acme", "oauthRef": reference,
            "email": "alice@example.com"})
    );
    assert_eq!(*profile, home.profiles("second")["profiles"][PROFILE]);
    let token = home.ok(&["token", PROFILE]);
    let token = token.trim_end();
    assert_eq!(idp.introspect(token)["active"], json!(true));
    let script = "printf %s \"$ACME_TOKEN\"";
    let args = ["run", "--profile", PROFILE, "--", "sh", "-c", script];
    assert_eq!(home.ok(&args), token);
    assert_eq!(home.ok(&["secrets", "get", "-n", RECORD]), token);
    let status: Value = serde_json::from_str(&home.ok(&["--json", "models", "status"])).unwrap();
    assert_eq!(status["auth"]["oauth"]["profiles"][0]["status"], "ok");

    home.ok(&["models", "auth", "logout", PROFILE, "--yes"]);
    assert_eq!(idp.introspect(token)["active"], json!(false));
    assert_eq!(home.run(&["token", PROFILE]).status.code(), Some(3));
    assert_eq!(home.profiles("second")["profiles"], json!({}));
    assert_eq!(
        home.ok(&["--json", "secrets", "list"])
            .matches("oauth/")
            .count(),
        0
    );
}

#[test]
fn over_ssh_the_address_is_pasted() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    let key = home.key();
    let args = ["--paste", "--no-browser", "--key-file", &key];
    let (mut child, _lines, url) = home.begin(&args);
    let end = idp.sign_in(&url, &redirect_uri(&url));
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "not an address").unwrap();
    writeln!(stdin, "{end}").unwrap();
    succeeded(child);
    let token = home.ok(&["token", PROFILE, "--key-file", &key]);
    assert!(token.len() > 20);
}

#[test]
fn a_code_is_entered_on_another_device() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    let (child, mut lines, first) = home.begin(&["--device", "--json", "--key-file", &home.key()]);
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(event["event"], "deviceCode");
    let page = event["verificationUriComplete"].as_str().unwrap();
    Walker::new("alice").approve_device(page);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    succeeded(child);
    let stored: Value = serde_json::from_str(rest.trim_end()).unwrap();
    assert_eq!(stored["event"], "stored");
    assert_eq!(stored["profileId"], PROFILE);
}

#[test]
fn nobody_is_sent_to_a_browser_before_the_vault_is_open() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    let (child, _lines, first) = home.begin(&["--no-browser"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(first, "", "no address was shown");
    assert!(idp.events().is_empty());
}

#[test]
fn git_gets_the_token_of_an_account_and_never_changes_it() {
    let idp = Idp::start_with(&opaque());
    let home = Home::new(&idp);
    home.unlock();
    home.sign_in(&idp, &[]);
    home.ok(&["secrets", "mv", "oauth/acme/default", "git/https/h/alice"]);
    let git = |operation: &str, more: &str| -> String {
        let mut command = home.command(&["helper", "git", operation]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let question = format!("protocol=https\nhost=h\n{more}");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(question.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let answer = git("get", "");
    let lines: Vec<&str> = answer.lines().collect();
    let [user, password, expiry] = lines.as_slice() else {
        panic!("{} lines", lines.len());
    };
    assert_eq!(*user, "username=alice");
    assert!(expiry.starts_with("password_expiry_utc="));
    let token = password.strip_prefix("password=").unwrap();
    assert_eq!(idp.introspect(token)["active"], true);
    // git tells what it was given, what a person typed, and what a server refused.
    git("store", &answer);
    git("store", "username=alice\npassword=typed\n");
    git("erase", &answer);
    git("erase", "");
    assert_eq!(git("get", ""), answer);
}

#[test]
fn what_a_record_holds_is_signed_out_whatever_the_profile_calls_it() {
    let idp = Idp::start_with(&opaque());
    let home = Home::new(&idp);
    home.unlock();
    home.sign_in(&idp, &[]);
    let token = home.ok(&["token", PROFILE]);
    let served = json!({"type": "token", "provider": "acme", "tokenRef":
        {"source": "vault", "provider": "default", "id": RECORD}});
    let path = home.state().join("agents/main/agent/auth-profiles.json");
    let mut profiles = home.profiles("main");
    profiles["profiles"]["acme:served"] = served;
    std::fs::write(path, profiles.to_string()).unwrap();
    assert_eq!(home.ok(&["token", "acme:served"]), token);
    home.ok(&["models", "auth", "logout", "acme:served", "--yes"]);
    assert_eq!(idp.introspect(token.trim_end())["active"], json!(false));
    assert_eq!(home.profiles("main")["profiles"], json!({}));
}

#[test]
fn a_value_is_not_written_over_an_account() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    home.sign_in(&idp, &[]);
    let token = home.ok(&["token", PROFILE]);
    let mut set = home.command(&["secrets", "set", RECORD]);
    let mut set = set
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    set.stdin.take().unwrap().write_all(b"a slip").unwrap();
    let output = set.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("holds an OAuth account"), "{said}");
    assert_eq!(home.ok(&["token", PROFILE]), token);
}

#[test]
fn an_account_that_came_in_between_is_not_lost() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    let (first, _lines, url) = home.begin(&["--no-browser"]);
    home.sign_in(&idp, &[]);
    let token = home.ok(&["token", PROFILE]);
    let mut bob = Walker::new("bob");
    let end = bob.sign_in(&url, &redirect_uri(&url), Consent::Give);
    let page = bob.get(&Url::parse(&end).unwrap());
    assert!(
        page.text().contains("could not be finished"),
        "{}",
        page.text()
    );
    let output = first.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--profile-id"), "{said}");
    assert_eq!(home.ok(&["token", PROFILE]), token, "alice's stays");
}

#[test]
fn nobody_is_sent_to_a_browser_before_the_profile_can_be_written() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    let path = home.state().join("agents/main/agent/auth-profiles.json");
    std::fs::write(path, "{").unwrap();
    let (child, _lines, first) = home.begin(&["--no-browser", "--key-file", &home.key()]);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(7));
    assert_eq!(first, "", "no address was shown");
}

#[test]
fn a_sign_in_that_nobody_can_answer_ends_at_once() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    let args = ["--paste", "--no-browser", "--key-file", &home.key()];
    let (mut child, _lines, _url) = home.begin(&args);
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "not an address").unwrap();
    drop(stdin);
    // Not after the five minutes that it would wait for a browser.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nobody can paste"), "{said}");
}

#[test]
fn pasting_what_belongs_to_nobody_has_an_end() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    let args = ["models", "auth", "login", "--provider", "acme", "--paste"];
    let paste = |times: usize| {
        let mut child = home.command(&args);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
        let wrong = "http://127.0.0.1/callback?code=c&state=s\n".repeat(times);
        // The command may end before it read all of it.
        let _unread = child.stdin.take().unwrap().write_all(wrong.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let warned = |said: &str| said.matches("that can't be used").count();
    let nine = paste(9);
    assert_eq!(warned(&nine), 9, "{nine}");
    assert!(nine.contains("nobody can paste"), "{nine}");
    let eleven = paste(11);
    assert_eq!(warned(&eleven), 9, "{eleven}");
    assert!(eleven.contains("what was pasted can't be used"), "{eleven}");
}

#[test]
fn signing_in_again_names_the_account_to_the_page() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    home.sign_in(&idp, &["--profile-id", "acme:work"]);
    let again = [
        "--profile-id",
        "acme:work",
        "--no-browser",
        "--timeout",
        "1s",
    ];
    let (mut child, _out, url) = home.begin(&again);
    let url = Url::parse(&url).unwrap();
    let hint = url.query_pairs().find(|(name, _)| name == "login_hint");
    assert_eq!(hint.unwrap().1, "alice@example.com");
    assert!(!child.wait().unwrap().success());
}

#[test]
fn an_exported_token_is_private_and_comes_without_the_refresh_token() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    home.sign_in(&idp, &[]);
    let file = home.folder.path().join("auth.json");
    let path = file.to_str().unwrap();
    let export = ["auth", "provider", "export", "acme", path];
    home.ok(&export);
    let held: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let entry = &held["providers"]["acme"];
    let token = home.ok(&["auth", "provider", "token", "acme"]);
    assert_eq!(entry["access_token"], json!(token.trim()));
    assert_eq!(entry["refresh_token"], Value::Null);
    assert_eq!(
        (&held["version"], &entry["type"]),
        (&json!(1), &json!("oauth"))
    );
    assert!(entry["expires_at"].as_f64().unwrap() > 1e9);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Neither over a file nor into a work tree, unless somebody says so.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(!home.run(&export).status.success());
    home.ok(&[&export[..], &["--force"]].concat());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(home.folder.path().join(".git")).unwrap();
    let refused = home.run(&export);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("git work tree"));
    assert!(!file.exists());
}

#[test]
fn a_provider_is_listed_and_signed_out_of_under_the_names_of_fast_agent() {
    let idp = Idp::start();
    let home = Home::new(&idp);
    home.unlock();
    let state = |home: &Home| {
        let listed = home.ok(&["auth", "provider", "list", "--json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let all = listed["providers"].as_array().unwrap();
        let acme = all.iter().find(|one| one["id"] == json!("acme"));
        acme.unwrap()["state"].clone()
    };
    assert_eq!(state(&home), json!("not_configured"));
    home.sign_in(&idp, &[]);
    assert_eq!(state(&home), json!("ready"));
    let shown = home.ok(&["auth", "provider", "show", "acme", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["source"], json!("vault"));
    home.ok(&["auth", "provider", "logout", "acme", "--yes"]);
    assert_eq!(state(&home), json!("not_configured"));
    assert!(idp.events().contains(&"revoked".to_owned()));
    let codex = home.run(&["auth", "codex-clear", "--yes"]);
    assert!(String::from_utf8_lossy(&codex.stderr).contains("No tokens found or nothing removed."));
    let plan = home.run(&["auth", "codexplan"]);
    assert!(String::from_utf8_lossy(&plan.stderr).contains("give --yes to answer yes"));
}
