//! `doctor openclaw`: each rule that OpenClaw has for an exec provider's command, broken alone.

use super::world::{BIN, Ran, World};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A copy of the program that keeps all rules.
fn copy(world: &World) -> String {
    let path = world.beside("reseal");
    fs::copy(BIN, &path).unwrap();
    chmod(&path, 0o755);
    path
}

fn chmod(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The user whom this test runs as, and another.
fn users(world: &World) -> (u32, u32) {
    let me = fs::metadata(world.state()).unwrap().uid();
    (me, if me == 0 { 65_534 } else { 0 })
}

/// The errors and warnings, as `severity check: message -> remedy`.
fn complaints(ran: &Ran) -> Vec<String> {
    let json = ran.json();
    let all = json["findings"].as_array().unwrap().clone();
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
    let bad = all
        .iter()
        .filter(|f| f["severity"] == "error" || f["severity"] == "warning");
    bad.map(|f| {
        let [severity, check, message, remedy] =
            ["severity", "check", "message", "remedy"].map(|member| text(f, member));
        format!("{severity} {check}: {message} -> {remedy}")
    })
    .collect()
}

fn doctor(world: &World, program: &str) -> Ran {
    world.run(&["--json", "doctor", "openclaw", "--program", program])
}

/// The command that makes a copy in the state folder.
fn install(world: &World, owner: &str) -> String {
    let to = world.state().join("bin/reseal");
    let to = to.display();
    format!("install -D {owner}-m 755 {BIN} {to}, and name that copy; again after an update")
}

#[track_caller]
fn one(ran: &Ran, start: &str, remedy: &str) {
    let complaints = complaints(ran);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with(start), "{complaints:?}");
    assert!(
        complaints[0].ends_with(&format!("-> {remedy}")),
        "{complaints:?}"
    );
}

#[test]
fn a_program_that_keeps_the_rules_gets_the_block_to_paste() {
    let world = World::unlocked();
    let program = copy(&world);
    // Hard links are fine: cargo makes them.
    fs::hard_link(&program, world.beside("another name")).unwrap();
    let ran = doctor(&world, &program).ok();
    assert_eq!(complaints(&ran), Vec::<String>::new());
    let json = ran.json();
    let folder = Path::new(&program).parent().unwrap();
    assert_eq!(
        json["config"],
        json!({"secrets": {
            "providers": {"reseal": {
                "source": "exec", "command": program,
                "args": ["--state-dir", world.state(), "exec-provider"],
                "timeoutMs": 5000, "jsonOnly": true, "trustedDirs": [folder],
            }},
            "defaults": {"exec": "reseal"},
        }})
    );
    let text = world
        .run(&["doctor", "openclaw", "--program", &program])
        .ok();
    assert!(
        text.text().contains("For OpenClaw's config"),
        "{}",
        text.text()
    );
    // What is in the block is what an empty environment needs.
    let provider = &json["config"]["secrets"]["providers"]["reseal"];
    world.store("openai/default", "sk-1");
    let mut command = std::process::Command::new(provider["command"].as_str().unwrap());
    let args = provider["args"].as_array().unwrap().iter();
    command
        .env_clear()
        .current_dir("/")
        .args(args.map(|arg| arg.as_str().unwrap()));
    let request = br#"{"protocolVersion":1,"provider":"reseal","ids":["openai/default"]}"#;
    let answer = super::world::finish(command, Some(request)).ok().json();
    assert_eq!(answer["values"], json!({"openai/default": "sk-1"}));
}

#[test]
fn each_rule_is_told_with_what_mends_it() {
    let world = World::unlocked();
    let program = copy(&world);
    let install = |owner: &str| install(&world, owner);

    chmod(&program, 0o775);
    let start = format!("error program: {program} can be written by others (mode 0775)");
    one(
        &doctor(&world, &program).code(1),
        &start,
        &format!("chmod go-w {program}"),
    );
    chmod(&program, 0o644);
    let start = format!("error program: {program} can't be executed");
    one(
        &doctor(&world, &program).code(1),
        &start,
        &format!("chmod u+x {program}"),
    );
    chmod(&program, 0o755);

    let link = world.beside("link");
    symlink(&program, &link).unwrap();
    let start = format!("error program: {link} is a symbolic link");
    let ran = doctor(&world, &link).code(1);
    one(&ran, &start, &format!("name {program} instead"));
    assert_eq!(
        ran.json()["config"]["secrets"]["providers"]["reseal"]["command"],
        program
    );

    let ran = doctor(&world, &world.beside("absent")).code(1);
    one(&ran, "error program: ", &install(""));
    let ran = doctor(&world, &world.beside("")).code(1);
    one(&ran, "error program: ", &install(""));
    let ran = doctor(&world, "./reseal").code(1);
    one(
        &ran,
        "error program: ./reseal: OpenClaw takes only an absolute path",
        &install(""),
    );
    let ran = doctor(&world, &world.beside("a;b")).code(1);
    assert!(ran.text().contains("characters of a shell"));
}

