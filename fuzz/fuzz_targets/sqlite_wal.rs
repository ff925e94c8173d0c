//! The log of a database: any log gives an image within bounds, and one that does not count leaves
//! the database as it is; a log whose checksums are right gives what a plain reading of its frames
//! gives.
//!
//! The input is taken twice. As it is: a byte that says how long the database is, the database, and
//! the log. And as the plan of a log: a byte for the form, then four bytes for each frame.
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
    let plan = Plan::read(*first, rest);
    assert_eq!(applied(&plan.main, &plan.log), plan.image);
});

/// A database and a log that are made from an input, and what they come to.
struct Plan {
    main: Vec<u8>,
    log: Vec<u8>,
    image: Vec<u8>,
}

const SALTS: [u8; 8] = *b"saltsalt";

impl Plan {
    fn read(form: u8, frames: &[u8]) -> Self {
        let is_big = form & 1 == 1;
        let page = 512 << (form >> 1 & 1);
        let main = vec![form; page * usize::from(form >> 2 & 3)];
        let mut log = vec![0x37, 0x7f, 0x06, 0x82 | form & 1];
        log.extend(3_007_000_u32.to_be_bytes());
        log.extend((page as u32).to_be_bytes());
        log.extend([0; 4]);
        log.extend(SALTS);
        let mut sums = checksum((0, 0), &log, is_big);
        put(&mut log, sums);
        let mut image = main.clone();
        let (mut pending, mut counts) = (Vec::new(), true);
        for frame in frames.as_chunks::<4>().0 {
            let [number, size, fill, spoil] = *frame;
            let (number, size) = (number % 8, size % 8);
            let mut bytes = [
                u32::from(number).to_be_bytes(),
                u32::from(size).to_be_bytes(),
            ]
            .concat();
            let content = vec![fill; page];
            sums = checksum(checksum(sums, &bytes, is_big), &content, is_big);
            bytes.extend(SALTS);
            put(&mut bytes, sums);
            bytes.extend(&content);
            // Most frames are whole; one that is not ends the log.
            let spoilt = usize::from(spoil).checked_sub(240);
            if let Some(at) = spoilt {
                bytes[at] ^= 1;
            }
            log.extend(bytes);
            counts &= number > 0 && spoilt.is_none();
            if !counts {
                continue;
            }
            pending.push((usize::from(number) - 1, content));
            if size > 0 {
                image.resize(usize::from(size) * page, 0);
                for (index, content) in pending.drain(..) {
                    if index < usize::from(size) {
                        image[index * page..][..page].copy_from_slice(&content);
                    }
                }
            }
        }
        // An image in memory has no log.
        image.iter_mut().skip(18).take(2).for_each(|b| *b = 1);
        Self { main, log, image }
    }
}

fn put(bytes: &mut Vec<u8>, (a, b): (u32, u32)) {
    bytes.extend(a.to_be_bytes());
    bytes.extend(b.to_be_bytes());
}

/// The checksum that the file format of SQLite describes (section 4.2).
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let words: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| match is_big {
            true => u32::from_be_bytes(*word),
            false => u32::from_le_bytes(*word),
        })
        .collect();
    for pair in words.as_chunks::<2>().0 {
        a = a.wrapping_add(pair[0]).wrapping_add(b);
        b = b.wrapping_add(pair[1]).wrapping_add(a);
    }
    (a, b)
}
