//! `reseal vault status`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::output::{Tone, shown};
use crate::cli::session::{self, unexpected};
use crate::cli::when;
use crate::error::Code;
use crate::runtime::service::{
    Answer, DaemonStatus, LockState, Reply, Request, Service, SnapshotState, SnapshotStatus,
    Status, VaultStatus,
};
use clap::Args;
use std::time::Duration;

/// Arguments of `vault status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Exit 4 if the vault is locked
    #[arg(long)]
    check: bool,

    /// Look at a vault on a network file system
    #[arg(long)]
    allow_network_fs: bool,
}

const DOING: &str = "read the status";

/// Shows the status.
pub fn run(context: &Context, args: StatusArgs) -> Done {
    let status = read(context, args.allow_network_fs)?;
    let locked = status.state == LockState::Locked;
    print(context, &status)?;
    if args.check && locked {
        return Ok(CliError::because(DOING, Code::VaultSealed, "").exit_code());
    }
    Ok(0)
}

/// Asks the daemon, or reads what a locked vault shows.
pub fn read(context: &Context, allow_network_fs: bool) -> Result<Status, CliError> {
    if let Some(mut client) = session::daemon(context)? {
        match client.call(Request::Status, Vec::new()) {
            Ok(Answer {
                reply: Reply::Status(status),
                ..
            }) => return Ok(status),
            Ok(Answer { reply, .. }) => return Err(unexpected(DOING, &reply)),
            // The daemon can't go on with this vault, as after a rekey elsewhere: it is locked.
            Err(failure) if failure.code == Code::VaultSealed => {
                context
                    .out
                    .warn(&shown(&format!("the daemon can't answer: {failure}")));
            }
            Err(failure) => return Err(CliError::new(DOING, failure)),
        }
    }
    let (file, header) = session::read_header(&session::vault_path(context)?, allow_network_fs)?;
    Ok(crate::runtime::status::locked(
        &file,
        &header,
        &context.state.anchors(),
    ))
}

/// Shows a status.
pub fn print(context: &Context, status: &Status) -> Result<(), CliError> {
    if context.out.json {
        return context.out.document(status);
    }
    let out = &context.out;
    let state = match status.state {
        LockState::Locked => out.paint(Tone::Warning, "locked"),
        LockState::Unlocked => out.paint(Tone::Good, "unlocked"),
    };
    let mut lines = vec![field(out, "State", &state)];
    if let Some(vault) = &status.vault {
        vault_lines(context, vault, &mut lines);
    }
    lines.push(field(out, "Daemon", &daemon_line(status.daemon.as_ref())));
    snapshot_lines(context, &status.snapshot, &mut lines);
    out.data(&lines.join("\n"))
}

fn field(out: &crate::cli::output::Output, name: &str, text: &str) -> String {
    format!("{} {text}", out.paint(Tone::Strong, &format!("{name:<12}")))
}

fn vault_lines(context: &Context, vault: &VaultStatus, lines: &mut Vec<String>) {
    let out = &context.out;
    lines.push(field(out, "Vault", &shown(&vault.path)));
    lines.push(field(out, "Fingerprint", &vault.fingerprint));
    let mut contents = Vec::new();
    if let Some(records) = vault.records {
        contents.push(format!("{records} {}", plural(records, "record")));
    }
    if let Some(generation) = vault.generation {
        contents.push(format!("generation {generation}"));
    }
    contents.push(size(vault.bytes));
    if vault.epoch > 1 {
        contents.push(format!("epoch {}", vault.epoch));
    }
    lines.push(field(out, "Contents", &contents.join(", ")));
    if let Some(rollback) = &vault.rollback {
        let (generation, remembered) = (rollback.generation, rollback.remembered);
        let text = format!("to generation {generation}; this machine has seen {remembered}");
        lines.push(field(out, "Rolled back", &out.paint(Tone::Bad, &text)));
    }
    for (i, slot) in vault.slots.iter().enumerate() {
        let name = if i == 0 { "Keyslots" } else { "" };
        let mut text = format!("{}  {}", slot.id, slot.kind);
        if let Some(Some(label)) = &slot.label {
            text.push_str(&format!(" \"{}\"", shown(label)));
        }
        if let Some(kdf) = &slot.kdf {
            text.push_str(&format!(" ({})", shown(kdf)));
        }
        lines.push(field(out, name, &text));
    }
}

fn daemon_line(daemon: Option<&DaemonStatus>) -> String {
    let Some(daemon) = daemon else {
        return "not running".to_owned();
    };
    let mut text = format!("pid {}", daemon.pid);
    if daemon.version != env!("CARGO_PKG_VERSION") {
        text.push_str(&format!(", version {}", shown(&daemon.version)));
    }
    let limits = [
        ("locks in", daemon.ttl_remaining_ms),
        ("when idle in", daemon.idle_remaining_ms),
    ];
    for (what, left) in limits {
        if let Some(left) = left {
            text.push_str(&format!(
                ", {what} {}",
                when::span(Duration::from_millis(left))
            ));
        }
    }
    text
}

fn snapshot_lines(context: &Context, snapshot: &SnapshotStatus, lines: &mut Vec<String>) {
    let out = &context.out;
    let state = match snapshot.state {
        SnapshotState::Sealed => "sealed".to_owned(),
        SnapshotState::Active => out.paint(Tone::Good, "active"),
        SnapshotState::Degraded => out.paint(Tone::Warning, "degraded"),
        SnapshotState::Failed => out.paint(Tone::Bad, "failed"),
    };
    let mut text = state;
    if snapshot.state != SnapshotState::Sealed {
        text.push_str(&format!(", {}", counts(snapshot.places, snapshot.refs)));
        if let Some(generation) = snapshot.generation {
            text.push_str(&format!(", generation {generation}"));
        }
        if let Some(since) = snapshot.since {
            text.push_str(&format!(", since {}", when::date_and_time(since)));
        }
    }
    lines.push(field(out, "Snapshot", &text));
    for failed in &snapshot.failures {
        let why = failed
            .failure
            .as_ref()
            .map_or("", |failure| failure.message.as_str());
        lines.push(field(out, "", &shown(&format!("{}: {why}", failed.owner))));
    }
}

/// How many refs are in use, and in how many places: a ref may stand in more than one.
pub fn counts(places: u64, refs: u64) -> String {
    let (place, reference) = (plural(places, "place"), plural(refs, "ref"));
    format!("{places} {place}, {refs} {reference}")
}

/// A noun with an s when there is not exactly one.
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in units {
        if bytes >= size {
            let tenths = bytes * 10 / size;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}
