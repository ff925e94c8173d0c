//! Git's index: does it have an entry for a path.
//!
//! Invariant: any bytes are read to an answer, and an index that is not understood to its end does
//! not answer no. Of an entry only its path is read. Not here: the shared part of a split index,
//! and the checksum.

/// The bytes of an object's name: SHA-1, and SHA-256 where a repository chose it.
const HASHES: [usize; 2] = [20, 32];

/// Why an index does not say whether it has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A part of its entries lies in another file.
    #[error("git's index is split, and its shared part is not read")]
    Split,
    /// Another version, another extension that changes what the entries mean, or damaged.
    #[error("git's index is of a form that is not known")]
    Form,
}

/// Looks for a path among the entries of an index (git's `index-format`, versions 2 to 4).
///
/// # Errors
/// What keeps the index from answering.
pub fn has_entry(index: &[u8], wanted: &[u8]) -> Result<bool, Unknown> {
    let mut answer = Err(Unknown::Form);
    // The index does not say which hash it has; read as the other one it makes no sense.
    for hash in HASHES {
        match entries(index, wanted, 40 + hash) {
            Some(Entries::Found) => return Ok(true),
            Some(Entries::EndAt(end)) => {
                if let Some(extensions) = extensions(index, end, hash) {
                    answer = extensions.map(|()| false);
                }
            }
            None => {}
        }
    }
    answer
}

enum Entries {
    /// The path is among them.
    Found,
    /// It is not; they end here.
    EndAt(usize),
}

fn word(index: &[u8], at: usize) -> Option<u32> {
    let bytes = index.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// `flags` is where the flags of an entry stand in it.
fn entries(index: &[u8], wanted: &[u8], flags: usize) -> Option<Entries> {
    let (version, count) = (word(index, 4)?, word(index, 8)?);
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
            return Some(Entries::Found);
        }
        at = match version {
            4 => name + len + 1,
            // Filled up with zeros, at least one, to a multiple of eight.
            _ => at + (name + len - at) / 8 * 8 + 8,
        };
    }
    Some(Entries::EndAt(at))
}

/// What follows the entries: extensions up to the checksum. One whose name begins with a small
/// letter changes what the entries mean. `None` if it is something else.
fn extensions(index: &[u8], mut at: usize, hash: usize) -> Option<Result<(), Unknown>> {
    let end = index.len().checked_sub(hash)?;
    let mut answer = Ok(());
    while at != end {
        let name = index.get(at..at.checked_add(4)?)?;
        let len = word(index, at + 4)? as usize;
        match name {
            b"link" => answer = Err(Unknown::Split),
            [first, ..] if !first.is_ascii_uppercase() => answer = Err(Unknown::Form),
            _ => {}
        }
        at = at.checked_add(8)?.checked_add(len)?;
        if at > end {
            return None;
        }
    }
    Some(answer)
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
