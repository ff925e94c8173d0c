//! `reseal daemon install`: the units, as files that systemd reads.
//!
//! Invariants: all files are looked at before the first is written; one that a person changed is
//! replaced only with `--force`: the first line of each holds a digest of the rest. Nothing is
//! enabled or started: the commands for that are told.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::output::shown_path;
use crate::cli::unit_file::{self, SYSTEM_CREDENTIAL};
use crate::crypto::hash::sha256;
use crate::error::Code;
use crate::store::files;
use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const DOING: &str = "install the units";
/// The largest unit that is read, in bytes.
const MAX_UNIT: usize = 256 << 10;
const SERVICE: &str = "reseal.service";
const SOCKET: &str = "reseal.socket";
/// Where the system's vault lies.
const SYSTEM_STATE: &str = "/var/lib/reseal";
/// Where the system's daemon listens.
const SYSTEM_SOCKET: &str = "/run/reseal/daemon.sock";
/// Folders that the hardened unit does not see, or sees empty.
const UNSEEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// What stands before the digest in the first line of a unit.
const MARK: &str = "# Installed by `reseal daemon install`; changes belong into a drop-in. Digest ";

/// Arguments of `daemon install`.
///
/// Writes reseal.service, and with --with-socket reseal.socket, then tells the commands that start
/// them. The system's daemon runs as the user reseal on the vault in /var/lib/reseal and listens at
/// /run/reseal/daemon.sock. Safe to run again: a unit that was edited stays, and an option that the
/// installed one has must be named again, unless --force is given. A socket that is there is kept
/// in step.
#[derive(Args)]
pub struct InstallArgs {
    /// For the machine [default for root]
    #[arg(long, conflicts_with = "user")]
    system: bool,

    /// For the user who runs this, on the state folder that is in use [default for others]
    #[arg(long)]
    user: bool,

    /// Let systemd listen: clients wait, and are not refused, while the daemon starts again
    #[arg(long)]
    with_socket: bool,

    /// Who can reach the socket of the machine's daemon; the same as `daemon.share` of its config
    /// [default: own]
    #[arg(long, value_enum, conflicts_with = "user")]
    share: Option<Share>,

    /// The credential with the vault's key, from `vault slot add systemd-creds` [default:
    /// /etc/reseal/reseal.key.cred if that is there]
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    credential: Option<PathBuf>,

    /// A file with the vault's key as it is, which systemd reads as root
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// The program that the unit starts [default: this one]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,

    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Replace units that were edited, and take away options that are not named
    #[arg(long)]
    force: bool,

    /// Write below this folder instead of /
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Who can reach a socket. What they get there, the grants decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Share {
    /// The daemon's user
    Own,
    /// The group reseal too
    Group,
    /// Every user of the machine
    Everyone,
}

impl Share {
    /// The modes of the socket's folder and of the socket.
    fn modes(self) -> (&'static str, &'static str) {
        match self {
            Share::Own => ("0700", "0600"),
            Share::Group => ("0750", "0660"),
            Share::Everyone => ("0755", "0666"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Share::Own => "own",
            Share::Group => "group",
            Share::Everyone => "everyone",
        }
    }
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Written,
    Updated,
    Replaced,
    Unchanged,
    Edited,
}

/// One file to install.
#[derive(Serialize)]
struct Unit {
    path: PathBuf,
    action: Action,
    text: String,
    #[serde(skip)]
    before: Option<Vec<u8>>,
}

/// Runs `daemon install`.
pub fn run(context: &Context, args: &InstallArgs) -> Done {
    let plan = Plan::new(context, args)?;
    let units = plan.units(args)?;
    if !args.force {
        plan.check_options(args, &units)?;
    }
    let edited = units.iter().find(|unit| unit.action == Action::Edited);
    if let Some(unit) = edited.filter(|_| !args.dry_run) {
        let why = format!("{} was edited by somebody", unit.path.display());
        return Err(CliError::because(DOING, Code::FileExists, why).hint(
            "move the changes into a drop-in (`systemctl edit reseal.service`), then give --force \
             to replace it",
        ));
    }
    if !args.dry_run {
        for unit in &units {
            write(unit)?;
        }
    }
    report(context, args, &plan, &units)
}

/// What the units are filled with.
struct Plan {
    system: bool,
    prefix: PathBuf,
    folder: PathBuf,
    program: PathBuf,
    /// The line with the credential.
    credential: Option<String>,
    state: PathBuf,
    socket: PathBuf,
    share: Share,
    /// Asked for, or there already.
    with_socket: bool,
    /// What follows `reseal daemon install` to get the same again.
    options: Vec<String>,
}

impl Plan {
    fn new(context: &Context, args: &InstallArgs) -> Result<Self, CliError> {
        let system = args.system || (!args.user && rustix::process::geteuid().is_root());
        let prefix = args.prefix.clone().unwrap_or_else(|| PathBuf::from("/"));
        let (folder, state, socket) = if system {
            let folder = PathBuf::from("/etc/systemd/system");
            (
                folder,
                PathBuf::from(SYSTEM_STATE),
                PathBuf::from(SYSTEM_SOCKET),
            )
        } else {
            let (state, socket) = (context.state.root().to_owned(), context.daemon_socket()?);
            (user_units()?, state, socket)
        };
        let with_socket = args.with_socket || below(&prefix, &folder).join(SOCKET).exists();
        let plan = Self {
            system,
            program: program(args, system)?,
            credential: credential(args, system, &prefix)?,
            prefix,
            folder,
            state,
            socket,
            share: args.share.unwrap_or(Share::Own),
            with_socket,
            options: named(args, system, with_socket),
        };
        for path in [&plan.program, &plan.state, &plan.socket] {
            unit_file::check_path(path, DOING)?;
        }
        Ok(plan)
    }

