use super::*;
use crate::reference::{Defaults, MAX_REF_TEXT};
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_000);

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text, &Defaults::default()).unwrap()
}

fn grant(name: &str, to: Holder, refs: &[&str], verbs: &[Verb]) -> Grant {
    Grant {
        name: name.to_owned(),
        to,
        scope: Scope::Refs(refs.iter().map(|text| pattern(text)).collect()),
        verbs: verbs.to_vec(),
        until: None,
        confirm: false,
    }
}

fn who(uid: u32) -> Identity<'static> {
    Identity {
        uid,
        unit: None,
        capability: None,
        fresh: false,
    }
}

fn nothing_in_use(_: &AgentId, _: &SecretRef) -> bool {
    false
}

fn decide<'p>(policy: &'p Policy, who: &Identity<'_>, act: Act<'_>) -> Decision<'p> {
    policy.decide(who, act, &nothing_in_use, NOW)
}

#[test]
fn patterns_take_what_they_say() {
    for (text, taken, left) in [
        (
            "vault:a/b",
            vec!["vault:a/b"],
            vec!["vault:a/b/c", "vault:a", "env:A", "vault@x:a/b"],
        ),
        (
            "vault:a/*",
            vec!["vault:a/b", "vault:a/b/c"],
            vec!["vault:a", "vault:ab/c", "exec@x:a/b"],
        ),
        (
            "vault:*",
            vec!["vault:a", "vault:z/1:2"],
            vec!["vault@x:a", "file@default:/a"],
        ),
        (
            "file@m:/x/*",
            vec!["file@m:/x/y"],
            vec!["file@m:/x", "file@n:/x/y"],
        ),
        (
            "file@m:*",
            vec!["file@m:/x", "file@m:value"],
            vec!["vault:x"],
        ),
        (
            "exec@op:*",
            vec!["exec@op:any/thing"],
            vec!["exec@other:any"],
        ),
        ("env:*", vec!["env:HOME"], vec!["vault:HOME"]),
    ] {
        let pattern = pattern(text);
        assert_eq!(pattern.to_string(), text);
        for wanted in taken {
            assert!(
                pattern.takes(&wanted.parse().unwrap()),
                "{text} takes {wanted}"
            );
        }
        for wanted in left {
            assert!(
                !pattern.takes(&wanted.parse().unwrap()),
                "{text} leaves {wanted}"
            );
        }
    }
    assert!(pattern("vault:*").takes_all_records());
    for other in ["vault:a/*", "vault@x:*", "env:*", "vault:a"] {
        assert!(!pattern(other).takes_all_records(), "{other}");
    }
}

#[test]
fn stars_stand_alone_at_the_end() {
    for (text, error) in [
        ("vault:a*", PatternError::Star),
        ("vault:*/a", PatternError::Star),
        ("vault:a/*/b", PatternError::Star),
        ("vault:**", PatternError::Star),
        ("vault:*/*", PatternError::Star),
        ("*", PatternError::Ref),
        ("vault", PatternError::Ref),
        ("", PatternError::Ref),
        ("other:a", PatternError::Ref),
        ("vault:../*", PatternError::Ref),
        ("vault:a/../*", PatternError::Ref),
        ("*:a", PatternError::Star),
    ] {
        assert_eq!(
            Pattern::parse(text, &Defaults::default()),
            Err(error),
            "{text}"
        );
    }
    // Of a text that is too long nothing is looked at.
    let stars = |len: usize| Pattern::parse(&"*".repeat(len), &Defaults::default());
    assert_eq!(stars(MAX_REF_TEXT), Err(PatternError::Ref));
    let mut long = format!("vault:*{}", "a".repeat(MAX_REF_TEXT - 7));
    assert_eq!(
        Pattern::parse(&long, &Defaults::default()),
        Err(PatternError::Star)
    );
    long.push('a');
    assert_eq!(
        Pattern::parse(&long, &Defaults::default()),
        Err(PatternError::Ref)
    );
}

