//! The gate in front of the vault: who may ask for what, and the log of it.
//!
//! | what | where |
//! | --- | --- |
//! | [`Gate`]: judges each request before anything of the vault is touched | here |
//! | [`needs`]: what each request asks for | [`acts`] |
//! | one caller before the policy | `judge` |
//! | when a person is asked, and what the answer means | [`asking`] |
//! | when grants end, whatever the clock is set to | `time` |
//! | why a request is refused, and what its maker is told | `refusal` |
//! | what of an answer is for the one who asked | `cut` |
//! | the log of decisions, and what is not repeated in it | [`Book`] |
//! | the grants of the state folder's config | [`load`] |
//!
//! Invariants: the daemon's own user and root are let through whole; for anyone else, what no grant
//! allows is refused with the same answer whether the record is there or not, and is answered only
//! once the decision is in the log. Grants that can't be read are none.

pub mod acts;
pub mod asking;
mod book;
mod cut;
mod judge;
pub mod load;
mod proof;
mod refusal;
mod time;

pub use book::Book;
pub use proof::{MAX_WRONG, WRONG_STEP};

use self::acts::{Needs, needs};
use self::asking::{Asked, Questions, Wanted};
use self::book::Entry;
use self::judge::{Judge, grants_that_ask};
use self::load::Rules;
use self::refusal::{Why, refused};
use super::Backend;
use super::caller::Caller;
use super::capability;
use super::confirm::{About, Asker, Ends};
use super::frame::Present;
use super::trail::{Answered, Outcome as Came};
use crate::error::{Code, Failure};
use crate::grants::{Decision, Refusal, Verb};
use crate::reference::SecretRef;
use crate::runtime::service::{Answer, Outcome, Reply, Request};
use crate::secret::SecretValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Reads the grants anew.
pub type Load = Box<dyn Fn() -> Result<Rules, Failure> + Send + Sync>;

/// How far somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The daemon's own user, or root.
    Full,
    /// A grant is theirs.
    Known,
    /// Nobody, but a capability may still be shown.
    Stranger,
    /// Nobody.
    Nobody,
}

/// The gate of one daemon.
pub struct Gate {
    us: u32,
    load: Load,
    watched: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    /// Held from reading the grants to using them, so that older ones never replace newer ones.
    loading: Mutex<()>,
    book: Book,
    proofs: proof::Proofs,
    questions: Questions,
    time: time::Time,
    /// Why there were no grants at the start.
    unread: Option<Code>,
}

/// A request that may be answered.
struct Granted {
    /// By this grant.
    grant: String,
    /// By the grants as they were then.
    rules: Arc<Rules>,
    /// The grants for which a person has said yes.
    confirmed: BTreeSet<String>,
}

impl Gate {
    /// A gate that lets through the daemon's own user and root, and keeps no log.
    pub fn closed() -> Self {
        Self::new(Box::new(|| Ok(Rules::default())), None, Book::none()).0
    }

    /// A gate with the grants that `load` gives now and at each reload, from a file that is to be
    /// watched; and why it gave none.
    pub fn new(load: Load, watched: Option<PathBuf>, book: Book) -> (Self, Option<Failure>) {
        let mut gate = Self {
            us: rustix::process::geteuid().as_raw(),
            load,
            watched,
            rules: RwLock::default(),
            loading: Mutex::default(),
            book,
            proofs: proof::Proofs::default(),
            questions: Questions::default(),
            time: time::Time::start(),
            unread: None,
        };
        let failure = gate.reload();
        gate.unread = failure.as_ref().map(|failure| failure.code);
        (gate, failure)
    }

    /// Why the grants could not be read when the gate was made.
    pub fn unread(&self) -> Option<Code> {
        self.unread
    }

    /// The gate with somebody who asks a person where a grant wants that.
    pub fn asking(self, asker: Arc<dyn Asker>) -> Self {
        Self {
            questions: Questions::by(asker),
            ..self
        }
    }

    /// Reads the grants anew. If that fails nothing is granted any more, and why is given.
    pub fn reload(&self) -> Option<Failure> {
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let (rules, failure) = match (self.load)() {
            Ok(rules) => (rules, None),
            Err(failure) => (Rules::default(), Some(failure)),
        };
        let changed = *self.rules() != rules;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        if changed {
            self.questions.forget();
        }
        failure
    }

    /// Waits until nobody is asked anything any more, and the answers are in the log.
    pub fn wait_for_answers(&self, limit: Duration) {
        self.questions.wait_for_none(limit);
    }

    /// The file that the grants stand in.
    pub fn watched(&self) -> Option<PathBuf> {
        self.watched.clone()
    }

