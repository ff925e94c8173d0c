//! Changing who can open the vault. All of it needs the root key: somebody who has just shown a
//! keyslot's secret.

use super::{Committed, OpenVault};
use crate::error::{Code, Failure};
use crate::store::Writer;
use crate::sys;
use crate::vault::slot::{self, SlotContext};
use crate::vault::{KEPT_VERSIONS, NewSlot, Rewrite, RootKey, Slot, SlotNote, VaultMeta};

impl OpenVault {
    /// What a new slot is bound to.
    pub fn slot_context(&self) -> SlotContext {
        SlotContext::of(self.vault.header())
    }

    /// Adds a keyslot and returns its id. Wrapping the key, which may take long, is done before
    /// the writer lock is taken.
    ///
    /// # Errors
    /// `slot.limit`; `vault.corrupt` if the root key is not this vault's; as
    /// [`OpenVault::commit`].
    pub fn add_slot(
        &mut self,
        root: &RootKey,
        new: &NewSlot,
        note: SlotNote,
    ) -> Result<[u8; 16], Failure> {
        let slot = self.wrap(root, new)?;
        let id = slot.id;
        self.change_slots(root, |slots, meta| {
            meta.set_slot(&id, note);
            Ok(slot::add(slots, slot)?)
        })?;
        Ok(id)
    }

    /// Removes a keyslot. Who has opened the vault with it may have kept the root key: only
    /// [`OpenVault::rekey`] shuts them out.
    ///
    /// # Errors
    /// `slot.absent`; `slot.last`; as [`OpenVault::add_slot`].
    pub fn remove_slot(&mut self, root: &RootKey, id: &[u8; 16]) -> Result<Committed, Failure> {
        self.change_slots(root, |slots, _| Ok(slot::remove(slots, id)?))
    }

    /// Puts a new keyslot in the place of another and returns its id.
    ///
    /// # Errors
    /// `slot.absent`; as [`OpenVault::add_slot`].
    pub fn replace_slot(
        &mut self,
        root: &RootKey,
        id: &[u8; 16],
        new: &NewSlot,
        note: SlotNote,
    ) -> Result<[u8; 16], Failure> {
        let slot = self.wrap(root, new)?;
        let new_id = slot.id;
        self.change_slots(root, |slots, meta| {
            meta.set_slot(&new_id, note);
            Ok(slot::replace(slots, id, slot)?)
        })?;
        Ok(new_id)
    }

    /// Gives the vault a new root key and seals everything anew. `slots` wrap `new_root` in the
    /// context of the next epoch (`slot_context().next_epoch()`); `meta` holds their notes, the
    /// vault's own metadata stays if there is none. Older versions that automatic compaction
    /// keeps are sealed anew too.
    ///
    /// # Errors
    /// `vault.sealed` if another process gave it a new key meanwhile; `vault.conflict` if a new
    /// token waits to be stored, which could not be opened under another key; as
    /// [`OpenVault::add_slot`].
    pub fn rekey(
        &mut self,
        root: &RootKey,
        new_root: &RootKey,
        slots: Vec<Slot>,
        meta: Option<VaultMeta>,
    ) -> Result<Committed, Failure> {
        let mut writer = self.writer_for(root)?;
        self.check_nothing_waits()?;
        let mut salt = [0; 32];
        sys::random::fill(&mut salt);
        let what = Rewrite::Rekey {
            root: new_root,
            salt,
            slots,
        };
        self.rewrite(&mut writer, what, meta, KEPT_VERSIONS)?;
        Ok(self.committed())
    }

    /// Refuses if the spool holds the answer of an attempt that is still open.
    fn check_nothing_waits(&self) -> Result<(), Failure> {
        for sealed in self.file.spool().read_all()? {
            let Ok((intent, _)) = self.vault.open_aside(&sealed) else {
                continue;
            };
            let name = self.vault.name_of(&intent.id);
            let name = name.map_or_else(|| "an account".to_owned(), |name| name.to_string());
            let text = format!(
                "a new token of {name} waits to be stored; `reseal secrets get {name}` stores it"
            );
            return Err(Failure::new(Code::VaultConflict, text));
        }
        Ok(())
    }

    fn wrap(&self, root: &RootKey, new: &NewSlot) -> Result<Slot, Failure> {
        Ok(new.wrap(&self.slot_context(), root, &mut sys::random::fill)?)
    }

    /// The writer lock, for somebody who has the root key of the epoch that stands.
    fn writer_for(&mut self, root: &RootKey) -> Result<Writer, Failure> {
        let writer = self.writer()?;
        self.vault.header().verify(root)?;
        Ok(writer)
    }

    fn change_slots(
        &mut self,
        root: &RootKey,
        change: impl FnOnce(&[Slot], &mut VaultMeta) -> Result<Vec<Slot>, Failure>,
    ) -> Result<Committed, Failure> {
        let mut writer = self.writer_for(root)?;
        let mut meta = self.vault.vault_meta();
        let slots = change(self.vault.header().slots(), &mut meta)?;
        self.rewrite(
            &mut writer,
            Rewrite::Slots(slots),
            Some(meta),
            KEPT_VERSIONS,
        )?;
        Ok(self.committed())
    }
}
