//! Grants that want a person's yes: a daemon of one user, a client of another, and scripts in the
//! place of the program that asks. Needs root, to become them.

use super::grants::{CLIENT, OTHER, OWNER, Site, is_root, run};
use super::world::Ran;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take that will happen.
const LONG: Duration = Duration::from_secs(60);

/// A daemon with a grant that wants a person's yes, and one of somebody else that does not.
pub struct Asking {
    pub site: Site,
    /// What the program that asks says of itself, and whether it still runs: a FIFO.
    told: File,
}

impl Asking {
    /// With this body of the program that asks, which finds the question in `$1`, and with these
    /// options of `daemon.confirm`. It first says what it was asked on descriptor 9.
    pub fn new(body: &str, options: &Value) -> Self {
        let site = Site::new(Some("everyone"));
        let fifo = fifo(&site, "told");
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut open = File::options();
        let told = open.read(true).custom_flags(flags).open(&fifo).unwrap();
        let asking = Self { site, told };
        let say = format!("exec 9> {fifo}; printf '%s\\n%s\\n' \"$*\" \"$SSH_ASKPASS_PROMPT\" >&9");
        asking.program(&format!("{say}\n{body}"));
        let mut confirm = json!({"command": asking.site.text("asks"), "args": ["first"]});
        for (option, value) in options.as_object().unwrap() {
            confirm[option] = value.clone();
        }
        asking.configure(Some(&confirm));
        asking
    }

    /// Written by another process: a file open for writing can't be run.
    fn program(&self, body: &str) {
        let path = self.site.path("asks");
        let mut write = Command::new("/bin/sh");
        write
            .args(["-c", "cat > \"$0.new\" && mv \"$0.new\" \"$0\""])
            .arg(&path);
        run(write, &format!("#!/bin/sh\n{body}\n")).code(0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(OWNER), Some(OWNER)).unwrap();
    }

    fn configure(&self, confirm: Option<&Value>) {
        let mut config = json!({
            "daemon": {"share": "everyone", "socket": self.site.text("run/daemon.sock")},
            "grants": {
                "agent": {"to": {"uid": CLIENT}, "refs": ["vault:agent/*"],
                    "verbs": ["use", "read"], "confirm": true},
                "other": {"to": {"uid": OTHER}, "refs": ["vault:other/*"], "verbs": ["read"]},
            },
        });
        if let Some(confirm) = confirm {
            config["daemon"]["confirm"] = confirm.clone();
        }
        fs::write(self.site.path("state/reseal.json"), config.to_string()).unwrap();
        self.site.owner(&["secrets", "reload"]).code(0);
    }

    fn get(&self) -> Ran {
        self.site
            .client(CLIENT, &["--json", "secrets", "get", "agent/key"])
    }

    /// The code of the refusal, without a value.
    #[track_caller]
    fn refused(&self) -> String {
        let ran = self.get().code(5);
        assert!(!ran.text().contains("value of"), "{}", ran.text());
        ran.json()["error"]["code"].as_str().unwrap().to_owned()
    }