    fn units(&self, args: &InstallArgs) -> Result<Vec<Unit>, CliError> {
        let service = match self.system {
            true => include_str!("units/system.service"),
            false => include_str!("units/user.service"),
        };
        let socket = match self.system {
            true => include_str!("units/system.socket"),
            false => include_str!("units/user.socket"),
        };
        let mut units = vec![self.unit(SERVICE, service, args.force)?];
        if self.with_socket {
            units.push(self.unit(SOCKET, socket, args.force)?);
        }
        Ok(units)
    }

    fn unit(&self, name: &str, template: &str, force: bool) -> Result<Unit, CliError> {
        let path = below(&self.prefix, &self.folder).join(name);
        let nothing = "# Nothing opens the vault yet: see `reseal vault slot add systemd-creds`.";
        let (folder_mode, socket_mode) = self.share.modes();
        let body = template
            .replace("{folder_mode}", folder_mode)
            .replace("{socket_mode}", socket_mode)
            .replace("{program}", &self.program.to_string_lossy())
            .replace("{state}", &self.state.to_string_lossy())
            .replace("{socket}", &self.socket.to_string_lossy())
            .replace(
                "{credential}",
                self.credential.as_deref().unwrap_or(nothing),
            );
        let text = format!("{MARK}{}\n{body}", digest(&body));
        let before = files::read(&path, MAX_UNIT).doing(DOING)?;
        let action = match &before {
            None => Action::Written,
            Some(before) if *before == text.as_bytes() => Action::Unchanged,
            Some(before) if is_as_installed(before) => Action::Updated,
            Some(_) if force => Action::Replaced,
            Some(_) => Action::Edited,
        };
        Ok(Unit {
            path,
            action,
            text,
            before,
        })
    }

    /// Refuses to take away what the installed service has and nobody named: whoever runs this
    /// again to see what is missing must not close a socket or lose the key by it.
    fn check_options(&self, args: &InstallArgs, units: &[Unit]) -> Result<(), CliError> {
        let Some(service) = units.first().filter(|unit| unit.action == Action::Updated) else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(service.before.as_deref().unwrap_or_default());
        let Installed {
            share,
            credential,
            program,
        } = Installed::read(&text);
        let mut lost = Vec::new();
        if args.share.is_none() && self.system && share.is_some_and(|share| share != self.share) {
            lost.extend(share.map(|share| format!("--share {}", share.name())));
        }
        let is_named = args.credential.is_some() || args.key_file.is_some();
        if !is_named && credential.is_some() && credential != self.credential.as_deref() {
            lost.extend(credential.and_then(unit_file::option_of));
        }
        if args.program.is_none() && program.is_some_and(|program| self.program != program) {
            lost.extend(program.map(|program| format!("--program {}", program.display())));
        }
        if lost.is_empty() {
            return Ok(());
        }
        let why = format!(
            "the installed {SERVICE} has {}, which this would take away",
            lost.join(" ")
        );
        let again = [&self.options[..], &lost].concat().join(" ");
        Err(
            CliError::because(DOING, Code::FileExists, why).hint(format!(
                "run `reseal daemon install {again}`, name other values, or give --force"
            )),
        )
    }

