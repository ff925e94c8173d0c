//! Hardening of this process: what a thief of core files, a debugger of the same user and a
//! careless umask would otherwise get.
//!
//! Two levels, because some of it is inherited by the programs that we start:
//!
//! | measure | command | daemon | inherited by a child |
//! | --- | --- | --- | --- |
//! | `PR_SET_DUMPABLE` 0 | yes | yes | no: `execve` sets it anew |
//! | `RLIMIT_CORE` 0 | soft limit | both limits | yes |
//! | umask 077 | yes | yes | yes |
//! | `PR_SET_NO_NEW_PRIVS` | no | yes | yes, for ever: `sudo` fails in the child |
//! | descriptors from outside closed | no | yes | none reaches a child in any case |
//!
//! What the daemon gives up beyond that, once nothing has to be started any more, is the business
//! of `daemon::sandbox`.
//!
//! A command may be `run`, whose child is the user's own program and must find the limits and the
//! umask that the user has: [`release`] gives both back between fork and exec, or just before this
//! process becomes the program. The soft core limit can be raised again because the hard one was
//! left alone. In between no core is written: the process is not dumpable, which the kernel checks
//! first.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use std::io;
use std::sync::OnceLock;

/// A measure that the kernel refused, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was asked for.
    pub measure: &'static str,
    /// What the operating system said.
    pub reason: String,
}

/// What the process had before, and what could not be done.
struct State {
    umask: Mode,
    core: Rlimit,
    refused: Vec<Refused>,
}

static STATE: OnceLock<State> = OnceLock::new();

/// Hardens a command: called first thing in `main`. Failures are not fatal; [`refused`] lists
/// them. Only the first call of [`command`] or [`daemon`] in a process does anything.
pub fn command() {
    STATE.get_or_init(|| {
        let core = getrlimit(Resource::Core);
        let soft = Rlimit {
            current: Some(0),
            maximum: core.maximum,
        };
        apply(core, soft, false)
    });
}

/// Hardens the daemon: as [`command`], and for good: no core limit to raise again, and no program
/// that it starts can gain privileges.
pub fn daemon() {
    STATE.get_or_init(|| {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        apply(getrlimit(Resource::Core), none, true)
    });
}

/// Called in a child between fork and exec, and before this process becomes another program: puts
/// back the umask and the soft core limit that the program would inherit. Makes only system calls.
pub fn release() {
    if let Some(state) = STATE.get() {
        umask(state.umask);
        // Refused only in the daemon, whose hard limit is gone; the program then writes no core.
        let _ = setrlimit(Resource::Core, state.core);
    }
}

/// The measures that the kernel refused, so far.
pub fn refused() -> &'static [Refused] {
    STATE.get().map_or(&[], |state| &state.refused)
}

fn apply(before: Rlimit, core: Rlimit, no_new_privileges: bool) -> State {
    let mut refused = Vec::new();
    let mut note = |measure: &'static str, result: rustix::io::Result<()>| {
        if let Err(error) = result {
            refused.push(Refused {
                measure,
                reason: io::Error::from(error).to_string(),
            });
        }
    };
    note(
        "no core dumps, no debugger",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    );
    note("a core file limit of zero", setrlimit(Resource::Core, core));
    if no_new_privileges {
        note("no new privileges", rustix::thread::set_no_new_privs(true));
    }
    let umask = umask(Mode::from_raw_mode(0o077));
    State {
        umask,
        core: before,
        refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ROLE: &str = "RESEAL_TEST_HARDEN";

    /// Hardening changes the whole process, so each test runs itself again as a child that does
    /// it and prints what it sees.
    fn in_child(test: &str, role: &str) -> Option<String> {
        if std::env::var_os(ROLE).is_some() {
            return None;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(String::from_utf8(output.stdout).unwrap())
    }

    fn facts() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        let core = getrlimit(Resource::Core);
        format!(
            "umask={} nnp={} dumpable={} soft={:?}",
            line("Umask:"),
            line("NoNewPrivs:"),
            dumpable != DumpableBehavior::NotDumpable,
            core.current
        )
    }

    fn child_facts() -> String {
        let script = "echo child umask=$(umask) core=$(ulimit -c)";
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_command_hardens_itself_and_gives_its_child_what_the_user_had() {
        let name = "sys::harden::tests::\
                    a_command_hardens_itself_and_gives_its_child_what_the_user_had";
        if let Some(output) = in_child(name, "command") {
            let expected = "umask=0077 nnp=0 dumpable=false soft=Some(0)";
            assert!(output.contains(expected), "{output}");
            assert!(output.contains("child umask=0027 core=8"), "{output}");
            assert!(output.contains("after: dumpable=false"), "{output}");
            return;
        }
        umask(Mode::from_raw_mode(0o027));
        let hard = getrlimit(Resource::Core).maximum;
        // In 512-byte blocks for the shell's `ulimit -c`.
        setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(8 * 512),
                maximum: hard,
            },
        )
        .unwrap();
        command();
        println!("{}", facts());
        release();
        println!("{}", child_facts());
        let still = rustix::process::dumpable_behavior().unwrap();
        println!("after: dumpable={}", still != DumpableBehavior::NotDumpable);
        assert_eq!(refused(), []);
    }

    #[test]
    fn the_daemon_gives_up_privileges_for_good() {
        let name = "sys::harden::tests::the_daemon_gives_up_privileges_for_good";
        if let Some(output) = in_child(name, "daemon") {
            let expected = "umask=0077 nnp=1 dumpable=false soft=Some(0)";
            assert!(output.contains(expected), "{output}");
            return;
        }
        daemon();
        println!("{}", facts());
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(refused(), []);
    }
}
