//! The keyring's side of a keyslot: its entry comes and goes with the slot.

use super::credential_slot;
use super::slot::short_id;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::output::shown;
use crate::cli::session::{Opened, asking};
use crate::error::{Code, Failure};
use crate::keyring::Keyring;
use crate::unlock::is_in_keyring;
use crate::unlock::keyring::SlotEntry;
use crate::vault::{Header, Slot, slot};

/// The keyring, once it is sure that it answers: before anything is asked or made.
pub fn reachable(context: &Context, doing: &str) -> Result<Keyring, CliError> {
    let keyring = Keyring::of_session(asking(context));
    keyring.state().doing(doing)?;
    Ok(keyring)
}

/// The slots whose keys lie in the keyring.
pub fn in_keyring(slots: &[Slot]) -> Vec<[u8; 16]> {
    let found = slots.iter().filter(|slot| is_in_keyring(slot.kind));
    found.map(|slot| slot.id).collect()
}

/// Refuses to remove a slot if only slots would be left whose keys lie elsewhere, in the keyring, a
/// credential or a TPM, and none of them is seen to open: the key can be gone without the vault
/// knowing.
pub fn check_rest(
    context: &Context,
    opened: &Opened,
    removed: &[u8; 16],
    doing: &str,
) -> Result<(), CliError> {
    let header = opened.vault.vault().header();
    let usable = header.slots().iter().filter(|slot| slot.is_usable());
    let rest: Vec<&Slot> = usable.filter(|slot| slot.id != *removed).collect();
    let is_elsewhere =
        |slot: &&Slot| is_in_keyring(slot.kind) || credential_slot::is_one(slot.kind);
    if rest.is_empty() || !rest.iter().all(is_elsewhere) {
        return Ok(());
    }
    let keyring = Keyring::of_session(asking(context));
    let mut why = Vec::new();
    for slot in rest {
        let said = match is_in_keyring(slot.kind) {
            true => match opens(header, slot, &keyring) {
                Ok(()) => return Ok(()),
                Err(failure) => failure.message,
            },
            false => "only this machine's systemd has its key, and may lose it".to_owned(),
        };
        why.push(format!("slot {}: {said}", short_id(&slot.id)));
    }
    let why = format!(
        "only slots of the keyring, of systemd or of a TPM would be left, and none of them is seen \
         to open the vault now ({})",
        why.join("; ")
    );
    Err(CliError::because(doing, Code::SlotLast, why)
        .hint("add another first, such as `reseal vault slot add recovery`"))
}

/// Whether a keyring slot opens the vault.
///
/// # Errors
/// Why it does not.
pub fn opens(header: &Header, slot: &Slot, keyring: &Keyring) -> Result<(), Failure> {
    let key = SlotEntry::of(&header.vault_id(), &slot.id).read(keyring)?;
    let root = slot::open_raw(header, slot, &key)?;
    let wrong = || Failure::new(Code::SlotNoMatch, "its entry holds another key");
    root.map(|_| ()).ok_or_else(wrong)
}

/// Removes the entries of slots that are gone; says so where that fails.
pub fn remove_entries(context: &Context, vault_id: &[u8; 16], ids: &[[u8; 16]]) {
    if ids.is_empty() {
        return;
    }
    let keyring = Keyring::of_session(asking(context));
    for id in ids {
        if let Err(fault) = SlotEntry::of(vault_id, id).remove(&keyring) {
            let (id, why) = (short_id(id), Failure::from(fault).message);
            let why = shown(&why);
            context.out.warn(&format!(
                "the entry of keyslot {id} is still in the keyring ({why}); remove it there: its \
                 service is \"reseal\""
            ));
        }
    }
}
