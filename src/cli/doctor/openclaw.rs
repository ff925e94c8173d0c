//! `reseal doctor openclaw`: would an OpenClaw take this program as its exec provider, and what has
//! to stand in its config.
//!
//! The rules are those that its versions check before they start a command, with their strictest
//! reading: what a version since 2026.9 refuses is an error even where an older one can be told to
//! look away.

use super::{Finding, Findings, Severity, lines};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Done};
use crate::cli::output::shown_path;
use crate::cli::session;
use crate::document::Document;
use crate::error::Failure;
use crate::plan::draw::exec_definition;
use crate::store::files::{self, MAX_STATE_FILE};
use clap::Args;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Arguments of `doctor openclaw`.
///
/// Checks the rules that OpenClaw has for the command of an exec provider, and prints the block for
/// its config. With --config, which names OpenClaw's own config, the providers that stand there are
/// checked. Exits 1 if OpenClaw would refuse.
#[derive(Args)]
pub struct OpenclawArgs {
    /// The program that OpenClaw shall start [default: this one]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,

    /// The user whom OpenClaw's gateway runs as [default: the owner of its config, else you]
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
}

/// An exec provider as it stands in a config, or as it would.
struct Wiring {
    /// What findings call it.
    check: &'static str,
    command: PathBuf,
    args: Option<Vec<String>>,
    trusted_dirs: Option<Vec<PathBuf>>,
    /// `allowInsecurePath` and `allowSymlinkCommand`, which versions before 2026.9 heed.
    lax: [bool; 2],
}

/// Looks at everything and prints what to paste.
pub fn run(context: &Context, args: OpenclawArgs) -> Done {
    let doing = "look at how OpenClaw would start this program";
    let own = std::env::current_exe().map_err(|error| files_failure(Path::new("itself"), &error));
    let own = own.doing(doing)?;
    let uid = args.uid.or_else(|| owner(context.named_config.as_deref()?));
    let uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let wired = match &context.named_config {
        Some(path) => wired(path).doing("read OpenClaw's config")?,
        None => Vec::new(),
    };
    let is_wired = !wired.is_empty();
    let program = args.program.clone().unwrap_or_else(|| own.clone());
    let subjects = match (is_wired, args.program.is_some()) {
        (true, false) => wired,
        _ => vec![Wiring {
            check: "program",
            command: program.clone(),
            args: None,
            trusted_dirs: None,
            lax: [false; 2],
        }],
    };
    let mut findings = Findings::default();
    if context.named_config.is_some() && !is_wired {
        let message = "no exec provider of its config is this program";
        findings.add("provider", Severity::Note, message, None);
    }
    let copy = context.state.root().join("bin/reseal");
    let copying = Copying {
        own: &own,
        to: &copy,
        uid,
    };
    for subject in &subjects {
        check_command(subject, &copying, &mut findings);
        check_copy(subject, &copying, &mut findings);
        check_arguments(subject, uid, &mut findings);
    }
    check_state_folder(context, uid, &mut findings);
    check_vault(context, &mut findings);
    let command = suiting(&program, &copying);
    report(
        context,
        &findings.0,
        &block(&command, context.state.root()),
        uid,
        is_wired,
    )
}

/// How to make a copy that belongs to the gateway's user.
struct Copying<'a> {
    own: &'a Path,
    to: &'a Path,
    uid: u32,
}

impl Copying<'_> {
    fn remedy(&self) -> String {
        let me = rustix::process::geteuid().as_raw();
        let owner = match self.uid == me {
            true => String::new(),
            false => format!("-o {} ", self.uid),
        };
        let (from, to) = (shown_path(self.own), shown_path(self.to));
        format!("install -D {owner}-m 755 {from} {to}, and name that copy; again after an update")
    }
}

fn owner(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.uid())
}

fn files_failure(path: &Path, error: &std::io::Error) -> Failure {
    crate::cli::error::io_failure(path, error)
}

/// The exec providers of a config that start this program.
fn wired(path: &Path) -> Result<Vec<Wiring>, Failure> {
    let bytes = files::read(path, MAX_STATE_FILE)?;
    let bytes = bytes.ok_or_else(|| {
        let absent = std::io::Error::from(std::io::ErrorKind::NotFound);
        files_failure(path, &absent)
    })?;
    let document = Document::parse_bytes(&bytes, &path.display().to_string())?;
    let providers = document.value().pointer("/secrets/providers");
    let providers = providers.and_then(Value::as_object).into_iter().flatten();
    Ok(providers
        .filter_map(|(_, provider)| wiring(provider))
        .collect())
}

