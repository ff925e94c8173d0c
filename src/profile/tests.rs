use super::eligibility::{MAX_KEY, check_key, credential, eligibility};
use super::entry::IgnoredReason;
use super::setup_token::{MAX_LEN, MIN_LEN, SetupTokenError};
use super::store::MAX_PROFILES;
use super::*;
use crate::error::{Code, Failure};
use crate::reference::{Defaults, RefError, SecretRef};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use proptest::prelude::*;
use serde_json::{Value, json};

const DESIGN: &str = include_str!("../../tests/profiles/design.json");
const ERA_A: &str = include_str!("../../tests/profiles/era-a.json");
const ERA_B: &str = include_str!("../../tests/profiles/era-b.json");
const ODD: &str = include_str!("../../tests/profiles/odd.json");
const FLAT: &str = include_str!("../../tests/profiles/flat.json");
const STATE: &str = include_str!("../../tests/profiles/state.json");

const NOW: UnixMs = UnixMs(1_750_000_000_000);

fn store(text: &str) -> Store {
    Store::parse(text, "auth-profiles.json", &Defaults::default()).unwrap()
}

fn id(text: &str) -> ProfileId {
    text.parse().unwrap()
}

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

fn found(text: &str, older: bool) -> Credential {
    Credential::Ref {
        reference: reference(text),
        older,
    }
}

fn get<'a>(store: &'a Store, text: &str) -> &'a Profile {
    store.get(&id(text)).unwrap()
}

#[test]
fn the_designs_own_form() {
    let store = store(DESIGN);
    let key = found("vault:openai/default", false);
    assert_eq!(
        get(&store, "openai:default").kind,
        ProfileKind::ApiKey { key }
    );
    let token = found("vault:anthropic/manual", false);
    let expires = Expiry::At(UnixMs(1_795_000_000_000));
    assert_eq!(
        get(&store, "anthropic:manual").kind,
        ProfileKind::Token { token, expires }
    );
    let oauth = get(&store, "openai-codex:me@example.com");
    assert_eq!(oauth.email.as_deref(), Some("me@example.com"));
    let ProfileKind::OAuth {
        account_id,
        inline: false,
        ..
    } = &oauth.kind
    else {
        panic!()
    };
    assert_eq!(account_id.as_deref(), Some("acct-1"));
    assert!(store.plaintext().is_empty() && store.ignored().is_empty());
    assert_eq!(store.refs().count(), 3);
    assert!(!store.has_older_spellings());
}

#[test]
fn era_b() {
    let store = store(ERA_B);
    let profile = get(&store, "anthropic:default");
    assert_eq!(
        profile.kind.credential(),
        &found("exec@vault:profiles/anthropic/key", false)
    );
    assert_eq!(profile.display_name.as_deref(), Some("Me"));
    assert_eq!(profile.copy_to_agents, Some(true));
    assert_eq!(get(&store, "anthropic:work").provider, "anthropic");
    let oauth = get(&store, "openai-codex:me@x");
    assert_eq!(oauth.plaintext, ["access", "refresh", "idToken"]);
    assert!(matches!(
        oauth.kind,
        ProfileKind::OAuth { inline: true, .. }
    ));
    assert_eq!(store.plaintext().len(), 3);
    assert_eq!(store.plaintext_value(&oauth.id), None);
}

