//! Root's work on a vault of somebody else: this program, started again as the vault's owner.
//!
//! Invariants: the owner's process has nothing of root's but the arguments, the terminal, and the
//! new key on stdin: of the environment only what is listed here, for the owner can read it in
//! `/proc`. It has the owner's primary group and no other, never root's.

use super::slot::ADDING;
use crate::cli::context::Context;
use crate::cli::error::{CliError, io_failure};
use crate::error::{Code, Failure};
use crate::secret::SecretValue;
use crate::sys::users::{self, Account};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Variables that say how to write to the terminal and where the vault is: no secret stands there.
const PASSED_ON: [&str; 9] = [
    "TERM",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "RESEAL_STATE_DIR",
    "RESEAL_SOCKET",
    "RESEAL_DAEMON_USER",
];
const PASSWD: &str = "/etc/passwd";

/// The owner of the state folder, who is not root.
#[derive(Debug)]
pub struct Owner {
    uid: u32,
    account: Account,
}

/// How the owner's process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The vault has the slot: its id.
    Added(String),
    /// It has said why not; its exit code.
    Refused(u8),
    /// It was killed or broke: the vault may have the slot. What the process ended with.
    Unclear(String),
}

impl Owner {
    /// The state folder's owner, if this is root and the folder is another's.
    pub fn other_than_root(context: &Context) -> Result<Option<Self>, CliError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let root = context.state.root();
        let at = |path: &Path, error| CliError::new(ADDING, io_failure(path, &error));
        let uid = fs::metadata(root).map_err(|error| at(root, error))?.uid();
        if uid == 0 {
            return Ok(None);
        }
        let account = users::account_of(uid).map_err(|error| at(Path::new(PASSWD), error))?;
        let refuse = |why| Err(CliError::because(ADDING, Code::FilePermission, why));
        match account {
            None => refuse(format!(
                "{} belongs to user {uid}, who is not in {PASSWD}",
                root.display()
            )),
            Some(account) if account.gid == 0 => refuse(format!(
                "{} belongs to user {uid}, whose group is root's",
                root.display()
            )),
            Some(account) => Ok(Some(Self { uid, account })),
        }
    }

    /// Starts this program again as the owner, with the same arguments and the key on stdin.
    pub fn add_slot(&self, context: &Context, key: &SecretValue) -> Result<End, CliError> {
        let failed = |error: io::Error| {
            let text = format!("this program as user {}: {error}", self.uid);
            CliError::new(ADDING, Failure::new(Code::ExecFailed, text))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let passed_on = PASSED_ON.iter();
        let passed_on = passed_on.filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .arg("--key-on-stdin")
            .env_clear()
            .envs(passed_on)
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.account.home)
            .uid(self.uid)
            .gid(self.account.gid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            // It fits an empty pipe; a process that ended early says itself why.
            let _ = pipe.write_all(key.expose());
        }
        let output = match child.wait_with_output() {
            Ok(output) => output,
            Err(error) => return Ok(End::Unclear(error.to_string())),
        };
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let end = end_of(output.status, &said);
        if matches!(end, End::Refused(_)) && !said.is_empty() {
            // With --json, the document that says why.
            context.out.data(&said)?;
        }
        Ok(end)
    }
}

fn end_of(status: ExitStatus, said: &str) -> End {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(0) => End::Added(said.to_owned()),
        // An error of ours: each is before the commit, or says that the commit failed.
        Some(code) if code < Code::Bug.kind().exit_code() => End::Refused(code),
        Some(code) if code == Code::InputCancelled.kind().exit_code() => End::Refused(code),
        _ => End::Unclear(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn what_was_killed_or_broke_may_have_added_the_slot() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(end_of(exit(0), "0a"), End::Added("0a".to_owned()));
        for refused in [5, 130] {
            let code = i32::from(refused);
            assert_eq!(end_of(exit(code), ""), End::Refused(refused));
        }
        let bug = Code::Bug.kind().exit_code();
        for unclear in [ExitStatus::from_raw(9), exit(101), exit(bug.into())] {
            assert!(
                matches!(end_of(unclear, "0a"), End::Unclear(_)),
                "{unclear}"
            );
        }
    }
}
