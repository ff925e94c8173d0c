//! The age vectors of C2SP/CCTV through the wrapper that opens keyslots and imports: each file is
//! accepted or refused as it says.
//!
//! | vectors | what holds here |
//! | --- | --- |
//! | X25519, scrypt, stanza, header, HMAC, stream | exactly as they expect |
//! | armor | as they expect: imports may be armored (a keyslot's file never is) |
//! | hybrid (ML-KEM-768, X25519) | never opened: the identity is refused, its plugin named |
#![allow(clippy::unwrap_used)]

use reseal::error::{Code, Coded};
use reseal::secret::SecretValue;
use reseal::unlock::age::{
    AgeError, Identity, MAX_EXPORT, decrypt, decrypt_with_passphrase, parse_identities,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The number of files in the folder: none may be lost.
const VECTORS: usize = 143;
/// Those whose identity is a post-quantum one, which needs a plugin.
const HYBRID: usize = 19;

struct Vector {
    name: String,
    fields: BTreeMap<String, Vec<String>>,
    file: Vec<u8>,
}

impl Vector {
    fn load(path: PathBuf) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut rest = &std::fs::read(&path).unwrap()[..];
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            rest = &rest[end + 1..];
            if line.is_empty() {
                break;
            }
            let (key, value) = line.split_once(": ").unwrap();
            fields
                .entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        let file = match fields.get("compressed").map(|values| values[0].as_str()) {
            Some("zlib") => miniz_oxide::inflate::decompress_to_vec_zlib(rest).unwrap(),
            Some(other) => panic!("{name}: compressed: {other}"),
            None => rest.to_vec(),
        };
        Self { name, fields, file }
    }

    fn one(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(|values| values[0].as_str())
    }

    fn identities(&self) -> Result<Vec<Identity>, AgeError> {
        match self.fields.get("identity") {
            Some(lines) => parse_identities(
                &SecretValue::copy_of(lines.join("\n").as_bytes()),
                &self.name,
            ),
            None => Ok(Vec::new()),
        }
    }

    fn is_hybrid(&self) -> bool {
        let identities = self.fields.get("identity").into_iter().flatten();
        identities
            .into_iter()
            .any(|identity| identity.starts_with("AGE-SECRET-KEY-PQ-"))
    }

    fn open(&self) -> Result<SecretValue, AgeError> {
        match self.one("passphrase") {
            Some(passphrase) => {
                let passphrase = SecretValue::copy_of(passphrase.as_bytes());
                decrypt_with_passphrase(&self.file, &passphrase, MAX_EXPORT)
            }
            None => decrypt(&self.file, &self.identities()?, &[], MAX_EXPORT),
        }
    }
}

fn vectors() -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/cctv-age");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    assert_eq!(paths.len(), VECTORS);
    paths.into_iter().map(Vector::load).collect()
}

/// What the vectors call the outcome.
fn outcome(result: &Result<SecretValue, AgeError>) -> &'static str {
    match result {
        Ok(_) => "success",
        Err(AgeError::NoMatch | AgeError::WrongPassphrase | AgeError::NeedsIdentity) => "no match",
        Err(AgeError::Work { .. }) => "header failure",
        Err(AgeError::Damaged(why)) if why.contains("armor") => "armor failure",
        Err(AgeError::Damaged(why)) if why.contains("payload") => "payload failure",
        Err(AgeError::Damaged("the header was changed")) => "HMAC failure",
        Err(AgeError::Damaged(_)) => "header failure",
        Err(_) => "another failure",
    }
}

#[test]
fn every_vector_is_opened_or_refused_as_it_expects() {
    let mut wrong = Vec::new();
    for vector in vectors().iter().filter(|vector| !vector.is_hybrid()) {
        let expected = vector.one("expect").unwrap();
        let result = vector.open();
        let found = outcome(&result);
        // What does not even begin like armor is read as a binary file, and refused as one.
        let not_armor = expected == "armor failure" && found == "header failure";
        if found != expected && !not_armor {
            wrong.push(format!(
                "{}: expected {expected}, found {found}",
                vector.name
            ));
        }
        if let Ok(payload) = result {
            let digest = Sha256::digest(payload.expose());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                Some(digest.as_str()),
                vector.one("payload"),
                "{}",
                vector.name
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn post_quantum_identities_are_refused_with_the_plugin_to_use() {
    let hybrid: Vec<_> = vectors().into_iter().filter(Vector::is_hybrid).collect();
    assert_eq!(hybrid.len(), HYBRID);
    for vector in hybrid {
        let error = vector.open().unwrap_err();
        assert_eq!(error.code(), Code::SlotIdentity, "{}", vector.name);
        assert!(error.to_string().contains("age-plugin-pq"), "{error}");
    }
}
