use super::*;

fn unlock(ttl_ms: u64, idle_ms: u64) -> Unlock {
    Unlock {
        ttl_ms,
        idle_ms,
        strict: false,
        allow_degraded: false,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn no_limits_never_expire() {
    let session = Session::new(&unlock(0, 0), ms(5));
    assert_eq!(session.next(ms(5)), None);
    assert_eq!(session.expired(Duration::MAX), None);
    assert_eq!(session.remaining(ms(5)), (None, None));
}

#[test]
fn the_absolute_limit_stands_whatever_is_asked() {
    let session = Session::new(&unlock(100, 0), ms(5));
    session.begin(ms(50));
    assert_eq!(session.expired(ms(104)), None);
    assert_eq!(session.remaining(ms(104)), (Some(1), None));
    assert_eq!(session.expired(ms(105)), Some(Stopped::Ttl));
}

#[test]
fn requests_put_the_idle_limit_off_while_and_after_they_run() {
    let session = Session::new(&unlock(1_000, 10), ms(0));
    assert_eq!(session.next(ms(0)), Some(ms(10)));
    session.begin(ms(9));
    assert_eq!(session.expired(ms(500)), None);
    session.end(ms(500));
    assert_eq!(session.expired(ms(509)), None);
    assert_eq!(session.remaining(ms(509)), (Some(491), Some(1)));
    assert_eq!(session.expired(ms(510)), Some(Stopped::Idle));
}

#[test]
fn new_limits_start_anew() {
    let session = Session::new(&unlock(10, 10), ms(0));
    session.renew(&unlock(0, 50), ms(9));
    assert_eq!(session.remaining(ms(9)), (None, Some(50)));
    session.renew(&unlock(u64::MAX, u64::MAX), ms(9));
    assert_eq!(session.expired(ms(1_000_000)), None);
}

#[test]
fn the_boottime_timer_fires_for_a_point_in_the_past_and_is_disarmed() {
    use rustix::event::{PollFd, PollFlags, poll};
    let clock = Boottime::new().unwrap();
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let readable = |clock: &Boottime, timeout| {
        let fd = clock.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, timeout)).unwrap() > 0
    };
    assert!(!readable(&clock, Some(&zero)));
    clock.arm(Some(Duration::ZERO)).unwrap();
    assert!(readable(&clock, None));
    clock.arm(None).unwrap();
    assert!(!readable(&clock, Some(&zero)));
    clock.arm(Some(clock.now() + ms(1))).unwrap();
    assert!(readable(&clock, None));
    clock.arm(Some(Duration::from_secs(u64::MAX / 2))).unwrap();
    assert!(!readable(&clock, Some(&zero)));
}
