//! Prompts on a terminal, as over SSH: a pseudo-terminal is the program's controlling terminal.

use super::world::{PASSPHRASE, World};
use rexpect::session::{PtySession, spawn_command};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::termios::LocalModes;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How long a prompt may take to come, in milliseconds: a bound for a hung program only.
const PATIENCE: u64 = 60_000;

fn at_terminal(world: &mut World, args: &[&str]) -> PtySession {
    world.global.clear();
    let mut command = world.command(args);
    command.stdin(std::process::Stdio::inherit());
    spawn_command(command, Some(PATIENCE)).unwrap()
}

/// The rest of the output, and the exit code.
fn end(mut session: PtySession) -> (String, i32) {
    let rest = session.exp_eof().unwrap();
    // The type of the status is not public: `Exited(Pid(123), 0)`.
    let status = format!("{:?}", session.process_mut().wait().unwrap());
    let code = status.strip_prefix("Exited(").and_then(|text| {
        text.rsplit([' ', ')'])
            .find(|word| !word.is_empty())?
            .parse()
            .ok()
    });
    let code = code.unwrap_or_else(|| panic!("{status}: {rest}"));
    (rest, code)
}

#[test]
fn init_asks_for_a_passphrase_twice_and_shows_nothing_of_it() {
    let mut world = World::empty();
    let mut session = at_terminal(&mut world, &["init", "--kdf", "minimal", "--no-recovery"]);
    session.exp_string("A new passphrase: ").unwrap();
    session.send_line("typed-once").unwrap();
    session.exp_string("once more: ").unwrap();
    session.send_line("typed-otherwise").unwrap();
    session.exp_string("not the same").unwrap();
    session.exp_string("A new passphrase: ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.exp_string("once more: ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(
        !rest.contains("typed") && !rest.contains(PASSPHRASE),
        "{rest}"
    );
    world.with_passphrase(&["secrets", "list"]).ok();
}

#[test]
fn a_value_is_asked_for_hidden_after_the_passphrase() {
    let mut world = World::new();
    let mut session = at_terminal(&mut world, &["secrets", "set", "a"]);
    session.exp_string("Passphrase of vault").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.exp_string("Value of a (hidden): ").unwrap();
    session.send_line("typed-value").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(
        rest.contains("vault:a") && rest.contains("11 bytes"),
        "{rest}"
    );
    assert!(!rest.contains("typed-value"), "{rest}");
    assert_eq!(world.value("a"), "typed-value");
}

#[test]
fn a_wrong_passphrase_is_asked_for_again_twice() {
    let mut world = World::new();
    let mut session = at_terminal(&mut world, &["vault", "unlock"]);
    for _ in 0..3 {
        session.exp_string("Passphrase of vault").unwrap();
        session.send_line("wrong").unwrap();
    }
    let (rest, code) = end(session);
    assert_eq!(code, 5, "{rest}");
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        rest.contains("failed to open the vault: wrong passphrase (slot "),
        "{rest}"
    );
    let mut session = at_terminal(&mut world, &["vault", "unlock"]);
    session.exp_string("Passphrase of vault").unwrap();
    session.send_line("wrong").unwrap();
    session.exp_string("Wrong passphrase, try again.").unwrap();
    session.exp_string("Passphrase of vault").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("Opening the vault ..."), "{rest}");
    world.run(&["secrets", "list"]).ok();
}

#[test]
fn text_fits_the_terminal() {
    let mut world = World::unlocked();
    let long = format!("{}/{}", "x".repeat(60), "y".repeat(60));
    world.store(&long, "value");
    let note = "a word ".repeat(30);
    let args = ["secrets", "set", "short", "--note", &note];
    world.piped_with_passphrase(&args, b"value").ok();
    // The width that a terminal without a size is taken for.
    let width = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let narrow = |world: &mut World, args: &[&str]| {
        world.global.clear();
        let mut command = world.command(args);
        command
            .env("NO_COLOR", "1")
            .stdin(std::process::Stdio::inherit());
        let (rest, code) = end(spawn_command(command, Some(PATIENCE)).unwrap());
        // The reader takes bytes for characters.
        (rest.replace("\u{e2}\u{80}\u{a6}", "…"), code)
    };
    let (list, _) = narrow(&mut world, &["secrets", "list"]);
    assert!(list.contains('…') && width(&list) <= 80, "{list}");
    let (error, code) = narrow(&mut world, &["secrets", "get", "short"]);
    assert_eq!(code, 2);
    assert!(error.contains("\n  ") && width(&error) <= 80, "{error}");
    // Programs get everything.
    assert!(world.run(&["secrets", "list"]).ok().text().contains(&long));
}