    /// The commands that come next.
    fn next(&self, units: &[Unit]) -> Vec<String> {
        let mut next = Vec::new();
        if self.system {
            self.next_of_system(&mut next);
        }
        let systemctl = match self.system {
            true => "systemctl",
            false => "systemctl --user",
        };
        let is = |actions: &'static [Action]| move |unit: &Unit| actions.contains(&unit.action);
        if !units.iter().all(is(&[Action::Unchanged])) {
            next.push(format!("{systemctl} daemon-reload"));
        }
        let names = match self.with_socket {
            true => format!("{SOCKET} {SERVICE}"),
            false => SERVICE.to_owned(),
        };
        // systemd refuses to start or restart a socket whose service runs, even together with it.
        let changed = units.iter().any(is(&[Action::Updated, Action::Replaced]));
        let added = units.iter().skip(1).any(is(&[Action::Written]))
            && !units.iter().take(1).all(is(&[Action::Written]));
        if changed || added {
            next.push(format!("{systemctl} stop {names}"));
        }
        next.push(format!("{systemctl} enable --now {names}"));
        next
    }

    fn next_of_system(&self, next: &mut Vec<String>) {
        let users = fs::read_to_string(below(&self.prefix, Path::new("/etc/passwd")));
        let users = users.unwrap_or_default();
        let reseal = format!("reseal --state-dir {SYSTEM_STATE}");
        if !users.lines().any(|line| line.starts_with("reseal:")) {
            next.push(format!(
                "useradd -r -M -d {SYSTEM_STATE} -s /usr/sbin/nologin reseal"
            ));
        }
        let vault = below(&self.prefix, Path::new(SYSTEM_STATE)).join("vault.reseal");
        if !vault.exists() {
            next.push(format!(
                "install -d -o reseal -g reseal -m 700 {SYSTEM_STATE}"
            ));
            next.push(format!("runuser -u reseal -- {reseal} init"));
        }
        if self.credential.is_none() {
            next.push(format!("{reseal} vault slot add systemd-creds"));
            let options = self.options.join(" ");
            next.push(format!("reseal daemon install {options}"));
        }
    }
}

fn report(context: &Context, args: &InstallArgs, plan: &Plan, units: &[Unit]) -> Done {
    let out = &context.out;
    let next = plan.next(units);
    if out.json {
        out.document(&serde_json::json!({
            "scope": if plan.system { "system" } else { "user" },
            "dryRun": args.dry_run,
            "units": units,
            "next": next,
        }))?;
        return Ok(0);
    }
    for unit in units {
        let path = shown_path(&unit.path);
        if args.dry_run {
            out.say(&format!("{} {path}", would(unit.action)));
            out.data(unit.text.trim_end())?;
        } else {
            out.say(&format!("{} {path}", did(unit.action)));
        }
    }
    for file in [&args.key_file, &args.program].into_iter().flatten() {
        let is_key = args.key_file.as_ref() == Some(file);
        if let Some(why) = open_to_others(file, is_key, plan.system) {
            out.warn(&format!("{} {why}", shown_path(file)));
        }
    }
    if plan.credential.is_none() && plan.system {
        out.warn("the unit has no credential: the daemon will not be able to open the vault");
    }
    let mut text = "Next:".to_owned();
    for command in next {
        // Writing to a String can't fail.
        let _ = write!(text, "\n  {command}");
    }
    out.say(&text);
    Ok(0)
}

fn did(action: Action) -> &'static str {
    match action {
        Action::Written => "Wrote",
        Action::Updated => "Updated",
        Action::Replaced => "Replaced the edited",
        Action::Unchanged => "Unchanged:",
        Action::Edited => "Edited by somebody:",
    }
}

fn would(action: Action) -> &'static str {
    match action {
        Action::Written => "Would write",
        Action::Updated => "Would update",
        Action::Replaced => "Would replace the edited",
        Action::Unchanged => "Would leave",
        Action::Edited => "Would refuse to replace the edited",
    }
}

fn write(unit: &Unit) -> Result<(), CliError> {
    if unit.action == Action::Unchanged {
        return Ok(());
    }
    unit_file::make_folder_of(&unit.path, DOING)?;
    files::write_public(&unit.path, unit.before.as_deref(), unit.text.as_bytes()).doing(DOING)
}

/// What is wrong with the owner or the mode of a file that a unit names, if it is there.
fn open_to_others(file: &Path, is_key: bool, system: bool) -> Option<&'static str> {
    let facts = fs::metadata(file).ok()?;
    if system && facts.uid() != 0 {
        return Some("is not root's: its owner can change what the daemon of the machine gets");
    }
    match is_key {
        true if facts.mode() & 0o077 != 0 => Some("holds the key, and others can read it"),
        false if facts.mode() & 0o022 != 0 => Some("can be changed by others, and then is started"),
        _ => None,
    }
}

