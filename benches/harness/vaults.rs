//! Vaults of a given size, made through the library, in state folders that the program can use.

use reseal::error::Failure;
use reseal::oauth::{Account, ClientOf, Grant};
use reseal::runtime::local::Local;
use reseal::runtime::open_vault::{Birth, OpenVault};
use reseal::runtime::service::{Request, Service};
use reseal::secret::SecretValue;
use reseal::store::{Options, StateDir};
use reseal::sys;
use reseal::sys::clock;
use reseal::vault::slot::RawKeyHint;
use reseal::vault::{Change, Expect, Meta, NewSlot, RecordKind, VaultMeta};
use std::path::Path;
use std::time::Duration;

/// The bytes of the key that opens them.
pub const KEY: [u8; 32] = [0xA5; 32];
/// The size of each value in bytes.
pub const VALUE: usize = 500;

/// A vault of `records` records `record/0` and on, in the state folder `state`, which is made.
pub fn make(state: &Path, records: usize) -> Result<OpenVault, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state);
    made.expect("the folder can be made");
    let (file, anchors) = (state.join("vault.reseal"), state.join("anchors"));
    let mut vault = OpenVault::create(&file, Options::default(), &anchors, |context, root| {
        let new = NewSlot::Raw {
            secret: SecretValue::copy_of(&KEY),
            hint: RawKeyHint::File,
        };
        let slot = new.wrap(context, root, &mut sys::random::fill)?;
        Ok(Birth {
            slots: vec![slot],
            meta: VaultMeta::default(),
        })
    })?;
    let names: Vec<usize> = (0..records).collect();
    for batch in names.chunks(10_000) {
        let changes = batch
            .iter()
            .map(|index| put(&format!("record/{index}"), *index));
        vault.commit(changes.collect::<Result<_, _>>()?)?;
    }
    Ok(vault)
}

/// Writes a record with a printable value that depends on `fill`.
pub fn put(name: &str, fill: usize) -> Result<Change, Failure> {
    let value = SecretValue::build(VALUE, |bytes| bytes.fill(b'a' + (fill % 26) as u8));
    let (kind, meta, expect) = (RecordKind::ApiKey, Meta::default(), Expect::Any);
    Ok(Change::Put {
        name: name.parse()?,
        kind,
        meta,
        value,
        expect,
    })
}

/// Stores an account whose access token lives for a day.
#[allow(
    dead_code,
    reason = "only whole processes are measured with an account"
)]
pub fn sign_in(state: &Path, vault: OpenVault, name: &str) -> Result<(), Failure> {
    let token = || SecretValue::build(VALUE, |bytes| bytes.fill(b't'));
    let client = ClientOf::public(
        "acme",
        "http://127.0.0.1:9/token".parse().expect("an address"),
        "id",
    );
    let grant = Grant::bearer(
        token().into(),
        Some(token().into()),
        Some(Duration::from_secs(86_400)),
    );
    let account = Account::new(client, grant, None, clock::now());
    let request = Request::Put {
        name: name.parse()?,
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        expect: Expect::Any,
    };
    let state = StateDir::at(state);
    let config = state.config();
    let mut local = Local::new(state, config, vault);
    local.call(request, vec![account.to_secret()]).map(|_| ())
}
