use super::*;
use crate::daemon::fake;
use crate::reference::SecretRef;
use crate::runtime::service::{
    Answer, MAX_RESOLVE_REFS, RefOutcome, RefReport, Report, VersionInfo,
};
use proptest::prelude::*;

fn body(frame: &Frame) -> (Head, &[u8]) {
    let head = Head::parse(*frame.text.first_chunk().unwrap()).unwrap();
    assert_eq!(frame.text.len(), HEAD + head.json);
    let payload: usize = frame.secrets.iter().map(SecretValue::len).sum();
    assert_eq!(head.payload, payload);
    (head, &frame.text[HEAD..])
}

fn read_back(frames: &[Frame]) -> (Told, Vec<SecretValue>) {
    let mut whole: Option<Told> = None;
    let mut values = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        let (head, json) = body(frame);
        let part = parse_answer(json, head.payload).unwrap();
        assert_eq!(part.more, i + 1 < frames.len());
        values.extend(frame.secrets.iter().cloned());
        match &mut whole {
            None => whole = Some(part.body),
            Some(whole) => merge_answer(whole.as_mut().unwrap(), part.body.unwrap()).unwrap(),
        }
    }
    (whole.unwrap(), values)
}

fn refs(count: usize) -> Vec<SecretRef> {
    let long = "n".repeat(200);
    let one = |i| format!("vault:{long}{i}").parse().unwrap();
    (0..count).map(one).collect()
}

fn envelope(json: &str, payload: usize) -> Result<Part<Ask>, FrameError> {
    parse_request(json.as_bytes(), payload)
}

#[test]
fn the_bytes_of_a_request() {
    let name = "openai/default".parse().unwrap();
    let ask = Ask::Request(Request::Get {
        name,
        version: None,
    });
    let frames = request_frames(ask.clone(), &[]).unwrap();
    let json = br#"{"v":1,"request":{"op":"get","name":"openai/default","version":null}}"#;
    let mut expected = Vec::new();
    expected.extend(u32::try_from(json.len() + 4).unwrap().to_le_bytes());
    expected.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
    expected.extend(json);
    assert_eq!(frames[0].text, expected);
    assert_eq!(
        envelope(std::str::from_utf8(json).unwrap(), 0)
            .unwrap()
            .body,
        ask
    );
}

#[test]
fn json_never_holds_the_value() {
    let canary = b"canary-5d41402abc4b2a76";
    let answer = Answer {
        reply: Reply::Value(fake::info("a")),
        secrets: vec![SecretValue::copy_of(canary)],
    };
    let frames = answer_frames(Ok(answer)).unwrap();
    let text = String::from_utf8_lossy(&frames[0].text);
    assert!(
        !text.contains("canary") && text.contains(r#""secrets":[23]"#),
        "{text}"
    );
    assert!(!format!("{frames:?}").contains("canary"));
}

#[test]
fn lengths_over_their_limits_or_against_each_other() {
    let head = |frame: usize, json: usize| {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&u32::try_from(frame).unwrap().to_le_bytes());
        bytes[4..].copy_from_slice(&u32::try_from(json).unwrap().to_le_bytes());
        Head::parse(bytes)
    };
    let max = Head {
        json: 2,
        payload: MAX_FRAME - 6,
    };
    assert_eq!(head(MAX_FRAME, 2), Ok(max));
    assert_eq!(head(MAX_FRAME + 1, 2), Err(FrameError::TooLarge));
    assert!(head(MAX_FRAME, MAX_JSON).is_ok());
    assert_eq!(head(MAX_FRAME, MAX_JSON + 1), Err(FrameError::TooLarge));
    assert_eq!(head(u32::MAX as usize, 2), Err(FrameError::TooLarge));
    assert_eq!(head(3, 0), Err(FrameError::Lengths));
    assert_eq!(head(10, 7), Err(FrameError::Lengths));
}