#[test]
fn another_users_gateway_needs_its_own_program_and_state_folder() {
    let world = World::unlocked();
    let (me, other) = users(&world);
    let program = copy(&world);
    // Another user's gateway: neither the program nor the state folder is its own.
    let ran = world.run(&[
        "--json",
        "doctor",
        "openclaw",
        "--program",
        &program,
        "--uid",
        &other.to_string(),
    ]);
    let told = complaints(&ran.code(1));
    assert!(told[0].starts_with(&format!("error program: {program} belongs to user {me}")));
    assert!(
        told[0].ends_with(&install(&world, &format!("-o {other} "))),
        "{told:?}"
    );
    assert!(told[1].starts_with("error state folder: "), "{told:?}");

    world.run(&["vault", "lock"]).ok();
    one(
        &doctor(&world, &program).ok(),
        "warning vault: it is locked",
        "reseal vault unlock, before the gateway starts",
    );
}

#[test]
fn a_provider_that_stands_in_a_config_is_checked_as_it_stands() {
    let world = World::unlocked();
    let program = copy(&world);
    let state = world.state().display().to_string();
    let check = |provider: Value| {
        let config = json!({"secrets": {"providers": {
            "other": {"source": "exec", "command": "/usr/bin/true"}, "vault": provider,
        }}});
        let text = format!("// of OpenClaw\n{config}");
        let path = world.private_file("openclaw.json", text.as_bytes());
        world.run(&["--json", "doctor", "openclaw", "--config", &path])
    };
    let args = json!(["exec-provider", "--state-dir", state]);
    let good = json!({"source": "exec", "command": program, "args": args});
    assert_eq!(complaints(&check(good.clone()).ok()), Vec::<String>::new());

    let with = |name: &str, value: Value| {
        let mut provider = good.clone();
        provider[name] = value;
        check(provider)
    };
    let ran = with("trustedDirs", json!(["/usr/bin"])).code(1);
    let parent = Path::new(&program).parent().unwrap().display();
    let start = format!("error provider: {program} lies outside trustedDirs");
    one(&ran, &start, &format!("add {parent} to trustedDirs"));
    let see = "see the block below";
    let ran = with("args", json!(["exec-provider"])).code(1);
    one(
        &ran,
        "error arguments: --state-dir is not among the arguments",
        see,
    );
    let ran = with("args", json!(["--state-dir", state])).code(1);
    one(&ran, "error arguments: exec-provider is not among", see);
    let ran = with("args", json!(["exec-provider", "--state-dir=state"])).code(1);
    one(
        &ran,
        "error arguments: state is no state folder with an absolute path",
        see,
    );

    // An older version can be told to look away, so that is a warning.
    chmod(&program, 0o777);
    let ran = with("allowInsecurePath", json!(true)).ok();
    one(&ran, "warning provider: ", &format!("chmod go-w {program}"));
    chmod(&program, 0o755);
    let old = world.beside("old/reseal");
    fs::create_dir(world.beside("old")).unwrap();
    fs::write(&old, "an older build").unwrap();
    chmod(&old, 0o755);
    let ran = with("command", json!(old)).ok();
    let start = format!("warning provider: {old} is another build than this");
    one(&ran, &start, &format!("install -m 755 {BIN} {old}"));

    let path = world.private_file("openclaw.json", b"{\"secrets\": {\"canary\"");
    let ran = world
        .run(&["--json", "doctor", "openclaw", "--config", &path])
        .code(2);
    assert!(
        ran.stderr.contains("line 1") && !ran.stderr.contains("canary"),
        "{}",
        ran.stderr
    );
    let absent = world.beside("absent.json");
    let ran = world
        .run(&["--json", "doctor", "openclaw", "--config", &absent])
        .code(2);
    assert!(ran.stderr.contains("absent.json"));
}
