//! What a provider's stdout means. Pure: bytes in, values out.

use super::{ExecError, PROTOCOL_VERSION};
use crate::document::extract::{self as json, Shape};
use crate::secret::{MAX_VALUE, SecretValue};
use std::collections::HashMap;

/// Checks in the family's order. The outer error concerns every id. With `json_only` off and
/// exactly one id, an output that is no JSON object is the value itself: the content of a JSON
/// string, else the text without the white space around it.
pub fn parse(
    alias: &str,
    ids: &[&str],
    stdout: &[u8],
    json_only: bool,
) -> Result<Vec<Result<SecretValue, ExecError>>, ExecError> {
    let owned = || alias.to_owned();
    let text = std::str::from_utf8(stdout)
        .map_err(|_| ExecError::InvalidJson { alias: owned() })?
        .trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.is_empty() {
        return Err(ExecError::Empty { alias: owned() });
    }
    let valid = json::check(text).is_ok();
    match (ids, json_only) {
        ([id], false) if !valid || json::shape(text) != Shape::Object => {
            let value = match json::shape(text) {
                Shape::Text if valid => json::unescape(text).ok(),
                _ => Some(SecretValue::copy_of(text.as_bytes())),
            };
            Ok(vec![fit(alias, id, value)])
        }
        _ if !valid => Err(ExecError::InvalidJson { alias: owned() }),
        _ if json::shape(text) != Shape::Object => Err(ExecError::NotObject { alias: owned() }),
        _ => protocol(alias, ids, text),
    }
}

/// An answer of the protocol; `text` is a valid JSON object.
fn protocol(
    alias: &str,
    ids: &[&str],
    text: &str,
) -> Result<Vec<Result<SecretValue, ExecError>>, ExecError> {
    let owned = || alias.to_owned();
    // Keys may have half of a surrogate pair, which only this look inside finds.
    let invalid = |_| ExecError::InvalidJson { alias: owned() };
    let keys = HashMap::from([("protocolVersion", 0), ("values", 1), ("errors", 2)]);
    let parts = json::members(text, &keys).map_err(invalid)?;
    let version = parts[0].and_then(|version| version.parse::<f64>().ok());
    if version != Some(f64::from(PROTOCOL_VERSION)) {
        return Err(ExecError::Version { alias: owned() });
    }
    let object = |part: Option<&str>| part.is_some_and(|text| json::shape(text) == Shape::Object);
    let Some(values) = parts[1].filter(|values| object(Some(values))) else {
        return Err(ExecError::NoValues { alias: owned() });
    };
    // An id may stand twice in the list.
    let mut wanted = HashMap::new();
    for id in ids {
        let next = wanted.len();
        wanted.entry(*id).or_insert(next);
    }
    let values = json::members(values, &wanted).map_err(invalid)?;
    let errors = match parts[2].filter(|errors| object(Some(errors))) {
        Some(errors) => json::members(errors, &wanted).map_err(invalid)?,
        None => vec![None; wanted.len()],
    };
    let answer = |id: &&str| {
        let place = wanted[*id];
        match (errors[place], values[place]) {
            (Some(error), _) => Err(failed(alias, id, error)),
            (None, Some(value)) => fit(alias, id, json::unescape(value).ok()),
            (None, None) => Err(ExecError::MissingId {
                alias: owned(),
                id: (*id).to_owned(),
            }),
        }
    };
    Ok(ids.iter().map(answer).collect())
}

fn fit(alias: &str, id: &str, value: Option<SecretValue>) -> Result<SecretValue, ExecError> {
    let (alias, id) = (alias.to_owned(), id.to_owned());
    match value {
        Some(value) if value.len() > MAX_VALUE => Err(ExecError::ValueTooLarge { alias, id }),
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) | None => Err(ExecError::NotText { alias, id }),
    }
}

/// Only two codes are repeated; any other text of the provider may hold a secret.
fn failed(alias: &str, id: &str, error: &str) -> ExecError {
    let (alias, id) = (alias.to_owned(), id.to_owned());
    let code = if json::shape(error) == Shape::Object {
        json::members(error, &HashMap::from([("code", 0)]))
            .ok()
            .and_then(|parts| parts[0])
    } else {
        None
    };
    match code {
        Some("\"NOT_FOUND\"") => ExecError::NotFound { alias, id },
        Some("\"AMBIGUOUS_DUPLICATE_KEY\"") => ExecError::Ambiguous { alias, id },
        Some(_) | None => ExecError::Failed { alias, id },
    }
}