#[test]
fn slow_work_on_an_export_is_announced() {
    let mut world = World::unlocked();
    let file = world.private_file("export.age", b"not an age file");
    let passphrase = world.passphrase();
    let args = [
        "vault",
        "import",
        &file,
        "--import-passphrase-file",
        &passphrase,
    ];
    let (rest, code) = end(at_terminal(&mut world, &args));
    assert_ne!(code, 0, "{rest}");
    assert!(rest.contains("Decrypting the export ..."), "{rest}");
    assert!(!world.run(&args).stderr.contains("Decrypting"));
}

/// Ctrl-C, and Ctrl-D at the start of a line.
const CANCELLING: [&str; 2] = ["\u{3}", "\u{4}"];

#[test]
fn a_cancelled_prompt_says_so_and_exits_130() {
    let mut world = World::new();
    for key in CANCELLING {
        for (args, prompt) in [
            (&["vault", "unlock"][..], "Passphrase of vault"),
            (&["agents", "remove", "second"], "[y/N] "),
        ] {
            world.run(&["agents", "add", "second"]);
            let mut session = at_terminal(&mut world, args);
            session.exp_string(prompt).unwrap();
            session.send(key).unwrap();
            session.flush().unwrap();
            let (rest, code) = end(session);
            assert_eq!(code, 130, "{args:?}: {rest}");
            assert!(
                rest.contains("cancelled") && !rest.contains("terminal"),
                "{args:?}: {rest}"
            );
        }
    }
    assert!(world.state().join("agents/second/agent").exists());
}

#[test]
fn a_value_goes_to_a_terminal_only_with_reveal() {
    let mut world = World::unlocked();
    world.store("a", "shown-only-when-asked");
    let (rest, code) = end(at_terminal(&mut world, &["secrets", "get", "a"]));
    assert_eq!(code, 2, "{rest}");
    assert!(
        rest.contains("--reveal") && !rest.contains("shown-only"),
        "{rest}"
    );
    let (rest, code) = end(at_terminal(
        &mut world,
        &["secrets", "get", "a", "--reveal"],
    ));
    assert_eq!((rest.trim(), code), ("shown-only-when-asked", 0));
    world
        .run(&["secrets", "set", "openai:x", "--ref", "vault:a"])
        .ok();
    let (rest, code) = end(at_terminal(&mut world, &["token", "openai:x"]));
    assert_eq!(code, 2, "{rest}");
    let (rest, code) = end(at_terminal(&mut world, &["inject"]));
    assert_eq!(code, 2, "{rest}");
}

#[test]
fn colour_is_for_terminals_without_no_color() {
    let mut world = World::new();
    let coloured = end(at_terminal(&mut world, &["vault", "status"])).0;
    assert!(coloured.contains("\x1b["), "{coloured:?}");
    world.global.clear();
    let mut command = world.command(&["vault", "status"]);
    command
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::inherit());
    let plain = end(spawn_command(command, Some(PATIENCE)).unwrap()).0;
    assert!(!plain.contains("\x1b["), "{plain:?}");
    let piped = world.run(&["vault", "status"]).ok();
    assert!(!piped.text().contains("\x1b["));
}

#[test]
fn removing_asks_first_and_no_means_no() {
    let mut world = World::new();
    world.run(&["agents", "add", "second"]).ok();
    let mut session = at_terminal(&mut world, &["agents", "remove", "second"]);
    session
        .exp_string("Remove the profiles of agent second?")
        .unwrap();
    session.send_line("n").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(world.state().join("agents/second/agent").exists());
    let mut session = at_terminal(&mut world, &["agents", "remove", "second"]);
    session
        .exp_string("Remove the profiles of agent second?")
        .unwrap();
    session.send_line("y").unwrap();
    end(session);
    assert!(!world.state().join("agents/second/agent").exists());
}

