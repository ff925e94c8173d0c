//! The unwinder, linked into the program: as a library of its own, its loading is a tenth of the
//! time that a program takes which does nothing. Where the linker takes archives in their order,
//! the library stays.

// SAFETY: declares nothing; the standard library declares what it calls.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}
