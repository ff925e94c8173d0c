//! The question to a person whether somebody may have what a grant lets him have only so: what it
//! says, and who puts it.
//!
//! Invariants: the text is made by whoever puts the question, from parts that each have their form;
//! every name in it is of plain visible characters, so that none passes for another one or for more
//! of the text; all that a yes would be about is in it.
//!
//! Not here: when a person is asked, and what an answer means (`gate::asking`).

use crate::grants::unit::is_unit;
use crate::grants::{Verb, is_grant_name};
use crate::reference::SecretRef;
use crate::sys::users;
use rustix::fd::BorrowedFd;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most refs of one question: what is not shown can't be confirmed.
pub const MAX_ASKED_REFS: usize = 32;
/// The longest question in bytes. The kernel takes arguments of up to 128 KiB.
pub const MAX_QUESTION: usize = 16 << 10;
/// The longest name of an operation, and the longest name of a user that is shown.
const MAX_WORD: usize = 64;

/// Whether somebody may have something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// The user who asks for it.
    pub uid: u32,
    /// The process.
    pub pid: i32,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// The operation of the protocol.
    pub op: String,
    /// The word of what is to be done.
    pub verb: String,
    /// With what.
    pub about: About,
    /// The grants that want to have it confirmed.
    pub grants: Vec<String>,
    /// How long a yes would count, in milliseconds; 0 = for this one request.
    pub keep_ms: u64,
}

/// What somebody wants to do something with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum About {
    /// These.
    Refs(Vec<String>),
    /// Whatever of it the grants are about.
    Granted,
    /// All records of the vault.
    All,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nobody answered, for whatever reason.
    Nobody,
    /// The one who wanted something has left meanwhile.
    Left,
    /// The vault is being locked.
    Locked,
    /// There was no place for the question: nobody saw it.
    Busy,
}

/// What ends a question before it is answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends<'a> {
    /// The connection of the one who wants something: when it is closed.
    pub client: Option<BorrowedFd<'a>>,
    /// When this becomes readable, the vault is being locked.
    pub lock: Option<BorrowedFd<'a>>,
}

