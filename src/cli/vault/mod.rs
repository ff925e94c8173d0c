//! `reseal vault`: the file, its keyslots, and the daemon that holds it open.

pub mod audit;
pub mod compact;
pub mod credential_slot;
pub mod export;
pub mod fingerprint;
pub mod import;
pub mod keyring_slot;
pub mod lock;
pub mod rekey;
pub mod slot;
pub mod status;
pub mod trust;
pub mod unlock;
mod vault_owner;
pub mod verify;

use super::context::Context;
use super::error::Done;
use super::lazy::Lazy;
use clap::{Args, Subcommand};

/// Arguments of `vault`.
#[derive(Args)]
pub struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Subcommand)]
enum VaultCommand {
    /// Open the vault and hold it open in a daemon
    Unlock(Lazy<unlock::UnlockCommandArgs>),
    /// Wipe the keys and the snapshot; the daemon ends
    Lock(Lazy<lock::LockArgs>),
    /// Show how things stand; works while the vault is locked
    Status(Lazy<status::StatusArgs>),
    /// Check every byte of the file without changing it
    Verify(Lazy<verify::VerifyArgs>),
    /// The daemon's log: who asked for what, and what came of it
    Audit(Lazy<audit::AuditArgs>),
    /// List, add and remove the ways to open the vault
    Slot(Lazy<slot::SlotArgs>),
    /// Make a new vault key and seal everything again
    Rekey(Lazy<rekey::RekeyArgs>),
    /// Drop what newer versions replaced
    Compact(Lazy<compact::CompactArgs>),
    /// Write everything to a standard age file
    Export(Lazy<export::ExportArgs>),
    /// Read an export into the vault
    Import(Lazy<import::ImportArgs>),
    /// Show what a person compares to recognise the vault
    Fingerprint(Lazy<fingerprint::FingerprintArgs>),
    /// Trust the vault that stands here now, after comparing its fingerprint
    Trust(Lazy<trust::TrustArgs>),
}

/// Runs `vault`.
pub fn run(context: &Context, args: VaultArgs) -> Done {
    match args.command {
        VaultCommand::Unlock(args) => unlock::run(context, args.0),
        VaultCommand::Lock(args) => lock::run(context, args.0),
        VaultCommand::Status(args) => status::run(context, args.0),
        VaultCommand::Verify(args) => verify::run(context, args.0),
        VaultCommand::Audit(args) => audit::run(context, args.0),
        VaultCommand::Slot(args) => slot::run(context, args.0),
        VaultCommand::Rekey(args) => rekey::run(context, args.0),
        VaultCommand::Compact(args) => compact::run(context, args.0),
        VaultCommand::Export(args) => export::run(context, args.0),
        VaultCommand::Import(args) => import::run(context, args.0),
        VaultCommand::Fingerprint(args) => fingerprint::run(context, args.0),
        VaultCommand::Trust(args) => trust::run(context, args.0),
    }
}
