use super::*;
use crate::config::LiteralEnv;
use crate::reference::plan::{BATCH_BYTES, BATCH_REFS, BatchLimits};
use crate::source::path::PathProblem;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

fn provider(command: impl Into<PathBuf>) -> ExecProvider {
    ExecProvider {
        command: command.into(),
        args: Vec::new(),
        timeout: Duration::from_secs(60),
        no_output_timeout: Duration::from_secs(60),
        max_output_bytes: 1 << 20,
        json_only: true,
        env: LiteralEnv::default(),
        pass_env: Vec::new(),
        trusted_dirs: Vec::new(),
        allow_symlink_command: false,
        allow_insecure_path: false,
        retries: 0,
        cache_ttl: Duration::ZERO,
    }
}

fn problem(provider: &ExecProvider) -> Option<PathProblem> {
    match command::open("vault", provider) {
        Ok(_) => None,
        Err(ExecError::Path(error)) => Some(error.problem),
        Err(other) => panic!("{other:?}"),
    }
}

fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn commands_that_are_no_plain_files_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "c", 0o755);
    assert_eq!(problem(&provider(&path)), None);
    assert_eq!(problem(&provider("c")), Some(PathProblem::Relative));
    assert_eq!(
        problem(&provider(place.path().join("x"))),
        Some(PathProblem::Missing)
    );
    assert_eq!(
        problem(&provider(place.path())),
        Some(PathProblem::NotRegular)
    );
    // Unlike for files that hold values, a second name is fine: `cargo` makes one.
    fs::hard_link(&path, place.path().join("second")).unwrap();
    assert_eq!(problem(&provider(&path)), None);

    let link = place.path().join("link");
    symlink(&path, &link).unwrap();
    let mut linked = provider(&link);
    assert_eq!(problem(&linked), Some(PathProblem::Symlink));
    linked.allow_symlink_command = true;
    assert_eq!(
        command::open("vault", &linked).unwrap().path,
        fs::canonicalize(&path).unwrap()
    );
    fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
    assert_eq!(problem(&linked), Some(PathProblem::TooOpen { mode: 0o775 }));
}

#[test]
fn commands_that_others_can_change_are_refused() {
    let place = tempfile::tempdir().unwrap();
    for mode in [0o775, 0o757, 0o777, 0o720] {
        let mut open = provider(file(place.path(), &format!("{mode:o}"), mode));
        assert_eq!(problem(&open), Some(PathProblem::TooOpen { mode }));
        open.allow_insecure_path = true;
        assert_eq!(problem(&open), None);
    }
    for mode in [0o755, 0o500, 0o4755] {
        assert_eq!(
            problem(&provider(file(place.path(), &format!("{mode:o}"), mode))),
            None
        );
    }
    let given = file(place.path(), "given", 0o755);
    if chown(&given, Some(4242), None).is_ok() {
        let expected = rustix::process::geteuid().as_raw();
        let foreign = PathProblem::ForeignOwner {
            expected,
            owner: 4242,
        };
        assert_eq!(problem(&provider(&given)), Some(foreign));
        let mut insecure = provider(&given);
        insecure.allow_insecure_path = true;
        assert_eq!(problem(&insecure), None);
    }
    // Root's own, whoever we are.
    assert_eq!(problem(&provider("/usr/bin/env")), None);
}

