//! Hardening of this process (stub: owner "sys").

/// Called first thing in `main`: no core dumps, not dumpable, no new privileges, umask 077.
/// Failures are not fatal; `doctor` reports them.
pub fn process() {}
