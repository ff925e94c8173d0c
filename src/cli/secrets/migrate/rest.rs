//! What stands in the folder in plaintext afterwards, as an audit of its files finds it: also what
//! equals no value that moved.

use crate::audit::{self, FindingCode, Order, Report, Skipped, Vault};
use crate::cli::context::Context;
use crate::family::Folder;
use std::collections::BTreeMap;

/// The findings that are plaintext. Copies of the vault's values were searched before.
const PLAINTEXT: [FindingCode; 5] = [
    FindingCode::PlaintextFound,
    FindingCode::LegacyResidue,
    FindingCode::BackupPlaintext,
    FindingCode::StorePlaintextResidue,
    FindingCode::KeyFound,
];

/// The plaintext of one file.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// How often something was found.
    pub(super) findings: usize,
    /// Where the first of it stands.
    pub(super) first: String,
    pub(super) codes: Vec<FindingCode>,
}

/// What an audit found.
#[derive(Debug)]
pub(super) struct Rest {
    /// By file.
    pub(super) files: BTreeMap<String, Plain>,
    /// Files and folders that it did not look at.
    pub(super) skipped: Vec<Skipped>,
}

/// Looks at every file of the folder as it is now.
pub(super) fn look(context: &Context, folder: &Folder) -> Rest {
    context
        .out
        .progress("Looking at every file for what stays ...");
    let environment = |name: &str| std::env::var_os(name);
    Rest::of(audit::run(&Order {
        folder: folder.clone(),
        vault: Vault::Absent,
        allow_exec: false,
        history: None,
        units: None,
        environment: &environment,
    }))
}

impl Rest {
    fn of(report: Report) -> Self {
        let mut files: BTreeMap<String, Plain> = BTreeMap::new();
        for finding in report.findings {
            if PLAINTEXT.contains(&finding.code) {
                let place = finding.place();
                let plain = files.entry(finding.file).or_default();
                if plain.findings == 0 {
                    plain.first = place;
                }
                plain.findings += 1;
                if !plain.codes.contains(&finding.code) {
                    plain.codes.push(finding.code);
                }
            }
        }
        // Refs are not files; whether they resolve is another question.
        let skipped = report.skipped.into_iter();
        let skipped = skipped.filter(|skipped| skipped.what.starts_with('/'));
        Self {
            files,
            skipped: skipped.collect(),
        }
    }
}
