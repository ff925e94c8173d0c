use super::*;

const MIB: u64 = 1024;

fn chosen(floor_ms: u64, available_mib: Option<u64>) -> u32 {
    let cost = choose(
        Some(Duration::from_millis(floor_ms)),
        available_mib.map(|mib| mib * MIB),
    );
    assert_eq!((cost.t, cost.p), (3, 4));
    cost.m_kib >> 10
}

#[test]
fn the_smallest_memory_that_takes_half_a_second() {
    assert_eq!(chosen(500, None), 64);
    assert_eq!(chosen(499, None), 128);
    assert_eq!(chosen(250, None), 128);
    assert_eq!(chosen(249, None), 256);
    assert_eq!(chosen(63, None), 512);
    assert_eq!(chosen(40, None), 1024);
    assert_eq!(chosen(1, None), 1024);
    assert_eq!(chosen(60_000, None), 64);
}

#[test]
fn a_quarter_of_the_memory_and_never_less_than_the_floor() {
    assert_eq!(chosen(1, Some(4096)), 1024);
    assert_eq!(chosen(1, Some(4095)), 512);
    assert_eq!(chosen(1, Some(1024)), 256);
    assert_eq!(chosen(1, Some(300)), 64);
    assert_eq!(chosen(1, Some(16)), 64);
    assert_eq!(choose(None, None), KdfParams::FLOOR);
}

#[test]
fn calibration_gives_a_cost_that_this_machine_opens() {
    let cost = calibrate();
    assert!(STEPS_KIB.contains(&cost.m_kib));
    assert_eq!((cost.t, cost.p), (3, 4));
    if cost.m_kib > KdfParams::FLOOR.m_kib {
        cost.check(&limit(None)).unwrap();
    }
}

#[test]
fn limits_of_the_machine_and_its_groups() {
    let meminfo = "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:    4096000 kB\n";
    assert_eq!(mem_available(meminfo), Some(4_096_000));
    assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
    assert_eq!(group_limit("max\n"), None);
    assert_eq!(group_limit("9223372036854771712\n"), None);
    assert_eq!(group_limit("268435456\n"), Some(256 * MIB));
    let files = limit_files("12:cpu:/a\n4:memory:/docker/x\n0::/user.slice/u\n");
    let names: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/user.slice/u/memory.max",
            "/sys/fs/cgroup/user.slice/u/memory.high",
            "/sys/fs/cgroup/user.slice/memory.max",
            "/sys/fs/cgroup/user.slice/memory.high",
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory.high",
        ]
    );
    assert_eq!(limit_files("0::/../../etc"), Vec::<PathBuf>::new());
    assert_eq!(smallest([None, Some(3), Some(2)].into_iter()), Some(2));
    assert_eq!(smallest([None].into_iter()), None);
}

#[test]
fn the_limit_knows_the_memory_unless_it_is_raised() {
    // How much is available changes from one look to the next, that it is known does not.
    assert!(limit(None).available_kib.is_some_and(|kib| kib > 0));
    let raised = limit(Some(8 << 30));
    assert_eq!((raised.max_m_kib, raised.available_kib), (8 << 20, None));
    assert_eq!(limit(Some(u64::MAX)).max_m_kib, u32::MAX);
}
