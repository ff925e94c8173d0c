//! Many writer processes, some of them killed: what was acknowledged is there, once.
//!
//! The test binary starts itself again as the worker, told what to do by the environment.

use super::writers::count_up;
use super::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

const ROLE: &str = "RESEAL_TEST_WORKER";

/// Commits records until it has made as many as it was told, or is killed; after each commit it
/// says so.
#[test]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut words = role.split(' ');
    let mut word = || words.next().expect("the role has five words");
    let (path, anchors) = (PathBuf::from(word()), PathBuf::from(word()));
    let (id, records, counting) = (word(), word().parse::<usize>().unwrap(), word() == "count");
    let mut open = open_at(&path, &anchors, &KNOWN).unwrap();
    let mut out = std::io::stdout();
    for i in 0..records {
        let record = format!("w{id}-{i}");
        open.commit(vec![put_if(
            &record,
            value_of(&record).as_bytes(),
            Expect::Absent,
        )])
        .unwrap();
        writeln!(out, "\ncommitted {record}").unwrap();
        out.flush().unwrap();
        if counting {
            count_up(&mut open);
            writeln!(out, "\ncommitted count").unwrap();
            out.flush().unwrap();
        }
        if i % 7 == 3 {
            open.compact(true).unwrap();
        }
    }
}

/// Long enough for several sectors, so that a kill can tear it.
fn value_of(record: &str) -> String {
    record.repeat(150)
}

fn start(world: &World, id: &str, records: usize, mode: &str) -> Child {
    let (path, anchors) = (world.path.display(), world.anchors.display());
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runtime::open_vault::tests::processes::worker"])
        .args(["--nocapture", "--test-threads=1"])
        .env(ROLE, format!("{path} {anchors} {id} {records} {mode}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until there are `enough`, or the worker ends.
fn acknowledged(child: &mut Child, enough: usize, kill: bool) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut all = Vec::new();
    while all.len() < enough {
        let Some(line) = lines.next() else { break };
        all.extend(line.unwrap().strip_prefix("committed ").map(str::to_owned));
    }
    if kill {
        child.kill().unwrap();
    }
    // What it said before it died counts.
    for line in lines.map_while(Result::ok) {
        all.extend(line.strip_prefix("committed ").map(str::to_owned));
    }
    all
}

fn check_present(open: &OpenVault, record: &str) {
    assert_eq!(
        value(open, record).as_deref(),
        Some(value_of(record).as_bytes()),
        "{record}"
    );
}

#[test]
fn twenty_processes_at_once_lose_nothing() {
    const WRITERS: usize = 20;
    const RECORDS: usize = 5;
    let (world, mut open) = World::new();
    open.commit(put("count", b"0")).unwrap();
    let workers: Vec<_> = (0..WRITERS)
        .map(|id| start(&world, &id.to_string(), RECORDS, "count"))
        .collect();
    for mut worker in workers {
        let said = acknowledged(&mut worker, 2 * RECORDS, false);
        assert!(worker.wait().unwrap().success());
        assert_eq!(said.len(), 2 * RECORDS);
    }
    open.catch_up().unwrap();
    assert_eq!(
        value(&open, "count").unwrap(),
        (WRITERS * RECORDS).to_string().as_bytes()
    );
    assert_eq!(names(&open).len(), WRITERS * RECORDS + 1);
    for id in 0..WRITERS {
        (0..RECORDS).for_each(|i| check_present(&open, &format!("w{id}-{i}")));
    }
    world.open().verify_all().unwrap();
}

#[test]
fn killed_writers_lose_nothing_that_they_acknowledged() {
    const SEATS: usize = 4;
    const LIVES: usize = 6;
    let (world, mut open) = World::new();
    let all = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for seat in 0..SEATS {
            let (world, all) = (&world, &all);
            scope.spawn(move || {
                for life in 0..LIVES {
                    let mut worker = start(world, &format!("{seat}.{life}"), 1000, "only");
                    let said = acknowledged(&mut worker, 1 + (seat + 3 * life) % 7, true);
                    let end = worker.wait().unwrap();
                    assert_eq!(end.signal(), Some(9), "a worker ended by itself: {end}");
                    all.lock().unwrap().extend(said);
                }
            });
        }
        // A writer that lives through it all.
        for round in 0..30u8 {
            open.commit(put("survivor", &[round])).unwrap();
        }
    });
    let acknowledged = all.into_inner().unwrap();
    assert!(acknowledged.len() >= SEATS * LIVES);
    let mut end = world.open();
    acknowledged
        .iter()
        .for_each(|record| check_present(&end, record));
    // Each killed worker may have had one commit on its way, and no more.
    let extra = names(&end).len() - acknowledged.len() - 1;
    assert!(extra <= SEATS * LIVES, "{extra}");
    assert_eq!(end.get(&name("survivor"), None).unwrap().0.version, 30);
    end.commit(put("after", b"works")).unwrap();
    end.verify_all().unwrap();
}
