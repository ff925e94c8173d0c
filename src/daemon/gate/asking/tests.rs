use super::*;
use crate::daemon::fake::Person;
use crate::sys::peer::Peer;
use std::path::PathBuf;

const MINUTE: Duration = Duration::from_secs(60);

fn whose(uid: u32, grant: &str) -> Vec<Whose> {
    vec![Whose::User(uid), Whose::Grant(grant.to_owned())]
}

fn caller(uid: u32, started: Option<u64>) -> Caller {
    let peer = Peer {
        pid: 7,
        uid,
        gid: uid,
    };
    Caller {
        started,
        ..Caller::by_user(peer)
    }
}

fn wanted<'a>(caller: &'a Caller, refs: &[&str]) -> Wanted<'a> {
    Wanted {
        caller,
        op: "resolve",
        verb: Verb::Use,
        about: About::Refs(refs.iter().map(|text| (*text).to_owned()).collect()),
        grants: BTreeSet::from(["g".to_owned()]),
    }
}

fn how(keep: Duration) -> Confirm {
    Confirm {
        command: PathBuf::from("/bin/ask"),
        args: Vec::new(),
        timeout: MINUTE,
        keep,
    }
}

#[test]
fn one_question_at_a_time_for_a_user_and_by_a_grant_and_few_in_all() {
    let questions = Questions::default();
    let now = Instant::now();
    let first = questions
        .begin(whose(1, "a"), now)
        .unwrap_or_else(|_| panic!());
    let refused = |uid, grant: &str| questions.begin(whose(uid, grant), now).err();
    assert_eq!(refused(1, "b"), Some(Why::Asking));
    assert_eq!(refused(2, "a"), Some(Why::Asking));
    let more: Vec<Turn<'_>> = (2..=u32::try_from(MAX_OPEN).unwrap())
        .map(|uid| {
            questions
                .begin(whose(uid, &format!("g{uid}")), now)
                .unwrap_or_else(|_| panic!())
        })
        .collect();
    assert_eq!(refused(99, "other"), Some(Why::Asking));
    drop(first);
    assert_eq!(refused(1, "b"), None);
    drop(more);
    questions.wait_for_none(Duration::ZERO);
    assert!(questions.state().open.is_empty());
}

#[test]
fn after_anything_but_a_yes_nobody_is_asked_for_a_time_that_doubles() {
    let questions = Questions::default();
    let start = Instant::now();
    let ask = |uid: u32, grant: &str, said: Said, now: Instant| {
        questions
            .begin(whose(uid, grant), now)
            .map(|turn| turn.close(said, now))
    };
    let quiet = |declined, left| Err(Why::Quiet { declined, left });
    assert_eq!(ask(1, "a", Said::No, start), Ok(()));
    let second = Duration::from_secs(1);
    assert_eq!(ask(1, "b", Said::Yes, start), quiet(true, FIRST_QUIET));
    assert_eq!(
        ask(2, "a", Said::Yes, start + second),
        quiet(true, FIRST_QUIET - second)
    );
    assert_eq!(ask(2, "b", Said::Yes, start), Ok(()));
    let (mut now, mut step) = (start, FIRST_QUIET);
    for said in [
        Said::Nobody,
        Said::Left,
        Said::No,
        Said::Nobody,
        Said::Left,
        Said::No,
        Said::No,
    ] {
        now += step;
        assert_eq!(ask(1, "a", said, now), Ok(()), "{said:?}");
        step = (step * 2).min(LONGEST_QUIET);
        assert_eq!(ask(1, "a", Said::Yes, now), quiet(said == Said::No, step));
    }
    assert_eq!(step, LONGEST_QUIET);
    // A yes begins anew, and so does a person who was left alone for long enough.
    now += step;
    assert_eq!(ask(1, "a", Said::Yes, now), Ok(()));
    assert_eq!(ask(1, "a", Said::No, now), Ok(()));
    assert_eq!(ask(1, "a", Said::No, now), quiet(true, FIRST_QUIET));
    now += FIRST_QUIET + LONGEST_QUIET;
    assert_eq!(ask(1, "a", Said::No, now), Ok(()));
    assert_eq!(ask(1, "a", Said::No, now), quiet(true, FIRST_QUIET));
    // Other grants, as the owner makes them, too.
    questions.forget();
    assert_eq!(ask(1, "a", Said::Locked, now), Ok(()));
    assert_eq!(ask(1, "a", Said::Yes, now), Ok(()));
}

#[test]
fn so_many_users_and_grants_are_remembered_and_for_more_nobody_is_asked() {
    let questions = Questions::default();
    let now = Instant::now();
    let last = u32::try_from(MAX_QUIET / 2).unwrap();
    for uid in 0..last {
        let turn = questions.begin(whose(uid, &format!("g{uid}")), now);
        turn.unwrap_or_else(|_| panic!()).close(Said::No, now);
    }
    assert_eq!(questions.state().quiet.len(), MAX_QUIET);
    assert_eq!(
        questions.begin(whose(last, "one more"), now).err(),
        Some(Why::Asking)
    );
}

