use super::*;
use std::fs;

/// Waits until the system tells of something.
fn wait(watch: &Watch) {
    let fd = watch.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).unwrap();
}

/// True if nothing is told.
fn silent(watch: &Watch) -> bool {
    !watch.drain()
}

#[test]
fn edits_replacements_and_removals_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reseal.json");
    let other = folder.path().join("other");
    let mut watch = Watch::new();
    watch.set(vec![file.clone(), folder.path().join("absent/file")]);
    assert!(silent(&watch));
    fs::write(&other, "x").unwrap();
    assert!(silent(&watch));
    fs::write(&file, "1").unwrap();
    wait(&watch);
    assert!(watch.drain());
    fs::write(&file, "2").unwrap();
    assert!(watch.drain());
    fs::rename(&other, &file).unwrap();
    assert!(watch.drain());
    fs::remove_file(&file).unwrap();
    assert!(watch.drain());
    watch.set(Vec::new());
    watch.drain();
    fs::write(&file, "3").unwrap();
    assert!(silent(&watch));
}

#[test]
fn a_file_behind_a_symlink_is_watched_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.json");
    let link = folder.path().join("reseal.json");
    fs::write(&real, "1").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let mut watch = Watch::new();
    watch.set(vec![link.clone()]);
    fs::write(&real, "2").unwrap();
    assert!(watch.drain());
    fs::remove_file(&link).unwrap();
    assert!(watch.drain());
}

#[test]
fn looking_finds_what_changed_since_the_last_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vault.reseal");
    let mut watch = Watch {
        inotify: None,
        ..Watch::new()
    };
    watch.set(vec![file.clone()]);
    assert!(!watch.look());
    assert!(!watch.changed_since(0));
    fs::write(&file, "1").unwrap();
    // A change before the files are named again, as during a reload, is not lost.
    watch.set(vec![file.clone()]);
    assert!(watch.look());
    assert!(!watch.look());
    assert!(watch.changed_since(0));
    assert!(!watch.changed_since(i128::MAX));
    fs::remove_file(&file).unwrap();
    assert!(watch.look());
}

#[test]
fn files_past_the_limit_are_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..=MAX_WATCHED)
        .map(|i| folder.path().join(i.to_string()))
        .collect();
    let mut watch = Watch::new();
    watch.set(files.clone());
    fs::write(&files[MAX_WATCHED], "x").unwrap();
    assert!(silent(&watch));
    fs::write(&files[MAX_WATCHED - 1], "x").unwrap();
    assert!(watch.drain());
}
