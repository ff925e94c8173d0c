//! The operations inside a frame's index.
//!
//! Invariants: a body has exactly the length of its fields; lengths are checked against limits
//! before anything is copied; unknown operations below 0x80 refuse the vault, those from 0x80 on
//! are skipped.

use super::limits::{MAX_BLOB, MAX_META, MAX_NAME, MAX_VAULT_META, MIN_BLOB};
use super::record::Intent;
use super::wire::{Fields, len32};
use super::{RecordId, RecordKind, VaultError};
use crate::time::UnixMs;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

const PADDING: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const ANCESTOR: u8 = 4;
const VAULT: u8 = 5;
const INTENT: u8 = 6;
const CLEAR: u8 = 7;
/// Operations from here on may be skipped by a reader that does not know them.
const FIRST_IGNORABLE: u8 = 0x80;
/// The length of an operation's head: its number and the length of its body.
pub(super) const OP_HEAD: usize = 5;
/// The length of the fixed fields of PUT.
pub(super) const PUT_FIXED: usize = 40;
/// Index plaintexts are filled up with zeros to a multiple of this.
pub(super) const INDEX_STEP: usize = 256;

/// One operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    Put(Put<'a>),
    Delete { id: RecordId, version: u64 },
    Ancestor { seq: u64, mac: [u8; 32], epoch: u32 },
    Vault(&'a [u8]),
    Intent(Intent),
    Clear { attempt: [u8; 16] },
    Ignored,
}

/// The body of PUT; `value_at` counts from the start of the frame's values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Put<'a> {
    pub id: RecordId,
    pub version: u64,
    pub kind: RecordKind,
    pub name: &'a str,
    pub meta: &'a [u8],
    pub value_at: u32,
    pub value_len: u32,
}

/// The operations of an index plaintext.
pub(super) struct Ops<'a> {
    fields: Fields<'a>,
}

/// Reads the operations of an index plaintext; `values_len` is the length of the frame's values.
pub(super) fn read(index: &[u8], values_len: u32) -> Result<Ops<'_>, VaultError> {
    if !index.len().is_multiple_of(INDEX_STEP) {
        return Err(VaultError::Corrupt("length of an index"));
    }
    check_ranges(index, values_len)?;
    Ok(Ops {
        fields: Fields(index),
    })
}

/// Checks an index plaintext by itself, as for fuzzing, and returns the number of operations.
pub fn check(index: &[u8], values_len: u32) -> Result<usize, VaultError> {
    let mut count = 0;
    for op in read(index, values_len)? {
        op?;
        count += 1;
    }
    Ok(count)
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        let code = self.fields.u8()?;
        if code == PADDING {
            let rest = std::mem::take(&mut self.fields.0);
            let clean = rest.iter().all(|byte| *byte == 0);
            return (!clean).then_some(Err(VaultError::Corrupt("padding of an index")));
        }
        let len = self.fields.u32().and_then(|len| usize::try_from(len).ok());
        let Some(body) = len.and_then(|len| self.fields.take(len)) else {
            self.fields.0 = &[];
            return Some(Err(VaultError::Corrupt("length of an operation")));
        };
        Some(parse(code, body))
    }
}

fn parse(code: u8, body: &[u8]) -> Result<Op<'_>, VaultError> {
    let mut fields = Fields(body);
    let op = match code {
        PUT => return parse_put(body).map(Op::Put),
        VAULT if body.len() > MAX_VAULT_META => {
            return Err(VaultError::Corrupt("vault metadata over its limit"));
        }
        VAULT => return Ok(Op::Vault(body)),
        DELETE => parse_delete(&mut fields),
        ANCESTOR => parse_ancestor(&mut fields),
        INTENT => parse_intent(&mut fields),
        CLEAR => parse_clear(&mut fields),
        FIRST_IGNORABLE.. => return Ok(Op::Ignored),
        _ => return Err(VaultError::Newer("an operation in the index")),
    };
    op.filter(|_| fields.is_empty())
        .ok_or(VaultError::Corrupt("length of an operation"))
}