fn wiring(provider: &Value) -> Option<Wiring> {
    let texts = |name: &str| -> Option<Vec<String>> {
        let list = provider.get(name)?.as_array()?.iter();
        Some(list.filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let command = PathBuf::from(provider.get("command")?.as_str()?);
    let args = texts("args").unwrap_or_default();
    let ours = args.iter().any(|arg| arg == "exec-provider")
        || command.file_name().is_some_and(|name| name == "reseal");
    let set = |name: &str| provider.get(name).and_then(Value::as_bool) == Some(true);
    (provider.get("source")?.as_str()? == "exec" && ours).then(|| Wiring {
        check: "provider",
        command,
        args: Some(args),
        trusted_dirs: texts("trustedDirs")
            .map(|folders| folders.into_iter().map(PathBuf::from).collect()),
        lax: [set("allowInsecurePath"), set("allowSymlinkCommand")],
    })
}

/// The characters that OpenClaw takes for a shell's.
const UNSAFE: &[char] = &[
    ';', '&', '|', '$', '<', '>', '`', '"', '\'', '\r', '\n', '\0',
];

fn check_command(subject: &Wiring, copying: &Copying<'_>, findings: &mut Findings) {
    let path = &subject.command;
    let name = shown_path(path);
    let severity = |lax: bool| {
        if lax {
            Severity::Warning
        } else {
            Severity::Error
        }
    };
    let [_, symlinks] = subject.lax;
    let before = findings.0.len();
    let mut bad = |lax, message: String, remedy: String| {
        findings.bad(subject.check, severity(lax), message, remedy);
    };
    let text = path.to_str().filter(|text| !text.contains(UNSAFE));
    if !path.is_absolute() || text.is_none() {
        let message = format!(
            "{name}: OpenClaw takes only an absolute path without quotes, line \
                               ends and characters of a shell"
        );
        return bad(false, message, copying.remedy());
    }
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return bad(false, format!("{name} can't be read"), copying.remedy());
    };
    if metadata.is_symlink() {
        let real = fs::canonicalize(path).unwrap_or_else(|_| copying.to.to_path_buf());
        let remedy = format!("name {} instead", shown_path(&real));
        bad(
            symlinks,
            format!("{name} is a symbolic link, which OpenClaw refuses"),
            remedy,
        );
    }
    // Whatever a link leads to has to keep the other rules.
    let metadata = fs::metadata(path).unwrap_or(metadata);
    if !metadata.is_file() {
        return bad(false, format!("{name} is no file"), copying.remedy());
    }
    if let Some(folders) = &subject.trusted_dirs
        && !folders.iter().any(|folder| path.starts_with(folder))
    {
        let parent = path.parent().unwrap_or(path);
        let remedy = format!("add {} to trustedDirs", shown_path(parent));
        bad(false, format!("{name} lies outside trustedDirs"), remedy);
    }
    check_owner(subject, &metadata, copying, findings);
    if findings.0.len() == before {
        findings.ok(subject.check, format!("OpenClaw starts {name}"));
    }
}

/// Who may change the program, and who may start it.
fn check_owner(
    subject: &Wiring,
    metadata: &fs::Metadata,
    copying: &Copying<'_>,
    findings: &mut Findings,
) {
    let name = shown_path(&subject.command);
    let severity = if subject.lax[0] {
        Severity::Warning
    } else {
        Severity::Error
    };
    let mut bad = |severity, message: String, remedy: String| {
        findings.bad(subject.check, severity, message, remedy);
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        let message = format!("{name} can be written by others (mode {mode:04o})");
        bad(severity, message, format!("chmod go-w {name}"));
    }
    if metadata.uid() != copying.uid {
        let message = format!(
            "{name} belongs to user {}, and OpenClaw takes only what belongs to the user whom it \
             runs as ({}), not even root's",
            metadata.uid(),
            copying.uid
        );
        bad(severity, message, copying.remedy());
    } else if mode & 0o100 == 0 {
        bad(
            Severity::Error,
            format!("{name} can't be executed"),
            format!("chmod u+x {name}"),
        );
    }
}

/// A copy grows old when this program is updated.
fn check_copy(subject: &Wiring, copying: &Copying<'_>, findings: &mut Findings) {
    let size = |path: &Path| {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        metadata.map(|metadata| metadata.len())
    };
    let (theirs, ours) = (size(&subject.command), size(copying.own));
    let bytes = || (fs::read(&subject.command), fs::read(copying.own));
    let same = || matches!(bytes(), (Ok(theirs), Ok(ours)) if theirs == ours);
    if theirs.is_some() && (theirs != ours || !same()) {
        let message = format!(
            "{} is another build than this",
            shown_path(&subject.command)
        );
        let (from, to) = (shown_path(copying.own), shown_path(&subject.command));
        let remedy = format!("install -m 755 {from} {to}");
        findings.bad(subject.check, Severity::Warning, message, remedy);
    }
}

/// OpenClaw starts a provider without HOME, so the state folder has to be an argument.
fn check_arguments(subject: &Wiring, uid: u32, findings: &mut Findings) {
    let Some(args) = &subject.args else { return };
    let mut bad = |message: String, remedy: &str| {
        findings.bad("arguments", Severity::Error, message, remedy);
    };
    let see = "see the block below";
    if !args.iter().any(|arg| arg == "exec-provider") {
        return bad("exec-provider is not among the arguments".to_owned(), see);
    }
    let after = args.iter().skip_while(|arg| *arg != "--state-dir").nth(1);
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--state-dir="));
    let Some(folder) = after.map(String::as_str).or(joined).map(Path::new) else {
        let message = "--state-dir is not among the arguments, and OpenClaw passes no HOME on";
        return bad(message.to_owned(), see);
    };
    let name = shown_path(folder);
    match owner(folder).filter(|_| folder.is_absolute()) {
        None => bad(
            format!("{name} is no state folder with an absolute path"),
            see,
        ),
        Some(owner) if owner != uid => {
            bad(format!("{name} belongs to user {owner}, not to {uid}"), see);
        }
        Some(_) => findings.ok("arguments", "they name the state folder"),
    }
}

fn check_state_folder(context: &Context, uid: u32, findings: &mut Findings) {
    const CHECK: &str = "state folder";
    let root = shown_path(context.state.root());
    match owner(context.state.root()) {
        None => {
            let remedy = "make it with `reseal init`, or name another with --state-dir";
            findings.bad(
                CHECK,
                Severity::Error,
                format!("{root} does not exist"),
                remedy,
            );
        }
        Some(owner) if owner != uid => {
            let message = format!("{root} belongs to user {owner}; OpenClaw runs as {uid}");
            let remedy = format!("make a state folder as user {uid}");
            findings.bad(CHECK, Severity::Error, message, remedy);
        }
        Some(_) => findings.ok(CHECK, format!("{root} belongs to the same user")),
    }
}

fn check_vault(context: &Context, findings: &mut Findings) {
    const CHECK: &str = "vault";
    match session::daemon(context) {
        Ok(Some(_)) => findings.ok(CHECK, "a daemon has it open"),
        Ok(None) => {
            let message = "it is locked: the gateway would not start with it (exit code 4)";
            let remedy = "reseal vault unlock, before the gateway starts";
            findings.bad(CHECK, Severity::Warning, message, remedy);
        }
        Err(error) => {
            let remedy = "`reseal doctor` says more";
            findings.bad(CHECK, Severity::Error, error.failure.message, remedy);
        }
    }
}

/// The path for the block: the program's real path if it belongs to the right user, else that of
/// the copy.
fn suiting(program: &Path, copying: &Copying<'_>) -> PathBuf {
    let real = fs::canonicalize(program).ok();
    let mine = real.filter(|real| owner(real) == Some(copying.uid));
    mine.unwrap_or_else(|| copying.to.to_path_buf())
}

/// What has to stand in OpenClaw's config.
fn block(command: &Path, state: &Path) -> Value {
    let state = std::path::absolute(state).unwrap_or_else(|_| state.to_path_buf());
    let (command, state) = (command.to_string_lossy(), state.to_string_lossy());
    json!({"secrets": {
        "providers": {"reseal": exec_definition(&command, &state)},
        "defaults": {"exec": "reseal"},
    }})
}

fn report(
    context: &Context,
    findings: &[Finding],
    block: &Value,
    uid: u32,
    is_wired: bool,
) -> Done {
    let refused = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    let reference = json!({"source": "exec", "provider": "reseal", "id": "openai/default"});
    if context.out.json {
        context.out.document(&json!({
            "findings": findings, "uid": uid, "config": block, "exampleRef": reference,
        }))?;
        return Ok(u8::from(refused));
    }
    context.out.data(&lines(context, findings))?;
    if refused || !is_wired {
        context
            .out
            .data("\nFor OpenClaw's config (openclaw.json):\n")?;
        context.out.document(block)?;
        context
            .out
            .data(&format!("\nA key is then a ref such as {reference}"))?;
    }
    Ok(u8::from(refused))
}
