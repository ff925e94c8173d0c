use super::*;
use proptest::prelude::*;

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn tokens() -> TokenSet {
    TokenSet {
        access: secret("at").into(),
        refresh: Some(secret("rt").into()),
        id_token: None,
        obtained_at: NOW,
        expires_at: Some(UnixMs(NOW.0 + 30_000)),
        metadata: [("scope".to_owned(), "mcp:read".to_owned())].into(),
    }
}

#[test]
fn each_layout_is_written_as_fast_agent_writes_it_and_read_back() {
    let mcp = concat!(
        r#"{"access_token":"at","token_type":"Bearer","expires_in":30,"#,
        r#""scope":"mcp:read","refresh_token":"rt"}"#
    );
    let codex = concat!(
        r#"{"access_token":"at","refresh_token":"rt","expires_at":1700000030.0,"#,
        r#""scope":"mcp:read","token_type":"Bearer"}"#
    );
    let provider = concat!(
        r#"{"type":"oauth","access_token":"at","refresh_token":"rt","#,
        r#""expires_at":1700000030.0,"token_type":"Bearer","scope":"mcp:read"}"#
    );
    for (layout, expected) in [
        (Layout::Mcp, mcp),
        (Layout::Codex, codex),
        (Layout::Provider, provider),
    ] {
        let text = layout.write(&tokens(), NOW).unwrap();
        assert_eq!(std::str::from_utf8(text.expose()), Ok(expected));
        assert_eq!(layout.parse(&text, Some(NOW)), Some(tokens()), "{layout:?}");
    }
    let bare = TokenSet {
        refresh: None,
        expires_at: None,
        metadata: Default::default(),
        ..tokens()
    };
    let text = Layout::Mcp.write(&bare, NOW).unwrap();
    let nulls = concat!(
        r#"{"access_token":"at","token_type":"Bearer","expires_in":null,"#,
        r#""scope":null,"refresh_token":null}"#
    );
    assert_eq!(std::str::from_utf8(text.expose()), Ok(nulls));
    assert_eq!(Layout::Mcp.parse(&text, Some(NOW)), Some(bare));
}

