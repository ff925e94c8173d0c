//! The keyring of the system: whether it answers, and whether the vault's keys are in it.

use super::{Findings, Severity};
use crate::cli::context::Context;
use crate::cli::error::advice;
use crate::cli::session;
use crate::cli::vault::keyring_slot::opens;
use crate::error::Failure;
use crate::keyring::{Asking, Keyring};
use crate::runtime::status::shown_slot_id;
use crate::unlock::is_in_keyring;
use crate::vault::Header;

const CHECK: &str = "keyring";

/// Looks at the keyring without asking anybody to unlock it.
pub(super) fn check(context: &Context, findings: &mut Findings) {
    let keyring = Keyring::of_session(Asking::Never);
    let header = session::vault_path(context)
        .and_then(|path| session::read_header(&path, false))
        .map(|(_, header)| header);
    let has_slot = |header: &Header| header.slots().iter().any(|slot| is_in_keyring(slot.kind));
    let header = header.ok().filter(has_slot);
    match keyring.state() {
        Err(fault) => {
            let failure = Failure::from(fault);
            match header {
                None => findings.add(CHECK, Severity::Note, failure.message, None),
                Some(_) => bad(failure.message.clone(), &failure, findings),
            }
        }
        Ok(state) if state.locked => {
            let message = format!("{:?} answers and is locked", state.collection);
            findings.add(CHECK, Severity::Note, message, None);
        }
        Ok(state) => {
            findings.ok(
                CHECK,
                format!("{:?} answers and is unlocked", state.collection),
            );
            if let Some(header) = header {
                check_entries(&header, &keyring, findings);
            }
        }
    }
}

/// Whether the keyslots find their keys.
fn check_entries(header: &Header, keyring: &Keyring, findings: &mut Findings) {
    for slot in header
        .slots()
        .iter()
        .filter(|slot| is_in_keyring(slot.kind))
    {
        let id = shown_slot_id(slot);
        match opens(header, slot, keyring) {
            Ok(()) => findings.ok(CHECK, format!("it opens keyslot {id}")),
            Err(failure) => {
                let message = format!("it does not open keyslot {id}: {}", failure.message);
                bad(message, &failure, findings);
            }
        }
    }
}

fn bad(message: String, failure: &Failure, findings: &mut Findings) {
    let remedy = advice(failure.code).unwrap_or("open the vault in another way");
    findings.bad(CHECK, Severity::Warning, message, remedy);
}
