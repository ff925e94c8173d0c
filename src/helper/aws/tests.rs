use super::*;
use crate::time::UnixMs;
use crate::vault::{Meta, RecordInfo, RecordKind};
use serde_json::{Value, json};

fn of(value: &str, expiry: Option<&str>) -> Result<Value, Failure> {
    let info = RecordInfo {
        name: "aws/work".parse().unwrap(),
        kind: RecordKind::Static,
        version: 1,
        meta: Meta {
            created_at: Some(UnixMs(1)),
            ..Meta::default()
        },
    };
    let value = SecretValue::copy_of(value.as_bytes());
    let found = Fetched { info, value };
    credentials(&found, expiry).map(|keys| serde_json::from_slice(keys.expose()).unwrap())
}

#[test]
fn every_form_that_people_have_gives_the_same() {
    let plain = json!({"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "s/+="});
    for form in [
        r#"{"Version":1,"AccessKeyId":"AKIA","SecretAccessKey":"s/+=","SessionToken":""}"#,
        r#"{"AccessKey":{"UserName":"me","AccessKeyId":"AKIA","SecretAccessKey":"s/+="}}"#,
        "[default]\n# a comment\naws_access_key_id = AKIA\naws_secret_access_key=s/+=\nregion=x\n",
        "export AWS_ACCESS_KEY_ID='AKIA'\nAWS_SECRET_ACCESS_KEY='s/+='",
        "export AWS_ACCESS_KEY_ID=AKIA\nexport AWS_SECRET_ACCESS_KEY=\"s/+=\"\n",
    ] {
        assert_eq!(of(form, None).unwrap(), plain, "{form}");
    }
    let session = json!({
        "Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
        "Expiration": "2030-01-01T00:00:00Z",
    });
    let sts = r#"{"Credentials":{"AccessKeyId":"ASIA","SecretAccessKey":"s","SessionToken":"t",
                  "Expiration":"2030-01-01T00:00:00Z"},"AssumedRoleUser":{}}"#;
    assert_eq!(of(sts, Some("2031-01-01T00:00:00Z")).unwrap(), session);
    let lines = "aws_access_key_id=ASIA\naws_secret_access_key=s\naws_session_token=t";
    assert_eq!(of(lines, Some("2030-01-01T00:00:00Z")).unwrap(), session);
}

#[test]
fn what_holds_no_keys_is_refused_without_its_text() {
    for (value, why) in [
        ("canary", "the access key id is missing"),
        (
            "{\"AccessKeyId\":\"canary\"}",
            "the secret access key is missing",
        ),
        (
            "{\"AccessKeyId\":\"canary\"",
            "it is not JSON: line 1, column 23",
        ),
        (
            "[a]\naws_access_key_id=canary\n[b]\n",
            "it has more than one profile",
        ),
    ] {
        let failure = of(value, None).unwrap_err();
        let start = format!("aws/work holds no AWS keys: {why};");
        assert!(failure.message.starts_with(&start), "{}", failure.message);
        assert!(!failure.message.contains("canary"));
    }
}
