//! Many writers in one process, each with a handle of its own.

use super::*;
use std::sync::Barrier;

#[test]
fn threads_lose_no_commit_and_double_none() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 25;
    let (world, mut open) = World::new();
    open.commit(put("count", b"0")).unwrap();
    let start = Barrier::new(WRITERS + 1);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (world, start) = (&world, &start);
            scope.spawn(move || {
                let mut open = world.open();
                start.wait();
                for round in 0..ROUNDS {
                    open.commit(put(&format!("w{writer}-{round}"), &[1]))
                        .unwrap();
                    count_up(&mut open);
                }
            });
        }
        // Somebody rewrites the file under their feet.
        start.wait();
        for _ in 0..10 {
            open.compact(true).unwrap();
        }
    });
    let end = world.open();
    assert_eq!(
        value(&end, "count").unwrap(),
        (WRITERS * ROUNDS).to_string().as_bytes()
    );
    assert_eq!(names(&end).len(), WRITERS * ROUNDS + 1);
    open.catch_up().unwrap();
    assert_eq!(names(&open), names(&end));
    end.verify_all().unwrap();
}

/// Adds one to a number by compare-and-swap, as often as it takes.
pub(super) fn count_up(open: &mut OpenVault) {
    loop {
        let (info, old) = open.get(&name("count"), None).unwrap();
        let number: u64 = std::str::from_utf8(old.expose()).unwrap().parse().unwrap();
        let next = (number + 1).to_string();
        match open.commit(vec![put_if(
            "count",
            next.as_bytes(),
            Expect::Version(info.version),
        )]) {
            Ok(_) => return,
            Err(failure) => assert_eq!(failure.code, Code::VaultConflict),
        }
    }
}

#[test]
fn a_busy_vault_names_the_process_that_keeps_it() {
    let (world, _open) = World::new();
    let file = VaultFile::open(&world.path, Options::default()).unwrap();
    let _held = file.lock_writer().unwrap();
    let patience = std::time::Duration::from_millis(10);
    let options = Options {
        lock_timeout: patience,
        ..Options::default()
    };
    let file = VaultFile::open(&world.path, options).unwrap();
    let (header, keys) = unlock(&file, SLOT_KEY);
    let mut other = OpenVault::open(file, header, keys, &world.anchors, &KNOWN).unwrap();
    let failure = other.commit(put("key", b"one")).unwrap_err();
    assert_eq!(failure.code, Code::VaultBusy);
    assert!(
        failure.message.contains(&std::process::id().to_string()),
        "{failure}"
    );
    // Readers need no lock.
    assert!(!other.catch_up().unwrap());
    world.open();
}

/// What others commit while a vault is being opened or read again makes the anchor go on; the file
/// that is read must not be older than the anchor that it is compared with.
#[test]
fn opening_and_verifying_amid_commits_is_no_rollback() {
    let (world, mut open) = World::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (world, stop) = (&world, &stop);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..60 {
                        let mut reader = world.open();
                        reader.verify_all().unwrap();
                        reader.catch_up().unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            for round in 0u32.. {
                open.commit(put("key", &round.to_le_bytes())).unwrap();
                if round % 5 == 4 {
                    open.compact(false).unwrap();
                }
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        let outcomes: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
}
