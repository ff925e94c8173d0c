//! git's credential helper protocol (gitcredentials(7), git-credential(1)): attributes, a line
//! each, on stdin and stdout.
//!
//! A password is the value of the record `git/PROTOCOL/HOST/USER`, with the segments of the path
//! behind it if git sends one (`credential.useHttpPath`). A question without a path never finds a
//! password that was kept for one, and the other way round.
//!
//! Invariants: attributes that are not known are ignored, as the protocol asks; nothing with a line
//! end or NUL in it is written, so that no value can pass for another attribute; an account of the
//! vault is handed out but never written or removed by git.

use super::records::{self, Fetched};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::service::Service;
use crate::secret::SecretValue;
use crate::secret::json::build;
use crate::time::UnixMs;
use std::io::Read;

/// The largest input in bytes; git's own lines are short but for a password that is a long token.
pub const MAX_INPUT: usize = 256 << 10;

/// What git asks for, or tells.
#[derive(Debug)]
pub struct Question {
    protocol: String,
    host: String,
    path: Option<String>,
    username: Option<String>,
    password: Option<SecretValue>,
    expires_at: Option<UnixMs>,
}

impl Question {
    /// Reads attributes up to an empty line or the end.
    ///
    /// # Errors
    /// `input.too_large` over [`MAX_INPUT`]; `input.invalid` with the number of the line, or the
    /// name of the attribute that is missing or not acceptable.
    pub fn read(input: &mut dyn Read) -> Result<Self, Failure> {
        let mut input = input;
        let bytes = SecretValue::read_from(&mut input, MAX_INPUT)
            .map_err(|error| invalid(format!("git's question can't be read: {error}")))?
            .ok_or_else(|| {
                let text = format!("git's question is larger than {MAX_INPUT} bytes");
                Failure::new(Code::InputTooLarge, text)
            })?;
        Self::parse(&bytes)
    }

    /// Parses what [`Question::read`] has read.
    pub fn parse(input: &SecretValue) -> Result<Self, Failure> {
        let bytes = input.expose();
        let mut found = Attributes::default();
        let mut start = 0;
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let here = start;
            start += line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
                return Err(invalid(format!("line {number} is not NAME=VALUE")));
            };
            let value = here + equals + 1..here + line.len();
            found.take(&line[..equals], input, value)?;
        }
        let protocol = found.protocol.filter(|protocol| !protocol.is_empty());
        Ok(Self {
            protocol: protocol.ok_or_else(|| invalid("the attribute protocol is missing"))?,
            host: found.host.unwrap_or_default(),
            path: found.path.filter(|path| !path.is_empty()),
            username: found.username,
            password: found.password,
            expires_at: found.expires_at,
        })
    }

    /// True if it is about this place: a protocol and a host, with its port if it has one.
    pub fn is_about(&self, place: &Place) -> bool {
        self.protocol == place.protocol && self.host.eq_ignore_ascii_case(&place.host)
    }

    /// The user that git names.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    fn prefix(&self) -> String {
        let mut name = String::from("git/");
        records::segment(&mut name, &self.protocol);
        name.push('/');
        records::segment(&mut name, &self.host);
        name.push('/');
        name
    }

    fn record(&self, username: &str) -> Result<RecordName, Failure> {
        let mut name = self.prefix();
        records::segment(&mut name, username);
        for part in self.path.iter().flat_map(|path| path.split('/')) {
            name.push('/');
            records::segment(&mut name, part);
        }
        records::record(&name)
    }

    /// The user whose password for this place and path a record holds.
    fn user_of(&self, name: &RecordName) -> Option<String> {
        let rest = name.as_str().strip_prefix(&self.prefix())?;
        let user = records::part(rest.split('/').next()?)?;
        (self.record(&user).ok()? == *name).then_some(user)
    }

    /// The records that may be meant, the newest first.
    fn matching(&self, vault: &mut dyn Service) -> Result<Vec<(String, RecordName)>, Failure> {
        if let Some(user) = &self.username {
            return Ok(vec![(user.clone(), self.record(user)?)]);
        }
        let there = records::list(vault, &self.prefix())?;
        let users = there
            .into_iter()
            .filter_map(|record| Some((self.user_of(&record.name)?, record.name)));
        Ok(users.collect())
    }
}

/// The attributes that are known.
#[derive(Default)]
struct Attributes {
    protocol: Option<String>,
    host: Option<String>,
    path: Option<String>,
    username: Option<String>,
    password: Option<SecretValue>,
    expires_at: Option<UnixMs>,
}

