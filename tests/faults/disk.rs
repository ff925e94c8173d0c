//! A real ext4 that is full, has no inode left, or is read-only: what is stored stays, what is not
//! stored says so and why, and once there is room everything works again.

use crate::loop_fs::LoopFs;
use crate::world::{World, feed, text};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// More files or pieces than a file system of 64 MiB takes.
const MANY: usize = 1_000_000;

/// A vault on a file system of its own, with one record.
fn world_on(fs: &LoopFs) -> World {
    let world = World::at(fs.mount().join("state"), tempfile::tempdir().unwrap());
    assert!(world.set("record", "old"));
    world
}

/// Fills a folder until the system refuses; every further `set` must be refused too, with the place
/// and the reason, and change nothing.
fn refuses_and_keeps(world: &World, why: &str) {
    let long = "n".repeat(64 << 10);
    for command in [
        &["secrets", "set", "record"][..],
        &["secrets", "set", "another"],
        &["vault", "compact"],
        &["vault", "rekey"],
    ] {
        let output = feed(world.command(command), &long);
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{command:?} {why}");
        assert!(told.contains(why), "{command:?}: {told}");
        assert!(told.contains("vault.reseal"), "{command:?}: {told}");
        assert_eq!(world.get("record").as_deref(), Some("old"), "{command:?}");
        assert_eq!(world.get("another"), None, "{command:?}");
        world.verify();
    }
}

fn works_again(world: &World) {
    assert!(world.set("record", "new"));
    assert!(world.set("another", "value"));
    assert_eq!(world.get("record").as_deref(), Some("new"));
    let compacted = world.command(&["vault", "compact"]).output().unwrap();
    assert!(compacted.status.success(), "{}", text(&compacted.stderr));
    world.verify();
}

/// Takes every block that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    // What the system has taken so far may still be without a block.
    let _ = file.sync_all();
}

/// Takes every inode that is left.
fn fill_inodes(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let refused = (0..MANY).find_map(|i| File::create(folder.join(i.to_string())).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_loses_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(fs) = LoopFs::where_possible(folder.path(), &[]) else {
        return;
    };
    let world = world_on(&fs);
    let filler = fs.mount().join("filler");
    fill(&filler);
    refuses_and_keeps(&world, "No space left on device");
    fs::remove_file(filler).unwrap();
    works_again(&world);
}

#[test]
fn a_disk_without_inodes_loses_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(fs) = LoopFs::where_possible(folder.path(), &["-N", "128"]) else {
        return;
    };
    let world = world_on(&fs);
    let filler = fs.mount().join("filler");
    fill_inodes(&filler);
    // An append takes no inode; a new file does.
    assert!(world.set("record", "kept"));
    for command in [["vault", "compact"], ["vault", "rekey"]] {
        let output = world.command(&command).output().unwrap();
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{command:?}");
        assert!(told.contains("No space left on device"), "{told}");
        assert_eq!(world.get("record").as_deref(), Some("kept"));
        world.verify();
    }
    fs::remove_dir_all(filler).unwrap();
    works_again(&world);
}

#[test]
fn a_disk_that_turns_read_only_loses_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(fs) = LoopFs::where_possible(folder.path(), &[]) else {
        return;
    };
    let world = world_on(&fs);
    fs.set_read_only(true);
    refuses_and_keeps(&world, "Read-only file system");
    fs.set_read_only(false);
    works_again(&world);
}
