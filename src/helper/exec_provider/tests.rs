use super::*;
use crate::secret::MAX_VALUE;
use serde_json::{Value, json};

/// A vault by names; what begins with `#` is a failure of that kind.
struct Vault(Vec<(&'static str, Vec<u8>)>);

impl Vault {
    fn texts(records: &[(&'static str, &str)]) -> Self {
        Self(
            records
                .iter()
                .map(|(name, value)| (*name, value.as_bytes().to_vec()))
                .collect(),
        )
    }
}

impl Lookup for Vault {
    fn resolve(
        &mut self,
        refs: &[SecretRef],
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        let answer = |reference: &SecretRef| {
            let fail = |code| Err(Failure::new(code, "canary-of-a-message"));
            match self.0.iter().find(|(name, _)| *name == reference.id()) {
                None => fail(Code::RecordAbsent),
                Some((_, value)) if value == b"#sealed" => fail(Code::VaultSealed),
                Some((_, value)) if value == b"#corrupt" => fail(Code::VaultCorrupt),
                Some((_, value)) => Ok(SecretValue::copy_of(value)),
            }
        };
        Ok(refs.iter().map(answer).collect())
    }
}

fn asked(ids: &Value) -> Vec<u8> {
    json!({"protocolVersion": 1, "provider": "vault", "ids": ids})
        .to_string()
        .into_bytes()
}

fn raw(request: &[u8], vault: &mut dyn Lookup) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    serve(&mut &*request, &mut output, vault)?;
    Ok(output)
}

fn answer(ids: Value, vault: &mut dyn Lookup) -> Value {
    serde_json::from_slice(&raw(&asked(&ids), vault).unwrap()).unwrap()
}

#[test]
fn values_and_errors_stand_side_by_side() {
    let mut vault = Vault::texts(&[("a", "1"), ("b/c", "\"\u{1}\\\nä😀"), ("e", "")]);
    vault.0.push(("bytes", vec![0xff]));
    let got = answer(
        json!(["a", "b/c", "a", "e", "x", "bytes", "_bad id", ""]),
        &mut vault,
    );
    assert_eq!(got["protocolVersion"], 1);
    assert_eq!(
        got["values"],
        json!({"a": "1", "b/c": "\"\u{1}\\\nä😀", "e": ""})
    );
    let errors = &got["errors"];
    assert_eq!(
        errors["x"],
        json!({"code": "NOT_FOUND", "message": "no such record"})
    );
    assert_eq!(errors["bytes"]["code"], "NOT_TEXT");
    assert_eq!(errors["_bad id"]["code"], "INVALID_ID");
    assert_eq!(errors[""]["code"], "INVALID_ID");
    assert_eq!(errors.as_object().unwrap().len(), 4);
    assert!(!got.to_string().contains("canary"));
    assert_eq!(
        raw(&asked(&json!([])), &mut vault).unwrap(),
        br#"{"protocolVersion":1,"values":{},"errors":{}}"#
    );
}

#[test]
fn an_id_may_be_a_profile_but_a_record_of_that_name_comes_first() {
    let mut vault = Vault::texts(&[
        ("openai/default", "of the profile"),
        ("x/me#40h", "escaped"),
    ]);
    let got = answer(json!(["openai:default", "x:me@h", "y:z"]), &mut vault);
    assert_eq!(
        got["values"],
        json!({"openai:default": "of the profile", "x:me@h": "escaped"})
    );
    assert_eq!(got["errors"]["y:z"]["code"], "NOT_FOUND");
    vault.0.push(("openai:default", b"of the record".to_vec()));
    let got = answer(json!(["openai:default"]), &mut vault);
    assert_eq!(got["values"]["openai:default"], "of the record");
}

#[test]
fn when_nothing_can_be_answered_the_failure_is_the_exit_code() {
    let mut vault = Vault::texts(&[("a", "#sealed"), ("b", "#corrupt"), ("c", "fine")]);
    let code = |ids, vault: &mut Vault| raw(&asked(&ids), vault).unwrap_err().code;
    assert_eq!(code(json!(["a"]), &mut vault), Code::VaultSealed);
    assert_eq!(code(json!(["b", "a"]), &mut vault), Code::VaultCorrupt);
    let got = answer(json!(["a", "b", "c"]), &mut vault);
    assert_eq!(got["values"], json!({"c": "fine"}));
    assert_eq!(got["errors"]["a"]["code"], "SEALED");
    assert_eq!(got["errors"]["b"]["code"], "CORRUPT");
}

#[test]
fn malformed_requests_are_refused_without_repeating_them() {
    let canary = "canary";
    for request in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"protocolVersion":1}"#,
        r#"{"protocolVersion":1,"ids":"canary"}"#,
        r#"{"protocolVersion":1,"ids":["canary",1]}"#,
        r#"{"protocolVersion":"1","ids":[]}"#,
        r#"{"protocolVersion":2,"ids":["canary"]}"#,
        r#"{"ids":["canary"]}"#,
        r#"{"protocolVersion":1,"ids":[]} canary"#,
    ] {
        let failed = raw(request.as_bytes(), &mut Vault::texts(&[])).unwrap_err();
        assert_eq!(failed.code, Code::InputInvalid, "{request}");
        assert!(!failed.message.contains(canary), "{}", failed.message);
    }
    let unknown = br#"{"protocolVersion":1.0,"ids":["a"],"later":{"x":[1]}}"#;
    assert!(raw(unknown, &mut Vault::texts(&[("a", "1")])).is_ok());
}

#[test]
fn requests_have_limits() {
    let ids: Vec<String> = (0..=MAX_IDS).map(|i| i.to_string()).collect();
    let many = raw(&asked(&json!(ids)), &mut Vault::texts(&[])).unwrap_err();
    assert_eq!(many.code, Code::InputTooLarge);
    let got = answer(json!(ids[1..]), &mut Vault::texts(&[]));
    assert_eq!(got["errors"].as_object().unwrap().len(), MAX_IDS);
    let mut request = asked(&json!([]));
    request.resize(MAX_REQUEST, b' ');
    assert!(raw(&request, &mut Vault::texts(&[])).is_ok());
    request.push(b' ');
    let large = raw(&request, &mut Vault::texts(&[])).unwrap_err();
    assert_eq!(large.code, Code::InputTooLarge);
}

#[test]
fn an_answer_fills_its_limit_and_what_has_no_room_is_an_error() {
    let around = br#"{"protocolVersion":1,"values":{"a":""},"errors":{}}"#.len();
    // Room is counted with a comma for each id.
    let room = MAX_ANSWER - around - 1;
    let vault = |len: usize| Vault(vec![("a", vec![b'x'; len]), ("b", b"small".to_vec())]);
    assert_eq!(
        raw(&asked(&json!(["a"])), &mut vault(room)).unwrap().len(),
        MAX_ANSWER - 1
    );
    let got = answer(json!(["a", "b"]), &mut vault(room + 1));
    assert_eq!(got["errors"]["a"]["code"], "TOO_LARGE");
    assert_eq!(got["values"], json!({"b": "small"}));
    // Escaping counts: every control character takes six bytes.
    let mut control = Vault(vec![("a", vec![1; MAX_VALUE / 2])]);
    assert_eq!(
        answer(json!(["a"]), &mut control)["errors"]["a"]["code"],
        "TOO_LARGE"
    );
    let long: Vec<String> = (0..MAX_IDS).map(|i| format!("{i:0256}")).collect();
    let failed = raw(&asked(&json!(long)), &mut Vault::texts(&[])).unwrap_err();
    assert_eq!(failed.code, Code::InputTooLarge);
}

#[test]
fn our_own_client_understands_our_answer() {
    let mut vault = Vault::texts(&[("a", "value\n\"")]);
    let output = raw(&asked(&json!(["a", "b"])), &mut vault).unwrap();
    let values = crate::source::exec::response::parse("vault", &["a", "b"], &output, true).unwrap();
    assert_eq!(values[0].as_ref().unwrap().expose(), b"value\n\"");
    let absent = values[1].as_ref().unwrap_err();
    assert_eq!(crate::error::Coded::code(absent), Code::RefAbsent);
}
