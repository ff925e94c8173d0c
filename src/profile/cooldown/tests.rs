use super::*;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn of(reason: FailureReason) -> FailureReport<'static> {
    FailureReport {
        reason,
        model: None,
        retry_after: None,
        era: Era::B,
    }
}

fn fail(before: &Usage, report: &FailureReport<'_>, now: UnixMs) -> Usage {
    after_failure(before, "p", report, &Cooldowns::default(), now)
}

/// A series of which `n` failures were counted, and no window is left.
fn counted(reason: FailureReason, n: u64) -> Usage {
    Usage {
        error_count: n,
        failure_counts: [(reason.as_str().to_owned(), n)].into(),
        last_failure_at: Some(NOW),
        ..Usage::default()
    }
}

#[test]
fn the_family_s_numbers() {
    let waits = |report: FailureReport<'_>, window: fn(&Usage) -> Option<UnixMs>, minutes: bool| {
        let wait = |n| {
            let after = fail(&counted(report.reason, n), &report, NOW);
            NOW.until(window(&after).unwrap()).as_secs() / if minutes { 60 } else { 1 }
        };
        (0..6).map(wait).collect::<Vec<_>>()
    };
    let cooldown = |usage: &Usage| usage.cooldown_until;
    let disabled = |usage: &Usage| usage.disabled_until;
    let timeout = of(FailureReason::Timeout);
    assert_eq!(
        waits(timeout, cooldown, false),
        [30, 60, 300, 300, 300, 300]
    );
    let era_a = FailureReport {
        era: Era::A,
        ..timeout
    };
    assert_eq!(waits(era_a, cooldown, true), [1, 5, 25, 60, 60, 60]);
    let billing = waits(of(FailureReason::Billing), disabled, true);
    assert_eq!(billing, [300, 600, 1200, 1440, 1440, 1440]);
    let permanent = waits(of(FailureReason::AuthPermanent), disabled, true);
    assert_eq!(permanent, [10, 20, 40, 60, 60, 60]);
}

#[test]
fn the_config_changes_the_disabled_windows() {
    let rules = Cooldowns {
        billing: Duration::from_secs(1),
        billing_by_provider: [("q".to_owned(), hours(2))].into(),
        billing_max: hours(3),
        ..Cooldowns::default()
    };
    let wait = |provider, n| disabled_for(FailureReason::Billing, provider, n, &rules).unwrap();
    // A base is at least a minute, and doubles at most ten times.
    assert_eq!(wait("p", 1), Duration::from_secs(60));
    assert_eq!(wait("p", u64::MAX), hours(3));
    assert_eq!(wait("q", 1), hours(2));
    assert_eq!(wait("q", 2), hours(3));
    // A maximum below the base is the base.
    let low = Cooldowns {
        billing_max: hours(1),
        ..rules.clone()
    };
    assert_eq!(
        disabled_for(FailureReason::Billing, "q", 9, &low),
        Some(hours(2))
    );
    let endless = Cooldowns {
        billing_max: MAX_WINDOW,
        ..rules
    };
    let wait = disabled_for(FailureReason::Billing, "p", u64::MAX, &endless);
    assert_eq!(wait, Some(Duration::from_secs(60 << 10)));
}

#[test]
fn a_rate_limit_holds_for_its_model_until_another_fails() {
    let report = |reason, model| FailureReport {
        model,
        ..of(reason)
    };
    let one = fail(
        &Usage::default(),
        &report(FailureReason::RateLimit, Some("m")),
        NOW,
    );
    let later = UnixMs(NOW.0 + 1);
    let end = Some(UnixMs(NOW.0 + 30_000));
    assert_eq!(one.unusable_until("p", Some("m"), later), end);
    assert_eq!(one.unusable_until("p", Some("other"), later), None);
    assert_eq!(one.unusable_until("p", None, later), end);
    for wider in [
        report(FailureReason::RateLimit, Some("other")),
        report(FailureReason::Timeout, None),
        report(FailureReason::Auth, Some("m")),
    ] {
        let both = fail(&one, &wider, later);
        assert_eq!(both.unusable_until("p", Some("third"), later), end);
        // Nothing makes it narrower again.
        let again = fail(&both, &report(FailureReason::RateLimit, Some("m")), later);
        assert_eq!(again.unusable_until("p", Some("third"), later), end);
    }
    let same = fail(
        &one,
        &report(FailureReason::RateLimit, Some("m")),
        UnixMs(NOW.0 + 1),
    );
    assert_eq!(same.unusable_until("p", Some("other"), later), None);
    // A disabled window holds for every model.
    let billing = fail(&one, &report(FailureReason::Billing, Some("m")), later);
    let five_hours = Some(UnixMs(later.0 + 5 * HOUR));
    assert_eq!(
        billing.unusable_until("p", Some("other"), later),
        five_hours
    );
}

#[test]
fn retry_after_counts_when_it_is_longer() {
    let after = |asked| {
        let report = FailureReport {
            retry_after: Some(asked),
            ..of(FailureReason::RateLimit)
        };
        let usage = fail(&Usage::default(), &report, NOW);
        NOW.until(usage.cooldown_until.unwrap())
    };
    assert_eq!(after(Duration::from_secs(29)), Duration::from_secs(30));
    assert_eq!(after(hours(2)), hours(2));
    assert_eq!(
        after(MAX_RETRY_AFTER + Duration::from_secs(1)),
        MAX_RETRY_AFTER
    );
}

