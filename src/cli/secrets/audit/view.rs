//! How an audit reads for people: by kind of finding, by file, each kind with what to do.

use crate::audit::{Finding, FindingCode, Report, Severity, Status};
use crate::cli::error::CliError;
use crate::cli::output::{DEFAULT_WIDTH, Output, Tone, fold, shown};

/// The most findings of one kind that are listed without `--verbose`.
const MAX_LISTED: usize = 40;
/// The most findings of one kind and one file that are listed without `--verbose`.
const MAX_LISTED_OF_FILE: usize = 12;
/// The most skipped things that are listed without `--verbose`.
const MAX_SKIPPED: usize = 10;

/// Prints a report.
pub fn print(out: &Output, report: &Report) -> Result<(), CliError> {
    let page = Page {
        out,
        width: out.columns().unwrap_or(DEFAULT_WIDTH),
        home: std::env::var("HOME").unwrap_or_default(),
    };
    let mut lines = vec![page.headline(report), page.counts(report)];
    for code in FindingCode::ALL {
        let mut findings: Vec<&Finding> =
            report.findings.iter().filter(|f| f.code == code).collect();
        findings.sort_by(|a, b| (a.severity, &a.file).cmp(&(b.severity, &b.file)));
        if !findings.is_empty() {
            page.group(code, &findings, &mut lines);
        }
    }
    page.skipped(report, &mut lines);
    if report.findings.is_empty() {
        lines.push(page.looked_at(report));
    }
    out.data(&lines.join("\n"))
}

struct Page<'a> {
    out: &'a Output,
    width: usize,
    home: String,
}

impl Page<'_> {
    fn headline(&self, report: &Report) -> String {
        let (word, tone) = match report.status {
            Status::Clean => ("clean", Tone::Good),
            Status::Findings => ("findings", Tone::Warning),
            Status::Unresolved => ("unresolved", Tone::Bad),
        };
        format!("Secrets audit: {}.", self.out.paint(tone, word))
    }

    /// The counts of the family's own audit, then ours where there are any.
    fn counts(&self, report: &Report) -> String {
        let summary = &report.summary;
        let mut counts = vec![
            format!("plaintext={}", summary.plaintext_count),
            format!("unresolved={}", summary.unresolved_ref_count),
            format!("shadowed={}", summary.shadowed_ref_count),
            format!("legacy={}", summary.legacy_residue_count),
        ];
        let ours = [
            ("backups", summary.backup_count),
            ("residue", summary.store_residue_count),
            ("copies", summary.vault_copy_count),
            ("keys", summary.key_count),
            ("placeholders", summary.placeholder_count),
            ("permissions", summary.permissions_count),
            ("git", summary.git_tracked_count),
            ("skipped", report.skipped.len()),
        ];
        let ours = ours.iter().filter(|(_, count)| *count > 0);
        counts.extend(ours.map(|(name, count)| format!("{name}={count}")));
        fold(&counts.join(", "), Some(self.width), 0, 0)
    }

    fn group(&self, code: FindingCode, findings: &[&Finding], lines: &mut Vec<String>) {
        lines.push(String::new());
        let title = self.out.paint(Tone::Strong, code.title());
        let name = self.out.paint(Tone::Faint, code.as_str());
        lines.push(format!("{title}  {name}"));
        let (mut listed, mut left_out) = (0, 0);
        for of_file in findings.chunk_by(|a, b| a.file == b.file) {
            let most = if self.out.verbose {
                usize::MAX
            } else {
                MAX_LISTED_OF_FILE.min(MAX_LISTED - listed)
            };
            let shown_here = &of_file[..of_file.len().min(most)];
            if let Some(first) = shown_here.first() {
                lines.push(format!("  {}", shown(&self.tilde(&first.file))));
            }
            for finding in shown_here {
                lines.push(self.finding(finding));
                // What is special to a finding is said with it, the rest once below.
                if finding.remedy != code.remedy() {
                    lines.push(self.arrow(&finding.remedy, 6));
                }
            }
            listed = MAX_LISTED.min(listed + shown_here.len());
            left_out += of_file.len() - shown_here.len();
        }
        if left_out > 0 {
            lines.push(format!("    … and {left_out} more; --verbose lists all"));
        }
        if findings.iter().any(|f| f.remedy == code.remedy()) {
            lines.push(self.arrow(code.remedy(), 2));
        }
    }

    fn finding(&self, finding: &Finding) -> String {
        let (mark, tone) = match finding.severity {
            Severity::Error => ("✗", Tone::Bad),
            Severity::Warn => ("!", Tone::Warning),
            Severity::Info => ("·", Tone::Faint),
        };
        // The place is a part of most messages; where it is not, it comes first.
        let place = finding.place();
        let said = place.is_empty() || finding.message.contains(&place);
        let in_row = finding.table.is_some() || finding.json_path.as_deref() == Some("<root>");
        let line = finding.line.map(|line| format!("line {line}: "));
        let line = line.filter(|_| !finding.message.to_lowercase().contains("line "));
        let mut text = match (said, in_row && finding.table.is_some()) {
            (false, true) => format!("{place}: {}", finding.message),
            (false, false) if self.is_ref(finding) => format!("{place}: {}", finding.message),
            _ => finding.message.clone(),
        };
        if let Some(line) = line.filter(|_| !self.is_ref(finding)) {
            text.insert_str(0, &line);
        }
        let text = fold(&shown(&text), Some(self.width), 6, 6);
        format!("    {} {text}", self.out.paint(tone, mark))
    }

    fn is_ref(&self, finding: &Finding) -> bool {
        let has_path = finding.json_path.as_deref().is_some_and(|p| p != "<root>");
        finding.code == FindingCode::RefUnresolved && has_path
    }

    fn arrow(&self, text: &str, indent: usize) -> String {
        let text = fold(&shown(text), Some(self.width), indent + 2, indent + 2);
        let arrow = self.out.paint(Tone::Good, "→");
        format!("{:indent$}{arrow} {text}", "")
    }

    fn skipped(&self, report: &Report, lines: &mut Vec<String>) {
        if report.skipped.is_empty() {
            return;
        }
        lines.push(String::new());
        lines.push(self.out.paint(Tone::Strong, "Not looked at, so not clean"));
        let most = if self.out.verbose {
            usize::MAX
        } else {
            MAX_SKIPPED
        };
        for skipped in report.skipped.iter().take(most) {
            let text = format!("{}: {}", self.tilde(&skipped.what), skipped.reason);
            lines.push(format!(
                "  - {}",
                fold(&shown(&text), Some(self.width), 4, 4)
            ));
        }
        if let more @ 1.. = report.skipped.len().saturating_sub(most) {
            lines.push(format!("  … and {more} more; --verbose lists all"));
        }
    }

    fn looked_at(&self, report: &Report) -> String {
        let files = report.files_scanned.len();
        let refs = report.resolution.refs_checked;
        let of = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            count => format!("{count} {noun}s"),
        };
        format!("Looked at {} and {}.", of(files, "file"), of(refs, "ref"))
    }

    /// A path as people write it.
    fn tilde(&self, path: &str) -> String {
        match path.strip_prefix(&self.home) {
            Some(rest) if !self.home.is_empty() && rest.starts_with('/') => format!("~{rest}"),
            _ => path.to_owned(),
        }
    }
}
