//! Git's index: does it have an entry for a path.
//!
//! Invariant: any bytes are read to an answer; an index that is not understood has no entry. Of an
//! entry only its path is read.

/// The bytes of an object's name: SHA-1, and SHA-256 where a repository chose it.
const HASHES: [usize; 2] = [20, 32];

/// Looks for a path among the entries of an index (git's `index-format`, versions 2 to 4).
pub fn has_entry(index: &[u8], wanted: &[u8]) -> bool {
    // The index does not say which hash it has; read as the other one it makes no sense.
    let found = |hash: usize| entries(index, wanted, 40 + hash) == Some(true);
    HASHES.into_iter().any(found)
}

/// `flags` is where the flags of an entry stand in it.
fn entries(index: &[u8], wanted: &[u8], flags: usize) -> Option<bool> {
    let word = |at: usize| {
        let bytes = index.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let (version, count) = (word(4)?, word(8)?);
    if !index.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut at = 12;
    let mut path: Vec<u8> = Vec::new();
    for _ in 0..count {
        let end = at + flags + 2;
        let bits = u16::from_be_bytes(index.get(end - 2..end)?.try_into().ok()?);
        let extended = version >= 3 && bits & 0x4000 != 0;
        let mut name = end + if extended { 2 } else { 0 };
        if version == 4 {
            let (strip, used) = offset(index.get(name..)?)?;
            path.truncate(path.len().checked_sub(strip)?);
            name += used;
        } else {
            path.clear();
        }
        let len = index.get(name..)?.iter().position(|b| *b == 0)?;
        path.extend_from_slice(&index[name..name + len]);
        if path == wanted {
            return Some(true);
        }
        at = match version {
            4 => name + len + 1,
            // Filled up with zeros, at least one, to a multiple of eight.
            _ => at + (name + len - at) / 8 * 8 + 8,
        };
    }
    Some(false)
}

/// The number before a name of version 4: seven bits a byte, each continuation plus one.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (i, byte) in bytes.iter().take(8).enumerate() {
        value = (value << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
        value += 1;
    }
    None
}
