//! The `reseal` program: everything it does is in [`reseal::cli`].
#![cfg_attr(all(target_os = "linux", target_env = "gnu", not(test)), no_main)]
// Not `forbid`: `program!` names the C library's `main`, in the words of `sys`.
#![deny(unsafe_code)]

use reseal::sys::alloc::ZeroOnFree;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: ZeroOnFree = ZeroOnFree(System);

reseal::program!(reseal::cli::main);