/// The options of a unit that is installed.
struct Installed<'a> {
    share: Option<Share>,
    /// The line with the credential.
    credential: Option<&'a str>,
    program: Option<&'a Path>,
}

impl<'a> Installed<'a> {
    fn read(text: &'a str) -> Self {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let mode = value("RuntimeDirectoryMode=");
        let shares = Share::value_variants().iter().copied();
        let mut lines = text.lines();
        let program = value("ExecStart=").and_then(|line| line.split(' ').next());
        Self {
            share: mode.and_then(|mode| shares.clone().find(|share| share.modes().0 == mode)),
            credential: lines.find(|line| unit_file::option_of(line).is_some()),
            program: program.map(Path::new),
        }
    }
}

/// The options that get the same again.
fn named(args: &InstallArgs, system: bool, with_socket: bool) -> Vec<String> {
    let mut options = vec![if system { "--system" } else { "--user" }.to_owned()];
    if with_socket {
        options.push("--with-socket".to_owned());
    }
    options.extend(args.share.map(|share| format!("--share {}", share.name())));
    let paths = [
        ("--credential", &args.credential),
        ("--key-file", &args.key_file),
        ("--program", &args.program),
        ("--prefix", &args.prefix),
    ];
    for (option, path) in paths {
        options.extend(
            path.iter()
                .map(|path| format!("{option} {}", path.display())),
        );
    }
    options
}

fn digest(body: &str) -> String {
    HEXLOWER.encode(&sha256(&[body.as_bytes()])[..16])
}

/// True if nobody changed the text since it was installed, by whichever version.
fn is_as_installed(text: &[u8]) -> bool {
    let parts = std::str::from_utf8(text).ok().and_then(|text| {
        let (first, body) = text.split_once('\n')?;
        Some((first.strip_prefix(MARK)?, body))
    });
    parts.is_some_and(|(found, body)| found == digest(body))
}

/// The folder of a user's units.
fn user_units() -> Result<PathBuf, CliError> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = from("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| from("HOME").map(|home| PathBuf::from(home).join(".config")));
    config
        .map(|config| config.join("systemd/user"))
        .ok_or_else(|| {
            let why = "neither XDG_CONFIG_HOME nor HOME says where a user's units are";
            CliError::because(DOING, Code::Usage, why)
        })
}

/// The program that the unit starts; the system's must be one that the hardened unit can see.
fn program(args: &InstallArgs, system: bool) -> Result<PathBuf, CliError> {
    let path = match &args.program {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(|error| CliError::new(DOING, io_failure(Path::new("reseal"), &error)))?,
    };
    let unseen = UNSEEN.iter().find(|folder| path.starts_with(folder));
    if let Some(folder) = unseen.filter(|_| system) {
        let why = format!(
            "the unit can't start {}: it does not see {folder}",
            path.display()
        );
        let hint = format!(
            "run `install -m 755 {} /usr/local/bin/reseal` and use that one",
            path.display()
        );
        return Err(CliError::because(DOING, Code::InputInvalid, why).hint(hint));
    }
    Ok(path)
}

/// The line of the unit that hands over the vault's key.
fn credential(args: &InstallArgs, system: bool, prefix: &Path) -> Result<Option<String>, CliError> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let usual = PathBuf::from(SYSTEM_CREDENTIAL);
    let (path, line): (_, fn(&Path) -> String) = match (&args.credential, &args.key_file) {
        (Some(path), _) => (absolute(path), unit_file::encrypted_credential),
        (None, Some(path)) => (absolute(path), unit_file::plain_credential),
        (None, None) if system && below(prefix, &usual).exists() => {
            (usual, unit_file::encrypted_credential)
        }
        (None, None) => return Ok(None),
    };
    unit_file::check_path(&path, DOING)?;
    Ok(Some(line(&path)))
}

/// An absolute path below another root.
fn below(prefix: &Path, path: &Path) -> PathBuf {
    prefix.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_told_from_an_older_version() {
        let body = "[Service]\nType=notify\n";
        let text = format!("{MARK}{}\n{body}", digest(body));
        assert!(is_as_installed(text.as_bytes()));
        for edited in [
            text.replace("notify", "simple"),
            format!("{text}\n"),
            text.lines().skip(1).collect::<Vec<_>>().join("\n"),
            String::new(),
        ] {
            assert!(!is_as_installed(edited.as_bytes()), "{edited}");
        }
        assert!(!is_as_installed(b"\xff\n"));
    }
}
