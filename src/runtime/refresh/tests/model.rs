//! Any sequence of faults, processes, renames and sign-ins sends no token more often than it may.

use super::issuer::{Issuer, Step};
use super::world::*;
use crate::error::Code;
use crate::oauth::Account;
use crate::runtime::Runtime;
use crate::runtime::service::Request;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

/// What happens next.
#[derive(Clone, Debug)]
enum Act {
    /// A process asks for a token, and the server treats it so.
    Ask {
        process: usize,
        forced: bool,
        step: Step,
    },
    /// A process ends and starts anew: what it remembered is gone.
    Restart(usize),
    /// The record gets another name, and its old one back.
    Rename,
    /// Somebody signs in.
    SignIn,
    /// The session is ended at the server.
    Revoke,
    /// The vault is written anew under a new key.
    Compact,
}

const PROCESSES: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Grant),
        2 => Just(Step::LoseAnswer),
        2 => Just(Step::LoseRequest),
        1 => Just(Step::NotSent),
        1 => Just(Step::Keep),
        1 => Just(Step::Garble("<html>")),
        1 => Just(Step::Status(503, "")),
        1 => Just(Step::Wait(Duration::from_secs(60))),
        1 => Just(Step::Status(400, r#"{"error":"invalid_scope"}"#)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..PROCESSES, any::<bool>(), step())
            .prop_map(|(process, forced, step)| Act::Ask { process, forced, step }),
        3 => (0..PROCESSES).prop_map(Act::Restart),
        1 => Just(Act::Rename),
        1 => Just(Act::SignIn),
        1 => Just(Act::Revoke),
        1 => Just(Act::Compact),
    ]
}

/// How often each token was sent without an answer since an answer last said that it is still good.
#[derive(Default)]
struct Ledger {
    unanswered: HashMap<String, usize>,
}

impl Ledger {
    fn sent(&mut self, token: &str, step: &Step, owned: bool) {
        let unanswered = self.unanswered.entry(token.to_owned()).or_default();
        assert!(
            *unanswered == 0 || owned,
            "{token} is not ours alone, and was sent again"
        );
        assert!(
            *unanswered < super::super::MAX_SENDS,
            "{token} was sent too often"
        );
        if matches!(step, Step::LoseAnswer | Step::LoseRequest | Step::Garble(_)) {
            *unanswered += 1;
        } else if *step == Step::Keep {
            // A grant without a successor: none of the sends before it used the token up.
            *unanswered = 0;
        }
    }
}

fn play(acts: Vec<Act>, owned: bool) {
    let world = World::new(Issuer::new([]));
    let with = |account: Account| Account { owned, ..account };
    world.sign_in(&with(ended(0)));
    let mut owned_now = owned;
    let mut runtimes: Vec<Runtime> = (0..PROCESSES).map(|_| world.runtime()).collect();
    let mut ledger = Ledger::default();
    for act in acts {
        match act {
            Act::Ask {
                process,
                forced,
                step,
            } => {
                let before = world.issuer.sent().len();
                world.issuer.script([step.clone()]);
                let runtime = &runtimes[process];
                let answer = if forced { force(runtime) } else { ask(runtime) };
                let sent = world.issuer.sent();
                assert!(sent.len() <= before + 1, "one call sends one token at most");
                if let Some(token) = sent.get(before) {
                    ledger.sent(token, &step, owned_now);
                }
                world.issuer.forget_script();
                if let Ok(token) = answer {
                    // What is given out is what the vault holds.
                    let stored = world.stored(ACCOUNT);
                    assert_eq!(token, text(stored.access.secret()));
                    owned_now = stored.owned;
                } else {
                    assert_ne!(answer, Err(Code::Bug));
                }
            }
            Act::Restart(process) => runtimes[process] = world.runtime(),
            Act::Rename => {
                for (from, to) in [(ACCOUNT, "oauth/x"), ("oauth/x", ACCOUNT)] {
                    let (from, to) = (name(from), name(to));
                    let request = Request::Rename { from, to };
                    runtimes[0].call(request, Vec::new()).unwrap();
                }
            }
            Act::SignIn => {
                let generation = world.issuer.sign_in();
                sign_in(&runtimes[0], ACCOUNT, &with(ended(generation)));
                owned_now = owned;
            }
            Act::Revoke => world.issuer.revoke(),
            Act::Compact => {
                let request = Request::Compact { keep_history: true };
                runtimes[1].call(request, Vec::new()).unwrap();
            }
        }
    }
    assert!(world.open_attempts() <= super::super::MAX_SENDS);
}

/// What a random run found: after an answer that leaves the token as it is, it counts anew.
#[test]
fn a_token_that_the_server_keeps_counts_anew() {
    let ask = |process, forced, step| Act::Ask {
        process,
        forced,
        step,
    };
    play(
        vec![
            ask(0, false, Step::LoseRequest),
            ask(1, false, Step::Keep),
            ask(0, true, Step::LoseAnswer),
            Act::Restart(0),
            ask(0, true, Step::Grant),
        ],
        true,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_refresh_token_is_never_sent_more_often_than_it_may(
        acts in proptest::collection::vec(act(), 1..24), owned in any::<bool>(),
    ) {
        play(acts, owned);
    }
}
