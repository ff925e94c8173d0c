//! Token sets in files of AgentOS's layout, in a folder that AgentOS may use at the same time.
//!
//! Invariants: a file is 0600 from its first byte and changes whole or not at all; a file that is
//! broken, or that somebody else's tokens stand in, is "none" with a [`Warning`], never a crash and
//! never written over. AgentOS itself takes no lock: beside it, a refresh token can be sent twice.
//!
//! Two provider ids can have one file name (`a.b`, `a_b`). The first that is saved has it, and the
//! file says whose it is; the other gets a name with a digest of its id, which AgentOS does not
//! look at.

use super::agentos::{Entry, MAX_PROVIDER_ID, MAX_TOKEN_FILE, parse, sanitized, write};
use super::{TokenStore, Warning};
use crate::crypto::hash::sha256;
use crate::error::{Code, Failure};
use crate::oauth::TokenSet;
use crate::secret::SecretValue;
use crate::store::files::{self, WRITE_TIMEOUT};
use crate::store::{RECORD_LOCK_TIMEOUT, StoreError, take_file_lock};
use crate::time::UnixMs;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where AgentOS keeps tokens below the home folder: where its code does, and where its
/// documentation says.
pub const AGENTOS_FOLDERS: [&str; 2] = [".wunderland/auth", ".agentos/auth"];
/// Held by us while a file of the folder is written.
const FOLDER_LOCK: &str = ".lock";
/// How often a save begins anew because somebody else changed the file meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// Token sets in a folder of AgentOS's layout.
pub struct File {
    /// Where to look, in this order; a new entry goes into the first.
    folders: Vec<PathBuf>,
    warn: Box<dyn Fn(&Warning) + Send + Sync>,
}

impl File {
    /// The store in one folder, which is made when the first token set is saved.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folders: vec![folder.into()],
            warn: Box::new(|_| ()),
        }
    }

    /// The store in AgentOS's [two folders](AGENTOS_FOLDERS) below a home folder. An entry is
    /// saved where it was found.
    pub fn of_agentos(home: &Path) -> Self {
        let folders = AGENTOS_FOLDERS.map(|folder| home.join(folder)).to_vec();
        Self {
            folders,
            ..Self::new("")
        }
    }

    /// The same store, that tells of each file it passes over. Without this nobody hears of them.
    pub fn warning_to(mut self, warn: impl Fn(&Warning) + Send + Sync + 'static) -> Self {
        self.warn = Box::new(warn);
        self
    }

    /// Where the entry of a provider stands, with what it holds, or where it would be made.
    fn find(&self, id: &Id) -> Result<Place, Failure> {
        let mut free = None;
        for folder in &self.folders {
            check_folder(folder)?;
            // The name that is its alone comes first: it is there only if the other was taken.
            for name in [&id.own_name, &id.shared_name] {
                let path = folder.join(name);
                match look(&path, id)? {
                    Found::Nothing => {}
                    Found::Entry(entry, bytes) => {
                        let held = Some((entry.tokens, bytes));
                        return Ok(Place { path, held });
                    }
                    Found::Other(why) => {
                        let place = path.display().to_string();
                        (self.warn)(&Warning { place, why });
                        continue;
                    }
                }
                if free.is_none() && *name == id.shared_name {
                    free = Some(path);
                }
            }
            // Its usual name is taken, by another provider or by something that is no token file.
            free = free.or_else(|| Some(folder.join(&id.own_name)));
        }
        let path = free.unwrap_or_default();
        Ok(Place { path, held: None })
    }
}

impl TokenStore for File {
    /// # Errors
    /// `name.invalid` for an id that is empty or over [`MAX_PROVIDER_ID`]; `file.permission`;
    /// `file.io`.
    fn load(&self, provider_id: &str) -> Result<Option<TokenSet>, Failure> {
        let place = self.find(&Id::new(provider_id)?)?;
        Ok(place.held.map(|(tokens, _)| tokens))
    }

    /// # Errors
    /// As of [`File::load`]; `input.invalid` for tokens that no header could hold, or for more than
    /// [`MAX_TOKEN_FILE`]; `config.conflict` if somebody else keeps changing the file.
    fn save(&self, provider_id: &str, tokens: &TokenSet) -> Result<(), Failure> {
        let id = Id::new(provider_id)?;
        let too_much = || {
            let text = format!(
                "a token of {provider_id} is not printable ASCII, or what is to be kept is over \
                 {MAX_TOKEN_FILE} bytes"
            );
            Failure::new(Code::InputInvalid, text)
        };
        let document = write(provider_id, tokens).ok_or_else(too_much)?;
        for _ in 0..MAX_ATTEMPTS {
            let folder = self.find(&id)?.folder().to_path_buf();
            make_folder(&folder)?;
            let _lock = take_file_lock(&folder.join(FOLDER_LOCK), WRITE_TIMEOUT)?;
            let place = self.find(&id)?;
            if place.folder() == folder && place.keep(&document)? {
                return Ok(());
            }
        }
        Err(keeps_changing(provider_id))
    }