#[test]
fn words_are_those_of_config_and_log() {
    let words = ["use", "read", "refresh", "admin"];
    assert_eq!(Verb::ALL.map(Verb::as_str), words);
    assert_eq!(words.map(Verb::parse), Verb::ALL.map(Some));
    for other in ["", "Use", "all"] {
        assert_eq!(Verb::parse(other), None, "{other}");
    }
    let refusals = [Refusal::NotGranted, Refusal::Expired, Refusal::SecretNeeded];
    let words = ["notGranted", "expired", "secretNeeded"];
    assert_eq!(refusals.map(Refusal::as_str), words);
    // Of a digest only as much is shown as tells it from others.
    for (holder, text) in [
        (Holder::Uid(1001), "uid 1001"),
        (Holder::User("a".into()), "user a"),
        (Holder::Unit("a.service".into()), "unit a.service"),
        (
            Holder::Capability([0xab; CAPABILITY_LEN]),
            "capability abababab…",
        ),
    ] {
        assert_eq!(holder.to_string(), text);
        assert_eq!(format!("{holder:?}"), format!("Holder({text})"));
    }
    assert_eq!(format!("{:?}", pattern("vault:a/*")), "Pattern(vault:a/*)");
}

#[test]
fn names_of_grants() {
    for good in ["a", "0", "a.b-c_1", &"a".repeat(MAX_GRANT_NAME)] {
        assert!(is_grant_name(good), "{good}");
    }
    for bad in [
        "",
        ".a",
        "-a",
        "_a",
        "A",
        "a b",
        "aB",
        "ä",
        &"a".repeat(MAX_GRANT_NAME + 1),
    ] {
        assert!(!is_grant_name(bad), "{bad}");
    }
}

#[test]
fn a_unit_is_what_root_put_a_process_in() {
    for (text, unit) in [
        ("0::/system.slice/hermes.service\n", Some("hermes.service")),
        (
            "0::/system.slice/system-a.slice/a@b.service/sub/x.service",
            Some("a@b.service"),
        ),
        ("0::/_cpu.service", Some("cpu.service")),
        // A user names the groups below his manager as he likes.
        (
            "0::/user.slice/user-1001.slice/user@1001.service/app.slice/hermes.service",
            Some("user@1001.service"),
        ),
        (
            "0::/user.slice/user-1.slice/session-2.scope",
            Some("session-2.scope"),
        ),
        ("0::/", None),
        ("0::/system.slice", None),
        ("0::/docker/0123", None),
        ("0::/../../system.slice/hermes.service", None),
        ("0::/x/hermes.service", None),
        ("", None),
        ("nonsense", None),
        (
            "12:pids:/a.service\n1:name=systemd:/system.slice/b.service\n0::/\n",
            Some("b.service"),
        ),
        (
            "1:name=systemd:/system.slice/a:b.service\n",
            Some("a:b.service"),
        ),
        ("0::/system.slice/.service", None),
    ] {
        assert_eq!(unit::of_cgroup(text), unit, "{text}");
    }
    // The tests of the daemon's callers read a real one; none is near that.
    assert_eq!(unit::MAX_CGROUP, 65_536);
}

#[test]
fn each_holder_is_known_by_its_own_mark_only() {
    let digest = [7; CAPABILITY_LEN];
    let verbs = &[Verb::Read];
    let policy = Policy {
        grants: vec![
            grant("by-uid", Holder::Uid(1001), &["vault:uid"], verbs),
            grant(
                "by-name",
                Holder::User("agent".into()),
                &["vault:name"],
                verbs,
            ),
            grant(
                "by-unit",
                Holder::Unit("a.service".into()),
                &["vault:unit"],
                verbs,
            ),
            grant(
                "by-secret",
                Holder::Capability(digest),
                &["vault:secret"],
                verbs,
            ),
        ],
    }
    .settle(|name| (name == "agent").then_some(1002));
    let other = [8; CAPABILITY_LEN];
    let unit = |unit| Identity {
        unit: Some(unit),
        ..who(1)
    };
    let shown = |capability| Identity {
        capability: Some(capability),
        ..who(1)
    };
    let callers = [
        (who(1001), Some("uid")),
        (who(1002), Some("name")),
        (who(1003), None),
        (unit("a.service"), Some("unit")),
        (unit("b.service"), None),
        (shown(&digest), Some("secret")),
        (shown(&other), None),
    ];
    for (caller, mine) in callers {
        for record in ["uid", "name", "unit", "secret"] {
            let wanted: SecretRef = format!("vault:{record}").parse().unwrap();
            let decision = decide(&policy, &caller, Act::On(Verb::Read, &wanted));
            let allowed = matches!(decision, Decision::Allowed(_));
            assert_eq!(allowed, mine == Some(record), "{caller:?} {record}");
        }
        assert_eq!(policy.knows(&caller), mine.is_some());
    }
    assert_eq!(policy.opened_by(&digest), Some("by-secret"));
    assert_eq!(policy.opened_by(&other), None);
}