#[test]
fn counters_start_again() {
    let report = of(FailureReason::Auth);
    let day = 24 * HOUR;
    let before = counted(FailureReason::Auth, 7);
    assert_eq!(fail(&before, &report, UnixMs(NOW.0 + day)).error_count, 8);
    let after = fail(&before, &report, UnixMs(NOW.0 + day + 1));
    assert_eq!((after.error_count, after.failure_counts["auth"]), (1, 1));
    // An expired window closes the circuit; one that is still open keeps the counters.
    let open = fail(&before, &report, NOW);
    assert_eq!(open.error_count, 8);
    let end = open.cooldown_until.unwrap();
    assert_eq!(fail(&open, &report, UnixMs(end.0 - 1)).error_count, 9);
    assert_eq!(fail(&open, &report, end).error_count, 1);
    let disabled = fail(&open, &of(FailureReason::Billing), NOW);
    let after = fail(&disabled, &report, end);
    assert_eq!(after.error_count, 10, "the disabled window is still open");
    assert_eq!(
        after.cooldown_until,
        Some(UnixMs(end.0 + 5 * MINUTE)),
        "a window that has passed makes room for a new one"
    );
    assert_eq!(after.disabled_until, disabled.disabled_until);
    // A clock that went back proves nothing.
    assert_eq!(
        fail(&before, &report, UnixMs(NOW.0 - 9 * day)).error_count,
        8
    );
}

#[test]
fn a_window_that_has_passed_takes_its_reason_along() {
    let blocked = Usage {
        last_used: Some(NOW),
        blocked_until: Some(NOW),
        blocked_reason: Some("subscription_limit".to_owned()),
        blocked_source: Some("wham".to_owned()),
        blocked_model: Some("m".to_owned()),
        ..counted(FailureReason::RateLimit, 2)
    };
    let expected = Usage {
        last_used: Some(NOW),
        last_failure_at: Some(NOW),
        ..Usage::default()
    };
    assert_eq!(settled(&blocked, NOW), expected);
    assert_eq!(settled(&blocked, UnixMs(NOW.0 - 1)), blocked);
    let silent = counted(FailureReason::RateLimit, 2);
    assert_eq!(settled(&silent, NOW), silent);
}

#[test]
fn some_providers_never_cool_down() {
    for provider in ["openrouter", "kilocode"] {
        let report = of(FailureReason::Billing);
        let rules = Cooldowns::default();
        let after = after_failure(&Usage::default(), provider, &report, &rules, NOW);
        assert_eq!(after, Usage::default());
    }
}

fn any_reason() -> impl Strategy<Value = FailureReason> {
    prop::sample::select(FailureReason::ALL.to_vec())
}

fn any_failure() -> impl Strategy<Value = (FailureReason, Option<&'static str>, u64, u64, Era)> {
    (
        any_reason(),
        prop::option::of(prop::sample::select(vec!["m", "n"])),
        prop_oneof![Just(0), 0..3 * 24 * 3600_u64],
        // How long after the one before, in milliseconds.
        prop_oneof![0..60_000_u64, 0..2 * 24 * HOUR],
        prop_oneof![Just(Era::A), Just(Era::B)],
    )
}

proptest! {
    #[test]
    fn no_failure_moves_the_end_of_an_open_window(
        failures in prop::collection::vec(any_failure(), 1..20),
    ) {
        let (mut usage, mut now) = (Usage::default(), NOW);
        for (reason, model, retry_after, pause, era) in failures {
            now = UnixMs(now.0 + pause);
            let report = FailureReport {
                reason,
                model,
                retry_after: Some(Duration::from_secs(retry_after)),
                era,
            };
            let after = fail(&usage, &report, now);
            let windows = [
                (usage.cooldown_until, after.cooldown_until),
                (usage.disabled_until, after.disabled_until),
            ];
            for (before, after) in windows {
                if before.is_some_and(|until| until > now) {
                    prop_assert_eq!(before, after);
                } else if let Some(until) = after {
                    prop_assert!(until > now && now.until(until) <= hours(24));
                }
            }
            // It is unusable now, for the model that failed too.
            prop_assert!(after.unusable_until("p", model, now).is_some());
            prop_assert!(after.error_count >= 1 && after.last_failure_at == Some(now));
            prop_assert!(after.failure_counts[reason.as_str()] <= after.error_count);
            usage = after;
        }
        // And once everything has passed, nothing is left but when it failed last.
        let end = UnixMs(now.0 + 24 * HOUR);
        let last_failure_at = Some(now);
        prop_assert_eq!(settled(&usage, end), Usage { last_failure_at, ..Usage::default() });
    }

    #[test]
    fn later_failures_of_a_series_wait_no_less(
        n in 0..u64::MAX,
        era in prop_oneof![Just(Era::A), Just(Era::B)],
        minutes in 0..100_000_u64,
        max in 0..100_000_u64,
    ) {
        prop_assert!(cooldown_for(era, n) <= cooldown_for(era, n + 1));
        let rules = Cooldowns {
            billing: Duration::from_secs(minutes * 60),
            billing_max: Duration::from_secs(max * 60),
            ..Cooldowns::default()
        };
        for reason in [FailureReason::Billing, FailureReason::AuthPermanent] {
            let wait = |n| disabled_for(reason, "p", n, &rules);
            prop_assert!(wait(n) <= wait(n + 1));
        }
    }
}

#[test]
fn no_window_is_longer_than_a_year() {
    assert_eq!(MAX_WINDOW.as_secs(), 31_536_000);
}
