//! The gate in front of the vault: who may ask for what, and the log of it.
//!
//! | what | where |
//! | --- | --- |
//! | [`Gate`]: judges each request before anything of the vault is touched | here |
//! | [`needs`]: what each request asks for | [`acts`] |
//! | what of an answer is for the one who asked | `cut` |
//! | the log of decisions, and what is not repeated in it | [`Book`] |
//! | the grants of the state folder's config | [`load`] |
//!
//! Invariants: the daemon's own user and root are let through whole; for anyone else, what no grant
//! allows is refused with the same answer whether the record is there or not, and is answered only
//! once the decision is in the log. Grants that can't be read are none.

pub mod acts;
mod book;
mod cut;
pub mod load;
mod proof;

pub use book::Book;
pub use proof::{MAX_WRONG, WRONG_STEP};

use self::acts::{Needs, needs};
use super::Backend;
use super::caller::Caller;
use super::capability;
use super::frame::Present;
use super::trail::Outcome as Came;
use crate::error::{Code, Failure};
use crate::grants::{Act, Decision, Policy, Refusal, Verb};
use crate::name::AgentId;
use crate::reference::SecretRef;
use crate::runtime::service::{Answer, Outcome, Reply, Request};
use crate::secret::SecretValue;
use crate::sys::clock;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Reads the grants anew.
pub type Load = Box<dyn Fn() -> Result<Policy, Failure> + Send + Sync>;

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
    policy: RwLock<Arc<Policy>>,
    /// Held from reading the grants to using them, so that older ones never replace newer ones.
    loading: Mutex<()>,
    book: Book,
    proofs: proof::Proofs,
}

impl Gate {
    /// A gate that lets through the daemon's own user and root, and keeps no log.
    pub fn closed() -> Self {
        Self::new(Box::new(|| Ok(Policy::default())), None, Book::none()).0
    }

    /// A gate with the grants that `load` gives now and at each reload, from a file that is to be
    /// watched; and why it gave none.
    pub fn new(load: Load, watched: Option<PathBuf>, book: Book) -> (Self, Option<Failure>) {
        let gate = Self {
            us: rustix::process::geteuid().as_raw(),
            load,
            watched,
            policy: RwLock::default(),
            loading: Mutex::default(),
            book,
            proofs: proof::Proofs::default(),
        };
        let failure = gate.reload();
        (gate, failure)
    }

    /// Reads the grants anew. If that fails nothing is granted any more, and why is given.
    pub fn reload(&self) -> Option<Failure> {
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let (policy, failure) = match (self.load)() {
            Ok(policy) => (policy, None),
            Err(failure) => (Policy::default(), Some(failure)),
        };
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        failure
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
        self.is_own(uid) || self.policy().may_know(uid)
    }

    /// How far somebody is known now.
    pub fn standing(&self, caller: &Caller) -> Standing {
        let policy = self.policy();
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

    /// Judges a request, has `act` answer it if it may be answered, and cuts the answer to what is
    /// granted.
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
        let policy = self.policy();
        let judge = Judge::new(&policy, caller, backend);
        if let Needs::EachRef(refs) = &needs {
            return self.serve_refs(&judge, op, refs, act);
        }
        let decision = judge.whole(&needs);
        let names = |refs: &[SecretRef]| refs.iter().map(ToString::to_string).collect();
        let entry = book::Entry {
            op,
            verb: needs.verb(),
            refs: names(needs.refs()),
        };
        match decision {
            Decision::Refused(refusal) => {
                let failure = refused(caller, &needs, refusal);
                self.book
                    .note(caller, entry, Came::Refused, refusal.as_str())?;
                Err(failure)
            }
            Decision::Allowed(grant) => {
                self.book.note(caller, entry, Came::Allowed, grant)?;
                let mut answer = act(request, secrets)?;
                cut::to_granted(&mut answer.reply, &judge);
                Ok(answer)
            }
        }
    }

    /// Notes that there was no room for a connection of somebody else.
    pub fn no_room(&self, caller: &Caller) {
        let entry = book::Entry::about("connect", None);
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
        let entry = book::Entry::about("unlock", needs.verb());
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
        let policy = self.policy();
        self.note_shown(caller, policy.opened_by(&shown))?;
        caller.capability = Some(shown);
        Ok(())
    }

