use super::*;
use crate::oauth::tokens::MAX_TOKEN;
use proptest::prelude::*;

const WRITTEN: UnixMs = UnixMs(1_700_000_000_000);

fn secret<T: From<SecretValue>>(text: &str) -> T {
    SecretValue::copy_of(text.as_bytes()).into()
}

fn tokens() -> TokenSet {
    TokenSet {
        access: secret("access"),
        refresh: Some(secret("refresh")),
        id_token: Some(secret("a.b.c")),
        obtained_at: UnixMs(1_700_000_000_001),
        expires_at: Some(UnixMs(1_700_003_600_001)),
        metadata: BTreeMap::from([("userId".to_owned(), "7 \"ä\"".to_owned())]),
    }
}

fn read(text: &str) -> Result<Entry, Unusable> {
    parse(text.as_bytes(), WRITTEN)
}

#[test]
fn a_file_as_agentos_writes_it() {
    let file = "{\n  \"accessToken\": \"at\",\n  \"refreshToken\": \"rt\",\n  \
                \"expiresAt\": 1700003600000,\n  \"metadata\": {\n    \"user\": \"u\"\n  }\n}";
    let entry = read(file).unwrap();
    let expected = TokenSet {
        access: secret("at"),
        refresh: Some(secret("rt")),
        id_token: None,
        obtained_at: WRITTEN,
        expires_at: Some(UnixMs(1_700_003_600_000)),
        metadata: BTreeMap::from([("user".to_owned(), "u".to_owned())]),
    };
    assert_eq!((entry.tokens, entry.provider_id), (expected, None));
}

#[test]
fn what_is_written_reads_back_and_is_what_agentos_expects() {
    let document = write("open.ai", &tokens()).unwrap();
    let entry = parse(document.expose(), WRITTEN).unwrap();
    assert_eq!(entry.tokens, tokens());
    assert_eq!(entry.provider_id.as_deref(), Some("open.ai"));
    let value: serde_json::Value = serde_json::from_slice(document.expose()).unwrap();
    assert_eq!(value["accessToken"], "access");
    assert_eq!(value["expiresAt"], 1_700_003_600_001_u64);
    assert_eq!(value["metadata"]["userId"], "7 \"ä\"");
    let endless = TokenSet {
        expires_at: None,
        ..tokens()
    };
    let document = write("x", &endless).unwrap();
    let value: serde_json::Value = serde_json::from_slice(document.expose()).unwrap();
    assert!(
        value["expiresAt"].is_number(),
        "AgentOS drops a file without a number"
    );
    assert_eq!(parse(document.expose(), WRITTEN).unwrap().tokens, endless);
}

#[test]
fn what_is_odd_beside_the_token_does_not_lose_it() {
    let odd = r#"{"accessToken":"a","expiresAt":1.5e12,"refreshToken":7,"idToken":null,
                  "metadata":["x"],"obtainedAt":"x","providerId":3,"__proto__":{}}"#;
    let entry = read(odd).unwrap();
    let expected = TokenSet {
        access: secret("a"),
        refresh: None,
        id_token: None,
        obtained_at: WRITTEN,
        expires_at: Some(UnixMs(1_500_000_000_000)),
        metadata: BTreeMap::new(),
    };
    assert_eq!((entry.tokens, entry.provider_id), (expected, None));
    let some = r#"{"accessToken":"a","expiresAt":-5,"metadata":{"n":1,"t":"x"}}"#;
    let entry = read(some).unwrap();
    assert_eq!(entry.tokens.expires_at, Some(UnixMs(0)));
    assert_eq!(entry.tokens.metadata.into_keys().collect::<Vec<_>>(), ["t"]);
    assert_eq!(
        read(r#"{"accessToken":"a","expiresAt":1e300}"#)
            .unwrap()
            .tokens
            .expires_at,
        None
    );
}

