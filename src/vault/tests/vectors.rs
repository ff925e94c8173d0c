//! Makes the frozen vault files of `tests/vectors/vault`, the same bytes every time.
//!
//! The test compares them with what is checked in; `RESEAL_BLESS=1` writes them instead. They are
//! opened through the public interface by `tests/vault_vectors.rs`.

mod good;
mod hostile;
mod hostile_frames;
mod raw;

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PASSPHRASE: &str = "correct horse battery staple";
const IDENTITY: &str = "identity.txt";
const AGE_FILE: &str = "age-slot.age";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/vault")
}

fn is_blessed() -> bool {
    std::env::var_os("RESEAL_BLESS").is_some_and(|value| value == "1")
}

/// Everything that belongs into the folder, by file name.
#[derive(Default)]
struct Collection {
    files: BTreeMap<String, Vec<u8>>,
    good: Vec<Value>,
    bad: Vec<Value>,
    anchors: Vec<Value>,
}

impl Collection {
    fn key_material(&mut self) {
        self.files
            .insert("passphrase.txt".into(), PASSPHRASE.as_bytes().to_vec());
        self.files
            .insert("raw.key".into(), raw_key().expose().to_vec());
        self.files.insert("key-file.key".into(), vec![0x17; 32]);
        let mut printed = slot::recovery::format(&recovery_code())
            .unwrap()
            .expose()
            .to_vec();
        printed.push(b'\n');
        self.files.insert("recovery-code.txt".into(), printed);
    }

    /// A file that opens; what it holds is written down as the vault says it.
    fn good(&mut self, file: &str, why: &str, open: Value, bytes: Vec<u8>, vault: &Vault) {
        let mut expected = describe(vault, &bytes);
        expected["file"] = json!(file);
        expected["why"] = json!(why);
        expected["open"] = open;
        self.good.push(expected);
        self.files.insert(file.into(), bytes);
    }

    /// A file that must be refused with this code.
    fn bad(&mut self, name: &str, error: &str, why: &str, open: &Value, bytes: Vec<u8>) {
        let file = format!("bad-{name}.reseal");
        self.bad
            .push(json!({"file": file, "error": error, "why": why, "open": open}));
        let old = self.files.insert(file, bytes);
        assert!(old.is_none(), "{name} twice");
    }

    fn expectations(&self) -> Vec<u8> {
        let all = json!({
            "note": "Test keys only. Made by src/vault/tests/vectors; RESEAL_BLESS=1 writes them.",
            "good": self.good,
            "bad": self.bad,
            "anchors": self.anchors,
        });
        let mut text = serde_json::to_vec_pretty(&all).unwrap();
        text.push(b'\n');
        text
    }
}

fn recovery_code() -> SecretValue {
    SecretValue::copy_of(&std::array::from_fn::<u8, 20, _>(|i| i as u8))
}

fn describe(vault: &Vault, bytes: &[u8]) -> Value {
    let header = vault.header();
    let read = |at: &ValueAt| {
        let value = vault.open_value(at, blob(bytes, at)).unwrap();
        String::from_utf8(value.expose().to_vec()).unwrap()
    };
    let records = vault.infos().into_iter().map(|info| {
        let versions = vault.history(&info.name).into_iter().map(|version| {
            let at = vault.locate(&info.name, Some(version.version)).unwrap();
            json!({"version": version.version, "kind": version.kind.code(),
                   "meta": version.meta, "value": read(&at)})
        });
        json!({"name": info.name, "versions": versions.collect::<Vec<_>>()})
    });
    let records: Vec<Value> = records.collect();
    json!({
        "vaultId": data_encoding::HEXLOWER.encode(&header.vault_id()),
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
        "records": records,
    })
}

#[test]
fn the_frozen_files_are_what_this_code_writes() {
    let mut all = Collection::default();
    all.key_material();
    good::collect(&mut all);
    hostile::collect(&mut all);
    assert!(all.bad.len() >= 60, "{} hostile files", all.bad.len());
    let expectations = all.expectations();
    all.files.insert("expect.json".into(), expectations);
    if is_blessed() {
        for (name, bytes) in &all.files {
            std::fs::write(folder().join(name), bytes).unwrap();
        }
    }
    for (name, bytes) in &all.files {
        let frozen = std::fs::read(folder().join(name)).unwrap();
        assert!(frozen == *bytes, "{name} differs from what is checked in");
    }
    let known: BTreeSet<String> = all
        .files
        .keys()
        .cloned()
        .chain([IDENTITY.into(), AGE_FILE.into()])
        .collect();
    let entries = std::fs::read_dir(folder()).unwrap();
    let found: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, known);
}