#[test]
fn a_command_lies_really_inside_a_trusted_folder() {
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("in"), place.path().join("out"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    let good = file(&inside, "c", 0o755);
    file(&outside, "c", 0o755);
    let with = |command: PathBuf, dirs: &[&Path]| {
        let mut provider = provider(command);
        provider.trusted_dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        problem(&provider)
    };
    assert_eq!(with(good.clone(), &[&outside, &inside]), None);
    assert_eq!(
        with(good.clone(), &[&outside]),
        Some(PathProblem::Untrusted)
    );
    assert_eq!(with(good, &[Path::new("in")]), Some(PathProblem::Untrusted));
    let dots = inside.join("../out/c");
    assert_eq!(with(dots, &[&inside]), Some(PathProblem::Untrusted));
    symlink(&outside, inside.join("door")).unwrap();
    assert_eq!(
        with(inside.join("door/c"), &[&inside]),
        Some(PathProblem::Untrusted)
    );
    let beside = place.path().join("in2");
    fs::create_dir(&beside).unwrap();
    assert_eq!(
        with(file(&beside, "c", 0o755), &[&inside]),
        Some(PathProblem::Untrusted)
    );
}

#[test]
fn the_texts_of_the_family() {
    let text =
        |provider: &ExecProvider| command::open("vault", provider).err().unwrap().to_string();
    let place = tempfile::tempdir().unwrap();
    assert_eq!(
        text(&provider("c")),
        "secrets.providers.vault.command must be an absolute path: c"
    );
    let open = file(place.path(), "c", 0o777);
    let expected = format!(
        "secrets.providers.vault.command permissions are too open (mode 0777): {}",
        open.display()
    );
    assert_eq!(text(&provider(open)), expected);
}

fn parsed(ids: &[&str], stdout: &str, json_only: bool) -> Vec<Result<String, String>> {
    match response::parse("vault", ids, stdout.as_bytes(), json_only) {
        Err(error) => vec![Err(error.to_string())],
        Ok(values) => values
            .into_iter()
            .map(|value| match value {
                Ok(value) => Ok(String::from_utf8(value.expose().to_vec()).unwrap()),
                Err(error) => Err(error.to_string()),
            })
            .collect(),
    }
}

#[test]
fn answers_are_checked_in_the_order_and_words_of_the_family() {
    let refused = |stdout: &str| parsed(&["x", "y"], stdout, true).remove(0).unwrap_err();
    for (stdout, text) in [
        ("", "returned empty stdout."),
        (" \n\u{feff}", "returned empty stdout."),
        ("{", "returned invalid JSON."),
        ("{} {}", "returned invalid JSON."),
        ("not json", "returned invalid JSON."),
        ("[]", "response must be an object."),
        ("\"x\"", "response must be an object."),
        ("null", "response must be an object."),
        ("{}", "protocolVersion must be 1."),
        (
            r#"{"protocolVersion":2,"values":{}}"#,
            "protocolVersion must be 1.",
        ),
        (
            r#"{"protocolVersion":"1","values":{}}"#,
            "protocolVersion must be 1.",
        ),
        (r#"{"protocolVersion":1}"#, r#"response missing "values"."#),
        (
            r#"{"protocolVersion":1,"values":[]}"#,
            r#"response missing "values"."#,
        ),
        (
            r#"{"protocolVersion":1,"values":null}"#,
            r#"response missing "values"."#,
        ),
    ] {
        assert_eq!(
            refused(stdout),
            format!("Exec provider \"vault\" {text}"),
            "{stdout}"
        );
    }
    let not_utf8 = response::parse("vault", &["x"], b"{\"\xff\":1}", true);
    assert_eq!(
        not_utf8.unwrap_err(),
        ExecError::InvalidJson {
            alias: "vault".into()
        }
    );
}

#[test]
fn each_id_has_its_own_answer() {
    let stdout = r#" {"protocolVersion":1.0,"other":[{}],
        "values":{"a":"1","b":12345,"c":"","d":"4","e":"\ud83d","a":"\u0031\n"},
        "errors":{"d":{"code":"NOT_FOUND","message":"canary"},"f":{"code":"canary"},
            "g":{"code":"AMBIGUOUS_DUPLICATE_KEY"},"h":"canary"}} "#;
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "a"];
    let answers = parsed(&ids, stdout, true);
    let error = |text: &str| Err(format!("Exec provider \"vault\" {text}"));
    assert_eq!(answers[0], Ok("1\n".into()));
    assert_eq!(
        answers[1],
        error("id \"b\": resolved value is not a non-empty string.")
    );
    assert_eq!(
        answers[2],
        error("id \"c\": resolved value is not a non-empty string.")
    );
    assert_eq!(answers[3], error("failed for id \"d\" (NOT_FOUND)."));
    assert_eq!(
        answers[4],
        error("id \"e\": resolved value is not a non-empty string.")
    );
    assert_eq!(answers[5], error("failed for id \"f\"."));
    assert_eq!(
        answers[6],
        error("failed for id \"g\" (AMBIGUOUS_DUPLICATE_KEY).")
    );
    assert_eq!(answers[7], error("failed for id \"h\"."));
    assert_eq!(answers[8], error("response missing id \"i\"."));
    assert_eq!(answers[9], Ok("1\n".into()));
}

#[test]
fn raw_output_is_a_value_only_for_one_id_without_json_only() {
    let raw = |stdout: &str| parsed(&["x"], stdout, false).remove(0);
    assert_eq!(raw(" secret \n"), Ok("secret".into()));
    assert_eq!(raw("\"se\\\"cret\"\n"), Ok("se\"cret".into()));
    assert_eq!(raw("\"half"), Ok("\"half".into()));
    assert_eq!(raw("12345"), Ok("12345".into()));
    assert_eq!(raw("{half"), Ok("{half".into()));
    assert!(raw("\"\"").is_err());
    assert_eq!(
        raw(r#"{"protocolVersion":1,"values":{"x":"v"}}"#),
        Ok("v".into())
    );
    assert!(raw("{}").is_err());
    assert!(parsed(&["x"], "secret", true)[0].is_err());
    assert!(parsed(&["x", "y"], "secret", false)[0].is_err());
}

#[test]
fn a_value_may_have_exactly_the_greatest_length() {
    let answer = |len: usize| {
        let value = "x".repeat(len);
        let stdout = format!(r#"{{"protocolVersion":1,"values":{{"x":"{value}"}}}}"#);
        response::parse("vault", &["x"], stdout.as_bytes(), true)
            .unwrap()
            .remove(0)
    };
    assert_eq!(answer(MAX_VALUE).unwrap().len(), MAX_VALUE);
    assert!(matches!(
        answer(MAX_VALUE + 1),
        Err(ExecError::ValueTooLarge { .. })
    ));
}

fn none(_: &str) -> Option<OsString> {
    None
}

fn ctx<'a>(cache: Option<&'a Cache>) -> Context<'a> {
    Context {
        cache,
        ..Context::plain(&none, None)
    }
}

