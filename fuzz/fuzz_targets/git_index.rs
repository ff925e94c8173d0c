//! Git's index: any bytes are read to an answer, and an index of our own making has exactly the
//! entry that it was made with. The input is an index, or a path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::audit::git_index::{Unknown, has_entry};

fuzz_target!(|data: &[u8]| {
    let _ = has_entry(data, b"a/b");
    if data.is_empty() || data.contains(&0) {
        return;
    }
    for version in [2, 3, 4] {
        let index = index(version, data);
        assert_eq!(has_entry(&index, data), Ok(true));
        assert_ne!(has_entry(&index, &data[1..]), Ok(true));
        let cut = &index[..index.len().min(12 + 62)];
        assert_eq!(has_entry(cut, data), Err(Unknown::Form));
    }
});

fn index(version: u32, path: &[u8]) -> Vec<u8> {
    let mut index = b"DIRC".to_vec();
    index.extend(version.to_be_bytes());
    index.extend(1_u32.to_be_bytes());
    index.extend([0; 62]);
    if version == 4 {
        index.push(0);
    }
    index.extend(path);
    index.extend([0; 8]);
    index
}
