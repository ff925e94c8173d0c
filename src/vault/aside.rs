//! A sealed value that stands outside the vault file: the successor of a token, put by while the
//! file can't be written.
//!
//! `"RSSP" ‖ u16 1 ‖ u16 0 ‖ record_id[16] ‖ attempt_id[16] ‖ u64 base_version ‖ blob`; the blob is
//! the value of an OAuth record, sealed as version `base_version + 1`.
//!
//! Invariant: taken back only as the outcome of an attempt that the vault itself still has open,
//! so an old copy that somebody puts in its place is nothing.

use super::record::{Intent, RecordId, RecordKind, ValueAt};
use super::wire::Fields;
use super::{Vault, VaultError, value};
use crate::crypto::Random;
use crate::secret::SecretValue;

const MAGIC: &[u8; 4] = b"RSSP";
/// Everything before the blob.
const HEAD: usize = 4 + 2 + 2 + 16 + 16 + 8;

impl Vault {
    /// Seals what an attempt brought, to be kept outside the file.
    ///
    /// # Errors
    /// [`VaultError::Limit`] if the value is over its limit.
    pub fn seal_aside(
        &self,
        intent: &Intent,
        secret: &SecretValue,
        rng: &mut dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        if secret.len() > crate::secret::MAX_VALUE {
            return Err(VaultError::Limit("a value of 1 MiB"));
        }
        let version = next(intent.base_version)?;
        let mut bytes = Vec::with_capacity(HEAD + value::blob_len(secret.len()));
        bytes.extend(MAGIC);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(intent.id.0);
        bytes.extend(intent.attempt);
        bytes.extend(intent.base_version.to_le_bytes());
        let bound = (&intent.id, version, RecordKind::OAuth);
        value::seal(&self.keys, bound, secret, rng, &mut bytes);
        Ok(bytes)
    }

    /// Opens what [`Vault::seal_aside`] made, if it belongs to an open attempt.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`] if it is not whole; [`VaultError::IntentAbsent`] if the vault has
    /// no such open attempt.
    pub fn open_aside(&self, bytes: &[u8]) -> Result<(Intent, SecretValue), VaultError> {
        let short = VaultError::Corrupt("an answer that was put by");
        let mut fields = Fields(bytes);
        let head = (fields.array::<4>(), fields.u16(), fields.u16());
        if head != (Some(*MAGIC), Some(1), Some(0)) {
            return Err(short);
        }
        let (Some(id), Some(attempt), Some(base)) =
            (fields.array().map(RecordId), fields.array(), fields.u64())
        else {
            return Err(short);
        };
        let told =
            |open: &&Intent| open.id == id && open.attempt == attempt && open.base_version == base;
        let intent = *self
            .open_intents()
            .iter()
            .find(told)
            .ok_or(VaultError::IntentAbsent)?;
        let blob = fields.0;
        let at = ValueAt {
            id,
            version: next(base)?,
            kind: RecordKind::OAuth,
            offset: 0,
            len: u32::try_from(blob.len()).map_err(|_| short)?,
        };
        Ok((intent, self.open_value(&at, blob)?))
    }
}

fn next(version: u64) -> Result<u64, VaultError> {
    version.checked_add(1).ok_or(VaultError::Limit("versions"))
}