#[test]
fn too_many_ids_and_too_large_requests_start_nothing() {
    // `env` without arguments would fail in another way.
    let provider = provider("/usr/bin/env");
    let ids: Vec<String> = (0..=BATCH_REFS).map(|i| i.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let many = resolve("vault", &provider, &ids, &ctx(None));
    assert_eq!(many.len(), BATCH_REFS + 1);
    let text = many[0].as_ref().unwrap_err().to_string();
    assert_eq!(
        text,
        "Exec provider \"vault\" exceeded maxRefsPerProvider (512)."
    );
    let exactly = resolve("vault", &provider, &ids[1..], &ctx(None));
    assert!(matches!(exactly[0], Err(ExecError::Empty { .. })));

    let one = Context {
        batch: BatchLimits {
            refs: 1,
            bytes: BATCH_BYTES,
        },
        ..ctx(None)
    };
    let configured = resolve("vault", &provider, &["a", "b"], &one)
        .remove(0)
        .unwrap_err();
    let text = configured.to_string();
    assert_eq!(
        text,
        "Exec provider \"vault\" exceeded maxRefsPerProvider (1)."
    );

    let empty = serde_json::json!({"protocolVersion": 1, "provider": "vault", "ids": [""]});
    let envelope = empty.to_string().len();
    let long = "x".repeat(BATCH_BYTES - envelope);
    let full = resolve("vault", &provider, &[&long], &ctx(None)).remove(0);
    assert!(matches!(full, Err(ExecError::Empty { .. })), "{full:?}");
    let longer = resolve("vault", &provider, &[&format!("{long}x")], &ctx(None)).remove(0);
    let text = longer.unwrap_err().to_string();
    assert_eq!(
        text,
        "Exec provider \"vault\" request exceeded maxBatchBytes (262144)."
    );
}

#[test]
fn the_cache_keeps_values_of_the_same_provider_for_its_time() {
    let cache = Cache::default();
    let mut provider = provider("/usr/bin/env");
    provider.cache_ttl = Duration::from_secs(3600);
    let value = || Ok(SecretValue::copy_of(b"kept"));
    let failed = || {
        Err(ExecError::Empty {
            alias: "vault".into(),
        })
    };
    cache.put("vault", &provider, &["a", "b"], &[value(), failed()]);
    // Only what is not kept is asked for, and here that fails.
    let answers = resolve("vault", &provider, &["a", "b"], &ctx(Some(&cache)));
    assert_eq!(answers[0].as_ref().unwrap().expose(), b"kept");
    assert!(answers[1].is_err());
    assert!(resolve("other", &provider, &["a"], &ctx(Some(&cache)))[0].is_err());
    let mut changed = provider.clone();
    changed.args.push("x".into());
    assert!(resolve("vault", &changed, &["a"], &ctx(Some(&cache)))[0].is_err());
    assert_eq!(cache.get("vault", &provider, &["a"]), [None]);

    cache.put("vault", &provider, &["a"], &[value()]);
    assert!(cache.get("vault", &provider, &["a"])[0].is_some());
    cache.clear();
    assert_eq!(cache.get("vault", &provider, &["a"]), [None]);
    provider.cache_ttl = Duration::from_nanos(1);
    cache.put("vault", &provider, &["a"], &[value()]);
    assert_eq!(cache.get("vault", &provider, &["a"]), [None]);
    assert!(!format!("{cache:?}").contains("kept"));
}

#[test]
fn the_cache_takes_a_limited_number_of_values() {
    let cache = Cache::default();
    let mut provider = provider("/usr/bin/env");
    provider.cache_ttl = Duration::from_secs(3600);
    let ids: Vec<String> = (0..=MAX_CACHED).map(|i| i.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let values: Vec<_> = ids.iter().map(|_| Ok(SecretValue::copy_of(b"v"))).collect();
    cache.put("vault", &provider, &ids, &values);
    let kept = cache.get("vault", &provider, &ids).iter().flatten().count();
    assert_eq!(kept, MAX_CACHED);
}
