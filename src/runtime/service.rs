//! What can be asked of an opened vault: plain requests and replies, values beside them.
//!
//! Invariant: [`Request`] and [`Reply`] hold no secret; values travel as attachments, so that the
//! daemon's frames keep them outside the JSON. The in-process implementation
//! ([`super::local::Local`]) and the daemon's client implement the same [`Service`], so a command
//! gives the same result with a daemon and without one.

use super::memory::MemoryStatus;
use crate::error::Failure;
use crate::name::{AgentId, RecordName};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::vault::{Expect, Meta, RecordInfo, RecordKind};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// A question to the opened vault. Values that go with it (for [`Request::Put`]) are attachments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "op",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Request {
    /// How things stand. Reply: [`Reply::Status`].
    Status,
    /// One record with its value. Reply: [`Reply::Value`] and one attachment.
    Get {
        /// The record.
        name: RecordName,
        /// An older version instead of the current one.
        version: Option<u64>,
    },
    /// An access token of an OAuth record, refreshed if less than this is left. Reply:
    /// [`Reply::Token`] and one attachment.
    Token {
        /// The record.
        name: RecordName,
        /// Milliseconds that it must be valid, beside the provider's margin.
        min_ttl_ms: u64,
        /// A new one whatever is left: an API refused the old one.
        force: bool,
    },
    /// Takes an OAuth record out of the vault, its tokens revoked before where the provider can.
    /// Reply: [`Reply::SignedOut`].
    SignOut {
        /// The record.
        name: RecordName,
        /// Don't ask the provider.
        local_only: bool,
    },
    /// Proves that a change could be stored now: before a person is sent to a browser. Reply:
    /// [`Reply::Done`].
    CheckWritable,
    /// All records without values, by name. Reply: [`Reply::Records`].
    List,
    /// The records whose names start with this, likewise.
    ListUnder {
        /// The start of a name; nothing is the start of all.
        prefix: String,
    },
    /// The versions of a record that the file still holds. Reply: [`Reply::Versions`].
    History {
        /// The record.
        name: RecordName,
    },
    /// Writes a record; its value is the one attachment. Reply: [`Reply::Committed`].
    Put {
        /// The record.
        name: RecordName,
        /// What it holds.
        kind: RecordKind,
        /// The metadata; `created_at` is set by the service.
        meta: Meta,
        /// What must be there before.
        expect: Expect,
    },
    /// Compares what a record holds with the one attachment, in constant time. Reply:
    /// [`Reply::Compared`]. No value comes back, so an account can be compared whole.
    Compare {
        /// The record.
        name: RecordName,
    },
    /// Removes a record. Reply: [`Reply::Committed`].
    Remove {
        /// The record.
        name: RecordName,
        /// What must be there before.
        expect: Expect,
    },
    /// Renames a record. Reply: [`Reply::Committed`].
    Rename {
        /// The old name.
        from: RecordName,
        /// The new name; must be free.
        to: RecordName,
    },
    /// Makes an older version the current one again (as a new version). Reply:
    /// [`Reply::Committed`].
    Restore {
        /// The record.
        name: RecordName,
        /// The version whose value comes back.
        version: u64,
    },
    /// Values of refs, in order. Reply: [`Reply::Resolved`] and an attachment for each `Ok`.
    Resolve {
        /// Which; at most [`MAX_RESOLVE_REFS`].
        refs: Vec<SecretRef>,
    },
    /// Resolves every ref of the state folder anew and reports each by name. Reply:
    /// [`Reply::Report`].
    Report {
        /// Only this agent's profiles beside the config; all agents if absent.
        agent: Option<AgentId>,
    },
    /// Builds a new snapshot. Reply: [`Reply::Report`].
    Reload,
    /// Drops superseded frames. Reply: [`Reply::Committed`].
    Compact {
        /// Keep the older versions that automatic compaction keeps.
        keep_history: bool,
    },
    /// Checks every byte of the file and opens every value. Reply: [`Reply::Verified`].
    Verify,
    /// Wipes the keys and the snapshot. The daemon ends after it has answered [`Reply::Done`].
    Lock,
}

/// The most refs in one [`Request::Resolve`].
pub const MAX_RESOLVE_REFS: usize = 16_384;

