//! Env files by line: places lie inside the file and in order, values come out whole, and lines
//! taken out leave every other byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::plaintext::dotenv::{MAX_ASSIGNMENTS, MAX_NAME, Quote, read, without};

fuzz_target!(|data: &[u8]| {
    let Ok(found) = read(data) else {
        return;
    };
    assert!(found.len() <= MAX_ASSIGNMENTS);
    let (mut at, mut line) = (0, 0);
    for assignment in &found {
        let (whole, content) = (&assignment.whole, &assignment.content);
        assert!(at <= whole.start && whole.end <= data.len());
        assert!(whole.start < content.start && content.start <= content.end);
        assert!(content.end <= whole.end && assignment.line > line);
        assert!(!assignment.name.is_empty() && assignment.name.len() <= MAX_NAME);
        let value = assignment.value(data);
        assert!(value.len() <= content.len());
        assert!(assignment.quote == Quote::Double || value.expose() == &data[content.clone()]);
        (at, line) = (whole.end, assignment.line);
    }
    assert_eq!(without(data, &found, |_| false), data);
    let kept = without(data, &found, |_| true);
    let gone: usize = found.iter().map(|assignment| assignment.whole.len()).sum();
    assert_eq!(kept.len() + gone, data.len());
});
