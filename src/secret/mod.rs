//! Secret values and keys: in locked pages, wiped on drop, never printed.
//!
//! Invariant: [`SecretValue::expose`] and [`Key::expose`] are the only ways to look inside; their
//! call sites are listed in `tests/tidy.rs`. No type here implements `Serialize`, `Deref`,
//! `Display` or a `Debug` that shows content; equality is constant-time.
#![forbid(unsafe_code)]

pub mod json;

use crate::sys::arena::LockedBytes;
use crate::sys::registers;
use secrecy::{ExposeSecret, SecretBox};
use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The largest secret value in bytes: 1 MiB, the limit of the vault format.
pub const MAX_VALUE: usize = 1 << 20;

/// A secret value: cheap to clone, in locked memory, wiped when the last clone is dropped.
#[derive(Clone)]
pub struct SecretValue(Arc<SecretBox<LockedBytes>>);

impl SecretValue {
    /// Copies bytes into locked memory. The caller wipes its own copy.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::build(bytes.len(), |target| target.copy_from_slice(bytes))
    }

    /// Makes a value of `len` bytes in place: `fill` gets zeroed locked memory.
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = LockedBytes::zeroed(len);
        fill(bytes.as_mut_slice());
        // Copying takes the way through them.
        registers::wipe();
        Self(Arc::new(SecretBox::new(Box::new(bytes))))
    }

    /// Like [`SecretValue::build`], for a `fill` that can fail.
    pub fn try_build<E>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = LockedBytes::zeroed(len);
        let filled = fill(bytes.as_mut_slice());
        registers::wipe();
        filled?;
        Ok(Self(Arc::new(SecretBox::new(Box::new(bytes)))))
    }

    /// Like [`SecretValue::try_build`], for a `fill` that has the kernel write the bytes, which
    /// then go through no register of this process.
    pub fn try_receive<E>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = LockedBytes::zeroed(len);
        fill(bytes.as_mut_slice())?;
        Ok(Self(Arc::new(SecretBox::new(Box::new(bytes)))))
    }

    /// Reads a stream to its end, at most `max` bytes, without a buffer that grows. Returns `None`
    /// if the stream holds more.
    pub fn read_from(reader: &mut impl Read, max: usize) -> io::Result<Option<Self>> {
        let mut capacity = max.min(4096);
        let mut buffer = LockedBytes::zeroed(capacity);
        let mut len = 0;
        loop {
            if len == capacity {
                if capacity == max {
                    let mut probe = [0u8; 1];
                    let more = read_some(reader, &mut probe)?;
                    probe.zeroize();
                    if more > 0 {
                        return Ok(None);
                    }
                    break;
                }
                let mut larger = LockedBytes::zeroed(capacity.saturating_mul(4).min(max));
                larger.as_mut_slice()[..len].copy_from_slice(buffer.as_slice());
                capacity = larger.len();
                buffer = larger;
            }
            let count = read_some(reader, &mut buffer.as_mut_slice()[len..])?;
            if count == 0 {
                break;
            }
            len += count;
        }
        Ok(Some(Self::copy_of(&buffer.as_slice()[..len])))
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.expose_secret().len()
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of this value as a value of its own. `range` must lie inside.
    ///
    /// # Panics
    /// If the range lies outside.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self::copy_of(&self.expose()[range])
    }

    /// This value without one trailing line end (`\n` or `\r\n`).
    pub fn without_line_end(&self) -> Self {
        let bytes = self.expose();
        let end = bytes.strip_suffix(b"\n").map_or(bytes.len(), |rest| {
            rest.strip_suffix(b"\r").map_or(rest.len(), <[u8]>::len)
        });
        if end == bytes.len() {
            self.clone()
        } else {
            self.slice(0..end)
        }
    }

    /// Where the value lies, for as long as somebody holds it.
    pub fn downgrade(&self) -> WeakValue {
        WeakValue(Arc::downgrade(&self.0))
    }

    /// The bytes. The one way in; call sites are listed in `tests/tidy.rs`.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret().as_slice()
    }
}

/// A value that others hold, or held: it keeps nothing alive, and the value is wiped all the same
/// when the last [`SecretValue`] is dropped.
pub struct WeakValue(Weak<SecretBox<LockedBytes>>);

impl WeakValue {
    /// The value, if it is still held.
    pub fn upgrade(&self) -> Option<SecretValue> {
        self.0.upgrade().map(SecretValue)
    }

    /// True if it is still held.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        // What is one and the same needs no look inside, and gives nothing away.
        Arc::ptr_eq(&self.0, &other.0) || self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretValue {}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue([redacted])")
    }
}

/// What a 32-byte key is for: a zero-sized marker, so that one key can't stand in for another.
pub trait Purpose {
    /// The name that `Debug` shows.
    const NAME: &'static str;
}

/// A 32-byte key for one purpose, in locked memory, made in place, never moved, wiped on drop.
pub struct Key<P: Purpose> {
    bytes: LockedBytes,
    purpose: PhantomData<fn() -> P>,
}

impl<P: Purpose> Key<P> {
    /// The length of every key in bytes.
    pub const LEN: usize = 32;

    /// Makes a key in place.
    pub fn build(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self {
            bytes: LockedBytes::zeroed(Self::LEN),
            purpose: PhantomData,
        };
        key.rebuild(fill);
        key
    }

    /// Makes another key in the place of this one.
    pub fn rebuild(&mut self, fill: impl FnOnce(&mut [u8; 32])) {
        if let Ok(array) = self.bytes.as_mut_slice().try_into() {
            fill(array);
        }
    }

    /// Like [`Key::build`], for a `fill` that can fail.
    pub fn try_build<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut outcome = Ok(());
        let key = Self::build(|array| outcome = fill(array));
        outcome.map(|()| key)
    }

    /// The bytes of the key. Call sites are listed in `tests/tidy.rs`.
    ///
    /// # Panics
    /// Never: the memory was made with this length.
    pub fn expose(&self) -> &[u8; 32] {
        self.bytes
            .as_slice()
            .try_into()
            .expect("a key has 32 bytes by construction")
    }
}

impl<P: Purpose> fmt::Debug for Key<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key<{}>([redacted])", P::NAME)
    }
}

#[cfg(test)]
mod tests;
