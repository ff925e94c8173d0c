//! A result that a thread works out: a future without an executor of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A value that is being worked out.
pub struct Pending<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Pending<T> {
    /// Runs `work` on a thread of its own. `failed` gives the value if there is no thread.
    pub(super) fn run(
        work: impl FnOnce() -> T + Send + 'static,
        failed: impl FnOnce(io::Error) -> T,
    ) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            value: None,
            waker: None,
        }));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("credentials".to_owned());
        let started = thread.spawn(move || {
            let value = work();
            let waker = {
                let mut shared = lock(&theirs);
                shared.value = Some(value);
                shared.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        if let Err(error) = started {
            lock(&shared).value = Some(failed(error));
        }
        Self { shared }
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    /// Once it was ready it is never ready again.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut shared = lock(&self.shared);
        match shared.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    // The lock is held for assignments only.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
