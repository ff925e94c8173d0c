//! Agents whose files are one file by a link.

use super::claw::{Claw, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

const FAR: u64 = 4_102_444_800_000;
const MAIN: &str = "agents/main/agent";

/// What `coder` shares with `main`.
#[derive(Clone, Copy, Debug)]
enum Shared {
    File,
    Folder,
    Agent,
    ByConfig,
}

const ALL: [Shared; 4] = [
    Shared::File,
    Shared::Folder,
    Shared::Agent,
    Shared::ByConfig,
];

fn shared(how: Shared) -> Claw {
    let mut claw = Claw::new();
    let key = claw.moves("openai/default");
    let account = "oauth/openai-codex/default";
    let [access, refresh] =
        ["accessToken", "refreshToken"].map(|m| claw.moves(&format!("{account} {m}")));
    let store = json!({"version": 1, "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "key": key},
        "openai-codex:default": {"type": "oauth", "provider": "openai-codex", "access": access,
            "refresh": refresh, "expires": FAR},
    }, "order": {"openai": ["openai:default"]}});
    claw.put(&format!("{MAIN}/auth-profiles.json"), &store.to_string());
    claw.put("openclaw.json", "{}");
    let agents = claw.from().join("agents");
    let link = |to: &str, at: &str| {
        let at = agents.join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(agents.join(to), at).unwrap();
    };
    match how {
        Shared::File => link(
            "main/agent/auth-profiles.json",
            "coder/agent/auth-profiles.json",
        ),
        Shared::Folder => link("main/agent", "coder/agent"),
        Shared::Agent => link("main", "coder"),
        Shared::ByConfig => {
            let dir = agents.join("main/agent");
            let config = json!({"agents": {"list": [{"id": "coder", "agentDir": dir}]}});
            claw.put("openclaw.json", &config.to_string());
        }
    }
    claw
}

fn own(claw: &Claw, agent: &str) -> Value {
    let path = format!("agents/{agent}/agent/auth-profiles.json");
    let text = fs::read_to_string(claw.own().join(path)).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["profiles"].take()
}

#[test]
fn agents_that_share_a_file_move_once() {
    for how in ALL {
        let claw = shared(how);
        let report = claw.migrate(&[]);
        claw.check(&report);
        assert_eq!(claw.records().len(), 2, "{how:?}");
        assert_eq!(own(&claw, "coder"), own(&claw, "main"), "{how:?}");
        assert!(own(&claw, "main")["openai:default"].is_object(), "{how:?}");
        assert_eq!(report["residue"], json!([]), "{how:?}");
        assert_eq!(claw.migrate(&[])["changed"], false, "{how:?}");
    }
}

#[test]
fn a_plan_names_a_shared_file_once() {
    for how in ALL {
        let claw = shared(how);
        let (from, plan) = (claw.from(), claw.beside("plan.json"));
        let [from, plan] = [&from, &plan].map(|path| path.to_str().unwrap());
        let drawn = claw.without_key(&["secrets", "plan", "--from", from, "--out", plan]);
        assert!(drawn.status.success(), "{}", text(&drawn.stderr));
        let planned: Value = serde_json::from_str(&fs::read_to_string(plan).unwrap()).unwrap();
        assert_eq!(planned["targets"].as_array().unwrap().len(), 1, "{how:?}");
        // Somebody may write the other agent's name.
        let mut again = planned;
        let mut target = again["targets"][0].clone();
        target["agentId"] = "coder".into();
        again["targets"].as_array_mut().unwrap().push(target);
        fs::write(plan, again.to_string()).unwrap();
        let applied = claw.run(&["secrets", "apply", "--from", plan]);
        assert!(
            applied.status.success(),
            "{how:?}: {}",
            text(&applied.stderr)
        );
        assert_eq!(claw.records().len(), 1, "{how:?}");
    }
}
