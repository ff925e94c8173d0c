//! Checking every byte of the file, without changing it.

use super::OpenVault;
use crate::error::Failure;
use crate::runtime::service::Verified;
use crate::vault::{Header, Replay, Step};

impl OpenVault {
    /// Reads the file at the path from its first byte to its last, checks every frame, and opens
    /// every value of the records, older versions included; each is wiped before the next one.
    ///
    /// # Errors
    /// `vault.corrupt` naming the record whose value fails, or what is wrong with the frames;
    /// `vault.rollback`, `vault.fork` by what this machine remembers; `file.io`.
    pub fn verify_all(&self) -> Result<Verified, Failure> {
        let anchor = self.anchor()?;
        let file = self.file.open_again()?;
        let header = Header::parse(&file.read_header()?)?;
        let mut replay = Replay::new(header, self.vault.keys().clone())?;
        let mut frames = file.frames_from(replay.next_offset());
        let mut count = 0;
        while let Some((offset, bytes)) = frames.next_frame()? {
            match replay.frame(offset, bytes)? {
                Step::Accepted { .. } => count += 1,
                Step::Tail(_) => break,
            }
        }
        drop(frames);
        let vault = replay.finish()?;
        self.check_history(&vault, anchor.as_ref())?;
        let values = vault.values();
        let mut blob = Vec::new();
        for at in &values {
            blob.resize(usize::try_from(at.len).unwrap_or(0), 0);
            let opened = file.read_at(&mut blob, at.offset).map_err(Failure::from);
            let opened = opened.and_then(|()| Ok(vault.open_value(at, &blob)?));
            opened.map_err(|failure| {
                let name = vault
                    .name_of(&at.id)
                    .map_or_else(|| "?".to_owned(), String::from);
                let text = format!("{name}, version {}: {}", at.version, failure.message);
                Failure::new(failure.code, text)
            })?;
        }
        Ok(Verified {
            generation: vault.head().seq,
            bytes: file.seen().len,
            frames: count,
            values: values.len() as u64,
            tail_bytes: file.seen().len - vault.valid_end(),
        })
    }
}
