//! A vault with accounts, and runtimes that share it as processes would.

use super::issuer::Issuer;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::net::Http;
use crate::oauth::{Account, AccountInfo, ClientOf, Grant, SignInReason};
use crate::runtime::Runtime;
use crate::runtime::fixture::{KEY, one_slot};
use crate::runtime::open_vault::{OpenOptions, OpenVault};
use crate::runtime::refresh::{Token, Want};
use crate::runtime::service::{Answer, Reply, Request};
use crate::secret::SecretValue;
use crate::store::anchors::Anchors;
use crate::store::disk::{Disk, OsDisk};
use crate::store::{Options, StateDir, VaultFile, create_on};
use crate::sys::{clock, random};
use crate::time::UnixMs;
use crate::vault::slot::{RawKeyHint, open_raw};
use crate::vault::{Change, Expect, Header, Meta, NewSlot, RecordKind, RootKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub const ACCOUNT: &str = "oauth/acme/me";

/// Where a vault lies.
#[derive(Clone)]
pub struct Place {
    pub disk: Arc<dyn Disk>,
    pub folder: PathBuf,
}

impl Place {
    pub fn on_disk(folder: &Path) -> Self {
        let disk = Arc::new(OsDisk);
        let folder = folder.to_path_buf();
        Self { disk, folder }
    }

    fn vault(&self) -> PathBuf {
        self.folder.join("v.reseal")
    }

    fn anchors(&self) -> Anchors {
        Anchors::on(Arc::clone(&self.disk), &self.folder.join("anchors"))
    }

    pub fn create(&self) -> OpenVault {
        let (disk, path) = (Arc::clone(&self.disk), self.vault());
        let store = |bytes: &[u8]| create_on(disk, &path, Options::default(), bytes);
        OpenVault::create_with(store, self.anchors(), one_slot).unwrap()
    }

    pub fn open(&self) -> OpenVault {
        self.open_with(false)
    }

    pub fn open_with(&self, accept_rollback: bool) -> OpenVault {
        let disk = Arc::clone(&self.disk);
        let file = VaultFile::open_on(disk, &self.vault(), Options::default()).unwrap();
        let header = Header::parse(&file.read_header().unwrap()).unwrap();
        let keys = header.verify(&self.root(&header)).unwrap();
        let options = OpenOptions {
            authenticated: true,
            accept_rollback,
            ..OpenOptions::default()
        };
        OpenVault::open_with(file, &header, keys, self.anchors(), &options).unwrap()
    }

    pub fn try_rekey(&self) -> Result<(), Code> {
        let mut vault = self.open();
        let old = self.root(vault.vault().header());
        let new = RootKey::build(|key| key.fill(3));
        let context = vault.slot_context().next_epoch().unwrap();
        let slot = NewSlot::Raw {
            secret: SecretValue::copy_of(&KEY),
            hint: RawKeyHint::File,
        };
        let slot = slot.wrap(&context, &new, &mut random::fill).unwrap();
        let rekeyed = vault.rekey(&old, &new, vec![slot], None);
        rekeyed.map(|_| ()).map_err(|failure| failure.code)
    }

    fn root(&self, header: &Header) -> RootKey {
        let secret = SecretValue::copy_of(&KEY);
        open_raw(header, &header.slots()[0], &secret)
            .unwrap()
            .unwrap()
    }

    /// Another process, as good as: its own vault handle, its own memory.
    pub fn runtime(&self, http: &Arc<impl Http + 'static>) -> Runtime {
        let http: Arc<dyn Http> = Arc::clone(http) as Arc<dyn Http>;
        let state = StateDir::at(self.folder.join("state"));
        let config = state.config();
        Runtime::new(state, config, self.open()).http(http)
    }
}

/// A vault on the real disk with one account whose token has ended, and its issuer.
pub struct World {
    _folder: tempfile::TempDir,
    pub place: Place,
    pub issuer: Arc<Issuer>,
}

impl World {
    pub fn new(issuer: Issuer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::on_disk(folder.path());
        place.create();
        let world = Self {
            _folder: folder,
            place,
            issuer: Arc::new(issuer),
        };
        world.sign_in(&ended(0));
        world
    }

    pub fn runtime(&self) -> Runtime {
        self.place.runtime(&self.issuer)
    }

    pub fn sign_in(&self, account: &Account) {
        self.sign_in_as(ACCOUNT, account);
    }

    pub fn sign_in_as(&self, name: &str, account: &Account) {
        sign_in(&self.runtime(), name, account);
    }

    pub fn stored(&self, name: &str) -> Account {
        stored(&mut self.place.open(), name)
    }

    /// Why the account has to sign in, as the metadata say it.
    pub fn reason(&self) -> Option<SignInReason> {
        reason(&self.place.open())
    }

    pub fn open_attempts(&self) -> usize {
        self.place.open().vault().open_intents().len()
    }
}

pub fn reason(vault: &OpenVault) -> Option<SignInReason> {
    let info = vault.vault().find(&name(ACCOUNT)).unwrap();
    let json = info.meta.other.get(AccountInfo::KEY).unwrap();
    let sign_in = AccountInfo::from_json(json).unwrap().sign_in;
    sign_in.map(|sign_in| sign_in.reason)
}

pub fn stored(vault: &mut OpenVault, account: &str) -> Account {
    let (_, value) = vault.get(&name(account), None).unwrap();
    Account::from_secret(&value).unwrap()
}

pub fn sign_in(runtime: &Runtime, account: &str, with: &Account) {
    let request = Request::Put {
        name: name(account),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        expect: Expect::Any,
    };
    runtime.call(request, vec![with.to_secret()]).unwrap();
}

/// Stores an account without the runtime.
pub fn put(account: &str, with: &Account) -> Vec<Change> {
    vec![Change::Put {
        name: name(account),
        kind: RecordKind::OAuth,
        meta: Meta {
            expires_at: with.expires_at,
            ..Meta::default()
        },
        value: with.to_secret(),
        expect: Expect::Any,
    }]
}

pub fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

pub fn text(value: &SecretValue) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

/// An account with the refresh token `refresh-N`, obtained so long ago, for so long.
pub fn account(generation: u64, age: Duration, lifetime: Duration) -> Account {
    account_with(&format!("refresh-{generation}"), age, lifetime)
}

/// An account with this refresh token.
pub fn account_with(token: &str, age: Duration, lifetime: Duration) -> Account {
    let client = ClientOf::public("acme", "http://127.0.0.1:1/token".parse().unwrap(), "id");
    let grant = Grant::bearer(
        secret("access-of-the-sign-in").into(),
        Some(secret(token).into()),
        Some(lifetime),
    );
    let ago = u64::try_from(age.as_millis()).unwrap();
    Account::new(client, grant, None, UnixMs(clock::now().0 - ago))
}

/// An account whose access token has ended.
pub fn ended(generation: u64) -> Account {
    account(
        generation,
        Duration::from_secs(7200),
        Duration::from_secs(3600),
    )
}

/// An account of another session whose access token has ended.
pub fn ended_with(token: &str) -> Account {
    account_with(token, Duration::from_secs(7200), Duration::from_secs(3600))
}

/// An account whose access token is valid, and less than the margin.
pub fn ending(generation: u64) -> Account {
    account(
        generation,
        Duration::from_secs(3500),
        Duration::from_secs(3600),
    )
}

/// An account whose access token is fresh.
pub fn fresh(generation: u64) -> Account {
    account(generation, Duration::ZERO, Duration::from_secs(3600))
}

pub fn ask(runtime: &Runtime) -> Result<String, Code> {
    shown(runtime.token(&name(ACCOUNT), &Want::FRESH))
}

pub fn force(runtime: &Runtime) -> Result<String, Code> {
    let want = Want {
        force: true,
        ..Want::FRESH
    };
    shown(runtime.token(&name(ACCOUNT), &want))
}

pub fn shown(outcome: Result<Token, Failure>) -> Result<String, Code> {
    outcome
        .map(|token| text(token.access.secret()))
        .map_err(|failure| failure.code)
}

/// A request whose reply and values are told.
pub fn call(runtime: &Runtime, request: Request) -> Result<(Reply, Vec<String>), Code> {
    let Answer { reply, secrets } = runtime
        .call(request, Vec::new())
        .map_err(|failure| failure.code)?;
    Ok((reply, secrets.iter().map(text).collect()))
}
