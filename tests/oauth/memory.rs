//! What a sign-in leaves in the memory of the command.

use super::commands::{Home, opaque, redirect_uri, succeeded};
use crate::idp::wire::Message;
use crate::idp::{Fault, Gate, Idp, TOKEN, Walker};
use crate::scanner::{
    AtExit, Hits, NO_SECRET_MEMORY, accounts, may_look, now, refusing, values_of,
};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use url::Url;

/// Where a device asks for its code.
const DEVICE: &str = "POST /device/auth";

#[test]
fn a_sign_in_leaves_nothing_in_its_memory() {
    if !may_look() {
        return;
    }
    let idp = Idp::start_with(&opaque());
    for pasted in [false, true] {
        let home = Home::new(&idp);
        let key = home.key();
        let mut arguments = vec!["--no-browser", "--key-file", &key];
        arguments.extend(pasted.then_some("--paste"));
        let change = |command: Command| refusing(&[NO_SECRET_MEMORY], &command);
        let (mut child, _lines, url) = home.begin_by(change, &arguments);
        let gate = Gate::default();
        let seen = idp.proxy.seen(TOKEN);
        idp.proxy.plan(TOKEN, Fault::HoldAnswer(gate.clone()));
        let end = Url::parse(&idp.sign_in(&url, &redirect_uri(&url))).unwrap();
        let code = end.query_pairs().find(|(name, _)| name == "code");
        let code = code.unwrap().1.into_owned();
        let page = if pasted {
            writeln!(child.stdin.as_mut().unwrap(), "{end}").unwrap();
            None
        } else {
            Some(std::thread::spawn(move || {
                Walker::new("alice").get(&end).status()
            }))
        };
        idp.proxy.wait_for(TOKEN, seen + 1);
        // While the code is being redeemed it is there.
        assert_ne!(now(child.id(), &[&code]), Hits::new());
        let mut at_exit = AtExit::of(&child);
        gate.open();
        at_exit.wait();
        let mut secrets = values_of(&accounts(&home.state(), Path::new(&key)));
        assert_eq!(secrets.len(), 3, "access, refresh and ID token");
        secrets.push(code);
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        assert_eq!(at_exit.look_for(&secrets), Hits::new(), "pasted: {pasted}");
        succeeded(child);
        assert!(page.is_none_or(|page| page.join().unwrap() == 200));
    }
}

#[test]
fn a_sign_in_on_another_device_leaves_nothing_in_its_memory() {
    if !may_look() {
        return;
    }
    let idp = Idp::start_with(&opaque());
    let home = Home::new(&idp);
    let key = home.key();
    let code = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&code);
    let keep = move |answer: &mut Message| {
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        *seen.lock().unwrap() = answer["device_code"].as_str().unwrap().to_owned();
    };
    idp.proxy.plan(DEVICE, Fault::Change(Box::new(keep)));
    let gate = Gate::default();
    idp.proxy.plan(TOKEN, Fault::HoldAnswer(gate.clone()));
    let change = |command: Command| refusing(&[NO_SECRET_MEMORY], &command);
    let arguments = ["--device", "--json", "--key-file", &key];
    let (child, _lines, first) = home.begin_by(change, &arguments);
    let event: Value = serde_json::from_str(&first).unwrap();
    let page = event["verificationUriComplete"].as_str().unwrap();
    Walker::new("alice").approve_device(page);
    idp.proxy.wait_for(TOKEN, 1);
    let code = code.lock().unwrap().clone();
    // While it is being redeemed it is there.
    assert_ne!(now(child.id(), &[&code]), Hits::new());
    let mut at_exit = AtExit::of(&child);
    gate.open();
    at_exit.wait();
    let mut secrets = values_of(&accounts(&home.state(), Path::new(&key)));
    assert_eq!(secrets.len(), 3, "access, refresh and ID token");
    secrets.push(code);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert_eq!(at_exit.look_for(&secrets), Hits::new());
    succeeded(child);
}
