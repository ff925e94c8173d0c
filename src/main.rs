//! The `reseal` program: everything it does is in [`reseal::cli`].
#![forbid(unsafe_code)]

use reseal::sys::alloc::ZeroOnFree;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree(System);

fn main() -> std::process::ExitCode {
    reseal::cli::main()
}