impl Attributes {
    /// Takes one in; the last of equal names counts, as for git.
    fn take(
        &mut self,
        name: &[u8],
        input: &SecretValue,
        value: std::ops::Range<usize>,
    ) -> Result<(), Failure> {
        let name = match std::str::from_utf8(name) {
            Ok(name) => name,
            Err(_) => return Ok(()),
        };
        let bytes = &input.expose()[value.clone()];
        let text = || {
            let plain = !bytes.iter().any(u8::is_ascii_control);
            let text = std::str::from_utf8(bytes).ok().filter(|_| plain);
            let why = || invalid(format!("the attribute {name} is not plain UTF-8"));
            text.map(str::to_owned).ok_or_else(why)
        };
        match name {
            "protocol" => self.protocol = Some(text()?),
            "host" => self.host = Some(text()?),
            "path" => self.path = Some(text()?),
            "username" => self.username = Some(text()?),
            "password" => self.password = Some(input.slice(value)),
            "password_expiry_utc" => {
                let seconds = text()?.parse().ok();
                let ms = seconds.and_then(|seconds: u64| seconds.checked_mul(1000));
                let why = || invalid("the attribute password_expiry_utc is no time");
                self.expires_at = Some(UnixMs(ms.ok_or_else(why)?));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A protocol and a host, such as `https://git.example:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    protocol: String,
    host: String,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("://");
        let parts = parts.map(|(protocol, host)| (protocol, host.trim_end_matches('/')));
        let plain = |text: &str| !text.is_empty() && !text.contains(['/', '@', '?', '#', ' ']);
        match parts.filter(|(protocol, host)| plain(protocol) && plain(host)) {
            Some((protocol, host)) => Ok(Self {
                protocol: protocol.to_owned(),
                host: host.to_owned(),
            }),
            None => Err("a place is PROTOCOL://HOST, such as https://github.com".to_owned()),
        }
    }
}

/// The password that was asked for, as git's answer; `None` if the vault has none. One that has
/// ended is passed over: git would not use it.
///
/// # Errors
/// What the vault says; as [`answer`].
pub fn get(
    question: &Question,
    now: UnixMs,
    vault: &mut dyn Service,
) -> Result<Option<SecretValue>, Failure> {
    for (user, name) in question.matching(vault)? {
        match records::fetch(vault, &name)? {
            Some(found) if found.check_expiry(now).is_ok() => {
                let password = (&found.value, found.expires_at());
                return answer(&user, password.0, password.1, name.as_str()).map(Some);
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Keeps the password that git says is right. A question without user or password keeps nothing.
///
/// # Errors
/// What the vault says; `name.invalid` if host, user and path are too long.
pub fn store(question: Question, vault: &mut dyn Service) -> Result<(), Failure> {
    let name = question.username.as_ref().map(|user| question.record(user));
    match (name, question.password) {
        (Some(name), Some(password)) if !password.is_empty() => {
            records::keep(vault, name?, password, question.expires_at)
        }
        _ => Ok(()),
    }
}

/// Forgets the password that git says is wrong: only the very one, if git tells it.
///
/// # Errors
/// What the vault says.
pub fn erase(question: &Question, vault: &mut dyn Service) -> Result<(), Failure> {
    for (_, name) in question.matching(vault)? {
        let Some(found) = records::fetch(vault, &name)? else {
            continue;
        };
        let meant = |found: &Fetched| match &question.password {
            Some(password) => *password == found.value,
            None => true,
        };
        if found.is_the_programs() && meant(&found) {
            records::forget(vault, &found)?;
        }
    }
    Ok(())
}

/// A user and a password in git's form, in locked memory. `origin` is where the password came from.
///
/// # Errors
/// `input.invalid` if one of them has a line end or NUL in it, which git's protocol can't carry.
pub fn answer(
    username: &str,
    password: &SecretValue,
    expires_at: Option<UnixMs>,
    origin: &str,
) -> Result<SecretValue, Failure> {
    let broken = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
    if broken(username.as_bytes()) || broken(password.expose()) {
        let why = format!("{origin} has a line end or NUL in it, which git can't be given");
        return Err(invalid(why));
    }
    let end = expires_at.map(|at| format!("password_expiry_utc={}\n", at.0 / 1000));
    Ok(build(|sink| {
        sink(b"username=");
        sink(username.as_bytes());
        sink(b"\npassword=");
        sink(password.expose());
        sink(b"\n");
        sink(end.as_deref().unwrap_or_default().as_bytes());
    }))
}

fn invalid(why: impl Into<String>) -> Failure {
    Failure::new(Code::InputInvalid, why)
}

#[cfg(test)]
mod tests;
