//! Exec providers: protocol version 1 over a command's stdin and stdout.

/// Answers of exec providers with `cacheTtlMs`, in locked memory; owned by the caller.
#[derive(Debug, Default)]
pub struct Cache {}
