use super::*;
use crate::error::{Code, Kind};
use proptest::prelude::*;

const CANARY: &[u8] = b"sk-canary-4f1c9a77e2";

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

fn want(text: &str, owner: &str, optional: bool) -> Wanted {
    Wanted {
        reference: reference(text),
        owner: owner.into(),
        optional,
    }
}

fn good(bytes: &[u8]) -> Result<SecretValue, Failure> {
    Ok(SecretValue::copy_of(bytes))
}

fn bad(code: Code) -> Result<SecretValue, Failure> {
    Err(Failure::new(code, "it failed"))
}

fn results<const N: usize>(entries: [(&str, Result<SecretValue, Failure>); N]) -> Resolution {
    entries
        .into_iter()
        .map(|(text, result)| (reference(text), result))
        .collect()
}

fn built(generation: u64, entries: &[(&str, &[u8])]) -> Snapshot {
    let wanted: Vec<_> = entries
        .iter()
        .map(|(text, _)| want(text, "o", false))
        .collect();
    let found = entries
        .iter()
        .map(|(text, bytes)| (reference(text), good(bytes)))
        .collect();
    Snapshot::build(generation, UnixMs(7), &wanted, found, false).unwrap()
}

#[test]
fn a_snapshot_says_where_values_come_from_and_shows_none() {
    let snapshot = built(3, &[("vault:a", CANARY), ("env@shell:B", b"x")]);
    assert_eq!(
        snapshot.get(&reference("vault:a")),
        Some(&SecretValue::copy_of(CANARY))
    );
    assert_eq!(snapshot.get(&reference("vault:b")), None);
    let provenance = snapshot.provenance(&reference("env@shell:B")).unwrap();
    let text = r#"{"source":"env","provider":"shell","id":"B","generation":3,"at":7}"#;
    assert_eq!(serde_json::to_string(&provenance).unwrap(), text);
    assert_eq!(snapshot.provenance(&reference("vault:b")), None);
    let mut machine = Machine::new(UnixMs(0));
    let shown = format!("{snapshot:?}");
    machine.published(snapshot, UnixMs(1));
    for shown in [shown, format!("{machine:?}")] {
        assert!(
            shown.contains("shell") && !shown.contains("canary"),
            "{shown}"
        );
    }
}

#[test]
fn a_snapshot_tells_how_old_and_how_large_it_is() {
    let snapshot = built(3, &[("vault:a", b"1"), ("vault:b", b"2")]);
    assert_eq!((snapshot.generation(), snapshot.built_at()), (3, UnixMs(7)));
    assert_eq!((snapshot.len(), snapshot.is_empty()), (2, false));
    let mut refs: Vec<_> = snapshot.refs().collect();
    refs.sort();
    assert_eq!(refs, [&reference("vault:a"), &reference("vault:b")]);
    let nothing = built(0, &[]);
    assert_eq!((nothing.len(), nothing.is_empty()), (0, true));
}

#[test]
fn every_failure_is_gathered() {
    let wanted = [
        want("vault:a", "one", false),
        want("vault:b", "two", true),
        want("vault:b", "three", false),
        want("vault:c", "four", true),
        want("vault:d", "five", false),
        want("vault:a", "six", false),
    ];
    let found = || {
        results([
            ("vault:a", good(b"1")),
            ("vault:b", bad(Code::RefAbsent)),
            ("vault:c", bad(Code::SourceUnavailable)),
        ])
    };
    let error = Snapshot::build(1, UnixMs(0), &wanted, found(), false).unwrap_err();
    let list: Vec<_> = error
        .failures()
        .iter()
        .map(|f| {
            (
                f.reference.to_string(),
                f.owners.join(","),
                f.optional,
                f.failure.code,
            )
        })
        .collect();
    assert_eq!(
        list,
        [
            (
                "vault:b".to_owned(),
                "two,three".to_owned(),
                false,
                Code::RefAbsent
            ),
            (
                "vault:c".to_owned(),
                "four".to_owned(),
                true,
                Code::SourceUnavailable
            ),
            ("vault:d".to_owned(), "five".to_owned(), false, Code::Bug),
        ]
    );
    assert!(
        error
            .to_string()
            .starts_with("2 required SecretRefs failed: vault:b (two, three): ")
    );
    assert_eq!(error.code(), Code::ActivationFailed);
    assert_eq!(error.into_failures().len(), 3);

    let snapshot = Snapshot::build(1, UnixMs(0), &wanted, found(), true).unwrap();
    assert_eq!((snapshot.len(), snapshot.failures().len()), (1, 3));
    assert!(snapshot.lacks_required());
}

#[test]
fn optional_failures_stop_nothing() {
    let wanted = [want("vault:a", "one", false), want("vault:b", "two", true)];
    let found = results([("vault:a", good(b"1")), ("vault:b", bad(Code::RefAbsent))]);
    let snapshot = Snapshot::build(1, UnixMs(0), &wanted, found, false).unwrap();
    assert!(!snapshot.lacks_required() && snapshot.failures().len() == 1);
    let found = results([
        ("vault:a", bad(Code::VaultSealed)),
        ("vault:b", bad(Code::RefAbsent)),
    ]);
    let error = Snapshot::build(1, UnixMs(0), &wanted, found, false).unwrap_err();
    assert_eq!(error.code().kind(), Kind::Sealed);
}

