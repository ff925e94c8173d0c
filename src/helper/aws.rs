//! The output of an AWS `credential_process`, from a record that holds AWS keys in one of the forms
//! that people have them in: the JSON of the AWS CLI, or lines of a credentials file or of an
//! environment.

use super::records::Fetched;
use crate::document::extract;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::secret::SecretValue;
use crate::secret::json::{Part, build, write_object};

/// The names of the keys in AWS's JSON, in the order of [`LINE_NAMES`].
const NAMES: [&str; 4] = [
    "AccessKeyId",
    "SecretAccessKey",
    "SessionToken",
    "Expiration",
];
/// Their names in a credentials file and, in capitals, in the environment.
const LINE_NAMES: [&str; 4] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_credential_expiration",
];
/// Where AWS's commands put the keys: `credential_process` and `configure export-credentials`,
/// `sts`, `iam create-access-key`.
const WRAPPERS: [&str; 3] = ["", "/Credentials", "/AccessKey"];

/// The keys of a record in the form that AWS's programs read, one line. `expiry` is the end of the
/// record as RFC 3339, for keys that don't tell their own.
///
/// # Errors
/// `input.invalid` if the record holds no AWS keys; the message says in which forms they may come.
pub fn credentials(found: &Fetched, expiry: Option<&str>) -> Result<SecretValue, Failure> {
    let name = &found.info.name;
    let text = std::str::from_utf8(found.value.expose());
    let text = text.map_err(|_| no_keys(name, "it is not UTF-8"))?;
    let [id, secret, session, end] = match extract::shape(text) {
        extract::Shape::Object => from_json(text, name)?,
        _ => from_lines(text, name)?,
    };
    let id = id.ok_or_else(|| no_keys(name, "the access key id is missing"))?;
    let secret = secret.ok_or_else(|| no_keys(name, "the secret access key is missing"))?;
    let mut members = vec![
        ("Version", Part::Json("1")),
        (NAMES[0], Part::Secret("", &id)),
        (NAMES[1], Part::Secret("", &secret)),
    ];
    members.extend(
        session
            .as_ref()
            .map(|token| (NAMES[2], Part::Secret("", token))),
    );
    match (&end, expiry) {
        (Some(end), _) => members.push((NAMES[3], Part::Secret("", end))),
        (None, Some(end)) => members.push((NAMES[3], Part::Text(end))),
        (None, None) => {}
    }
    Ok(build(|sink| {
        write_object(&members, sink);
        sink(b"\n");
    }))
}

type Keys = [Option<SecretValue>; 4];

fn from_json(text: &str, name: &RecordName) -> Result<Keys, Failure> {
    let pointers = WRAPPERS.iter().flat_map(|wrapper| {
        let key = move |key: &&str| format!("{wrapper}/{key}");
        NAMES.iter().map(key)
    });
    let pointers: Vec<String> = pointers.collect();
    let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
    let found = extract::extract(text, &pointers).map_err(|place| {
        let (line, column) = (place.line, place.column);
        no_keys(
            name,
            &format!("it is not JSON: line {line}, column {column}"),
        )
    })?;
    let found: Vec<Option<SecretValue>> = found.into_iter().map(filled).collect();
    let mut groups = found.chunks_exact(NAMES.len());
    let group = groups
        .find(|group| group[0].is_some())
        .unwrap_or(&found[..4]);
    Ok(std::array::from_fn(|i| group[i].clone()))
}

fn filled(value: Result<SecretValue, extract::Miss>) -> Option<SecretValue> {
    value.ok().filter(|value| !value.is_empty())
}

fn from_lines(text: &str, name: &RecordName) -> Result<Keys, Failure> {
    let mut keys: Keys = Default::default();
    let mut sections = 0;
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        sections += usize::from(line.starts_with('['));
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let same = |known: &str| known.eq_ignore_ascii_case(key.trim());
        let value = unquoted(value.trim());
        if let Some(i) = LINE_NAMES.iter().position(|known| same(known))
            && !value.is_empty()
        {
            keys[i] = Some(SecretValue::copy_of(value.as_bytes()));
        }
    }
    if sections > 1 {
        return Err(no_keys(name, "it has more than one profile"));
    }
    Ok(keys)
}

/// A value without the pair of quotes around it that shells take away.
fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

fn no_keys(name: &RecordName, why: &str) -> Failure {
    let text = format!(
        "{name} holds no AWS keys: {why}; they may come as the JSON that the aws command prints, \
         or as lines aws_access_key_id=… and aws_secret_access_key=…"
    );
    Failure::new(Code::InputInvalid, text)
}

#[cfg(test)]
mod tests;
