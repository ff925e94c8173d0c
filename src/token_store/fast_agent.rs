//! What fast-agent keeps in the keyring: names of entries and their texts, in and out.
//!
//! | service | of |
//! | --- | --- |
//! | `fast-agent-mcp` | MCP servers, in all versions |
//! | `fast-agent-codex` | Codex, up to 0.8; long texts in pieces |
//! | `fast-agent-provider-auth` | providers, from 0.9 on |
//!
//! Invariants: what is written is what fast-agent writes, member by member; what is read is what it
//! reads, or stricter. No keyring is opened here.

use crate::document::extract::{members, unescape};
use crate::oauth::claims::Claims;
use crate::oauth::tokens::is_token;
use crate::oauth::{RefreshToken, TokenSet};
use crate::secret::SecretValue;
use crate::secret::json::{Part, build, write_object};
use crate::time::UnixMs;
use std::collections::{BTreeSet, HashMap};

/// The user of the entry that lists what there is, in the layouts of [`Layout::has_index`].
pub const INDEX: &str = "oauth:index";
/// The one account of [`Layout::Codex`].
pub const CODEX: &str = "openai-codex";
/// The longest text of [`Layout::Codex`] that stands in one entry, in bytes; and the length of a
/// piece in characters.
pub const PIECE: usize = 512;
/// The most pieces of a text.
pub const MAX_PIECES: usize = 512;
/// The most names in an index.
pub const MAX_INDEX: usize = 1_024;
/// Members of [`TokenSet::metadata`] that stand for members of these texts.
const SCOPE: &str = "scope";

/// One of fast-agent's ways to keep tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Of MCP servers.
    Mcp,
    /// Of Codex, up to version 0.8.
    Codex,
    /// Of providers, from version 0.9 on.
    Provider,
}

impl Layout {
    /// The service of the entries.
    pub fn service(self) -> &'static str {
        match self {
            Layout::Mcp => "fast-agent-mcp",
            Layout::Codex => "fast-agent-codex",
            Layout::Provider => "fast-agent-provider-auth",
        }
    }

    /// The user of the entry with the tokens of a name.
    pub fn user(self, name: &str) -> String {
        match self {
            Layout::Mcp | Layout::Codex => format!("oauth:tokens:{name}"),
            Layout::Provider => name.to_owned(),
        }
    }

    /// True if an entry lists the names.
    pub fn has_index(self) -> bool {
        self != Layout::Provider
    }

    /// Reads the tokens of an entry that was written at `written_at`; `None` if it holds none.
    pub fn parse(self, text: &SecretValue, written_at: Option<UnixMs>) -> Option<TokenSet> {
        const KEYS: [&str; 5] = [
            "access_token",
            "refresh_token",
            "scope",
            "expires_in",
            "expires_at",
        ];
        let text = std::str::from_utf8(text.expose()).ok()?;
        let wanted: HashMap<&str, usize> = KEYS.into_iter().zip(0..).collect();
        let found = members(text, &wanted).ok()?;
        let token = |place: usize| unescape(found[place]?).ok().filter(is_token);
        let number = |place: usize| found[place]?.trim().parse::<f64>().ok();
        let access = token(0)?;
        let obtained_at = written_at.unwrap_or_default();
        let expires_at = match self {
            // A lifetime without its start: that of the entry, which is written when the token
            // comes. Where nobody tells when that was, the token counts as used up.
            Layout::Mcp => number(3).map(|seconds| obtained_at.plus(lifetime(seconds))),
            // `as` saturates: what no u64 holds is the nearest one.
            Layout::Codex | Layout::Provider => number(4).map(|s| UnixMs((s * 1000.0) as u64)),
        };
        let by_itself = || Claims::peek(&access)?.expires_at();
        let expires_at = expires_at.or_else(by_itself);
        let scope = found[2].and_then(|raw| serde_json::from_str::<String>(raw).ok());
        Some(TokenSet {
            access: access.into(),
            refresh: token(1).map(RefreshToken::from),
            id_token: None,
            obtained_at,
            expires_at,
            metadata: scope
                .map(|scope| (SCOPE.to_owned(), scope))
                .into_iter()
                .collect(),
        })
    }

    /// The text of an entry that is written at `now`; `None` if a token is none. ID tokens and
    /// metadata other than `scope` have no place in it.
    pub fn write(self, tokens: &TokenSet, now: UnixMs) -> Option<SecretValue> {
        let refresh = tokens.refresh.as_ref().map(RefreshToken::secret);
        let good = is_token(tokens.access.secret()) && refresh.is_none_or(is_token);
        let null = Part::Json("null");
        let access = ("access_token", Part::Secret("", tokens.access.secret()));
        let refresh = refresh.map_or(null, |value| Part::Secret("", value));
        let refresh = ("refresh_token", refresh);
        let scope = tokens.metadata.get(SCOPE);
        let scope = ("scope", scope.map_or(null, |scope| Part::Text(scope)));
        let kind = ("token_type", Part::Text("Bearer"));
        let left = |end: UnixMs| now.until(end).as_secs().to_string();
        let left = tokens.expires_at.map_or("null".to_owned(), left);
        // Python writes a float with its point.
        let end = |end: UnixMs| format!("{:?}", end.0 as f64 / 1000.0);
        let end = tokens.expires_at.map_or("null".to_owned(), end);
        let (left, end) = (
            ("expires_in", Part::Json(&left)),
            ("expires_at", Part::Json(&end)),
        );
        let oauth = ("type", Part::Text("oauth"));
        let parts = match self {
            Layout::Mcp => vec![access, kind, left, scope, refresh],
            Layout::Codex => vec![access, refresh, end, scope, kind],
            Layout::Provider => vec![oauth, access, refresh, end, kind, scope],
        };
        good.then(|| build(|sink| write_object(&parts, sink)))
    }
}