fn parse_delete<'a>(fields: &mut Fields<'_>) -> Option<Op<'a>> {
    Some(Op::Delete {
        id: RecordId(fields.array()?),
        version: fields.u64()?,
    })
}

fn parse_ancestor<'a>(fields: &mut Fields<'_>) -> Option<Op<'a>> {
    Some(Op::Ancestor {
        seq: fields.u64()?,
        mac: fields.array()?,
        epoch: fields.u32()?,
    })
}

fn parse_intent<'a>(fields: &mut Fields<'_>) -> Option<Op<'a>> {
    Some(Op::Intent(Intent {
        id: RecordId(fields.array()?),
        base_version: fields.u64()?,
        attempt: fields.array()?,
        began_at: UnixMs(fields.u64()?),
        tag: fields.array()?,
    }))
}

fn parse_clear<'a>(fields: &mut Fields<'_>) -> Option<Op<'a>> {
    let attempt = fields.array()?;
    fields.u8()?;
    Some(Op::Clear { attempt })
}

/// The fixed fields of PUT, as they stand.
struct PutFields {
    id: [u8; 16],
    version: u64,
    kind: u8,
    flags: u8,
    name_len: u16,
    meta_len: u32,
    value_at: u32,
    value_len: u32,
}

fn parse_put_fields(fields: &mut Fields<'_>) -> Option<PutFields> {
    Some(PutFields {
        id: fields.array()?,
        version: fields.u64()?,
        kind: fields.u8()?,
        flags: fields.u8()?,
        name_len: fields.u16()?,
        meta_len: fields.u32()?,
        value_at: fields.u32()?,
        value_len: fields.u32()?,
    })
}

fn parse_put(body: &[u8]) -> Result<Put<'_>, VaultError> {
    let sizes = VaultError::Corrupt("length of an operation");
    let mut fields = Fields(body);
    let Some(fixed) = parse_put_fields(&mut fields) else {
        return Err(sizes);
    };
    if fixed.flags != 0 {
        return Err(VaultError::Corrupt("reserved flags of a record"));
    }
    let Some(kind) = RecordKind::from_code(fixed.kind) else {
        return Err(VaultError::Newer("a kind of record"));
    };
    let name_len = usize::from(fixed.name_len);
    if !(1..=MAX_NAME).contains(&name_len) {
        return Err(VaultError::Corrupt("length of a name"));
    }
    let meta_len = usize::try_from(fixed.meta_len).unwrap_or(usize::MAX);
    if meta_len > MAX_META {
        return Err(VaultError::Corrupt("metadata over its limit"));
    }
    let (Some(name), Some(meta)) = (fields.take(name_len), fields.take(meta_len)) else {
        return Err(sizes);
    };
    if !fields.is_empty() {
        return Err(sizes);
    }
    let name = std::str::from_utf8(name).map_err(|_| VaultError::Corrupt("a name's UTF-8"))?;
    if !is_json_object(meta) {
        return Err(VaultError::Corrupt("metadata is not a JSON object"));
    }
    Ok(Put {
        id: RecordId(fixed.id),
        version: fixed.version,
        kind,
        name,
        meta,
        value_at: fixed.value_at,
        value_len: fixed.value_len,
    })
}

/// Checks that the values of an index lie inside the frame's values and do not overlap. Writers
/// put them in order, so that nothing has to be sorted in practice.
fn check_ranges(index: &[u8], values_len: u32) -> Result<(), VaultError> {
    let mut last_end = 0;
    let mut in_order = true;
    for (value_at, value_len) in Ranges(Fields(index)) {
        let end = value_at.checked_add(value_len);
        let Some(end) = end.filter(|end| *end <= values_len) else {
            return Err(VaultError::Corrupt("a value outside its frame"));
        };
        let len = usize::try_from(value_len).unwrap_or(usize::MAX);
        if !(MIN_BLOB..=MAX_BLOB).contains(&len) {
            return Err(VaultError::Corrupt("length of a sealed value"));
        }
        in_order &= last_end <= value_at;
        last_end = end;
    }
    if in_order {
        return Ok(());
    }
    let mut ranges: Vec<_> = Ranges(Fields(index)).collect();
    ranges.sort_unstable();
    if ranges
        .windows(2)
        .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
    {
        Ok(())
    } else {
        Err(VaultError::Corrupt("two values overlap"))
    }
}