#[test]
fn a_lifetime_without_its_start_begins_when_the_entry_was_written() {
    let text = secret(r#"{"access_token":"at","token_type":"Bearer","expires_in":30}"#);
    let end = |written| Layout::Mcp.parse(&text, written).unwrap().expires_at;
    assert_eq!(end(Some(NOW)), Some(UnixMs(NOW.0 + 30_000)));
    // Nobody knows when: the token counts as used up, it is not taken for good for ever.
    assert_eq!(end(None), Some(UnixMs(30_000)));
    let odd = |lifetime: &str| {
        let text = format!(r#"{{"access_token":"at","expires_in":{lifetime}}}"#);
        Layout::Mcp
            .parse(&secret(&text), Some(NOW))
            .unwrap()
            .expires_at
    };
    assert_eq!(odd("-5"), Some(NOW));
    assert_eq!(odd("1e300"), Some(NOW.plus(crate::time::MAX_DURATION)));
    assert_eq!(odd("\"soon\""), None);
    // What the token says of itself helps where the entry says nothing.
    let claims = data_encoding::BASE64URL_NOPAD.encode(br#"{"exp":1700000099}"#);
    let text = secret(&format!(
        r#"{{"access_token":"e30.{claims}.x","expires_in":null}}"#
    ));
    let end = Layout::Mcp.parse(&text, None).unwrap().expires_at;
    assert_eq!(end, Some(UnixMs(1_700_000_099_000)));
}

#[test]
fn what_holds_no_tokens() {
    for bad in [
        "",
        "null",
        "[]",
        "{}",
        "{\"access_token\":7}",
        "{\"access_token\":\"\"}",
        "{\"access_token\":\"a\\nb\"}",
        "{\"access_token\":\"a\"",
    ] {
        for layout in [Layout::Mcp, Layout::Codex, Layout::Provider] {
            assert_eq!(layout.parse(&secret(bad), Some(NOW)), None, "{bad}");
        }
    }
    assert_eq!(
        Layout::Mcp.parse(&SecretValue::copy_of(b"{\"access_token\":\"\xff\"}"), None),
        None
    );
    let bad = TokenSet {
        access: secret("a\r\nb").into(),
        ..tokens()
    };
    assert!(Layout::Mcp.write(&bad, NOW).is_none());
}

#[test]
fn a_long_text_goes_in_pieces_and_comes_back() {
    for len in [1, PIECE, PIECE + 1, 5 * PIECE, MAX_PIECES * PIECE] {
        let text = secret(&"x".repeat(len));
        let pieces = cut(&text).unwrap();
        assert_eq!(pieces.len(), len.div_ceil(PIECE));
        assert_eq!(join(&pieces, Some(len)), Some(text));
        assert_eq!(join(&pieces, Some(len + 1)), None);
    }
    assert!(cut(&secret(&"x".repeat(MAX_PIECES * PIECE + 1))).is_none());
    assert!(cut(&SecretValue::copy_of(b"\xff")).is_none());
    // Pieces are counted in characters, sizes in bytes.
    let pieces = cut(&secret(&"ä".repeat(PIECE))).unwrap();
    assert_eq!((pieces.len(), pieces[0].len()), (1, 2 * PIECE));
    let meta = Meta {
        pieces: 2,
        size: Some(1000),
    };
    let text = meta.write();
    assert_eq!(
        text.expose(),
        br#"{"version": 1, "parts": 2, "size": 1000}"#
    );
    assert_eq!(Meta::parse(&text), Some(meta));
    let parse = |text: &str| Meta::parse(&secret(text)).map(|meta| (meta.pieces, meta.size));
    assert_eq!(parse(r#"{"parts":3}"#), Some((3, None)));
    assert_eq!(
        parse(&format!(r#"{{"parts":{MAX_PIECES}}}"#)),
        Some((MAX_PIECES, None))
    );
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"parts":0}"#,
        r#"{"parts":-1}"#,
        r#"{"parts":"2"}"#,
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    assert_eq!(parse(&format!(r#"{{"parts":{}}}"#, MAX_PIECES + 1)), None);
}

#[test]
fn an_index_is_a_sorted_list_as_python_writes_it() {
    let names: BTreeSet<String> = ["http://b", "http://a"].map(str::to_owned).into();
    let text = write_index(&names).unwrap();
    assert_eq!(text.expose(), br#"["http://a", "http://b"]"#);
    assert_eq!(index(Some(&text)), names);
    assert_eq!(index(None), BTreeSet::new());
    for broken in ["", "{}", "7", "[", "\"x\""] {
        assert_eq!(index(Some(&secret(broken))), BTreeSet::new(), "{broken}");
    }
    let of = |count: usize| (0..count).map(|i| i.to_string()).collect::<BTreeSet<_>>();
    assert!(write_index(&of(MAX_INDEX)).is_some());
    assert!(write_index(&of(MAX_INDEX + 1)).is_none());
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(
        text in "[a-zA-Z_\"{}:,\\[\\]\\\\0-9.e+-]{0,80}", at in any::<u64>(),
    ) {
        let started = format!("{{\"access_token\":\"a\",{text}");
        for text in [secret(&text), secret(&started)] {
            for layout in [Layout::Mcp, Layout::Codex, Layout::Provider] {
                let _ = layout.parse(&text, Some(UnixMs(at)));
            }
            let _ = (Meta::parse(&text), index(Some(&text)));
        }
    }

    #[test]
    fn any_text_is_cut_and_joined(text in "[a-zä𝄞]{0,1200}") {
        let text = secret(&text);
        prop_assert_eq!(join(&cut(&text).unwrap(), Some(text.len())), Some(text));
    }
}
