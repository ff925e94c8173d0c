//! Frames of a stranger: whatever is put behind, over or instead of part of a valid file, reading
//! gives one of the commits that the owner made, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::vault::limits::MAX_FRAME;
use reseal::vault::{FRAME_HEAD, FrameHead};
use reseal_fuzz::{Sample, open, sample};
use std::sync::LazyLock;

static SAMPLE: LazyLock<Sample> = LazyLock::new(sample);

fuzz_target!(|data: &[u8]| {
    if let Some(head) = data.first_chunk::<FRAME_HEAD>()
        && let Ok(head) = FrameHead::parse(head)
    {
        assert!(head.total_len() <= MAX_FRAME);
    }
    let Some((place, patch)) = data.split_first_chunk::<3>() else {
        return;
    };
    let whole = &SAMPLE.created.bytes;
    let start = SAMPLE.created.header.bytes().len();
    let at = usize::from(u16::from_le_bytes([place[0], place[1]]));
    let at = start + at % (whole.len() - start + 1);
    let mut file = whole[..at].to_vec();
    file.extend(patch);
    // Either the file ends here, or what follows the patch is still there, shifted or not.
    match place[2] % 3 {
        0 => {}
        1 => file.extend(&whole[at..]),
        _ => file.extend(whole.get(at + patch.len()..).unwrap_or_default()),
    }
    let Ok(vault) = open(&SAMPLE.created, &file) else {
        return;
    };
    let end = usize::try_from(vault.valid_end()).expect("a small file");
    let made = SAMPLE
        .commits
        .iter()
        .any(|(at, head)| *at == end && *head == vault.head());
    assert!(made, "a commit that nobody made");
    assert_eq!(
        file[..end],
        whole[..end],
        "a commit over bytes that nobody wrote"
    );
});
