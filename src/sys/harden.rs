//! Hardening of this process (stub: owner "sys").

/// Called first thing in `main`: no core dumps, not dumpable, no new privileges, umask 077.
/// Failures are not fatal; `doctor` reports them.
pub fn process() {}

/// Called in a child between fork and exec, and before this process becomes another program: puts
/// back what [`process`] changed and a program would inherit (umask, core limit). Makes only
/// system calls.
pub fn release() {}
