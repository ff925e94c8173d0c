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
