//! What a vault holds, for those who look for it elsewhere.

use reseal::oauth::Account;
use reseal::runtime::open_vault::{OpenOptions, OpenVault};
use reseal::secret::SecretValue;
use reseal::store::{Options, StateDir, VaultFile};
use reseal::unlock::key_file::read_key;
use reseal::vault::slot::open_raw;
use reseal::vault::{Header, RecordKind};
use std::path::Path;

/// Opens the vault of a state folder with a key file.
pub fn open_vault(state: &Path, key: &Path) -> OpenVault {
    let state = StateDir::at(state);
    let file = VaultFile::open(&state.vault(), Options::default()).unwrap();
    let header = Header::parse(&file.read_header().unwrap()).unwrap();
    let key = read_key(key).unwrap();
    let slots = header.slots().iter();
    let root = slots
        .filter_map(|slot| open_raw(&header, slot, &key).unwrap())
        .next();
    let keys = header.verify(&root.unwrap()).unwrap();
    let options = OpenOptions {
        authenticated: true,
        ..OpenOptions::default()
    };
    OpenVault::open(file, header, keys, &state.anchors(), &options).unwrap()
}

/// The accounts that somebody signed in to.
pub fn accounts(state: &Path, key: &Path) -> Vec<Account> {
    let vault = open_vault(state, key);
    let records = vault.vault().infos_of(RecordKind::OAuth);
    let accounts = records.iter().map(|record| {
        let (_, value) = vault.get(&record.name, None).unwrap();
        Account::from_secret(&value).unwrap()
    });
    accounts.collect()
}

/// The secrets of accounts. Of a token in three parts the last: the others say what everybody may
/// know, in words that stand elsewhere too.
pub fn values_of(accounts: &[Account]) -> Vec<String> {
    let text = |value: &SecretValue| {
        let text = String::from_utf8(value.expose().to_vec()).unwrap();
        text.rsplit('.').next().unwrap().to_owned()
    };
    let mut values = Vec::new();
    for account in accounts {
        values.push(text(account.access.secret()));
        values.extend(account.refresh.iter().map(|token| text(token.secret())));
        values.extend(account.id_token.iter().map(|token| text(token.secret())));
    }
    values
}
