use super::*;
use crate::error::{Code, Coded};
use crate::vault::slot::{KdfParams, NewSlot, SlotContext, age_plaintext, new_slot_id, recovery};
use crate::vault::{NewVault, VaultMeta, create};
use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

const ID: [u8; 16] = [9; 16];

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn raw(byte: u8) -> SecretValue {
    SecretValue::build(32, |out| out.fill(byte))
}

fn context() -> SlotContext {
    SlotContext {
        vault_id: ID,
        epoch: 1,
    }
}

fn root() -> RootKey {
    RootKey::build(|out| out.fill(42))
}

fn rng() -> impl FnMut(&mut [u8]) {
    crate::sys::random::fill
}

fn with_passphrase(text: &str) -> NewSlot {
    NewSlot::Passphrase {
        passphrase: secret(text),
        keyfile: None,
        kdf: KdfParams::MINIMAL,
    }
}

fn with_both() -> NewSlot {
    NewSlot::Passphrase {
        passphrase: secret("both"),
        keyfile: Some(raw(7)),
        kdf: KdfParams::MINIMAL,
    }
}

fn with_key(byte: u8) -> NewSlot {
    NewSlot::Raw {
        secret: raw(byte),
        hint: RawKeyHint::File,
    }
}

fn age_slot(recipients: &[age::Recipient], id: [u8; 16], plaintext: &SecretValue) -> NewSlot {
    let file = age::encrypt_to(recipients, plaintext, &[]).unwrap();
    NewSlot::Age { id, file }
}

fn vault(slots: &[NewSlot]) -> Header {
    let slots = slots
        .iter()
        .map(|slot| slot.wrap(&context(), &root(), &mut rng()).unwrap())
        .collect();
    let new = NewVault {
        vault_id: ID,
        salt: [3; 32],
        root: &root(),
        slots,
        meta: VaultMeta::default(),
    };
    create(new, &mut rng()).unwrap().header
}

fn nobody(_: &str) -> Result<SecretValue, PromptError> {
    panic!("nothing is to be asked")
}

fn opened(header: &Header, given: &Given) -> Result<Unlocked, UnlockError> {
    open(header, given, &mut nobody)
}

fn attempts(error: UnlockError) -> Vec<(&'static str, Outcome)> {
    match error {
        UnlockError::NoMatch(list) => list.into_iter().map(|a| (a.kind, a.outcome)).collect(),
        other => panic!("{other:?}"),
    }
}

/// An age identity in a private file, and its recipient.
fn identity(folder: &Path, name: &str) -> (PathBuf, age::Recipient) {
    let key = ::age::x25519::Identity::generate();
    let text = key.to_string();
    let path = folder.join(name);
    fs::write(&path, ::age::secrecy::ExposeSecret::expose_secret(&text)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    (
        path,
        age::parse_recipient(&key.to_public().to_string()).unwrap(),
    )
}

#[test]
fn every_kind_of_slot_opens_with_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, recipient) = identity(folder.path(), "key.txt");
    let code = recovery::generate(&mut rng());
    let id = new_slot_id(&mut rng());
    let header = vault(&[
        with_passphrase("one"),
        with_both(),
        with_key(1),
        NewSlot::Raw {
            secret: code.clone(),
            hint: RawKeyHint::RecoveryCode,
        },
        age_slot(&[recipient], id, &age_plaintext(&context(), &id, &root())),
    ]);
    let code = recovery::format(&code).unwrap();
    for (slot, authenticated, given) in [
        (
            0,
            true,
            Given {
                passphrase: Some(secret("one")),
                ..Given::default()
            },
        ),
        (
            1,
            true,
            Given {
                passphrase: Some(secret("both")),
                key_file: Some(raw(7)),
                ..Given::default()
            },
        ),
        (
            2,
            true,
            Given {
                raw_keys: vec![raw(8), raw(1)],
                ..Given::default()
            },
        ),
        (
            3,
            true,
            Given {
                recovery: Some(code),
                ..Given::default()
            },
        ),
        (
            4,
            false,
            Given {
                identities: vec![path],
                ..Given::default()
            },
        ),
    ] {
        let unlocked = opened(&header, &given).unwrap();
        assert_eq!(unlocked.slot, header.slots()[slot].id);
        assert_eq!(unlocked.authenticated, authenticated);
        assert_eq!(unlocked.root.expose(), root().expose());
        assert_eq!(unlocked.notices, []);
    }
}

