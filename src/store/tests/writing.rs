use super::code;
use crate::error::Code;
use crate::store::simulated::{Act, Fault, SimulatedDisk};
use crate::store::vault_file::create_on;
use crate::store::writer::{MAX_TAILS, Rewrite};
use crate::store::{Options, Seen, StoreError, VaultFile, Writer, create};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const IMPATIENT: Options = Options {
    allow_network_fs: false,
    lock_timeout: Duration::from_millis(20),
};

fn vault() -> (TempDir, PathBuf, VaultFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    let file = create(&path, IMPATIENT, b"start").unwrap();
    (folder, path, file)
}

fn simulated() -> (SimulatedDisk, PathBuf, VaultFile) {
    let folder = Path::new("/f");
    let disk = SimulatedDisk::with_folder(folder);
    let path = folder.join("v");
    let file = create_on(Arc::new(disk.clone()), &path, IMPATIENT, b"start").unwrap();
    (disk, path, file)
}

fn replace(writer: &mut Writer, seen: &Seen, bytes: &[u8]) -> Result<Seen, StoreError> {
    writer.replace(seen, |rewrite: &mut Rewrite| rewrite.put(bytes))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn appending_needs_the_state_that_was_seen() {
    let (_folder, path, file) = vault();
    let mut writer = file.lock_writer().unwrap();
    let first = writer.seen().unwrap();
    let second = writer.append(&first, b" one").unwrap();
    assert_eq!(second.len, 9);
    assert_eq!(
        code(writer.append(&first, b" two").unwrap_err()),
        Code::VaultConflict
    );
    assert_eq!(
        code(replace(&mut writer, &first, b"x").unwrap_err()),
        Code::VaultConflict
    );
    assert_eq!(
        code(writer.truncate_tail(&first, 3).unwrap_err()),
        Code::VaultConflict
    );
    assert_eq!(fs::read(&path).unwrap(), b"start one");
    assert_eq!(file.changed(&second).unwrap(), None);
    assert_eq!(file.changed(&first).unwrap(), Some(second));
}

#[test]
fn a_file_put_in_the_vaults_place_is_noticed() {
    let (_folder, path, file) = vault();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    fs::write(&path, b"start").unwrap();
    assert_eq!(
        code(writer.append(&seen, b" one").unwrap_err()),
        Code::VaultConflict
    );
    assert_eq!(fs::read(&path).unwrap(), b"start");
}

#[test]
fn a_rewrite_replaces_the_file_and_readers_keep_what_they_opened() {
    let (folder, path, mut file) = vault();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    let now = replace(&mut writer, &seen, b"a new file").unwrap();
    assert!(!now.same_file(&seen));
    let now = writer.append(&now, b" grows").unwrap();
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), b"a new file grows");
    let mut old = [0; 5];
    file.read_at(&mut old, 0).unwrap();
    assert_eq!(&old, b"start");
    assert_eq!(file.changed(&file.seen()).unwrap(), Some(now));
    file.reopen().unwrap();
    assert_eq!(file.seen(), now);
    file.read_at(&mut old, 0).unwrap();
    assert_eq!(&old, b"a new");
    assert_eq!(names(folder.path()), ["v", "v.lock"]);
}

#[test]
fn a_rewrite_that_fails_leaves_everything_as_it_was() {
    let (folder, path, file) = vault();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    let failed = writer.replace(&seen, |rewrite| {
        rewrite.put(b"half")?;
        Err(StoreError::Conflict(PathBuf::new()))
    });
    assert!(matches!(failed, Err(StoreError::Conflict(_))));
    assert_eq!(fs::read(&path).unwrap(), b"start");
    assert_eq!(names(folder.path()), ["v", "v.lock"]);
    writer.append(&seen, b" one").unwrap();
}

