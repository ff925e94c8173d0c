//! Answers that are put by outside the file.

use super::*;

const TOKEN: &[u8] = b"refresh-1";
const SUCCESSOR: &[u8] = b"a whole token set";

fn begin(world: &mut World, record: &str, attempt: u8) -> Intent {
    world
        .commit(vec![Change::Intent {
            name: record.parse().unwrap(),
            attempt: [attempt; 16],
            refresh_token: SecretValue::copy_of(TOKEN),
            expect: Expect::Any,
        }])
        .unwrap();
    *world.vault.open_intents().last().unwrap()
}

fn put_by(world: &mut World, intent: &Intent) -> Vec<u8> {
    let secret = SecretValue::copy_of(SUCCESSOR);
    let World { vault, rng, .. } = world;
    vault.seal_aside(intent, &secret, rng).unwrap()
}

#[test]
fn an_answer_put_by_comes_back_while_its_attempt_is_open_and_in_no_other_place() {
    let mut world = World::new("aside");
    world.commit(vec![put("a", b"set-1")]).unwrap();
    world.commit(vec![put("b", b"set-1")]).unwrap();
    let intent = begin(&mut world, "a", 1);
    let other = begin(&mut world, "b", 2);
    let bytes = put_by(&mut world, &intent);
    let shown = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    assert!(!shown(SUCCESSOR) && !shown(TOKEN));
    let (found, secret) = world.reopen().open_aside(&bytes).unwrap();
    assert_eq!((found, secret.expose()), (intent, SUCCESSOR));

    // Every byte counts, and so does every one that is missing.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(world.vault.open_aside(&changed).is_err(), "byte {at}");
        assert!(world.vault.open_aside(&bytes[..at]).is_err(), "cut at {at}");
    }
    // Nor does it open as the answer of another record's attempt.
    let mut moved = bytes.clone();
    moved[8..24].copy_from_slice(&other.id.0);
    moved[24..40].copy_from_slice(&other.attempt);
    assert!(world.vault.open_aside(&moved).is_err());

    let attempt = intent.attempt;
    let outcome = Outcome::Stored;
    world
        .commit(vec![Change::Clear { attempt, outcome }])
        .unwrap();
    let closed = world.vault.open_aside(&bytes).map(|(intent, _)| intent);
    assert_eq!(closed, Err(VaultError::IntentAbsent));
}

#[test]
fn an_answer_is_as_long_as_a_value_and_of_the_version_after_the_one_that_was_sent() {
    let mut world = World::new("aside");
    world.commit(vec![put("a", b"set-1")]).unwrap();
    let intent = begin(&mut world, "a", 1);
    let World { vault, rng, .. } = &mut world;
    let mut seal = |intent: &Intent, len| {
        let secret = SecretValue::build(len, |out| out.fill(7));
        vault.seal_aside(intent, &secret, rng)
    };
    let longest = seal(&intent, crate::secret::MAX_VALUE).unwrap();
    let over = seal(&intent, crate::secret::MAX_VALUE + 1);
    assert_eq!(over, Err(VaultError::Limit("a value of 1 MiB")));
    let last = Intent {
        base_version: u64::MAX,
        ..intent
    };
    assert_eq!(seal(&last, 1), Err(VaultError::Limit("versions")));
    // The value is encrypted where it stands, in memory that did not have to grow.
    assert_eq!(longest.capacity(), longest.len());
    let secret = world.vault.open_aside(&longest).unwrap().1;
    assert_eq!(secret.len(), crate::secret::MAX_VALUE);
    // What follows the head is a value like those in the file.
    let at = ValueAt {
        id: intent.id,
        version: intent.base_version + 1,
        kind: RecordKind::OAuth,
        offset: 0,
        len: 0,
    };
    assert!(world.vault.open_value(&at, &longest[48..]).is_ok());
}

#[test]
fn what_an_attempt_sent_is_known_by_its_tag_also_after_a_rename() {
    let mut world = World::new("sent");
    world.commit(vec![put("a", b"set-1")]).unwrap();
    let intent = begin(&mut world, "a", 1);
    let token = SecretValue::copy_of(TOKEN);
    world
        .commit(vec![Change::Rename {
            from: "a".parse().unwrap(),
            to: "b".parse().unwrap(),
        }])
        .unwrap();
    assert_eq!(world.vault.intents_of(&"b".parse().unwrap()), [intent]);
    assert!(world.vault.intents_of(&"a".parse().unwrap()).is_empty());
    assert!(world.vault.may_have_sent(&intent, &token));
    let another = SecretValue::copy_of(b"refresh-2");
    assert!(!world.vault.may_have_sent(&intent, &another));
    let unknown = Intent {
        tag: [0; 16],
        ..intent
    };
    assert!(world.vault.may_have_sent(&unknown, &another));
}
