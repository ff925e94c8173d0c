use super::code;
use crate::error::Code;
use crate::store::files::{
    MAX_STATE_FILE, make_private, overwrite, read, read_secret, remove, write,
};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Barrier;
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reseal.json");
    (folder, path)
}

#[test]
fn a_new_file_is_private_and_only_made_where_none_is() {
    let (folder, path) = folder();
    assert_eq!(read(&path, 100).unwrap(), None);
    write(&path, None, b"{}").unwrap();
    assert_eq!(read(&path, 100).unwrap().as_deref(), Some(&b"{}"[..]));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        code(write(&path, None, b"other").unwrap_err()),
        Code::ConfigConflict
    );
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_changed_since_it_was_read_is_not_overwritten() {
    let (folder, path) = folder();
    fs::write(&path, "one").unwrap();
    write(&path, Some(b"one"), b"two").unwrap();
    assert_eq!(
        code(write(&path, Some(b"one"), b"three").unwrap_err()),
        Code::ConfigConflict
    );
    assert_eq!(fs::read(&path).unwrap(), b"two");
    fs::remove_file(&path).unwrap();
    assert!(write(&path, Some(b"two"), b"three").is_err());
    assert!(!path.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn mode_stays_and_a_symlink_stays_a_symlink() {
    let (folder, link) = folder();
    let target = folder.path().join("elsewhere");
    fs::write(&target, "one").unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
    symlink("elsewhere", &link).unwrap();
    write(&link, Some(b"one"), b"two").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"two");
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o640);
    overwrite(&link, b"three").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(&target).unwrap(), b"three");
}

#[test]
fn nobody_else_waits_for_what_is_written_where_all_can_make_files() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, path) = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let refused = |path: &PathBuf| code(overwrite(path, b"two").unwrap_err());

    fs::write(&path, "planted").unwrap();
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    assert_eq!(refused(&path), Code::FilePermission);
    assert_eq!(fs::read(&path).unwrap(), b"planted");

    let (link, ours) = (folder.path().join("link"), folder.path().join("ours"));
    fs::write(&ours, "ours").unwrap();
    symlink(&ours, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(1234), None).unwrap();
    assert_eq!(refused(&link), Code::FilePermission);
    let edited = write(&link, Some(b"ours"), b"two").unwrap_err();
    assert_eq!(code(edited), Code::FilePermission);
    assert_eq!(fs::read(&ours).unwrap(), b"ours");

    // Where only its owner and root make files, a user's file is that user's.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    overwrite(&path, b"two").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().uid(), 1234);
}

#[test]
fn the_owner_stays() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_folder, path) = folder();
    fs::write(&path, "one").unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    write(&path, Some(b"one"), b"two").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345));
}

#[test]
fn overwrite_makes_and_replaces() {
    let (_folder, path) = folder();
    overwrite(&path, b"one").unwrap();
    overwrite(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn of_many_writers_with_one_base_exactly_one_wins() {
    let (_folder, path) = folder();
    fs::write(&path, "0").unwrap();
    for round in 0..20u8 {
        let before = round.to_string();
        let after = (round + 1).to_string();
        let start = Barrier::new(6);
        let wins = std::thread::scope(|scope| {
            let attempts: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        match write(&path, Some(before.as_bytes()), after.as_bytes()) {
                            Ok(()) => 1,
                            Err(error) => {
                                assert_eq!(code(error), Code::ConfigConflict);
                                0
                            }
                        }
                    })
                })
                .collect();
            attempts
                .into_iter()
                .map(|attempt| attempt.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(wins, 1);
    }
    assert_eq!(fs::read(&path).unwrap(), b"20");
}

#[test]
fn sizes_are_bounded() {
    let (folder, path) = folder();
    fs::write(&path, [b'x'; 11]).unwrap();
    assert_eq!(read(&path, 11).unwrap().map(|bytes| bytes.len()), Some(11));
    assert_eq!(code(read(&path, 10).unwrap_err()), Code::FileTooLarge);
    assert_eq!(
        code(read(folder.path(), 10).unwrap_err()),
        Code::FilePermission
    );
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_secret(&path, 11).unwrap().len(), 11);
    assert_eq!(
        code(read_secret(&path, 10).unwrap_err()),
        Code::FileTooLarge
    );
    let large = vec![0; MAX_STATE_FILE + 1];
    let other = folder.path().join("other");
    assert_eq!(
        code(write(&other, None, &large).unwrap_err()),
        Code::FileTooLarge
    );
    write(&other, None, &large[1..]).unwrap();
}

#[test]
fn a_secret_file_that_others_can_read_is_refused() {
    let (folder, path) = folder();
    fs::write(&path, "words").unwrap();
    for open in [0o644, 0o640, 0o604, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
        assert_eq!(
            code(read_secret(&path, 100).unwrap_err()),
            Code::FilePermission
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert_eq!(read_secret(&path, 100).unwrap().len(), 5);
    assert_eq!(
        code(read_secret(folder.path(), 100).unwrap_err()),
        Code::FilePermission
    );
    assert_eq!(
        code(read_secret(&folder.path().join("no"), 9).unwrap_err()),
        Code::FileIo
    );
}

#[test]
fn a_secret_may_come_through_a_pipe() {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"words").unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert_eq!(read_secret(path.as_ref(), 100).unwrap().len(), 5);
}

#[test]
fn what_a_dead_writer_left_is_in_nobodys_way() {
    let (folder, path) = folder();
    fs::write(&path, "one").unwrap();
    File::create(folder.path().join("reseal.json.tmp-0123456789abcdef")).unwrap();
    write(&path, Some(b"one"), b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[test]
fn a_file_is_removed_only_as_it_was_read() {
    let (folder, path) = folder();
    fs::write(&path, "one").unwrap();
    assert_eq!(
        code(remove(&path, b"other").unwrap_err()),
        Code::ConfigConflict
    );
    assert!(path.exists());
    assert!(remove(&path, b"one").unwrap());
    assert!(!path.exists());
    assert!(remove(&path, b"one").is_err());
    // A symlink stays, and what it leads to.
    let target = folder.path().join("elsewhere");
    fs::write(&target, "one").unwrap();
    symlink(&target, &path).unwrap();
    assert!(!remove(&path, b"one").unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink() && target.exists());
}

#[test]
fn a_mode_is_repaired_only_where_others_can_read() {
    let (_folder, path) = folder();
    fs::write(&path, "one").unwrap();
    for (before, after) in [(0o644, 0o600), (0o620, 0o600), (0o400, 0o400)] {
        fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, after);
    }
}
