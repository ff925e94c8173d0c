//! Checking every byte of the file, without changing it.

use super::{OpenVault, Read, read_frames};
use crate::error::{Code, Failure};
use crate::runtime::service::{Tail, Verified};
use crate::vault::Header;

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
        let Read {
            vault,
            frames,
            tail,
        } = read_frames(&file, header, self.vault.keys())?;
        self.check_history(&vault, anchor.as_ref())
            .map_err(|failure| damaged(failure, tail.as_ref()))?;
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
                let (version, offset) = (at.version, at.offset);
                let why = failure.message;
                let text = format!("{name}, version {version}, at byte {offset}: {why}");
                Failure::new(failure.code, text)
            })?;
        }
        Ok(Verified {
            generation: vault.head().seq,
            bytes: file.seen().len,
            frames,
            values: values.len() as u64,
            tail_bytes: file.seen().len - vault.valid_end(),
            tail,
        })
    }
}

/// A file that ends too early by what this machine remembers is damaged where its valid part ends,
/// if anything stands there; else an older copy took its place.
pub fn damaged(failure: Failure, tail: Option<&Tail>) -> Failure {
    match (failure.code, tail) {
        (Code::VaultRollback, Some(Tail { offset, why })) => {
            let before = &failure.message;
            let text = format!("the vault file is damaged at byte {offset} ({why}): {before}");
            Failure::new(Code::VaultCorrupt, text)
        }
        _ => failure,
    }
}
