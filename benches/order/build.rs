//! The build script: hands the linker the order of the functions that short commands run
//! (`start.ld`; why, is in `docs/decisions/0025-order.md`).
//!
//! Only for an optimised program for Linux, and only for the linker that comes with the toolchain
//! or the system: one that somebody chose may not know such scripts.

use std::env;

const SCRIPT: &str = "benches/order/start.ld";
/// Set by cargo: the linker and the flags of whoever builds.
const CHOICES: [&str; 2] = ["RUSTC_LINKER", "CARGO_ENCODED_RUSTFLAGS"];

fn main() {
    println!("cargo::rerun-if-changed={SCRIPT}");
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    let linux = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let chosen = CHOICES.map(|name| env::var(name).unwrap_or_default());
    let other_linker = !chosen[0].is_empty() || chosen[1].contains("link");
    if linux && is("PROFILE", "release") && !other_linker {
        let folder = env!("CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg-bin=reseal=-T{folder}/{SCRIPT}");
    }
}