#[test]
fn a_yes_counts_once_or_for_the_same_process_and_refs_as_long_as_the_config_says() {
    let person = Arc::new(Person::who_says(Said::Yes));
    let questions = Questions::by(Arc::clone(&person) as Arc<dyn Asker>);
    let once = how(Duration::ZERO);
    let ends = Ends::default();
    let process = caller(1, Some(100));
    let both = ["vault:a", "vault:b"];
    let ask = |wanted: &Wanted<'_>, how: &Confirm| {
        let asked = questions.ask(wanted, Some(how), &ends);
        assert_eq!(asked.outcome, Ok(()));
        asked.answered.unwrap()
    };
    let confirmed = |number| Answered::new(Answer::Confirmed, number);
    assert_eq!(ask(&wanted(&process, &both), &once), confirmed(1));
    assert_eq!(ask(&wanted(&process, &both), &once), confirmed(2));
    assert_eq!(person.asked().last().unwrap().keep_ms, 0);
    let kept = how(MINUTE);
    assert_eq!(ask(&wanted(&process, &both), &kept), confirmed(3));
    assert_eq!(person.asked().last().unwrap().keep_ms, 60_000);
    assert_eq!(
        ask(&wanted(&process, &both), &kept),
        Answered::new(Answer::Kept, 3)
    );
    assert_eq!(
        ask(&wanted(&process, &both[1..]), &kept),
        Answered::new(Answer::Kept, 3)
    );
    assert_eq!(person.asked().len(), 3);
    // Another process of the same number, another user, more refs, another operation or grant.
    let not_kept = |wanted: &Wanted<'_>| questions.kept(wanted, Instant::now()).is_none();
    for other in [caller(1, Some(101)), caller(2, Some(100)), caller(1, None)] {
        assert!(not_kept(&wanted(&other, &both)));
    }
    assert!(not_kept(&wanted(&process, &["vault:a", "vault:c"])));
    let put = Wanted {
        op: "put",
        ..wanted(&process, &both)
    };
    assert!(not_kept(&put));
    let other = Wanted {
        grants: BTreeSet::from(["h".to_owned()]),
        ..wanted(&process, &both)
    };
    assert!(not_kept(&other));
    let late = Instant::now() + MINUTE;
    assert!(questions.kept(&wanted(&process, &both), late).is_none());
    // Where the kernel does not say which process it is, it counts once.
    let unknown = caller(3, None);
    ask(&wanted(&unknown, &both), &kept);
    assert_eq!(person.asked().last().unwrap().keep_ms, 0);
    assert!(not_kept(&wanted(&unknown, &both)));
}

#[test]
fn what_is_kept_is_bounded_and_ends_when_the_grants_change() {
    let person = Arc::new(Person::who_says(Said::Yes));
    let questions = Questions::by(Arc::clone(&person) as Arc<dyn Asker>);
    let process = caller(1, Some(100));
    let names: Vec<String> = (0..=MAX_KEPT).map(|i| format!("vault:{i}")).collect();
    let kept = how(MINUTE);
    for name in &names {
        questions.ask(&wanted(&process, &[name]), Some(&kept), &Ends::default());
    }
    let is_kept = |name: &str| {
        questions
            .kept(&wanted(&process, &[name]), Instant::now())
            .is_some()
    };
    assert!(is_kept(&names[MAX_KEPT - 1]) && !is_kept(&names[MAX_KEPT]));
    questions.forget();
    assert!(!is_kept(&names[0]));
    // Nor does an answer count for later that was given to grants that are no more.
    let late = questions.begin(whose(1, "g"), Instant::now());
    let late = late.unwrap_or_else(|_| panic!());
    questions.forget();
    questions.keep(
        &wanted(&process, &["vault:0"]),
        &late,
        Instant::now(),
        MINUTE,
    );
    assert!(!is_kept(&names[0]));
}

#[test]
fn a_yes_to_a_change_of_the_vault_counts_once_whatever_the_config_says() {
    let person = Arc::new(Person::who_says(Said::Yes));
    let questions = Questions::by(Arc::clone(&person) as Arc<dyn Asker>);
    let process = caller(1, Some(100));
    let change = Wanted {
        op: "put",
        verb: Verb::Admin,
        ..wanted(&process, &["vault:a"])
    };
    for number in 1..3 {
        let asked = questions.ask(&change, Some(&how(MINUTE)), &Ends::default());
        let confirmed = Answered::new(Answer::Confirmed, number);
        assert_eq!((asked.outcome, asked.answered), (Ok(()), Some(confirmed)));
    }
    assert!(person.asked().iter().all(|question| question.keep_ms == 0));
}

#[test]
fn a_question_that_nobody_saw_brings_no_quiet() {
    let person = Arc::new(Person::who_says(Said::Busy));
    let questions = Questions::by(person);
    let process = caller(1, Some(100));
    for _ in 0..2 {
        let wanted = wanted(&process, &["vault:a"]);
        let asked = questions.ask(&wanted, Some(&how(MINUTE)), &Ends::default());
        assert_eq!(asked.outcome, Err(Why::Asking));
    }
}

#[test]
fn what_could_not_be_shown_whole_is_not_asked() {
    let person = Arc::new(Person::who_says(Said::Yes));
    let questions = Questions::by(Arc::clone(&person) as Arc<dyn Asker>);
    let process = caller(1, Some(100));
    let many = vec!["vault:a"; confirm::MAX_ASKED_REFS + 1];
    let asked = questions.ask(
        &wanted(&process, &many),
        Some(&how(MINUTE)),
        &Ends::default(),
    );
    assert_eq!((asked.outcome, asked.answered), (Err(Why::TooMuch), None));
    // It took nobody's turn, and in somebody's turn it is what it is.
    assert_eq!(questions.state().last, 0);
    let turn = questions.begin(whose(1, "g"), Instant::now());
    let wanted_much = wanted(&process, &many);
    let asked = questions.ask(&wanted_much, Some(&how(MINUTE)), &Ends::default());
    assert_eq!(asked.outcome, Err(Why::TooMuch));
    drop(turn);
    let asked = questions.ask(&wanted(&process, &["vault:a"]), None, &Ends::default());
    assert_eq!(
        (asked.outcome, asked.answered),
        (Err(Why::NobodyToAsk), None)
    );
    assert!(person.asked().is_empty());
}