    /// The log of decisions.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// True for the daemon's own user and for root, who could take all that a daemon has.
    pub fn is_own(&self, uid: u32) -> bool {
        uid == self.us || uid == 0
    }

    /// True if a connection of a user can lead anywhere; asked before anything is read.
    pub fn may_admit(&self, uid: u32) -> bool {
        self.is_own(uid) || self.rules().policy.may_know(uid)
    }

    /// How far somebody is known now.
    pub fn standing(&self, caller: &Caller) -> Standing {
        let policy = &self.rules().policy;
        if self.is_own(caller.peer.uid) {
            Standing::Full
        } else if policy.knows(&caller.identity()) {
            Standing::Known
        } else if policy.has_capabilities() {
            Standing::Stranger
        } else {
            Standing::Nobody
        }
    }

    /// Judges a request, asks a person if a grant wants that, has `act` answer it if it may be
    /// answered, and cuts the answer to what is granted.
    ///
    /// # Errors
    /// `grant.*` if it is refused; `audit.unavailable` if the decision could not be noted; as
    /// `act`.
    pub fn serve(
        &self,
        caller: &Caller,
        backend: &dyn Backend,
        request: Request,
        secrets: Vec<SecretValue>,
        ends: &Ends<'_>,
        act: impl FnOnce(Request, Vec<SecretValue>) -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let needs = needs(&request);
        let op = acts::op(&request);
        if self.is_own(caller.peer.uid) {
            if needs != Needs::Greeting {
                self.book.own(caller, op, &needs);
            }
            return act(request, secrets);
        }
        let rules = self.rules();
        let judge = Judge::new(&rules.policy, caller, backend, &self.time);
        if let Needs::EachRef(refs) = &needs {
            return self.serve_refs(&judge, &rules, (op, refs), ends, act);
        }
        let (outcome, asked) = self.settle(&judge, &rules, (op, &needs), ends);
        let refs = needs.refs().iter().map(ToString::to_string).collect();
        let entry = Entry {
            answered: asked.as_ref().and_then(|asked| asked.answered),
            ..Entry::new(op, needs.verb(), refs)
        };
        let granted = match outcome {
            Ok(granted) => granted,
            Err(why) => {
                self.book.note(caller, entry, Came::Refused, why.as_str())?;
                return Err(refused(caller, &needs, why));
            }
        };
        self.book
            .note(caller, entry, Came::Allowed, &granted.grant)?;
        drop(asked);
        let mut answer = act(request, secrets)?;
        let judge = judge.again(&granted.rules.policy, granted.confirmed);
        cut::to_granted(&mut answer.reply, &judge);
        Ok(answer)
    }

