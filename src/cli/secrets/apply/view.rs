//! What `secrets apply` tells: the changes with their values masked, and what was done.

use crate::apply::{Draft, Edit, FileChange, Report, Shown, Site};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::{Tone, shown, shown_path};
use crate::cli::vault::status::plural;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The outcome of a plan, for a person or a program.
pub(super) struct View<'a> {
    pub(super) context: &'a Context,
    pub(super) site: &'a Site,
    pub(super) draft: &'a Draft,
    /// Exec refs that were not resolved.
    pub(super) skipped: usize,
}

impl View<'_> {
    /// What would be done.
    pub(super) fn show_dry_run(&mut self) -> Result<(), CliError> {
        let changes = &self.draft.changes;
        let files: Vec<&FileChange> = changes.files.iter().chain(&changes.scrubs).collect();
        if self.context.out.json {
            let mut document = self.document("dry-run", &paths(&files));
            document["records"] = json!({"planned": changes.records.iter()
                .map(|record| record.name.as_str()).collect::<Vec<_>>()});
            document["diff"] = files.iter().map(|change| diff_json(change)).collect();
            return self.context.out.document(&document);
        }
        for change in &files {
            show_diff(self.context, change)?;
        }
        self.warn();
        let out = &self.context.out;
        if files.is_empty() && changes.records.is_empty() {
            out.say("There is nothing to do.");
            return Ok(());
        }
        let (records, count) = (changes.records.len(), files.len());
        out.say(&format!(
            "Would seal {records} {} and change {count} {}. Nothing was written.",
            plural(records as u64, "value"),
            plural(count as u64, "file"),
        ));
        Ok(())
    }

    /// What was done.
    pub(super) fn show(&mut self, report: &Report) -> Result<(), CliError> {
        let changed = report.rewritten.iter().chain(&report.scrubbed);
        let changed: Vec<&PathBuf> = changed.collect();
        if self.context.out.json {
            let mut document = self.document("write", &changed);
            document["records"] = json!({"stored": report.stored, "reused": report.reused});
            document["scrubbedFiles"] = json!(report.scrubbed);
            return self.context.out.document(&document);
        }
        let out = &self.context.out;
        for path in &report.rewritten {
            out.say(&format!("Rewrote {}.", shown_path(path)));
        }
        for path in &report.scrubbed {
            out.say(&format!("Scrubbed {}.", shown_path(path)));
        }
        self.warn();
        if changed.is_empty() && report.stored.is_empty() {
            out.say("There was nothing left to do.");
            return Ok(());
        }
        let (new, there) = (report.stored.len(), report.reused.len());
        let values = plural(new as u64, "value");
        out.say(&match (new, there) {
            (0, 0) => "Done.".to_owned(),
            (0, there) => format!("Done: the vault held all {there} values already."),
            (_, 0) => format!("Done: {new} {values} sealed into the vault and compared."),
            (_, there) => format!(
                "Done: {new} {values} sealed into the vault and compared; {there} more stood there \
                 already."
            ),
        });
        if !self.site.own {
            out.explain(
                "Let the other runtime read its files again (`openclaw secrets reload`, or start \
                 it anew). It gets its values from this program while the vault is unlocked.",
            );
        }
        Ok(())
    }

    fn warn(&self) {
        for warning in &self.draft.warnings {
            self.context.out.warn(&shown(warning));
        }
        if self.skipped > 0 {
            let refs = plural(self.skipped as u64, "exec ref");
            self.context.out.warn(&format!(
                "{} {refs} not looked at; give --allow-exec",
                self.skipped
            ));
        }
    }

    /// The members of the family, and `root`.
    fn document(&self, mode: &str, changed: &[&PathBuf]) -> Value {
        json!({
            "mode": mode,
            "root": self.site.root,
            "changed": !changed.is_empty(),
            "changedFiles": changed,
            "checks": {
                "resolvability": true,
                "resolvabilityComplete": self.skipped == 0,
            },
            "refsChecked": self.draft.refs - self.skipped,
            "skippedExecRefs": self.skipped,
            "warningCount": self.draft.warnings.len(),
            "warnings": self.draft.warnings,
        })
    }
}

/// One file's changes, values masked.
pub(in crate::cli::secrets) fn show_diff(
    context: &Context,
    change: &FileChange,
) -> Result<(), CliError> {
    let out = &context.out;
    let path = shown_path(&change.path);
    out.data(&out.paint(Tone::Strong, &format!("--- {path}")))?;
    out.data(&out.paint(Tone::Strong, &format!("+++ {path}")))?;
    for Edit {
        place,
        line,
        before,
        after,
    } in &change.edits
    {
        let line = line
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        let head = shown(&format!("@@ {place}{line} @@"));
        out.data(&out.paint(Tone::Faint, &head))?;
        if *before != Shown::Nothing {
            let text = shown(&format!("-  {before}"));
            out.data(&out.paint(Tone::Bad, &text))?;
        }
        if *after != Shown::Nothing {
            let text = shown(&format!("+  {after}"));
            out.data(&out.paint(Tone::Good, &text))?;
        }
    }
    if change.after.is_none() {
        let text = out.paint(Tone::Bad, "-  (the whole file)");
        out.data(&text)?;
    }
    Ok(())
}

fn paths<'a>(files: &[&'a FileChange]) -> Vec<&'a PathBuf> {
    files.iter().map(|change| &change.path).collect()
}

/// The same for programs.
pub(in crate::cli::secrets) fn diff_json(change: &FileChange) -> Value {
    let edit = |edit: &Edit| {
        json!({
            "place": edit.place,
            "line": edit.line,
            "before": edit.before.to_string(),
            "after": edit.after.to_string(),
        })
    };
    json!({
        "file": change.path,
        "removed": change.after.is_none(),
        "edits": change.edits.iter().map(edit).collect::<Vec<_>>(),
    })
}
