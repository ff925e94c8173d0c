//! The records in which other programs keep their credentials: names, reading, writing.
//!
//! A record is named after what the program asks for (`git/https/github.com/alice`). Each part is
//! one segment, escaped by [`segment`]; the escape is injective, so two questions never share a
//! record, and a record that a person named otherwise is never taken for one of these.

use crate::error::{Code, Failure, Kind};
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request, Service};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::vault::{Expect, Meta, RecordInfo, RecordKind};

/// Appends a part of a name as one segment: letters, digits and `. - _ :` stand for themselves
/// (but no `.` in front), every other byte is `#` and two hex digits, nothing at all is `#`.
pub fn segment(name: &mut String, part: &str) {
    if part.is_empty() {
        name.push('#');
    }
    for (i, byte) in part.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_:".contains(&byte) || (byte == b'.' && i > 0) {
            name.push(char::from(byte));
        } else {
            name.push('#');
            for nibble in [byte >> 4, byte & 15] {
                name.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
    }
}

/// The part that a segment stands for; `None` if [`segment`] would not have written it so.
pub fn part(segment_text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment_text.len());
    let mut rest = segment_text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'#' && segment_text.len() > 1 {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.extend((*first != b'#').then_some(*first));
            rest = after;
        }
    }
    let part = String::from_utf8(bytes).ok()?;
    let mut again = String::with_capacity(segment_text.len());
    segment(&mut again, &part);
    (again == segment_text).then_some(part)
}

/// The record with this name.
///
/// # Errors
/// `name.invalid` if it is longer than a record's name may be.
pub fn record(name: &str) -> Result<RecordName, Failure> {
    name.parse().map_err(|_| {
        let most = crate::name::MAX_RECORD_NAME;
        let why = format!("its record would need a name of more than {most} bytes");
        Failure::new(Code::NameInvalid, why)
    })
}

/// A record with its value.
pub struct Fetched {
    /// All but the value. The expiry is that of the value: of an account, that of its access token.
    pub info: RecordInfo,
    /// The value: of an account, a fresh access token.
    pub value: SecretValue,
}

impl Fetched {
    /// When the value ends, if that is known.
    pub fn expires_at(&self) -> Option<UnixMs> {
        self.info.meta.expires_at
    }

    /// True if a program may replace or remove it: an account is only signed out by a person.
    pub fn is_the_programs(&self) -> bool {
        self.info.kind != RecordKind::OAuth
    }

