//! The write-ahead log of a SQLite database, applied in memory.
//!
//! After the file format that SQLite documents (<https://www.sqlite.org/fileformat2.html>, section
//! 4): a header, then frames of one page each; a frame counts if its salts are the header's, its
//! checksum fits, and a commit follows.
//!
//! Invariant: any bytes give an image that is no larger than [`MAX_DATABASE`]; what does not count
//! is left out, as SQLite leaves it out.

use super::MAX_DATABASE;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The magic number; its lowest bit says that checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// The database as the last commit left it, as a database without a log.
pub fn applied(main: &[u8], wal: &[u8]) -> Vec<u8> {
    let mut image = main.to_vec();
    if let Some(log) = Log::read(wal) {
        log.apply(&mut image);
    }
    // Read and write version "legacy": SQLite would look for the log of an image in memory.
    if image.len() > 20 {
        image[18..20].fill(1);
    }
    image
}

/// The size of the pages of a log, if it is one.
pub fn page_size(wal: &[u8]) -> Option<usize> {
    Log::read(wal).map(|log| log.page)
}

struct Log<'a> {
    frames: &'a [u8],
    page: usize,
    salts: &'a [u8],
    big_endian: bool,
    sums: (u32, u32),
}

impl<'a> Log<'a> {
    fn read(wal: &'a [u8]) -> Option<Self> {
        let header = wal.get(..HEADER)?;
        let magic = number(header, 0);
        let page = number(header, 8) as usize;
        let is_size = page.is_power_of_two() && (512..=65_536).contains(&page);
        if magic & !1 != MAGIC || !is_size {
            return None;
        }
        let big_endian = magic & 1 == 1;
        let sums = checksum((0, 0), &header[..24], big_endian);
        (sums == (number(header, 24), number(header, 28))).then_some(Self {
            frames: &wal[HEADER..],
            page,
            salts: &header[16..24],
            big_endian,
            sums,
        })
    }

    fn apply(&self, image: &mut Vec<u8>) {
        let mut sums = self.sums;
        let mut pending: Vec<(usize, &[u8])> = Vec::new();
        for frame in self.frames.chunks_exact(FRAME_HEADER + self.page) {
            let (head, page) = frame.split_at(FRAME_HEADER);
            sums = checksum(sums, &head[..8], self.big_endian);
            sums = checksum(sums, page, self.big_endian);
            let fits = &head[8..16] == self.salts
                && sums == (number(head, 16), number(head, 20))
                && number(head, 0) > 0;
            if !fits {
                return;
            }
            pending.push((number(head, 0) as usize - 1, page));
            let pages = number(head, 4) as usize;
            if pages == 0 {
                continue;
            }
            // A commit: it says how many pages the database has now.
            let Some(size) = pages.checked_mul(self.page).filter(|s| *s <= MAX_DATABASE) else {
                return;
            };
            image.resize(size, 0);
            for (index, page) in pending.drain(..) {
                let at = index.saturating_mul(self.page);
                if let Some(target) = image.get_mut(at..at.saturating_add(self.page)) {
                    target.copy_from_slice(page);
                }
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

/// The running checksum over pairs of words.
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = number(pair, at);
            if big_endian { word } else { word.swap_bytes() }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}