#[test]
fn envelopes_that_are_refused() {
    use FrameError::{Attachments, Body, Lengths, TooLarge};
    let list = r#""request":{"op":"list"}"#;
    let unlock = r#""unlock":{"ttlMs":1,"idleMs":2,"strict":false,"allowDegraded":true}"#;
    assert!(envelope(&format!("{{\"v\":1,{list}}}"), 0).is_ok());
    assert!(envelope(&format!("{{\"v\":1,{unlock},\"secrets\":[3]}}"), 3).is_ok());
    for (json, payload, error) in [
        ("{\"v\":1}".to_owned(), 0, Body),
        (format!("{{\"v\":1,{list},{unlock}}}"), 0, Body),
        ("{\"v\":1,\"ok\":{\"reply\":\"done\"}}".to_owned(), 0, Body),
        (
            format!("{{\"v\":1,{list},\"secrets\":[1]}}"),
            1,
            Attachments,
        ),
        (format!("{{\"v\":1,{unlock}}}"), 0, Attachments),
        (
            format!("{{\"v\":1,{unlock},\"secrets\":[1,1]}}"),
            2,
            Attachments,
        ),
        (format!("{{\"v\":1,{unlock},\"secrets\":[4]}}"), 3, Lengths),
        (format!("{{\"v\":1,{list}}}"), 1, Lengths),
        (
            format!("{{\"v\":1,{unlock},\"secrets\":[{}]}}", MAX_VALUE + 1),
            MAX_VALUE + 1,
            TooLarge,
        ),
        (
            format!(
                "{{\"v\":1,{list},\"secrets\":{:?}}}",
                vec![0; MAX_ATTACHMENTS + 1]
            ),
            0,
            TooLarge,
        ),
        (format!("{{\"v\":2,{list}}}"), 0, FrameError::Version(2)),
        (
            "{\"v\":7,\"novel\":{}}".to_owned(),
            0,
            FrameError::Version(7),
        ),
    ] {
        assert_eq!(envelope(&json, payload), Err(error), "{json}");
    }
}

#[test]
fn what_is_no_envelope_is_refused_without_being_quoted() {
    for json in [
        "",
        "canary",
        "{\"v\":1,\"canary\":1}",
        "{\"v\":1,\"request\":\"canary\"}",
        "{\"v\":1,\"request\":{\"op\":\"canary\"}}",
        "{\"v\":1,\"v\":1,\"request\":{\"op\":\"list\"}}",
        "{\"v\":1,\"request\":{\"op\":\"get\",\"name\":\"a\",\"canary\":1}}",
        "{\"v\":\"canary\",\"request\":{\"op\":\"list\"}}",
        "{\"v\":1,\"request\":{\"op\":\"get\",\"name\":\"canary canary\"}}",
        "{\"v\":1,\"request\":{\"op\":\"list\"}} canary",
        &"[".repeat(100_000),
    ] {
        let error = envelope(json, 0).unwrap_err();
        assert!(matches!(error, FrameError::Envelope { .. }), "{error:?}");
        assert!(!Failure::from(error).message.contains("canary"));
    }
}

#[test]
fn the_largest_value_and_metadata_fit_one_frame() {
    let mut info = fake::info(&"n".repeat(256));
    info.meta.note = Some("\u{1}".repeat((16 << 10) / 6));
    let answer = Answer {
        reply: Reply::Value(info),
        secrets: vec![SecretValue::build(MAX_VALUE, |_| {})],
    };
    assert_eq!(answer_frames(Ok(answer)).unwrap().len(), 1);
}

#[test]
fn a_message_without_a_list_is_never_cut() {
    let mut info = fake::info("a");
    info.meta.note = Some("n".repeat(MAX_JSON));
    let answer = Answer {
        reply: Reply::Value(info),
        secrets: vec![SecretValue::copy_of(b"v")],
    };
    assert_eq!(answer_frames(Ok(answer)).unwrap_err(), FrameError::TooLarge);
    let value = SecretValue::build(MAX_VALUE + 1, |_| {});
    let unlock = Unlock {
        ttl_ms: 0,
        idle_ms: 0,
        strict: false,
        allow_degraded: false,
    };
    let refused = request_frames(Ask::Unlock(unlock), &[value]);
    assert_eq!(refused.unwrap_err(), FrameError::TooLarge);
}

