//! Capabilities: 32 random bytes in a private file, whose digest alone the daemon's config holds.

use crate::crypto::derive::derive_capability_digest;
use crate::error::{Code, Failure};
use crate::grants::{CAPABILITY_LEN, Digest};
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::random;
use data_encoding::BASE64URL_NOPAD;
use std::path::Path;

/// The variable that names the file with a client's capability.
pub const FILE_VARIABLE: &str = "RESEAL_CAPABILITY_FILE";
/// The length of the text form: base64url without padding.
pub const TEXT_LEN: usize = 43;

/// Makes a new one: its text form, and its digest for the config.
pub fn make() -> (SecretValue, Digest) {
    let bytes = SecretValue::build(CAPABILITY_LEN, random::fill);
    let text = SecretValue::build(TEXT_LEN, |out| {
        BASE64URL_NOPAD.encode_mut(bytes.expose(), out);
    });
    (text, derive_capability_digest(&bytes))
}

/// The digest of a text form; `None` if it is none.
pub fn digest_of(text: &SecretValue) -> Option<Digest> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let bytes = SecretValue::try_build(CAPABILITY_LEN, |out| {
        let decoded = BASE64URL_NOPAD.decode_mut(text.expose(), out);
        decoded.map(|_| ()).map_err(|_| ())
    });
    bytes.ok().map(|bytes| derive_capability_digest(&bytes))
}

/// Reads the text form from a private file.
///
/// # Errors
/// As [`files::read_secret`]; `input.invalid` if it holds something else.
pub fn read(path: &Path) -> Result<SecretValue, Failure> {
    // With room for a line end.
    let text = files::read_secret(path, TEXT_LEN + 2)?.without_line_end();
    if digest_of(&text).is_none() {
        let why = format!("{} holds no capability (43 characters)", path.display());
        return Err(Failure::new(Code::InputInvalid, why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_sha_256_of_the_bytes() {
        let (text, digest) = make();
        assert_eq!(digest_of(&text), Some(digest));
        let zeros = SecretValue::copy_of("A".repeat(TEXT_LEN).as_bytes());
        // `head -c 32 /dev/zero | sha256sum`
        let known = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        let hex = data_encoding::HEXLOWER.encode(&digest_of(&zeros).unwrap());
        assert_eq!(hex, known);
        for other in ["", "A", &"A".repeat(TEXT_LEN + 1), &"*".repeat(TEXT_LEN)] {
            assert_eq!(
                digest_of(&SecretValue::copy_of(other.as_bytes())),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("capability");
        let (text, digest) = make();
        files::write_secret(&path, None, &text).unwrap();
        assert_eq!(digest_of(&read(&path).unwrap()), Some(digest));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path).unwrap_err().code, Code::FilePermission);
        std::fs::remove_file(&path).unwrap();
        let nonsense = SecretValue::copy_of(b"nonsense");
        files::write_secret(&path, None, &nonsense).unwrap();
        assert_eq!(read(&path).unwrap_err().code, Code::InputInvalid);
    }
}