    /// An error if the value has ended.
    pub fn check_expiry(&self, now: UnixMs) -> Result<(), Failure> {
        match self.expires_at() {
            Some(at) if at <= now => {
                let why = format!("the value of {} has expired", self.info.name);
                Err(Failure::new(Code::RecordExpired, why))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a record; `None` if there is none of that name.
pub fn fetch(vault: &mut dyn Service, name: &RecordName) -> Result<Option<Fetched>, Failure> {
    let request = Request::Get {
        name: name.clone(),
        version: None,
    };
    let mut info = match vault.call(request, Vec::new()) {
        Err(failure) if failure.kind() == Kind::Absent => return Ok(None),
        Err(failure) => return Err(failure),
        Ok(mut answer) => match (answer.reply, answer.secrets.pop()) {
            (Reply::Value(info), Some(value)) if info.kind != RecordKind::OAuth => {
                return Ok(Some(Fetched { info, value }));
            }
            (Reply::Value(info), Some(_)) => info,
            _ => return Err(wrong_kind()),
        },
    };
    let request = Request::Token {
        name: name.clone(),
        min_ttl_ms: 0,
        force: false,
    };
    let mut answer = vault.call(request, Vec::new())?;
    match (answer.reply, answer.secrets.pop()) {
        (Reply::Token(token), Some(value)) => {
            info.meta.expires_at = token.expires_at;
            Ok(Some(Fetched { info, value }))
        }
        _ => Err(wrong_kind()),
    }
}

/// The records whose names start with `prefix`, the newest value first.
pub fn list(vault: &mut dyn Service, prefix: &str) -> Result<Vec<RecordInfo>, Failure> {
    let request = Request::ListUnder {
        prefix: prefix.to_owned(),
    };
    let Reply::Records(mut records) = vault.call(request, Vec::new())?.reply else {
        return Err(wrong_kind());
    };
    records.sort_by_key(|record| std::cmp::Reverse(record.meta.created_at));
    Ok(records)
}

/// Writes a value that a program wants to keep. A record that holds it already is left as it is:
/// programs store again what they were given. So is an account.
pub fn keep(
    vault: &mut dyn Service,
    name: RecordName,
    value: SecretValue,
    expires_at: Option<UnixMs>,
) -> Result<(), Failure> {
    let (kind, meta) = match fetch(vault, &name)? {
        None => (RecordKind::Static, Meta::default()),
        Some(there) if !there.is_the_programs() => return Ok(()),
        Some(there) => {
            let same_end = expires_at.is_none() || expires_at == there.expires_at();
            if there.value == value && same_end {
                return Ok(());
            }
            (there.info.kind, there.info.meta)
        }
    };
    let request = Request::Put {
        name,
        kind,
        meta: Meta { expires_at, ..meta },
        expect: Expect::Any,
    };
    vault.call(request, vec![value]).map(drop)
}

/// Removes a record as it was read. One that changed meanwhile stays.
pub fn forget(vault: &mut dyn Service, there: &Fetched) -> Result<(), Failure> {
    let request = Request::Remove {
        name: there.info.name.clone(),
        expect: Expect::Version(there.info.version),
    };
    match vault.call(request, Vec::new()) {
        Err(failure) if matches!(failure.kind(), Kind::Absent | Kind::Stale) => Ok(()),
        other => other.map(drop),
    }
}

fn wrong_kind() -> Failure {
    Failure::new(Code::Bug, "the answer is of the wrong kind")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str) -> String {
        let mut name = String::new();
        segment(&mut name, text);
        name
    }

    fn is_name(segment: &str) -> bool {
        record(&format!("git/{segment}")).is_ok()
    }

    #[test]
    fn parts_read_well() {
        assert_eq!(escaped("git.example:8443"), "git.example:8443");
        assert_eq!(escaped("me@example.com"), "me#40example.com");
        assert_eq!(escaped(".."), "#2e.");
        assert_eq!(escaped(""), "#");
        assert_eq!(escaped("#"), "#23");
        assert_eq!(escaped("ä/b"), "#c3#a4#2fb");
    }

    #[test]
    fn a_value_is_good_up_to_its_end() {
        let fetched = |expires_at| Fetched {
            info: RecordInfo {
                name: record("git/https/h/u").unwrap(),
                kind: RecordKind::Static,
                version: 1,
                meta: Meta {
                    expires_at,
                    ..Meta::default()
                },
            },
            value: SecretValue::copy_of(b"v"),
        };
        assert!(fetched(None).check_expiry(UnixMs(9)).is_ok());
        assert!(fetched(Some(UnixMs(9))).check_expiry(UnixMs(8)).is_ok());
        let failure = fetched(Some(UnixMs(9)))
            .check_expiry(UnixMs(9))
            .unwrap_err();
        assert_eq!(failure.code, Code::RecordExpired);
        assert_eq!(failure.message, "the value of git/https/h/u has expired");
    }

    #[test]
    fn what_the_escape_does_not_write_is_no_part() {
        for text in ["#41", "a#", "#2E.", "..", "a b", "#zz", "#ff", "##", "a/b"] {
            assert_eq!(part(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_comes_back(text in any::<String>()) {
            let segment = escaped(&text);
            prop_assert_eq!(part(&segment), Some(text));
            prop_assert!(!segment.contains('/'));
            prop_assert!(segment.len() > 200 || is_name(&segment));
        }

        #[test]
        fn a_segment_comes_back(text in "[a-c.:#0-9_-]{0,5}") {
            if let Some(part) = part(&text) {
                prop_assert_eq!(escaped(&part), text);
            }
        }
    }
}
