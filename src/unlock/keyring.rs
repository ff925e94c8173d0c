//! The keyring entry that opens a keyslot: service `reseal`, user `hex(vault id)/hex(slot id)`, the
//! 32 bytes as hexadecimal digits, because some keyrings hold only text.

use super::key_file::{KeyFileError, parse_key};
use crate::error::{Code, Coded, failure_from};
use crate::keyring::{Fault, Keyring, Looks, Name};
use crate::secret::SecretValue;
use data_encoding::HEXLOWER;

/// The service of our entries.
pub const SERVICE: &str = "reseal";

/// Why an entry gives no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The keyring gave no answer, or refused.
    #[error(transparent)]
    Keyring(#[from] Fault),
    /// Somebody removed it.
    #[error("its entry is not in the keyring")]
    Absent,
    /// Something else stands there.
    #[error("its entry in the keyring holds no key")]
    NotAKey,
}

impl Coded for EntryError {
    fn code(&self) -> Code {
        match self {
            EntryError::Keyring(fault) => fault.code(),
            EntryError::Absent => Code::KeyringEntryAbsent,
            EntryError::NotAKey => KeyFileError::NotAKey("".into()).code(),
        }
    }
}

failure_from!(EntryError);

/// The entry of a keyslot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotEntry(Name);

impl SlotEntry {
    /// The entry of a slot of a vault.
    pub fn of(vault_id: &[u8; 16], slot_id: &[u8; 16]) -> Self {
        let user = format!("{}/{}", HEXLOWER.encode(vault_id), HEXLOWER.encode(slot_id));
        Self(Name::new(SERVICE, user))
    }

    /// The key of the slot.
    ///
    /// # Errors
    /// An [`EntryError`].
    pub fn read(&self, keyring: &Keyring) -> Result<SecretValue, EntryError> {
        let found = keyring.read(&self.0)?.ok_or(EntryError::Absent)?;
        parse_key(&found.secret).ok_or(EntryError::NotAKey)
    }

    /// Makes the entry, and reads it back: a key that did not arrive would open nothing.
    ///
    /// # Errors
    /// An [`EntryError`].
    pub fn write(&self, keyring: &Keyring, key: &SecretValue) -> Result<(), EntryError> {
        let vault = self.0.user.get(..8).unwrap_or_default();
        let looks = Looks {
            label: format!("Reseal: key of the vault {vault}"),
            application: SERVICE.to_owned(),
        };
        let digits = SecretValue::build(HEXLOWER.encode_len(key.len()), |out| {
            HEXLOWER.encode_mut(key.expose(), out);
        });
        keyring.write(&self.0, &looks, &digits)?;
        if self.read(keyring)? == *key {
            Ok(())
        } else {
            Err(EntryError::NotAKey)
        }
    }

    /// Removes the entry; false if it was not there.
    ///
    /// # Errors
    /// The keyring gave no answer, or refused.
    pub fn remove(&self, keyring: &Keyring) -> Result<bool, Fault> {
        keyring.remove(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::fixture::{Desk, With};

    #[test]
    fn the_entry_of_a_slot_is_named_as_the_format_says_and_holds_text() {
        let desk = Desk::new(With::Unlocked);
        let keyring = desk.keyring();
        let entry = SlotEntry::of(&[0xab; 16], &[1; 16]);
        assert_eq!(entry.read(&keyring), Err(EntryError::Absent));
        let key = SecretValue::build(32, |bytes| bytes.fill(0xfe));
        entry.write(&keyring, &key).unwrap();
        assert_eq!(entry.read(&keyring).unwrap(), key);
        let user = format!("{}/{}", "ab".repeat(16), "01".repeat(16));
        let tool = desk
            .command("secret-tool")
            .args(["lookup", "service", "reseal", "username", &user])
            .output()
            .unwrap();
        assert_eq!(tool.stdout, "fe".repeat(32).as_bytes());
        let other = SlotEntry::of(&[0xab; 16], &[2; 16]);
        assert_eq!(other.read(&keyring), Err(EntryError::Absent));
        assert_eq!(entry.remove(&keyring), Ok(true));
        assert_eq!(entry.remove(&keyring), Ok(false));
    }

    #[test]
    fn an_entry_with_something_else_opens_nothing() {
        let desk = Desk::new(With::Unlocked);
        let keyring = desk.keyring();
        let entry = SlotEntry::of(&[1; 16], &[2; 16]);
        let looks = Looks {
            label: "x".to_owned(),
            application: "x".to_owned(),
        };
        let junk = SecretValue::copy_of(b"not a key");
        keyring.write(&entry.0, &looks, &junk).unwrap();
        assert_eq!(entry.read(&keyring), Err(EntryError::NotAKey));
    }
}
