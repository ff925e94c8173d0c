//! What the daemon knows: how it stands, its snapshot, and the refs that lead nowhere.

use super::{Findings, Severity, of_memory, sandbox};
use crate::cli::context::Context;
use crate::cli::error::{CliError, advice};
use crate::cli::session;
use crate::daemon::client::Client;
use crate::error::Code;
use crate::runtime::service::{
    DaemonStatus, RefOutcome, RefReport, Reply, Request, Service, SnapshotState, SnapshotStatus,
};

const CHECK: &str = "daemon";
/// The most refs that are told one by one.
const MAX_SHOWN_REFS: usize = 20;

/// Asks the daemon, if one runs.
pub(super) fn check(context: &Context, findings: &mut Findings) {
    if context.settings().is_err() {
        let message = "not looked at: the config says where it is";
        findings.add(CHECK, Severity::Note, message, None);
        return;
    }
    match session::daemon(context) {
        Ok(Some(client)) => ask(client, findings),
        Ok(None) => {
            findings.ok(CHECK, "none runs");
            sandbox::of_kernel(findings);
            let message = "not resolved: the vault is locked (`reseal secrets resolve` does it)";
            findings.add("refs", Severity::Note, message, None);
        }
        Err(error) => refused(error, findings),
    }
}

fn refused(error: CliError, findings: &mut Findings) {
    let advice = advice(error.failure.code).unwrap_or("see the message");
    let remedy = error.hint.as_deref().unwrap_or(advice);
    findings.bad(CHECK, Severity::Error, error.failure.message, remedy);
}

fn ask(mut client: Client, findings: &mut Findings) {
    match session::ask(&mut client, "ask", Request::Status, Vec::new()) {
        Ok(answer) => {
            let Reply::Status(status) = answer.reply else {
                return;
            };
            check_version(status.daemon.as_ref(), findings);
            sandbox::of_daemon(status.daemon.as_ref(), findings);
            if let Some(memory) = status.daemon.and_then(|daemon| daemon.memory) {
                of_memory("of the daemon: ", &memory, findings);
            }
            check_snapshot(&status.snapshot, findings);
        }
        Err(error) => {
            refused(error, findings);
            return;
        }
    }
    let request = Request::Report { agent: None };
    match client.call(request, Vec::new()) {
        Ok(answer) => {
            if let Reply::Report(report) = answer.reply {
                check_refs(&report.refs, findings);
            }
        }
        Err(failure) => refused(CliError::new("ask", failure), findings),
    }
}

fn check_version(daemon: Option<&DaemonStatus>, findings: &mut Findings) {
    let version = daemon.map_or("", |daemon| daemon.version.as_str());
    if version == env!("CARGO_PKG_VERSION") {
        findings.ok(CHECK, format!("runs, version {version}"));
    } else {
        let message = format!("it has version {version}, this program another");
        let remedy = "reseal vault lock, then unlock again";
        findings.bad(CHECK, Severity::Warning, message, remedy);
    }
}

fn check_snapshot(snapshot: &SnapshotStatus, findings: &mut Findings) {
    const CHECK: &str = "snapshot";
    let remedy = "`reseal secrets resolve` shows every ref and why it failed";
    match snapshot.state {
        SnapshotState::Active => findings.ok(CHECK, "every required ref is resolved"),
        SnapshotState::Sealed => findings.add(CHECK, Severity::Note, "there is none", None),
        SnapshotState::Degraded => {
            let message = "degraded: the last activation failed, older values are in use";
            findings.bad(CHECK, Severity::Warning, message, remedy);
        }
        SnapshotState::Failed => {
            let message = "failed: a required ref did not resolve, so there is no snapshot";
            findings.bad(CHECK, Severity::Error, message, remedy);
        }
    }
}

fn check_refs(refs: &[RefReport], findings: &mut Findings) {
    const CHECK: &str = "refs";
    let dead = refs.iter().filter(|r| r.outcome == RefOutcome::Error);
    let dead: Vec<&RefReport> = dead.collect();
    if dead.is_empty() {
        findings.ok(CHECK, "all that are in use resolve");
    }
    let severity = |entry: &RefReport| match entry.optional {
        true => Severity::Warning,
        false => Severity::Error,
    };
    for entry in dead.iter().take(MAX_SHOWN_REFS) {
        let why = entry.failure.as_ref();
        let why = why.map_or("it does not resolve", |failure| failure.message.as_str());
        let remedy = why_remedy(entry);
        let message = format!("{}: {why}", entry.owner);
        findings.bad(CHECK, severity(entry), message, remedy);
    }
    let rest = dead.get(MAX_SHOWN_REFS..).unwrap_or_default();
    if let Some(worst) = rest.iter().map(|entry| severity(entry)).max() {
        let message = format!("{} more do not resolve", rest.len());
        findings.bad(CHECK, worst, message, "see `reseal secrets resolve`");
    }
}

/// A missing record is stored; everything else is mended where the ref stands.
fn why_remedy(entry: &RefReport) -> String {
    let absent = entry
        .failure
        .as_ref()
        .is_some_and(|failure| failure.code == Code::RefAbsent);
    let record = entry.reference.as_ref().and_then(|r| r.record());
    match record.filter(|_| absent) {
        Some(name) => format!("reseal secrets set {name}"),
        None => format!("mend the ref in {}, or what it points at", entry.file),
    }
}
