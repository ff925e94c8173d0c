//! The `reseal` program: everything it does is in [`reseal::cli`].
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: reseal::sys::alloc::ZeroOnFree = reseal::sys::alloc::ZeroOnFree;

fn main() -> std::process::ExitCode {
    reseal::cli::main()
}