#[test]
fn era_a_with_every_spelling() {
    let store = store(ERA_A);
    let credential = |name| get(&store, name).kind.credential().clone();
    assert_eq!(
        credential("openai:default"),
        found("env:OPENAI_API_KEY", true)
    );
    assert_eq!(credential("openai:plain"), Credential::Plaintext);
    assert_eq!(credential("openai:shorthand"), found("env:OTHER_KEY", true));
    assert_eq!(credential("groq:default"), found("env:GROQ_API_KEY", true));
    assert_eq!(credential("xai:default"), found("file@mounted:/xai", true));
    assert_eq!(
        credential("anthropic:manual"),
        found("env:CLAUDE_TOKEN", true)
    );
    assert_eq!(credential("anthropic:old"), Credential::Plaintext);
    assert!(store.has_older_spellings());
    let fields: Vec<_> = store
        .plaintext()
        .into_iter()
        .map(|p| (p.profile.to_string(), p.field))
        .collect();
    let expected = [("openai:plain", "key"), ("anthropic:old", "token")];
    assert_eq!(fields, expected.map(|(id, field)| (id.to_owned(), field)));
    let value = store.plaintext_value(&id("openai:plain"));
    assert_eq!(value, Some(SecretValue::copy_of(b"canary-key-4f1c9a77e2")));

    let mut defaults = Defaults::default();
    defaults.set(crate::reference::Source::Env, "shell".parse().unwrap());
    let store = Store::parse(ERA_A, "f", &defaults).unwrap();
    let first = get(&store, "openai:default").kind.credential();
    assert_eq!(first, &found("env@shell:OPENAI_API_KEY", true));
}

#[test]
fn what_is_odd_is_reported_and_kept() {
    let store = store(ODD);
    let credential = |name| get(&store, name).kind.credential().clone();
    let unknown = Credential::Invalid(RefError::UnknownKey("note".to_owned()));
    assert_eq!(credential("a:four-keys"), unknown);
    let bad_id = Credential::Invalid(RefError::Id(crate::reference::Source::Exec));
    assert_eq!(credential("a:bad-id"), bad_id);
    assert_eq!(credential("a:era-d"), Credential::Invalid(RefError::Source));
    assert_eq!(credential("a:both"), found("env:A", false));
    assert_eq!(credential("a:blank"), Credential::Missing);
    assert!(matches!(credential("a:dropped"), Credential::Invalid(_)));
    assert_eq!(credential("a:managed"), Credential::Missing);
    let expires = |name| get(&store, name).kind.expires();
    assert_eq!(expires("a:float"), Expiry::At(UnixMs(4_102_444_800_000)));
    for name in ["a:never", "a:null", "a:far", "a:text"] {
        assert_eq!(expires(name), Expiry::Invalid, "{name}");
    }
    let ignored: Vec<_> = store
        .ignored()
        .iter()
        .map(|i| (i.id.as_str(), i.reason))
        .collect();
    assert_eq!(
        ignored,
        [
            ("a:passkey", IgnoredReason::InvalidType),
            ("a:none", IgnoredReason::MissingProvider),
            ("a:list", IgnoredReason::NonObject),
            ("plain-id", IgnoredReason::InvalidId),
        ]
    );
    let shadowed: Vec<_> = store
        .plaintext()
        .into_iter()
        .filter(|p| p.shadowed)
        .collect();
    assert_eq!(shadowed.len(), 1);
    assert_eq!(shadowed[0].profile, id("a:both"));
}

