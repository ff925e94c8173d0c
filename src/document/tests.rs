use super::*;
use crate::error::Coded;
use proptest::prelude::*;
use serde_json::json;

const CANARY: &str = "sk-canary-4f1c9a77e2";

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn parse(text: &str) -> Document {
    Document::parse(text, "test.json").unwrap()
}

fn problem(text: &str) -> (usize, usize, usize, String) {
    match Document::parse(text, "test.json") {
        Err(DocumentError::Syntax { place, problem, .. }) => {
            (place.line, place.column, place.byte, problem)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn json5_is_read() {
    let text = "\u{feff}// head\n\
                { a: 'x', \"b\": [1, 0x1F, +2, .5, 5., -0x10, 1.e2,], /* c */ c: null,\n\
                d: true, }\n";
    let expected = json!({
        "a": "x", "b": [1, 31, 2, 0.5, 5.0, -16, 100.0], "c": null, "d": true,
    });
    let document = parse(text);
    assert_eq!(document.value(), &expected);
    assert_eq!(document.text(), text);
    let position = document.position(&path("b[1]")).unwrap();
    assert_eq!(&text[position.byte..position.byte + 4], "0x1F");
    assert_eq!((position.line, position.column), (2, 20));
}

#[test]
fn errors_name_the_place() {
    assert_eq!(problem("{\n  \"a\": 1\n  \"b\": 2\n}").0, 2);
    let (line, column, byte, text) = problem("{\n  \"a\": {\"b\": 1");
    assert_eq!((line, column, byte), (2, 15, 16));
    assert_eq!(text, "the file ends inside an object or array");
    assert_eq!(
        problem("{\"a\":").3,
        "the file ends where a value is expected"
    );
    assert_eq!(
        problem("").3,
        "there is no json value".replace("json", "JSON")
    );
    assert_eq!(problem("// only a comment").3, "there is no JSON value");
    assert_eq!(problem("{\"a\": 1}\n{}").0, 2);
    assert_eq!(
        problem("{\"a\": Infinity}").3,
        "a number that JSON can't hold"
    );
    let (line, column, _, text) = problem("{\"a\": 1,\n\"a\": 2}");
    assert_eq!((line, column), (2, 1));
    assert_eq!(text, "a key that stands twice in its object");
    let error = Document::parse_bytes(b"{\"a\":\n \"\xff\"}", "test.json").unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.json: line 2, column 3 (byte 8): not UTF-8"
    );
}

#[test]
fn errors_and_debug_quote_nothing() {
    let broken = [
        format!("{{\"a\": \"{CANARY}"),
        format!("{{\"a\": \"{CANARY}\\x1\"}}"),
        format!("{{\"a\": \"\\ud800{CANARY}\"}}"),
        format!("{{\"a\": {CANARY}}}"),
        CANARY.to_owned(),
        format!("{{\"{CANARY}\" 1}}"),
        format!("{{\"{CANARY}\": 1, \"{CANARY}\": 2}}"),
    ];
    for text in broken {
        let error = Document::parse(&text, "test.json").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        assert_eq!(error.code(), Code::ConfigInvalid);
    }
    let document = parse(&format!("{{\"a\": \"{CANARY}\"}}"));
    assert!(!format!("{document:?}").contains("canary"));
}

#[test]
fn limits() {
    let nest = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Document::parse(&nest(MAX_DEPTH), "t").is_ok());
    assert_eq!(problem(&nest(MAX_DEPTH + 1)).3, "nested too deeply");
    assert_eq!(problem(&nest(100_000)).3, "nested too deeply");
    let large = |len: usize| format!("{{}}{}", " ".repeat(len - 2));
    assert!(Document::parse(&large(MAX_DOCUMENT), "t").is_ok());
    let error = Document::parse(&large(MAX_DOCUMENT + 1), "t").unwrap_err();
    assert_eq!(
        error,
        DocumentError::TooLarge {
            file: "t".to_owned(),
            max: MAX_DOCUMENT,
        }
    );
    assert!(Document::parse_up_to("[1]", "t", 3).is_ok());
    assert!(Document::parse_up_to("[12]", "t", 3).is_err());
    let mut document = parse("{}");
    let value = json!("x".repeat(MAX_DOCUMENT));
    assert!(document.set(&path("a"), value).is_err());
    assert_eq!(document.text(), "{}");
}

const CONFIG: &str = r#"// Head comment.
{
  "models": { // about models
    "providers": {
      /* the first */
      "openai": {"apiKey": "old", "note": 'single'},   // trailing
      "acme.ai": {"apiKey": "k"},
    },
  },
  list: [1, 2, /* two */ 3],
}
// The end.
"#;

#[test]
fn setting_changes_one_place() {
    let mut document = parse(CONFIG);
    let reference = json!({"source": "vault", "provider": "default", "id": "openai/default"});
    document
        .set(&path("models.providers.openai.note"), json!("new"))
        .unwrap();
    assert_eq!(document.text(), CONFIG.replace("'single'", "\"new\""));

    document
        .set(&path("models.providers.openai.apiKey"), reference.clone())
        .unwrap();
    let text = document.text();
    for kept in [
        "// Head comment.",
        "/* the first */",
        "// trailing",
        "/* two */",
        "// The end.",
    ] {
        assert!(text.contains(kept), "{kept} lost in {text}");
    }
    assert!(text.contains("      \"acme.ai\": {\"apiKey\": \"k\"},\n    },\n"));
    assert_eq!(
        document.get(&path("models.providers.openai.apiKey")),
        Some(&reference)
    );

    document
        .set(&path("models.providers.\"acme.ai\".apiKey"), json!("k2"))
        .unwrap();
    document.set(&path("list[1]"), json!(22)).unwrap();
    document.set(&path("list.3"), json!({"x": [1]})).unwrap();
    document.set(&path("new.way[0].x"), json!(1)).unwrap_err();
    document.set(&path("new.way.x"), json!(1)).unwrap();
    assert_eq!(document.get(&path("new.way")), Some(&json!({"x": 1})));
    assert_eq!(
        document.get(&path("list")),
        Some(&json!([1, 22, 3, {"x": [1]}]))
    );
}

#[test]
fn removing_changes_one_place() {
    let mut document = parse(CONFIG);
    assert!(document.remove(&path("models.providers.openai")).unwrap());
    assert!(!document.remove(&path("models.providers.openai")).unwrap());
    assert!(document.remove(&path("list[0]")).unwrap());
    assert_eq!(document.get(&path("list")), Some(&json!([2, 3])));
    let expected = json!({"acme.ai": {"apiKey": "k"}});
    assert_eq!(document.get(&path("models.providers")), Some(&expected));
    for kept in [
        "// Head comment.",
        "// about models",
        "/* two */",
        "// The end.",
    ] {
        assert!(document.text().contains(kept), "{kept} lost");
    }
}

#[test]
fn many_edits_are_made_at_the_cost_of_one() {
    let edits = |count: usize| {
        let entries = (0..count).map(|n| (format!("id{n}"), json!({"key": "k", "extra": [n]})));
        let value = json!({"profiles": Value::Object(entries.collect())});
        let document = parse(&format!("{value:#}"));
        let size = document.text().len();
        let cost = cost::of(|| {
            let lines = Lines::of(&document);
            let mut editing = Editing::of(document);
            for n in 0..count {
                let at = Path::of_keys(["profiles", &format!("id{n}")]);
                assert_eq!(lines.get(&at.join("key")), Some(4 + 6 * n));
                editing.set(&at.join("keyRef"), json!({"id": n})).unwrap();
                assert!(editing.remove(&at.join("key")).unwrap());
            }
            let done = editing.document().unwrap();
            let last = done.get(&Path::of_keys(["profiles", &format!("id{}", count - 1)]));
            assert_eq!(
                last,
                Some(&json!({"extra": [count - 1], "keyRef": {"id": count - 1}}))
            );
        });
        // One pass for the lines, one for the tree, one over the text that came of it.
        assert!(
            cost <= 4 * size,
            "{cost} bytes were read for {count} edits of {size} bytes"
        );
    };
    edits(4);
    edits(256);
}

#[test]
fn what_stands_in_the_way_is_an_error() {
    let mut document = parse("{\"a\": \"text\", \"b\": null, \"c\": [1]}");
    let blocked = |path: Path| DocumentError::Blocked {
        file: "test.json".to_owned(),
        path,
    };
    for text in ["a.b", "c.x", "c[2]", "b[0]"] {
        let at = path(text);
        assert_eq!(document.set(&at, json!(1)), Err(blocked(at)), "{text}");
    }
    let index = Path::from(vec![Segment::Index(0)]);
    assert_eq!(document.set(&index, json!(1)), Err(blocked(index)));
    document.set(&path("b.x"), json!(1)).unwrap();
    assert_eq!(
        document.value(),
        &json!({"a": "text", "b": {"x": 1}, "c": [1]})
    );
}

#[test]
fn an_empty_document_and_odd_texts_are_edited() {
    let mut document = Document::empty("new.json");
    document.set(&path("a.b"), json!(["ü\n\"\\\u{1}"])).unwrap();
    assert_eq!(
        parse(document.text()).value(),
        &json!({"a": {"b": ["ü\n\"\\\u{1}"]}})
    );
    let mut document = parse("\u{feff}{\r\n  \"a\": 1\r\n}\r\n");
    document.set(&path("b"), json!(2)).unwrap();
    assert_eq!(
        document.text(),
        "\u{feff}{\r\n  \"a\": 1,\r\n  \"b\": 2\r\n}\r\n"
    );
    document.set(&Path::root(), json!({})).unwrap();
    assert_eq!(document.value(), &json!({}));
}

#[test]
fn paths_as_text() {
    let keys = |keys: &[&str]| Path::of_keys(keys.iter().copied());
    assert_eq!(path("a.b"), keys(&["a", "b"]));
    assert_eq!(
        path("profiles.openai:me@x.key"),
        keys(&["profiles", "openai:me@x", "key"])
    );
    assert_eq!(path(r#"a."b.c \"q\"".d"#), keys(&["a", "b.c \"q\"", "d"]));
    assert_eq!(path(r"a.b\.c"), keys(&["a", "b.c"]));
    assert_eq!(path("a[0].b[12]").to_string(), "a[0].b[12]");
    assert_eq!(path("a.0"), keys(&["a", "0"]));
    assert_eq!(path("a.0").last().unwrap().as_index(), Some(0));
    assert_eq!(path("a.00").last().unwrap().as_index(), None);
    for (text, at) in [
        ("", 1),
        (".a", 1),
        ("a.", 3),
        ("a..b", 3),
        ("a[", 3),
        ("a[x]", 3),
        ("a[1", 4),
        ("[0]", 1),
        ("a.[0]", 3),
        ("a\"b", 2),
        ("\"a", 3),
        ("\"a\"b", 4),
        ("a]", 2),
        ("a\\", 3),
        ("\"\\u{110000}\"", 12),
    ] {
        assert_eq!(text.parse::<Path>(), Err(PathError { at }), "{text:?}");
    }
    let long = vec!["a"; MAX_SEGMENTS].join(".");
    assert!(long.parse::<Path>().is_ok());
    assert!(format!("{long}.a").parse::<Path>().is_err());
    assert!("a".repeat(MAX_PATH_TEXT + 1).parse::<Path>().is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c.\"é ]{1,2}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = Path> {
    let segment = prop_oneof![
        4 => "[a-c.\"é ]{1,2}".prop_map(|key| key.as_str().into()),
        1 => (0..3_usize).prop_map(Segment::Index),
    ];
    prop::collection::vec(segment, 1..4).prop_map(Path::from)
}

proptest! {
    #[test]
    fn a_path_reads_back(
        keys in prop::collection::vec("(?s:.){1,9}", 1..4), index in 0..99_usize,
    ) {
        let path = Path::of_keys(keys.iter().map(String::as_str)).join(index);
        prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
    }

    #[test]
    fn what_is_set_is_there_and_the_rest_stays(
        value in any_json(), at in any_path(), new in any_json(), pretty in any::<bool>(),
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut document = parse(&text);
        let outcome = document.set(&at, new.clone());
        let wrong = matches!(outcome, Err(DocumentError::Edit { .. }));
        prop_assert!(!wrong, "the edit was not what it should be");
        if outcome.is_ok() {
            prop_assert_eq!(document.get(&at), Some(&new));
            let again = parse(document.text());
            prop_assert_eq!(again.value(), document.value());
            prop_assert!(document.remove(&at).unwrap());
        } else {
            prop_assert_eq!(document.value(), &value);
        }
    }

    #[test]
    fn edits_together_give_what_they_give_one_by_one(
        value in any_json(),
        edits in prop::collection::vec((any_path(), any_json(), any::<bool>()), 1..6),
        pretty in any::<bool>(),
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let mut document = parse(&text);
        let mut editing = Editing::of(document.clone());
        for (at, new, is_set) in edits {
            if is_set {
                prop_assert_eq!(editing.set(&at, new.clone()), document.set(&at, new));
            } else {
                prop_assert_eq!(editing.remove(&at), document.remove(&at));
            }
            prop_assert_eq!(editing.value(), document.value());
        }
        let together = editing.document().unwrap();
        let again = parse(together.text());
        prop_assert_eq!(again.value(), document.value());
    }

    #[test]
    fn any_text_is_read_without_panic(text in "[{}\\[\\]:,\"'a-c0-9/*\n.+-]{0,40}") {
        if let Ok(mut document) = Document::parse(&text, "t") {
            let _ = document.set(&Path::of_keys(["a"]), json!(1));
            let again = parse(document.text());
            prop_assert_eq!(again.value(), document.value());
        }
    }
}
