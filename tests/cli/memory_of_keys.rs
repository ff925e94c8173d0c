//! The memory of the daemon and of commands, looked through for the keys of the vault: the raw key
//! that opens a slot, the root key, and the sub-keys.

use super::memory::daemon_with;
use super::world::World;
use crate::scanner::{
    AtExit, HEX, Hits, NO_SECRET_MEMORY, at_its_end, in_arena, may_look, now, refusing,
};
use data_encoding::HEXLOWER;
use reseal::store::{Options, VaultFile};
use reseal::unlock::key_file::read_key;
use reseal::vault::Header;
use reseal::vault::slot::open_raw;

/// What stands before the sub-keys where they are handed over: magic, vault, epoch, commitment.
const BEFORE_SUB_KEYS: usize = 8 + 16 + 4 + 32;

/// The keys of a vault, for the scanner.
struct Keys {
    /// The raw key and the root key, which nobody needs once the vault is open.
    above: Vec<String>,
    /// Of these a daemon has those that it needs.
    sub_keys: Vec<String>,
}

fn needle(key: &[u8]) -> String {
    format!("{HEX}{}", HEXLOWER.encode(key))
}

impl Keys {
    fn of(world: &World, key_file: &str) -> Self {
        let file = VaultFile::open(&world.vault(), Options::default()).unwrap();
        let header = Header::parse(&file.read_header().unwrap()).unwrap();
        let raw = read_key(key_file.as_ref()).unwrap();
        let mut slots = header.slots().iter();
        let root = slots.find_map(|slot| open_raw(&header, slot, &raw).unwrap());
        let root = root.unwrap();
        let sub_keys = header.verify(&root).unwrap().to_secret();
        Self {
            above: vec![needle(raw.expose()), needle(root.expose())],
            sub_keys: sub_keys.expose()[BEFORE_SUB_KEYS..]
                .chunks_exact(32)
                .map(needle)
                .collect(),
        }
    }

    fn all(&self) -> Vec<&str> {
        let all = self.above.iter().chain(&self.sub_keys);
        all.map(String::as_str).collect()
    }
}

/// A vault with a value, and the file with its key.
fn made() -> (World, String) {
    let world = World::empty();
    let key = world.beside("key");
    world
        .run(&["init", "--no-recovery", "--generate-key-file", &key])
        .ok();
    let set = ["secrets", "set", "a", "--key-file", &key];
    world.piped(&set, b"value").ok();
    (world, key)
}

fn use_daemon(world: &World) {
    assert_eq!(
        world.run(&["secrets", "get", "-n", "a"]).ok().text(),
        "value"
    );
    world.piped(&["secrets", "set", "b"], b"other").ok();
    world.run(&["vault", "compact"]).ok();
}

#[test]
fn an_unlocked_daemon_has_sub_keys_in_locked_memory_and_no_other_key() {
    if !may_look() {
        return;
    }
    let (world, key) = made();
    let keys = Keys::of(&world, &key);
    let mut child = daemon_with(&world, &["--key-file", &key], &[NO_SECRET_MEMORY]);
    use_daemon(&world);
    let hits = now(child.id(), &keys.all());
    // The search works, and nothing but sub-keys is found, nowhere but there.
    let held: Vec<&str> = keys
        .sub_keys
        .iter()
        .map(String::as_str)
        .filter(|key| hits.iter().any(|(found, _)| found == key))
        .collect();
    assert!(!held.is_empty());
    assert_eq!(hits, in_arena(&held));
    let at_exit = AtExit::of(&child);
    world.run(&["vault", "lock"]).ok();
    assert_eq!(at_exit.look_for(&keys.all()), Hits::new());
    assert!(child.wait().unwrap().success());

    let mut child = daemon_with(&world, &["--key-file", &key], &[]);
    use_daemon(&world);
    assert_eq!(now(child.id(), &keys.all()), Hits::new());
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn commands_leave_no_key_in_their_memory() {
    if !may_look() {
        return;
    }
    let (world, key) = made();
    let keys = Keys::of(&world, &key);
    for arguments in [
        &["secrets", "get", "a"][..],
        &["secrets", "set", "a"],
        &["secrets", "list"],
        &["vault", "verify"],
        &["vault", "compact"],
    ] {
        let arguments = [arguments, &["--key-file", &key]].concat();
        let command = refusing(&[NO_SECRET_MEMORY], &world.command(&arguments));
        let ended = at_its_end(&command, b"value", &keys.all());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.hits, Hits::new(), "{arguments:?}");
    }
}
