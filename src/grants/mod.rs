//! Who may ask the daemon for what: grants as data, and the decision.
//!
//! | what | where |
//! | --- | --- |
//! | [`Policy::decide`]: allowed by which grant, or refused and why | here |
//! | [`Pattern`]: which refs a grant is about | [`pattern`] |
//! | [`unit::of_cgroup`]: the systemd unit that a process belongs to | [`mod@unit`] |
//!
//! Invariants: what no grant allows is refused; a decision knows nothing of what the vault holds,
//! so that a refusal is the same for a record that is there and one that is not. The daemon's own
//! user and root are not judged here: whoever has the key needs no grant. What a request means as
//! acts is not here either (`daemon::gate`).
#![forbid(unsafe_code)]

pub mod pattern;
pub mod unit;

pub use pattern::{Pattern, PatternError};

use crate::crypto::hash::equal;
use crate::name::AgentId;
use crate::reference::SecretRef;
use crate::time::UnixMs;
use std::fmt;

/// The most grants of one config.
pub const MAX_GRANTS: usize = 256;
/// The most patterns of one grant.
pub const MAX_PATTERNS: usize = 256;
/// The longest name of a grant in bytes.
pub const MAX_GRANT_NAME: usize = 64;
/// The length of a capability and of its digest in bytes.
pub const CAPABILITY_LEN: usize = 32;

/// The user that the kernel names for everyone whom a user namespace does not know: nobody's own
/// number, so nothing is granted to it.
pub const NOBODY: u32 = 65_534;

/// The SHA-256 of a capability: all that the daemon's config knows of it.
pub type Digest = [u8; CAPABILITY_LEN];

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Resolve refs, get access tokens.
    Use,
    /// Get records by name, list them, see and get older versions.
    Read,
    /// Have a token renewed before its time.
    Refresh,
    /// Change what the vault holds; needs a keyslot's secret beside the grant.
    Admin,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 4] = [Verb::Use, Verb::Read, Verb::Refresh, Verb::Admin];

    /// The word in config and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Use => "use",
            Verb::Read => "read",
            Verb::Refresh => "refresh",
            Verb::Admin => "admin",
        }
    }

    /// The verb of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Verb::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
}

/// To whom something is granted.
#[derive(Clone, PartialEq, Eq)]
pub enum Holder {
    /// A user by number.
    Uid(u32),
    /// A user by name; matches nobody until [`Policy::settle`] has found its number.
    User(String),
    /// The processes of a systemd unit of the system, such as `hermes.service`.
    Unit(String),
    /// Whoever has a secret with this digest.
    Capability(Digest),
}

impl Holder {
    fn is(&self, who: &Identity<'_>) -> bool {
        match self {
            Holder::Uid(uid) => *uid == who.uid,
            Holder::User(_) => false,
            Holder::Unit(unit) => who.unit == Some(unit),
            Holder::Capability(digest) => who.capability.is_some_and(|given| equal(digest, given)),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Uid(uid) => write!(f, "uid {uid}"),
            Holder::User(name) => write!(f, "user {name}"),
            Holder::Unit(unit) => write!(f, "unit {unit}"),
            Holder::Capability(digest) => {
                let start = data_encoding::HEXLOWER.encode(&digest[..4]);
                write!(f, "capability {start}…")
            }
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({self})")
    }
}

/// Which refs a grant is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that one of the patterns takes.
    Refs(Vec<Pattern>),
    /// Those that are in use: in the daemon's config, and in the profiles of this agent.
    InUse(AgentId),
}

/// One entry of the config's `grants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name in the config.
    pub name: String,
    /// Who has it.
    pub to: Holder,
    /// Which refs.
    pub scope: Scope,
    /// What may be done with them.
    pub verbs: Vec<Verb>,
    /// From when on it is over.
    pub until: Option<UnixMs>,
    /// A person must say yes each time; to being greeted nobody need.
    pub confirm: bool,
}

