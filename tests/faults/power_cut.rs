//! A real power cut: an ext4 image on a loop device is shut down under running writers, mounted
//! again, and everything that was acknowledged is there.

use crate::world::{World, storm};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An ext4 file system on a loop device; unmounted on drop.
struct LoopFs {
    image: std::path::PathBuf,
    mount: std::path::PathBuf,
}

impl LoopFs {
    /// Makes and mounts a file system of 64 MiB, or says why this machine can't.
    fn new(folder: &Path) -> Result<Self, String> {
        let fs = Self {
            image: folder.join("image"),
            mount: folder.join("mount"),
        };
        std::fs::create_dir(&fs.mount).unwrap();
        run(Command::new("xfs_io").arg("-V"))?;
        let file = std::fs::File::create(&fs.image).unwrap();
        file.set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg("-F").arg(&fs.image))?;
        fs.mount_it()?;
        Ok(fs)
    }

    fn mount_it(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount))
    }

    /// Cuts the power: nothing more reaches the image, not even the journal in memory.
    fn cut(&self) -> Result<(), String> {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown"])
            .arg(&self.mount))
    }

    fn remount(&self) {
        run(Command::new("umount").arg(&self.mount)).unwrap();
        self.mount_it().unwrap();
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output();
    let output = output.map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Machines that refuse loop mounts (containers, other users than root) can't run this test;
/// `tests/run` sets `RESEAL_POWER_CUT=1` where it must run.
#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let cuts = if storm() { 200 } else { 6 };
    let folder = tempfile::tempdir().unwrap();
    let fs = match LoopFs::new(folder.path()) {
        Ok(fs) => fs,
        Err(why) => {
            let required = std::env::var_os("RESEAL_POWER_CUT").is_some();
            assert!(!required, "no power cut on this machine: {why}");
            eprintln!("no power cut on this machine: {why}");
            return;
        }
    };
    let world = World::at(fs.mount.join("state"), tempfile::tempdir().unwrap());
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
