//! Many writers at once, and writers killed at random moments.

use crate::world::{World, feed, storm};
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writers at the same time.
const WRITERS: usize = 20;

/// Twenty processes write at once, round after round: each to a record of its own and all to one
/// that they share. Every acknowledged write is there, and nothing else is lost.
#[test]
fn parallel_writers_lose_nothing() {
    let rounds = if storm() { 1_000 } else { 15 };
    let world = World::new();
    for round in 1..=rounds {
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let world = &world;
                scope.spawn(move || {
                    let name = if writer == 0 {
                        "shared".to_owned()
                    } else {
                        format!("own/{writer}")
                    };
                    assert!(world.set(&name, &format!("{writer} of round {round}")));
                    assert!(world.set("shared", "s"));
                });
            }
        });
    }
    let versions = world.versions();
    assert_eq!(versions.len(), WRITERS);
    for writer in 1..WRITERS {
        let name = format!("own/{writer}");
        assert_eq!(versions[&name], rounds as u64, "{name}");
        assert_eq!(
            world.get(&name),
            Some(format!("{writer} of round {rounds}"))
        );
    }
    assert_eq!(versions["shared"], (rounds * (WRITERS + 1)) as u64);
    world.verify();
}

/// Writers are killed at random moments; whatever a writer acknowledged before is there.
#[test]
fn killed_writers_lose_nothing_acknowledged() {
    let kills: usize = if storm() { 1_000 } else { 80 };
    let world = World::new();
    let killed = AtomicUsize::new(0);
    let acknowledged = Mutex::new(BTreeMap::<String, u64>::new());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (world, killed, acknowledged) = (&world, &killed, &acknowledged);
            scope.spawn(move || {
                let name = format!("record/{writer}");
                while killed.load(Ordering::Relaxed) < kills {
                    if killed_or_set(world, &name) {
                        let mut acknowledged = acknowledged.lock().unwrap();
                        *acknowledged.entry(name.clone()).or_default() += 1;
                    } else {
                        killed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let versions = world.versions();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(!acknowledged.is_empty(), "nobody was quicker than the kill");
    for (name, count) in acknowledged {
        assert_eq!(world.get(&name).as_deref(), Some("value"));
        assert!(
            versions[&name] >= count,
            "{name}: {count} acknowledged, {}",
            versions[&name]
        );
    }
    world.verify();
    assert!(world.set("after", "storm"));
}

/// Starts a writer and kills it after a random number of its own system calls' worth of time: a
/// second process, started at the same instant and of random length, decides when. True if the
/// writer had already said that the value is stored.
fn killed_or_set(world: &World, name: &str) -> bool {
    let mut command = world.command(&["secrets", "set", name]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    {
        use std::io::Write;
        let _ = child.stdin.take().unwrap().write_all(b"value");
    }
    let mut random = [0u8; 2];
    reseal::sys::random::fill(&mut random);
    let spins = u32::from(u16::from_le_bytes(random)) * 64;
    for spin in 0..spins {
        std::hint::black_box(spin);
    }
    let _ = child.kill();
    child.wait().unwrap().success()
}

/// A reader that runs all the while never sees anything but whole commits.
#[test]
fn readers_see_whole_commits_only() {
    let world = World::new();
    let pair = |n: usize| format!("{n}-{}", "x".repeat(300 + n));
    assert!(world.set("pair", &pair(0)));
    let writes = if storm() { 400 } else { 40 };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=writes {
                let output = feed(world.command(&["secrets", "set", "pair"]), &pair(n));
                assert!(output.status.success());
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let value = world.get("pair").expect("a reader always finds the record");
            let n: usize = value.split('-').next().unwrap().parse().unwrap();
            assert_eq!(value, pair(n));
            assert!(n >= last, "a reader went back from {last} to {n}");
            last = n;
        }
    });
}