    /// Forgets the entry in every folder.
    fn clear(&self, provider_id: &str) -> Result<bool, Failure> {
        let id = Id::new(provider_id)?;
        let mut any = false;
        for _ in 0..2 * self.folders.len() * MAX_ATTEMPTS {
            let place = self.find(&id)?;
            let Some((_, bytes)) = &place.held else {
                return Ok(any);
            };
            match files::remove(&place.path, bytes) {
                Err(StoreError::Conflict(_)) => {}
                Ok(true) => any = true,
                // A symlink stays where it is, without what it led to.
                Ok(false) => {
                    let target = fs::canonicalize(&place.path);
                    let target = target.map_err(StoreError::io("find", &place.path))?;
                    any |= files::remove(&target, bytes)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(keeps_changing(provider_id))
    }

    /// A lock file beside the entry, which stays. It keeps programs out that use this store; not
    /// AgentOS, which takes no lock.
    ///
    /// # Errors
    /// `vault.busy` after [`RECORD_LOCK_TIMEOUT`]; as of [`File::load`].
    fn refresh_guard(&self, provider_id: &str) -> Result<Box<dyn Send>, Failure> {
        let place = self.find(&Id::new(provider_id)?)?;
        make_folder(place.folder())?;
        let mut lock = place.path.into_os_string();
        lock.push(".lock");
        let guard = take_file_lock(Path::new(&lock), RECORD_LOCK_TIMEOUT)?;
        Ok(Box::new(guard))
    }
}

fn keeps_changing(provider_id: &str) -> Failure {
    let text = format!("somebody else keeps changing the token file of {provider_id}");
    Failure::new(Code::ConfigConflict, text)
}

/// A provider id and the names that its file may have.
struct Id {
    id: String,
    /// What AgentOS calls it; another id may have the same.
    shared_name: String,
    /// No name that AgentOS makes, and of no other id.
    own_name: String,
}

impl Id {
    fn new(id: &str) -> Result<Self, Failure> {
        if id.is_empty() || id.len() > MAX_PROVIDER_ID {
            let text = format!("a provider id has 1 to {MAX_PROVIDER_ID} bytes");
            return Err(Failure::new(Code::NameInvalid, text));
        }
        let name = sanitized(id);
        let digest = data_encoding::HEXLOWER.encode(&sha256(&[id.as_bytes()])[..16]);
        Ok(Self {
            id: id.to_owned(),
            own_name: format!("{name}~{digest}.json"),
            shared_name: format!("{name}.json"),
        })
    }
}

/// Where an entry stands, or would be made.
struct Place {
    path: PathBuf,
    held: Option<(TokenSet, Zeroizing<Vec<u8>>)>,
}

impl Place {
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Puts a new content in the place of what was found; false if that is not there any more. The
    /// lock of the folder is held.
    fn keep(&self, document: &SecretValue) -> Result<bool, Failure> {
        let before = self.held.as_ref().map(|(_, bytes)| bytes.as_slice());
        if before.is_some() {
            // AgentOS makes files that others can read for a moment.
            files::make_private(&self.path)?;
        }
        match files::write(&self.path, before, document.expose()) {
            Err(StoreError::Conflict(_)) => return Ok(false),
            other => other?,
        }
        // A write that was killed left tokens under another name.
        files::clear_leftovers(&self.path, document.expose())?;
        Ok(true)
    }
}

enum Found {
    Nothing,
    Entry(Entry, Zeroizing<Vec<u8>>),
    /// Something that is not this provider's, and why.
    Other(String),
}

/// What a path holds for a provider.
fn look(path: &Path, id: &Id) -> Result<Found, Failure> {
    let other = |why: &str| Ok(Found::Other(why.to_owned()));
    let bytes = match files::read(path, MAX_TOKEN_FILE) {
        Ok(None) => return Ok(Found::Nothing),
        Ok(Some(bytes)) => Zeroizing::new(bytes),
        Err(StoreError::Unsafe { why, .. }) => return other(why),
        Err(StoreError::TooLarge { max, .. }) => {
            return other(&format!("is larger than {max} bytes"));
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        other => other.map_err(StoreError::io("look at", path))?,
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() && metadata.uid() != 0 {
        return other("is owned by another user");
    }
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    match parse(&bytes, UnixMs(seconds.saturating_mul(1000))) {
        Err(why) => other(&format!("is no token file: {why}")),
        Ok(Entry {
            provider_id: Some(whose),
            ..
        }) if whose != id.id => other("holds the tokens of another provider"),
        Ok(entry) => Ok(Found::Entry(entry, bytes)),
    }
}

/// Refuses a folder where anybody can put files for us to read.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let why = match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("look at", folder)(error).into()),
        Ok(metadata) if !metadata.is_dir() => "is not a folder",
        Ok(metadata) if metadata.mode() & 0o002 != 0 => "can be written by every user",
        Ok(_) => return Ok(()),
    };
    let path = folder.to_path_buf();
    Err(StoreError::Unsafe { path, why }.into())
}

/// Makes a folder, 0700, if it is missing.
pub(super) fn make_folder(folder: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    Ok(made.map_err(StoreError::io("make the folder", folder))?)
}

#[cfg(test)]
mod tests;
