use super::*;

const TWO: &str = r#"{"version": 1, "profiles": {"a:two": {"type": "api_key", "provider": "a",
    "key": "canary-first", "apiKey": "canary-second"}}}"#;

#[test]
fn two_plaintext_values_are_not_replaced_when_one_is_safe() {
    let two: ProfileId = "a:two".parse().unwrap();
    let reference: SecretRef = "vault:x".parse().unwrap();
    let parse = |text: &str| Store::parse(text, "f", &Defaults::default()).unwrap();

    let mut store = parse(TWO);
    let moved = store.plaintext_value(&two).unwrap();
    assert_eq!(
        store.set_ref(&two, &reference, Some(&moved)),
        Err(ProfileError::Plaintext(two.clone()))
    );
    assert_eq!(store.text(), TWO);

    let mut store = parse(&TWO.replace("canary-second", "canary-first"));
    store.set_ref(&two, &reference, Some(&moved)).unwrap();
    assert!(!store.text().contains("canary"), "{}", store.text());
}

#[test]
fn a_store_knows_the_lines_of_its_profiles() {
    let store = Store::parse(TWO, "f", &Defaults::default()).unwrap();
    let key = Path::of_keys(["profiles", "a:two", "key"]);
    assert_eq!(store.lines().get(&key), Some(2));
}

#[test]
fn several_edits_see_each_other_before_they_are_written() {
    let text = r#"{"profiles": {"a:x": {"type": "api_key", "provider": "a", "key": "canary-x"}}}"#;
    let store = Store::parse(text, "f", &Defaults::default()).unwrap();
    let (x, y): (ProfileId, ProfileId) = ("a:x".parse().unwrap(), "a:y".parse().unwrap());
    let reference: SecretRef = "vault:x".parse().unwrap();
    let mut editing = StoreEditing::of(store);
    assert_eq!(editing.refs().count(), 0);
    let fields: Vec<_> = editing.plaintext().iter().map(|p| p.field).collect();
    assert_eq!(fields, ["key"]);
    let value = editing.plaintext_value(&x).unwrap();
    assert_eq!(value, SecretValue::copy_of(b"canary-x"));

    editing.set_ref(&x, &reference, Some(&value)).unwrap();
    editing.set_ref(&y, &reference, None).unwrap();
    assert!(editing.plaintext().is_empty());
    assert_eq!(editing.plaintext_value(&x), None);
    let refs: Vec<_> = editing.refs().map(|(p, r)| (&p.id, r)).collect();
    assert_eq!(refs, [(&x, &reference), (&y, &reference)]);
    let written = editing.finish().unwrap();
    assert_eq!(written.refs().count(), 2);
}