fn lifetime(seconds: f64) -> std::time::Duration {
    let max = crate::time::MAX_DURATION;
    std::time::Duration::try_from_secs_f64(seconds.max(0.0)).map_or(max, |life| life.min(max))
}

/// The user of the entry that tells of the pieces of a text.
pub fn meta_user(user: &str) -> String {
    format!("{user}:meta")
}

/// The user of the entry with a piece of a text.
pub fn piece_user(user: &str, number: usize) -> String {
    format!("{user}:chunk:{number}")
}

/// What the entry of [`meta_user`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// How many pieces there are.
    pub pieces: usize,
    /// How many bytes they have together, if it says so.
    pub size: Option<usize>,
}

impl Meta {
    /// Reads the entry; `None` if it makes no sense, or tells of more than [`MAX_PIECES`].
    pub fn parse(text: &SecretValue) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(text.expose()).ok()?;
        let number = |name: &str| usize::try_from(value.get(name)?.as_u64()?).ok();
        let pieces = number("parts").filter(|pieces| (1..=MAX_PIECES).contains(pieces))?;
        let size = number("size");
        Some(Self { pieces, size })
    }

    /// The text of the entry.
    pub fn write(self) -> SecretValue {
        let size = self.size.unwrap_or(0);
        let text = format!(
            r#"{{"version": 1, "parts": {}, "size": {size}}}"#,
            self.pieces
        );
        SecretValue::copy_of(text.as_bytes())
    }
}

/// A text in pieces of [`PIECE`] characters; `None` if it is no text or would be more than
/// [`MAX_PIECES`].
pub fn cut(text: &SecretValue) -> Option<Vec<SecretValue>> {
    let whole = std::str::from_utf8(text.expose()).ok()?;
    let starts = whole.char_indices().map(|(at, _)| at).step_by(PIECE);
    let starts: Vec<usize> = starts.chain([whole.len()]).collect();
    let pieces = starts.windows(2).map(|ends| text.slice(ends[0]..ends[1]));
    let pieces: Vec<SecretValue> = pieces.collect();
    (pieces.len() <= MAX_PIECES).then_some(pieces)
}

/// The text that was cut; `None` if it has another size than it should.
pub fn join(pieces: &[SecretValue], size: Option<usize>) -> Option<SecretValue> {
    let whole = build(|sink| pieces.iter().for_each(|piece| sink(piece.expose())));
    size.is_none_or(|size| size == whole.len()).then_some(whole)
}

/// The names in an index; what is no list of texts has none, as fast-agent takes it.
pub fn index(text: Option<&SecretValue>) -> BTreeSet<String> {
    let values: Option<Vec<serde_json::Value>> =
        text.and_then(|text| serde_json::from_slice(text.expose()).ok());
    let name = |value: serde_json::Value| value.as_str().map(str::to_owned);
    values
        .unwrap_or_default()
        .into_iter()
        .filter_map(name)
        .collect()
}

/// The text of an index; `None` for more than [`MAX_INDEX`] names.
pub fn write_index(names: &BTreeSet<String>) -> Option<SecretValue> {
    // Serialising a text can't fail.
    let quoted = |name: &String| serde_json::to_string(name).unwrap_or_default();
    let list: Vec<String> = names.iter().map(quoted).collect();
    let text = format!("[{}]", list.join(", "));
    (names.len() <= MAX_INDEX).then(|| SecretValue::copy_of(text.as_bytes()))
}

/// A JSON object with one more text member, which counts more than one of that name before it;
/// `None` if it is no object with members.
pub fn with_member(document: &SecretValue, name: &str, value: &str) -> Option<SecretValue> {
    let text = std::str::from_utf8(document.expose()).ok()?;
    let rest = text.trim_end().strip_suffix('}')?;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let member = format!(", {}: {}}}", quoted(name), quoted(value));
    let with = build(|sink| {
        sink(rest.as_bytes());
        sink(member.as_bytes());
    });
    let wanted = HashMap::from([(name, 0)]);
    let whole = std::str::from_utf8(with.expose()).ok()?;
    let is_whole = members(whole, &wanted).is_ok();
    is_whole.then_some(with)
}

/// What fast-agent's other tokens of an MCP server stand under: how it registered there.
pub fn client_user(name: &str) -> String {
    format!("oauth:client_info:{name}")
}

#[cfg(test)]
mod tests;
