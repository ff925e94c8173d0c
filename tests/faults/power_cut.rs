//! A real power cut: an ext4 image on a loop device is shut down under running writers, mounted
//! again, and everything that was acknowledged is there.

use crate::loop_fs::LoopFs;
use crate::world::{World, storm};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let cuts = if storm() { 200 } else { 6 };
    let folder = tempfile::tempdir().unwrap();
    let Some(fs) = LoopFs::where_possible(folder.path(), &[]) else {
        return;
    };
    let world = World::at(fs.mount().join("state"), tempfile::tempdir().unwrap());
    let acknowledged = AtomicU64::new(0);
    for cut in 0..cuts {
        let target = acknowledged.load(Ordering::Acquire) + 3 + cut % 5;
        // What counts is acknowledged before the cut begins. The kernel's shutdown is not quite a
        // power cut: a flush that is under way when it comes may return success although its
        // journal is gone (a bare loop of write and fdatasync shows the same in every fourth cut).
        let mut before_the_cut = 0;
        let failed = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // Ends by itself: after the cut no write is acknowledged any more.
                let mut n = acknowledged.load(Ordering::Acquire);
                while world.set("counter", &(n + 1).to_string()) {
                    if failed.load(Ordering::Acquire) {
                        break;
                    }
                    n += 1;
                    acknowledged.store(n, Ordering::Release);
                }
            });
            while acknowledged.load(Ordering::Acquire) < target && !writer.is_finished() {
                std::thread::yield_now();
            }
            before_the_cut = acknowledged.load(Ordering::Acquire);
            let outcome = fs.cut();
            failed.store(outcome.is_err(), Ordering::Release);
            outcome
        });
        outcome.unwrap();
        fs.remount();
        let value: u64 = world
            .get("counter")
            .expect("the record is there")
            .parse()
            .unwrap();
        assert!(
            value >= before_the_cut,
            "{before_the_cut} acknowledged, {value} found"
        );
        acknowledged.store(value, Ordering::Release);
        world.verify();
    }
}
