//! The protocol of Docker's credential helpers: one operation, JSON or an address on stdin, JSON or
//! the text of an error on stdout.
//!
//! A secret is the value of the record `docker/ADDRESS/USER`, the address in its segments
//! (`docker/ghcr.io/alice`, `docker/https:/#/index.docker.io/v1/#/alice`). An address has one
//! credential: storing another user's replaces it.

use super::records;
use crate::document::extract;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::service::Service;
use crate::secret::SecretValue;
use crate::secret::json::{Part, build, write_object};
use crate::time::UnixMs;
use std::io::Read;

/// The largest input in bytes.
pub const MAX_INPUT: usize = 256 << 10;
/// What Docker takes for "there is none": the text is part of the protocol.
pub const NOT_FOUND: &str = "credentials not found in native keychain";
/// What Docker takes for "no address was given", likewise.
pub const NO_ADDRESS: &str = "no credentials server URL";
/// What Docker takes for "no user was given", likewise.
pub const NO_USER: &str = "no credentials username";

const PREFIX: &str = "docker/";

/// Reads an address from stdin.
///
/// # Errors
/// `input.invalid` with [`NO_ADDRESS`] if there is none; `input.too_large` over [`MAX_INPUT`].
pub fn read_address(input: &mut dyn Read) -> Result<String, Failure> {
    let bytes = read(input)?;
    let text = std::str::from_utf8(bytes.expose())
        .unwrap_or_default()
        .trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(invalid(NO_ADDRESS));
    }
    Ok(text.to_owned())
}

fn read(input: &mut dyn Read) -> Result<SecretValue, Failure> {
    let mut input = input;
    SecretValue::read_from(&mut input, MAX_INPUT)
        .map_err(|error| invalid(format!("the request can't be read: {error}")))?
        .ok_or_else(|| {
            let text = format!("the request is larger than {MAX_INPUT} bytes");
            Failure::new(Code::InputTooLarge, text)
        })
}

/// The credential of an address.
///
/// # Errors
/// `record.absent` with [`NOT_FOUND`]; `record.expired`; `input.invalid` if it
/// is no text; what the vault says.
pub fn get(address: &str, now: UnixMs, vault: &mut dyn Service) -> Result<SecretValue, Failure> {
    let newest = records_of(address, vault)?.into_iter().next();
    let found = match newest {
        Some((user, name)) => records::fetch(vault, &name)?.map(|found| (user, found)),
        None => None,
    };
    let (user, found) = found.ok_or_else(|| Failure::new(Code::RecordAbsent, NOT_FOUND))?;
    found.check_expiry(now)?;
    if std::str::from_utf8(found.value.expose()).is_err() {
        let why = format!("the value of {} is not UTF-8", found.info.name);
        return Err(invalid(why));
    }
    Ok(build(|sink| {
        let members = [
            ("ServerURL", Part::Text(address)),
            ("Username", Part::Text(&user)),
            ("Secret", Part::Secret("", &found.value)),
        ];
        write_object(&members, sink);
        sink(b"\n");
    }))
}

/// Keeps the credential that stands in the request.
///
/// # Errors
/// `input.invalid` if it is no credential; `name.invalid` if address and user are too long; what
/// the vault says.
pub fn store(input: &mut dyn Read, vault: &mut dyn Service) -> Result<(), Failure> {
    let request = read(input)?;
    let text = std::str::from_utf8(request.expose());
    let text = text.map_err(|_| invalid("the request is not UTF-8"))?;
    let pointers = ["/ServerURL", "/Username", "/Secret"];
    let mut members = extract::extract(text, &pointers)
        .map_err(|place| {
            let (line, column) = (place.line, place.column);
            invalid(format!(
                "the request is not JSON: line {line}, column {column}"
            ))
        })?
        .into_iter()
        .map(Result::ok);
    let mut member = || members.next().flatten().filter(|value| !value.is_empty());
    let (address, user, secret) = (member(), member(), member());
    let address = plain(address).ok_or_else(|| invalid(NO_ADDRESS))?;
    let user = plain(user).ok_or_else(|| invalid(NO_USER))?;
    let secret = secret.ok_or_else(|| invalid("no credentials secret"))?;
    let name = record(&address, &user)?;
    records::keep(vault, name.clone(), secret, None)?;
    forget(&address, Some(&name), vault)
}

fn plain(value: Option<SecretValue>) -> Option<String> {
    let text = std::str::from_utf8(value.as_ref()?.expose()).ok()?.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Forgets the credential of an address; that there is none is no error, as Docker tries several
/// spellings of one address.
///
/// # Errors
/// What the vault says.
pub fn erase(address: &str, vault: &mut dyn Service) -> Result<(), Failure> {
    forget(address, None, vault)
}

fn forget(address: &str, but: Option<&RecordName>, vault: &mut dyn Service) -> Result<(), Failure> {
    for (_, name) in records_of(address, vault)? {
        if Some(&name) == but {
            continue;
        }
        if let Some(found) = records::fetch(vault, &name)?
            && found.is_the_programs()
        {
            records::forget(vault, &found)?;
        }
    }
    Ok(())
}

/// The user of each address.
///
/// # Errors
/// What the vault says.
pub fn list(
    vault: &mut dyn Service,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let mut users = serde_json::Map::new();
    for record in records::list(vault, PREFIX)? {
        if let Some((address, user)) = parse(&record.name) {
            users.entry(address).or_insert(user.into());
        }
    }
    Ok(users)
}

fn record(address: &str, user: &str) -> Result<RecordName, Failure> {
    let mut name = prefix(address);
    records::segment(&mut name, user);
    records::record(&name)
}

fn prefix(address: &str) -> String {
    let mut name = PREFIX.to_owned();
    for part in address.split('/') {
        records::segment(&mut name, part);
        name.push('/');
    }
    name
}

/// The address and the user of a record; `None` for one that was not named by [`record`].
fn parse(name: &RecordName) -> Option<(String, String)> {
    let (address, user) = name.as_str().strip_prefix(PREFIX)?.rsplit_once('/')?;
    let parts: Option<Vec<String>> = address.split('/').map(records::part).collect();
    // A slash inside a part is one that the address did not have.
    let parts = parts.filter(|parts| !parts.iter().any(|part| part.contains('/')))?;
    Some((parts.join("/"), records::part(user)?))
}

/// The users and records of an address, the newest first.
fn records_of(
    address: &str,
    vault: &mut dyn Service,
) -> Result<Vec<(String, RecordName)>, Failure> {
    let there = records::list(vault, &prefix(address))?;
    let parsed = there.into_iter().filter_map(|record| {
        let (theirs, user) = parse(&record.name)?;
        (theirs == address).then_some((user, record.name))
    });
    Ok(parsed.collect())
}

fn invalid(why: impl Into<String>) -> Failure {
    Failure::new(Code::InputInvalid, why)
}

#[cfg(test)]
mod tests;