    /// A client that waits for the answer.
    fn waiting(&self) -> Child {
        let owner = OWNER.to_string();
        let mut command = self.site.command(CLIENT);
        command
            .arg(self.site.path("reseal"))
            .args([
                "--daemon-user",
                &owner,
                "--socket",
                &self.site.text("run/daemon.sock"),
            ])
            .args(["--no-input", "secrets", "get", "agent/key"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// What the program says next.
    fn heard(&mut self) -> String {
        let deadline = Instant::now() + LONG;
        let mut text = [0; 4096];
        loop {
            match self.told.read(&mut text) {
                Ok(len) if len > 0 => return String::from_utf8(text[..len].to_vec()).unwrap(),
                // Nobody has it open, or nobody has written yet.
                Ok(_) => std::thread::yield_now(),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            assert!(Instant::now() < deadline, "nobody was asked");
        }
    }

    /// Waits until the program, and all that it started, has ended.
    fn all_end(&mut self) -> bool {
        loop {
            match self.told.read(&mut [0; 64]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            let mut fds = [PollFd::new(&self.told, PollFlags::IN)];
            let patience = Timespec::try_from(LONG).unwrap();
            if poll(&mut fds, Some(&patience)).unwrap() == 0 {
                return false;
            }
        }
    }

    /// What the log says of the client: the outcome, the grant or why not, a person's part.
    pub fn log(&self) -> Vec<Value> {
        let shown = self
            .site
            .owner(&["--json", "vault", "audit", "show"])
            .code(0)
            .json();
        let lines = shown["lines"].as_array().unwrap().clone();
        let is_his = |line: &&Value| line["uid"] == CLIENT && line["event"] == "decision";
        let his = lines.iter().filter(is_his);
        his.map(|line| {
            let word = [&line["grant"], &line["why"]];
            let word = word.iter().find(|word| word.is_string()).unwrap();
            json!([
                line["outcome"],
                word,
                line["answer"],
                line["refs"],
                line["verb"]
            ])
        })
        .collect()
    }

    /// Lets the quiet after a no end: other grants are a new matter.
    fn begin_anew(&self) {
        let config = self.site.path("state/reseal.json");
        let text = fs::read_to_string(&config).unwrap();
        let mut changed: Value = serde_json::from_str(&text).unwrap();
        changed["grants"]["agent"]["until"] = "2999-01-01".into();
        fs::write(&config, changed.to_string()).unwrap();
        self.site.owner(&["secrets", "reload"]).code(0);
        fs::write(&config, text).unwrap();
        self.site.owner(&["secrets", "reload"]).code(0);
    }
}

/// Makes a FIFO that the daemon's user can write; gives its path.
fn fifo(site: &Site, name: &str) -> String {
    let path = site.text(name);
    let mut make = Command::new("mkfifo");
    make.arg(&path);
    run(make, "").code(0);
    chown(&path, Some(OWNER), Some(OWNER)).unwrap();
    path
}

#[test]
fn a_person_is_asked_says_yes_or_no_and_the_log_has_it() {
    if !is_root() {
        return;
    }
    let mut asking = Asking::new("[ -e \"${0%/*}/yes\" ]", &json!({}));
    fs::write(asking.site.path("yes"), "").unwrap();
    let got = asking
        .site
        .client(CLIENT, &["secrets", "get", "agent/key"])
        .code(0);
    assert_eq!(got.text(), "value of agent/key\n");
    let question = asking.heard();
    assert!(
        question.starts_with("first Reseal: user 4242, process "),
        "{question}"
    );
    for part in [
        " wants to read (get):\n  vault:agent/key\n",
        "Granted if you confirm it: agent\nAllow it, this once?\nconfirm\n",
    ] {
        assert!(question.contains(part), "{question}");
    }
    // What is refused anyway asks nobody.
    asking
        .site
        .client(CLIENT, &["secrets", "get", "other/key"])
        .code(5);
    asking.get().code(0);
    assert!(asking.heard().starts_with("first Reseal: "));
    fs::remove_file(asking.site.path("yes")).unwrap();
    assert_eq!(asking.refused(), "grant.declined");
    asking.heard();
    // Nor is a person asked again at once after a no.
    fs::write(asking.site.path("yes"), "").unwrap();
    assert_eq!(asking.refused(), "grant.declined");
    assert!(asking.all_end());
    let refs = json!(["vault:agent/key"]);
    let expected = [
        json!(["allowed", "agent", "confirmed", refs, "read"]),
        json!(["refused", "notGranted", null, ["vault:other/key"], "read"]),
        json!(["allowed", "agent", "confirmed", refs, "read"]),
        json!(["refused", "declined", "declined", refs, "read"]),
        json!(["refused", "quiet", null, refs, "read"]),
    ];
    assert_eq!(asking.log(), expected);
    let shown = asking.site.owner(&["vault", "audit", "show"]).code(0);
    assert!(
        shown.text().contains("(agent, confirmed)"),
        "{}",
        shown.text()
    );
}

#[test]
fn whatever_else_the_program_that_asks_does_is_no_yes() {
    if !is_root() {
        return;
    }
    let deaf = "trap '' TERM INT HUP; (trap '' TERM INT HUP; exec setsid sleep 600) & sleep 600";
    let mut asking = Asking::new("exit 0", &json!({"timeoutMs": 1000}));
    let fifo = asking.site.text("told");
    for (body, code) in [
        ("kill -SEGV $$", "grant.unanswered"),
        ("exit 255", "grant.declined"),
        ("exec yes", "grant.unanswered"),
        (deaf, "grant.unanswered"),
    ] {
        asking.program(&format!("exec 9> {fifo}; echo asked >&9; {body}"));
        asking.begin_anew();
        assert_eq!(asking.refused(), code, "{body}");
        assert!(asking.heard().starts_with("asked"), "{body}");
        assert!(asking.all_end(), "{body}: somebody is still there");
    }
    // Nor is one that is not there, or that others could have changed.
    for mode in [0o777, 0o600] {
        fs::set_permissions(asking.site.path("asks"), fs::Permissions::from_mode(mode)).unwrap();
        asking.begin_anew();
        assert_eq!(asking.refused(), "grant.unanswered", "{mode:o}");
    }
    fs::rename(asking.site.path("asks"), asking.site.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(asking.site.path("elsewhere"), asking.site.path("asks")).unwrap();
    asking.begin_anew();
    assert_eq!(asking.refused(), "grant.unanswered");
    let doctor = asking.site.owner(&["--json", "doctor"]);
    let findings = doctor.json()["findings"].as_array().unwrap().clone();
    let found = findings
        .iter()
        .find(|finding| finding["check"] == "confirm");
    let message = found.unwrap()["message"].as_str().unwrap();
    assert!(message.ends_with("asks must not be a symlink"), "{message}");
}

#[test]
fn without_a_program_that_asks_it_is_refused_and_said_what_to_do() {
    if !is_root() {
        return;
    }
    let asking = Asking::new("exit 0", &json!({}));
    let doctor = |severity: &str| {
        let doctor = asking.site.owner(&["--json", "doctor"]).json();
        let findings = doctor["findings"].as_array().unwrap().clone();
        let found = findings
            .iter()
            .find(|finding| finding["check"] == "confirm");
        assert_eq!(found.unwrap()["severity"], severity);
        found.unwrap()["message"].as_str().unwrap().to_owned()
    };
    let found = doctor("ok");
    assert!(found.ends_with("asks asks a person, for agent"), "{found}");
    let listed = asking
        .site
        .owner(&["--json", "grants", "list"])
        .code(0)
        .json();
    assert_eq!(listed["confirmedBy"], asking.site.text("asks"));
    asking.configure(None);
    let said = asking
        .site
        .client(CLIENT, &["secrets", "get", "agent/key"])
        .code(5);
    assert!(said.stderr.contains("daemon.confirm"), "{}", said.stderr);
    assert_eq!(asking.refused(), "grant.confirm");
    assert!(doctor("warning").contains("no program asks a person: agent"));
    let listed = asking.site.owner(&["grants", "list"]).code(0);
    assert!(
        listed.stderr.contains("daemon.confirm"),
        "{}",
        listed.stderr
    );
    // A config that others can write names nothing.
    asking.configure(Some(&json!({"command": asking.site.text("asks")})));
    let config = asking.site.path("state/reseal.json");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    asking.site.owner(&["secrets", "reload"]).code(0);
    assert_eq!(asking.get().code(5).json()["error"]["code"], "daemon.peer");
}

#[test]
fn while_a_person_thinks_others_are_served_and_whoever_leaves_takes_the_question_along() {
    if !is_root() {
        return;
    }
    let go = "read answer < \"${0%/*}/go\"; exit $answer";
    let mut asking = Asking::new(go, &json!({"timeoutMs": 300_000}));
    let go = fifo(&asking.site, "go");
    let first = asking.waiting();
    asking.heard();
    // Somebody else is served, the owner is, and the same user's next question has to wait.
    asking
        .site
        .client(OTHER, &["secrets", "get", "other/key"])
        .code(0);
    asking.site.owner(&["secrets", "get", "agent/key"]).code(0);
    let busy = asking.get().code(6).json();
    assert_eq!(busy["error"]["code"], "daemon.busy");
    let mut answer = File::options().write(true).open(go).unwrap();
    answer.write_all(b"0\n").unwrap();
    drop(answer);
    let output = first.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "value of agent/key\n"
    );
    assert!(asking.all_end());
    let mut second = asking.waiting();
    asking.heard();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(asking.all_end(), "somebody is still asked");
    // A lock ends the question too, and tells the one who waits.
    asking.begin_anew();
    let third = asking.waiting();
    asking.heard();
    asking.site.owner(&["vault", "lock"]).code(0);
    let output = third.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("was locked before anybody said"), "{said}");
    assert!(asking.all_end(), "somebody is still asked");
    let log = asking.log();
    let answers: Vec<&Value> = log.iter().map(|line| &line[2]).collect();
    let expected = ["confirmed", "unanswered", "unanswered"].map(Value::from);
    let asked: Vec<&Value> = answers
        .into_iter()
        .filter(|answer| answer.is_string())
        .collect();
    assert_eq!(asked, expected.iter().collect::<Vec<_>>());
}
