//! The line editor of hidden prompts: bytes in, one answer in locked memory out.

use crate::secret::SecretValue;
use crate::sys::arena::LockedBytes;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const CTRL_Z: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What a byte led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Line,
    Cancelled,
    Suspend,
}

/// Where in an escape sequence (an arrow key, a bracketed paste) the input stands.
enum Escape {
    None,
    Started,
    Control,
}

/// The answer so far.
pub(super) struct Editor {
    bytes: LockedBytes,
    len: usize,
    overflow: bool,
    escape: Escape,
}

impl Editor {
    /// An empty answer of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        let bytes = LockedBytes::zeroed(max);
        Self {
            bytes,
            len: 0,
            overflow: false,
            escape: Escape::None,
        }
    }

    /// Takes one byte from the terminal.
    pub(super) fn push(&mut self, byte: u8) -> Step {
        match self.escape {
            Escape::Started => {
                let sequence = matches!(byte, b'[' | b'O');
                self.escape = if sequence {
                    Escape::Control
                } else {
                    Escape::None
                };
                return Step::More;
            }
            Escape::Control => {
                if matches!(byte, 0x40..=0x7e) {
                    self.escape = Escape::None;
                }
                return Step::More;
            }
            Escape::None => {}
        }
        match byte {
            b'\n' | b'\r' => return Step::Line,
            CTRL_C | CTRL_D => return Step::Cancelled,
            CTRL_Z => return Step::Suspend,
            ESCAPE => self.escape = Escape::Started,
            BACKSPACE | DELETE => self.delete_character(),
            CTRL_U => self.clear(),
            CTRL_W => self.delete_word(),
            b'\t' | b' '.. => self.append(byte),
            _ => {}
        }
        Step::More
    }

    /// Forgets what was typed.
    pub(super) fn clear(&mut self) {
        self.cut(0);
        self.overflow = false;
        self.escape = Escape::None;
    }

    /// The answer, or `None` if it was longer than the maximum.
    pub(super) fn answer(&self) -> Option<SecretValue> {
        (!self.overflow).then(|| SecretValue::copy_of(&self.bytes.as_slice()[..self.len]))
    }

    fn append(&mut self, byte: u8) {
        match self.bytes.as_mut_slice().get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.overflow = true,
        }
    }

    fn delete_character(&mut self) {
        let typed = &self.bytes.as_slice()[..self.len];
        let is_start = |byte: &u8| byte & 0xc0 != 0x80;
        self.cut(typed.iter().rposition(is_start).unwrap_or(0));
    }

    fn delete_word(&mut self) {
        let typed = self.bytes.as_slice()[..self.len].trim_ascii_end();
        self.cut(
            typed
                .iter()
                .rposition(u8::is_ascii_whitespace)
                .map_or(0, |space| space + 1),
        );
    }

    fn cut(&mut self, len: usize) {
        self.bytes.as_mut_slice()[len..].fill(0);
        self.len = len;
    }
}
