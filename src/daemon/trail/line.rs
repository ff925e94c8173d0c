//! One line of the log of decisions, and the two things that chain it: its MAC, and the head.
//!
//! A line is one JSON object whose last member is `mac`, in hex: the HMAC-SHA-256 with K_trail over
//! the MAC of the line before (32 zero bytes for the first of all) and the object without that
//! member.

use crate::crypto::derive::{TrailMac, derive_mac, mac_matches};
use crate::secret::Key;
use crate::vault::SubKeys;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// The MAC of a line.
pub type Mac = [u8; 32];

/// What stands before and behind the hex of a MAC at the end of a line.
const MEMBER: &[u8] = b",\"mac\":\"";
const END: &[u8] = b"\"}\n";

/// What a line is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A file starts: `vault`, `epoch`, `previous`, `fileBefore`, `oldest`, `dropped`.
    File,
    /// The daemon starts.
    Start,
    /// The daemon ends.
    Stop,
    /// So many lines are missing before this one: `missing`; without that, nobody knows how many.
    Gap,
    /// What the line `of` says came so many `times` more.
    Repeated,
    /// So many decisions for `uid`, by `grant`, or for others (`why`), have no line: `untold`.
    Untold,
    /// Somebody asked.
    #[default]
    Decision,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was answered, or its own failure was.
    Allowed,
    /// It was refused before the vault was asked.
    Refused,
}

/// A person's part in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Yes.
    Confirmed,
    /// Yes, to the same a while before.
    Kept,
    /// No.
    Declined,
    /// Nobody answered.
    Unanswered,
}

/// An answer, and to which question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// The number of the question since the daemon's start.
    pub question: u64,
}

impl Answered {
    /// An answer to the question of this number.
    pub fn new(answer: Answer, question: u64) -> Self {
        Self { answer, question }
    }
}

/// One line. What does not belong to its kind is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// +1 from line to line, over all files.
    pub seq: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What it is about.
    pub event: Kind,
    /// The id of the vault whose key the MACs are made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// The epoch of that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The MAC of the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The SHA-256 of the file before, in hex: lines of a key that is no more are checked by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_before: Option<String>,
    /// The number of the first line that is kept from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// How many lines were dropped to make room for this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// How many lines are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// The user who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When the process started, in clock ticks since the system did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// Its systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The operation of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// What of it was judged: `use`, `read`, `refresh`, `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The refs and records that it was about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The grant that allowed it; absent for the daemon's own user and root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What a person said to it, if one was to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// To which question, counted from the daemon's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<u64>,
    /// How many further refs were refused with those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
    /// The number of the line that was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How often it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How many decisions have no line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<u64>,
}

/// What number, time and MAC add to the bytes of a line, at most.
const SEALED: u64 = 20 + 32 + 96;

impl Line {
    /// A line of a kind, with nothing else in it.
    pub fn of(event: Kind) -> Self {
        Self {
            event,
            ..Self::default()
        }
    }

    /// The object without its MAC.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of numbers and texts has nothing that could not be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// How many bytes it will have in the log, at most.
    pub fn size(&self) -> u64 {
        self.to_json().len() as u64 + SEALED
    }

    /// The bytes of the line, line end included, and its MAC.
    pub(super) fn seal(&self, key: &Key<TrailMac>, before: &Mac) -> (Vec<u8>, Mac) {
        let mut text = self.to_json();
        let mac = derive_mac(key, &[before.as_slice(), &text]);
        text.pop();
        text.extend_from_slice(MEMBER);
        text.extend_from_slice(HEXLOWER.encode(&mac).as_bytes());
        text.extend_from_slice(END);
        (text, mac)
    }

    /// A line from its bytes, line end included, and the MAC that it says. Not verified.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, Mac)> {
        let (body, mac) = split(bytes)?;
        Some((serde_json::from_slice(&body).ok()?, mac))
    }

    /// As [`Line::parse`], if its MAC is right.
    pub(super) fn verify(bytes: &[u8], key: &Key<TrailMac>, before: &Mac) -> Option<(Self, Mac)> {
        let (body, mac) = split(bytes)?;
        if !mac_matches(key, &[before.as_slice(), &body], &mac) {
            return None;
        }
        Some((serde_json::from_slice(&body).ok()?, mac))
    }

    /// True for the first line of a file that was begun with these keys.
    pub(super) fn is_of(&self, keys: &SubKeys) -> bool {
        self.is_of_vault(keys) && self.epoch == Some(keys.epoch())
    }

    /// True for the first line of a file that was begun with keys of this vault.
    pub(super) fn is_of_vault(&self, keys: &SubKeys) -> bool {
        self.vault == Some(HEXLOWER.encode(&keys.vault_id()))
    }

    /// The MAC that the first line of a file says was before it.
    pub(super) fn previous(&self) -> Option<Mac> {
        let hex = self.previous.as_ref()?;
        HEXLOWER_PERMISSIVE
            .decode(hex.as_bytes())
            .ok()?
            .try_into()
            .ok()
    }
}

/// The object without its last member, and what that says.
fn split(bytes: &[u8]) -> Option<(Vec<u8>, Mac)> {
    let rest = bytes.strip_suffix(END)?;
    let (rest, hex) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
    let mut body = rest.strip_suffix(MEMBER)?.to_vec();
    body.push(b'}');
    let mac = HEXLOWER.decode(hex).ok()?.try_into().ok()?;
    Some((body, mac))
}

/// The length of a sealed head in bytes.
pub(super) const HEAD_LEN: usize = 8 + 4 + 8 + 32 + 32;
const HEAD_MAGIC: &[u8; 8] = b"RSTR\x01\0\0\0";

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The epoch of the key.
    pub epoch: u32,
    /// The number of the last line.
    pub seq: u64,
    /// Its MAC.
    pub last: Mac,
}

impl Head {
    /// The head as it stands in its file: magic, epoch, number, MAC of the line, MAC of all that.
    pub fn seal(&self, key: &Key<TrailMac>) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..8].copy_from_slice(HEAD_MAGIC);
        bytes[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.seq.to_le_bytes());
        bytes[20..52].copy_from_slice(&self.last);
        let mac = derive_mac(key, &[&bytes[..52]]);
        bytes[52..].copy_from_slice(&mac);
        bytes
    }

    /// The head, if it was sealed with this key of this epoch.
    pub fn open(bytes: &[u8; HEAD_LEN], key: &Key<TrailMac>, epoch: u32) -> Option<Self> {
        let (text, mac) = bytes.split_at(52);
        if !text.starts_with(HEAD_MAGIC) || !mac_matches(key, &[text], mac) {
            return None;
        }
        let head = Self {
            epoch: u32::from_le_bytes(text[8..12].try_into().ok()?),
            seq: u64::from_le_bytes(text[12..20].try_into().ok()?),
            last: text[20..52].try_into().ok()?,
        };
        (head.epoch == epoch).then_some(head)
    }

    /// The epoch that a head names, whoever sealed it; `None` if it is none.
    pub fn epoch_of(bytes: &[u8; HEAD_LEN]) -> Option<u32> {
        let rest = bytes.strip_prefix(HEAD_MAGIC)?;
        Some(u32::from_le_bytes(rest[..4].try_into().ok()?))
    }
}
