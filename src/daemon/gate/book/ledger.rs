//! How much of the bounded log each may fill, and what is counted in place of lines.
//!
//! Invariants: in one [`WINDOW`] nobody's lines have more bytes than his [`Payer`] may fill, so no
//! one drives out the lines of others quickly; whatever gets no line of its own is counted, and the
//! count gets a line when the window ends.

use crate::daemon::trail::{Kind, Line};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long is counted together.
pub const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The most bytes of lines about what one grant allowed, in one window.
pub const MAX_ALLOWED: u64 = 64 << 10;
/// The most bytes of lines about what one user was refused, in one window.
pub const MAX_REFUSED: u64 = 4 << 10;
/// The most bytes of lines about all who were turned away, in one window.
pub const MAX_STRANGERS: u64 = 4 << 10;
/// The most users whose refusals are counted apart; all further ones share one more account.
pub const MAX_USERS: usize = 7;
/// The most lines about counts that wait for a log that can't be written; further ones are lost.
const MAX_DUE: usize = 1024;

/// Whose account a line is charged to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payer {
    /// What this grant allowed.
    Grant(String),
    /// What this user was refused.
    User(u32),
    /// What further users were refused.
    OtherUsers,
    /// Who was turned away.
    Strangers,
}

impl Payer {
    /// The most bytes of lines in one window.
    fn max(&self) -> u64 {
        match self {
            Payer::Grant(_) => MAX_ALLOWED,
            Payer::User(_) | Payer::OtherUsers => MAX_REFUSED,
            Payer::Strangers => MAX_STRANGERS,
        }
    }
}

/// What becomes of a decision in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It gets lines, which are paid for.
    Line,
    /// It has lines in this window already, and was counted.
    Repeated,
    /// It was counted only.
    NoRoom,
}

/// What tells one decision from another.
pub type Digest = [u8; 32];

/// All accounts of the window that runs.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<Payer, Account>,
    /// Counts that are to get a line.
    due: VecDeque<Line>,
}

#[derive(Debug)]
struct Account {
    since: Instant,
    spent: u64,
    told: BTreeMap<Digest, Told>,
    untold: u64,
}

#[derive(Debug)]
struct Told {
    uid: Option<u32>,
    /// The number of its line.
    seq: u64,
    /// How often it came again.
    times: u64,
}

impl Ledger {
    /// Who pays for refusals of a user.
    pub fn refused(&self, uid: u32) -> Payer {
        let payer = Payer::User(uid);
        let is_user = |payer: &&Payer| matches!(payer, Payer::User(_));
        let users = self.accounts.keys().filter(is_user).count();
        if users < MAX_USERS || self.accounts.contains_key(&payer) {
            payer
        } else {
            Payer::OtherUsers
        }
    }

    /// Counts a decision whose lines have so many bytes. Without `may_repeat` it is none of those
    /// that have a line.
    pub fn place(
        &mut self,
        payer: &Payer,
        what: &Digest,
        bytes: u64,
        may_repeat: bool,
        now: Instant,
    ) -> Place {
        let account = self.accounts.entry(payer.clone()).or_insert(Account {
            since: now,
            spent: 0,
            told: BTreeMap::new(),
            untold: 0,
        });
        if may_repeat && let Some(told) = account.told.get_mut(what) {
            told.times += 1;
            return Place::Repeated;
        }
        if account.spent + bytes > payer.max() {
            account.untold += 1;
            return Place::NoRoom;
        }
        account.spent += bytes;
        Place::Line
    }

    /// What was placed has a line, of this number.
    pub fn told(&mut self, payer: &Payer, what: Digest, uid: Option<u32>, seq: u64) {
        if let Some(account) = self.accounts.get_mut(payer) {
            let told = Told { uid, seq, times: 0 };
            account.told.insert(what, told);
        }
    }

    /// What was placed could not be written, and was not answered.
    pub fn give_back(&mut self, payer: &Payer, bytes: u64) {
        if let Some(account) = self.accounts.get_mut(payer) {
            account.spent = account.spent.saturating_sub(bytes);
        }
    }

    /// Ends the windows that are over at a time, or all.
    pub fn end(&mut self, now: Option<Instant>) {
        let over = |account: &Account| {
            now.is_none_or(|now| now.saturating_duration_since(account.since) >= WINDOW)
        };
        for (payer, account) in &self.accounts {
            if over(account) {
                self.due.extend(lines_of(payer, account));
            }
        }
        self.due.truncate(MAX_DUE);
        self.accounts.retain(|_, account| !over(account));
    }

    /// The lines about counts, the oldest first; whoever wrote one takes it out.
    pub fn due(&mut self) -> &mut VecDeque<Line> {
        &mut self.due
    }
}

/// What was counted in one account.
fn lines_of<'a>(payer: &'a Payer, account: &'a Account) -> impl Iterator<Item = Line> + 'a {
    let mut repeated: Vec<&Told> = account.told.values().filter(|t| t.times > 0).collect();
    repeated.sort_by_key(|told| told.seq);
    let repeated = repeated.into_iter().map(|told| Line {
        uid: told.uid,
        of: Some(told.seq),
        times: Some(told.times),
        ..Line::of(Kind::Repeated)
    });
    let untold = (account.untold > 0).then(|| {
        let mut line = Line {
            untold: Some(account.untold),
            ..Line::of(Kind::Untold)
        };
        match payer {
            Payer::Grant(name) => line.grant = Some(name.clone()),
            Payer::User(uid) => line.uid = Some(*uid),
            Payer::OtherUsers => line.why = Some("otherUsers".to_owned()),
            Payer::Strangers => line.why = Some("strangers".to_owned()),
        }
        line
    });
    repeated.chain(untold)
}
