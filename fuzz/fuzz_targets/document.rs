//! JSON that is edited in place: a text that parses is kept byte for byte, means what a strict
//! reader says it means, and an edit changes one value or nothing. The first line of the input is
//! the path that is edited.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::document::{Document, DocumentError, Path};
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    let (path, text) = input.split_once('\n').unwrap_or(("a.b", input));
    let Ok(document) = Document::parse(text, "fuzz") else {
        return;
    };
    assert_eq!(document.text(), text);
    if let Ok(strict) = serde_json::from_str::<Value>(text) {
        assert_eq!(
            document.value(),
            &strict,
            "a strict reader reads another value"
        );
    }
    let Ok(path) = path.parse::<Path>() else {
        return;
    };
    assert_eq!(path.to_string().parse::<Path>().as_ref(), Ok(&path));
    edit(&document, &path);
});

fn edit(document: &Document, path: &Path) {
    let reference = json!({"source": "vault", "provider": "default", "id": "a/b"});
    let mut edited = document.clone();
    match edited.set(path, reference.clone()) {
        Ok(()) => {
            assert_eq!(edited.get(path), Some(&reference));
            read_back(&edited);
        }
        Err(DocumentError::Edit { .. }) => panic!("a valid document did not take an edit"),
        Err(_) => assert_eq!(
            edited.text(),
            document.text(),
            "a refused edit left a trace"
        ),
    }
    let mut shorter = document.clone();
    match shorter.remove(path) {
        Ok(true) => read_back(&shorter),
        Ok(false) => assert_eq!(shorter.text(), document.text()),
        Err(error) => panic!("a valid document did not lose a member: {error}"),
    }
}

fn read_back(document: &Document) {
    let again = Document::parse(document.text(), "fuzz").expect("an edited document parses");
    assert_eq!(again.value(), document.value());
}
