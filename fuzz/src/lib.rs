//! A small vault, the same in every run, for the targets that start from a valid file.

use reseal::secret::SecretValue;
use reseal::time::UnixMs;
use reseal::vault::slot::{RawKeyHint, SlotContext};
use reseal::vault::{
    Change, Created, Expect, Head, Meta, NewSlot, NewVault, RecordKind, Replay, RootKey, Vault,
    VaultError, VaultMeta, create,
};

/// A valid file, and where its commits end.
pub struct Sample {
    /// A new vault: its header and keys; its bytes are those of the whole file.
    pub created: Created,
    /// The end of each commit in bytes, and the head that it left.
    pub commits: Vec<(usize, Head)>,
}

/// Randomness that repeats: a counter, spread by a multiplication.
pub fn counting() -> impl FnMut(&mut [u8]) {
    let mut state = 0u64;
    move |buffer: &mut [u8]| {
        for byte in buffer {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
    }
}

/// A vault with one raw-key slot and three commits: put two records, change one, remove one.
pub fn sample() -> Sample {
    let mut rng = counting();
    let context = SlotContext {
        vault_id: [7; 16],
        epoch: 1,
    };
    let root = RootKey::build(|key| key.fill(3));
    let new = NewSlot::Raw {
        secret: SecretValue::copy_of(&[5; 32]),
        hint: RawKeyHint::File,
    };
    let slot = new
        .wrap(&context, &root, &mut rng)
        .expect("a raw slot wraps");
    let made = NewVault {
        vault_id: context.vault_id,
        salt: [9; 32],
        root: &root,
        slots: vec![slot],
        meta: VaultMeta::default(),
    };
    let mut created = create(made, &mut rng).expect("a vault is made");
    let mut vault = open(&created, &created.bytes).expect("a new vault opens");
    let mut commits = vec![(created.bytes.len(), vault.head())];
    let rounds = [
        vec![put("a", b"first"), put("b", &[1; 700])],
        vec![put("a", b"second")],
        vec![Change::Delete {
            name: "b".parse().expect("a name"),
            expect: Expect::Any,
        }],
    ];
    for changes in rounds {
        let mut no_read = |_: &_, _: &mut [u8]| Err(VaultError::Bug("nothing is renamed"));
        let prepared = vault.prepare(&changes, UnixMs(1), &mut rng, &mut no_read);
        let prepared = prepared.expect("a commit is prepared");
        created.bytes.extend(&prepared.bytes);
        vault.apply(prepared).expect("a commit is applied");
        commits.push((created.bytes.len(), vault.head()));
    }
    Sample { created, commits }
}

/// Opens `file` with the header and keys of `created`.
pub fn open(created: &Created, file: &[u8]) -> Result<Vault, VaultError> {
    Replay::read_all(created.header.clone(), created.keys.clone(), file)
}

fn put(name: &str, value: &[u8]) -> Change {
    Change::Put {
        name: name.parse().expect("a name"),
        kind: RecordKind::ApiKey,
        meta: Meta::default(),
        value: SecretValue::copy_of(value),
        expect: Expect::Any,
    }
}