/// An answer without its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "data", rename_all = "camelCase")]
pub enum Reply {
    /// See [`Request::Status`].
    Status(Status),
    /// See [`Request::Get`].
    Value(RecordInfo),
    /// See [`Request::Token`].
    Token(TokenInfo),
    /// See [`Request::SignOut`].
    SignedOut(Revocation),
    /// See [`Request::List`].
    Records(Vec<RecordInfo>),
    /// See [`Request::History`]; newest first.
    Versions(Vec<VersionInfo>),
    /// A change is durable.
    Committed(Committed),
    /// See [`Request::Compare`].
    Compared(Comparison),
    /// See [`Request::Resolve`].
    Resolved(Vec<Outcome>),
    /// See [`Request::Report`].
    Report(Report),
    /// See [`Request::Verify`].
    Verified(Verified),
    /// Nothing to tell.
    Done,
}

/// A reply with the values that go with it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// The attachments, in the order that the reply defines.
    pub secrets: Vec<SecretValue>,
}

impl Answer {
    /// An answer without values.
    pub fn plain(reply: Reply) -> Self {
        Self {
            reply,
            secrets: Vec::new(),
        }
    }
}

/// Something that holds an opened vault and answers requests.
pub trait Service {
    /// Asks. A failure says what happened; nothing was changed unless the reply says so.
    fn call(&mut self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure>;
}

/// The outcome of one ref; its value, if any, is an attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Resolved.
    Ok,
    /// Not resolved, and why.
    Failed(Failure),
}

/// What a record holds, compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Comparison {
    /// There is no such record.
    Absent,
    /// The same bytes.
    Same,
    /// Other bytes.
    Other,
}

/// What became of the tokens of an account that was signed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Revocation {
    /// The provider revoked them.
    Revoked,
    /// The provider has no way to revoke.
    NotOffered,
    /// Nobody asked the provider.
    Skipped,
    /// The provider did not revoke them.
    Failed(Failure),
}

impl Revocation {
    /// The name in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Revocation::Revoked => "revoked",
            Revocation::NotOffered => "notOffered",
            Revocation::Skipped => "skipped",
            Revocation::Failed(_) => "failed",
        }
    }

    /// Why the provider did not revoke.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Revocation::Failed(failure) => Some(&failure.message),
            Revocation::Revoked | Revocation::NotOffered | Revocation::Skipped => None,
        }
    }
}

/// An access token without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// The record.
    pub name: RecordName,
    /// When it ends, if that is known.
    pub expires_at: Option<UnixMs>,
    /// The provider's id of the account, if it is known.
    pub account_id: Option<String>,
    /// The account's address, if it is known.
    pub email: Option<String>,
    /// What stands before the token in an `Authorization` header, usually `Bearer`.
    pub token_type: String,
}

/// One version of a record that the file still holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// The version.
    pub version: u64,
    /// True for the version in force.
    pub current: bool,
    /// When it was written.
    pub created_at: Option<UnixMs>,
    /// Its note.
    pub note: Option<String>,
}

/// A durable change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The generation of the vault after the commit.
    pub generation: u64,
    /// The record that was written, if one was.
    pub name: Option<RecordName>,
    /// Its version after the commit.
    pub version: Option<u64>,
}

/// What a full check of the file found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The generation that was checked.
    pub generation: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Frames that were checked.
    pub frames: u64,
    /// Values that were opened, superseded versions included.
    pub values: u64,
    /// Bytes after the last commit: an interrupted write, repaired at the next commit.
    pub tail_bytes: u64,
    /// Where the part that is checked ends, if anything stands behind it, and why.
    #[serde(default)]
    pub tail: Option<Tail>,
}

/// What stands behind the last frame that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    /// Its first byte in the file.
    pub offset: u64,
    /// Why it does not count.
    pub why: String,
}

/// How things stand; the JSON of `vault status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether somebody holds the opened vault.
    pub state: LockState,
    /// The vault file, if there is one.
    pub vault: Option<VaultStatus>,
    /// The daemon, if one runs.
    pub daemon: Option<DaemonStatus>,
    /// The snapshot.
    pub snapshot: SnapshotStatus,
}

/// Whether the vault is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockState {
    /// Nobody holds the key.
    Locked,
    /// A daemon holds the key.
    Unlocked,
}

