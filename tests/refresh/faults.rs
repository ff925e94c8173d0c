//! A refresh whose system calls fail, or at which it is killed, one after the other (by `strace`).
//!
//! A kill between the answer and the moment when it is stored costs a sign-in, no kill costs more.
//! A call that fails costs nothing: whatever the server granted is there afterwards.

use super::issuer::{Issuer, access, refresh};
use super::world::World;
use crate::calls::ASKING;
use crate::program::program;
use reseal::oauth::ClientAuth;
use std::process::{Command, Output, Stdio};

/// The calls that connect and send, and those that write, flush, rename, cut or remove.
const CALLS: [&str; 11] = [
    "connect",
    "sendto",
    "write",
    "writev",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "ftruncate",
    "fallocate",
    "unlink",
];
/// More calls of one kind than a refresh makes.
const MAX_CALLS: usize = 200;

impl World {
    /// An account that ended, at a server that begins anew.
    fn begin_anew(&self) {
        self.issuer.begin_anew();
        self.sign_in(ClientAuth::None, 7200, 3600);
    }

    /// `token` with a fault in one of its calls; what it ended with, and whether the fault came.
    fn faulty(&self, fault: &str) -> (Output, bool) {
        let log = self.state.join("strace.log");
        let mut command = Command::new("strace");
        let call = fault.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
        let options = ["-qq", "-f", "-e", &trace, "-e", &inject, "-o"];
        command.args(options).arg(&log).arg(program());
        command.args(["--no-input", "--state-dir"]).arg(&self.state);
        command.args(["token", "acme:me", "--key-file"]);
        command.arg(&self.key).env_clear().stdin(Stdio::null());
        let output = command.output().unwrap();
        let log = std::fs::read_to_string(log).unwrap();
        let came = log.contains("(INJECTED)") || log.contains("killed by SIGKILL");
        (output, came)
    }

    /// The vault is whole, and a token can be had; false if only after a sign-in.
    fn is_well(&self, fault: &str) -> bool {
        self.alone(&["vault", "verify"]);
        let key = self.key_path();
        let output = self.run(&["token", "acme:me", "--key-file", &key]);
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(9) {
            return false;
        }
        assert!(output.status.success(), "{fault}: {told}");
        let token = String::from_utf8(output.stdout).unwrap();
        let newest = access(self.issuer.state().generation);
        assert!(token.trim_end() == newest, "{fault}: not the newest token");
        true
    }
}

#[test]
fn a_refresh_killed_at_every_system_call_costs_a_sign_in_at_most() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    let (mut points, mut sign_ins) = (0, 0);
    for call in CALLS {
        for at in 1..MAX_CALLS {
            world.begin_anew();
            let fault = format!("{call}:signal=KILL:when={at}");
            let (output, came) = world.faulty(&fault);
            let granted = world.issuer.state().generation;
            if !world.is_well(&fault) {
                // The server had acted, and whoever had the answer was gone.
                assert!(came && granted == 1, "{fault}: given up without need");
                sign_ins += 1;
            }
            assert!(
                world.issuer.state().came <= 2,
                "{fault}: sent again and again"
            );
            if !came {
                assert!(output.status.success(), "{fault}");
                break;
            }
            points += 1;
        }
    }
    assert!(points > 10, "only {points} points: is strace at work?");
    eprintln!("{points} kills, {sign_ins} of them cost a sign-in");
    assert!(sign_ins < points);
}

#[test]
fn a_refresh_of_which_any_one_call_fails_loses_no_token() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    let mut points = 0;
    for call in CALLS.into_iter().chain(ASKING) {
        for at in 1..MAX_CALLS {
            world.begin_anew();
            let error = if points % 2 == 0 { "EIO" } else { "ENOSPC" };
            let fault = format!("{call}:error={error}:when={at}");
            let (output, came) = world.faulty(&fault);
            let told = String::from_utf8_lossy(&output.stderr);
            let told_too_much = (0..2).any(|n| told.contains(&refresh(n)));
            assert!(!told_too_much && !told.contains("panicked"), "{fault}");
            assert!(world.is_well(&fault), "{fault}: {told}");
            if !came {
                assert!(output.status.success(), "{fault}: {told}");
                break;
            }
            points += 1;
        }
    }
    eprintln!("{points} calls failed");
    assert!(points > 10, "only {points} points: is strace at work?");
}
