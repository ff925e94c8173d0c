//! Docker's and AWS's commands, Codex, Claude Code and llm, each with the set-up of
//! `docs/programs.md`.

use super::home::{Home, block};
use super::http::{Response, Server};
use super::models::Models;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const GUIDE: &str = include_str!("../../docs/programs.md");

/// The folder with the programs, installed if they are not there.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let status = Command::new(tests.join("programs/install"))
        .arg(&folder)
        .status();
    assert!(status.unwrap().success(), "the programs can't be installed");
    folder
}

/// A home folder whose `PATH` leads to the programs, with a profile that has this key.
fn home(profile: &str, key: &str) -> Home {
    let home = Home::new();
    let folder = installed();
    let programs = ["bin", "venv/bin"].map(|part| folder.join(part));
    for program in programs
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
    {
        let program = program.unwrap();
        let link = home.path.join(".local/bin").join(program.file_name());
        if !link.exists() {
            std::os::unix::fs::symlink(program.path(), link).unwrap();
        }
    }
    let record = profile.replace(':', "/");
    home.world.store(&record, key);
    let reference = format!("vault:{record}");
    home.world
        .run(&["secrets", "set", profile, "--ref", &reference])
        .ok();
    home
}

/// The first block of a language under a heading of the guide.
fn block_of(heading: &str, language: &str) -> &'static str {
    let section = GUIDE
        .split("\n## ")
        .find(|part| part.starts_with(heading))
        .unwrap();
    let start = format!("```{language}\n");
    section
        .split(start.as_str())
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
}

#[test]
fn docker_logs_in_and_out() {
    let home = Home::new();
    home.set_up("Docker");
    let registry = Server::start(|request| match request.header("authorization") {
        // alice:a password
        Some("Basic YWxpY2U6YSBwYXNzd29yZA==") => Response::new(200, "application/json", "{}"),
        _ => Response::new(401, "text/plain", "")
            .header("www-authenticate", "Basic realm=\"registry\""),
    });
    let docker = "docker -H unix:///nonexistent";
    let address = registry.address;
    let login = format!("{docker} login -u alice --password-stdin {address}");
    home.sh_with(&login, b"a password").ok();
    assert_eq!(
        home.world.value(&format!("docker/{address}/alice")),
        "a password"
    );
    let config = home.sh("cat .docker/config.json").ok();
    assert!(!config.text().contains("YWxp"), "{}", config.text());
    // Without a password it takes the one that is kept, to a daemon that is not there.
    let again = home.sh(&format!("{docker} login {address}"));
    let said = format!("{}{}", again.text(), again.stderr);
    assert!(
        said.contains("existing credentials... [Username: alice]"),
        "{said}"
    );
    home.sh(&format!("{docker} logout {address}")).ok();
    home.world
        .with_passphrase(&["secrets", "get", &format!("docker/{address}/alice")])
        .code(3);
}

#[test]
fn the_aws_command_signs_with_keys_of_the_vault() {
    let home = home("acme:default", "unused");
    let keys = br#"{"AccessKey": {"AccessKeyId": "AKIACANARY", "SecretAccessKey": "s/+="}}"#;
    let lines = block("AWS", 0).lines().collect::<Vec<_>>();
    let (_, store) = lines[0].split_once(" | ").unwrap();
    home.sh_with(store, keys).ok();
    home.sh(lines[1]).ok();
    let listed = home.sh("aws configure list").ok();
    assert!(
        listed.text().contains("custom-process"),
        "{}",
        listed.text()
    );
    let sts = Server::start(|_| {
        let answer = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>me</Arn>\
                      </GetCallerIdentityResult></GetCallerIdentityResponse>";
        Response::new(200, "text/xml", answer)
    });
    let call = format!(
        "aws --region us-east-1 --endpoint-url {} sts get-caller-identity --query Arn",
        sts.url()
    );
    assert_eq!(home.sh(&call).ok().text(), "\"me\"\n");
    let seen = sts.take_seen();
    let header = seen[0].header("authorization").unwrap();
    assert!(
        header.starts_with("AWS4-HMAC-SHA256 Credential=AKIACANARY/"),
        "{header}"
    );
}

#[test]
fn codex_sends_the_key_of_a_profile() {
    let home = home("openai:default", "sk-codex-canary");
    let models = Models::start();
    let auth = block_of("Codex", "toml");
    let config = format!(
        "model = \"m\"\nmodel_provider = \"sealed\"\n[model_providers.sealed]\nname = \"sealed\"\n\
         base_url = \"{}/v1\"\nwire_api = \"responses\"\n{auth}",
        models.url()
    );
    fs::create_dir(home.path.join(".codex")).unwrap();
    fs::write(home.path.join(".codex/config.toml"), config).unwrap();
    let ran = home.sh("codex exec --skip-git-repo-check 'say pong'").ok();
    assert!(ran.text().contains("PONG"), "{} {}", ran.text(), ran.stderr);
    assert_eq!(models.keys("/v1/responses"), ["sk-codex-canary"]);
    let held = home.sh("grep -rl sk-codex-canary .codex").code(1);
    assert!(held.stdout.is_empty());
}

#[test]
fn claude_code_sends_the_key_of_a_profile() {
    let home = home("anthropic:default", "sk-ant-canary");
    let models = Models::start();
    fs::create_dir(home.path.join(".claude")).unwrap();
    let settings = block_of("Claude Code", "json");
    fs::write(home.path.join(".claude/settings.json"), settings).unwrap();
    let line = format!(
        "export DISABLE_TELEMETRY=1 DISABLE_AUTOUPDATER=1 \
         CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 ANTHROPIC_BASE_URL={}
         claude -p 'say pong' --model m",
        models.url()
    );
    assert_eq!(home.sh(&line).ok().text().trim(), "PONG");
    assert_eq!(models.keys("/v1/messages"), ["sk-ant-canary"]);
    home.sh("grep -rl sk-ant-canary .claude .claude.json")
        .code(1);
}

#[test]
fn llm_sends_the_key_of_a_profile_and_of_an_env_file() {
    let home = home("openai:default", "sk-llm-canary");
    let models = Models::start();
    let of_profile = block("llm", 0);
    let of_file = block("llm", 1);
    for (lines, key) in [(of_profile, "sk-llm-canary"), (of_file, "sk-llm-second")] {
        home.world.store("openai/default", key);
        let known = format!(
            "- model_id: m\n  model_name: m\n  api_key_name: openai\n  api_base: {}/v1\n",
            models.url()
        );
        fs::create_dir_all(home.path.join("llm")).unwrap();
        fs::write(home.path.join("llm/extra-openai-models.yaml"), known).unwrap();
        let known = "export LLM_USER_PATH=$HOME/llm && llm models default m\n".to_owned();
        let ran = home.sh(&(known + lines)).ok();
        assert!(ran.text().contains("PONG"), "{} {}", ran.text(), ran.stderr);
        assert_eq!(models.keys("/v1/chat/completions"), [key]);
    }
}
