//! `reseal doctor`.

mod confirm;
mod holder;
mod installation;
mod keyring;
mod openclaw;
mod sandbox;

use super::context::Context;
use super::error::{CliError, Done};
use super::lazy::Lazy;
use super::output::{Tone, fold, shown};
use super::session;
use crate::runtime::memory::MemoryStatus;
use crate::sys::{arena, clock};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Arguments of `doctor`.
///
/// Exits 1 if a finding says that secrets are not safe, or that the vault or a secret that is in
/// use can't be had. What is sealed is looked at only if a daemon has the vault open.
#[derive(Args)]
pub struct DoctorArgs {
    #[command(subcommand)]
    runtime: Option<Runtime>,
}

#[derive(Subcommand)]
enum Runtime {
    /// Check that OpenClaw takes this program as an exec provider; print the block for its config
    Openclaw(Lazy<openclaw::OpenclawArgs>),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Ok,
    Note,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    check: &'static str,
    severity: Severity,
    message: String,
    remedy: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Severity::Ok, message, None);
    }

    fn bad(
        &mut self,
        check: &'static str,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, severity, message, Some(remedy.into()));
    }

    fn add(
        &mut self,
        check: &'static str,
        severity: Severity,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        self.0.push(Finding {
            check,
            severity,
            message: message.into(),
            remedy,
        });
    }
}

/// Looks at everything.
pub fn run(context: &Context, args: DoctorArgs) -> Done {
    if let Some(Runtime::Openclaw(args)) = args.runtime {
        return openclaw::run(context, args.0);
    }
    let mut findings = Findings::default();
    installation::check(context, &mut findings);
    keyring::check(context, &mut findings);
    check_memory(&mut findings);
    check_core_dumps(&mut findings);
    check_clock(context, &mut findings);
    confirm::check(context, &mut findings);
    holder::check(context, &mut findings);
    check_program(&mut findings);
    let worst = findings.0.iter().map(|finding| finding.severity).max();
    print(context, &findings.0)?;
    Ok(u8::from(worst >= Some(Severity::Error)))
}

/// Where messages start: after severity and check.
const INDENT: usize = 7 + 2 + 12 + 2;

fn print(context: &Context, findings: &[Finding]) -> Result<(), CliError> {
    if context.out.json {
        return context
            .out
            .document(&serde_json::json!({"findings": findings}));
    }
    context.out.data(&lines(context, findings))
}

/// The findings as lines of text.
fn lines(context: &Context, findings: &[Finding]) -> String {
    let out = &context.out;
    let mut lines = Vec::new();
    for finding in findings {
        let (label, tone) = match finding.severity {
            Severity::Ok => ("ok     ", Tone::Good),
            Severity::Note => ("note   ", Tone::Faint),
            Severity::Warning => ("warning", Tone::Warning),
            Severity::Error => ("error  ", Tone::Bad),
        };
        let check = format!("{:<12}", finding.check);
        let message = fold(&shown(&finding.message), out.columns(), INDENT, INDENT);
        lines.push(format!("{}  {check}  {message}", out.paint(tone, label)));
        if let Some(remedy) = &finding.remedy {
            let remedy = fold(&shown(remedy), out.columns(), INDENT + 3, INDENT + 3);
            lines.push(format!("{:INDENT$}-> {remedy}", ""));
        }
    }
    lines.join("\n")
}

/// What is to be known of memory for secrets; `whose` stands before it.
fn of_memory(whose: &str, memory: &MemoryStatus, findings: &mut Findings) {
    if let Some((text, remedy)) = memory.warning() {
        findings.bad(
            "memory",
            Severity::Warning,
            format!("{whose}{text}"),
            remedy,
        );
    }
}

fn check_memory(findings: &mut Findings) {
    const CHECK: &str = "memory";
    let status = arena::status();
    match status.backing {
        arena::Backing::SecretMemory => {
            findings.ok(
                CHECK,
                "secrets lie in memory that not even root reads (memfd_secret)",
            );
        }
        arena::Backing::Locked => findings.ok(CHECK, "secrets lie in locked memory"),
        arena::Backing::Unlocked => of_memory("", &MemoryStatus::here(), findings),
    }
    let swap = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let areas = swap.lines().count().saturating_sub(1);
    if areas == 0 {
        findings.ok("swap", "there is none");
    } else if status.backing == arena::Backing::Unlocked {
        let message = format!("{areas} swap areas are in use, and memory can't be locked");
        findings.bad(
            "swap",
            Severity::Warning,
            message,
            "encrypt the swap, or lock memory",
        );
    } else {
        findings.ok(
            "swap",
            format!("{areas} in use; secrets are kept out of it"),
        );
    }
}

fn check_core_dumps(findings: &mut Findings) {
    const CHECK: &str = "core dumps";
    let core = rustix::process::getrlimit(rustix::process::Resource::Core);
    if core.current == Some(0) {
        findings.ok(CHECK, "this program writes none");
    } else {
        let remedy = "allow the program to lower its own limits";
        findings.bad(
            CHECK,
            Severity::Warning,
            "this program may write one",
            remedy,
        );
    }
}

/// 2026-01-01: no machine runs this program before it was written.
const WRITTEN_AFTER_MS: u64 = 1_767_225_600_000;

fn check_clock(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let now = clock::now();
    let vault = session::vault_path(context)
        .ok()
        .and_then(|path| fs::metadata(path).ok());
    let written = vault.map_or(0, |metadata| {
        u64::try_from(metadata.mtime()).unwrap_or(0) * 1000
    });
    let remedy = "set the clock: the expiry of tokens depends on it";
    if now.0 < WRITTEN_AFTER_MS {
        let message = format!("it says {}", super::when::date_and_time(now));
        findings.bad(CHECK, Severity::Error, message, remedy);
    } else if written > now.0 + 60_000 {
        let message = "the vault was written in the future".to_owned();
        findings.bad(CHECK, Severity::Warning, message, remedy);
    } else {
        findings.ok(CHECK, super::when::date_and_time(now));
    }
}

/// Whether another runtime would take this program as an exec provider.
fn check_program(findings: &mut Findings) {
    const CHECK: &str = "program path";
    let Ok(path) = std::env::current_exe() else {
        return;
    };
    let me = rustix::process::geteuid().as_raw();
    for part in path.ancestors() {
        let Ok(metadata) = fs::symlink_metadata(part) else {
            continue;
        };
        let mode = metadata.permissions().mode();
        let sticky = metadata.is_dir() && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !sticky {
            let message = format!(
                "{} can be written by others (mode {:04o})",
                part.display(),
                mode & 0o7777
            );
            let remedy = format!("chmod go-w {}", part.display());
            findings.bad(CHECK, Severity::Warning, message, remedy);
            return;
        }
        if ![me, 0].contains(&metadata.uid()) {
            let message = format!("{} belongs to user {}", part.display(), metadata.uid());
            findings.bad(
                CHECK,
                Severity::Warning,
                message,
                "install the program elsewhere",
            );
            return;
        }
    }
    let owner = fs::metadata(&path).map_or(me, |metadata| metadata.uid());
    if owner != me {
        findings.add(
            CHECK,
            Severity::Note,
            format!(
                "{} belongs to root: OpenClaw takes only a copy of your own as an exec provider \
                 (`reseal doctor openclaw`)",
                path.display()
            ),
            None,
        );
    } else {
        findings.ok(
            CHECK,
            format!("{} suits as an exec provider", path.display()),
        );
    }
}
