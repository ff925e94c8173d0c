/// System calls that open, lock, read files and ask: without their answer a command can't go on.
pub const ASKING: [&str; 9] = [
    "openat",
    "flock",
    "fcntl",
    "pread64",
    "read",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
];
