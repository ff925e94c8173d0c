use super::*;

#[test]
fn debug_shows_no_content() {
    let value = SecretValue::copy_of(b"canary-0123456789");
    assert_eq!(format!("{value:?}"), "SecretValue([redacted])");
    assert_eq!(
        format!("{:?}", Some((&value, 1))),
        "Some((SecretValue([redacted]), 1))"
    );
}

#[test]
fn equality_compares_content() {
    let a = SecretValue::copy_of(b"one");
    assert_eq!(a, SecretValue::copy_of(b"one"));
    assert_ne!(a, SecretValue::copy_of(b"two"));
    assert_ne!(a, SecretValue::copy_of(b"one "));
}

#[test]
fn line_ends() {
    let strip = |text: &[u8]| {
        SecretValue::copy_of(text)
            .without_line_end()
            .expose()
            .to_vec()
    };
    assert_eq!(strip(b"a\n"), b"a");
    assert_eq!(strip(b"a\r\n"), b"a");
    assert_eq!(strip(b"a\n\n"), b"a\n");
    assert_eq!(strip(b"a\r"), b"a\r");
    assert_eq!(strip(b"\n"), b"");
    assert_eq!(strip(b""), b"");
}

#[test]
fn reads_up_to_the_limit_and_refuses_one_more() {
    for len in [0usize, 1, 4095, 4096, 4097, 70_000] {
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let value = SecretValue::read_from(&mut data.as_slice(), len)
            .unwrap()
            .unwrap();
        assert_eq!(value.expose(), data);
        if len > 0 {
            assert!(
                SecretValue::read_from(&mut data.as_slice(), len - 1)
                    .unwrap()
                    .is_none()
            );
        }
    }
}
