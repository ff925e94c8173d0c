//! Commits: lock, catch up, repair, compare, append, flush, publish, remember.

use super::{Committed, Notice, OpenVault, read_whole};
use crate::error::{Code, Failure};
use crate::store::{LockKey, StoreError, Writer};
use crate::sys;
use crate::vault::{Change, Header, KEPT_VERSIONS, Prepared, Rewrite, ValueAt, VaultMeta};

/// After a compaction that failed, it is tried again once this many frames were added.
const COMPACT_RETRY: u64 = 256;

impl OpenVault {
    /// Makes changes, all or nothing. When this returns `Ok` they are on the disk, behind every
    /// commit that any process had acknowledged before.
    ///
    /// # Errors
    /// `vault.conflict`, `record.exists`, `record.absent` if an expectation does not hold;
    /// `vault.limit`; `vault.busy`; `vault.poisoned` if the disk failed: the changes are then
    /// nowhere or, if the failing write can't be undone, everywhere, never in part;
    /// `vault.rollback` if the vault is open for reading only; whatever [`OpenVault::catch_up`]
    /// fails with.
    pub fn commit(&mut self, changes: Vec<Change>) -> Result<Committed, Failure> {
        let mut writer = self.writer()?;
        let prepared = {
            let file = &self.file;
            let now = sys::clock::now();
            let mut read = |at: &ValueAt, blob: &mut [u8]| Ok(file.read_at(blob, at.offset)?);
            self.vault
                .prepare::<Failure>(&changes, now, &mut sys::random::fill, &mut read)?
        };
        // Values are wiped when the last holder lets go; waiting for the disk needs none.
        drop(changes);
        self.store(&mut writer, prepared)?;
        self.remember();
        self.compact_if_due(&mut writer);
        Ok(self.committed())
    }

    /// Proves that a change could be stored now, without making one.
    ///
    /// # Errors
    /// As [`OpenVault::commit`]; `file.io` if the disk is full.
    pub fn check_writable(&mut self) -> Result<(), Failure> {
        let _writer = self.writer()?;
        // Nobody's lock: the room is given back at once, under the writer lock.
        self.file.spool().reserve(LockKey([0; 8]))?;
        Ok(())
    }

    /// Drops superseded frames now: all of them, or all but the older versions that automatic
    /// compaction keeps.
    ///
    /// # Errors
    /// As [`OpenVault::commit`].
    pub fn compact(&mut self, keep_history: bool) -> Result<Committed, Failure> {
        let mut writer = self.writer()?;
        let keep = if keep_history { KEPT_VERSIONS } else { 0 };
        self.rewrite(&mut writer, Rewrite::Compact, None, keep)?;
        Ok(self.committed())
    }

    /// Compacts if the file holds anything superseded that automatic compaction drops; called on
    /// lock and once a day. True if it did.
    ///
    /// # Errors
    /// As [`OpenVault::commit`].
    pub fn compact_superseded(&mut self) -> Result<bool, Failure> {
        self.catch_up()?;
        let usage = self.vault.usage();
        if self.read_only.is_some() || usage.superseded == 0 || usage.delta_frames == 0 {
            return Ok(false);
        }
        self.compact(true)?;
        Ok(true)
    }

    pub(super) fn committed(&self) -> Committed {
        Committed {
            generation: self.generation(),
        }
    }

    /// Takes the writer lock, takes in what others committed, and repairs a torn tail.
    pub(super) fn writer(&mut self) -> Result<Writer, Failure> {
        if let Some(why) = &self.read_only {
            return Err(why.clone());
        }
        let mut writer = self.file.lock_writer()?;
        self.catch_up()?;
        if self.seen.len > self.vault.valid_end() {
            // A tail on a file that was rolled back is evidence, not rubbish.
            self.check_history(&self.vault, self.anchor()?.as_ref())?;
            let cut = writer.truncate_tail(&self.seen, self.vault.valid_end());
            self.doubtful = cut.is_err();
            self.seen = cut?;
            self.file.advance(self.seen);
        }
        Ok(writer)
    }

