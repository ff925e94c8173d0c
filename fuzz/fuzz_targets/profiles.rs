//! Profile files: nothing in them is lost, an edit changes one profile only, plaintext is seen and
//! never shown, and the order names only profiles that are there. The input is an
//! `auth-profiles.json`, a line `---`, and an `auth-state.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::document::Document;
use reseal::name::ProfileId;
use reseal::profile::order::{Query, effective};
use reseal::profile::{ProfileError, ProfileType, Routing, State, Store};
use reseal::reference::{Defaults, SecretRef};
use reseal::time::UnixMs;
use serde_json::{Value, json};
use std::collections::HashSet;

const CANARY: &str = "canary-6f1c9a04e7";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (profiles, state) = text.split_once("\n---\n").unwrap_or((text, "{}"));
    let defaults = Defaults::default();
    hides_plaintext(profiles, &defaults);
    let Ok(store) = Store::parse(profiles, "fuzz", &defaults) else {
        return;
    };
    assert_eq!(store.text(), profiles);
    let document = Document::parse(profiles, "fuzz").expect("a store is a document");
    let entries = document.value().get("profiles").and_then(Value::as_object);
    let seen = store.profiles().len() + store.ignored().len();
    assert_eq!(
        seen,
        entries.map_or(0, |entries| entries.len()),
        "an entry was dropped"
    );
    edits(&store);
    if let Ok(state) = State::parse(state, "fuzz", &store) {
        order(&store, &state);
    }
});

/// Pointing a static profile at a ref works, and touches no other.
fn edits(store: &Store) {
    let reference: SecretRef = "vault:a/b".parse().expect("a ref");
    let is_static = |kind| matches!(kind, ProfileType::ApiKey | ProfileType::Token);
    let statics = store
        .profiles()
        .iter()
        .filter(|p| is_static(p.kind.profile_type()));
    for profile in statics.take(3) {
        let mut edited = store.clone();
        let moved = store.plaintext_value(&profile.id);
        match edited.set_ref(&profile.id, &reference, moved.as_ref()) {
            Ok(()) => {}
            Err(ProfileError::Plaintext(_)) if profile.plaintext.len() > 1 => continue,
            Err(error) => panic!("a static profile takes a ref: {error}"),
        }
        let after = edited.get(&profile.id).expect("the profile is still there");
        assert_eq!(after.kind.credential().reference(), Some(&reference));
        assert!(
            after.plaintext.is_empty(),
            "replaced plaintext is still there"
        );
        for other in store
            .profiles()
            .iter()
            .filter(|other| other.id != profile.id)
        {
            assert_eq!(
                edited.get(&other.id),
                Some(other),
                "an edit touched another profile"
            );
        }
        assert_eq!(edited.ignored(), store.ignored());
    }
}

fn order(store: &Store, state: &State) {
    let routing = Routing::default();
    let providers: HashSet<&str> = store
        .profiles()
        .iter()
        .map(|profile| profile.provider.as_str())
        .collect();
    for provider in providers {
        let query = Query {
            provider,
            model: Some("m"),
            preferred: None,
            store,
            state,
            routing: &routing,
            now: UnixMs(1_795_000_000_000),
        };
        let order = effective(&query);
        let unique: HashSet<&ProfileId> = order.ids.iter().collect();
        assert_eq!(unique.len(), order.ids.len(), "a profile is tried twice");
        assert!(order.ids.iter().all(|id| store.get(id).is_some()));
        assert!(order.skipped.iter().all(|(id, _)| !unique.contains(id)));
        assert!(order.cooling.iter().all(|(id, _)| unique.contains(id)));
    }
}

fn hides_plaintext(profiles: &str, defaults: &Defaults) {
    let Ok(mut document) = Document::parse(profiles, "fuzz") else {
        return;
    };
    let place = "profiles.\"canary:default\"".parse().expect("a path");
    let entry = json!({"type": "api_key", "provider": "canary", "key": CANARY});
    if document.set(&place, entry).is_err() {
        return;
    }
    let shown = match Store::parse(document.text(), "fuzz", defaults) {
        Ok(store) => {
            let found = store.plaintext();
            let ours = found
                .iter()
                .find(|p| p.profile.as_str() == "canary:default");
            assert!(ours.is_some(), "plaintext was not seen");
            format!("{store:?} {found:?}")
        }
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(CANARY), "plaintext shows: {shown}");
}
