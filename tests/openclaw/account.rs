//! An OAuth account, which OpenClaw can't take as a ref: the vault keeps it, and OpenClaw gets a
//! fresh access token where it takes static ones.

use super::model::Model;
use super::runtime::{GATEWAY_TOKEN, OpenClaw};
use crate::idp::walker::Walker;
use crate::idp::{Idp, Options};
use crate::world::World;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use url::Url;

const RECORD: &str = "oauth/acme/default";
/// For the renewal of a token, and a start of Node on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A vault with an account, whose daemon runs a hook when the token changes.
fn world(idp: &Idp) -> World {
    let world = World::new();
    let config = json!({
        "oauth": {"providers": {"acme": {
            "issuer": idp.issuer(),
            "clientId": "public",
            "scopes": ["openid", "offline_access", "email", "api"],
            "extraAuthorizeParams": {"prompt": "consent"},
        }}},
        "daemon": {"hooks": {"onChange": {"command": world.beside("hook"), "timeoutMs": 120_000}}},
    });
    fs::write(world.config(), config.to_string()).unwrap();
    world.unlock();
    let login = [
        "models",
        "auth",
        "login",
        "--provider",
        "acme",
        "--no-browser",
    ];
    let mut login = world.command(&login);
    login.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = login.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let url = Url::parse(url.trim_end()).unwrap();
    let redirect = url
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .unwrap()
        .1;
    let end = idp.sign_in(url.as_str(), &redirect);
    assert_eq!(
        Walker::new("alice")
            .get(&Url::parse(&end).unwrap())
            .status(),
        200
    );
    assert!(child.wait().unwrap().success());
    world
}

/// The hook: it has OpenClaw reload, and says how that ended.
fn hook(world: &World, openclaw: &OpenClaw) -> mpsc::Receiver<String> {
    let pipe = world.beside("hook ended");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let mut script = String::from("#!/bin/sh\n");
    for (name, value) in openclaw.environment() {
        script += &format!("export {name}='{value}'\n");
    }
    let [node, main] = openclaw.words().map(|path| path.display().to_string());
    script += &format!("'{node}' '{main}' secrets reload --json >'{pipe}' 2>&1\n");
    let path = world.private_file("hook", script.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The test may be over.
        while sender.send(fs::read_to_string(&pipe).unwrap()).is_ok() {}
    });
    receiver
}

/// Has the agent ask the model: the key that it came with, which is the account's token. If the
/// daemon renews the token meanwhile, nothing can be said, and it is asked again.
#[track_caller]
fn key_of_a_ping(world: &World, openclaw: &OpenClaw, model: &Model) -> String {
    let token = || {
        world
            .run(&["token", "acme:default"])
            .ok()
            .text()
            .trim_end()
            .to_owned()
    };
    loop {
        let before = token();
        openclaw.ping();
        let keys = model.take_keys();
        if before == token() {
            assert_eq!(keys, [format!("Bearer {before}")]);
            return before;
        }
    }
}

#[test]
fn openclaw_gets_the_fresh_token_of_an_account_and_hears_of_its_renewal() {
    let idp = Idp::start_with(&Options {
        opaque: true,
        access_token_ttl: 120,
        ..Options::default()
    });
    let world = world(&idp);
    let model = Model::start();
    let reference = json!({"source": "exec", "provider": "reseal", "id": RECORD});
    let profile = json!({"type": "token", "provider": "acme", "tokenRef": reference});
    let openclaw = OpenClaw::new(&world, &model.base_url(), &profile);
    let gateway = openclaw.start_gateway();
    let reloads = hook(&world, &openclaw);
    openclaw.reload().ok();
    let first = key_of_a_ping(&world, &openclaw, &model);

    // The daemon renews the token ahead of its end, and the hook runs.
    let reload = reloads.recv_timeout(PATIENCE).expect("the hook runs");
    assert!(reload.contains("\"ok\": true"), "{reload}");
    let second = key_of_a_ping(&world, &openclaw, &model);
    assert_ne!(first, second);
    let events = idp.events();
    assert!(
        events.contains(&"granted refresh_token".to_owned()),
        "{events:?}"
    );
    assert!(
        !events.iter().any(|event| event.starts_with("refused")),
        "{events:?}"
    );

    drop(gateway);
    let held = openclaw.files_with(&[&first, &second, GATEWAY_TOKEN]);
    assert!(held.is_empty(), "{held:?}");
}
