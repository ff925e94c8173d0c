//! One caller before the policy, while one request is judged.

use super::acts::Needs;
use super::time::Time;
use crate::daemon::Backend;
use crate::daemon::caller::Caller;
use crate::grants::{Act, Decision, Identity, Policy, Refusal, Verb};
use crate::name::AgentId;
use crate::reference::SecretRef;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(super) struct Judge<'a> {
    policy: &'a Policy,
    pub caller: &'a Caller,
    /// Who it is, as of when the request came: a person may think for longer than a secret counts.
    identity: Identity<'a>,
    backend: &'a dyn Backend,
    time: &'a Time,
    /// The grants for which a person has said yes.
    confirmed: BTreeSet<String>,
    /// The refs in use, by agent, once a grant asks for them.
    in_use: RefCell<BTreeMap<AgentId, HashSet<SecretRef>>>,
}

impl<'a> Judge<'a> {
    pub fn new(
        policy: &'a Policy,
        caller: &'a Caller,
        backend: &'a dyn Backend,
        time: &'a Time,
    ) -> Self {
        Self {
            time,
            policy,
            caller,
            identity: caller.identity(),
            backend,
            confirmed: BTreeSet::new(),
            in_use: RefCell::default(),
        }
    }

    /// The same request again, by the grants as they are now, and with a person's yes for some.
    pub fn again(&self, policy: &'a Policy, confirmed: BTreeSet<String>) -> Self {
        Self {
            policy,
            confirmed,
            in_use: RefCell::default(),
            ..*self
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
        let decision = self
            .policy
            .decide(&self.identity, act, &in_use, self.time.now());
        match decision {
            Decision::Asks(grant) if self.confirmed.contains(grant) => Decision::Allowed(grant),
            decision => decision,
        }
    }

    pub fn on(&self, verb: Verb, wanted: &SecretRef) -> Decision<'a> {
        self.decide(Act::On(verb, wanted))
    }

    /// The decision on a request that is answered whole or not at all.
    pub fn whole(&self, needs: &Needs) -> Decision<'a> {
        match needs {
            Needs::Greeting => self.decide(Act::Greet),
            Needs::Part(verb) => self.decide(Act::OnSome(*verb)),
            Needs::All(verb) => self.decide(Act::OnAll(*verb)),
            Needs::Records(..) | Needs::EachRef(_) => self.strictest(needs),
        }
    }

    /// Of the decisions on each ref the one that lets through the least.
    fn strictest(&self, needs: &Needs) -> Decision<'a> {
        let rank = |decision: &Decision<'_>| match decision {
            Decision::Refused(_) => 0,
            Decision::Asks(_) => 1,
            Decision::Allowed(_) => 2,
        };
        let strictest = self.each(needs).into_iter().min_by_key(rank);
        strictest.unwrap_or(Decision::Refused(Refusal::NotGranted))
    }

    /// The grants that ask a person for it.
    pub fn asking(&self, needs: &Needs) -> BTreeSet<String> {
        let mut decisions = self.each(needs);
        if decisions.is_empty() {
            decisions.push(self.whole(needs));
        }
        grants_that_ask(&decisions)
    }

    fn each(&self, needs: &Needs) -> Vec<Decision<'a>> {
        let verb = needs.verb().unwrap_or(Verb::Admin);
        let refs = needs.refs().iter();
        refs.map(|wanted| self.on(verb, wanted)).collect()
    }
}

/// The grants that ask a person.
pub(super) fn grants_that_ask(decisions: &[Decision<'_>]) -> BTreeSet<String> {
    let asks = |decision: &Decision<'_>| match decision {
        Decision::Asks(grant) => Some((*grant).to_owned()),
        Decision::Allowed(_) | Decision::Refused(_) => None,
    };
    decisions.iter().filter_map(asks).collect()
}