    /// Decides about a request that is answered whole or not at all, with a person's help if a
    /// grant wants that.
    fn settle(
        &self,
        judge: &Judge<'_>,
        rules: &Arc<Rules>,
        (op, needs): (&'static str, &Needs),
        ends: &Ends<'_>,
    ) -> (Result<Granted, Why>, Option<Asked<'_>>) {
        match judge.whole(needs) {
            Decision::Refused(refusal) => (Err(Why::Policy(refusal)), None),
            Decision::Allowed(grant) => {
                let granted = Granted {
                    grant: grant.to_owned(),
                    rules: Arc::clone(rules),
                    confirmed: BTreeSet::new(),
                };
                (Ok(granted), None)
            }
            Decision::Asks(_) => {
                let about = match needs {
                    Needs::All(_) => About::All,
                    Needs::Part(_) | Needs::Greeting => About::Granted,
                    Needs::Records(_, refs) | Needs::EachRef(refs) => {
                        About::Refs(refs.iter().map(ToString::to_string).collect())
                    }
                };
                let wanted = Wanted {
                    caller: judge.caller,
                    op,
                    verb: needs.verb().unwrap_or(Verb::Admin),
                    about,
                    grants: judge.asking(needs),
                };
                let asked = self.questions.ask(&wanted, rules.confirm.as_ref(), ends);
                let outcome = asked
                    .outcome
                    .and_then(|()| self.after_yes(judge, needs, wanted.grants));
                (outcome, Some(asked))
            }
        }
    }

    /// Decides again after a yes: what was granted may have been taken back meanwhile.
    fn after_yes(
        &self,
        judge: &Judge<'_>,
        needs: &Needs,
        confirmed: BTreeSet<String>,
    ) -> Result<Granted, Why> {
        let rules = self.rules();
        let again = judge.again(&rules.policy, confirmed.clone());
        let grant = match again.whole(needs) {
            Decision::Allowed(grant) => grant.to_owned(),
            Decision::Asks(_) => return Err(Why::Unanswered),
            Decision::Refused(refusal) => return Err(Why::Policy(refusal)),
        };
        Ok(Granted {
            grant,
            rules,
            confirmed,
        })
    }

    /// Notes that there was no room for a connection of somebody else.
    pub fn no_room(&self, caller: &Caller) {
        let entry = Entry::about("connect", None);
        // Refused he is anyway.
        let _ = self.book.note(caller, entry, Came::Refused, "busy");
    }

    /// Judges whether somebody may give the daemon keys. Whoever can make these has opened the
    /// vault; that is for the daemon's own user and root.
    ///
    /// # Errors
    /// `grant.refused`; `audit.unavailable`.
    pub fn may_unlock(&self, caller: &Caller) -> Result<(), Failure> {
        let needs = Needs::All(Verb::Admin);
        if self.is_own(caller.peer.uid) {
            self.book.own(caller, "unlock", &needs);
            return Ok(());
        }
        let entry = Entry::about("unlock", needs.verb());
        let word = Refusal::NotGranted.as_str();
        self.book.note(caller, entry, Came::Refused, word)?;
        let text = "only the daemon's own user and root give it keys";
        Err(Failure::new(Code::GrantRefused, text))
    }

    /// Takes a capability that somebody shows; if it is one, it counts for this connection.
    ///
    /// # Errors
    /// `audit.unavailable`: it does not count then.
    pub fn take(&self, caller: &mut Caller, shown: &[SecretValue]) -> Result<(), Failure> {
        let Some(shown) = shown.first().and_then(capability::digest_of) else {
            return self.note_shown(caller, None);
        };
        let rules = self.rules();
        self.note_shown(caller, rules.policy.opened_by(&shown))?;
        caller.capability = Some(shown);
        Ok(())
    }

    fn note_shown(&self, caller: &Caller, opens: Option<&str>) -> Result<(), Failure> {
        let entry = Entry::about("present", None);
        match opens {
            _ if self.is_own(caller.peer.uid) => {
                self.book.own(caller, entry.op, &Needs::Greeting);
                Ok(())
            }
            Some(grant) => self.book.note(caller, entry, Came::Allowed, grant),
            None => {
                let word = Refusal::NotGranted.as_str();
                self.book.note(caller, entry, Came::Refused, word)
            }
        }
    }

    /// Tries a keyslot's secret that somebody shows; if it is one, it counts for a while.
    ///
    /// # Errors
    /// `slot.no_match`; `grant.refused` if there is no grant that it would help to;
    /// `daemon.busy` after too many wrong ones; `audit.unavailable`.
    pub fn prove(
        &self,
        caller: &mut Caller,
        backend: &dyn Backend,
        what: Present,
        secret: &SecretValue,
    ) -> Result<(), Failure> {
        let Some(given) = proof::given(what, secret) else {
            return Err(Failure::new(Code::Bug, "this is no keyslot's secret"));
        };
        let rules = self.rules();
        let with_it = Caller {
            proved_at: Some(Instant::now()),
            ..caller.clone()
        };
        let admin = Needs::Part(Verb::Admin);
        let entry = || Entry::about("present", admin.verb());
        let decision = Judge::new(&rules.policy, &with_it, backend, &self.time).whole(&admin);
        if let Decision::Refused(refusal) = decision
            && !self.is_own(caller.peer.uid)
        {
            let failure = refused(caller, &admin, Why::Policy(refusal));
            self.book
                .note(caller, entry(), Came::Refused, refusal.as_str())?;
            return Err(failure);
        }
        let grant = match decision {
            // What it is for is asked when it is wanted.
            Decision::Allowed(grant) | Decision::Asks(grant) => Some(grant),
            Decision::Refused(_) => None,
        };
        let whose = (caller.peer.uid, grant);
        let tried = self
            .proofs
            .attempt(whose, Instant::now(), || backend.prove(&given));
        let came = if tried.is_ok() {
            Came::Allowed
        } else {
            Came::Refused
        };
        let word = if tried.is_ok() {
            "secret"
        } else {
            "wrongSecret"
        };
        self.book.note(caller, entry(), came, word)?;
        tried?;
        caller.proved_at = Some(Instant::now());
        Ok(())
    }

    /// Resolves the refs that are granted; the others fail one by one.
    fn serve_refs(
        &self,
        judge: &Judge<'_>,
        rules: &Rules,
        (op, refs): (&'static str, &[SecretRef]),
        ends: &Ends<'_>,
        act: impl FnOnce(Request, Vec<SecretValue>) -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let verb = Verb::Use;
        let (verdicts, asked) = self.settle_refs(judge, rules, (op, refs), ends);
        let mut by_outcome: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (reference, verdict) in refs.iter().zip(&verdicts) {
            let key = match &verdict.outcome {
                Ok(grant) => (true, grant.as_str(), verdict.answered),
                Err(why) => (false, why.as_str(), verdict.answered),
            };
            by_outcome
                .entry(key)
                .or_default()
                .push(reference.to_string());
        }
        for ((allowed, word, answered), refs) in by_outcome {
            let came = if allowed {
                Came::Allowed
            } else {
                Came::Refused
            };
            let entry = Entry {
                answered,
                ..Entry::new(op, Some(verb), refs)
            };
            self.book.note(judge.caller, entry, came, word)?;
        }
        drop(asked);
        let granted: Vec<SecretRef> = refs
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.outcome.is_ok())
            .map(|(reference, _)| reference.clone())
            .collect();
        let (mut outcomes, secrets) = if granted.is_empty() {
            (Vec::new().into_iter(), Vec::new())
        } else {
            let answer = act(Request::Resolve { refs: granted }, Vec::new())?;
            let Reply::Resolved(outcomes) = answer.reply else {
                return Err(Failure::new(Code::Bug, "the answer is of the wrong kind"));
            };
            (outcomes.into_iter(), answer.secrets)
        };
        let bug = || Outcome::Failed(Failure::new(Code::Bug, "a ref was left out"));
        let all = refs
            .iter()
            .zip(verdicts)
            .map(|(reference, verdict)| match verdict.outcome {
                Ok(_) => outcomes.next().unwrap_or_else(bug),
                Err(why) => {
                    let needs = Needs::Records(verb, vec![reference.clone()]);
                    Outcome::Failed(refused(judge.caller, &needs, why))
                }
            });
        Ok(Answer {
            reply: Reply::Resolved(all.collect()),
            secrets,
        })
    }

    /// Decides about each ref for itself; a person is asked about all together for which that is
    /// needed.
    fn settle_refs(
        &self,
        judge: &Judge<'_>,
        rules: &Rules,
        (op, refs): (&'static str, &[SecretRef]),
        ends: &Ends<'_>,
    ) -> (Vec<Verdict>, Option<Asked<'_>>) {
        let verb = Verb::Use;
        let decisions: Vec<_> = refs.iter().map(|wanted| judge.on(verb, wanted)).collect();
        let asks = |decision: &Decision<'_>| matches!(decision, Decision::Asks(_));
        if !decisions.iter().any(asks) {
            let verdicts = decisions
                .into_iter()
                .map(|decision| Verdict::of(decision, None));
            return (verdicts.collect(), None);
        }
        let open = refs.iter().zip(&decisions).filter(|(_, d)| asks(d));
        let wanted = Wanted {
            caller: judge.caller,
            op,
            verb,
            about: About::Refs(open.map(|(wanted, _)| wanted.to_string()).collect()),
            grants: grants_that_ask(&decisions),
        };
        let asked = self.questions.ask(&wanted, rules.confirm.as_ref(), ends);
        let now = self.rules();
        let verdicts = match asked.outcome {
            Err(why) => decisions
                .into_iter()
                .map(|decision| match decision {
                    Decision::Asks(_) => Verdict {
                        outcome: Err(why),
                        answered: asked.answered,
                    },
                    decision => Verdict::of(decision, None),
                })
                .collect(),
            Ok(()) => {
                let with_yes = judge.again(&now.policy, wanted.grants);
                let without = judge.again(&now.policy, BTreeSet::new());
                refs.iter()
                    .zip(&decisions)
                    .map(|(wanted, before)| match asks(before) {
                        true => Verdict::of(with_yes.on(verb, wanted), asked.answered),
                        // Nobody was shown that one.
                        false => Verdict::of(without.on(verb, wanted), None),
                    })
                    .collect()
            }
        };
        (verdicts, Some(asked))
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is decided about one ref, and a person's part in it.
struct Verdict {
    /// By which grant, or why not.
    outcome: Result<String, Why>,
    answered: Option<Answered>,
}

impl Verdict {
    fn of(decision: Decision<'_>, answered: Option<Answered>) -> Self {
        let outcome = match decision {
            Decision::Allowed(grant) => Ok(grant.to_owned()),
            Decision::Asks(_) => Err(Why::Unanswered),
            Decision::Refused(refusal) => Err(Why::Policy(refusal)),
        };
        Self { outcome, answered }
    }
}

#[cfg(test)]
mod tests;
