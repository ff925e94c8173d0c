//! Randomness from the operating system.

/// Fills a buffer from the operating system's generator.
///
/// # Panics
/// If the operating system has no randomness to give: nothing safe can be done without it.
pub fn fill(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives randomness");
}
