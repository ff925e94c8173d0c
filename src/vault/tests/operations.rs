//! The operations of an index, byte by byte: what a reader takes, and what it refuses.

use super::limits::*;
use super::op::{self, INDEX_STEP, Op, PUT_FIXED, Put};
use super::*;

const DELETE: u8 = 2;
const ANCESTOR: u8 = 4;
const VAULT: u8 = 5;
const INTENT: u8 = 6;
const CLEAR: u8 = 7;

/// An index plaintext of these bytes, filled up.
fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut index = bytes.to_vec();
    index.resize(bytes.len().next_multiple_of(INDEX_STEP), 0);
    index
}

fn operation(code: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    padded(&[&[code], len.as_slice(), body].concat())
}

fn put_at(value_at: u32, value_len: u32) -> Put<'static> {
    Put {
        id: RecordId([1; 16]),
        version: 1,
        kind: RecordKind::Static,
        name: "a",
        meta: b"{}",
        value_at,
        value_len,
    }
}

/// What an index with PUTs of these places is taken as.
fn ranges(places: &[(u32, u32)], values_len: u32) -> Result<usize, VaultError> {
    let mut index = Vec::new();
    for (at, len) in places {
        op::write_put(&mut index, &put_at(*at, *len));
    }
    op::check(&padded(&index), values_len)
}

fn put_body(name: &[u8], meta: &[u8]) -> Vec<u8> {
    let mut body = vec![0; PUT_FIXED];
    body[24] = RecordKind::Static.code();
    body[26..28].copy_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
    body[28..32].copy_from_slice(&u32::try_from(meta.len()).unwrap().to_le_bytes());
    body[36..40].copy_from_slice(&u32::try_from(MIN_BLOB).unwrap().to_le_bytes());
    body.extend(name);
    body.extend(meta);
    body
}

/// What an index of one PUT with this body is taken as.
fn put_of(body: &[u8]) -> Result<usize, VaultError> {
    op::check(&operation(1, body), MAX_BLOB as u32)
}

#[test]
fn each_operation_is_read_as_it_was_written() {
    let intent = Intent {
        id: RecordId([2; 16]),
        base_version: 3,
        attempt: [4; 16],
        began_at: UnixMs(5),
        tag: [6; 16],
    };
    let (id, mac, attempt) = (RecordId([7; 16]), [8; 32], [9; 16]);
    let put = put_at(0, MIN_BLOB as u32);
    let mut index = Vec::new();
    op::write_ancestor(&mut index, 10, &mac, 11);
    op::write_vault(&mut index, b"{\"x\":1}");
    op::write_put(&mut index, &put);
    op::write_delete(&mut index, &id, 12);
    op::write_intent(&mut index, &intent);
    op::write_clear(&mut index, &attempt, 1);
    index.extend([0x80, 2, 0, 0, 0, 1, 1]);
    let index = padded(&index);
    let read: Result<Vec<Op<'_>>, _> = op::read(&index, MIN_BLOB as u32).unwrap().collect();
    let expected = [
        Op::Ancestor {
            seq: 10,
            mac,
            epoch: 11,
        },
        Op::Vault(b"{\"x\":1}"),
        Op::Put(put),
        Op::Delete { id, version: 12 },
        Op::Intent(intent),
        Op::Clear { attempt },
        Op::Ignored,
    ];
    assert_eq!(read.unwrap(), expected);
    assert_eq!(op::check(&index, MIN_BLOB as u32), Ok(expected.len()));
}

