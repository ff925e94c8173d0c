use super::embedded::{EnvPiece, MAX_EMBEDDED_REFS, Piece, Problem, env_file, template};
use super::input::{MAX_ENV_NAME, resembles_ref};
use super::plan::{BatchLimits, MAX_REFS, PlanError, ResolvePlan};
use super::*;
use crate::error::{Code, Coded};
use proptest::prelude::*;
use serde_json::json;

const CANARY: &str = "sk-canary-4f1c9a77e2";

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

fn defaults() -> Defaults {
    let mut defaults = Defaults::default();
    defaults.set(Source::Exec, "op".parse().unwrap());
    defaults.set(Source::Env, "shell".parse().unwrap());
    defaults
}

#[test]
fn the_text_form() {
    for (text, source, provider, id) in [
        (
            "vault:openai/default",
            Source::Vault,
            "default",
            "openai/default",
        ),
        (
            "env:OPENAI_API_KEY",
            Source::Env,
            "default",
            "OPENAI_API_KEY",
        ),
        (
            "file@mounted:/providers/openai/apiKey",
            Source::File,
            "mounted",
            "/providers/openai/apiKey",
        ),
        ("file@mounted:value", Source::File, "mounted", "value"),
        (
            "exec@onepassword:op://a/b:c#d",
            Source::Exec,
            "onepassword",
            "op://a/b:c#d",
        ),
    ] {
        let parsed = reference(text);
        assert_eq!(parsed.source(), source);
        assert_eq!(parsed.provider().as_str(), provider);
        assert_eq!(parsed.id(), id);
        assert_eq!(parsed.to_string(), text);
    }
    assert_eq!(reference("vault@default:a").to_string(), "vault:a");
    assert_eq!(format!("{:?}", reference("env@b:A")), "SecretRef(env@b:A)");
    let record = reference("vault:openai/default").record().unwrap();
    assert_eq!(
        SecretRef::to_record(&record),
        reference("vault:openai/default")
    );
    assert_eq!(reference("env:A").record(), None);
}

#[test]
fn text_that_is_no_ref() {
    for (text, error) in [
        ("", RefError::Form),
        ("vault", RefError::Form),
        ("store:A", RefError::Source),
        ("Vault:a", RefError::Source),
        ("vault@:a", RefError::Provider),
        ("vault@Up:a", RefError::Provider),
        ("vault@a@b:c", RefError::Provider),
        ("vault:", RefError::Id(Source::Vault)),
        ("vault:a/../b", RefError::Id(Source::Vault)),
        ("vault:/a", RefError::Id(Source::Vault)),
        ("exec@x:a/./b", RefError::Id(Source::Exec)),
        ("exec@x:_a", RefError::Id(Source::Exec)),
        ("exec@x:me@example.com", RefError::Id(Source::Exec)),
        ("env:lower", RefError::Id(Source::Env)),
        ("env:1A", RefError::Id(Source::Env)),
        ("env:A-B", RefError::Id(Source::Env)),
        ("file@f:no/slash", RefError::Id(Source::File)),
        ("file@f:/a~2b", RefError::Id(Source::File)),
        ("file@f:/a~", RefError::Id(Source::File)),
        ("file@f:/a\nb", RefError::Id(Source::File)),
    ] {
        assert_eq!(text.parse::<SecretRef>(), Err(error), "{text:?}");
    }
    assert!(Source::File.takes("/a~1b/~0c//"));
}

#[test]
fn ids_at_and_past_their_limits() {
    let name = |len| "A".repeat(len);
    assert!(Source::Env.takes(&name(MAX_ENV_NAME)));
    assert!(!Source::Env.takes(&name(MAX_ENV_NAME + 1)));
    assert!(Source::Exec.takes(&name(256)));
    assert!(!Source::Exec.takes(&name(257)));
    assert!(Source::File.takes(&format!("/{}", name(MAX_FILE_ID - 1))));
    assert!(!Source::File.takes(&format!("/{}", name(MAX_FILE_ID))));
    let alias = "a".repeat(crate::name::MAX_ALIAS);
    let longest = format!("file@{alias}:/{}", name(MAX_FILE_ID - 1));
    assert_eq!(reference(&longest).id().len(), MAX_FILE_ID);
    let no_ref = |len: usize| format!("{longest:x<len$}").parse::<SecretRef>();
    assert_eq!(no_ref(1096), Err(RefError::Id(Source::File)));
    assert_eq!(no_ref(1097), Err(RefError::TooLong));
}