#[test]
fn rekey_asks_for_the_secret_of_each_slot() {
    let mut world = World::new();
    let second = world.private_file("second", b"another passphrase\n");
    let add = ["vault", "slot", "add", "passphrase", "--kdf", "minimal"];
    let add = [
        &add[..],
        &["--label", "laptop", "--new-passphrase-file", &second],
    ]
    .concat();
    world.with_passphrase(&add).ok();
    let mut session = at_terminal(&mut world, &["vault", "rekey"]);
    session.exp_string("Passphrase of vault").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.exp_string("\"laptop\": ").unwrap();
    session.send_line("a wrong one").unwrap();
    session.exp_string("\"laptop\": ").unwrap();
    session.send_line("another passphrase").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    world
        .run(&["secrets", "list", "--passphrase-file", &second])
        .ok();
}

#[test]
fn removing_a_record_that_is_pointed_at_asks_first() {
    let mut world = World::unlocked();
    world.store("a", "value");
    let point = ["secrets", "set", "openai:default", "--ref", "vault:a"];
    world.run(&point).ok();
    for (answer, there) in [("n", 0), ("y", 3)] {
        let mut session = at_terminal(&mut world, &["secrets", "rm", "a"]);
        session.exp_string("main: openai:default").unwrap();
        session.exp_string("[y/N]").unwrap();
        session.send_line(answer).unwrap();
        let (rest, code) = end(session);
        assert_eq!(code, 0, "{rest}");
        world.run(&["secrets", "get", "a"]).code(there);
    }
}

