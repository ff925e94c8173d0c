use super::check::{Checked, check};
use super::*;
use std::fs;

fn keys_of(epoch: u32) -> SubKeys {
    let root = Key::build(|out| out.fill(7));
    SubKeys::derive(&root, &[1; 32], [2; 16], epoch)
}

fn keys() -> SubKeys {
    keys_of(1)
}

struct Log {
    _root: tempfile::TempDir,
    folder: PathBuf,
}

impl Log {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("audit");
        Self {
            _root: root,
            folder,
        }
    }

    fn open(&self) -> Trail {
        Trail::open(&self.folder, &keys()).unwrap()
    }

    fn check(&self) -> Checked {
        check(&self.folder, &keys()).unwrap()
    }

    /// What is wrong, by file and line; `None` if nothing is.
    fn fault(&self) -> Option<u64> {
        self.check().fault.map(|fault| fault.line)
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.folder).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<String>)) {
        let path = self.files().pop().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        edit(&mut lines);
        fs::write(&path, lines.concat()).unwrap();
    }
}

fn decision(name: &str) -> Line {
    Line {
        uid: Some(1001),
        op: Some("get".to_owned()),
        refs: vec![name.to_owned()],
        outcome: Some(Outcome::Allowed),
        ..Line::of(Kind::Decision)
    }
}

fn written() -> Log {
    let log = Log::new();
    let mut trail = log.open();
    for i in 0..5 {
        trail.note(decision(&format!("vault:n{i}"))).unwrap();
    }
    trail.stop().unwrap();
    log
}