#[test]
fn what_is_no_token_file() {
    for bad in [
        "",
        "null",
        "[]",
        "\"a\"",
        "{",
        "{\"accessToken\":\"a\",\"expiresAt\":1",
        "\u{feff}{}",
    ] {
        assert_eq!(read(bad), Err(Unusable::NotJson), "{bad}");
    }
    assert_eq!(
        parse(b"{\"accessToken\":\"\xff\"}", WRITTEN),
        Err(Unusable::NotJson)
    );
    for access in [
        "7",
        "null",
        "\"\"",
        "\"a\\r\\nb\"",
        "\"\\u00e4\"",
        "{}",
        "\"\\ud800\"",
    ] {
        let text = format!(r#"{{"accessToken":{access},"expiresAt":1}}"#);
        assert_eq!(read(&text), Err(Unusable::AccessToken), "{access}");
    }
    assert_eq!(read(r#"{"expiresAt":1}"#), Err(Unusable::AccessToken));
    for end in ["\"1\"", "null", "{}", "true"] {
        let text = format!(r#"{{"accessToken":"a","expiresAt":{end}}}"#);
        assert_eq!(read(&text), Err(Unusable::ExpiresAt), "{end}");
    }
    assert_eq!(read(r#"{"accessToken":"a"}"#), Err(Unusable::ExpiresAt));
}

#[test]
fn a_token_file_has_a_limit() {
    let padded = |len: usize| {
        let start = r#"{"accessToken":"a","expiresAt":1}"#;
        format!("{start}{}", " ".repeat(len - start.len()))
    };
    assert!(read(&padded(MAX_TOKEN_FILE)).is_ok());
    assert_eq!(read(&padded(MAX_TOKEN_FILE + 1)), Err(Unusable::TooLarge));
    let with = |len: usize| TokenSet {
        access: secret(&"a".repeat(len)),
        ..tokens()
    };
    assert!(write("x", &with(MAX_TOKEN)).is_some());
    assert!(write("x", &with(MAX_TOKEN + 1)).is_none());
    assert!(
        write(
            "x",
            &TokenSet {
                refresh: Some(secret("a\nb")),
                ..tokens()
            }
        )
        .is_none()
    );
    let many = |count: usize| {
        let metadata = (0..count)
            .map(|i| (format!("{i:03}"), "v".to_owned()))
            .collect();
        TokenSet {
            metadata,
            ..tokens()
        }
    };
    assert!(write("x", &many(MAX_METADATA)).is_some());
    assert!(write("x", &many(MAX_METADATA + 1)).is_none());
    let mut long = tokens();
    long.metadata
        .insert("x".to_owned(), "y".repeat(MAX_TOKEN_FILE));
    assert!(write("x", &long).is_none());
}

#[test]
fn names_are_those_of_agentos() {
    assert_eq!(sanitized("openai-codex_2"), "openai-codex_2");
    assert_eq!(sanitized("../a.b/c"), "___a_b_c");
    // `"ä𝄞".replace(/[^a-zA-Z0-9_-]/g, '_')` has three of them.
    assert_eq!(sanitized("ä𝄞"), "___");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(text in "[a-zA-Z\"{}:,\\[\\]\\\\0-9.e+-]{0,80}") {
        let wrapped = format!("{{\"accessToken\":\"canary\",{text}");
        for bytes in [text.as_bytes(), wrapped.as_bytes()] {
            if let Err(error) = parse(bytes, WRITTEN) {
                prop_assert!(!error.to_string().contains("canary"));
            }
        }
    }

    #[test]
    fn a_name_leads_nowhere_else(id in any::<String>()) {
        let name = sanitized(&id);
        prop_assert!(!name.contains(['/', '.', '\\', '\0']));
    }

    #[test]
    fn any_metadata_survives(
        metadata in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..8),
    ) {
        let tokens = TokenSet { metadata, ..tokens() };
        let document = write("id", &tokens).unwrap();
        prop_assert_eq!(parse(document.expose(), WRITTEN).unwrap().tokens, tokens);
    }
}
