//! What this machine remembers of a vault, and what it does when the file says otherwise.

use super::{OpenOptions, OpenVault, reading};
use crate::error::{Code, Failure};
use crate::store::anchors::Anchors;
use crate::store::{StoreError, VaultFile};
use crate::sys;
use crate::vault::anchor::{self, Anchor, AnchorState, Pin};
use crate::vault::{Header, SubKeys, Vault, VaultError};
use std::fmt;
use std::time::Duration;

/// Something that went wrong without making the operation fail; a person should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The anchor fails its checks and was treated as absent: somebody changed or damaged it.
    AnchorDamaged,
    /// The anchor could not be written: a rollback to before now will not be noticed.
    AnchorNotWritten(Failure),
    /// The vault was written, but could not be compacted.
    NotCompacted(Failure),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnchorDamaged => f.write_str(
                "this machine's memory of the vault was damaged or changed; \
                 an older copy of the vault would not have been noticed",
            ),
            Self::AnchorNotWritten(why) => {
                write!(
                    f,
                    "this machine can't remember the vault's newest state: {why}"
                )
            }
            Self::NotCompacted(why) => write!(f, "the vault could not be compacted: {why}"),
        }
    }
}

/// What the anchor says of a header, before the frames are read.
pub(super) struct Remembered {
    anchor: Option<Anchor>,
    damaged: bool,
    /// The header is not what the anchor allows, and the user accepts it for reading.
    accepted: Option<Failure>,
}

/// Checks a header that was unlocked against the anchor's bytes, read before the file was opened,
/// and the fingerprint that is expected.
pub(super) fn remembered(
    header: &Header,
    keys: &SubKeys,
    bytes: Option<&[u8]>,
    options: &OpenOptions,
) -> Result<Remembered, Failure> {
    header.verify_with(keys)?;
    let confirmed = match &options.expect_fingerprint {
        None => None,
        Some(expected) if same_fingerprint(expected, &header.fingerprint()) => {
            Some(header.key_commit())
        }
        Some(_) => {
            let found = header.fingerprint();
            let text = format!("the vault's fingerprint is {found}, another one is expected");
            return Err(Failure::new(Code::VaultUntrusted, text));
        }
    };
    let anchor = bytes.and_then(|bytes| Anchor::parse(bytes).ok());
    let mut damaged = bytes.is_some() && anchor.is_none();
    let pinned = anchor::pin(
        header,
        keys,
        anchor.as_ref(),
        options.authenticated,
        confirmed.as_ref(),
    );
    let accepted = match pinned {
        Ok(pin) => {
            damaged |= pin == Pin::Damaged;
            None
        }
        Err(error) => Some(accept(error, options)?),
    };
    Ok(Remembered {
        anchor,
        damaged,
        accepted,
    })
}

impl OpenVault {
    pub(super) fn start(
        file: VaultFile,
        vault: Vault,
        anchors: Anchors,
        remembered: Remembered,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        let Remembered {
            anchor,
            damaged,
            mut accepted,
        } = remembered;
        let anchor = anchor.filter(|_| !damaged);
        let mut remember = true;
        if let (Some(anchor), None) = (&anchor, &accepted) {
            match anchor::check(&vault, anchor) {
                Ok(AnchorState::Same) => remember = anchor.epoch != vault.header().epoch(),
                Ok(AnchorState::Advance | AnchorState::Damaged) => {}
                Err(error) => accepted = Some(accept(error, options)?),
            }
        }
        let floor = Anchor::of(&vault, sys::clock::now());
        let seen = file.seen();
        let notices = if damaged {
            vec![Notice::AnchorDamaged]
        } else {
            Vec::new()
        };
        let mut open = Self {
            file,
            vault,
            seen,
            anchors,
            floor,
            read_only: accepted,
            doubtful: false,
            compact_at: 0,
            notices,
            recent: reading::Recent::default(),
        };
        if remember && open.read_only.is_none() {
            open.remember_as_reader();
        }
        Ok(open)
    }

    /// Makes this state the one that the machine remembers, although it is older than another one
    /// or differs from it, and allows writing again. For a backup that was restored on purpose.
    ///
    /// # Errors
    /// `vault.busy`; `file.*` if the anchor can't be written.
    pub fn accept_rollback(&mut self) -> Result<(), Failure> {
        let _writer = self.file.lock_writer()?;
        self.floor = Anchor::of(&self.vault, sys::clock::now());
        self.anchors
            .write(&self.floor.vault_id, &self.floor.encode())?;
        self.read_only = None;
        Ok(())
    }

    /// The anchor on the disk; `None` if there is none, or only a damaged one. To be read before
    /// the file that it is compared with is opened: commits of others make both go on.
    pub(super) fn anchor(&self) -> Result<Option<Anchor>, Failure> {
        let bytes = self.anchors.read(&self.floor.vault_id)?;
        Ok(bytes.as_deref().and_then(|bytes| Anchor::parse(bytes).ok()))
    }

    /// Checks a vault that was read anew against what this handle and this machine remember.
    pub(super) fn check_history(
        &self,
        vault: &Vault,
        anchor: Option<&Anchor>,
    ) -> Result<(), Failure> {
        if self.read_only.is_some() {
            return Ok(());
        }
        anchor::check(vault, &self.floor)?;
        if let Some(anchor) = anchor {
            anchor::check(vault, anchor)?;
        }
        Ok(())
    }

    /// Remembers the state that this process has just made durable; under the writer lock.
    pub(super) fn remember(&mut self) {
        self.floor = Anchor::of(&self.vault, sys::clock::now());
        let written = self
            .anchors
            .write(&self.floor.vault_id, &self.floor.encode());
        if let Err(error) = written {
            self.notices.push(Notice::AnchorNotWritten(error.into()));
        }
    }

    /// Remembers a state that other processes made. It may not be on the disk yet, and an anchor
    /// ahead of its vault is a false alarm after a power cut, so it is flushed first. Reading
    /// goes on whatever comes of it.
    fn remember_as_reader(&mut self) {
        if let Err(error) = self.file.settle() {
            self.notices.push(Notice::AnchorNotWritten(error.into()));
            return;
        }
        match self.file.lock_within(Duration::ZERO) {
            // An anchor never goes back: who committed meanwhile has remembered a newer state,
            Ok(_writer) if !matches!(self.file.changed(&self.seen), Ok(None)) => {}
            Ok(_writer) => self.remember(),
            // and whoever commits now does so in a moment.
            Err(StoreError::Busy { .. }) => {}
            // A vault that this process can't write, so no other of ours is likely to either.
            Err(_) => self.remember(),
        }
    }
}

/// What the user accepts for reading; everything else stays an error.
fn accept(error: VaultError, options: &OpenOptions) -> Result<Failure, Failure> {
    let failure = Failure::from(error);
    match failure.code {
        Code::VaultRollback | Code::VaultFork if options.accept_rollback => Ok(failure),
        _ => Err(failure),
    }
}

fn same_fingerprint(expected: &str, found: &str) -> bool {
    let letters = |text: &str| -> Vec<u8> {
        let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
        letters.map(|letter| letter.to_ascii_uppercase()).collect()
    };
    letters(expected) == letters(found)
}
