//! `reseal exec-provider`, wired as an exec SecretRef provider.

use super::model::Model;
use super::runtime::{GATEWAY_TOKEN, OpenClaw};
use crate::world::World;
use serde_json::json;

const KEY: &str = "sk-acme-canary-0001";
const NEW_KEY: &str = "sk-acme-canary-0002";

#[test]
fn openclaw_lives_on_the_vault_through_a_rotation_and_an_outage() {
    let world = World::unlocked();
    world.store("acme/default", KEY);
    let model = Model::start();
    let reference = json!({"source": "exec", "provider": "reseal", "id": "acme/default"});
    let profile = json!({"type": "api_key", "provider": "acme", "keyRef": reference});
    let openclaw = OpenClaw::new(&world, &model.base_url(), &profile);

    openclaw.run(&["config", "validate"]).ok();
    let audit = openclaw
        .run(&["secrets", "audit", "--allow-exec", "--json"])
        .ok()
        .json();
    assert_eq!(audit["status"], "clean");
    let resolution = json!({"refsChecked": 2, "skippedExecRefs": 0, "resolvabilityComplete": true});
    assert_eq!(audit["resolution"], resolution);
    assert_eq!(audit["summary"]["unresolvedRefCount"], 0);

    openclaw.probe("acme");
    assert_eq!(model.take_keys(), [format!("Bearer {KEY}")]);

    let gateway = openclaw.start_gateway();
    assert_eq!(openclaw.reload().ok().json()["ok"], true);
    openclaw.ping();
    assert_eq!(model.take_keys(), [format!("Bearer {KEY}")]);

    // The resolver fails: what was resolved last serves on, this connection's token for one.
    world.run(&["vault", "lock"]).ok();
    let failed = openclaw.reload().code(1);
    assert!(
        failed.stderr.contains("secrets.reload failed"),
        "{}",
        failed.stderr
    );
    gateway.wait_for(
        "[SECRETS_RELOADER_DEGRADED] SecretProviderResolutionError: Exec provider \"reseal\" \
         exited with code 4.",
    );

    world.unlock();
    world.store("acme/default", NEW_KEY);
    assert_eq!(openclaw.reload().ok().json()["ok"], true);
    gateway.wait_for("[SECRETS_RELOADER_RECOVERED]");
    openclaw.ping();
    assert_eq!(model.take_keys(), [format!("Bearer {NEW_KEY}")]);

    drop(gateway);
    let status = openclaw.run(&["models", "status", "--json"]).ok();
    assert!(
        status
            .text()
            .contains("acme:default=ref(exec:acme/default)"),
        "{}",
        status.text()
    );
    let held = openclaw.files_with(&[KEY, NEW_KEY, GATEWAY_TOKEN]);
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn openclaw_is_told_which_record_is_missing() {
    let world = World::unlocked();
    let reference = json!({"source": "exec", "provider": "reseal", "id": "acme/missing"});
    let profile = json!({"type": "api_key", "provider": "acme", "keyRef": reference});
    let openclaw = OpenClaw::new(&world, "http://127.0.0.1:1/v1", &profile);
    let audit = openclaw
        .run(&["secrets", "audit", "--allow-exec", "--json"])
        .code(2)
        .json();
    assert_eq!(audit["summary"]["unresolvedRefCount"], 1);
    let why = "failed for id \"acme/missing\" (no such record)";
    assert!(
        audit["findings"]
            .to_string()
            .contains(&why.replace('"', "\\\"")),
        "{audit:#}"
    );
}
