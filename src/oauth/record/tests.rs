use super::*;
use crate::oauth::address::Class;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::json;

fn secret<T: From<SecretValue>>(text: &str) -> T {
    SecretValue::copy_of(text.as_bytes()).into()
}

fn jwt(payload: &Value) -> String {
    let payload = BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
    format!("e30.{payload}.c2ln")
}

fn grant(access: &str) -> Grant {
    Grant {
        access: secret(access),
        refresh: Some(secret("r1")),
        id_token: None,
        expires_in: Some(Duration::from_secs(60)),
        scope: Some("a b".to_owned()),
        token_type: "Bearer".to_owned(),
    }
}

fn client() -> ClientOf {
    ClientOf {
        provider: "acme".to_owned(),
        issuer: Some("https://acme.example".to_owned()),
        token_endpoint: "https://acme.example/token".parse().unwrap(),
        revocation_endpoint: Some("https://acme.example/revoke".parse().unwrap()),
        client_id: "id".to_owned(),
        auth: ClientAuth::Post(secret("canary-client")),
        format: TokenFormat::Json,
        revocation_format: TokenFormat::Form,
        resource: Some("https://api.example/".to_owned()),
        named_by: Some(NamedBy {
            url: "https://api.example/mcp?key=canary".parse().unwrap(),
            class: Class::LinkLocal,
        }),
        extra: vec![("a".to_owned(), "b".to_owned())],
        dialect: Dialect::AgentosLegacy,
        refresh_margin: Some(Duration::from_millis(1500)),
    }
}

fn account() -> Account {
    let access = jwt(&json!({"ns/x": {"acc": "42"}, "email": "Me@Example.com", "sub": "s"}));
    let mut grant = grant(&access);
    grant.id_token = Some(secret("canary-id"));
    Account::new(client(), grant, Some("ns/x/acc".to_owned()), UnixMs(1000))
}

#[test]
fn an_account_reads_back_whole() {
    let account = account();
    assert_eq!(account.expires_at, Some(UnixMs(61_000)));
    assert_eq!(account.identity.account_id.as_deref(), Some("42"));
    let value = account.to_secret();
    assert_eq!(Account::from_secret(&value), Ok(account.clone()));
    // What stands beside it names the server without the key that its address may hold.
    let info = account.info();
    assert_eq!(info.server.as_deref(), Some("https://api.example/mcp"));
    assert_eq!(info.issuer.as_deref(), Some("https://acme.example"));
    assert_eq!(AccountInfo::from_json(&info.to_json()), Some(info));
    let bare = Account {
        client: ClientOf {
            auth: ClientAuth::None,
            issuer: None,
            revocation_endpoint: None,
            resource: None,
            extra: Vec::new(),
            refresh_margin: None,
            ..client()
        },
        refresh: None,
        id_token: None,
        scope: None,
        expires_at: None,
        identity: Identity::default(),
        account_id_claim: None,
        owned: false,
        ..account
    };
    assert_eq!(Account::from_secret(&bare.to_secret()), Ok(bare));
}

