use super::*;
use crate::error::{Code, Coded};

const KEY: &str = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn identities(text: &str) -> Result<Vec<Identity>, AgeError> {
    parse_identities(&secret(text), "keys.txt")
}

fn nobody(_: &str) -> Result<SecretValue, PromptError> {
    Err(PromptError::NoTerminal)
}

fn own() -> (Identity, Recipient) {
    let identity = identities(KEY).unwrap().remove(0);
    let recipient = parse_recipient(&identity.recipient().unwrap()).unwrap();
    (identity, recipient)
}

#[test]
fn a_round_trip_at_every_chunk_border() {
    let (identity, recipient) = own();
    for len in [0, 1, 79, 65_535, 65_536, 65_537, 200_000] {
        let payload = SecretValue::build(len, |out| out.fill(7));
        let file = encrypt_to(std::slice::from_ref(&recipient), &payload, &[]).unwrap();
        let opened = decrypt(&file, std::slice::from_ref(&identity), &[], len).unwrap();
        assert_eq!(opened, payload);
        if len > 0 {
            let error = decrypt(&file, std::slice::from_ref(&identity), &[], len - 1).unwrap_err();
            assert!(matches!(error, AgeError::TooLarge(_)), "{error:?}");
        }
    }
}

#[test]
fn a_keyslot_file_fits_its_limit_with_many_recipients() {
    let (_, recipient) = own();
    let all = vec![recipient; MAX_RECIPIENTS];
    let payload = SecretValue::build(81, |_| {});
    assert!(encrypt_to(&all, &payload, &[]).unwrap().len() <= MAX_SLOT_FILE);
    let more = [&all[..], &all[..1]].concat();
    assert!(matches!(
        encrypt_to(&more, &payload, &[]),
        Err(AgeError::RecipientCount)
    ));
    assert!(matches!(
        encrypt_to(&[], &payload, &[]),
        Err(AgeError::RecipientCount)
    ));
}

#[test]
fn another_identity_does_not_match_and_a_changed_file_is_damaged() {
    let (identity, recipient) = own();
    let other = ::age::x25519::Identity::generate();
    let other = identities(::age::secrecy::ExposeSecret::expose_secret(
        &other.to_string(),
    ));
    let file = encrypt_to(&[recipient], &secret("x"), &[]).unwrap();
    let error = decrypt(&file, &other.unwrap(), &[], 10).unwrap_err();
    assert!(matches!(error, AgeError::NoMatch), "{error:?}");
    assert_eq!(error.code(), Code::SlotNoMatch);
    let mut changed = file.clone();
    *changed.last_mut().unwrap() ^= 1;
    let error = decrypt(&changed, &[identity], &[], 10).unwrap_err();
    assert!(matches!(error, AgeError::Damaged(_)), "{error:?}");
}

#[test]
fn recipients_that_are_understood_and_not() {
    let text = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    assert_eq!(
        parse_recipient(&format!(" {text}\n")).unwrap().to_string(),
        text
    );
    let plugin = parse_recipient("age1foobar1wfjkx6tsd9jkuaqpag8g7").unwrap();
    assert_eq!(plugin.plugin(), Some("foobar"));
    for (text, why) in [
        ("", "does not start with age1"),
        (
            "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwx",
            "typing error",
        ),
        ("age1wd5x7un5wan2t3", "not valid"),
        ("age1tag1vfskg5vtmqs", "not valid"),
        ("age1foo/bar10q7vvj7q", "no valid plugin"),
        ("bitcoin10qh962ry", "does not start with age1"),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA",
            "SSH keys are not supported",
        ),
        (KEY, "secret key"),
    ] {
        let error = parse_recipient(text).unwrap_err();
        assert_eq!(error.code(), Code::SlotIdentity);
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(!error.to_string().contains(KEY));
    }
    let long = "a".repeat(MAX_RECIPIENT + 1);
    assert!(
        parse_recipient(&long)
            .unwrap_err()
            .to_string()
            .contains("8192")
    );
}