#[test]
fn a_body_has_exactly_the_length_of_its_fields() {
    let bad = Err(VaultError::Corrupt("length of an operation"));
    for (code, len) in [(DELETE, 24), (ANCESTOR, 44), (INTENT, 64), (CLEAR, 17)] {
        let of_len = |len: usize| op::check(&operation(code, &vec![1; len]), 0);
        assert_eq!(of_len(len), Ok(1), "{code}");
        assert_eq!(of_len(len - 1), bad, "{code}");
        assert_eq!(of_len(len + 1), bad, "{code}");
    }
    let body = put_body(b"a", b"{}");
    assert_eq!(put_of(&body), Ok(1));
    assert_eq!(put_of(&[body.as_slice(), b" "].concat()), bad);
    assert_eq!(put_of(&body[..body.len() - 1]), bad);
    assert_eq!(put_of(&body[..PUT_FIXED - 1]), bad);
    // The length of a body that the index does not have.
    let mut cut = operation(DELETE, &[1; 24]);
    cut[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(op::check(&cut, 0), bad);
}

#[test]
fn operations_of_a_newer_version_refuse_the_vault_or_are_skipped() {
    for code in [3, 8, 0x7f] {
        let newer = Err(VaultError::Newer("an operation in the index"));
        assert_eq!(op::check(&operation(code, &[]), 0), newer, "{code}");
    }
    for code in [0x80, 0x81, 0xff] {
        let index = operation(code, &[1, 2]);
        let read: Vec<_> = op::read(&index, 0).unwrap().collect();
        assert_eq!(read, [Ok(Op::Ignored)], "{code}");
    }
}

#[test]
fn an_index_is_filled_up_with_zeros_to_its_step() {
    assert_eq!(op::check(&[], 0), Ok(0));
    assert_eq!(op::check(&[0; INDEX_STEP], 0), Ok(0));
    let bad = Err(VaultError::Corrupt("length of an index"));
    assert_eq!(op::check(&[0; INDEX_STEP - 1], 0), bad);
    let mut index = operation(DELETE, &[1; 24]);
    index[INDEX_STEP - 1] = 1;
    let bad = Err(VaultError::Corrupt("padding of an index"));
    assert_eq!(op::check(&index, 0), bad);
}

#[test]
fn values_lie_in_their_frame_and_do_not_overlap() {
    let len = MIN_BLOB as u32;
    assert_eq!(ranges(&[(0, len), (len, len)], 2 * len), Ok(2));
    assert_eq!(ranges(&[(len, len), (0, len)], 2 * len), Ok(2));
    let three = [(2 * len, len), (0, len), (len, len)];
    assert_eq!(ranges(&three, 3 * len), Ok(3));
    let overlap = Err(VaultError::Corrupt("two values overlap"));
    assert_eq!(ranges(&[(0, len), (len - 1, len)], 2 * len), overlap);
    assert_eq!(ranges(&[(len, len), (1, len)], 2 * len), overlap);
    assert_eq!(ranges(&[(0, len), (0, len)], 2 * len), overlap);
    let outside = Err(VaultError::Corrupt("a value outside its frame"));
    assert_eq!(ranges(&[(0, len)], len - 1), outside);
    assert_eq!(ranges(&[(1, len)], len), outside);
    assert_eq!(ranges(&[(u32::MAX, len)], u32::MAX), outside);
}

#[test]
fn a_sealed_value_has_a_length_between_its_limits() {
    let (least, most) = (MIN_BLOB as u32, MAX_BLOB as u32);
    let bad = Err(VaultError::Corrupt("length of a sealed value"));
    assert_eq!(ranges(&[(0, least)], most + 1), Ok(1));
    assert_eq!(ranges(&[(0, least - 1)], most + 1), bad);
    assert_eq!(ranges(&[(0, most)], most + 1), Ok(1));
    assert_eq!(ranges(&[(0, most + 1)], most + 1), bad);
}

/// What the look at the places can't read does not hide those before it, and is refused by itself.
#[test]
fn values_are_looked_at_as_far_as_the_index_can_be_read() {
    let len = MIN_BLOB as u32;
    let mut index = operation(DELETE, &[1; 24])[..29].to_vec();
    op::write_put(&mut index, &put_at(1, len));
    let outside = Err(VaultError::Corrupt("a value outside its frame"));
    assert_eq!(op::check(&padded(&index), len), outside);
    index.extend([1, 255, 255, 255, 255]);
    assert_eq!(op::check(&padded(&index), len), outside);
    let bad = Err(VaultError::Corrupt("length of an operation"));
    assert_eq!(op::check(&padded(&index), len + 1), bad);
}

#[test]
fn a_record_has_a_name_a_kind_and_no_reserved_flags() {
    let name = |len: usize| put_of(&put_body(&vec![b'a'; len], b"{}"));
    let bad = Err(VaultError::Corrupt("length of a name"));
    for len in [0, MAX_NAME + 1] {
        assert_eq!(name(len), bad, "{len}");
    }
    assert_eq!([name(1), name(MAX_NAME)], [Ok(1), Ok(1)]);
    let utf8 = Err(VaultError::Corrupt("a name's UTF-8"));
    assert_eq!(put_of(&put_body(&[0xff], b"{}")), utf8);
    let with = |at: usize, byte: u8| {
        let mut body = put_body(b"a", b"{}");
        body[at] = byte;
        put_of(&body)
    };
    let flags = Err(VaultError::Corrupt("reserved flags of a record"));
    assert_eq!(with(25, 1), flags);
    for known in [1, 2, 3, 4, 5, 6, 128, 255] {
        assert_eq!(with(24, known), Ok(1), "{known}");
        assert_eq!(RecordKind::from_code(known).unwrap().code(), known);
    }
    for unknown in [0, 7, 127] {
        let newer = Err(VaultError::Newer("a kind of record"));
        assert_eq!(with(24, unknown), newer, "{unknown}");
    }
}

#[test]
fn metadata_is_one_json_object_of_a_bounded_depth_and_length() {
    let meta = |text: &str| put_of(&put_body(b"a", text.as_bytes()));
    let all = r#"{"a":[null,true,-1,1,1.5,"t",{}],"b":{"c":[]}}"#;
    for good in ["{}", all] {
        assert_eq!(meta(good), Ok(1), "{good}");
    }
    let bad = Err(VaultError::Corrupt("metadata is not a JSON object"));
    let broken = [
        "",
        "[]",
        "1",
        "null",
        " {}",
        "{",
        "{}{}",
        "{}x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        "{1:2}",
        r#"{"a":[1,]}"#,
        r#"{"a":tru}"#,
    ];
    for text in broken {
        assert_eq!(meta(text), bad, "{text}");
    }
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(meta(&nested(126)), Ok(1));
    assert_eq!(meta(&nested(127)), bad);
    let long = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    assert_eq!(meta(&long(MAX_META)), Ok(1));
    let over = Err(VaultError::Corrupt("metadata over its limit"));
    assert_eq!(meta(&long(MAX_META + 1)), over);
    let vault = |len: usize| op::check(&operation(VAULT, &vec![b'x'; len]), 0);
    assert_eq!(vault(MAX_VAULT_META), Ok(1));
    let over = Err(VaultError::Corrupt("vault metadata over its limit"));
    assert_eq!(vault(MAX_VAULT_META + 1), over);
}
