//! Opens every frozen vault file through the public interface; `docs/vault-format.md` says what
//! they are. A file that opened once has to open for ever.
#![allow(clippy::unwrap_used)]

use reseal::error::{Coded, Failure};
use reseal::secret::SecretValue;
use reseal::vault::anchor::{Anchor, AnchorState, check};
use reseal::vault::slot::{self, KdfLimit, Slot, SlotKind};
use reseal::vault::{Header, Replay, RootKey, Vault, VaultError};
use serde_json::{Value, json};
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/vault");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn secret(name: &Value) -> Option<SecretValue> {
    name.as_str()
        .map(|name| SecretValue::copy_of(&file(name)).without_line_end())
}

fn expectations() -> Value {
    serde_json::from_slice(&file("expect.json")).unwrap()
}

fn list(all: &Value, name: &str) -> Vec<Value> {
    all[name].as_array().unwrap().clone()
}

/// One slot with what was given: `None` if it is not the slot of what was given.
fn try_slot(header: &Header, slot: &Slot, given: &Value) -> Result<Option<RootKey>, VaultError> {
    match slot.kind {
        SlotKind::Passphrase { .. } => {
            let Some(passphrase) = secret(&given["passphrase"]) else {
                return Ok(None);
            };
            let keyfile = secret(&given["keyFile"]);
            slot::open_passphrase(
                header,
                slot,
                &passphrase,
                keyfile.as_ref(),
                &KdfLimit::DEFAULT,
            )
        }
        SlotKind::RawKey { hint } => {
            let key = match secret(&given["recoveryCode"]) {
                Some(text) => Some(slot::recovery::parse(&text)?),
                None => given["rawKey"]
                    .as_str()
                    .map(|name| SecretValue::copy_of(&file(name))),
            };
            let key = key.filter(|key| key.len() == hint.secret_len());
            key.map_or(Ok(None), |key| slot::open_raw(header, slot, &key))
        }
        SlotKind::Age => {
            let Some(identity) = given["identity"].as_str() else {
                return Ok(None);
            };
            let identity = String::from_utf8(file(identity)).unwrap();
            let identity: age::x25519::Identity = identity.trim().parse().unwrap();
            let Ok(plaintext) = age::decrypt(&identity, slot::age_payload(header, slot)) else {
                return Ok(None);
            };
            let plaintext = SecretValue::copy_of(&plaintext);
            slot::root_from_age_plaintext(header, slot, &plaintext).map(Some)
        }
        SlotKind::Shamir | SlotKind::Unknown(_) => Ok(None),
    }
}

fn open(bytes: &[u8], given: &Value) -> Result<Vault, String> {
    let code = |error: VaultError| {
        let failure = Failure::of(&error);
        assert!(!failure.message.is_empty());
        error.code().as_str().to_owned()
    };
    let first = bytes
        .first_chunk::<16>()
        .ok_or(VaultError::NotAVault)
        .map_err(code)?;
    let len = Header::peek_len(first).map_err(code)?;
    let header = bytes.get(..len).ok_or(VaultError::Corrupt("header length"));
    let header = header.and_then(Header::parse).map_err(code)?;
    for slot in header.slots() {
        if let Some(root) = try_slot(&header, slot, given).map_err(code)? {
            let keys = header.verify(&root).map_err(code)?;
            return Replay::read_all(header.clone(), keys, bytes).map_err(code);
        }
    }
    Err("slot.no_match".into())
}

fn check_records(vault: &Vault, bytes: &[u8], expected: &Value) {
    let names: Vec<Value> = vault.infos().iter().map(|info| json!(info.name)).collect();
    let records = list(expected, "records");
    let expected_names: Vec<Value> = records.iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, expected_names);
    for record in records {
        let name = serde_json::from_value(record["name"].clone()).unwrap();
        let mut versions = Vec::new();
        for version in vault.history(&name) {
            let at = vault.locate(&name, Some(version.version)).unwrap();
            let start = at.offset as usize;
            let value = vault
                .open_value(&at, &bytes[start..start + at.len as usize])
                .unwrap();
            let value = String::from_utf8(value.expose().to_vec()).unwrap();
            versions.push(
                json!({"version": version.version, "kind": version.kind.code(),
                                 "meta": version.meta, "value": value}),
            );
        }
        assert_eq!(json!(versions), record["versions"], "{name}");
        let newest = vault.find(&name).unwrap();
        assert_eq!(json!(newest.version), versions.last().unwrap()["version"]);
    }
}

#[test]
fn every_good_file_opens_and_says_what_it_should() {
    let all = expectations();
    let good = list(&all, "good");
    assert!(good.len() >= 14);
    for expected in good {
        let name = expected["file"].as_str().unwrap();
        let bytes = file(name);
        let vault = open(&bytes, &expected["open"]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let header = vault.header();
        let id: String = header
            .vault_id()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let found = json!({
            "vaultId": id,
            "fingerprint": header.fingerprint(),
            "epoch": header.epoch(),
            "headerRev": header.header_rev(),
            "baseSeq": header.base_seq(),
            "headSeq": vault.head().seq,
            "ancestorSeq": vault.ancestor().map(|(head, _)| head.seq),
            "ancestorEpoch": vault.ancestor().map(|(_, epoch)| epoch),
            "validEnd": vault.valid_end(),
            "length": bytes.len(),
            "live": vault.len(),
            "openAttempts": vault.open_intents().len(),
            "vaultMeta": vault.vault_meta(),
        });
        for (member, value) in found.as_object().unwrap() {
            assert_eq!(*value, expected[member], "{name}: {member}");
        }
        check_records(&vault, &bytes, &expected);
    }
}

#[test]
fn every_bad_file_is_refused_with_its_code() {
    let all = expectations();
    let bad = list(&all, "bad");
    assert!(bad.len() >= 60);
    let mut wrong = Vec::new();
    for expected in bad {
        let name = expected["file"].as_str().unwrap();
        let outcome = open(&file(name), &expected["open"]).err();
        if outcome.as_deref() != expected["error"].as_str() {
            wrong.push(format!(
                "{name}: {outcome:?} instead of {}",
                expected["error"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_anchor_gives_its_answer() {
    let all = expectations();
    let anchors = list(&all, "anchors");
    assert_eq!(anchors.len(), 5);
    for expected in anchors {
        let bytes = file(expected["file"].as_str().unwrap());
        let vault = open(&bytes, &json!({"rawKey": "raw.key"})).unwrap();
        let anchor = Anchor::parse(&file(expected["anchor"].as_str().unwrap())).unwrap();
        let outcome = match check(&vault, &anchor) {
            Ok(AnchorState::Same) => "same",
            Ok(AnchorState::Advance) => "advance",
            Ok(AnchorState::Damaged) => "damaged",
            Err(error) => error.code().as_str(),
        };
        assert_eq!(outcome, expected["outcome"], "{expected}");
    }
}
