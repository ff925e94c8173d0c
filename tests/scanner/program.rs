//! The program that tests run.

use std::ffi::OsString;

/// Names another build of the program, such as an optimised one.
const VARIABLE: &str = "RESEAL_TEST_PROGRAM";

/// What cargo built with the tests, unless a variable names another build.
pub fn program() -> OsString {
    std::env::var_os(VARIABLE).unwrap_or_else(|| env!("CARGO_BIN_EXE_reseal").into())
}
