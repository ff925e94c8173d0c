//! The controlling terminal (stub: owner "unlock").

use crate::secret::SecretValue;

/// Why a prompt gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is no controlling terminal.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The answer is over its limit.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The user ended the input (Ctrl-C, Ctrl-D).
    #[error("the prompt was cancelled")]
    Cancelled,
    /// The terminal failed.
    #[error("the terminal can't be used")]
    Io(#[from] std::io::Error),
}

/// The longest answer to a hidden prompt, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;

/// Asks on `/dev/tty` with echo off: echo goes off first, type-ahead is dropped, then the prompt
/// appears. Works when stdin and stdout are redirected.
pub fn read_hidden(_prompt: &str) -> Result<SecretValue, PromptError> {
    todo!()
}

/// Asks a yes/no question on `/dev/tty`; `default` is what an empty answer means.
pub fn confirm(_question: &str, _default: bool) -> Result<bool, PromptError> {
    todo!()
}