#[test]
fn the_error_lists_every_attempt_and_no_secret() {
    let header = vault(&[with_passphrase("one"), with_key(1), with_key(2)]);
    let given = Given {
        passphrase: Some(secret("canary-wrong")),
        raw_keys: vec![raw(b'Z')],
        ..Given::default()
    };
    let error = opened(&header, &given).unwrap_err();
    assert_eq!(error.code(), Code::SlotNoMatch);
    let text = format!("{error} {error:?}");
    for slot in header.slots() {
        assert!(text.contains(&short_id(&slot.id)), "{text}");
    }
    assert!(!text.contains("canary") && !text.contains("ZZZZ"), "{text}");
    let not_this = Outcome::NotThis;
    assert_eq!(
        attempts(error),
        [
            ("raw key", not_this.clone()),
            ("raw key", not_this.clone()),
            ("passphrase", not_this)
        ]
    );
    let given = Given {
        passphrase: Some(secret("wrong")),
        ..Given::default()
    };
    assert_eq!(
        opened(&header, &given).unwrap_err().code(),
        Code::SlotWrongPassphrase
    );
    let given = Given {
        raw_keys: vec![raw(9)],
        ..Given::default()
    };
    let error = opened(&vault(&[with_passphrase("one")]), &given).unwrap_err();
    assert_eq!(error.to_string(), "no keyslot takes what was given");
}

#[test]
fn one_thing_that_fits_is_enough() {
    let header = vault(&[with_passphrase("one"), with_key(1)]);
    let given = Given {
        passphrase: Some(secret("wrong")),
        raw_keys: vec![raw(1)],
        ..Given::default()
    };
    assert!(opened(&header, &given).is_ok());
    let given = Given {
        passphrase: Some(secret("one")),
        raw_keys: vec![raw(9)],
        ..Given::default()
    };
    assert!(opened(&header, &given).is_ok());
}

#[test]
fn a_slot_that_is_meant_and_fails_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, recipient) = identity(folder.path(), "key.txt");
    let id = new_slot_id(&mut rng());
    let other = SlotContext {
        vault_id: [8; 16],
        epoch: 1,
    };
    let header = vault(&[
        age_slot(&[recipient], id, &age_plaintext(&other, &id, &root())),
        with_passphrase("one"),
    ]);
    let given = Given {
        identities: vec![path],
        passphrase: Some(secret("one")),
        ..Given::default()
    };
    let error = opened(&header, &given).unwrap_err();
    assert!(matches!(error, UnlockError::Broken { .. }), "{error:?}");
    assert_eq!(error.code(), Code::VaultCorrupt);
}

#[test]
fn a_slot_that_costs_too_much_is_named_and_others_are_tried() {
    let costly = |header: &Header| header.slots()[0].clone();
    let header = vault(&[
        NewSlot::Passphrase {
            passphrase: secret("dear"),
            keyfile: None,
            kdf: KdfParams {
                m_kib: 64 << 10,
                t: 1,
                p: 1,
            },
        },
        with_passphrase("cheap"),
    ]);
    let limit = KdfLimit {
        max_m_kib: 32 << 10,
        ..KdfLimit::DEFAULT
    };
    let given = Given::default();
    let mut opening = Opening {
        header: &header,
        given: &given,
        attempts: Attempts::default(),
    };
    let slot = costly(&header);
    assert!(
        opening
            .passphrase_slot(&slot, &secret("dear"), &limit)
            .unwrap()
            .is_none()
    );
    let cheap = &header.slots()[1];
    assert!(
        opening
            .passphrase_slot(cheap, &secret("cheap"), &limit)
            .unwrap()
            .is_some()
    );
    let error = opening.finish(None).unwrap_err();
    assert_eq!(error.code(), Code::SlotKdfLimit);
    assert!(error.to_string().contains("64 MiB"), "{error}");
}

#[test]
fn a_slot_with_a_key_file_says_so() {
    let header = vault(&[with_both()]);
    let given = Given {
        passphrase: Some(secret("both")),
        ..Given::default()
    };
    let error = opened(&header, &given).unwrap_err();
    assert_eq!(attempts(error), [("passphrase", Outcome::NeedsKeyFile)]);
    let given = Given {
        key_file: Some(raw(8)),
        ..given
    };
    assert_eq!(
        attempts(opened(&header, &given).unwrap_err()),
        [("passphrase", Outcome::NotThis)]
    );
}

