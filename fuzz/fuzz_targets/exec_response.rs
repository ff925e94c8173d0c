//! What a command answers: read from the raw text, it means what a reader of the whole JSON tree
//! says it means; a value is never empty or over its limit; an error never repeats a value. The
//! same reader takes values out of JSON files: the first line of the input is a pointer into it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::document::extract as json;
use reseal::secret::MAX_VALUE;
use reseal::source::exec::response;
use serde_json::Value;

const IDS: [&str; 2] = ["a", "b/c"];

fuzz_target!(|data: &[u8]| {
    answer(data, true);
    answer(data, false);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some((pointer, text)) = text.split_once('\n') {
        extract(pointer, text);
    }
});

fn answer(data: &[u8], json_only: bool) {
    // Raw output is a value only for exactly one id.
    let ids = &IDS[..if json_only { 2 } else { 1 }];
    let Ok(answers) = response::parse("op", ids, data, json_only) else {
        return;
    };
    assert_eq!(answers.len(), ids.len());
    let tree = serde_json::from_slice::<Value>(data).ok();
    for (id, answer) in ids.iter().zip(answers) {
        match answer {
            Ok(value) => {
                assert!((1..=MAX_VALUE).contains(&value.len()));
                let said = tree
                    .as_ref()
                    .and_then(|tree| tree.get("values")?.get(id)?.as_str());
                if json_only && let Some(said) = said {
                    assert_eq!(value.expose(), said.as_bytes());
                }
            }
            Err(error) => {
                let shown = format!("{error} {error:?}");
                let values = tree
                    .as_ref()
                    .and_then(|tree| tree.get("values")?.as_object());
                for value in values.into_iter().flat_map(|values| values.values()) {
                    let value = value.as_str().unwrap_or_default();
                    assert!(
                        value.len() < 12 || !shown.contains(value),
                        "a value in an error"
                    );
                }
            }
        }
    }
}

fn extract(pointer: &str, text: &str) {
    let Ok(tree) = serde_json::from_str::<Value>(text) else {
        return;
    };
    // Where the library's tree ends the text is JSON, so ours may only find that a key or a string
    // is no Unicode, which the library would have refused.
    let found = json::extract(text, &[pointer]).expect("JSON is read");
    // An empty pointer is the whole document, and one without a slash is no pointer.
    if pointer.is_empty() || pointer.starts_with('/') {
        let said = tree.pointer(pointer).and_then(Value::as_str);
        let ours = found[0].as_ref().ok();
        let ours = ours.map(|value| value.expose());
        assert_eq!(
            ours,
            said.map(str::as_bytes),
            "pointer {pointer:?} leads elsewhere"
        );
    }
}