#[test]
fn an_edit_leaves_every_other_byte() {
    let mut store = store(ODD);
    store
        .set_ref(&id("a:blank"), &reference("vault:new"), None)
        .unwrap();
    let before: Vec<_> = ODD.lines().collect();
    let after = store.text().to_owned();
    for line in before.iter().filter(|line| !line.contains("a:blank")) {
        assert!(after.contains(line), "{line} lost in {after}");
    }
    assert!(after.contains("\"metadata\": {\"n\": 1}"), "{after}");
    assert_eq!(
        get(&store, "a:blank").kind.credential(),
        &found("vault:new", false)
    );
    assert!(store.remove(&id("a:blank")).unwrap());
    assert!(!store.remove(&id("a:blank")).unwrap());
    let expected: Vec<_> = before
        .into_iter()
        .filter(|line| !line.contains("a:blank"))
        .collect();
    assert_eq!(store.text().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn profiles_are_written_in_the_designs_form() {
    let mut store = Store::empty("auth-profiles.json").unwrap();
    let new = |credential| NewProfile {
        provider: "openai".to_owned(),
        credential,
        email: None,
    };
    let key = new(NewCredential::ApiKey(reference("vault:openai/default")));
    store.put(&id("openai:default"), &key).unwrap();
    let token = NewCredential::Token {
        reference: reference("vault:openai/t"),
        expires: Some(UnixMs(1_795_000_000_000)),
    };
    store.put(&id("openai:t"), &new(token.clone())).unwrap();
    let expected = json!({"version": 1, "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "keyRef":
            {"source": "vault", "provider": "default", "id": "openai/default"}},
        "openai:t": {"type": "token", "provider": "openai", "tokenRef":
            {"source": "vault", "provider": "default", "id": "openai/t"},
            "expires": 1_795_000_000_000_u64},
    }});
    assert_eq!(
        serde_json::from_str::<Value>(store.text()).unwrap(),
        expected
    );
    assert!(store.text().ends_with("}\n"));

    // An existing profile changes its type; what is no credential stays.
    let mut store = Store::parse(ERA_B, "f", &Defaults::default()).unwrap();
    store.put(&id("anthropic:default"), &new(token)).unwrap();
    let profile = get(&store, "anthropic:default");
    assert_eq!(profile.kind.credential(), &found("vault:openai/t", false));
    assert_eq!(profile.display_name.as_deref(), Some("Me"));
    assert!(!store.text().contains("profiles/anthropic/key"));
    assert!(store.text().contains("\"metadata\": { \"k\": \"string\" }"));
}

#[test]
fn nothing_is_replaced_that_would_be_lost() {
    let mut store = store(ERA_B);
    let before = store.text().to_owned();
    let target = reference("vault:x");
    let key = NewCredential::ApiKey(target.clone());
    let new = NewProfile {
        provider: "x".to_owned(),
        credential: key,
        email: None,
    };
    let oauth = id("openai-codex:me@x");
    let refused = Err(ProfileError::OtherType(oauth.clone()));
    assert_eq!(store.put(&oauth, &new), refused);
    let plain = Err(ProfileError::Plaintext(oauth.clone()));
    assert_eq!(store.set_ref(&oauth, &target, None), plain);
    assert_eq!(store.text(), before);

    let mut store = Store::parse(ODD, "f", &Defaults::default()).unwrap();
    assert!(store.put(&id("a:passkey"), &new).is_err());
    assert!(store.set_ref(&id("a:list"), &target, None).is_err());
    let both = id("a:both");
    let other = SecretValue::copy_of(b"another value, written meanwhile");
    for moved in [None, Some(&other)] {
        assert_eq!(
            store.set_ref(&both, &target, moved),
            Err(ProfileError::Plaintext(both.clone()))
        );
    }
    assert_eq!(store.text(), ODD);
    let moved = store.plaintext_value(&both);
    store.set_ref(&both, &target, moved.as_ref()).unwrap();
    assert!(!store.text().contains("canary-shadowed"));
}

#[test]
fn a_broken_file_is_an_error_that_names_the_place() {
    let half = &ERA_B[..ERA_B.len() / 2];
    let error = Store::parse(half, "auth-profiles.json", &Defaults::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("auth-profiles.json: line ") && text.contains("(byte "),
        "{text}"
    );
    assert_eq!(Failure::from(error).code, Code::ProfilesInvalid);
    for (text, problem) in [
        (
            FLAT,
            "there is no profiles object (the flat form is too old)",
        ),
        ("[]", "is not an object"),
        ("{\"profiles\": []}", "profiles is not an object"),
    ] {
        let error = Store::parse(text, "f", &Defaults::default()).unwrap_err();
        assert_eq!(
            error,
            ProfileError::Shape {
                file: "f".to_owned(),
                problem
            }
        );
        assert_eq!(Failure::from(error).code, Code::ProfilesInvalid);
    }
    for text in ["{}", "{\"version\": 1, \"order\": {}}"] {
        assert!(store(text).profiles().is_empty());
    }
}

proptest! {
    #[test]
    fn a_half_written_file_is_never_an_empty_store(cut in 0..ERA_B.trim_end().len()) {
        prop_assume!(ERA_B.is_char_boundary(cut));
        prop_assert!(Store::parse(&ERA_B[..cut], "f", &Defaults::default()).is_err());
    }
}