/// The vault file. `generation` and `records` are sealed: absent while locked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultStatus {
    /// The vault's id in hex.
    pub id: String,
    /// The path of the file.
    pub path: String,
    /// What a person compares to recognise the vault.
    pub fingerprint: String,
    /// The epoch of the root key.
    pub epoch: u32,
    /// +1 at every commit.
    pub generation: Option<u64>,
    /// The number of records.
    pub records: Option<u64>,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The file is older than what this machine remembers, as far as that shows without the key.
    #[serde(default)]
    pub rollback: Option<Rollback>,
    /// The ways to open it.
    pub slots: Vec<SlotStatus>,
}

/// A vault file that is older than what this machine remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// The generation of the file, at most.
    pub generation: u64,
    /// The generation that this machine remembers.
    pub remembered: u64,
}

/// One keyslot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// The first 8 hex digits of the slot's id: enough to name it in commands.
    pub id: String,
    /// `passphrase`, `age`, `key`, `recovery`, …
    pub kind: String,
    /// What the user called it, if anything; sealed, so absent while locked.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub label: Option<Option<String>>,
    /// Costs of the key derivation, for passphrase slots.
    pub kdf: Option<String>,
}

/// A member that stands there, even as `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Milliseconds until it locks whatever happens; absent if there is no such limit.
    pub ttl_remaining_ms: Option<u64>,
    /// Milliseconds until it locks if nobody asks anything; absent if there is no such limit.
    pub idle_remaining_ms: Option<u64>,
    /// What it gave up; absent from daemons that give up nothing.
    #[serde(default)]
    pub sandbox: Option<Box<SandboxStatus>>,
    /// Where it has secrets; absent from older daemons.
    #[serde(default)]
    pub memory: Option<MemoryStatus>,
}

/// What the daemon gave up for good, before it had a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// The version of Landlock that holds it; absent where the kernel has none.
    pub landlock: Option<u32>,
    /// Why it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_lack: Option<Lack>,
    /// A filter holds it from system calls that it does not need.
    pub seccomp: bool,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_lack: Option<Lack>,
    /// No memory of it is both written and executed.
    pub write_xor_execute: bool,
    /// The process that runs commands and opens files for it; absent once that has ended.
    pub broker: Option<u32>,
    /// Folders within its reach that hold more than its own, such as a whole home.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wide: Vec<String>,
}

/// Why something that would hold the daemon is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lack {
    /// The kernel was built without it.
    NotBuilt,
    /// The kernel has it, and was started without it.
    Off,
    /// Something around the process refuses it, such as the filter of a container.
    Refused,
}

/// The snapshot of resolved values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Its state.
    pub state: SnapshotState,
    /// The vault generation that it was built from.
    pub generation: Option<u64>,
    /// The number of refs that it holds.
    pub refs: u64,
    /// The number of places in config and profiles where those refs are in use.
    #[serde(default)]
    pub places: u64,
    /// When it entered its state.
    pub since: Option<UnixMs>,
    /// The failures that keep it from being active.
    #[serde(default)]
    pub failures: Vec<RefReport>,
}

/// The state of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// There is none: the vault is locked.
    Sealed,
    /// Everything that is in use is resolved.
    Active,
    /// The last build failed; the last good snapshot serves.
    Degraded,
    /// The first build failed; there is no snapshot.
    Failed,
}

/// What `secrets resolve` and `secrets reload` tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The state of the snapshot afterwards.
    pub snapshot: SnapshotStatus,
    /// Every ref that was found.
    pub refs: Vec<RefReport>,
}

/// One ref as a report shows it: by name, never by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefReport {
    /// Where it stands, such as `models.providers.openai.apiKey` or `main: openai:default`.
    pub owner: Arc<str>,
    /// The file in which it stands.
    pub file: Arc<str>,
    /// The ref; absent if what stands there is not a valid ref.
    #[serde(rename = "ref")]
    pub reference: Option<SecretRef>,
    /// What became of it.
    pub outcome: RefOutcome,
    /// Why it is inactive or failed.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Why it is inactive.
    #[serde(default)]
    pub reason: Option<String>,
    /// `"optional": true` stands beside it.
    #[serde(default)]
    pub optional: bool,
}

/// What became of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefOutcome {
    /// Resolved.
    Ok,
    /// Not resolved.
    Error,
    /// Not in use, hence not resolved.
    Inactive,
    /// A value stands there itself, where a ref belongs. It is not used.
    Plaintext,
}
