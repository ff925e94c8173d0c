//! Faults on the real program: parallel writers, SIGKILL at every system call and at random
//! moments, failing writes and flushes, a real power cut, hostile clients of the daemon.
//!
//! What each test holds to: whatever was acknowledged is there afterwards, nothing else was lost,
//! and the vault opens.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/inject.rs"]
mod inject;
#[path = "faults/loop_fs.rs"]
mod loop_fs;
#[path = "faults/moving.rs"]
mod moving;
#[path = "faults/power_cut.rs"]
mod power_cut;
#[path = "faults/storm.rs"]
mod storm;
#[path = "faults/world.rs"]
mod world;
