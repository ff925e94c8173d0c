//! Signals that end a command, held back while something must not be cut off.
//!
//! Between a provider's answer and its storage lies the only copy of a token. SIGINT, SIGTERM and
//! SIGHUP wait until it is stored, and then do what they would have done.
//!
//! Handlers, not a blocked mask: other threads, and those of libraries, are held back as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is held back.
const SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

static ARRIVED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
static HOLDING: Mutex<Holding> = Mutex::new(Holding {
    count: 0,
    ours: [false; 3],
});

/// How many hold, and which signals have our handler: only those that would end the process.
struct Holding {
    count: usize,
    ours: [bool; 3],
}

/// Holds the signals back while it lives. Several may live at once.
#[derive(Debug)]
pub struct Deferred(());

impl Deferred {
    /// Holds back from now on. A signal that is ignored, or that somebody handles, stays so.
    pub fn begin() -> Self {
        let mut holding = holding();
        if holding.count == 0 {
            for (i, signal) in SIGNALS.into_iter().enumerate() {
                ARRIVED[i].store(false, Ordering::SeqCst);
                holding.ours[i] = replace_default(signal);
            }
        }
        holding.count += 1;
        Self(())
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let mut holding = holding();
        holding.count -= 1;
        if holding.count > 0 {
            return;
        }
        for (i, signal) in SIGNALS.into_iter().enumerate() {
            if holding.ours[i] {
                set(signal, libc::SIG_DFL);
            }
            if ARRIVED[i].swap(false, Ordering::SeqCst) {
                // SAFETY: `raise` takes any signal number.
                unsafe { libc::raise(signal) };
            }
        }
    }
}

fn holding() -> MutexGuard<'static, Holding> {
    HOLDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts our handler in the place of the default action; false if there is another one.
fn replace_default(signal: i32) -> bool {
    // SAFETY: a null new action only asks; the old one is a valid place to write to.
    let old = unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut old) != 0 {
            return false;
        }
        old
    };
    old.sa_sigaction == libc::SIG_DFL && set(signal, on_signal as extern "C" fn(i32) as usize)
}

fn set(signal: i32, handler: usize) -> bool {
    // SAFETY: the action is fully initialised (all zero is a valid one: empty mask), and our
    // handler only stores to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0
    }
}

extern "C" fn on_signal(signal: i32) {
    for (held, arrived) in SIGNALS.iter().zip(&ARRIVED) {
        if *held == signal {
            arrived.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const ROLE: &str = "RESEAL_TEST_DEFER";

    /// The part that is killed: tells what it did until the signal takes effect.
    #[test]
    fn victim() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        let outer = Deferred::begin();
        let inner = Deferred::begin();
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGTERM) };
        drop(inner);
        println!("\nstill here");
        drop(outer);
        println!("\nnever said");
    }

    #[test]
    fn a_signal_takes_effect_when_the_last_holder_lets_go() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::defer::tests::victim", "--nocapture"])
            .arg("--test-threads=1")
            .env(ROLE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGTERM), "{said}");
        assert!(said.contains("still here") && !said.contains("never said"));
    }
}
