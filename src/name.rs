//! Names that can't be wrong: records, agents, profiles, provider aliases.
//!
//! Each type is made only by its parser, so a name that exists is a name that is allowed.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// The longest record name in bytes; the exec protocol's id pattern allows no more.
pub const MAX_RECORD_NAME: usize = 256;
/// The longest profile id in bytes. Its record name (see [`RecordName::for_profile`]) may be up to
/// three times as long, which still has to fit [`MAX_RECORD_NAME`].
pub const MAX_PROFILE_ID: usize = 256;
/// The longest agent id in bytes.
pub const MAX_AGENT_ID: usize = 64;
/// The longest provider alias in bytes.
pub const MAX_ALIAS: usize = 64;

/// Why a name was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a record name.
    #[error(
        "a record name starts with a letter or digit, has only letters, digits and . _ : / # -, \
         at most 256 of them, and no segment . or .."
    )]
    Record,
    /// Not a profile id.
    #[error("a profile id is PROVIDER:NAME, without control characters, at most 256 bytes")]
    Profile,
    /// Not an agent id.
    #[error(
        "an agent id has only a-z, 0-9, _ and -, starts with a letter or digit, and is at most 64 \
         long"
    )]
    Agent,
    /// Not a provider alias.
    #[error("a provider alias matches [a-z][a-z0-9_-]{{0,63}}")]
    Alias,
}

impl crate::error::Coded for NameError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::NameInvalid
    }
}
crate::error::failure_from!(NameError);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type! {
    /// The name of a record: `^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}$` with no `.` or `..` segment.
    RecordName
}
name_type! {
    /// The id of an auth profile, `provider:name`.
    ProfileId
}
name_type! {
    /// The id of an agent, the name of its folder under `agents/`.
    AgentId
}
name_type! {
    /// The alias of a configured source provider, `^[a-z][a-z0-9_-]{0,63}$`.
    Alias
}

/// True if `text` fits the exec protocol's id pattern, which is also that of record names.
pub fn is_exec_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first_ok = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let rest_ok = bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"._:/#-".contains(b));
    let segments_ok = text
        .split('/')
        .all(|segment| segment != "." && segment != "..");
    first_ok && rest_ok && segments_ok && bytes.len() <= MAX_RECORD_NAME
}

impl FromStr for RecordName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_exec_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Record)
        }
    }
}

impl RecordName {
    /// The record that holds the secret of a profile: `provider/name`, every other byte than
    /// `A-Z a-z 0-9 . - _` written as `#` and two lower-case hex digits, in both parts. The escape
    /// is injective: `#` itself is always escaped and `/` separates exactly the two parts.
    pub fn for_profile(profile: &ProfileId) -> Result<Self, NameError> {
        let (provider, name) = (profile.provider(), profile.name());
        let mut text = String::with_capacity(profile.as_str().len() + 16);
        escape_into(&mut text, provider);
        text.push('/');
        escape_into(&mut text, name);
        text.parse()
    }
}

impl RecordName {
    /// The record that holds the secret of an agent's profile: as [`RecordName::for_profile`] for
    /// the agent main, and `agents/AGENT/PROVIDER/NAME` for any other. Two profiles of one state
    /// folder never share a name: the first form has one `/`, this one three.
    pub fn for_agent_profile(agent: &AgentId, profile: &ProfileId) -> Result<Self, NameError> {
        if *agent == AgentId::main() {
            return Self::for_profile(profile);
        }
        Self::of_parts(
            "agents",
            [agent.as_str(), profile.provider(), profile.name()],
        )
    }

    /// The record that holds the secret of a place in a config: `config/`, then the keys of its
    /// path with the same escape, `/` between them. A path has two keys at least, so the name is
    /// never that of a profile.
    pub fn for_config_path<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, NameError> {
        Self::of_parts("config", keys)
    }

    /// The same name below another one: `PREFIX/NAME`.
    ///
    /// # Errors
    /// If it is too long then.
    pub fn below(&self, prefix: &RecordName) -> Result<Self, NameError> {
        format!("{prefix}/{self}").parse()
    }

    /// The record that holds the tokens of an MCP server: `mcp/SCHEME/REST`, its base URL in two
    /// parts with the same escape.
    pub fn for_mcp(scheme: &str, rest: &str) -> Result<Self, NameError> {
        Self::of_parts("mcp", [scheme, rest])
    }

    /// The record that holds the token set of a program's own provider: `tokens/PROVIDER_ID`, with
    /// the same escape.
    pub fn for_tokens(provider_id: &str) -> Result<Self, NameError> {
        Self::of_parts("tokens", [provider_id])
    }

    fn of_parts<'a>(
        first: &str,
        parts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, NameError> {
        let mut text = first.to_owned();
        for part in parts {
            if part.is_empty() {
                return Err(NameError::Record);
            }
            text.push('/');
            escape_into(&mut text, part);
        }
        text.parse()
    }
}

/// Escapes one part of a profile id. A part that is only dots would be a forbidden segment, and a
/// part that starts with something else than a letter or digit a forbidden first character, so
/// their first character is escaped too; but `#` can't start a name, hence the `x` before it.
fn escape_into(out: &mut String, part: &str) {
    for (i, byte) in part.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || (i > 0 && b".-_".contains(&byte));
        if plain {
            out.push(char::from(byte));
        } else {
            if out.is_empty() {
                out.push_str("x#");
            }
            out.push('#');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
    }
}

impl FromStr for ProfileId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts = text.split_once(':');
        let parts_ok =
            parts.is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty());
        let bytes_ok = !text.chars().any(char::is_control) && text.trim() == text;
        if parts_ok && bytes_ok && text.len() <= MAX_PROFILE_ID {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Profile)
        }
    }
}