#[test]
fn identity_files_with_comments_and_with_mistakes() {
    let file = format!("# created: today\r\n\r\n{KEY}\r\nAGE-PLUGIN-FOOBAR-1QVHULF\n");
    let found = identities(&file).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].plugin(), Some("foobar"));
    assert_eq!(
        format!("{found:?}"),
        "[Identity(x25519, [redacted]), Identity(foobar, [redacted])]"
    );
    let cut = &KEY[..KEY.len() - 1];
    for (line, why) in [
        (cut, "typing error"),
        (
            "AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6Y",
            "age-plugin-pq",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "SSH keys are not supported",
        ),
        ("AGE-PLUGIN-../X-1XG4PXMPW", "no valid plugin"),
        ("age1foobar1wfjkx6tsd9jkuaqpag8g7", "it is a recipient"),
        ("hello", "neither"),
    ] {
        let error = identities(&format!("# one\n{line}\n")).unwrap_err();
        assert_eq!(error.code(), Code::SlotIdentity);
        let text = error.to_string();
        assert!(
            text.contains("line 2 of keys.txt") && text.contains(why),
            "{text}"
        );
        assert!(!text.contains(&line[line.len() / 2..]), "{text}");
    }
    assert!(
        identities("# none\n")
            .unwrap_err()
            .to_string()
            .contains("no identity")
    );
    let many = format!("{KEY}\n").repeat(MAX_IDENTITIES);
    assert_eq!(identities(&many).unwrap().len(), MAX_IDENTITIES);
    assert!(
        identities(&format!("{many}{KEY}"))
            .unwrap_err()
            .to_string()
            .contains("64")
    );
    let long = "#".repeat(MAX_IDENTITY_FILE + 1);
    assert!(
        identities(&long)
            .unwrap_err()
            .to_string()
            .contains("256 KiB")
    );
}

#[test]
fn an_encrypted_identity_file_asks_for_its_passphrase() {
    let mut cheap = scrypt::Recipient::new(age_passphrase(&secret("open")).unwrap());
    cheap.set_work_factor(10);
    let encryptor = Encryptor::with_recipients(std::iter::once(&cheap as _)).unwrap();
    let file = SecretValue::copy_of(&write_payload(encryptor, &secret(KEY)).unwrap());
    let load = |answer: &str| {
        load_identity_data(&file, "keys.age", &mut |prompt: &str| {
            assert_eq!(prompt, "Passphrase of keys.age: ");
            Ok(secret(answer))
        })
    };
    assert_eq!(load("open").unwrap().len(), 1);
    assert_eq!(load("shut").unwrap_err().code(), Code::SlotWrongPassphrase);
    let error = load_identity_data(&file, "keys.age", &mut nobody).unwrap_err();
    assert_eq!(error.code(), Code::NoInput);
    assert!(needs_passphrase(file.expose()));
    assert!(matches!(
        decrypt(file.expose(), &[], &[], 100),
        Err(AgeError::NeedsPassphrase)
    ));
}

#[test]
fn work_is_bounded_by_the_maximum_and_the_memory() {
    assert_eq!(allowed_work(None), MAX_WORK_FACTOR);
    assert_eq!(allowed_work(Some(64 << 20)), MAX_WORK_FACTOR);
    // 512 MiB: half of it holds factor 18, which is what age writes.
    assert_eq!(allowed_work(Some(512 << 10)), 18);
    assert_eq!(allowed_work(Some(0)), 0);
}

#[test]
fn passphrases_have_limits() {
    let longest = "x".repeat(MAX_PASSPHRASE);
    assert!(age_passphrase(&secret(&longest)).is_ok());
    for bad in [
        secret(""),
        secret(&format!("{longest}x")),
        SecretValue::copy_of(b"\xff"),
    ] {
        assert!(matches!(age_passphrase(&bad), Err(AgeError::Passphrase)));
    }
}

#[test]
fn a_header_without_end_is_refused_before_it_is_parsed() {
    let mut file = b"age-encryption.org/v1\n".to_vec();
    file.resize(MAX_HEADER + 100, b'x');
    file.extend(b"\n--- x");
    let error = decrypt(&file, &[], &[], MAX_EXPORT).unwrap_err();
    assert!(error.to_string().contains("64 KiB"), "{error}");
    let huge = vec![b'a'; 1000 + ARMOR_FACTOR * (MAX_HEADER + PAYLOAD_OVERHEAD)];
    assert!(matches!(
        decrypt(&huge, &[], &[], 1),
        Err(AgeError::TooLarge(1))
    ));
}
