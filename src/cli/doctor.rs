//! `reseal doctor`.

use super::context::Context;
use super::error::{CliError, Done};
use super::output::{Tone, fold, shown};
use super::session;
use crate::error::Code;
use crate::runtime::service::{Reply, Request};
use crate::runtime::status::slot_kind_name;
use crate::sys::{arena, clock};
use clap::Args;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Arguments of `doctor`.
///
/// Exits 1 if a finding says that secrets are not safe or the vault can't be used.
#[derive(Args)]
pub struct DoctorArgs {}

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
    #[serde(skip_serializing_if = "Option::is_none")]
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
pub fn run(context: &Context, _args: DoctorArgs) -> Done {
    let mut findings = Findings::default();
    check_state_folder(context, &mut findings);
    check_vault(context, &mut findings);
    check_state_files(context, &mut findings);
    check_memory(&mut findings);
    check_core_dumps(&mut findings);
    check_clock(context, &mut findings);
    check_daemon(context, &mut findings);
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
    out.data(&lines.join("\n"))
}

fn check_state_folder(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "state folder";
    let root = context.state.root();
    if !context.state.exists() {
        let message = format!("{} does not exist", root.display());
        findings.bad(
            CHECK,
            Severity::Error,
            message,
            "make it with `reseal init`",
        );
        return;
    }
    match context.state.check() {
        Ok(()) => findings.ok(CHECK, format!("{} is private", root.display())),
        Err(error) => {
            let remedy = format!("chmod 700 {}", root.display());
            findings.bad(CHECK, Severity::Error, error.to_string(), remedy);
        }
    }
}

fn check_vault(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "vault";
    let read = session::vault_path(context)
        .and_then(|path| Ok((session::read_header(&path, false)?.1, path)));
    let (header, path) = match read {
        Ok(read) => read,
        Err(error) => {
            let remedy = match error.failure.code {
                Code::VaultAbsent => "make one with `reseal init`",
                Code::FilePermission => "chmod 600 the file, and make it yours",
                Code::VaultNetworkFs => "move it to a local disk, or give --allow-network-fs",
                _ => "restore a backup; keep the damaged file",
            };
            findings.bad(CHECK, Severity::Error, error.failure.message, remedy);
            return;
        }
    };
    check_private_file(CHECK, &path, findings);
    let kinds: Vec<&str> = header
        .slots()
        .iter()
        .map(|slot| slot_kind_name(slot.kind))
        .collect();
    findings.ok("keyslots", kinds.join(", "));
    if !kinds.contains(&"recovery") && kinds.len() == 1 {
        let message = "there is only one way to open the vault";
        let remedy = "add a second: `reseal vault slot add recovery`";
        findings.bad("keyslots", Severity::Warning, message, remedy);
    }
    if kinds.contains(&"age") {
        findings.add(
            "keyslots",
            Severity::Note,
            "an age slot can be recorded now and opened by a future quantum computer; the vault is \
             only as safe as its weakest slot",
            None,
        );
    }
}

/// Says so if a file can be read by others.
fn check_private_file(check: &'static str, path: &Path, findings: &mut Findings) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o777;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 {
        let message = format!("{} has mode {mode:04o}: others can use it", path.display());
        findings.bad(
            check,
            Severity::Error,
            message,
            format!("chmod 600 {}", path.display()),
        );
    } else if !ours {
        let message = format!("{} belongs to user {}", path.display(), metadata.uid());
        let remedy = format!("chown it, or run as that user: {}", path.display());
        findings.bad(check, Severity::Warning, message, remedy);
    } else {
        findings.ok(check, format!("{} is private", path.display()));
    }
}

fn check_state_files(context: &Context, findings: &mut Findings) {
    if let Err(failure) = super::state_files::config(context) {
        let remedy = "mend the place that the message names";
        findings.bad("config", Severity::Error, failure.message, remedy);
    } else {
        findings.ok("config", format!("{} is valid", context.config().display()));
    }
    let ids = super::agents::ids(context).unwrap_or_default();
    for id in ids {
        let path = context.state.auth_profiles(&id);
        match super::state_files::profiles(context, &id) {
            Err(failure) => {
                let remedy = "mend the place that the message names";
                findings.bad("profiles", Severity::Error, failure.message, remedy);
            }
            Ok(_) if path.exists() => check_private_file("profiles", &path, findings),
            Ok(_) => {}
        }
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
        arena::Backing::Unlocked => findings.bad(
            CHECK,
            Severity::Warning,
            "memory can't be locked: secrets may reach swap",
            "raise the limit for locked memory (ulimit -l, LimitMEMLOCK=) to 8 MiB",
        ),
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

fn check_daemon(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "daemon";
    let status = session::daemon(context).and_then(|client| match client {
        None => Ok(None),
        Some(mut client) => session::ask(&mut client, "ask", Request::Status, Vec::new()).map(Some),
    });
    match status {
        Ok(None) => findings.ok(CHECK, "none runs"),
        Ok(Some(answer)) => {
            let Reply::Status(status) = answer.reply else {
                return;
            };
            let version = status
                .daemon
                .map(|daemon| daemon.version)
                .unwrap_or_default();
            if version == env!("CARGO_PKG_VERSION") {
                findings.ok(CHECK, format!("runs, version {version}"));
            } else {
                let message = format!("it has version {version}, this program another");
                let remedy = "reseal vault lock, then unlock again";
                findings.bad(CHECK, Severity::Warning, message, remedy);
            }
        }
        Err(error) => {
            let remedy = "see the message; a stale socket may be removed";
            findings.bad(CHECK, Severity::Error, error.failure.message, remedy);
        }
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
                "{} belongs to root: OpenClaw takes it as an exec provider only with \
                 allowInsecurePath, or as a copy of your own",
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
