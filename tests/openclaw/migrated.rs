//! A folder of OpenClaw with plaintext everywhere moves in, and OpenClaw goes on; and out again.

use super::model::Model;
use super::runtime::{OpenClaw, private_file, program, provider};
use crate::world::{Ran, World, finish};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

const FAR: u64 = 4_102_444_800_000;
const GATEWAY: &str = "sk-gateway-canary-02";
/// The key of a profile, that of the config, and the token of an account.
const MOVED: [(&str, &str); 3] = [
    ("acme", "sk-acme-canary-0003"),
    ("beta", "sk-beta-canary-0004"),
    ("delta", "access-delta-canary-0005"),
];
const REFRESH: &str = "refresh-delta-canary-06";
/// A variable that the config names, which stays where it is.
const STAYS: (&str, &str) = ("gamma", "sk-gamma-canary-0007");

/// This program knows how the account is renewed.
fn world() -> World {
    let world = World::new();
    let delta = json!({"tokenEndpoint": "https://127.0.0.1:1/token", "clientId": "public"});
    let config = json!({"oauth": {"providers": {"delta": delta}}});
    fs::write(world.config(), config.to_string()).unwrap();
    world.unlock();
    world
}

fn config(model: &Model) -> Value {
    let mut providers = json!({});
    for name in ["acme", "beta", "delta", "gamma"] {
        providers[name] = provider(&model.base_url());
    }
    json!({"models": {"providers": providers}, "gateway": {"auth": {"token": GATEWAY}},
        "agents": {"defaults": {"model": {"primary": "acme/m"}}}})
}

/// A folder as people have it, with a copy of each key in `.env` and of the config beside it.
fn plaintext(world: &World, model: &Model) -> OpenClaw {
    let openclaw = OpenClaw::at(world.beside("openclaw").into());
    let [(_, acme), (_, beta), (_, delta)] = MOVED;
    let mut config = config(model);
    config["models"]["providers"]["beta"]["apiKey"] = beta.into();
    config["models"]["providers"]["gamma"]["apiKey"] = "${GAMMA_API_KEY}".into();
    openclaw.put_config(config);
    fs::copy(
        openclaw.config(),
        openclaw.state().join("openclaw.json.bak"),
    )
    .unwrap();
    openclaw.put_profiles(&json!({
        "acme:default": {"type": "api_key", "provider": "acme", "key": acme},
        "delta:default": {"type": "oauth", "provider": "delta", "access": delta,
            "refresh": REFRESH, "expires": FAR},
    }));
    let env = format!(
        "ACME_API_KEY={acme}\nOPENAI_API_KEY={beta}\nGAMMA_API_KEY={}\n",
        STAYS.1
    );
    private_file(&openclaw.state().join(".env"), &env);
    openclaw
}

/// The program that OpenClaw is to start: what moves a folder in is what the folder then asks.
fn run(world: &World, args: &[&str]) -> Ran {
    let there = world.command(args);
    let mut command = Command::new(program(world));
    command.args(there.get_args()).env_clear();
    finish(command, None)
}

/// Each provider's model gets its own key, and nothing else.
#[track_caller]
fn check_keys(openclaw: &OpenClaw, model: &Model, expected: &[(&str, &str)]) {
    for (provider, key) in expected {
        openclaw.probe(provider);
        assert_eq!(model.take_keys(), [format!("Bearer {key}")], "{provider}");
    }
}

#[test]
fn a_folder_that_moved_in_serves_openclaw_and_so_does_one_that_moved_out() {
    let world = world();
    let model = Model::start();
    let openclaw = plaintext(&world, &model);
    check_keys(&openclaw, &model, &[&MOVED[..], &[STAYS]].concat());

    let from = openclaw.state();
    let from = from.to_str().unwrap();
    let report = run(&world, &["secrets", "migrate", from, "--yes", "--json"]).ok();
    let report = report.json();
    assert_eq!(report["changed"], true, "{report:#}");
    openclaw.check_wiring(&world);
    openclaw.run(&["config", "validate"]).ok();
    let audit = openclaw.run(&["secrets", "audit", "--allow-exec", "--json"]);
    let audit = audit.json();
    let findings = audit["findings"].as_array().unwrap();
    let is_of_what_stays = |finding: &Value| finding["provider"] == STAYS.0;
    assert!(findings.iter().all(is_of_what_stays), "{audit:#}");
    assert_eq!(audit["resolution"]["refsChecked"], 4, "{audit:#}");
    check_keys(&openclaw, &model, &[&MOVED[..], &[STAYS]].concat());
    let gateway = openclaw.start_gateway();
    openclaw.ping();
    assert_eq!(model.take_keys(), [format!("Bearer {}", MOVED[0].1)]);
    drop(gateway);
    let values = [
        MOVED.map(|(_, value)| value).as_slice(),
        &[GATEWAY, REFRESH],
    ]
    .concat();
    let held = openclaw.files_with(&values);
    assert!(held.is_empty(), "{held:?}");

    // Out again: the profiles in plaintext, for an OpenClaw that knows nothing of this program.
    let other = OpenClaw::at(world.beside("other").into());
    fs::remove_dir_all(other.state()).unwrap();
    let to = other.state();
    let to = to.to_str().unwrap();
    let export = ["secrets", "migrate", "--export", to, "--yes"];
    world.with_passphrase(&export).ok();
    world.run(&["vault", "lock"]).ok();
    other.put_config(config(&model));
    check_keys(&other, &model, &[MOVED[0], MOVED[2]]);
}
