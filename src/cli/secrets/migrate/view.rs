//! What `secrets migrate` tells: the plan with values masked, what was done, and where plaintext
//! may still be.

use super::rest::{Plain, Rest};
use crate::apply::{FileChange, Report, Site};
use crate::audit::Skipped;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{shown, shown_path};
use crate::cli::secrets::apply::view::{diff_json, show_diff};
use crate::cli::vault::status::plural;
use crate::error::{Code, Failure};
use crate::family::PlaceKind;
use crate::migrate::{Entry, Migration, Moving, Residue};
use serde_json::{Value, json};

/// The outcome, for a person or a program.
pub(super) struct View<'a> {
    pub(super) context: &'a Context,
    pub(super) site: &'a Site,
    pub(super) migration: &'a Migration,
    /// What an audit found once everything was done; `None` before.
    pub(super) rest: Option<Rest>,
    /// Entries of the keyring, and whether they went.
    pub(super) removed: Vec<(Entry, Result<(), Failure>)>,
}

/// Where plaintext may be that no program can find or take back.
const BEYOND: [(&str, &str); 4] = [
    (
        "backups and snapshots of the disk",
        "delete the old ones, or make new keys where the provider lets you",
    ),
    (
        "free blocks of an SSD, and the journal of the file system",
        "only whole-disk encryption or a new key helps",
    ),
    (
        "the shell's history, if a key was ever typed into a command",
        "look for it, and remove the lines",
    ),
    (
        "logs and chats of the other runtime",
        "delete what you don't need, or make a new key",
    ),
];