#[test]
fn whom_the_user_alone_may_make_known() {
    let policy = |to: Holder| Policy {
        grants: vec![grant("g", to, &["vault:*"], &[Verb::Read])],
    };
    for (to, may_know, has_capabilities) in [
        (Holder::Uid(1001), [true, false], false),
        (Holder::User("unknown".into()), [false, false], false),
        (Holder::Unit("a.service".into()), [true, true], false),
        (Holder::Capability([7; CAPABILITY_LEN]), [true, true], true),
    ] {
        let policy = policy(to.clone()).settle(|_| None);
        let known = [1001, 1002].map(|uid| policy.may_know(uid));
        assert_eq!(
            (known, policy.has_capabilities()),
            (may_know, has_capabilities),
            "{to}"
        );
    }
    assert!(!Policy::default().may_know(1001));
    let nobody = policy(Holder::User("nobody".into()));
    assert!(!nobody.settle(|_| Some(NOBODY)).knows(&who(NOBODY)));
}

#[test]
fn a_grant_ends_and_what_needs_a_person_asks_one() {
    let wanted: SecretRef = "vault:a".parse().unwrap();
    let act = Act::On(Verb::Use, &wanted);
    let base = grant("g", Holder::Uid(1), &["vault:a"], &[Verb::Use]);
    let ended = Grant {
        until: Some(NOW),
        ..base.clone()
    };
    let ending = Grant {
        until: Some(UnixMs(NOW.0 + 1)),
        ..base.clone()
    };
    let asking = Grant {
        confirm: true,
        ..base
    };
    for (grants, decision) in [
        (vec![ended.clone()], Decision::Refused(Refusal::Expired)),
        (vec![ending.clone()], Decision::Allowed("g")),
        (vec![asking.clone()], Decision::Asks("g")),
        (vec![ended.clone(), asking.clone()], Decision::Asks("g")),
        (vec![ended, asking.clone(), ending], Decision::Allowed("g")),
    ] {
        assert_eq!(decide(&Policy { grants }, &who(1), act), decision);
    }
    // Nobody is asked whether a daemon may be greeted, or before a secret that must come with it.
    let admin = Grant {
        verbs: vec![Verb::Admin],
        ..asking
    };
    let grants = vec![admin];
    let policy = Policy { grants };
    assert_eq!(decide(&policy, &who(1), Act::Greet), Decision::Allowed("g"));
    let admin = Act::On(Verb::Admin, &wanted);
    let needed = Decision::Refused(Refusal::SecretNeeded);
    assert_eq!(decide(&policy, &who(1), admin), needed);
    let fresh = Identity {
        fresh: true,
        ..who(1)
    };
    assert_eq!(decide(&policy, &fresh, admin), Decision::Asks("g"));
}

#[test]
fn admin_needs_a_keyslots_secret_and_all_records_a_grant_over_all() {
    let wanted: SecretRef = "vault:a/b".parse().unwrap();
    let policy = Policy {
        grants: vec![grant("g", Holder::Uid(1), &["vault:a/*"], &Verb::ALL)],
    };
    let fresh = Identity {
        fresh: true,
        ..who(1)
    };
    let act = Act::On(Verb::Admin, &wanted);
    assert_eq!(
        decide(&policy, &who(1), act),
        Decision::Refused(Refusal::SecretNeeded)
    );
    assert_eq!(decide(&policy, &fresh, act), Decision::Allowed("g"));
    let all = Act::OnAll(Verb::Admin);
    assert_eq!(
        decide(&policy, &fresh, all),
        Decision::Refused(Refusal::NotGranted)
    );
    let over_all = Policy {
        grants: vec![grant("g", Holder::Uid(1), &["vault:*"], &[Verb::Admin])],
    };
    assert_eq!(decide(&over_all, &fresh, all), Decision::Allowed("g"));
    assert_eq!(
        decide(&over_all, &who(1), all),
        Decision::Refused(Refusal::SecretNeeded)
    );
}

