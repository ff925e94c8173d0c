//! Users by name, from `/etc/passwd` alone: no module of the name service is loaded into a process
//! that holds secrets.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

/// The most of `/etc/passwd` that is read, in bytes.
pub const MAX_PASSWD: u64 = 4 << 20;
/// What the kernel starts with (`DEFAULT_OVERFLOWUID`).
const OVERFLOW: u32 = 65_534;

/// The number of a user; `None` if there is no such line. A text of digits is a number already.
///
/// # Errors
/// If `/etc/passwd` can't be read.
pub fn uid_of(name: &str) -> io::Result<Option<u32>> {
    match number(name) {
        Some(uid) => Ok(Some(uid)),
        None => Ok(find(&passwd()?, name)),
    }
}

/// What `/etc/passwd` says of a user beside the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The primary group.
    pub gid: u32,
    /// The home folder.
    pub home: String,
}

/// The account of a user; `None` if there is no such line.
///
/// # Errors
/// If `/etc/passwd` can't be read.
pub fn account_of(uid: u32) -> io::Result<Option<Account>> {
    Ok(find_account(&passwd()?, uid))
}

/// The name of a user; `None` if no line has the number.
///
/// # Errors
/// If `/etc/passwd` can't be read.
pub fn name_of(uid: u32) -> io::Result<Option<String>> {
    Ok(find_name(&passwd()?, uid))
}

fn passwd() -> io::Result<String> {
    let mut text = Vec::new();
    File::open("/etc/passwd")?
        .take(MAX_PASSWD)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The user that stands for everybody whom a user namespace does not know
/// (`/proc/sys/kernel/overflowuid`, `user_namespaces(7)`).
pub fn overflow_uid() -> u32 {
    // Once, before a sandbox hides the file.
    static FOUND: OnceLock<u32> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
        let found = text.ok().and_then(|text| number(text.trim()));
        found.unwrap_or(OVERFLOW)
    })
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn find(passwd: &str, name: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_this = fields.next() == Some(name) && !name.is_empty();
        is_this.then(|| number(fields.nth(1)?)).flatten()
    })
}

fn find_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (number(fields.nth(1)?) == Some(uid)).then(|| name.to_owned())
    })
}

fn find_account(passwd: &str, uid: u32) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, user, group, _, home, _] = fields[..] else {
            return None;
        };
        (number(user) == Some(uid)).then_some(())?;
        Some(Account {
            gid: number(group)?,
            home: home.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_and_the_home_are_those_of_the_user_database() {
        let passwd = "root:x:0:0::/root:/bin/sh\nshort:x:7:7\nme:x:7:12::/home/me:/bin/sh\n";
        let me = Account {
            gid: 12,
            home: "/home/me".to_owned(),
        };
        assert_eq!(find_account(passwd, 7), Some(me));
        assert_eq!(find_account(passwd, 12), None);
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nab:x:12:1::/:\na:x:7:1::/:\nbad:x:no:1\n:x:9:9\n";
        for (name, uid) in [
            ("root", Some(0)),
            ("a", Some(7)),
            ("ab", Some(12)),
            ("bad", None),
            ("b", None),
            ("", None),
            ("root:x", None),
        ] {
            assert_eq!(find(passwd, name), uid, "{name}");
        }
        assert_eq!(find_name(passwd, 7).as_deref(), Some("a"));
        assert_eq!(find_name(passwd, 9), None);
        assert_eq!(uid_of("root").unwrap(), Some(0));
        assert_eq!(uid_of("4242").unwrap(), Some(4242));
        assert_eq!(uid_of("nobody-of-that-name").unwrap(), None);
    }
}