#[test]
fn long_lists_travel_in_several_frames() {
    let names = |prefix: &str| {
        (0..20_000)
            .map(|i| format!("{prefix}/{i}"))
            .collect::<Vec<_>>()
    };
    let records = Reply::Records(names("r").iter().map(|name| fake::info(name)).collect());
    let version = VersionInfo {
        version: 1,
        current: true,
        created_at: None,
        note: Some("x".repeat(100)),
    };
    let failed = |name: &String| RefReport {
        owner: name.as_str().into(),
        file: "reseal.json".into(),
        reference: None,
        outcome: RefOutcome::Error,
        failure: None,
        reason: None,
        optional: false,
    };
    let mut snapshot = fake::snapshot(3);
    snapshot.failures = names("failure").iter().map(failed).collect();
    let report = Report {
        snapshot,
        refs: names("ref").iter().map(failed).collect(),
    };
    for reply in [
        records,
        Reply::Versions(vec![version; 20_000]),
        Reply::Report(report),
    ] {
        let frames = answer_frames(Ok(Answer::plain(reply.clone()))).unwrap();
        assert!(frames.len() > 1);
        assert_eq!(read_back(&frames), (Ok(reply), Vec::new()));
    }
}

#[test]
fn a_long_resolve_goes_and_comes_back_in_order() {
    let all = refs(MAX_RESOLVE_REFS);
    let ask = Ask::Request(Request::Resolve { refs: all.clone() });
    let frames = request_frames(ask.clone(), &[]).unwrap();
    assert!(frames.len() > 1);
    let mut parts = frames.iter().map(|frame| {
        let (head, json) = body(frame);
        parse_request(json, head.payload).unwrap().body
    });
    let mut whole = parts.next().unwrap();
    parts
        .try_for_each(|part| merge_request(&mut whole, part))
        .unwrap();
    assert_eq!(whole, ask);
    let one = Ask::Request(Request::Resolve { refs: refs(1) });
    assert_eq!(merge_request(&mut whole, one), Err(FrameError::TooLarge));
    let failed = Outcome::Failed(Failure::new(Code::RefAbsent, "no such ref"));
    let mut outcomes = vec![Outcome::Ok; 1500];
    outcomes[3] = failed;
    let secrets: Vec<_> = (0..1499u32)
        .map(|i| SecretValue::copy_of(&i.to_le_bytes().repeat(1000)))
        .collect();
    let answer = Answer {
        reply: Reply::Resolved(outcomes.clone()),
        secrets: secrets.clone(),
    };
    let frames = answer_frames(Ok(answer)).unwrap();
    assert!(frames.iter().all(|f| f.secrets.len() <= MAX_ATTACHMENTS));
    assert_eq!(read_back(&frames), (Ok(Reply::Resolved(outcomes)), secrets));
}

#[test]
fn parts_that_dont_fit_together() {
    let mut records = Reply::Records(vec![fake::info("a")]);
    for next in [
        Reply::Records(Vec::new()),
        Reply::Versions(Vec::new()),
        Reply::Done,
        Reply::Report(fake::report(1)),
    ] {
        assert_eq!(
            merge_answer(&mut records, next),
            Err(FrameError::Continuation)
        );
    }
    assert_eq!(
        merge_answer(&mut Reply::Done, Reply::Done),
        Err(FrameError::Continuation)
    );
    let mut list = Ask::Request(Request::List);
    let resolve = Ask::Request(Request::Resolve { refs: refs(1) });
    assert_eq!(
        merge_request(&mut list, resolve.clone()),
        Err(FrameError::Continuation)
    );
    let empty = Ask::Request(Request::Resolve { refs: Vec::new() });
    assert_eq!(
        merge_request(&mut resolve.clone(), empty),
        Err(FrameError::Continuation)
    );
}

