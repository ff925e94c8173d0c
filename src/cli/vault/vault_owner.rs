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
use std::fs::{self, File};
use std::io::{self, Read, Write};
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
/// The most of `/etc/passwd` that is read, in bytes.
const MAX_PASSWD: u64 = 4 << 20;

/// The owner of the state folder, who is not root.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    gid: u32,
    home: String,
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
        let passwd = read_passwd().map_err(|error| at(Path::new(PASSWD), error))?;
        let refuse = |why| Err(CliError::because(ADDING, Code::FilePermission, why));
        match Self::find(&passwd, uid) {
            None => refuse(format!(
                "{} belongs to user {uid}, who is not in {PASSWD}",
                root.display()
            )),
            Some(owner) if owner.gid == 0 => refuse(format!(
                "{} belongs to user {uid}, whose group is root's",
                root.display()
            )),
            owner => Ok(owner),
        }
    }

    fn find(passwd: &str, uid: u32) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, number, group, _, home, _] = fields[..] else {
                return None;
            };
            let is_this = number.parse() == Ok(uid);
            is_this.then_some(())?;
            Some(Self {
                uid,
                gid: group.parse().ok()?,
                home: home.to_owned(),
            })
        })
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
            .env("HOME", &self.home)
            .uid(self.uid)
            .gid(self.gid)
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

fn read_passwd() -> io::Result<String> {
    let mut text = Vec::new();
    File::open(PASSWD)?
        .take(MAX_PASSWD)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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

    #[test]
    fn the_group_and_the_home_are_those_of_the_user_database() {
        let passwd = "root:x:0:0::/root:/bin/sh\nshort:x:7:7\nme:x:7:12::/home/me:/bin/sh\n";
        let me = Owner {
            uid: 7,
            gid: 12,
            home: "/home/me".to_owned(),
        };
        assert_eq!(Owner::find(passwd, 7), Some(me));
        assert_eq!(Owner::find(passwd, 12), None);
    }
}