#[test]
fn quickstart_goes_through_at_a_terminal() {
    let mut world = World::empty();
    let mut session = at_terminal(&mut world, &["quickstart", "--kdf", "minimal"]);
    session.exp_string("A new passphrase: ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.exp_string("once more: ").unwrap();
    session.send_line(PASSPHRASE).unwrap();
    session.exp_string("Recovery code").unwrap();
    session.exp_string("(hidden; any value will do): ").unwrap();
    session.send_line("sk-typed-key").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(
        rest.contains("It got the key") && !rest.contains("sk-typed-key"),
        "{rest}"
    );
    let script = "printf %s $OPENAI_API_KEY";
    assert_eq!(
        world.run(&["run", "--", "sh", "-c", script]).ok().text(),
        "sk-typed-key"
    );
}

#[test]
fn an_exec_provider_answers_no_terminal() {
    let mut world = World::new();
    let session = at_terminal(&mut world, &["exec-provider"]);
    let (rest, code) = end(session);
    assert_eq!(code, 2, "{rest}");
    assert!(rest.contains("stdout is a terminal"), "{rest}");
}

#[test]
fn an_account_is_added_by_answering_questions() {
    let mut world = World::unlocked();
    let mut session = at_terminal(&mut world, &["models", "auth", "add"]);
    session.exp_string("Provider (such as").unwrap();
    session.send_line("no:such").unwrap();
    session.exp_string("none of the answers").unwrap();
    session.exp_string("Provider (such as").unwrap();
    session.send_line(" Groq ").unwrap();
    session.exp_string("1  paste an API key").unwrap();
    session.exp_string("Which one?").unwrap();
    session.send_line("2").unwrap();
    session.exp_string("groq:NAME").unwrap();
    session.send_line("work").unwrap();
    session
        .exp_string("Token for groq:work (hidden): ")
        .unwrap();
    session.send_line("gsk-typed").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(!rest.contains("gsk-typed"), "{rest}");
    assert_eq!(world.value("groq/work"), "gsk-typed");
    world.global.push("--no-input".to_owned());
    let ran = world.run(&["models", "auth", "add"]).code(4);
    assert!(ran.stderr.contains("paste-api-key"), "{}", ran.stderr);
}

/// The walk of `secrets configure`: nothing is written before the last answer.
#[test]
fn configure_walks_through_providers_and_values() {
    let config = r#"{"models": {"providers": {
        "groq": {"apiKey": "canary-groq-93b0f5a8"}, "openai": {"apiKey": "canary-openai-41c7"}}}}"#;
    let mut world = World::new();
    fs::write(world.config(), config).unwrap();
    let (passphrase, plan) = (world.passphrase(), world.beside("plan.json"));
    let args = ["secrets", "configure", "--apply", "--plan-out", &plan];
    let args = [&args[..], &["--passphrase-file", &passphrase]].concat();
    let mut session = at_terminal(&mut world, &args);
    session.exp_string("Enter goes on: ").unwrap();
    session.send_line("a").unwrap();
    for (question, answer) in [
        ("Alias: ", "mine"),
        ("Source", "exec"),
        ("command: ", "relative"),
        ("blanks: ", "x"),
    ] {
        session.exp_string(question).unwrap();
        session.send_line(answer).unwrap();
    }
    // The definition is refused, and the walk goes on.
    session
        .exp_string("command is not an absolute path")
        .unwrap();
    session.exp_string("Enter goes on: ").unwrap();
    session.send_line("").unwrap();
    session.exp_string("2 plaintext values found").unwrap();
    session.exp_string("models.providers.groq.apiKey").unwrap();
    session.exp_string("[Enter/s/n/r/a/q]").unwrap();
    session.send_line("n").unwrap();
    session.exp_string("Name of the record: ").unwrap();
    session.send_line("keys/groq").unwrap();
    session.exp_string("vault:keys/groq").unwrap();
    session.send_line("").unwrap();
    session
        .exp_string("models.providers.openai.apiKey")
        .unwrap();
    session.exp_string("[Enter/s/n/r/a/q]").unwrap();
    session.send_line("s").unwrap();
    session.exp_string("Carry it out now? [y/N]").unwrap();
    assert_eq!(fs::read_to_string(world.config()).unwrap(), config);
    session.send_line("y").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    let text = fs::read_to_string(world.config()).unwrap();
    assert!(
        !text.contains("canary-groq") && text.contains("canary-openai"),
        "{text}"
    );
    let plan = fs::read_to_string(plan).unwrap();
    assert!(
        plan.contains("keys/groq") && !plan.contains("canary"),
        "{plan}"
    );
    assert_eq!(world.value("keys/groq"), "canary-groq-93b0f5a8");
}

/// Another runtime that runs is told before the first question, not after the last one; a walk that
/// only writes a plan may go on.
#[test]
fn configure_looks_for_a_running_runtime_before_it_asks() {
    let mut world = World::new();
    let claw = world.beside("claw");
    let agent = format!("{claw}/agents/main/agent");
    fs::create_dir_all(&agent).unwrap();
    fs::write(format!("{claw}/openclaw.json"), "{}").unwrap();
    let lock = format!("{agent}/auth-profiles.json.lock");
    fs::write(&lock, format!("{{\"pid\": {}}}", std::process::id())).unwrap();
    let walk = ["secrets", "configure", "--from", &claw];
    let (said, code) = end(at_terminal(&mut world, &walk));
    assert_eq!(code, 8, "{said}");
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("nothing was written") && flat.contains("process"),
        "{said}"
    );
    assert!(!flat.contains("Enter goes on"), "{said}");

    let plan = world.beside("plan.json");
    let mut session = at_terminal(&mut world, &[&walk[..], &["--plan-out", &plan]].concat());
    session.exp_string("Enter goes on: ").unwrap();
    session.send_line("").unwrap();
    let (said, code) = end(session);
    assert_eq!(code, 0, "{said}");
    assert!(std::path::Path::new(&plan).exists());
}