#[test]
fn large_and_small_pieces_of_a_rewrite_keep_their_order() {
    let (_folder, path, file) = vault();
    let mut expected = Vec::new();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    let rewritten = writer.replace::<StoreError>(&seen, |rewrite| {
        for (mark, len) in [
            (1u8, 10),
            (2, 300_000),
            (3, 1),
            (4, 262_144),
            (5, 262_145),
            (6, 7),
        ] {
            let piece = vec![mark; len];
            rewrite.put(&piece)?;
            expected.extend(piece);
            assert_eq!(rewrite.len(), expected.len() as u64);
        }
        Ok(())
    });
    assert_eq!(rewritten.unwrap().len, expected.len() as u64);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn a_symlinked_vault_is_followed_once_and_never_replaced() {
    let (folder, path, _file) = vault();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(&path, &link).unwrap();
    let file = VaultFile::open(&link, IMPATIENT).unwrap();
    assert_eq!(file.path(), fs::canonicalize(&path).unwrap());
    // From here on the link does not matter.
    fs::remove_file(&link).unwrap();
    symlink("/nowhere", &link).unwrap();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    replace(&mut writer, &seen, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(folder.path()), ["v", "v.lock"]);
    assert_eq!(names(elsewhere.path()), ["link"]);
}

#[test]
fn the_lock_excludes_and_names_its_holder() {
    let (folder, path, file) = vault();
    let held = file.lock_writer().unwrap();
    let other = VaultFile::open(&path, IMPATIENT).unwrap();
    let error = other.lock_writer().err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    assert_eq!(code(error), Code::VaultBusy);
    drop(held);
    drop(other.lock_writer().unwrap());
    assert!(names(folder.path()).contains(&"v.lock".to_owned()));
}

#[test]
fn a_waiting_writer_gets_the_lock_when_it_is_given_back() {
    let (_folder, path, file) = vault();
    let held = file.lock_writer().unwrap();
    let patient = Options {
        lock_timeout: Duration::from_secs(60),
        ..IMPATIENT
    };
    let other = VaultFile::open(&path, patient).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.lock_writer().map(drop));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_lock_file_that_was_replaced_locks_the_new_one() {
    let (folder, path, file) = vault();
    let held = file.lock_writer().unwrap();
    fs::remove_file(folder.path().join("v.lock")).unwrap();
    let other = VaultFile::open(&path, IMPATIENT).unwrap();
    let second = other.lock_writer().unwrap();
    assert!(file.lock_writer().is_err());
    drop((held, second));
    file.lock_writer().unwrap();
}

#[test]
fn a_tail_is_copied_and_cut_and_few_copies_are_kept() {
    let (folder, path, file) = vault();
    let mut writer = file.lock_writer().unwrap();
    for round in 0..MAX_TAILS + 3 {
        let seen = writer.seen().unwrap();
        let tail = format!(" tail {round}");
        let seen = writer.append(&seen, tail.as_bytes()).unwrap();
        let seen = writer.truncate_tail(&seen, 5).unwrap();
        assert_eq!(seen.len, 5);
        let tails = names(&folder.path().join("v.d"));
        assert_eq!(tails.len(), (round + 1).min(MAX_TAILS));
        let newest = folder.path().join("v.d").join(tails.last().unwrap());
        assert_eq!(fs::read_to_string(newest).unwrap(), tail);
    }
    assert_eq!(fs::read(&path).unwrap(), b"start");
}

#[test]
fn temporary_files_of_the_dead_are_removed_when_they_are_old() {
    let (folder, _path, file) = vault();
    let old = SystemTime::now() - Duration::from_secs(3700);
    let make = |name: &str, modified: SystemTime| {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_modified(modified).unwrap();
    };
    make("v.tmp-0123456789abcdef", old);
    make("v.tmp-0123456789abcde0", SystemTime::now());
    make("v.tmp-not-one-of-ours", old);
    make("w.tmp-0123456789abcdef", old);
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    replace(&mut writer, &seen, b"new").unwrap();
    let left = names(folder.path());
    let expected = [
        "v",
        "v.lock",
        "v.tmp-0123456789abcde0",
        "v.tmp-not-one-of-ours",
        "w.tmp-0123456789abcdef",
    ];
    assert_eq!(left, expected);
}

#[test]
fn a_failed_flush_poisons_the_file_until_it_is_replaced() {
    for act in [Act::Sync, Act::Write] {
        let (disk, path, mut file) = simulated();
        let mut writer = file.lock_writer().unwrap();
        let seen = writer.seen().unwrap();
        let seen = writer.append(&seen, b" one").unwrap();
        disk.fail(Fault {
            act,
            skip: 0,
            times: 1,
            error: ErrorKind::Other,
        });
        assert_eq!(
            code(writer.append(&seen, b" two").unwrap_err()),
            Code::VaultPoisoned
        );
        assert_eq!(disk.content(&path).unwrap(), b"start one");
        assert!(writer.is_poisoned().unwrap());
        // The disk works again, but nothing is appended to this inode any more,
        let seen = writer.seen().unwrap();
        assert_eq!(
            code(writer.append(&seen, b" two").unwrap_err()),
            Code::VaultPoisoned
        );
        drop(writer);
        let mut writer = file.lock_writer().unwrap();
        assert_eq!(
            code(writer.append(&seen, b" two").unwrap_err()),
            Code::VaultPoisoned
        );
        // until there is a new one.
        let seen = replace(&mut writer, &seen, b"start one two").unwrap();
        let seen = writer.append(&seen, b" three").unwrap();
        assert_eq!(disk.content(&path).unwrap(), b"start one two three");
        drop(writer);
        file.reopen().unwrap();
        assert_eq!(file.seen(), seen);
    }
}

#[test]
fn what_can_not_be_cut_back_is_left_and_said() {
    let (disk, path, file) = simulated();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    disk.fail(Fault {
        act: Act::Sync,
        skip: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    disk.fail(Fault {
        act: Act::SetLen,
        skip: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    assert_eq!(
        code(writer.append(&seen, b" one").unwrap_err()),
        Code::VaultPoisoned
    );
    assert_eq!(disk.content(&path).unwrap(), b"start one");
    assert!(writer.is_poisoned().unwrap());
}

#[test]
fn a_rewrite_on_a_full_disk_leaves_the_vault_and_no_rubbish() {
    for act in [Act::Write, Act::Sync, Act::Rename] {
        let (disk, path, file) = simulated();
        let mut writer = file.lock_writer().unwrap();
        let seen = writer.seen().unwrap();
        disk.fail(Fault {
            act,
            skip: 0,
            times: 1,
            error: ErrorKind::StorageFull,
        });
        assert_eq!(
            code(replace(&mut writer, &seen, b"new").unwrap_err()),
            Code::FileIo
        );
        assert_eq!(disk.content(&path).unwrap(), b"start");
        assert_eq!(disk.names(), ["/f", "/f/v", "/f/v.lock"].map(PathBuf::from));
        writer.append(&seen, b" one").unwrap();
    }
}

#[test]
fn a_rewrite_whose_name_may_be_lost_is_not_acknowledged() {
    let (disk, _path, file) = simulated();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    disk.fail(Fault {
        act: Act::SyncFolder,
        skip: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    assert!(replace(&mut writer, &seen, b"new").is_err());
    assert!(writer.is_poisoned().unwrap());
}

/// A process that died between the rename of its rewrite and the flush of the folder leaves a
/// name that a power cut takes back, and with it everything appended to that inode since.
#[test]
fn the_first_append_to_a_file_makes_its_name_durable() {
    let (disk, path, file) = simulated();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    disk.fail(Fault {
        act: Act::SyncFolder,
        skip: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    assert!(replace(&mut writer, &seen, b"new").is_err());
    drop((writer, file));
    let file = VaultFile::open_on(Arc::new(disk.clone()), &path, IMPATIENT).unwrap();
    let mut writer = file.lock_writer().unwrap();
    let seen = writer.seen().unwrap();
    writer.append(&seen, b" one").unwrap();
    let after = disk.after_crash(disk.journal_len(), || false);
    assert_eq!(after.content(&path).unwrap(), b"new one");
}
