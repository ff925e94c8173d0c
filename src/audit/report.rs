//! What an audit says: findings, what was skipped, and the sum of both.
//!
//! Invariants: the JSON has the keys and codes of the family's `secrets audit`, with ours beside
//! them; the status is `clean` only if there is no finding and nothing was skipped.

use serde::Serialize;
use std::path::Path;

/// What kind of finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FindingCode {
    /// A ref that does not resolve, is none, or a file that can't be read as what it is.
    RefUnresolved,
    /// A secret stands where a ref belongs, or in a file that a runtime reads.
    PlaintextFound,
    /// Something that comes first makes a ref, or a value, useless.
    RefShadowed,
    /// A credential in a store of an older form, or an OAuth token set.
    LegacyResidue,
    /// What a database no longer holds, but its file still does.
    StorePlaintextResidue,
    /// A placeholder of a runtime was stored as if it were a secret.
    PlaceholderValue,
    /// A secret in a backup or a recovery copy. Ours.
    BackupPlaintext,
    /// A secret of the vault, equal byte for byte, somewhere else. Ours.
    VaultCopy,
    /// Something of the form of a vendor's key, in a file that is no place for one. Ours.
    KeyFound,
    /// Others can read or write a file with secrets. Ours.
    PermissionsLoose,
    /// Git tracks a file with secrets. Ours.
    GitTracked,
}

impl FindingCode {
    /// Every code, in the order of a report for people.
    pub const ALL: [FindingCode; 11] = [
        FindingCode::RefUnresolved,
        FindingCode::PlaintextFound,
        FindingCode::LegacyResidue,
        FindingCode::BackupPlaintext,
        FindingCode::StorePlaintextResidue,
        FindingCode::VaultCopy,
        FindingCode::KeyFound,
        FindingCode::PlaceholderValue,
        FindingCode::RefShadowed,
        FindingCode::GitTracked,
        FindingCode::PermissionsLoose,
    ];

    /// The name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            FindingCode::RefUnresolved => "REF_UNRESOLVED",
            FindingCode::PlaintextFound => "PLAINTEXT_FOUND",
            FindingCode::RefShadowed => "REF_SHADOWED",
            FindingCode::LegacyResidue => "LEGACY_RESIDUE",
            FindingCode::StorePlaintextResidue => "STORE_PLAINTEXT_RESIDUE",
            FindingCode::PlaceholderValue => "PLACEHOLDER_VALUE",
            FindingCode::BackupPlaintext => "BACKUP_PLAINTEXT",
            FindingCode::VaultCopy => "VAULT_COPY",
            FindingCode::KeyFound => "KEY_FOUND",
            FindingCode::PermissionsLoose => "PERMISSIONS_LOOSE",
            FindingCode::GitTracked => "GIT_TRACKED",
        }
    }

    /// What the findings of this code are, for people.
    pub const fn title(self) -> &'static str {
        match self {
            FindingCode::RefUnresolved => "Refs that do not resolve, files that can't be read",
            FindingCode::PlaintextFound => "Secrets in plaintext",
            FindingCode::RefShadowed => "Refs and values that something else makes useless",
            FindingCode::LegacyResidue => "Credentials in older stores, OAuth tokens",
            FindingCode::StorePlaintextResidue => "Deleted secrets that a database still holds",
            FindingCode::PlaceholderValue => "Placeholders stored as secrets",
            FindingCode::BackupPlaintext => "Secrets in backups",
            FindingCode::VaultCopy => "Copies of the vault's secrets",
            FindingCode::KeyFound => "Keys in files that are no place for them",
            FindingCode::PermissionsLoose => "Files that others can read or write",
            FindingCode::GitTracked => "Secrets that git tracks",
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            FindingCode::RefUnresolved => {
                "make what the ref names, or correct the ref; `reseal secrets set NAME` stores a \
                 value"
            }
            FindingCode::LegacyResidue => {
                "`reseal secrets migrate DIR` moves the keys and accounts of another runtime; in \
                 our own folder, sign in anew with `reseal models auth login`"
            }
            FindingCode::PlaintextFound => {
                "`reseal secrets configure` (for another runtime: --from DIR) moves it into the \
                 vault and leaves a ref"
            }
            FindingCode::RefShadowed => "remove the one that has no use",
            FindingCode::StorePlaintextResidue => {
                "stop the runtime, then run SQLite's VACUUM and PRAGMA wal_checkpoint(TRUNCATE) on \
                 the file; change the key if the disk may have kept it"
            }
            FindingCode::PlaceholderValue => "store the real value, or a ref to it",
            FindingCode::BackupPlaintext => {
                "remove the backup once it has no use; change the key if it went elsewhere"
            }
            FindingCode::VaultCopy | FindingCode::KeyFound => {
                "take it out of the file; change the key if others may have seen it"
            }
            FindingCode::PermissionsLoose => "chmod 600 the file",
            FindingCode::GitTracked => {
                "git rm --cached the file and ignore it; change the key: history keeps it"
            }
        }
    }

    /// True for what is said of a file as a whole, at most once.
    pub(super) const fn is_of_whole_file(self) -> bool {
        matches!(
            self,
            FindingCode::PermissionsLoose | FindingCode::GitTracked
        )
    }

    /// True if what is found is a secret.
    pub(super) const fn is_secret(self) -> bool {
        !self.is_of_whole_file()
            && !matches!(
                self,
                FindingCode::RefUnresolved
                    | FindingCode::RefShadowed
                    | FindingCode::PlaceholderValue
            )
    }

    /// How bad it is, unless a finding says otherwise.
    pub const fn severity(self) -> Severity {
        match self {
            FindingCode::RefUnresolved | FindingCode::GitTracked => Severity::Error,
            _ => Severity::Warn,
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or is out.
    Error,
    /// A secret can be read by who gets the file.
    Warn,
    /// Good to know.
    Info,
}

/// One thing that was found. Holds no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind.
    pub code: FindingCode,
    /// How bad.
    pub severity: Severity,
    /// The file; a name in its path that holds a secret is replaced.
    pub file: String,
    /// Where in JSON; `$env.NAME` in an env file; `<root>` for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The table of a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The row of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// What it is, as a sentence.
    pub message: String,
    /// The provider of a model or a channel whose credential it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The profile whose credential it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<String>,
    /// The record of the vault that holds the same value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding about a whole file.
    pub fn new(code: FindingCode, file: &Path, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            file: file.display().to_string(),
            json_path: None,
            line: None,
            column: None,
            table: None,
            row: None,
            message: message.into(),
            provider: None,
            profile_id: None,
            record: None,
            remedy: code.remedy().to_owned(),
        }
    }

    /// The place inside the file, for people: what is known of path, line, table and row.
    pub fn place(&self) -> String {
        let mut parts = Vec::new();
        if let Some(table) = &self.table {
            parts.push(format!("table {table}"));
        }
        parts.extend(self.row.clone());
        if let Some(path) = &self.json_path {
            parts.push(path.clone());
        }
        match (self.line, self.column) {
            (Some(line), Some(column)) => parts.push(format!("line {line}, column {column}")),
            (Some(line), None) => parts.push(format!("line {line}")),
            (None, _) => {}
        }
        parts.join(", ")
    }
}