#[test]
fn what_is_no_account() {
    let read = |text: &str| Account::from_secret(&secret(text)).unwrap_err();
    assert_eq!(read(""), RecordError::Corrupt("it is not a JSON object"));
    assert_eq!(read("{}"), RecordError::Corrupt("its details are missing"));
    let broken = read(r#"{"details":{"canary":"canary"},"accessToken":"canary"}"#);
    assert_eq!(broken, RecordError::Corrupt("its details are broken"));
    let newer = read(r#"{"details":{"version":2},"accessToken":"a"}"#);
    assert_eq!(newer, RecordError::Newer(2));
    let whole = account().to_secret();
    let mut whole: Value = serde_json::from_slice(whole.expose()).unwrap();
    whole["accessToken"] = json!(7);
    let odd = read(&whole.to_string());
    assert_eq!(odd, RecordError::Corrupt("a token is not a string"));
    whole.as_object_mut().unwrap().shift_remove("accessToken");
    let none = read(&whole.to_string());
    assert_eq!(none, RecordError::Corrupt("its access token is missing"));
    whole["accessToken"] = json!("a");
    whole.as_object_mut().unwrap().shift_remove("clientSecret");
    let none = read(&whole.to_string());
    assert_eq!(none, RecordError::Corrupt("its client secret is missing"));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", account());
    assert!(
        !shown.contains("canary") && !shown.contains("e30."),
        "{shown}"
    );
}

#[test]
fn a_refresh_keeps_what_the_answer_leaves_out() {
    let old = account();
    let bare = Grant {
        access: secret("opaque"),
        refresh: None,
        id_token: None,
        expires_in: None,
        scope: None,
        token_type: "Bearer".to_owned(),
    };
    let renewed = old.renewed(bare, UnixMs(9000));
    assert_eq!(renewed.access, secret("opaque"));
    assert_eq!(renewed.refresh, old.refresh);
    assert_eq!(renewed.id_token, old.id_token);
    assert_eq!(
        (&renewed.scope, &renewed.identity),
        (&old.scope, &old.identity)
    );
    assert_eq!(
        (renewed.obtained_at, renewed.expires_at),
        (UnixMs(9000), None)
    );
    let rotated = old.renewed(
        Grant {
            refresh: Some(secret("r2")),
            ..grant("a2")
        },
        UnixMs(9000),
    );
    assert_eq!(rotated.refresh, Some(secret("r2")));
    assert_eq!(rotated.expires_at, Some(UnixMs(69_000)));
}

#[test]
fn a_token_without_a_lifetime_ends_when_it_says() {
    let mut without = grant(&jwt(&json!({"exp": 50})));
    without.expires_in = None;
    let account = Account::new(client(), without, None, UnixMs(1000));
    assert_eq!(account.expires_at, Some(UnixMs(50_000)));
}

#[test]
fn an_imported_token_is_ours_once_it_rotated() {
    let imported = Account {
        owned: false,
        ..account()
    };
    let same = Grant {
        refresh: None,
        ..grant("a")
    };
    assert!(!imported.renewed(same, UnixMs(1)).owned);
    assert!(imported.renewed(grant("a"), UnixMs(1)).owned);
}

#[test]
fn identities_match_by_the_first_that_both_know() {
    let who = |id: &str, email: &str, subject: &str| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Identity {
            account_id: some(id),
            email: some(email),
            subject: some(subject),
        }
    };
    assert!(who("1", "a@b", "").matches(&who("1", "c@d", "x")));
    assert!(!who("1", "a@b", "s").matches(&who("2", "a@b", "s")));
    assert!(who("", "ME@ß.example", "s").matches(&who("1", "me@ß.example", "t")));
    assert!(who("1", "", "s").matches(&who("", "a@b", "s")));
    assert!(!who("1", "", "").matches(&who("", "a@b", "")));
    assert!(!who("1", "", "").matches(&Identity::default()));
    assert!(Identity::default().matches(&Identity::default()));
}

#[test]
fn the_same_subject_at_another_server_is_someone_else() {
    let (ours, mut theirs) = (account(), account());
    assert!(ours.identity_matches(&theirs));
    assert_eq!(ours.lock_key(), theirs.lock_key());
    theirs.client.issuer = Some("https://other.example".to_owned());
    assert!(!ours.identity_matches(&theirs));
    assert_ne!(ours.lock_key(), theirs.lock_key());
    theirs.identity = Identity::default();
    assert_eq!(theirs.lock_key(), None);
}

#[test]
fn what_stands_beside_the_value_reads_back() {
    let mut info = account().info();
    assert_eq!(AccountInfo::from_json(&info.to_json()), Some(info.clone()));
    let refused = PermanentReason::ALL.map(SignInReason::Refused);
    for reason in refused.into_iter().chain([SignInReason::Lost]) {
        let since = UnixMs(7);
        info.sign_in = Some(SignIn { reason, since });
        assert_eq!(AccountInfo::from_json(&info.to_json()), Some(info.clone()));
    }
    let mut newer = info.to_json();
    newer["signInReason"] = json!("of_tomorrow");
    newer["more"] = json!(1);
    let read = AccountInfo::from_json(&newer).unwrap().sign_in.unwrap();
    assert_eq!(
        read.reason,
        SignInReason::Refused(PermanentReason::InvalidGrant)
    );
    assert_eq!(AccountInfo::from_json(&json!({"provider": "x"})), None);
    assert_eq!(AccountInfo::from_json(&json!(7)), None);
}

fn identity() -> impl Strategy<Value = Identity> {
    let some = || proptest::option::of("[aAbB]");
    (some(), some(), some()).prop_map(|(account_id, email, subject)| Identity {
        account_id,
        email,
        subject,
    })
}

proptest! {
    #[test]
    fn matching_is_reflexive_symmetric_and_blind_to_the_case_of_addresses(
        ours in identity(), theirs in identity(),
    ) {
        prop_assert!(ours.matches(&ours));
        prop_assert_eq!(ours.matches(&theirs), theirs.matches(&ours));
        let mut shouted = theirs.clone();
        shouted.email = shouted.email.map(|email| email.to_uppercase());
        prop_assert_eq!(ours.matches(&theirs), ours.matches(&shouted));
        if ours.account_id.is_some() && theirs.account_id.is_some() {
            prop_assert_eq!(ours.matches(&theirs), ours.account_id == theirs.account_id);
        }
    }

    #[test]
    fn equal_locks_mean_matching_accounts(ours in identity(), theirs in identity()) {
        let at = |identity: &Identity| Account { identity: identity.clone(), ..account() };
        let (ours, theirs) = (at(&ours), at(&theirs));
        if ours.lock_key().is_some() && ours.lock_key() == theirs.lock_key() {
            prop_assert!(ours.identity_matches(&theirs));
        }
    }

    #[test]
    fn any_tokens_read_back(access in "[ -~]{1,40}", refresh in "[ -~]{1,40}") {
        let mut account = account();
        account.access = secret(&access);
        account.refresh = Some(secret(&refresh));
        prop_assert_eq!(Account::from_secret(&account.to_secret()), Ok(account));
    }
}