#[test]
fn what_differs() {
    let old = built(
        1,
        &[("vault:a", b"1"), ("vault:b", b"1"), ("vault:c", b"1")],
    );
    let new = built(
        2,
        &[
            ("vault:d", b"1"),
            ("vault:b", b"2"),
            ("vault:a", b"1"),
            ("vault:0", b""),
        ],
    );
    let diff = old.diff(&new);
    let names = |refs: &[SecretRef]| refs.iter().map(|r| r.id().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&diff.added), ["0", "d"]);
    assert_eq!(names(&diff.changed), ["b"]);
    assert_eq!(names(&diff.removed), ["c"]);
    assert!(old.diff(&old).is_empty() && !diff.is_empty());
    let (one, other) = (
        built(1, &[("vault:a", b"1")]),
        built(2, &[("vault:a", b"2")]),
    );
    let none = built(0, &[]);
    for (old, new) in [(&none, &one), (&one, &other), (&one, &none)] {
        assert!(!old.diff(new).is_empty(), "{old:?} {new:?}");
    }
}

#[test]
fn a_failed_reload_keeps_the_whole_last_good_snapshot() {
    let mut machine = Machine::new(UnixMs(1));
    assert_eq!(
        (machine.state(), machine.snapshot().is_none()),
        (State::Sealed, true)
    );
    let first = built(1, &[("vault:a", b"1")]);
    assert_eq!(machine.published(first, UnixMs(2)), Some(Event::Activated));
    let reader = machine.snapshot().unwrap().clone();
    let wanted = [want("vault:a", "one", false)];
    let error = Snapshot::build(2, UnixMs(3), &wanted, Resolution::new(), false).unwrap_err();
    let failures = error.into_failures();
    assert_eq!(
        machine.failed(failures.clone(), UnixMs(3)),
        Some(Event::Degraded)
    );
    assert_eq!(machine.failed(failures.clone(), UnixMs(4)), None);
    assert_eq!(
        (machine.state(), machine.since()),
        (State::Degraded, UnixMs(3))
    );
    assert_eq!(machine.failures(), failures);
    assert!(Arc::ptr_eq(machine.snapshot().unwrap(), &reader));
    let second = built(2, &[("vault:a", b"2")]);
    assert_eq!(machine.published(second, UnixMs(5)), Some(Event::Recovered));
    assert_eq!(
        (machine.state(), machine.failures().len()),
        (State::Active, 0)
    );
    assert_eq!(
        reader.get(&reference("vault:a")),
        Some(&SecretValue::copy_of(b"1"))
    );
    assert_eq!(machine.sealed(UnixMs(6)), Some(Event::Sealed));
    assert_eq!(machine.sealed(UnixMs(7)), None);
    assert!(machine.snapshot().is_none() && machine.since() == UnixMs(6));
    assert_eq!(
        machine.failed(failures.clone(), UnixMs(8)),
        Some(Event::Failed)
    );
    assert_eq!(machine.failed(failures, UnixMs(9)), None);
    assert_eq!(machine.state(), State::Failed);
}

/// What can happen to a machine.
#[derive(Clone, Copy, Debug)]
enum Step {
    Whole,
    Lacking,
    Failed,
    Sealed,
}

fn any_step() -> impl Strategy<Value = Step> {
    let steps = [Step::Whole, Step::Lacking, Step::Failed, Step::Sealed];
    prop::sample::select(steps.to_vec())
}

fn lacking() -> Snapshot {
    let wanted = [want("vault:a", "one", false)];
    Snapshot::build(1, UnixMs(0), &wanted, Resolution::new(), true).unwrap()
}

proptest! {
    #[test]
    fn each_change_of_state_is_told_exactly_once(
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        let mut machine = Machine::new(UnixMs(0));
        for (i, step) in steps.into_iter().enumerate() {
            let now = UnixMs(i as u64 + 1);
            let before = machine.state();
            let (had, since) = (machine.snapshot().cloned(), machine.since());
            let event = match step {
                Step::Whole => machine.published(built(1, &[("vault:a", b"1")]), now),
                Step::Lacking => machine.published(lacking(), now),
                Step::Failed => machine.failed(lacking().failures().to_vec(), now),
                Step::Sealed => machine.sealed(now),
            };
            let after = machine.state();
            let expected = match (before, after) {
                (before, after) if before == after => None,
                (State::Sealed, State::Active) => Some(Event::Activated),
                (_, State::Active) => Some(Event::Recovered),
                (_, State::Degraded) => Some(Event::Degraded),
                (_, State::Failed) => Some(Event::Failed),
                (_, State::Sealed) => Some(Event::Sealed),
            };
            prop_assert_eq!(event, expected);
            prop_assert_eq!(machine.since(), if before == after { since } else { now });
            let serves = matches!(after, State::Active | State::Degraded);
            prop_assert_eq!(machine.snapshot().is_some(), serves);
            if matches!(step, Step::Failed) && serves {
                prop_assert!(Arc::ptr_eq(machine.snapshot().unwrap(), &had.unwrap()));
            }
            let is_well = matches!(after, State::Active | State::Sealed);
            prop_assert_eq!(machine.failures().is_empty(), is_well);
        }
    }
}