impl ProfileId {
    /// The part before the first colon.
    pub fn provider(&self) -> &str {
        self.0
            .split_once(':')
            .map_or(&self.0, |(provider, _)| provider)
    }

    /// The part after the first colon.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, name)| name)
    }
}

impl FromStr for AgentId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let first_ok = text.as_bytes().first().is_some_and(lower);
        let rest_ok = text.bytes().all(|b| lower(&b) || b == b'_' || b == b'-');
        if first_ok && rest_ok && text.len() <= MAX_AGENT_ID {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Agent)
        }
    }
}

impl AgentId {
    /// The agent that commands act for when none is named.
    pub fn main() -> Self {
        Self("main".to_owned())
    }
}

impl FromStr for Alias {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let first_ok = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let rest_ok = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first_ok && rest_ok && text.len() <= MAX_ALIAS {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Alias)
        }
    }
}

impl Alias {
    /// The alias that a ref without one means.
    pub fn default_alias() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn record_names() {
        for good in [
            "a",
            "openai/default",
            "a.b:c#d-e_f/g",
            "op://x",
            "a..b",
            &"a".repeat(256),
        ] {
            assert!(good.parse::<RecordName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "_a",
            "/a",
            "a b",
            "a@b",
            "a/../b",
            "a/.",
            "a+b",
            "a=b",
            "ä",
            &"a".repeat(257),
        ] {
            assert_eq!(bad.parse::<RecordName>(), Err(NameError::Record), "{bad}");
        }
    }

    #[test]
    fn names_of_profiles_agents_and_aliases() {
        let long = |len: usize| format!("a:{}", "b".repeat(len - 2));
        for good in ["a:b", "A b:c d:e", "ä:@", &long(MAX_PROFILE_ID)] {
            let id: ProfileId = good.parse().unwrap();
            assert_eq!(format!("{}:{}", id.provider(), id.name()), good);
        }
        for bad in [
            "",
            "a",
            ":",
            ":b",
            "a:",
            " a:b",
            "a:b ",
            "a:\nb",
            &long(MAX_PROFILE_ID + 1),
        ] {
            assert_eq!(bad.parse::<ProfileId>(), Err(NameError::Profile), "{bad}");
        }
        for good in ["a", "0", "a_b-1", &"a".repeat(MAX_AGENT_ID)] {
            assert_eq!(good.parse::<AgentId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "_a",
            "-a",
            "A",
            "aB",
            "a.b",
            "a b",
            &"a".repeat(MAX_AGENT_ID + 1),
        ] {
            assert_eq!(bad.parse::<AgentId>(), Err(NameError::Agent), "{bad}");
        }
        for good in ["a", "a0_b-", &"a".repeat(MAX_ALIAS)] {
            assert_eq!(good.parse::<Alias>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "0a",
            "_a",
            "A",
            "aB",
            "a.b",
            "a b",
            &"a".repeat(MAX_ALIAS + 1),
        ] {
            assert_eq!(bad.parse::<Alias>(), Err(NameError::Alias), "{bad}");
        }
    }

    #[test]
    fn records_of_profiles() {
        let name = |id: &str| {
            RecordName::for_profile(&id.parse().unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(name("openai:default"), "openai/default");
        assert_eq!(
            name("anthropic:me@example.com"),
            "anthropic/me#40example.com"
        );
        assert_eq!(name("a:b:c"), "a/b#3ac");
        assert_eq!(name("a:.."), "a/#2e.");
        assert_eq!(name("_a:b"), "x##5fa/b");
    }

    #[test]
    fn records_of_other_agents_and_of_config_paths() {
        let profile: ProfileId = "openai:default".parse().unwrap();
        let of = |agent: &str| {
            RecordName::for_agent_profile(&agent.parse().unwrap(), &profile).map(|n| n.to_string())
        };
        assert_eq!(of("main").as_deref(), Ok("openai/default"));
        assert_eq!(of("coder").as_deref(), Ok("agents/coder/openai/default"));
        let path = |keys: &[&str]| RecordName::for_config_path(keys.iter().copied());
        let name = path(&["models", "providers", "a.b_c", "apiKey"]).unwrap();
        assert_eq!(name.as_str(), "config/models/providers/a.b_c/apiKey");
        let name = path(&["talk", "..", "x/y", "#"]).unwrap();
        assert_eq!(name.as_str(), "config/talk/#2e./x#2fy/#23");
        assert_eq!(path(&["a", ""]), Err(NameError::Record));
        assert_eq!(path(&["a", &"k".repeat(256)]), Err(NameError::Record));
    }

    proptest! {
        #[test]
        fn the_path_escape_is_injective(
            a in proptest::collection::vec("[a-z_#x./ -]{1,4}", 2..4),
            b in proptest::collection::vec("[a-z_#x./ -]{1,4}", 2..4),
        ) {
            let name = |keys: &[String]| {
                RecordName::for_config_path(keys.iter().map(String::as_str)).unwrap()
            };
            prop_assert_eq!(name(&a) == name(&b), a == b);
        }

        #[test]
        fn the_profile_escape_is_injective(
            a in "[a-z_#x.]{1,4}:[a-z@#/:. +_-]{1,6}", b in "[a-z_#x.]{1,4}:[a-z@#/:. +_-]{1,6}",
        ) {
            if let (Ok(a), Ok(b)) = (a.parse::<ProfileId>(), b.parse::<ProfileId>()) {
                let (left, right) = (RecordName::for_profile(&a), RecordName::for_profile(&b));
                prop_assert!(left.is_ok() && right.is_ok());
                prop_assert_eq!(left == right, a == b);
            }
        }
    }
}
