use super::*;
use proptest::prelude::*;

fn parsed(text: &str) -> Result<Question, Failure> {
    Question::parse(&SecretValue::copy_of(text.as_bytes()))
}

fn name(text: &str) -> String {
    let question = parsed(text).unwrap();
    let user = question.username.clone().unwrap();
    question.record(&user).unwrap().to_string()
}

#[test]
fn records_are_named_after_the_question() {
    let name = |rest: &str| name(&format!("protocol=https\nhost=git.example{rest}\n"));
    assert_eq!(name("\nusername=me"), "git/https/git.example/me");
    assert_eq!(name(":8443\nusername="), "git/https/git.example:8443/#");
    assert_eq!(
        name("\npath=o/r.git\nusername=a@b/c"),
        "git/https/git.example/a#40b#2fc/o/r.git"
    );
    assert_eq!(name("\npath=\nusername=me"), "git/https/git.example/me");
    assert_eq!(
        name("\npath=../x//\nusername=me"),
        "git/https/git.example/me/#2e./x/#/#"
    );
}

#[test]
fn what_is_not_known_is_ignored_and_the_last_of_equals_counts() {
    let text = "capability[]=authtype\nprotocol=ftp\nprotocol=https\r\nhost=h\nwwwauth[]=Basic \
                realm=\"x=y\"\nusername=u\npassword=a=b \npassword_expiry_utc=12\nnew=\x01\n\nrest";
    let question = parsed(text).unwrap();
    assert_eq!(question.protocol, "https");
    assert_eq!(question.password, Some(SecretValue::copy_of(b"a=b ")));
    assert_eq!(question.expires_at, Some(UnixMs(12_000)));
    assert!(question.is_about(&"https://H".parse().unwrap()));
    assert!(!question.is_about(&"http://h".parse().unwrap()));
    assert!(!question.is_about(&"https://h:443".parse().unwrap()));
}

#[test]
fn a_broken_question_is_refused_by_its_place_and_without_its_text() {
    for (text, why) in [
        ("", "the attribute protocol is missing"),
        ("host=h\n", "the attribute protocol is missing"),
        ("protocol=https\ncanary\n", "line 2 is not NAME=VALUE"),
        (
            "protocol=ht\u{1}tps\n",
            "the attribute protocol is not plain UTF-8",
        ),
        (
            "protocol=h\npassword_expiry_utc=soon\n",
            "the attribute password_expiry_utc is no time",
        ),
        (
            "protocol=h\npassword_expiry_utc=18446744073709551615\n",
            "the attribute password_expiry_utc is no time",
        ),
    ] {
        assert_eq!(parsed(text).unwrap_err().message, why, "{text:?}");
    }
    let bytes = SecretValue::copy_of(b"protocol=h\nhost=\xff\n");
    let why = Question::parse(&bytes).unwrap_err().message;
    assert_eq!(why, "the attribute host is not plain UTF-8");
}

#[test]
fn the_limit_holds() {
    let question = |len: usize| {
        let mut text = b"protocol=https\npassword=".to_vec();
        text.resize(len, b'x');
        Question::read(&mut text.as_slice())
    };
    assert!(question(MAX_INPUT).is_ok());
    let failure = question(MAX_INPUT + 1).unwrap_err();
    assert_eq!(failure.code, Code::InputTooLarge);
    let user = "u".repeat(300);
    let long = parsed(&format!("protocol=https\nhost=h\nusername={user}\n")).unwrap();
    assert_eq!(long.record(&user).unwrap_err().code, Code::NameInvalid);
}

#[test]
fn an_answer_can_hold_no_other_attribute() {
    let answer = |user: &str, password: &[u8]| {
        let password = SecretValue::copy_of(password);
        let answer = answer(user, &password, Some(UnixMs(1_999)), "vault:x");
        answer.map(|answer| String::from_utf8(answer.expose().to_vec()).unwrap())
    };
    assert_eq!(
        answer("me", b"p=w").unwrap(),
        "username=me\npassword=p=w\npassword_expiry_utc=1\n"
    );
    for (user, password) in [
        ("me", "a\nquit=1"),
        ("me", "a\r"),
        ("me", "a\0"),
        ("m\ne", "a"),
    ] {
        let failure = answer(user, password.as_bytes()).unwrap_err();
        assert_eq!(failure.code, Code::InputInvalid);
        assert!(failure.message.starts_with("vault:x has a line end"));
    }
}

#[test]
fn places() {
    for text in [
        "https://github.com",
        "http://127.0.0.1:8080/",
        "https://[::1]:8443",
    ] {
        assert!(text.parse::<Place>().is_ok(), "{text}");
    }
    for text in [
        "github.com",
        "https://",
        "https://h/path",
        "https://me@h",
        "://h",
        "https://h?a",
    ] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn two_questions_never_share_a_record(
        a in prop::collection::vec("[ab/:.#]{0,3}", 4),
        b in prop::collection::vec("[ab/:.#]{0,3}", 4),
    ) {
        let question = |parts: &[String]| Question {
            protocol: parts[0].clone(),
            host: parts[1].clone(),
            path: Some(parts[3].clone()).filter(|path| !path.is_empty()),
            username: None,
            password: None,
            expires_at: None,
        };
        let (left, right) = (question(&a), question(&b));
        let (one, other) = (left.record(&a[2]).unwrap(), right.record(&b[2]).unwrap());
        prop_assert_eq!(one == other, a == b);
        prop_assert_eq!(left.user_of(&one), Some(a[2].clone()));
        let same_place = a[0] == b[0] && a[1] == b[1] && a[3] == b[3];
        let theirs = right.user_of(&one);
        prop_assert_eq!(theirs, same_place.then(|| a[2].clone()));
    }
}