#[test]
fn failures_cross_with_their_code_and_a_bounded_text() {
    let failure = Failure::new(Code::RecordAbsent, "ä".repeat(MAX_MESSAGE));
    let frames = answer_frames(Err(failure)).unwrap();
    let back = read_back(&frames).0.unwrap_err();
    assert_eq!(back.code, Code::RecordAbsent);
    assert_eq!(back.message, "ä".repeat(MAX_MESSAGE / 2));
    let json = br#"{"v":1,"error":{"code":"novel.code","message":"m"}}"#;
    let unknown = parse_answer(json, 0).unwrap().body.unwrap_err();
    assert_eq!(unknown.code, Code::DaemonVersion);
}

fn frame_bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(r#"{"v":1,"request":{"op":"list"}}"#.to_owned()),
        Just(r#"{"v":1,"ok":{"reply":"done"}}"#.to_owned()),
        Just(r#"{"v":1,"ok":{"reply":"resolved","data":["ok","ok"]},"secrets":[2,1]}"#.to_owned()),
        Just(r#"{"v":1,"error":{"code":"bug","message":"é\n"},"more":true}"#.to_owned()),
        Just(
            concat!(
                r#"{"v":1,"request":{"op":"put","name":"a","kind":"static","#,
                r#""meta":{"x":[1.5,null]},"expect":"any"},"secrets":[3]}"#
            )
            .to_owned()
        ),
        "[ -~]{0,60}",
    ];
    (text, 0..5usize).prop_map(|(text, payload)| {
        let mut bytes = Vec::new();
        bytes.extend(length(4 + text.len() + payload).to_le_bytes());
        bytes.extend(length(text.len()).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(vec![b'p'; payload]);
        bytes
    })
}

proptest! {
    #[test]
    fn numbers_in_metadata_stay_what_they_are(number in proptest::num::f64::NORMAL) {
        let json = format!(
            "{{\"v\":1,\"request\":{{\"op\":\"put\",\"name\":\"a\",\"kind\":\"static\",\
             \"meta\":{{\"x\":{number:e}}},\"expect\":\"any\"}},\"secrets\":[0]}}"
        );
        let Ask::Request(Request::Put { meta, .. }) = envelope(&json, 0).unwrap().body else {
            panic!("not a put");
        };
        prop_assert_eq!(meta.other["x"].as_f64(), Some(number));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn nearly_right_frames_are_read_without_harm(
        frames in proptest::collection::vec(frame_bytes(), 1..4),
        flip in any::<(proptest::sample::Index, u8)>(),
    ) {
        let whole = frames.concat();
        prop_assert_eq!(exercise(&whole), frames.len());
        let mut bytes = whole;
        let at = flip.0.index(bytes.len());
        bytes[at] ^= flip.1;
        exercise(&bytes);
    }
}

proptest! {
    // Each case moves megabytes.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mix_of_outcomes_comes_back(
        sizes in proptest::collection::vec(proptest::option::of(0..300_000usize), 0..20),
    ) {
        let failed = Outcome::Failed(Failure::new(Code::RefEmpty, "empty"));
        let outcomes: Vec<_> = sizes
            .iter()
            .map(|size| size.map_or(failed.clone(), |_| Outcome::Ok))
            .collect();
        let secrets: Vec<_> = sizes
            .iter()
            .flatten()
            .map(|size| SecretValue::build(*size, |bytes| bytes.fill(*size as u8)))
            .collect();
        let reply = Reply::Resolved(outcomes);
        let answer = Answer { reply: reply.clone(), secrets: secrets.clone() };
        prop_assert_eq!(read_back(&answer_frames(Ok(answer)).unwrap()), (Ok(reply), secrets));
    }
}
