//! The thread that talks to the keyring, and how long it is waited for.
//!
//! The calls of the system have no time limit, and some wait for a person. A call that is given up
//! leaves its thread behind, at most [`MAX_WORKERS`] of them; the next call gets a new one.

use super::backend::Backend;
use super::{Asking, Bus, CALL_LIMIT, Fault, PROMPT_LIMIT};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most threads at a time, those that are stuck included.
pub(super) const MAX_WORKERS: usize = 32;

static WORKERS: AtomicUsize = AtomicUsize::new(0);

/// What the thread holds: a connection, once one is needed.
pub(super) struct Session {
    bus: Bus,
    asking: Asking,
    backend: Option<Backend>,
}

impl Session {
    /// The connection.
    pub(super) fn backend(&mut self) -> Result<&mut Backend, Fault> {
        if self.backend.is_none() {
            self.backend = Some(Backend::open(&self.bus)?);
        }
        // It was put there just now.
        self.backend.as_mut().ok_or(Fault::Busy)
    }

    /// Sees to it that the keyring is unlocked.
    pub(super) fn unlock(&mut self, asks: &dyn Fn()) -> Result<(), Fault> {
        let asking = self.asking;
        let backend = self.backend()?;
        if !backend.state()?.locked {
            return Ok(());
        }
        if asking == Asking::Never {
            return Err(Fault::Locked);
        }
        asks();
        backend.unlock()?;
        if backend.state()?.locked {
            return Err(Fault::Locked);
        }
        Ok(())
    }
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// What the thread tells of a job.
enum Event<T> {
    /// From now on a person is waited for.
    Asks,
    /// The job's end.
    Done(Result<T, Fault>),
}

/// How long to wait.
#[derive(Clone, Copy)]
struct Limits {
    call: Duration,
    prompt: Duration,
}

/// One thread, started at the first call and replaced if it is stuck.
pub(super) struct Worker {
    bus: Bus,
    asking: Asking,
    limits: Limits,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Worker {
    pub(super) fn new(bus: Bus, asking: Asking) -> Self {
        let limits = Limits {
            call: CALL_LIMIT,
            prompt: PROMPT_LIMIT,
        };
        Self {
            bus,
            asking,
            limits,
            jobs: Mutex::new(None),
        }
    }

    #[cfg(test)]
    pub(super) fn wait_at_most(&mut self, limit: Duration) {
        self.limits.call = limit;
    }

    /// Runs a job on the thread and waits for its end. The job calls its second argument before it
    /// waits for a person.
    pub(super) fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session, &dyn Fn()) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        // Held to the end: one call after the other.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (tell, events) = mpsc::channel();
        let job: Job = Box::new(move |session| {
            let asks = || {
                let _ = tell.send(Event::Asks);
            };
            let done = job(session, &asks);
            // A service that went away is connected to anew by the next call.
            if done.is_err() {
                session.backend = None;
            }
            let _ = tell.send(Event::Done(done));
        });
        let sender = match &*jobs {
            Some(sender) => sender.clone(),
            None => self.start()?,
        };
        *jobs = Some(sender.clone());
        if sender.send(job).is_err() {
            *jobs = None;
            return Err(Fault::Busy);
        }
        wait(&events, self.limits).unwrap_or_else(|given_up| {
            *jobs = None;
            Err(given_up)
        })
    }

    fn start(&self) -> Result<mpsc::Sender<Job>, Fault> {
        let slot = Slot::take().ok_or(Fault::Busy)?;
        let (sender, jobs) = mpsc::channel::<Job>();
        let mut session = Session {
            bus: self.bus.clone(),
            asking: self.asking,
            backend: None,
        };
        let thread = std::thread::Builder::new().name("keyring".to_owned());
        let run = move || {
            let _slot = slot;
            for job in jobs {
                job(&mut session);
            }
        };
        thread.spawn(run).map_err(|_| Fault::Busy)?;
        Ok(sender)
    }
}

/// Waits for the end of a job: `Err` if it did not come.
fn wait<T>(events: &mpsc::Receiver<Event<T>>, limits: Limits) -> Result<Result<T, Fault>, Fault> {
    let mut limit = limits.call;
    let mut started = Instant::now();
    loop {
        match events.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(Event::Done(done)) => return Ok(done),
            Ok(Event::Asks) => (limit, started) = (limits.prompt, Instant::now()),
            Err(RecvTimeoutError::Timeout) => return Err(Fault::Timeout(limit)),
            // The thread panicked.
            Err(RecvTimeoutError::Disconnected) => return Err(Fault::Busy),
        }
    }
}

/// One of [`MAX_WORKERS`].
struct Slot;

impl Slot {
    fn take() -> Option<Self> {
        let take = |count| (count < MAX_WORKERS).then_some(count + 1);
        let taken = WORKERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.is_ok().then_some(Slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        WORKERS.fetch_sub(1, Ordering::AcqRel);
    }
}