#[test]
fn an_agent_gets_the_refs_of_its_config_and_nothing_else() {
    let mine: SecretRef = "vault:mine".parse().unwrap();
    let other: SecretRef = "vault:other".parse().unwrap();
    let policy = Policy {
        grants: vec![Grant {
            scope: Scope::InUse(AgentId::main()),
            ..grant("agent", Holder::Uid(1), &[], &[Verb::Use])
        }],
    };
    let in_use = |agent: &AgentId, wanted: &SecretRef| *agent == AgentId::main() && *wanted == mine;
    let decide = |act| policy.decide(&who(1), act, &in_use, NOW);
    assert_eq!(
        decide(Act::On(Verb::Use, &mine)),
        Decision::Allowed("agent")
    );
    let refused = Decision::Refused(Refusal::NotGranted);
    assert_eq!(decide(Act::On(Verb::Use, &other)), refused);
    for verb in [Verb::Read, Verb::Refresh, Verb::Admin] {
        assert_eq!(decide(Act::On(verb, &mine)), refused);
        assert_eq!(decide(Act::OnSome(verb)), refused);
    }
    for verb in Verb::ALL {
        assert_eq!(decide(Act::OnAll(verb)), refused);
    }
}

fn any_verb() -> impl Strategy<Value = Verb> {
    prop::sample::select(Verb::ALL.to_vec())
}

fn any_ref() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "vault:a",
        "vault:a/b",
        "vault:b/c",
        "env:A",
        "file@m:/a",
        "exec@x:a",
    ])
    .prop_map(str::to_owned)
}

fn any_holder() -> impl Strategy<Value = Holder> {
    prop_oneof![
        (1_u32..4).prop_map(Holder::Uid),
        Just(Holder::User("somebody".to_owned())),
        prop::sample::select(vec!["a.service", "b.service"])
            .prop_map(|unit| Holder::Unit(unit.to_owned())),
        (1_u8..4).prop_map(|byte| Holder::Capability([byte; CAPABILITY_LEN])),
    ]
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let star = prop::sample::select(vec!["vault:*", "vault:a/*", "env:*"]).prop_map(str::to_owned);
    let refs = prop::collection::vec(prop_oneof![any_ref(), star], 0..3);
    let verbs = prop::collection::vec(any_verb(), 0..4);
    let until = prop::option::of(500_u64..1_500);
    (any_holder(), refs, verbs, until, any::<bool>()).prop_map(
        |(to, refs, verbs, until, confirm)| {
            let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
            Grant {
                until: until.map(UnixMs),
                confirm,
                ..grant("any", to, &refs, &verbs)
            }
        },
    )
}

proptest! {
    #[test]
    fn only_a_live_grant_to_the_caller_over_the_ref_with_the_verb_allows(
        grants in prop::collection::vec(any_grant(), 0..5),
        uid in 1_u32..5,
        unit in prop::option::of(prop::sample::select(vec!["a.service", "b.service", "c.service"])),
        shown in prop::option::of(1_u8..5),
        fresh in any::<bool>(),
        verb in any_verb(),
        wanted in any_ref(),
    ) {
        let policy = Policy { grants };
        let digest = shown.map(|byte| [byte; CAPABILITY_LEN]);
        let caller = Identity { uid, unit, capability: digest.as_ref(), fresh };
        let wanted: SecretRef = wanted.parse().unwrap();
        // Written a second time, in the other order: what must all be true of one grant.
        let allows = |grant: &Grant| {
            let taken = match &grant.scope {
                Scope::Refs(patterns) => patterns.iter().any(|pattern| pattern.takes(&wanted)),
                Scope::InUse(_) => false,
            };
            let his = match &grant.to {
                Holder::Uid(granted) => *granted == uid,
                Holder::User(_) => false,
                Holder::Unit(granted) => unit == Some(granted.as_str()),
                Holder::Capability(granted) => Some(*granted) == digest,
            };
            let live = grant.until.is_none_or(|until| NOW < until);
            taken && his && live && grant.verbs.contains(&verb) && (verb != Verb::Admin || fresh)
        };
        let mut allowing = policy.grants.iter().filter(|grant| allows(grant)).peekable();
        let any = allowing.peek().is_some();
        let allowed = allowing.any(|grant| !grant.confirm);
        let decision = decide(&policy, &caller, Act::On(verb, &wanted));
        prop_assert_eq!(matches!(decision, Decision::Allowed(_)), allowed);
        prop_assert_eq!(matches!(decision, Decision::Asks(_)), any && !allowed);
        // Whoever no grant is for gets nothing, and is told nothing but that.
        if !policy.knows(&caller) {
            for act in [Act::On(verb, &wanted), Act::OnAll(verb), Act::OnSome(verb), Act::Greet] {
                let refused = Decision::Refused(Refusal::NotGranted);
                prop_assert_eq!(decide(&policy, &caller, act), refused);
            }
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in ".{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text, &Defaults::default()) {
            let again = Pattern::parse(&pattern.to_string(), &Defaults::default());
            prop_assert_eq!(again, Ok(pattern));
        }
    }
}