/// Who asks, as the kernel and the connection tell.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The user.
    pub uid: u32,
    /// The systemd unit of the system.
    pub unit: Option<&'a str>,
    /// The digest of the capability that was shown on this connection.
    pub capability: Option<&'a Digest>,
    /// A keyslot's secret was shown on this connection, a moment ago.
    pub fresh: bool,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Something with one ref.
    On(Verb, &'a SecretRef),
    /// Something with all records of the state folder's vault at once.
    OnAll(Verb),
    /// Something with whatever a grant is about: the answer is cut to that.
    OnSome(Verb),
    /// To know that there is a daemon.
    Greet,
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No grant is about it.
    NotGranted,
    /// A grant was, and is over.
    Expired,
    /// A keyslot's secret must come with it.
    SecretNeeded,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'p> {
    /// By the grant of this name.
    Allowed(&'p str),
    /// By the grant of this name, if a person says yes.
    Asks(&'p str),
    /// And why.
    Refused(Refusal),
}

/// Whether a ref is in use for an agent, asked only for grants that say so.
pub type InUse<'a> = &'a dyn Fn(&AgentId, &SecretRef) -> bool;

/// All grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order of the config.
    pub grants: Vec<Grant>,
}

impl Policy {
    /// The policy with users by number; those that are unknown, and [`NOBODY`], get nothing.
    pub fn settle(mut self, uid_of: impl Fn(&str) -> Option<u32>) -> Self {
        for grant in &mut self.grants {
            if let Holder::User(name) = &grant.to
                && let Some(uid) = uid_of(name).filter(|uid| *uid != NOBODY)
            {
                grant.to = Holder::Uid(uid);
            }
        }
        self
    }

    /// True if a grant, expired or not, is somebody's.
    pub fn knows(&self, who: &Identity<'_>) -> bool {
        self.grants.iter().any(|grant| grant.to.is(who))
    }

    /// The grant that a capability opens.
    pub fn opened_by(&self, shown: &Digest) -> Option<&str> {
        let opens =
            |grant: &&Grant| matches!(&grant.to, Holder::Capability(known) if equal(known, shown));
        self.grants.iter().find(opens).map(|grant| &*grant.name)
    }

    /// True if somebody whom only the user is known of may turn out to have a grant.
    pub fn may_know(&self, uid: u32) -> bool {
        self.grants.iter().any(|grant| match &grant.to {
            Holder::Uid(granted) => *granted == uid,
            Holder::User(_) => false,
            Holder::Unit(_) | Holder::Capability(_) => true,
        })
    }

    /// True if a capability opens something.
    pub fn has_capabilities(&self) -> bool {
        let is_one = |grant: &Grant| matches!(grant.to, Holder::Capability(_));
        self.grants.iter().any(is_one)
    }

    /// Decides. Of several grants that are about an act, one that allows it is enough; one that
    /// asks a person is the next best.
    pub fn decide<'p>(
        &'p self,
        who: &Identity<'_>,
        act: Act<'_>,
        in_use: InUse<'_>,
        now: UnixMs,
    ) -> Decision<'p> {
        let mut refusal = Refusal::NotGranted;
        let mut asks = None;
        for grant in self.grants.iter().filter(|grant| grant.to.is(who)) {
            if !grant.is_about(act, in_use) {
                continue;
            }
            let hindrance = if grant.until.is_some_and(|until| now >= until) {
                Refusal::Expired
            } else if act.verb() == Some(Verb::Admin) && !who.fresh {
                Refusal::SecretNeeded
            } else if grant.confirm && !matches!(act, Act::Greet) {
                asks.get_or_insert(&*grant.name);
                continue;
            } else {
                return Decision::Allowed(&grant.name);
            };
            refusal = refusal.max(hindrance);
        }
        asks.map_or(Decision::Refused(refusal), Decision::Asks)
    }
}

impl Grant {
    fn is_about(&self, act: Act<'_>, in_use: InUse<'_>) -> bool {
        let may = |verb| self.verbs.contains(&verb);
        match (act, &self.scope) {
            (Act::Greet, _) => true,
            (Act::OnSome(verb), _) => may(verb),
            (Act::OnAll(verb), Scope::Refs(patterns)) => {
                may(verb) && patterns.iter().any(Pattern::takes_all_records)
            }
            (Act::OnAll(_), Scope::InUse(_)) => false,
            (Act::On(verb, wanted), Scope::Refs(patterns)) => {
                may(verb) && patterns.iter().any(|pattern| pattern.takes(wanted))
            }
            (Act::On(verb, wanted), Scope::InUse(agent)) => may(verb) && in_use(agent, wanted),
        }
    }
}

impl Act<'_> {
    fn verb(self) -> Option<Verb> {
        match self {
            Act::On(verb, _) | Act::OnAll(verb) | Act::OnSome(verb) => Some(verb),
            Act::Greet => None,
        }
    }
}

impl Refusal {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::NotGranted => "notGranted",
            Refusal::Expired => "expired",
            Refusal::SecretNeeded => "secretNeeded",
        }
    }
}

/// True if `text` can name a grant: `[a-z0-9][a-z0-9._-]{0,63}`.
pub fn is_grant_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_GRANT_NAME
        && text.bytes().next().is_some_and(inner)
        && text.bytes().all(|b| inner(b) || b"._-".contains(&b))
}

#[cfg(test)]
mod tests;
