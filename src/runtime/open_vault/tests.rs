mod anchors;
mod basics;
mod crashes;
mod processes;
mod slots;
mod writers;

use super::{Birth, OpenOptions, OpenVault};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::fixture::{KEY as SLOT_KEY, one_slot};
use crate::secret::SecretValue;
use crate::store::anchors::Anchors;
use crate::store::simulated::SimulatedDisk;

use crate::store::{Options, VaultFile, create_on};
use crate::sys;
use crate::vault::slot::{KdfParams, RawKeyHint, SlotContext, open_raw};
use crate::vault::{Change, Expect, Header, Meta, NewSlot, RecordKind, RootKey, SubKeys};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KNOWN: OpenOptions = OpenOptions {
    authenticated: true,
    expect_fingerprint: None,
    accept_rollback: false,
};

fn raw_slot(key: [u8; 32]) -> NewSlot {
    NewSlot::Raw {
        secret: SecretValue::copy_of(&key),
        hint: RawKeyHint::File,
    }
}

fn root_of(header: &Header, key: [u8; 32]) -> Option<RootKey> {
    let secret = SecretValue::copy_of(&key);
    header
        .slots()
        .iter()
        .find_map(|slot| open_raw(header, slot, &secret).unwrap())
}

fn unlock(file: &VaultFile, key: [u8; 32]) -> (Header, SubKeys) {
    let header = Header::parse(&file.read_header().unwrap()).unwrap();
    let root = root_of(&header, key).expect("the key opens a slot");
    let keys = header.verify(&root).unwrap();
    (header, keys)
}

/// A vault in a folder on the real disk.
struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    anchors: PathBuf,
}

impl World {
    fn new() -> (Self, OpenVault) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.reseal");
        let anchors = folder.path().join("anchors");
        let open = OpenVault::create(&path, Options::default(), &anchors, one_slot).unwrap();
        (
            Self {
                _folder: folder,
                path,
                anchors,
            },
            open,
        )
    }

    fn open(&self) -> OpenVault {
        self.try_open(&KNOWN).unwrap()
    }

    fn try_open(&self, options: &OpenOptions) -> Result<OpenVault, Failure> {
        open_at(&self.path, &self.anchors, options)
    }
}

fn open_at(path: &Path, anchors: &Path, options: &OpenOptions) -> Result<OpenVault, Failure> {
    let file = VaultFile::open(path, Options::default())?;
    let (header, keys) = unlock(&file, SLOT_KEY);
    OpenVault::open(file, header, keys, anchors, options)
}

const FOLDER: &str = "/f";
const VAULT: &str = "/f/v";
const ANCHORS: &str = "/f/anchors";

fn create_simulated(disk: &SimulatedDisk) -> OpenVault {
    let shared = Arc::new(disk.clone());
    let anchors = Anchors::on(shared.clone(), ANCHORS.as_ref());
    let store = |bytes: &[u8]| create_on(shared, VAULT.as_ref(), Options::default(), bytes);
    OpenVault::create_with(store, anchors, one_slot).unwrap()
}

fn open_simulated(disk: &SimulatedDisk) -> Result<OpenVault, Failure> {
    let shared = Arc::new(disk.clone());
    let anchors = Anchors::on(shared.clone(), ANCHORS.as_ref());
    let file = VaultFile::open_on(shared, VAULT.as_ref(), Options::default())?;
    let (header, keys) = unlock(&file, SLOT_KEY);
    OpenVault::open_with(file, &header, keys, anchors, &KNOWN)
}

fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

fn put_if(record: &str, value: &[u8], expect: Expect) -> Change {
    let (name, meta) = (name(record), Meta::default());
    Change::Put {
        name,
        kind: RecordKind::Static,
        meta,
        value: SecretValue::copy_of(value),
        expect,
    }
}

fn put(record: &str, value: &[u8]) -> Vec<Change> {
    vec![put_if(record, value, Expect::Any)]
}

fn value(open: &OpenVault, record: &str) -> Option<Vec<u8>> {
    match open.get(&name(record), None) {
        Ok((_, value)) => Some(value.expose().to_vec()),
        Err(failure) if failure.code == Code::RecordAbsent => None,
        Err(failure) => panic!("{record}: {failure:?}"),
    }
}

fn names(open: &OpenVault) -> Vec<String> {
    open.list()
        .into_iter()
        .map(|info| String::from(info.name))
        .collect()
}

fn refusal<T>(result: Result<T, Failure>) -> Code {
    result.err().expect("must be refused").code
}