#[test]
fn configure_puts_records_below_a_name() {
    let config = r#"{"models": {"providers": {"groq": {"apiKey": "canary-groq-93b0f5a8"}}}}"#;
    let mut world = World::new();
    fs::write(world.config(), config).unwrap();
    let passphrase = world.passphrase();
    let args = [
        "secrets",
        "configure",
        "--skip-provider-setup",
        "--prefix",
        "work",
    ];
    let args = [&args[..], &["--passphrase-file", &passphrase]].concat();
    let mut session = at_terminal(&mut world, &args);
    session
        .exp_string("vault:work/config/models/providers/groq/apiKey")
        .unwrap();
    session.exp_string("[Enter/s/n/r/a/q]").unwrap();
    session.send_line("").unwrap();
    session.exp_string("Carry it out now? [y/N]").unwrap();
    session.send_line("y").unwrap();
    let (said, code) = end(session);
    assert_eq!(code, 0, "{said}");
    let record = "work/config/models/providers/groq/apiKey";
    assert_eq!(world.value(record), "canary-groq-93b0f5a8");
}

#[test]
fn onboard_takes_a_newcomer_from_nothing_to_a_credential() {
    let mut world = World::empty();
    let mut session = at_terminal(
        &mut world,
        &["onboard", "--kdf", "minimal", "--no-recovery"],
    );
    session.exp_string("Making a vault").unwrap();
    for prompt in ["A new passphrase: ", "once more: "] {
        session.exp_string(prompt).unwrap();
        session.send_line(PASSPHRASE).unwrap();
    }
    session.exp_string("Which one? ").unwrap();
    session.send_line("no such choice").unwrap();
    session.exp_string("Which one? ").unwrap();
    session.send_line("anthropic-api-key").unwrap();
    session.exp_string("(hidden): ").unwrap();
    session.send_line("sk-ant-api03-of-a-newcomer").unwrap();
    let (rest, code) = end(session);
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("It is all set up."), "{rest}");
    assert!(!rest.contains("newcomer"), "{rest}");
    // A daemon holds the vault: nothing more is asked for.
    let token = world.run(&["token", "--provider", "anthropic"]).ok();
    assert_eq!(token.text(), "sk-ant-api03-of-a-newcomer\n");
    let again = world
        .run(&["onboard", "--auth-choice", "nothing-like-it"])
        .code(3);
    assert!(
        again.stderr.contains("anthropic-api-key"),
        "{}",
        again.stderr
    );
}

/// A stopped process, which goes on whatever becomes of the test.
struct GoesOn(Pid);

impl Drop for GoesOn {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_daemon_that_is_ended_at_its_prompt_gives_the_terminal_back_before_it_ends() {
    let mut world = World::new();
    world.global.clear();
    let daemon = world.command(&["daemon"]);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "echo \"process $$.\"; exec \"$0\" \"$@\""])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    let mut session = spawn_command(shell, Some(PATIENCE)).unwrap();
    session.exp_string("process ").unwrap();
    let pid: i32 = session.exp_string(".").unwrap().parse().unwrap();
    session.exp_string("Passphrase of vault").unwrap();
    let terminal = session.process_mut().get_file_handle().unwrap();
    // Echo this library turns off itself; with it go lines and the keys that send signals.
    let is_as_it_was = || {
        let modes = rustix::termios::tcgetattr(&terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ISIG)
    };
    assert!(!is_as_it_was());
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let is_opener = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        name.trim() != "reseal-broker"
    };
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let opener = children.into_iter().find(is_opener).unwrap();
    let (daemon, opener) = (Pid::from_raw(pid).unwrap(), Pid::from_raw(opener).unwrap());
    let ended = pidfd_open(daemon, PidfdFlags::empty()).unwrap();
    let ends_within = |limit: Duration| {
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit)).unwrap() == 1
    };
    // What has to put the terminal back is not quick.
    kill_process(opener, Signal::STOP).unwrap();
    let _goes_on = GoesOn(opener);
    kill_process(daemon, Signal::TERM).unwrap();
    assert!(
        !ends_within(Duration::from_millis(300)),
        "the terminal is still the prompt's"
    );
    kill_process(opener, Signal::CONT).unwrap();
    assert!(ends_within(Duration::from_secs(60)), "it goes on");
    assert!(is_as_it_was());
    let status = format!("{:?}", session.process_mut().wait().unwrap());
    assert!(status.starts_with("Signaled("), "{status}");
}
