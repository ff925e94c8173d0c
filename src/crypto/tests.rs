//! Our calls of the primitives against published vectors: Wycheproof, the RFCs, the draft.

use super::derive::*;
use super::hash::{equal, expand, extract, mac};
use super::passphrase::{StretchError, stretch};
use super::{aead, make_bytes};
use crate::secret::{Key, Purpose, SecretValue};
use data_encoding::HEXLOWER;
use wycheproof::TestResult;

fn key(bytes: &[u8]) -> Key<Record> {
    Key::build(|out| out.copy_from_slice(bytes))
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn xchacha20_poly1305_as_in_the_draft() {
    let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                 the future, sunscreen would be it.";
    let key = key(&(0x80..=0x9f).collect::<Vec<u8>>());
    let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let mut buffer = text.to_vec();
    let tag = aead::seal(&key, &nonce, &aad, &mut buffer);
    let ct = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3\
              a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2b\
              c369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e";
    assert_eq!(buffer, hex(ct));
    assert_eq!(tag.to_vec(), hex("c0875924c1c7987947deafd8780acf49"));
    aead::open(&key, &nonce, &aad, &mut buffer, &tag).unwrap();
    assert_eq!(buffer, text);
}

#[test]
fn a_forged_message_stays_encrypted() {
    let (key, nonce) = (key(&[7; 32]), [9; 24]);
    let mut buffer = b"plaintext".to_vec();
    let mut tag = aead::seal(&key, &nonce, b"a", &mut buffer);
    let sealed = buffer.clone();
    assert!(aead::open(&key, &nonce, b"b", &mut buffer, &tag).is_err());
    tag[0] ^= 1;
    assert!(aead::open(&key, &nonce, b"a", &mut buffer, &tag).is_err());
    assert_eq!(buffer, sealed);
}

#[test]
fn xchacha20_poly1305_wycheproof() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::XChaCha20Poly1305);
    let (mut valid, mut invalid) = (0, 0);
    for group in set.unwrap().test_groups {
        for test in group.tests {
            let key = key(&test.key);
            let Ok(nonce) = <&[u8; 24]>::try_from(&**test.nonce) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let tag: [u8; 16] = test.tag[..].try_into().unwrap();
            let mut buffer = test.ct.to_vec();
            let opened = aead::open(&key, nonce, &test.aad, &mut buffer, &tag).is_ok();
            assert_eq!(opened, test.result == TestResult::Valid, "{}", test.tc_id);
            if opened {
                assert_eq!(buffer, test.pt.to_vec());
                assert_eq!(aead::seal(&key, nonce, &test.aad, &mut buffer), tag);
                assert_eq!(buffer, test.ct.to_vec());
                valid += 1;
            } else {
                invalid += 1;
            }
        }
    }
    assert!(
        valid > 200 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn hkdf_sha256_wycheproof() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        for test in group.tests.iter().filter(|test| test.size <= 255 * 32) {
            let mut prk = [0; 32];
            extract(&test.salt, &test.ikm, &mut prk);
            let mut okm = vec![0; test.size];
            let (front, back) = test.info.split_at(test.info.len() / 2);
            expand(&prk, &[front, back], &mut okm);
            assert_eq!(okm == test.okm.to_vec(), test.result != TestResult::Invalid);
            count += 1;
        }
    }
    assert!(count > 70, "{count}");
}

#[test]
fn hmac_sha256_wycheproof() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let key: [u8; 32] = test.key[..].try_into().unwrap();
            let (front, back) = test.msg.split_at(test.msg.len() / 2);
            let ours = mac(&key, &[front, back]);
            let matches = equal(&ours[..group.tag_size / 8], &test.tag);
            assert_eq!(matches, test.result == TestResult::Valid, "{}", test.tc_id);
            *(if matches { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert!(
        valid > 30 && invalid > 30,
        "{valid} valid, {invalid} invalid"
    );
}

/// Inputs in the manner of RFC 9106 §5.3, without its secret and associated data, which the format
/// does not use and our call does not take. Expected values from the reference implementation.
#[test]
fn argon2id_of_our_exact_call() {
    let mut out = [0; 32];
    stretch(&[1; 32], &[2; 32], (32, 3, 4), &mut out).unwrap();
    assert_eq!(
        HEXLOWER.encode(&out),
        "c7be9e260baba611e64c4aab1620e5381840a36e22e95647cb634264e7532a16"
    );
    let salt: [u8; 32] = std::array::from_fn(|i| i as u8);
    stretch(
        b"correct horse battery staple",
        &salt,
        (19_456, 2, 1),
        &mut out,
    )
    .unwrap();
    assert_eq!(
        HEXLOWER.encode(&out),
        "092d6e91987840e63e2fac5e187ac5d29b489f05597971fd6554555a1a20ce2a"
    );
}

#[test]
fn argon2id_refuses_what_it_does_not_know() {
    let mut out = [0; 32];
    for cost in [(7, 1, 1), (19_456, 0, 1), (19_456, 1, 0), (8, 1, 2)] {
        assert_eq!(
            stretch(b"x", &[0; 32], cost, &mut out),
            Err(StretchError::Cost),
            "{cost:?}"
        );
    }
    assert_eq!(out, [0; 32]);
}

#[test]
fn comparing_looks_at_every_byte_and_the_length() {
    assert!(equal(b"", b"") && equal(b"abc", b"abc"));
    assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"bbc") && !equal(b"abc", b"ab"));
}

