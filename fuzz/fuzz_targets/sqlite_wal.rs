//! The log of a database: any log gives an image within bounds, and one that does not count leaves
//! the database as it is. The input is a byte that says how long the database is, the database, and
//! the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::family::sqlite::MAX_DATABASE;
use reseal::family::sqlite::wal::applied;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (main, log) = rest.split_at(rest.len().min(usize::from(*first) * 16));
    let image = applied(main, log);
    assert!(image.len() <= MAX_DATABASE.max(main.len()));
    let alone = applied(main, &[]);
    assert_eq!(alone.len(), main.len());
    let no_log = applied(main, log.get(1..).unwrap_or_default());
    if log.len() < 32 {
        assert_eq!(image, alone);
        assert_eq!(no_log, alone);
    }
});