#[test]
fn a_store_has_a_limit() {
    let text = |count: usize| {
        let entries: serde_json::Map<_, _> =
            (0..count).map(|i| (format!("p:{i}"), json!({}))).collect();
        json!({"profiles": entries}).to_string()
    };
    assert_eq!(store(&text(MAX_PROFILES)).ignored().len(), MAX_PROFILES);
    assert!(Store::parse(&text(MAX_PROFILES + 1), "f", &Defaults::default()).is_err());
}

#[test]
fn no_value_is_shown() {
    for text in [DESIGN, ERA_A, ERA_B, ODD] {
        let store = store(text);
        let shown = format!("{store:?} {:?} {:?}", store.plaintext(), store.profiles());
        assert!(!shown.contains("canary"), "{shown}");
    }
    let error = Store::parse(FLAT, "f", &Defaults::default()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn state_is_read_and_merged() {
    let store = store(ERA_A);
    let state = State::parse(STATE, "auth-state.json", &store).unwrap();
    let order = |provider| {
        state
            .order(provider)
            .map(|ids| ids.iter().map(|id| id.as_str()).collect())
    };
    assert_eq!(
        order("anthropic"),
        Some(vec!["anthropic:work", "anthropic:default"])
    );
    assert_eq!(
        order("OpenAI"),
        Some(vec!["openai:shorthand", "openai:default"])
    );
    assert_eq!(order("groq"), None);
    assert_eq!(state.last_good("anthropic"), Some(&id("anthropic:work")));
    assert_eq!(state.last_good("openai"), Some(&id("openai:default")));
    let usage = state.usage(&id("openai:default")).unwrap();
    assert_eq!(
        (usage.error_count, usage.last_used),
        (2, Some(UnixMs(1_700_000_000_000)))
    );
    assert_eq!(
        usage.failure_counts.iter().collect::<Vec<_>>(),
        [(&"rate_limit".to_owned(), &2)]
    );
    assert!(State::parse("{", "s", &store).is_err());
    assert!(State::parse("[]", "s", &store).is_err());
    assert!(State::parse("{\"order\": 1, \"usageStats\": {\"a:b\": 1}}", "s", &store).is_ok());
}

#[test]
fn windows_of_unusability() {
    let state = State::parse(STATE, "s", &store(ERA_B)).unwrap();
    let usage = state.usage(&id("anthropic:work")).unwrap();
    let until = |model, now| {
        usage
            .unusable_until("anthropic", model, UnixMs(now))
            .map(|t| t.0)
    };
    assert_eq!(until(None, 10), Some(100));
    assert_eq!(until(Some("m"), 10), Some(100));
    assert_eq!(until(Some("other"), 10), Some(50));
    assert_eq!(until(Some("other"), 50), None);
    assert_eq!(until(None, 99), Some(100));
    assert_eq!(until(None, 100), None);
    assert_eq!(usage.unusable_until("openrouter", None, UnixMs(10)), None);
    let wide = Usage {
        cooldown_reason: Some("billing".to_owned()),
        ..usage.clone()
    };
    assert_eq!(
        wide.unusable_until("anthropic", Some("other"), UnixMs(10)),
        Some(UnixMs(100))
    );
}

#[test]
fn state_is_edited_in_place() {
    let era_a = store(ERA_A);
    let mut state = State::parse(STATE, "s", &era_a).unwrap();
    state.set_order("ANTHROPIC", &[id("anthropic:x")]).unwrap();
    assert_eq!(
        state.order("anthropic"),
        Some([id("anthropic:x")].as_slice())
    );
    assert!(state.text().contains("\"Anthropic\"") && state.text().contains("\"future\": 1"));
    // Clearing hides the order of era A's table too.
    state.set_order("openai", &[]).unwrap();
    assert_eq!(state.order("openai"), None);
    state.set_order("anthropic", &[]).unwrap();
    assert!(!state.text().contains("\"Anthropic\""));
    state
        .record_success("Anthropic", &id("anthropic:work"), NOW)
        .unwrap();
    let usage = state.usage(&id("anthropic:work")).unwrap();
    let expected = Usage {
        last_used: Some(NOW),
        ..Usage::default()
    };
    assert_eq!(usage, &expected);
    assert!(state.text().contains("\"later\": [1]"));
    let many: Vec<_> = (0..=state::MAX_ORDER)
        .map(|i| id(&format!("a:{i}")))
        .collect();
    assert!(state.set_order("a", &many).is_err());
    state.set_order("a", &many[1..]).unwrap();

    let mut fresh = State::empty("s", &store(DESIGN)).unwrap();
    assert!(fresh.is_empty());
    fresh.set_order("openai", &[id("openai:default")]).unwrap();
    let expected = json!({"version": 1, "order": {"openai": ["openai:default"]}});
    assert_eq!(
        serde_json::from_str::<Value>(fresh.text()).unwrap(),
        expected
    );
    assert!(!fresh.is_empty());
    fresh.set_order("openai", &[]).unwrap();
    assert!(fresh.is_empty());
}

#[test]
fn each_reason() {
    let odd = store(ODD);
    let era_a = store(ERA_A);
    let routing = |entries: &[(&str, &str, Option<Mode>)]| Routing {
        profiles: entries
            .iter()
            .map(|(name, provider, mode)| {
                let provider = (*provider).to_owned();
                (
                    id(name),
                    Configured {
                        provider,
                        mode: *mode,
                        email: None,
                    },
                )
            })
            .collect(),
        ..Routing::default()
    };
    let plain = Routing::default();
    let check = |store: &Store, name: &str, provider: &str, routing: &Routing| {
        eligibility(&id(name), provider, store, routing, NOW).map(|profile| profile.id.clone())
    };
    assert_eq!(check(&odd, "a:both", " A ", &plain), Ok(id("a:both")));
    for (name, provider, reason) in [
        ("a:nobody", "a", Reason::ProfileMissing),
        ("a:passkey", "a", Reason::ProfileMissing),
        ("a:both", "b", Reason::ProviderMismatch),
        ("a:blank", "a", Reason::MissingCredential),
        ("a:managed", "a", Reason::MissingCredential),
        ("a:four-keys", "a", Reason::UnresolvedRef),
        ("a:bad-id", "a", Reason::UnresolvedRef),
        ("a:never", "a", Reason::InvalidExpires),
        ("a:far", "a", Reason::InvalidExpires),
        ("a:only-access", "a", Reason::Plaintext),
        ("a:empty-oauth", "a", Reason::MissingCredential),
    ] {
        assert_eq!(check(&odd, name, provider, &plain), Err(reason), "{name}");
    }
    assert_eq!(
        check(&era_a, "openai:plain", "openai", &plain),
        Err(Reason::Plaintext)
    );
    assert_eq!(
        check(&era_a, "anthropic:old", "anthropic", &plain),
        Err(Reason::Expired)
    );
    assert!(check(&era_a, "anthropic:manual", "anthropic", &plain).is_ok());

    let name = "anthropic:manual";
    for (configured, expected) in [
        (("anthropic", None), Ok(id(name))),
        (("anthropic", Some(Mode::Token)), Ok(id(name))),
        (("anthropic", Some(Mode::OAuth)), Ok(id(name))),
        (("anthropic", Some(Mode::ApiKey)), Err(Reason::ModeMismatch)),
        (("anthropic", Some(Mode::AwsSdk)), Err(Reason::ModeMismatch)),
        (("other", Some(Mode::Token)), Err(Reason::ProviderMismatch)),
    ] {
        let routing = routing(&[(name, configured.0, configured.1)]);
        assert_eq!(check(&era_a, name, "anthropic", &routing), expected);
    }
    let at = |now| credential(&get(&era_a, "anthropic:old").kind, UnixMs(now));
    assert_eq!(at(1000), Err(Reason::Expired));
    assert_eq!(at(999), Err(Reason::Plaintext));
    let oauth = store(DESIGN);
    let kind = &get(&oauth, "openai-codex:me@example.com").kind;
    assert_eq!(credential(kind, NOW), Ok(()));
}

#[test]
fn keys_that_can_be_one() {
    assert_eq!(check_key(b"sk-abc"), Ok(()));
    assert_eq!(check_key(b""), Err(Reason::MissingCredential));
    for bad in [&b"a b"[..], b"a\n", b"\xc3\xa4", b"a\0b"] {
        assert_eq!(check_key(bad), Err(Reason::MalformedApiKey));
    }
    assert_eq!(check_key(&vec![b'x'; MAX_KEY]), Ok(()));
    assert_eq!(
        check_key(&vec![b'x'; MAX_KEY + 1]),
        Err(Reason::MalformedApiKey)
    );
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[{}\\[\\]:,\"a-c0-9]{0,60}") {
        if let Ok(store) = Store::parse(&text, "f", &Defaults::default()) {
            prop_assert_eq!(store.text(), text.as_str());
        }
    }
}

#[test]
fn variables_of_providers() {
    let key = |provider| env_names(provider, ProfileType::ApiKey);
    assert_eq!(key("openai"), ["OPENAI_API_KEY"]);
    assert_eq!(key(" OpenAI"), ["OPENAI_API_KEY"]);
    assert_eq!(key("anthropic"), ["ANTHROPIC_API_KEY"]);
    let token = env_names("anthropic", ProfileType::Token);
    assert_eq!(token, ["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_OAUTH_TOKEN"]);
    assert_eq!(key("google"), ["GEMINI_API_KEY", "GOOGLE_API_KEY"]);
    assert_eq!(
        env_names("github", ProfileType::Token),
        ["GITHUB_TOKEN", "GH_TOKEN"]
    );
    for provider in [
        "groq",
        "openrouter",
        "mistral",
        "xai",
        "deepseek",
        "together",
    ] {
        assert_eq!(
            key(provider),
            [format!("{}_API_KEY", provider.to_uppercase())]
        );
    }
    assert_eq!(key("my-corp.ai"), ["MY_CORP_AI_API_KEY"]);
    assert!(key("1min").is_empty() && key("ü").is_empty());
}

#[test]
fn setup_tokens() {
    let token = |len: usize| {
        format!(
            "{}{}",
            setup_token::PREFIX,
            "a".repeat(len - setup_token::PREFIX.len())
        )
    };
    let good = format!("  {}\n", token(MIN_LEN));
    assert_eq!(setup_token::check(good.as_bytes()), Ok(2..2 + MIN_LEN));
    assert_eq!(
        setup_token::check(token(MAX_LEN).as_bytes()),
        Ok(0..MAX_LEN)
    );
    let fail = |text: String| setup_token::check(text.as_bytes()).unwrap_err();
    assert_eq!(fail(" \n".to_owned()), SetupTokenError::Empty);
    assert_eq!(fail("sk-ant-api03-".repeat(9)), SetupTokenError::Prefix);
    assert_eq!(fail(token(MIN_LEN - 1)), SetupTokenError::Short);
    assert_eq!(fail(token(MAX_LEN + 1)), SetupTokenError::Characters);
    assert_eq!(
        fail(format!("{} x", token(MIN_LEN))),
        SetupTokenError::Characters
    );
    assert_eq!(
        SetupTokenError::Prefix.to_string(),
        "expected a token that starts with sk-ant-oat01-"
    );

    let name = |name| {
        setup_token::profile_id("Anthropic", name, "manual")
            .unwrap()
            .to_string()
    };
    assert_eq!(name(None), "anthropic:manual");
    assert_eq!(name(Some("  ")), "anthropic:manual");
    assert_eq!(name(Some("Work Laptop!")), "anthropic:work-laptop");
    assert_eq!(name(Some("a--b.c_d")), "anthropic:a-b.c_d");
    assert_eq!(name(Some("§")), "anthropic:manual");
}