/// Somebody who puts a question to a person.
pub trait Asker: Send + Sync {
    /// Asks, and waits at most so long, and what it takes to end what was started for it.
    fn confirm(&self, question: &Question, limit: Duration, ends: &Ends<'_>) -> Said;
}

/// The question as a person reads it; `None` for one that has not the form of a question, or is too
/// long to be read.
pub fn text(question: &Question) -> Option<String> {
    let user = users::name_of(question.uid).ok().flatten();
    text_about(question, user.as_deref())
}

fn text_about(question: &Question, user: Option<&str>) -> Option<String> {
    let Question {
        uid, pid, keep_ms, ..
    } = question;
    let verb = match Verb::parse(&question.verb)? {
        Verb::Use => "use",
        Verb::Read => "read",
        Verb::Refresh => "renew",
        Verb::Admin => "change",
    };
    let op = question.op.as_str();
    let op_fits = op.bytes().all(|b| b.is_ascii_alphabetic()) && op.len() <= MAX_WORD;
    let unit_fits = question.unit.as_deref().is_none_or(is_unit);
    let grants_fit = question.grants.iter().all(|name| is_grant_name(name));
    if !op_fits || !unit_fits || !grants_fit {
        return None;
    }
    let user = user.map_or_else(
        || format!("user {uid}"),
        |name| {
            let name: String = name.chars().take(MAX_WORD).collect();
            format!("user {} ({uid})", plain(&name))
        },
    );
    let unit = question.unit.as_deref().map(plain);
    let unit = unit.map_or_else(String::new, |unit| format!(" of {unit}"));
    let what = things(&question.about)?;
    let grants = question.grants.join(", ");
    let how_long = match keep_ms.div_ceil(1000) {
        0 => "this once".to_owned(),
        seconds => format!("and the same again to this process for {seconds} s"),
    };
    let text = format!(
        "Reseal: {user}, process {pid}{unit}, wants to {verb} ({op}):\n{what}Granted if you \
         confirm it: {grants}\nAllow it, {how_long}?"
    );
    (text.len() <= MAX_QUESTION).then_some(text)
}

/// A line for each thing.
fn things(about: &About) -> Option<String> {
    Some(match about {
        About::Granted => "  whatever the grant is about\n".to_owned(),
        About::All => "  all records of the vault\n".to_owned(),
        About::Refs(refs) => {
            let fits = |text: &String| text.parse::<SecretRef>().is_ok();
            if refs.is_empty() || refs.len() > MAX_ASKED_REFS || !refs.iter().all(fits) {
                return None;
            }
            refs.iter()
                .map(|name| format!("  {}\n", plain(name)))
                .collect()
        }
    })
}

/// A name in visible ASCII, without a space and without what a terminal, a shell or a markup could
/// take for more than a character; everything else as its number.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_graphic() && !"<>&\"'`\\$".contains(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(refs: Vec<String>) -> Question {
        Question {
            uid: 1001,
            pid: 4711,
            unit: Some("hermes.service".to_owned()),
            op: "resolve".to_owned(),
            verb: "use".to_owned(),
            about: About::Refs(refs),
            grants: vec!["agent".to_owned()],
            keep_ms: 0,
        }
    }

    #[test]
    fn a_question_says_who_wants_what() {
        let asked = question(vec!["vault:a/x".to_owned(), "env:HOME".to_owned()]);
        let text = text_about(&asked, Some("hermes")).unwrap();
        let expected = "Reseal: user hermes (1001), process 4711 of hermes.service, wants to use \
            (resolve):\n  vault:a/x\n  env:HOME\nGranted if you confirm it: agent\n\
            Allow it, this once?";
        assert_eq!(text, expected);
        let kept = Question {
            unit: None,
            about: About::All,
            keep_ms: 90_001,
            ..asked
        };
        let text = text_about(&kept, None).unwrap();
        assert!(
            text.starts_with("Reseal: user 1001, process 4711, wants"),
            "{text}"
        );
        assert!(text.contains("\n  all records of the vault\n"), "{text}");
        let end = "Allow it, and the same again to this process for 91 s?";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn names_in_a_question_are_harmless_and_can_not_pass_for_another() {
        for (name, shown) in [
            (
                "file:/a/<b>x</b>",
                "file:/a/\\u{3c}b\\u{3e}x\\u{3c}/b\\u{3e}",
            ),
            ("file:/a b", "file:/a\\u{20}b"),
            ("file:/\u{430}\u{202e}", "file:/\\u{430}\\u{202e}"),
            (
                "file:/$(id)`\"'&\\",
                "file:/\\u{24}(id)\\u{60}\\u{22}\\u{27}\\u{26}\\u{5c}",
            ),
        ] {
            let text = text_about(&question(vec![name.to_owned()]), Some("a\u{1b}[31m\nb"));
            let text = text.unwrap();
            assert!(text.contains(&format!("\n  {shown}\n")), "{text}");
            assert!(
                text.starts_with("Reseal: user a\\u{1b}[31m\\u{a}b (1001), "),
                "{text}"
            );
            assert_eq!(text.lines().count(), 4);
        }
    }

    #[test]
    fn what_is_no_question_or_too_long_is_none() {
        let good = question(vec!["vault:a".to_owned()]);
        let with = |change: &dyn Fn(&mut Question)| {
            let mut asked = good.clone();
            change(&mut asked);
            text_about(&asked, None)
        };
        assert!(with(&|_| ()).is_some());
        assert!(with(&|q| q.verb = "take".to_owned()).is_none());
        assert!(with(&|q| q.op = "a b".to_owned()).is_none());
        assert!(with(&|q| q.unit = Some("x\n.service".to_owned())).is_none());
        assert!(with(&|q| q.grants = vec!["A b".to_owned()]).is_none());
        let refs = |refs: Vec<String>| with(&|q| q.about = About::Refs(refs.clone()));
        assert!(refs(vec!["no ref".to_owned()]).is_none());
        assert!(refs(Vec::new()).is_none());
        assert!(refs(vec!["vault:a".to_owned(); MAX_ASKED_REFS]).is_some());
        assert!(refs(vec!["vault:a".to_owned(); MAX_ASKED_REFS + 1]).is_none());
        let long = |bytes: usize| format!("file:/{}", "a".repeat(bytes));
        assert!(refs(vec![long(490); MAX_ASKED_REFS]).is_some());
        assert!(refs(vec![long(510); MAX_ASKED_REFS]).is_none());
    }
}