    fn note_shown(&self, caller: &Caller, opens: Option<&str>) -> Result<(), Failure> {
        let entry = book::Entry::about("present", None);
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
        let policy = self.policy();
        let with_it = Caller {
            proved_at: Some(Instant::now()),
            ..caller.clone()
        };
        let admin = Needs::Part(Verb::Admin);
        let entry = || book::Entry::about("present", admin.verb());
        let decision = Judge::new(&policy, &with_it, backend).whole(&admin);
        if let Decision::Refused(refusal) = decision
            && !self.is_own(caller.peer.uid)
        {
            let failure = refused(caller, &admin, refusal);
            self.book
                .note(caller, entry(), Came::Refused, refusal.as_str())?;
            return Err(failure);
        }
        let grant = match decision {
            Decision::Allowed(grant) => Some(grant),
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
        op: &'static str,
        refs: &[SecretRef],
        act: impl FnOnce(Request, Vec<SecretValue>) -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let verb = Verb::Use;
        let decisions: Vec<Decision<'_>> = refs.iter().map(|r| judge.on(verb, r)).collect();
        let mut by_outcome: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
        for (reference, decision) in refs.iter().zip(&decisions) {
            let key = match decision {
                Decision::Allowed(grant) => (true, *grant),
                Decision::Refused(refusal) => (false, refusal.as_str()),
            };
            by_outcome
                .entry(key)
                .or_default()
                .push(reference.to_string());
        }
        for ((allowed, word), refs) in by_outcome {
            let came = if allowed {
                Came::Allowed
            } else {
                Came::Refused
            };
            let verb = Some(verb);
            self.book
                .note(judge.caller, book::Entry { op, verb, refs }, came, word)?;
        }
        let may = |decision: &Decision<'_>| matches!(decision, Decision::Allowed(_));
        let granted: Vec<SecretRef> = refs
            .iter()
            .zip(&decisions)
            .filter(|(_, decision)| may(decision))
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
            .zip(decisions)
            .map(|(reference, decision)| match decision {
                Decision::Allowed(_) => outcomes.next().unwrap_or_else(bug),
                Decision::Refused(refusal) => {
                    let needs = Needs::Records(verb, vec![reference.clone()]);
                    Outcome::Failed(refused(judge.caller, &needs, refusal))
                }
            });
        Ok(Answer {
            reply: Reply::Resolved(all.collect()),
            secrets,
        })
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl book::Entry {
    /// Something that names no refs.
    fn about(op: &'static str, verb: Option<Verb>) -> Self {
        let refs = Vec::new();
        Self { op, verb, refs }
    }
}

/// One caller before the policy, while one request is judged.
struct Judge<'a> {
    policy: &'a Policy,
    caller: &'a Caller,
    backend: &'a dyn Backend,
    /// The refs in use, by agent, once a grant asks for them.
    in_use: RefCell<BTreeMap<AgentId, HashSet<SecretRef>>>,
}

impl<'a> Judge<'a> {
    fn new(policy: &'a Policy, caller: &'a Caller, backend: &'a dyn Backend) -> Self {
        Self {
            policy,
            caller,
            backend,
            in_use: RefCell::default(),
        }
    }

    fn decide(&self, act: Act<'_>) -> Decision<'a> {
        let in_use = |agent: &AgentId, wanted: &SecretRef| {
            let mut known = self.in_use.borrow_mut();
            let refs = known
                .entry(agent.clone())
                .or_insert_with(|| self.backend.in_use(agent));
            refs.contains(wanted)
        };
        self.policy
            .decide(&self.caller.identity(), act, &in_use, clock::now())
    }

    fn on(&self, verb: Verb, wanted: &SecretRef) -> Decision<'a> {
        self.decide(Act::On(verb, wanted))
    }

    /// The decision on a request that is answered whole or not at all.
    fn whole(&self, needs: &Needs) -> Decision<'a> {
        match needs {
            Needs::Greeting => self.decide(Act::Greet),
            Needs::Part(verb) => self.decide(Act::OnSome(*verb)),
            Needs::All(verb) => self.decide(Act::OnAll(*verb)),
            Needs::Records(_, refs) | Needs::EachRef(refs) => {
                let verb = needs.verb().unwrap_or(Verb::Admin);
                let mut decisions = refs.iter().map(|wanted| self.on(verb, wanted));
                let first = decisions.next();
                let refused = |decision: &Decision<'_>| matches!(decision, Decision::Refused(_));
                let first = first.unwrap_or(Decision::Refused(Refusal::NotGranted));
                if refused(&first) {
                    return first;
                }
                decisions.find(refused).unwrap_or(first)
            }
        }
    }
}

/// What a refused caller is told: what he asked for in his own words, and nothing of the vault.
fn refused(caller: &Caller, needs: &Needs, refusal: Refusal) -> Failure {
    let who = format!("user {}", caller.peer.uid);
    let verb = needs.verb().map_or("ask", |verb| verb.as_str());
    let what = match needs {
        Needs::Records(_, refs) | Needs::EachRef(refs) => {
            let names: Vec<String> = refs.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
        Needs::All(_) => "all records (vault:*)".to_owned(),
        Needs::Part(_) | Needs::Greeting => "anything".to_owned(),
    };
    match refusal {
        Refusal::NotGranted => {
            let text = format!("no grant lets {who} {verb} {what}");
            Failure::new(Code::GrantRefused, text)
        }
        Refusal::Expired => {
            let text = format!("the grant that let {who} {verb} {what} has ended");
            Failure::new(Code::GrantExpired, text)
        }
        Refusal::Confirm => {
            let text = format!(
                "a person must confirm that {who} may {verb} {what}, and this daemon can ask nobody"
            );
            Failure::new(Code::GrantConfirm, text)
        }
        Refusal::SecretNeeded => {
            let text = format!("the grant lets {who} {verb} {what} only with a keyslot's secret");
            Failure::new(Code::GrantSecretNeeded, text)
        }
    }
}

#[cfg(test)]
mod tests;
