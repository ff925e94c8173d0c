//! What lies on the disk: the state folder, the configs, the vault file, the profiles.

use super::{Findings, Severity};
use crate::cli::context::Context;
use crate::cli::error::advice;
use crate::cli::{agents, session, state_files};
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::runtime::status::{glance, slot_kind_name};
use crate::store::Options;
use crate::vault::Header;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Looks at the files, as far as they can be found.
pub(super) fn check(context: &Context, findings: &mut Findings) {
    if !context.state.exists() {
        let message = format!("{} does not exist", context.state.root().display());
        let remedy = "make it with `reseal init`, or name another with --state-dir";
        findings.bad("state folder", Severity::Error, message, remedy);
        if context.named_config.is_some() {
            check_config(context, findings);
        }
        return;
    }
    check_state_folder(context, findings);
    check_config(context, findings);
    match context.settings() {
        Ok(_) => check_vault(context, findings),
        Err(error) => {
            if context.has_foreign_config() {
                config_broken(&context.state.config(), error.failure, findings);
            }
            let message = "not looked at: the config says where it is";
            findings.add("vault", Severity::Note, message, None);
        }
    }
    check_profiles(context, findings);
}

fn check_state_folder(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "state folder";
    let root = context.state.root();
    match context.state.check() {
        Ok(()) => findings.ok(CHECK, format!("{} is private", root.display())),
        Err(error) => {
            let remedy = format!("chmod 700 {}", root.display());
            findings.bad(CHECK, Severity::Error, error.to_string(), remedy);
        }
    }
}

fn check_config(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "config";
    let path = context.config();
    match state_files::config(context) {
        Err(failure) => config_broken(&path, failure, findings),
        Ok(config) => {
            let shown = path.display();
            if path.exists() {
                findings.ok(CHECK, format!("{shown} is valid"));
            } else {
                findings.ok(CHECK, format!("there is no {shown}: the defaults hold"));
            }
            check_config_plaintext(&config, findings);
        }
    }
}

fn config_broken(path: &Path, failure: Failure, findings: &mut Findings) {
    let remedy = remedy(path, &failure, "mend the place that the message names");
    findings.bad("config", Severity::Error, failure.message, remedy);
}

fn check_config_plaintext(config: &Config, findings: &mut Findings) {
    for input in config.secret_inputs().iter().filter(|i| i.is_plaintext()) {
        let path = &input.path;
        let message = format!("{}: {path} holds a plaintext secret", config.file);
        let remedy = format!("reseal secrets set {path} --ref vault:NAME --move");
        findings.bad("plaintext", Severity::Warning, message, remedy);
    }
}

/// What to do about a file that was refused: the mode or the owner if it is that.
fn remedy(path: &Path, failure: &Failure, otherwise: &str) -> String {
    let shown = path.display();
    let metadata = fs::metadata(path).ok();
    let metadata = metadata.filter(|_| failure.code == Code::FilePermission);
    let me = rustix::process::geteuid().as_raw();
    match metadata {
        Some(file) if file.is_dir() => format!("{shown} is a folder: name a file"),
        Some(file) if file.uid() != me => {
            format!("chown {me} {shown}, or run as user {}", file.uid())
        }
        Some(file) if file.mode() & 0o777 != 0o600 => format!("chmod 600 {shown}"),
        _ => advice(failure.code).unwrap_or(otherwise).to_owned(),
    }
}

fn check_vault(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "vault";
    let path = match session::vault_path(context) {
        Ok(path) => path,
        Err(error) => {
            let remedy = "mend vault.path in the config";
            findings.bad(CHECK, Severity::Error, error.failure.message, remedy);
            return;
        }
    };
    let header = match session::read_header(&path, false) {
        Ok((_, header)) => header,
        Err(error) => {
            let failure = error.failure;
            let remedy = match failure.code {
                Code::VaultCorrupt => "restore a backup; keep the damaged file".to_owned(),
                _ => remedy(&path, &failure, "see the message"),
            };
            findings.bad(CHECK, Severity::Error, failure.message, remedy);
            return;
        }
    };
    check_private_file(CHECK, &path, findings);
    check_age(context, &path, findings);
    check_slots(&header, findings);
}

/// Whether this machine has seen a newer vault, as far as that shows without a key.
fn check_age(context: &Context, path: &Path, findings: &mut Findings) {
    const CHECK: &str = "rollback";
    match glance(path, Options::default(), &context.state.anchors()) {
        Ok(()) => findings.ok(
            CHECK,
            "the vault looks no older than what this machine has seen (its key says more: \
             `reseal vault verify`)",
        ),
        Err(failure) => {
            let remedy = remedy(path, &failure, "see the message");
            findings.bad(CHECK, Severity::Error, failure.message, remedy);
        }
    }
}

fn check_slots(header: &Header, findings: &mut Findings) {
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

fn check_profiles(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "profiles";
    // What is wrong with the config was said above.
    let defaults = state_files::config(context).unwrap_or_default().defaults;
    for id in agents::ids(context).unwrap_or_default() {
        let path = context.state.auth_profiles(&id);
        let store = match state_files::profiles_with(context, &id, &defaults) {
            Ok(store) => store,
            Err(failure) => {
                let remedy = remedy(&path, &failure, "mend the place that the message names");
                findings.bad(CHECK, Severity::Error, failure.message, remedy);
                continue;
            }
        };
        if path.exists() {
            check_private_file(CHECK, &path, findings);
        }
        for found in store.plaintext() {
            let (profile, field) = (&found.profile, found.field);
            let message = format!("{id}: {profile} holds a plaintext {field}");
            let remedy = if found.shadowed {
                format!(
                    "a ref beside it wins: remove {field} from {}",
                    path.display()
                )
            } else {
                format!("reseal --agent {id} secrets set {profile} --ref vault:NAME --move")
            };
            findings.bad("plaintext", Severity::Warning, message, remedy);
        }
    }
}