/// The places and lengths of the values that an index names, as far as it can be read; what can't
/// is refused when the operations are.
struct Ranges<'a>(Fields<'a>);

impl Iterator for Ranges<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        loop {
            let code = self.0.u8().filter(|code| *code != PADDING)?;
            let len = self.0.u32().and_then(|len| usize::try_from(len).ok())?;
            let body = self.0.take(len)?;
            if code == PUT {
                let put = parse_put_fields(&mut Fields(body))?;
                return Some((put.value_at, put.value_len));
            }
        }
    }
}

/// Appends PUT.
pub(super) fn write_put(out: &mut Vec<u8>, put: &Put<'_>) {
    out.push(PUT);
    out.extend(len32(PUT_FIXED + put.name.len() + put.meta.len()));
    out.extend(put.id.0);
    out.extend(put.version.to_le_bytes());
    out.push(put.kind.code());
    out.push(0);
    out.extend(
        u16::try_from(put.name.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    out.extend(len32(put.meta.len()));
    out.extend(put.value_at.to_le_bytes());
    out.extend(put.value_len.to_le_bytes());
    out.extend(put.name.as_bytes());
    out.extend(put.meta);
}

/// Appends DELETE.
pub(super) fn write_delete(out: &mut Vec<u8>, id: &RecordId, version: u64) {
    write_op(out, DELETE, &[&id.0, &version.to_le_bytes()]);
}

/// Appends ANCESTOR.
pub(super) fn write_ancestor(out: &mut Vec<u8>, seq: u64, mac: &[u8; 32], epoch: u32) {
    write_op(
        out,
        ANCESTOR,
        &[&seq.to_le_bytes(), mac, &epoch.to_le_bytes()],
    );
}

/// Appends VAULT.
pub(super) fn write_vault(out: &mut Vec<u8>, json: &[u8]) {
    write_op(out, VAULT, &[json]);
}

/// Appends INTENT.
pub(super) fn write_intent(out: &mut Vec<u8>, intent: &Intent) {
    let (base, began) = (
        intent.base_version.to_le_bytes(),
        intent.began_at.0.to_le_bytes(),
    );
    write_op(
        out,
        INTENT,
        &[&intent.id.0, &base, &intent.attempt, &began, &intent.tag],
    );
}

/// Appends CLEAR.
pub(super) fn write_clear(out: &mut Vec<u8>, attempt: &[u8; 16], outcome: u8) {
    write_op(out, CLEAR, &[attempt, &[outcome]]);
}

fn write_op(out: &mut Vec<u8>, code: u8, parts: &[&[u8]]) {
    out.push(code);
    out.extend(len32(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        out.extend(*part);
    }
}

/// True if the bytes are one JSON object, of a depth that a later parse will take.
fn is_json_object(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{') && serde_json::from_slice::<AnyJson>(bytes).is_ok()
}

/// Any JSON value, looked at and forgotten: checks metadata without building it.
struct AnyJson;

impl<'de> Deserialize<'de> for AnyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

impl<'de> Visitor<'de> for AnyJson {
    type Value = AnyJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_i64<E>(self, _: i64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_u64<E>(self, _: u64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_f64<E>(self, _: f64) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_str<E>(self, _: &str) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_unit<E>(self) -> Result<AnyJson, E> {
        Ok(AnyJson)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AnyJson, A::Error> {
        while items.next_element::<AnyJson>()?.is_some() {}
        Ok(AnyJson)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<AnyJson, A::Error> {
        while members.next_entry::<AnyJson, AnyJson>()?.is_some() {}
        Ok(AnyJson)
    }
}