    /// Makes a prepared transaction durable, then part of the state.
    fn store(&mut self, writer: &mut Writer, prepared: Prepared) -> Result<(), Failure> {
        match writer.append(&self.seen, &prepared.bytes) {
            Ok(seen) => {
                self.seen = seen;
                self.file.advance(seen);
                let applied = self.vault.apply(prepared);
                self.doubtful = applied.is_err();
                Ok(applied?)
            }
            Err(error @ StoreError::Poisoned { .. }) => self
                .store_by_rewrite(writer, prepared)
                .map_err(|_| error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The second try of a commit whose append failed: the whole vault with it, in a new file.
    ///
    /// The failed frame counts as the new file's ancestor, because a reader may have seen it
    /// before it was cut off; its values come out of memory.
    fn store_by_rewrite(&mut self, writer: &mut Writer, prepared: Prepared) -> Result<(), Failure> {
        let failed = Some((prepared.offset, prepared.bytes.clone()));
        self.doubtful = true;
        self.vault.apply(prepared)?;
        self.rewrite_from(writer, Rewrite::Compact, None, KEPT_VERSIONS, failed)
    }

    /// Writes the vault anew and goes on with the new file. On an error the old file stands, or
    /// the new one does but may not survive a power cut; either way the next call reads the disk.
    pub(super) fn rewrite(
        &mut self,
        writer: &mut Writer,
        what: Rewrite<'_>,
        meta: Option<VaultMeta>,
        keep_history: usize,
    ) -> Result<(), Failure> {
        self.rewrite_from(writer, what, meta, keep_history, None)
    }

    /// [`OpenVault::rewrite`], with bytes that count as standing in the file from an offset on.
    fn rewrite_from(
        &mut self,
        writer: &mut Writer,
        what: Rewrite<'_>,
        meta: Option<VaultMeta>,
        keep_history: usize,
        failed: Option<(u64, Vec<u8>)>,
    ) -> Result<(), Failure> {
        let expected = writer.seen()?;
        let plan = self.vault.snapshot_writer(what, meta, keep_history)?;
        let file = &self.file;
        let mut read = |at: &ValueAt, blob: &mut [u8]| match &failed {
            Some((start, bytes)) if at.offset >= *start => {
                copy_from(bytes, at.offset - start, blob)
            }
            _ => Ok(file.read_at(blob, at.offset)?),
        };
        let mut keys = None;
        let replaced = writer.replace::<Failure>(&expected, |out| {
            let mut put = |bytes: &[u8]| Ok(out.put(bytes)?);
            keys = Some(
                plan.write(&mut sys::random::fill, &mut read, &mut put)?
                    .keys,
            );
            Ok(())
        });
        // Only a failed rename, or none at all, leaves memory right; asking the disk is safe.
        self.doubtful = true;
        replaced?;
        let keys = keys.unwrap_or_else(|| self.vault.keys().clone());
        let fresh = self.file.open_again()?;
        let header = Header::parse(&fresh.read_header()?)?;
        self.vault = read_whole(&fresh, header, &keys)?;
        self.seen = fresh.seen();
        self.file = fresh;
        self.doubtful = false;
        self.compact_at = 0;
        self.remember();
        Ok(())
    }

    /// Compacts by size or number of frames. The commit before it is durable whatever happens.
    fn compact_if_due(&mut self, writer: &mut Writer) {
        let usage = self.vault.usage();
        if !usage.compaction_due || usage.delta_frames < self.compact_at {
            return;
        }
        if let Err(failure) = self.rewrite(writer, Rewrite::Compact, None, KEPT_VERSIONS) {
            self.compact_at = usage.delta_frames + COMPACT_RETRY;
            self.notices.push(Notice::NotCompacted(failure));
        }
    }
}

fn copy_from(bytes: &[u8], at: u64, blob: &mut [u8]) -> Result<(), Failure> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let found = bytes.get(at..).and_then(|rest| rest.get(..blob.len()));
    let absent = || Failure::new(Code::Bug, "a value lies behind the end of the vault");
    blob.copy_from_slice(found.ok_or_else(absent)?);
    Ok(())
}