impl View<'_> {
    fn files(&self) -> impl Iterator<Item = &FileChange> {
        let changes = &self.migration.draft.changes;
        let rows = changes.rows.iter().map(|row| &row.change);
        changes.files.iter().chain(rows).chain(&changes.scrubs)
    }

    /// Every change.
    pub(super) fn show_diffs(&self) -> Result<(), CliError> {
        for change in self.files() {
            show_diff(self.context, change)?;
        }
        Ok(())
    }

    /// What would be done.
    pub(super) fn show_plan(&self, dry_run: bool) -> Result<(), CliError> {
        let out = &self.context.out;
        if out.json {
            let mode = if dry_run { "dry-run" } else { "write" };
            let mut document = self.document(mode);
            let records = self.migration.draft.changes.records.iter();
            let names: Vec<&str> = records.map(|record| record.name.as_str()).collect();
            document["records"] = json!({"planned": names});
            document["diff"] = self.files().map(diff_json).collect();
            return out.document(&document);
        }
        self.show_diffs()?;
        self.tell_rest();
        let (changes, entries) = (&self.migration.draft.changes, &self.migration.entries);
        for Moving { entry, .. } in entries {
            out.say(&shown(&format!("Would remove {}.", entry.place())));
        }
        if changes.is_empty() && entries.is_empty() {
            out.say(match self.is_clean() {
                true => "There is nothing left to move, and no plaintext was found.",
                false => "There is nothing left that can be moved.",
            });
            self.advise();
            return Ok(());
        }
        let (records, files) = (changes.records.len(), self.files().count());
        out.say(&format!(
            "Would seal {records} {} and change {files} {}. Nothing was written.",
            plural(records as u64, "value"),
            plural(files as u64, "file"),
        ));
        self.advise();
        Ok(())
    }

    /// What was done.
    pub(super) fn show(&self, report: &Report) -> Result<(), CliError> {
        let out = &self.context.out;
        if out.json {
            let mut document = self.document("write");
            document["records"] = json!({"stored": report.stored, "reused": report.reused});
            return out.document(&document);
        }
        for change in self.files() {
            let what = match change.after {
                Some(_) => "Changed",
                None => "Removed",
            };
            out.say(&format!("{what} {}.", shown_path(&change.path)));
        }
        for (entry, gone) in &self.removed {
            match gone {
                Ok(()) => out.say(&shown(&format!("Removed {}.", entry.place()))),
                // Which names the entry itself.
                Err(failure) if failure.code == Code::ConfigConflict => {
                    out.warn(&shown(&format!("{}; run this again", failure.message)));
                }
                Err(failure) => out.warn(&shown(&format!(
                    "{} is in the vault, and still there: {}; run this again",
                    entry.place(),
                    failure.message
                ))),
            }
        }
        self.tell_rest();
        self.tell_beyond();
        let new = report.stored.len();
        out.say(&format!(
            "Done: {new} {} sealed into the vault and compared; {} {} in this program.",
            plural(new as u64, "value"),
            self.migration.profiles.len(),
            plural(self.migration.profiles.len() as u64, "profile"),
        ));
        if self.is_clean() {
            out.say("No other plaintext was found in its files.");
        }
        self.advise();
        if self.site.root.is_dir() {
            out.explain(
                "The other runtime gets its values from this program while the vault is unlocked \
                 (`reseal vault unlock`). Start it again; it no longer refreshes accounts itself.",
            );
        }
        Ok(())
    }

    /// What stays, what still holds a value, and what was not looked at.
    fn tell_rest(&self) {
        let out = &self.context.out;
        for left in &self.migration.left {
            out.warn(&shown(&format!("{} stays: {}", left.place, left.why)));
        }
        for warning in &self.migration.draft.warnings {
            out.warn(&shown(warning));
        }
        for residue in &self.migration.residue {
            let Residue { path, hits, .. } = residue;
            let values = plural(*hits as u64, "value");
            out.warn(&shown(&format!(
                "{} still holds {hits} {values}: {}",
                path.display(),
                remedy(residue)
            )));
        }
        for skipped in &self.migration.skipped {
            let path = skipped.path.display();
            out.warn(&shown(&format!(
                "{path} was not looked at: {}",
                skipped.why
            )));
        }
        self.tell_rest_of_files();
    }

    /// What an audit found beside the values that are known.
    fn tell_rest_of_files(&self) {
        let out = &self.context.out;
        let Some(rest) = &self.rest else {
            return;
        };
        for (file, plain) in &rest.files {
            let Plain {
                findings, first, ..
            } = plain;
            let residue = self.migration.residue.iter();
            let mut told = residue.filter(|residue| residue.path.display().to_string() == *file);
            if told.any(|residue| residue.hits >= *findings) {
                continue;
            }
            let place = match first.as_str() {
                "" => String::new(),
                first => format!(" ({}{first})", if *findings > 1 { "first: " } else { "" }),
            };
            let secrets = plural(*findings as u64, "secret");
            let text = format!("{file} holds {findings} {secrets} in plaintext{place}");
            out.warn(&shown(&text));
        }
        for skipped in self.more_skipped() {
            let text = format!("{} was not looked at: {}", skipped.what, skipped.reason);
            out.warn(&shown(&text));
        }
    }

    /// What only the audit passed over.
    fn more_skipped(&self) -> impl Iterator<Item = &Skipped> {
        let known = |skipped: &Skipped| {
            let mut known = self.migration.skipped.iter();
            known.any(|known| known.path.display().to_string() == skipped.what)
        };
        let rest = self.rest.iter().flat_map(|rest| &rest.skipped);
        rest.filter(move |skipped| !known(skipped))
    }

    /// True if every file was looked at and nothing was found.
    fn is_clean(&self) -> bool {
        let Migration {
            left,
            residue,
            skipped,
            ..
        } = self.migration;
        let rest = self.rest.as_ref();
        let found = rest.is_some_and(|rest| rest.files.is_empty() && rest.skipped.is_empty());
        found && left.is_empty() && residue.is_empty() && skipped.is_empty()
    }

    /// Who tells more.
    fn advise(&self) {
        if !self.is_clean() {
            let what = match self.rest {
                Some(_) => "shows every one of these places, and what to do about it",
                None => "shows what stands there in plaintext now, also what can't be moved",
            };
            let from = shown_path(&self.site.root);
            let text = format!("`reseal secrets audit --from {from}` {what}.");
            self.context.out.explain(&text);
        }
    }

    fn tell_beyond(&self) {
        let out = &self.context.out;
        out.explain("Plaintext may also be where no program finds it:");
        for (place, remedy) in BEYOND {
            out.explain(&format!("- {place}: {remedy}"));
        }
    }

    fn document(&self, mode: &str) -> Value {
        let migration = self.migration;
        let left = migration.left.iter();
        let residue = migration.residue.iter();
        let skipped = migration.skipped.iter();
        let skipped = skipped.map(|s| json!({"path": s.path, "why": s.why}));
        let more = self.more_skipped();
        let more = more.map(|s| json!({"path": s.what, "why": s.reason}));
        let plain = |rest: &Rest| -> Value {
            let file = |(path, plain): (&String, &Plain)| {
                let Plain {
                    findings, codes, ..
                } = plain;
                json!({"path": path, "findings": findings, "codes": codes})
            };
            rest.files.iter().map(file).collect()
        };
        let profiles = migration.profiles.iter();
        let entries = migration.entries.iter().map(|Moving { entry, .. }| {
            let gone = self.removed.iter().find(|(removed, _)| removed == entry);
            let error = gone.and_then(|(_, gone)| gone.as_ref().err());
            json!({"place": entry.place(), "removed": gone.is_some() && error.is_none(),
                "error": error})
        });
        json!({
            "mode": mode,
            "from": self.site.root,
            "era": migration.era.map(|era| era.as_str()),
            "changed": !migration.draft.changes.is_empty() || !migration.entries.is_empty(),
            "keyring": entries.collect::<Vec<_>>(),
            "changedFiles": self.files().map(|c| &c.path).collect::<Vec<_>>(),
            "profiles": profiles.map(|(agent, id)| json!({"agent": agent, "id": id}))
                .collect::<Vec<_>>(),
            "left": left.map(|l| json!({"place": l.place, "why": l.why})).collect::<Vec<_>>(),
            "residue": residue.map(|r| json!({"path": r.path, "values": r.hits,
                "remedy": remedy(r)})).collect::<Vec<_>>(),
            "skipped": skipped.chain(more).collect::<Vec<_>>(),
            "plaintext": self.rest.as_ref().map(plain),
            "warnings": migration.draft.warnings,
            "beyond": BEYOND.map(|(place, remedy)| json!({"place": place, "remedy": remedy})),
        })
    }
}

/// What to do about a file that holds a value.
fn remedy(residue: &Residue) -> &'static str {
    match residue.kind {
        PlaceKind::Session => "delete it if you don't need it, or make a new key",
        PlaceKind::AgentDatabase
        | PlaceKind::SharedDatabase
        | PlaceKind::Database
        | PlaceKind::DatabaseSide => {
            "other rows of a database, which are not rewritten; make a new key"
        }
        PlaceKind::EnvFile => "what stays there, as listed; remove the line once nothing reads it",
        PlaceKind::Config
        | PlaceKind::Include
        | PlaceKind::AuthProfiles
        | PlaceKind::LegacyAuth
        | PlaceKind::LegacyOAuth
            if !residue.backup =>
        {
            "what stays there, as listed"
        }
        _ => "look at it, then delete it or make a new key",
    }
}
