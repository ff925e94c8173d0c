//! What holds the daemon, and what the kernel lacks to hold it better.

use super::{Findings, Severity};
use crate::daemon::sandbox;
use crate::runtime::service::{DaemonStatus, Lack, SandboxStatus};
use crate::sys::landlock::{ABI_OF_PORTS, ABI_OF_SCOPES};

const CHECK: &str = "sandbox";

/// The daemon that runs.
pub(super) fn of_daemon(daemon: Option<&DaemonStatus>, findings: &mut Findings) {
    let anew = "reseal vault lock, then unlock again";
    let Some(sandbox) = daemon.and_then(|daemon| daemon.sandbox.as_ref()) else {
        let message = "the daemon gave up nothing before it had the keys";
        findings.bad(CHECK, Severity::Warning, message, anew);
        return;
    };
    if sandbox.broker.is_none() {
        let message = "the process that runs commands and opens files for the daemon has ended: \
                       `exec` and `file` refs fail";
        findings.bad(CHECK, Severity::Error, message, anew);
    }
    for place in &sandbox.wide {
        let message = format!("a daemon that was taken over could reach all that is in {place}");
        let remedy = "keep vaults, and the socket, in folders of their own";
        findings.bad(CHECK, Severity::Warning, message, remedy);
    }
    tell(sandbox, "the daemon is held by", findings);
}

/// The kernel, for a daemon to come.
pub(super) fn of_kernel(findings: &mut Findings) {
    tell(&sandbox::available(), "a daemon will be held by", findings);
}

fn tell(sandbox: &SandboxStatus, holds: &str, findings: &mut Findings) {
    let mut lacks = |message: String, remedy| {
        findings.bad(CHECK, Severity::Note, message, remedy);
    };
    match sandbox.landlock {
        None => lacks(
            format!(
                "no Landlock{}: a daemon that was taken over could open every file of yours",
                why(sandbox.landlock_lack)
            ),
            match sandbox.landlock_lack {
                Some(Lack::Off) => "add landlock to lsm= on the kernel's command line",
                Some(Lack::Refused) => "let it make the calls landlock_*: see its container",
                Some(Lack::NotBuilt) | None => {
                    "use a kernel from 5.13 on, with landlock in its lsm= list"
                }
            },
        ),
        Some(abi) if abi < ABI_OF_SCOPES => {
            let ports = match abi < ABI_OF_PORTS {
                true => "refuses no ports, and ",
                false => "",
            };
            lacks(
                format!("Landlock version {abi} {ports}keeps no signals inside"),
                "use a kernel from 6.12 on",
            );
        }
        Some(_) => {}
    }
    if !sandbox.seccomp {
        let message = format!(
            "no filter of system calls{}: a daemon that was taken over could start programs",
            why(sandbox.seccomp_lack)
        );
        let remedy = match sandbox.seccomp_lack {
            Some(Lack::Refused) => "let it make the call seccomp: see its container",
            _ => "use a kernel with CONFIG_SECCOMP_FILTER",
        };
        lacks(message, remedy);
    }
    if !sandbox.write_xor_execute {
        let message = "nothing keeps memory from being both written and executed";
        lacks(message.to_owned(), "use a kernel from 6.3 on");
    }
    let held = [
        sandbox
            .landlock
            .map(|abi| format!("Landlock version {abi}")),
        sandbox
            .seccomp
            .then(|| "a filter of system calls".to_owned()),
    ];
    let held: Vec<String> = held.into_iter().flatten().collect();
    if !held.is_empty() {
        findings.ok(CHECK, format!("{holds} {}", held.join(" and ")));
    }
}

/// In brackets, unless the kernel just has none.
fn why(lack: Option<Lack>) -> &'static str {
    match lack {
        Some(Lack::Off) => " (off in this kernel)",
        Some(Lack::Refused) => " (refused by what surrounds the daemon)",
        Some(Lack::NotBuilt) | None => "",
    }
}
