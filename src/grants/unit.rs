//! The systemd unit of a process, from its control group.

/// The longest `/proc/PID/cgroup` that is read, in bytes.
pub const MAX_CGROUP: usize = 64 << 10;
/// The longest name of a unit in bytes, as systemd has it.
pub const MAX_UNIT: usize = 255;

/// The unit of the system that a process belongs to, from the text of its `/proc/PID/cgroup`
/// (`cgroups(7)`): the first part of the path below its slices. Only root places processes in such
/// a group. What lies further down is the unit's own affair: a user who is given a group may name
/// groups in it as he likes, so nothing there counts.
pub fn of_cgroup(text: &str) -> Option<&str> {
    let path = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    // The one hierarchy of version 2; else systemd's own of version 1.
    let unified = path("0::").filter(|path| *path != "/");
    let path = unified.or_else(|| {
        let named = |line: &&str| line.split(':').nth(1) == Some("name=systemd");
        text.lines().find(named)?.splitn(3, ':').nth(2)
    })?;
    let mut parts = path.strip_prefix('/')?.split('/');
    let unit = parts.find(|part| !part.ends_with(".slice"))?;
    // systemd puts `_` before a name that the kernel would take for one of its own files.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    is_unit(unit).then_some(unit)
}

/// True if `text` can name a unit that has processes.
pub fn is_unit(text: &str) -> bool {
    let stem = [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .find_map(|kind| text.strip_suffix(kind));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    text.len() <= MAX_UNIT
        && stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.'))
        && text.bytes().all(allowed)
}