#[test]
fn a_log_as_it_was_written_is_whole() {
    let log = Log::new();
    assert_eq!(log.check(), Checked::default());
    let log = written();
    let checked = log.check();
    assert_eq!((checked.files, checked.lines, checked.missing), (1, 8, 0));
    assert_eq!(checked.fault, None);
    // It goes on where it ended.
    drop(log.open());
    assert_eq!(log.check().lines, 9);
    use std::os::unix::fs::PermissionsExt;
    for path in log.files() {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn every_change_of_a_line_shows_where_it_is() {
    for change in [
        |lines: &mut Vec<String>| lines[3] = lines[3].replace("1001", "1002"),
        |lines: &mut Vec<String>| lines[3] = lines[3].replace("vault:n1", "vault:nX"),
        |lines: &mut Vec<String>| {
            lines.remove(3);
        },
        |lines: &mut Vec<String>| lines.swap(3, 4),
        |lines: &mut Vec<String>| {
            let again = lines[2].clone();
            lines.insert(3, again);
        },
        |lines: &mut Vec<String>| lines[3] = "nonsense\n".to_owned(),
        |lines: &mut Vec<String>| lines[3] = "\n".to_owned(),
    ] {
        let log = written();
        log.edit(change);
        assert_eq!(log.fault(), Some(4));
    }
    // The first line, and bytes of a MAC.
    let log = written();
    log.edit(|lines| lines[0] = lines[0].replace("\"epoch\":1", "\"epoch\":2"));
    assert_eq!(log.fault(), Some(8));
    let log = written();
    log.edit(|lines| {
        let at = lines[5].len() - 5;
        let other = if lines[5].as_bytes()[at] == b'0' {
            "1"
        } else {
            "0"
        };
        lines[5].replace_range(at..=at, other);
    });
    assert_eq!(log.fault(), Some(6));
}

#[test]
fn lines_cut_off_at_the_end_are_missed_and_noted_at_the_next_start() {
    let log = written();
    log.edit(|lines| lines.truncate(5));
    assert_eq!(log.fault(), Some(5));
    drop(log.open());
    let checked = log.check();
    assert_eq!((checked.missing, checked.fault), (3, None));
    // All of it.
    let log = written();
    fs::remove_file(log.files().pop().unwrap()).unwrap();
    assert!(log.check().fault.is_some());
    drop(log.open());
    assert_eq!(log.check().missing, 8);
    // The head, with lines and without.
    for left in [8, 5] {
        let log = written();
        log.edit(|lines| lines.truncate(left));
        fs::remove_file(log.folder.join(HEAD)).unwrap();
        assert!(log.check().fault.is_some());
        drop(log.open());
        let checked = log.check();
        assert_eq!((checked.missing, checked.gaps), (0, 1));
        drop(log.open());
        assert_eq!(log.check().gaps, 1);
    }
}

#[test]
fn a_line_that_a_killed_daemon_wrote_in_part_is_dropped() {
    let log = written();
    log.edit(|lines| lines.push("{\"seq\":9,\"ti".to_owned()));
    assert_eq!(log.fault(), None);
    let mut trail = log.open();
    trail.note(decision("vault:after")).unwrap();
    let checked = log.check();
    assert_eq!(
        (checked.lines, checked.missing, checked.fault),
        (10, 0, None)
    );
}

#[test]
fn files_and_bytes_are_bounded_and_the_chain_goes_on_from_file_to_file() {
    let log = Log::new();
    let mut trail = log.open();
    let long = decision(&"x".repeat(1 << 20));
    for _ in 0..(4 * MAX_FILES + 6) {
        trail.note(long.clone()).unwrap();
    }
    let files = log.files();
    assert_eq!(files.len(), MAX_FILES);
    for path in &files {
        let line = (1 << 20) + 1024;
        assert!(fs::metadata(path).unwrap().len() <= MAX_FILE + line);
    }
    assert_eq!(log.fault(), None);
    // The newest file says which lines are kept and how many went for it.
    let first_of = |path: &PathBuf| {
        let text = fs::read(path).unwrap();
        let line = text.split_inclusive(|b| *b == b'\n').next().unwrap();
        Line::parse(line).unwrap().0
    };
    let (oldest, newest) = (first_of(&files[0]), first_of(files.last().unwrap()));
    assert_eq!(newest.oldest, Some(oldest.seq));
    assert!(newest.dropped.is_some_and(|lines| lines >= 4));
    drop(trail);
}

#[test]
fn a_file_that_is_put_back_or_left_out_shows() {
    let log = Log::new();
    let mut trail = log.open();
    for _ in 0..3 {
        trail.start_file(&keys()).unwrap();
        trail.note(decision("vault:a")).unwrap();
    }
    assert_eq!(log.fault(), None);
    // Without the oldest, all but the last, another one.
    let files = log.files();
    for gone in [0..1, 0..3, 1..2] {
        let texts: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        for path in &files[gone] {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(log.fault(), Some(1));
        for (path, text) in files.iter().zip(texts) {
            fs::write(path, text).unwrap();
        }
    }
    assert_eq!(log.fault(), None);
}

#[test]
fn a_new_vault_key_starts_a_new_file_that_vouches_for_the_older_ones() {
    let log = written();
    let mut trail = log.open();
    trail.rearm(&keys_of(2)).unwrap();
    trail.note(decision("vault:new")).unwrap();
    let checked = check(&log.folder, &keys_of(2)).unwrap();
    assert_eq!(
        (checked.of_older_keys, checked.lines, checked.fault),
        (9, 2, None)
    );
    drop(trail);
    // Before a daemon has started with the third key nothing vouches for what is there.
    assert!(check(&log.folder, &keys_of(3)).unwrap().fault.is_some());
    drop(Trail::open(&log.folder, &keys_of(3)).unwrap());
    let checked = check(&log.folder, &keys_of(3)).unwrap();
    assert_eq!(
        (checked.of_older_keys, checked.lines, checked.missing),
        (11, 2, 0)
    );
    let oldest = log.files().remove(0);
    let text = fs::read_to_string(&oldest).unwrap();
    fs::write(&oldest, text.replace("1001", "1002")).unwrap();
    let fault = check(&log.folder, &keys_of(3)).unwrap().fault.unwrap();
    assert_eq!(fault.line, 1);
}

#[test]
fn lines_that_are_passed_off_as_those_of_another_key_are_noted_at_the_next_start() {
    let other_vault = format!("\"vault\":\"{}\"", "0".repeat(32));
    let own_vault = format!("\"vault\":\"{}\"", "02".repeat(16));
    let second_epoch = || {
        let log = written();
        let mut trail = log.open();
        trail.rearm(&keys_of(2)).unwrap();
        trail.note(decision("vault:new")).unwrap();
        log
    };
    let forge = |log: &Log, own: &str, other: &str| {
        log.edit(|lines| {
            assert!(lines[0].contains(own), "{}", lines[0]);
            lines[0] = lines[0].replace(own, other);
            let last = lines.len() - 1;
            lines[last] = lines[last].replace("vault:new", "vault:other");
        });
    };
    let old_head = {
        let log = written();
        fs::read(log.folder.join(HEAD)).unwrap()
    };
    for (own, other) in [
        ("\"epoch\":2", "\"epoch\":1"),
        ("\"epoch\":2", "\"epoch\":3"),
        (own_vault.as_str(), other_vault.as_str()),
    ] {
        // With the head that there was, and without one.
        for head in [None, Some(&b""[..])] {
            let log = second_epoch();
            forge(&log, own, other);
            if let Some(head) = head {
                fs::write(log.folder.join(HEAD), head).unwrap();
            }
            drop(Trail::open(&log.folder, &keys_of(2)).unwrap());
            let checked = check(&log.folder, &keys_of(2)).unwrap();
            assert_eq!((checked.gaps, checked.fault), (1, None), "{other} {head:?}");
        }
    }
    // What a key that there was not yet can't have sealed.
    for epoch in ["0", "1"] {
        let log = written();
        log.edit(|lines| lines[0] = lines[0].replace("\"epoch\":1", &format!("\"epoch\":{epoch}")));
        let mut head = old_head.clone();
        head[8] = epoch.parse().unwrap();
        head[60] ^= 1;
        fs::write(log.folder.join(HEAD), head).unwrap();
        drop(log.open());
        assert_eq!(log.check().gaps, 1, "{epoch}");
    }
}

#[test]
fn a_full_disk_leaves_no_half_line() {
    let log = Log::new();
    let mut trail = log.open();
    let path = log.files().pop().unwrap();
    // A descriptor that can't be written stands for the disk.
    let good = std::mem::replace(&mut trail.file, File::open(&path).unwrap());
    assert!(trail.note(decision("vault:lost")).is_err());
    trail.file = good;
    trail.note(decision("vault:kept")).unwrap();
    assert_eq!(log.fault(), None);
}

#[test]
fn a_line_without_its_head_is_taken_back() {
    let log = Log::new();
    let mut trail = log.open();
    let path = log.folder.join(HEAD);
    let good = std::mem::replace(&mut trail.head, File::open(&path).unwrap());
    assert!(trail.note(decision("vault:lost")).is_err());
    trail.head = good;
    trail.note(decision("vault:kept")).unwrap();
    assert_eq!(log.fault(), None);
    let lines = check::lines(&log.folder).unwrap();
    let refs: Vec<String> = lines.into_iter().flat_map(|line| line.refs).collect();
    assert_eq!(refs, ["vault:kept"]);
}

#[test]
fn a_file_that_can_not_be_started_changes_nothing() {
    let log = Log::new();
    let mut trail = log.open();
    let in_the_way = log.folder.join(NEW);
    fs::create_dir(&in_the_way).unwrap();
    assert!(trail.start_file(&keys()).is_err());
    assert!(trail.rearm(&keys_of(2)).is_err());
    trail.note(decision("vault:old key")).unwrap();
    assert_eq!((log.fault(), log.files().len()), (None, 1));
    fs::remove_dir(&in_the_way).unwrap();
    trail.rearm(&keys_of(2)).unwrap();
    trail.note(decision("vault:new key")).unwrap();
    assert_eq!(check(&log.folder, &keys_of(2)).unwrap().fault, None);
}

#[test]
fn an_empty_last_file_keeps_no_daemon_from_starting() {
    for left in ["", "{\"seq\":9,\"ti"] {
        let log = written();
        fs::write(log.folder.join(format!("{:020}{ENDING}", 9)), left).unwrap();
        drop(log.open());
        let checked = log.check();
        assert_eq!((checked.files, checked.gaps, checked.fault), (1, 0, None));
        // The only one.
        let log = written();
        fs::write(log.files().pop().unwrap(), left).unwrap();
        drop(log.open());
        let checked = log.check();
        assert_eq!((checked.missing, checked.fault), (8, None));
    }
}

#[test]
fn two_daemons_never_write_the_same_log() {
    let log = Log::new();
    let trail = log.open();
    let error = Trail::open(&log.folder, &keys()).unwrap_err();
    assert!(matches!(error, TrailError::Busy(_)), "{error}");
    drop(trail);
    drop(log.open());
    assert_eq!(log.fault(), None);
}
