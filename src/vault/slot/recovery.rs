//! The recovery code: 160 random bits as people write them down.
//!
//! Eight groups of four Crockford base32 characters and a ninth that finds typing errors,
//! `ABCD-…-WXYZ`. Reading takes any case, spaces or hyphens or none, `O` for 0, `I` and `L` for 1.

use super::VaultError;
use crate::crypto::Random;
use crate::crypto::derive::derive_recovery_check;
use crate::secret::SecretValue;

/// The bytes of a recovery code: the secret of its slot.
pub const CODE_LEN: usize = 20;
/// The characters of a code as printed: nine groups of four, eight hyphens.
pub const TEXT_LEN: usize = 44;
/// The longest text that is read as a code, in bytes.
pub const MAX_TEXT: usize = 128;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters that carry the code, and characters in all.
const CODE_CHARS: usize = 32;
const CHARS: usize = 36;

/// A new code.
pub fn generate(rng: &mut dyn Random) -> SecretValue {
    SecretValue::build(CODE_LEN, |out| rng.fill(out))
}

/// The code as text. Fails if `code` has another length than [`CODE_LEN`].
pub fn format(code: &SecretValue) -> Result<SecretValue, VaultError> {
    let bytes = code.expose();
    if bytes.len() != CODE_LEN {
        return Err(VaultError::RecoveryCode);
    }
    let check = derive_recovery_check(bytes);
    Ok(SecretValue::build(TEXT_LEN, |out| {
        out.fill(b'-');
        for i in 0..CHARS {
            let five = if i < CODE_CHARS {
                five_bits(bytes, i)
            } else {
                check_bits(check, i)
            };
            out[i + i / 4] = ALPHABET[usize::from(five)];
        }
    }))
}

/// The code from what a person typed.
pub fn parse(text: &SecretValue) -> Result<SecretValue, VaultError> {
    if text.len() > MAX_TEXT {
        return Err(VaultError::RecoveryCode);
    }
    let digits = SecretValue::try_build(CHARS, |digits| collect_digits(text.expose(), digits))?;
    let digits = digits.expose();
    let code = SecretValue::build(CODE_LEN, |out| {
        for (i, digit) in digits[..CODE_CHARS].iter().enumerate() {
            let (byte, shift) = (i * 5 / 8, i * 5 % 8);
            let wide = u16::from(*digit) << (11 - shift);
            out[byte] |= wide.to_be_bytes()[0];
            if shift > 3 {
                out[byte + 1] |= wide.to_be_bytes()[1];
            }
        }
    });
    let check = derive_recovery_check(code.expose());
    let matches = (CODE_CHARS..CHARS).all(|i| digits[i] == check_bits(check, i));
    if matches {
        Ok(code)
    } else {
        Err(VaultError::RecoveryCode)
    }
}

fn collect_digits(text: &[u8], digits: &mut [u8]) -> Result<(), VaultError> {
    let mut count = 0;
    for letter in text {
        let letter = match letter.to_ascii_uppercase() {
            b' ' | b'-' | b'\t' | b'\r' | b'\n' => continue,
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        let digit = ALPHABET.iter().position(|known| *known == letter);
        let digit = digit.and_then(|digit| u8::try_from(digit).ok());
        match (digit, digits.get_mut(count)) {
            (Some(digit), Some(place)) => *place = digit,
            _ => return Err(VaultError::RecoveryCode),
        }
        count += 1;
    }
    if count == CHARS {
        Ok(())
    } else {
        Err(VaultError::RecoveryCode)
    }
}

/// The `i`-th group of five bits, most significant first.
fn five_bits(bytes: &[u8], i: usize) -> u8 {
    let (byte, shift) = (i * 5 / 8, i * 5 % 8);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    let wide = u16::from_be_bytes([bytes[byte], next]);
    ((wide >> (11 - shift)) & 31) as u8
}

/// The five bits of the check character at place `i`.
fn check_bits(check: u32, i: usize) -> u8 {
    ((check >> (5 * (CHARS - 1 - i))) & 31) as u8
}