/// Something that was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// A file, a folder, a ref, or `vault`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything was looked at, and nothing was found.
    #[default]
    Clean,
    /// Something was found, or something was not looked at.
    Findings,
    /// A ref does not resolve.
    Unresolved,
}

/// How the refs were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// Refs that were resolved, or tried.
    pub refs_checked: usize,
    /// `exec` refs of which only the form was checked.
    pub skipped_exec_refs: usize,
    /// True if every ref was resolved or tried.
    pub resolvability_complete: bool,
}

/// How many findings there are of each code, listed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// `PLAINTEXT_FOUND`.
    pub plaintext_count: usize,
    /// `REF_UNRESOLVED`.
    pub unresolved_ref_count: usize,
    /// `REF_SHADOWED`.
    pub shadowed_ref_count: usize,
    /// `LEGACY_RESIDUE`.
    pub legacy_residue_count: usize,
    /// `STORE_PLAINTEXT_RESIDUE`.
    pub store_residue_count: usize,
    /// `BACKUP_PLAINTEXT`.
    pub backup_count: usize,
    /// `VAULT_COPY`.
    pub vault_copy_count: usize,
    /// `KEY_FOUND`.
    pub key_count: usize,
    /// `PLACEHOLDER_VALUE`.
    pub placeholder_count: usize,
    /// `PERMISSIONS_LOOSE`.
    pub permissions_count: usize,
    /// `GIT_TRACKED`.
    pub git_tracked_count: usize,
}

impl Summary {
    /// Counts a finding.
    pub(super) fn count(&mut self, code: FindingCode) {
        let count = match code {
            FindingCode::PlaintextFound => &mut self.plaintext_count,
            FindingCode::RefUnresolved => &mut self.unresolved_ref_count,
            FindingCode::RefShadowed => &mut self.shadowed_ref_count,
            FindingCode::LegacyResidue => &mut self.legacy_residue_count,
            FindingCode::StorePlaintextResidue => &mut self.store_residue_count,
            FindingCode::BackupPlaintext => &mut self.backup_count,
            FindingCode::VaultCopy => &mut self.vault_copy_count,
            FindingCode::KeyFound => &mut self.key_count,
            FindingCode::PlaceholderValue => &mut self.placeholder_count,
            FindingCode::PermissionsLoose => &mut self.permissions_count,
            FindingCode::GitTracked => &mut self.git_tracked_count,
        };
        *count += 1;
    }
}

/// The outcome of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this form: 1.
    pub version: u32,
    /// What it comes to.
    pub status: Status,
    /// How the refs were checked.
    pub resolution: Resolution,
    /// The files that were looked at, their names as in a finding.
    pub files_scanned: Vec<String>,
    /// How many findings there are.
    pub summary: Summary,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was not looked at.
    pub skipped: Vec<Skipped>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            version: 1,
            status: Status::Clean,
            resolution: Resolution {
                resolvability_complete: true,
                ..Resolution::default()
            },
            files_scanned: Vec::new(),
            summary: Summary::default(),
            findings: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl Report {
    /// Judges.
    pub(super) fn finish(&mut self) {
        self.status = if self.summary.unresolved_ref_count > 0 {
            Status::Unresolved
        } else if !self.findings.is_empty() || !self.skipped.is_empty() {
            Status::Findings
        } else {
            Status::Clean
        };
    }

    /// The exit code: 2 for unresolved refs, 1 if a check was asked for and it is not clean.
    pub fn exit_code(&self, check: bool) -> u8 {
        match self.status {
            Status::Unresolved => 2,
            Status::Findings if check => 1,
            Status::Findings | Status::Clean => 0,
        }
    }
}

/// The longest text of a finding that comes out of a file, in characters.
const MAX_SHOWN: usize = 400;

/// A text out of a file, cut.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
