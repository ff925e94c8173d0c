//! Entries of the keyring, once what they held is in the vault: removed, each after one more look.

use crate::apply::Report;
use crate::cli::auth::moving;
use crate::cli::context::Context;
use crate::error::{Code, Failure};
use crate::migrate::{Entry, Migration, Moving};
use crate::name::RecordName;
use crate::runtime::service::{Request, Service};
use crate::vault::{Expect, RecordKind};

/// Removes the entries, which are held; says of each whether it went.
pub(super) fn remove(
    context: &Context,
    migration: &Migration,
    service: &mut dyn Service,
    report: &mut Report,
) -> Vec<(Entry, Result<(), Failure>)> {
    let entries = migration.entries.iter();
    let outcome = entries.map(|Moving { entry, record }| {
        let mut gone = moving::remove(context, entry);
        if let Err(failure) = &mut gone
            && failure.code == Code::ConfigConflict
            && report.stored.contains(record)
        {
            take_back(migration, record, service, report, failure);
        }
        (entry.clone(), gone)
    });
    outcome.collect()
}

/// Takes a record out of the vault again whose tokens are not the newest: renewing it would have a
/// refresh token sent a second time, at which a server may revoke all of them.
fn take_back(
    migration: &Migration,
    record: &RecordName,
    service: &mut dyn Service,
    report: &mut Report,
    failure: &mut Failure,
) {
    let mut new = migration.draft.changes.records.iter();
    let is_account = new.any(|new| new.name == *record && new.kind == RecordKind::OAuth);
    let name = record.clone();
    let request = match is_account {
        true => Request::SignOut {
            name,
            local_only: true,
        },
        false => Request::Remove {
            name,
            expect: Expect::Any,
        },
    };
    match service.call(request, Vec::new()) {
        Ok(_) => {
            report.stored.retain(|stored| stored != record);
            failure.message += "; the vault does not have its older tokens any more";
        }
        Err(why) => {
            failure.message += &format!(
                "; its older tokens are in the vault as {record} ({}): remove them with `reseal \
                 secrets rm {record}`",
                why.message
            );
        }
    }
}