#[test]
fn random_bytes_come_from_the_argument() {
    let mut next = 0;
    let mut count = |buffer: &mut [u8]| {
        for byte in buffer {
            next += 1;
            *byte = next;
        }
    };
    assert_eq!(make_bytes::<3>(&mut count), [1, 2, 3]);
    assert_eq!(make_bytes::<2>(&mut count), [4, 5]);
}

/// `N` bytes that count upwards from `first`.
fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + i as u8)
}

fn shown<P: Purpose>(key: &Key<P>) -> String {
    HEXLOWER.encode(key.expose())
}

/// The formulas of the format, computed with Python's hmac and hashlib.
#[test]
fn derivations_are_those_of_another_implementation() {
    let (vault, id) = (counting::<16>(0x80), counting::<16>(0xa0));
    let epoch = 0x0102_0304;
    let root = Key::build(|out| *out = counting(0x40));
    let prk = derive_prk(&counting(0x10), &root);
    let sub = [
        shown(&prk),
        shown(&derive_sub_key::<HeaderMac>(&prk, &vault, epoch)),
        shown(&derive_sub_key::<IndexSeal>(&prk, &vault, epoch)),
        shown(&derive_sub_key::<RemoteMac>(&prk, &vault, epoch)),
        HEXLOWER.encode(&derive_commit(&prk, &vault, epoch)),
    ];
    let expected = [
        "a7f33b6938e258966f9f46da533d28b861f5d85e1e9581d69263e26476456409",
        "e6fd56c3be009eca76b25c53ce81630d94b5f362df5291adf2a53eb881c8c984",
        "b9317370c43fd494721fdd232b92a2697e5612cfaa4ad370f34dd0f7e96aba05",
        "614c3da3826c42de8127b081501066a7245c24298173839d648634153fe460b9",
        "e056b0c9e183583cd55b16e278f564a75343f15f802ab9429ab211c49488e463",
    ];
    assert_eq!(sub, expected);

    let values: Key<ValueRoot> = derive_sub_key(&prk, &vault, epoch);
    let record = derive_record(&values, &id, 0x0102_0304_0506_0708, &counting(0xc0));
    let (wrap, commit) = derive_wrap(&vault, &id, b"secret", b"reseal/1/slot\0context");
    assert_eq!(
        [shown(&record), shown(&wrap), HEXLOWER.encode(&commit)],
        [
            "164dca6225cb9e023f9c94eb42d2811579476f1d4e57d748b9c72972b8ca065c",
            "601a51ecd07d23d4cfc2034bfdca7380bb04eb32803343fd82303907fd4739af",
            "f0dd3b026739e8ebf27fa931a4528dd63c2862c20b96efb92c45f00e9c023d08",
        ]
    );

    let anchor: Key<AnchorMac> = derive_sub_key(&prk, &vault, epoch);
    let token = SecretValue::copy_of(b"refresh-token");
    let digest = derive_capability_digest(&SecretValue::copy_of(b"capability"));
    let of_the_vault = derive_fingerprint(&vault, &derive_commit(&prk, &vault, epoch));
    assert_eq!(
        [
            shown(&derive_trail(&anchor)),
            HEXLOWER.encode(&derive_intent_tag(&anchor, &token)),
            HEXLOWER.encode(&digest),
            HEXLOWER.encode(&of_the_vault),
        ],
        [
            "070b3b4c47b7659f32522340417483b70f029fb11e6c00421220277a9ea1fdb1",
            "5afaa23d72f9d11bf6dcc0b3e1fbd33e",
            "38a5be91af79d7e5ba9809bf383c699b6864ee50446239fe56a45e32b84638fe",
            "95b044f50acf77b09f689e103c271876331d9553",
        ]
    );
    assert_eq!(derive_recovery_check(b"code"), 0x3176e);
}

#[test]
fn a_mac_is_that_of_its_parts_and_its_purpose() {
    let prk = derive_prk(&counting(0x10), &Key::build(|out| *out = counting(0x40)));
    let vault = counting(0x80);
    let log: Key<LogMac> = derive_sub_key(&prk, &vault, 0x0102_0304);
    let tag = derive_mac(&log, &[b"one", b"two"]);
    assert_eq!(
        HEXLOWER.encode(&tag),
        "60f6961c7c7aafdc6905c7b860ed5bc1c294047d698fd81f78b741d8dc5a2e60"
    );
    assert!(mac_matches(&log, &[b"onetwo"], &tag));
    assert!(!mac_matches(&log, &[b"onetwo"], &tag[..31]));
    assert!(!mac_matches(&log, &[b"onetw"], &tag));
    let header: Key<HeaderMac> = derive_sub_key(&prk, &vault, 0x0102_0304);
    assert!(!mac_matches(&header, &[b"onetwo"], &tag));
}

#[test]
fn a_key_file_follows_the_stretched_passphrase() {
    let passphrase = SecretValue::copy_of(&[1; 32]);
    let alone = derive_stretched(&passphrase, None, &[2; 32], (32, 3, 4)).unwrap();
    let key_file = SecretValue::copy_of(b"of the key file");
    let both = derive_stretched(&passphrase, Some(&key_file), &[2; 32], (32, 3, 4)).unwrap();
    assert_eq!(
        HEXLOWER.encode(alone.expose()),
        "c7be9e260baba611e64c4aab1620e5381840a36e22e95647cb634264e7532a16"
    );
    assert_eq!(both.expose(), [alone.expose(), key_file.expose()].concat());
    let refused = derive_stretched(&passphrase, None, &[2; 32], (7, 1, 1)).err();
    assert_eq!(refused, Some(StretchError::Cost));
}