#[test]
fn a_passphrase_is_asked_for_only_if_nothing_was_given() {
    let header = vault(&[with_passphrase("one")]);
    let asked = Cell::new(0);
    let mut prompt = |text: &str| {
        asked.set(asked.get() + 1);
        assert!(text.contains(&vault_name(&header)), "{text}");
        Ok(secret("one"))
    };
    assert!(open(&header, &Given::default(), &mut prompt).is_ok());
    assert_eq!(asked.get(), 1);
    let given = Given {
        raw_keys: vec![raw(1)],
        ..Given::default()
    };
    assert!(open(&header, &given, &mut prompt).is_err());
    let silent = Given {
        no_input: true,
        ..Given::default()
    };
    let error = open(&header, &silent, &mut prompt).unwrap_err();
    assert_eq!(error.code(), Code::VaultSealed);
    assert!(error.to_string().contains("passphrase"), "{error}");
    let error = open(&vault(&[with_key(1)]), &Given::default(), &mut prompt).unwrap_err();
    assert_eq!(error.code(), Code::VaultSealed);
    assert_eq!(asked.get(), 1);
    let mut nobody_there = |_: &str| Err(PromptError::NoTerminal);
    let error = open(&header, &Given::default(), &mut nobody_there).unwrap_err();
    assert_eq!(error.code(), Code::VaultSealed);
    let mut cancelled = |_: &str| Err(PromptError::Cancelled);
    let error = open(&header, &Given::default(), &mut cancelled).unwrap_err();
    assert_eq!(error.code(), Code::InputCancelled);
}

#[test]
fn passphrases_have_limits_and_notices() {
    let longest = "x".repeat(key_file::MAX_PASSPHRASE);
    let header = vault(&[with_passphrase(&longest), with_passphrase("sch\u{f6}n")]);
    let given = |passphrase| Given {
        passphrase: Some(passphrase),
        ..Given::default()
    };
    assert_eq!(
        opened(&header, &given(secret(&longest))).unwrap().notices,
        []
    );
    let unlocked = opened(&header, &given(secret("sch\u{f6}n"))).unwrap();
    assert_eq!(unlocked.notices, [Notice::PassphraseNotAscii]);
    for bad in [
        secret(""),
        secret(&format!("{longest}x")),
        SecretValue::copy_of(b"\xff"),
    ] {
        assert_eq!(
            opened(&header, &given(bad)).unwrap_err().code(),
            Code::InputInvalid
        );
    }
    let recovery = Given {
        recovery: Some(secret("no code")),
        ..Given::default()
    };
    assert_eq!(
        opened(&header, &recovery).unwrap_err().code(),
        Code::InputInvalid
    );
}

#[test]
fn a_plugin_that_is_not_allowed_does_not_hide_another_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let (path, recipient) = identity(folder.path(), "key.txt");
    let (other, _) = identity(folder.path(), "other.txt");
    let plugin = folder.path().join("plugin.txt");
    fs::write(&plugin, "AGE-PLUGIN-FOOBAR-1QVHULF\n").unwrap();
    fs::set_permissions(&plugin, Permissions::from_mode(0o600)).unwrap();
    let id = new_slot_id(&mut rng());
    let header = vault(&[age_slot(
        &[recipient],
        id,
        &age_plaintext(&context(), &id, &root()),
    )]);
    let given = |identities| Given {
        identities,
        ..Given::default()
    };
    assert!(opened(&header, &given(vec![plugin.clone(), path])).is_ok());
    let error = opened(&header, &given(vec![plugin, other.clone()])).unwrap_err();
    assert_eq!(error.code(), Code::SlotPlugin);
    assert!(
        error
            .to_string()
            .contains("age-plugin-foobar is not allowed"),
        "{error}"
    );
    assert_eq!(
        opened(&header, &given(vec![other])).unwrap_err().code(),
        Code::SlotNoMatch
    );
}

#[test]
fn a_services_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let (path, recipient) = identity(folder.path(), "reseal.identity");
    assert!(path.exists());
    let put = |name: &str, data: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, data).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
    };
    put("reseal.passphrase", b"one\n");
    put("reseal.key", raw(1).expose());
    let given = Given::from_credentials_dir(folder.path()).unwrap();
    assert_eq!(given.passphrase, Some(secret("one")));
    assert_eq!(given.raw_keys, [raw(1)]);
    let id = new_slot_id(&mut rng());
    let header = vault(&[age_slot(
        &[recipient],
        id,
        &age_plaintext(&context(), &id, &root()),
    )]);
    assert!(opened(&header, &given).is_ok());
    let empty = tempfile::tempdir().unwrap();
    assert!(
        Given::from_credentials_dir(empty.path())
            .unwrap()
            .is_empty()
    );
    put("reseal.key", b"short");
    assert!(Given::from_credentials_dir(folder.path()).is_err());
}