#[test]
fn an_id_that_does_not_fit_is_told_the_rule_of_its_source() {
    for (text, rule) in [
        ("vault:/", "is a record name"),
        ("env:a", "is an environment name, [A-Z][A-Z0-9_]{0,127}"),
        (
            "file:a",
            "is a JSON pointer that starts with /, or the word value",
        ),
        (
            "exec:/",
            "is [A-Za-z0-9][A-Za-z0-9._:/#-]{0,255} without a segment . or ..",
        ),
    ] {
        let error = text.parse::<SecretRef>().unwrap_err().to_string();
        assert!(error.ends_with(rule), "{error}");
    }
}

#[test]
fn refs_are_in_order_of_source_provider_and_id() {
    let texts = [
        "vault@a:b",
        "vault@b:a",
        "vault@b:b",
        "env@a:A",
        "file@a:/a",
        "exec@a:a",
    ];
    let refs = texts.map(reference);
    assert!(refs.is_sorted() && refs.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn the_json_form_has_exactly_three_keys() {
    let parse = |value: Value| SecretRef::from_json(&value, &defaults());
    let full = json!({"source": "exec", "provider": "vault", "id": "a/b"});
    assert_eq!(parse(full.clone()), Ok(reference("exec@vault:a/b")));
    assert_eq!(reference("exec@vault:a/b").to_json(), full);
    assert_eq!(
        parse(json!({"source": "exec", "id": "a"})),
        Ok(reference("exec@op:a"))
    );
    assert_eq!(
        parse(json!({"source": "file", "id": "/a"})),
        Ok(reference("file:/a"))
    );

    let fourth = json!({"source": "exec", "provider": "v", "id": "a", "optional": true});
    let error = parse(fourth).unwrap_err();
    assert_eq!(error, RefError::UnknownKey("optional".to_owned()));
    assert!(
        error
            .to_string()
            .contains("exactly the keys source, provider and id")
    );
    assert!(error.to_string().contains("optional"));

    assert_eq!(
        parse(json!({"source": "env"})),
        Err(RefError::MissingKey("id"))
    );
    assert_eq!(
        parse(json!({"id": "A"})),
        Err(RefError::MissingKey("source"))
    );
    assert_eq!(
        parse(json!({"source": "env", "id": 1})),
        Err(RefError::NotText("id"))
    );
    assert_eq!(
        parse(json!({"source": "env", "id": ""})),
        Err(RefError::NotText("id"))
    );
    let blank = json!({"source": "env", "provider": "", "id": "A"});
    assert_eq!(parse(blank), Err(RefError::NotText("provider")));
    assert_eq!(
        parse(json!({"source": "store", "id": "A"})),
        Err(RefError::Source)
    );
    assert_eq!(parse(json!("x")), Err(RefError::NotObject));
}

#[test]
fn the_wire_form_is_the_json_form() {
    let text = r#"{"source":"env","provider":"default","id":"A"}"#;
    assert_eq!(serde_json::to_string(&reference("env:A")).unwrap(), text);
    assert_eq!(
        serde_json::from_str::<SecretRef>(text).unwrap(),
        reference("env:A")
    );
    let short = r#"{"source":"env","id":"A"}"#;
    assert_eq!(
        serde_json::from_str::<SecretRef>(short).unwrap(),
        reference("env:A")
    );
    for bad in [
        r#"{"source":"env","provider":"default","id":"A","x":1}"#,
        r#"{"source":"env","provider":"default","id":"a"}"#,
        r#"{"source":"env","provider":"BAD","id":"A"}"#,
        r#"{"source":"env"}"#,
    ] {
        assert!(serde_json::from_str::<SecretRef>(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_older_spellings() {
    let env = |name| {
        let reference = reference(&format!("env@shell:{name}"));
        Ok(SecretInput::Ref {
            reference,
            older: true,
        })
    };
    for text in [
        "${KEY_1}",
        "$KEY_1",
        "secretref-env:KEY_1",
        "__env__:KEY_1",
        "  $KEY_1\n",
    ] {
        assert_eq!(
            SecretInput::parse(&json!(text), &defaults()),
            env("KEY_1"),
            "{text}"
        );
    }
    let own = SecretInput::parse(&json!("secretref:vault:a"), &defaults()).unwrap();
    assert_eq!(own.reference(), Some(&reference("vault:a")));
    // What only resembles one is a value, as the family takes it.
    for text in [
        "${key}",
        "$",
        "$1",
        "${A",
        "A$B",
        "$A B",
        "${A}${B}",
        "secretref-env:",
        CANARY,
    ] {
        let parsed = SecretInput::parse(&json!(text), &defaults());
        assert_eq!(parsed, Ok(SecretInput::Plaintext), "{text}");
    }
}

#[test]
fn other_inputs() {
    let parse = |value: Value| SecretInput::parse(&value, &Defaults::default());
    assert_eq!(parse(json!(null)), Ok(SecretInput::Empty));
    assert_eq!(parse(json!("  ")), Ok(SecretInput::Empty));
    assert_eq!(parse(json!("secretref-managed")), Ok(SecretInput::Managed));
    assert_eq!(
        parse(json!("__OPENCLAW_REDACTED__")),
        Err(RefError::Redacted)
    );
    assert_eq!(parse(json!(7)), Err(RefError::NotObject));
    assert_eq!(parse(json!("secretref:nope")), Err(RefError::Form));
    let object = json!({"source": "env", "id": "A"});
    let expected = SecretInput::Ref {
        reference: reference("env:A"),
        older: true,
    };
    assert_eq!(parse(object), Ok(expected));
    assert!(resembles_ref(&json!({"source": "x", "id": 1, "more": 2})));
    assert!(!resembles_ref(&json!({"source": "x"})));
}

#[test]
fn errors_and_debug_hold_no_value() {
    let values = [
        json!(CANARY),
        json!(format!("secretref:{CANARY}")),
        json!({"source": CANARY, "provider": CANARY, "id": CANARY}),
        json!({"source": "env", "provider": "p", "id": CANARY}),
        json!({"source": "env", "provider": format!("{CANARY}!"), "id": "A"}),
        json!([CANARY]),
    ];
    for value in values {
        let parsed = SecretInput::parse(&value, &Defaults::default());
        let shown = match &parsed {
            Ok(input) => format!("{input:?}"),
            Err(error) => format!("{error} {error:?} {}", error.code().as_str()),
        };
        assert!(!shown.contains("canary"), "{shown}");
    }
    let text = format!("A={CANARY}\nB=\"{CANARY}");
    let error = env_file(&text, &Defaults::default()).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("canary"));
    let text = format!("A={CANARY}\nB=secretref:vault:b");
    let entries = env_file(&text, &Defaults::default()).unwrap();
    assert_eq!(
        format!("{entries:?}"),
        "[EnvEntry { name: \"A\", value: [Text(20 bytes)], line: 1 }, \
         EnvEntry { name: \"B\", value: [Ref(vault:b)], line: 2 }]"
    );
}

#[test]
fn templates() {
    let defaults = Defaults::default();
    let pieces = |text| template(text, &defaults).unwrap();
    let a = || Piece::Ref(reference("vault:a"));
    assert_eq!(pieces(""), []);
    assert_eq!(pieces("x {{ y }} z"), [Piece::Text("x {{ y }} z")]);
    assert_eq!(pieces("{{secretref:vault:a}}"), [a()]);
    assert_eq!(pieces("{{ \tsecretref: vault:a \t}}"), [a()]);
    assert_eq!(
        pieces("k: {{ secretref:vault:a }}\nl: {{ x }}{{{ secretref:vault:a }}}"),
        [
            Piece::Text("k: "),
            a(),
            Piece::Text("\nl: {{ x }}{"),
            a(),
            Piece::Text("}"),
        ]
    );
    assert_eq!(
        pieces("a secretref:vault:a"),
        [Piece::Text("a secretref:vault:a")]
    );
}

#[test]
fn template_errors_name_the_place() {
    let fail = |text: &str| template(text, &Defaults::default()).unwrap_err();
    let error = fail("ä\nöö {{ secretref:vault:a");
    assert_eq!(
        (error.line, error.column, &error.problem),
        (2, 4, &Problem::Unclosed)
    );
    assert_eq!(fail("{{ secretref:vault:a\n}}").problem, Problem::Unclosed);
    let error = fail("\n\n  {{ secretref:vlt:a }}");
    assert_eq!((error.line, error.column), (3, 3));
    assert_eq!(error.problem, Problem::Ref(RefError::Source));
    let many = "{{ secretref:vault:a }}".repeat(MAX_EMBEDDED_REFS);
    assert!(template(&many, &Defaults::default()).is_ok());
    assert_eq!(
        fail(&format!("{many}{{{{ secretref:vault:a }}}}")).problem,
        Problem::TooMany
    );
    let large = " ".repeat(embedded::MAX_TEXT);
    assert!(template(&large, &Defaults::default()).is_ok());
    assert_eq!(fail(&format!("{large} ")).problem, Problem::TooLarge);
}

#[test]
fn env_files() {
    let text = "\u{feff}# comment\r\n\
                export A = secretref:vault:a # note\r\n\
                B=plain # note\n\
                C='$NOT {{ secretref:vault:a }} # kept'\n\
                D=\"two\\nlines \\\"q\\\" \\$x\" # note\n\
                \n\
                E=${OLD_NAME}\n\
                F=\"u:{{ secretref:env:PW }}@host\"\n\
                G=\n\
                H=a#b\n";
    let entries = env_file(text, &Defaults::default()).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.line)).collect();
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
    assert_eq!(
        found,
        names
            .into_iter()
            .zip([2, 3, 4, 5, 7, 8, 9, 10])
            .collect::<Vec<_>>()
    );
    let text = |text: &str| EnvPiece::Text(text.to_owned());
    assert_eq!(entries[0].value, [EnvPiece::Ref(reference("vault:a"))]);
    assert_eq!(entries[1].value, [text("plain")]);
    assert_eq!(
        entries[2].value,
        [text("$NOT {{ secretref:vault:a }} # kept")]
    );
    assert_eq!(entries[3].value, [text("two\nlines \"q\" $x")]);
    assert_eq!(entries[4].value, [EnvPiece::Ref(reference("env:OLD_NAME"))]);
    assert_eq!(
        entries[5].value,
        [
            text("u:"),
            EnvPiece::Ref(reference("env:PW")),
            text("@host")
        ]
    );
    assert_eq!(entries[6].value, []);
    assert_eq!(entries[7].value, [text("a#b")]);
}

#[test]
fn env_file_errors_name_the_line() {
    for (text, line, problem) in [
        ("A=1\nB", 2, Problem::NoAssignment),
        ("1A=x", 1, Problem::Name),
        ("A B=x", 1, Problem::Name),
        ("A='x", 1, Problem::Quote),
        ("A=\"x\" y", 1, Problem::Quote),
        ("A=\"x\\", 1, Problem::Quote),
        ("A=1\n\nB=secretref:vault", 3, Problem::Ref(RefError::Form)),
        ("A=u:secretref:vault:a@host", 1, Problem::Bare),
        ("A={{ secretref:vault:a", 1, Problem::Unclosed),
    ] {
        let error = env_file(text, &Defaults::default()).unwrap_err();
        assert_eq!((error.line, error.problem), (line, problem), "{text:?}");
    }
    let many = "A=1\n".repeat(embedded::MAX_ENV_ENTRIES);
    assert!(env_file(&many, &Defaults::default()).is_ok());
    let error = env_file(&format!("{many}A=1\n"), &Defaults::default()).unwrap_err();
    assert_eq!(error.problem, Problem::TooMany);
    let refs = |count: usize| format!("A={}\n", "{{secretref:vault:a}}".repeat(count));
    let half = MAX_EMBEDDED_REFS / 2;
    let many = format!("{}{}", refs(half), refs(half));
    assert!(env_file(&many, &Defaults::default()).is_ok());
    let error = env_file(&format!("{many}{}", refs(1)), &Defaults::default()).unwrap_err();
    assert_eq!((error.line, error.problem), (3, Problem::TooMany));
    let large = "#".repeat(embedded::MAX_TEXT);
    assert_eq!(env_file(&large, &Defaults::default()), Ok(Vec::new()));
    let error = env_file(&format!("{large}#"), &Defaults::default()).unwrap_err();
    assert_eq!(error.problem, Problem::TooLarge);
}

#[test]
fn the_code_of_a_text_s_error_tells_what_kind_it_is() {
    let none = Defaults::default();
    for (text, code) in [
        ("{{ secretref:vault }}".to_owned(), Code::RefInvalid),
        ("{{ secretref:vault:a".to_owned(), Code::TemplateInvalid),
        ("x".repeat(embedded::MAX_TEXT + 1), Code::FileTooLarge),
        (
            "{{secretref:vault:a}}".repeat(MAX_EMBEDDED_REFS + 1),
            Code::RefLimit,
        ),
    ] {
        assert_eq!(template(&text, &none).unwrap_err().code(), code);
    }
}

#[test]
fn one_run_of_a_provider_gets_512_refs_and_256_kib_unless_told_otherwise() {
    let limits = BatchLimits::default();
    assert_eq!((limits.refs, limits.bytes), (512, 262_144));
}

#[test]
fn a_plan_groups_and_removes_duplicates() {
    let refs = [
        "vault:a", "exec@x:b", "vault:c", "exec@y:b", "vault:a", "exec@x:a",
    ];
    let plan = ResolvePlan::new(refs.map(reference)).unwrap();
    let groups: Vec<String> = plan
        .groups()
        .iter()
        .map(|group| {
            let ids: Vec<_> = group.refs.iter().map(SecretRef::id).collect();
            format!("{}@{} {}", group.source, group.provider, ids.join(","))
        })
        .collect();
    assert_eq!(groups, ["vault@default a,c", "exec@x b,a", "exec@y b"]);
    assert_eq!(plan.len(), 5);
    assert!(ResolvePlan::new([]).unwrap().is_empty());
}

#[test]
fn a_plan_has_a_limit() {
    let refs = |count| (0..count).map(|i| reference(&format!("vault:r{i}")));
    assert_eq!(ResolvePlan::new(refs(MAX_REFS)).unwrap().len(), MAX_REFS);
    assert_eq!(
        ResolvePlan::new(refs(MAX_REFS + 1)),
        Err(PlanError::TooMany)
    );
}

prop_compose! {
    fn any_ref()(
        source in 0..4_usize,
        alias in "[a-z][a-z0-9_-]{0,8}",
        exec in "[A-Za-z0-9][A-Za-z0-9._:#-]{0,9}",
        env in "[A-Z][A-Z0-9_]{0,9}", file in "(/([a-zäÖ.:@]|~0|~1){0,4}){1,4}",
    ) -> SecretRef {
        let (source, id) = match source {
            0 => (Source::Vault, exec),
            1 => (Source::Env, env),
            2 => (Source::File, file),
            _ => (Source::Exec, exec),
        };
        SecretRef::new(source, alias.parse().unwrap(), &id).unwrap()
    }
}

proptest! {
    #[test]
    fn every_form_reads_back(reference in any_ref()) {
        prop_assert_eq!(&reference.to_string().parse::<SecretRef>().unwrap(), &reference);
        let json = reference.to_json();
        prop_assert_eq!(&SecretRef::from_json(&json, &defaults()).unwrap(), &reference);
        prop_assert_eq!(&serde_json::from_value::<SecretRef>(json.clone()).unwrap(), &reference);
        let input = SecretInput::parse(&json, &defaults()).unwrap();
        prop_assert_eq!(input, SecretInput::Ref { reference: reference.clone(), older: false });
        let text = format!("<{{{{ secretref:{reference} }}}}>");
        let pieces = template(&text, &Defaults::default()).unwrap();
        prop_assert_eq!(pieces, [Piece::Text("<"), Piece::Ref(reference), Piece::Text(">")]);
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        if let Ok(reference) = text.parse::<SecretRef>() {
            prop_assert_eq!(reference.to_string().parse::<SecretRef>().unwrap(), reference);
        }
        let _ = env_file(&text, &Defaults::default());
        let _ = SecretInput::parse_text(&text, &Defaults::default());
    }

    #[test]
    fn a_template_loses_nothing(parts in prop::collection::vec(
        prop_oneof!["[a-z{} \n]{0,6}", Just("{{ secretref:vault:a }}".to_owned())], 0..8))
    {
        let text = parts.concat();
        if let Ok(pieces) = template(&text, &Defaults::default()) {
            let kept: usize = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Ref(_) => "{{ secretref:vault:a }}".len(),
            }).sum();
            prop_assert_eq!(kept, text.len());
        }
    }

    #[test]
    fn a_plan_keeps_every_ref_once(refs in prop::collection::vec(any_ref(), 0..40)) {
        let plan = ResolvePlan::new(refs.clone()).unwrap();
        prop_assert_eq!(plan.is_empty(), refs.is_empty());
        let mut expected = refs;
        expected.sort();
        expected.dedup();
        let mut found: Vec<_> = plan.groups().iter().flat_map(|g| g.refs.clone()).collect();
        found.sort();
        prop_assert_eq!(found, expected);
        for group in plan.groups() {
            for reference in &group.refs {
                prop_assert_eq!(reference.source(), group.source);
                prop_assert_eq!(reference.provider(), &group.provider);
            }
        }
    }

}
