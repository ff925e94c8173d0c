use super::*;
use crate::oauth::TokenSet;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::token_store::Memory;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A flow whose refreshes are counted; each waits for a word on the channel if there is one.
struct Fake {
    id: &'static str,
    lifetime: Duration,
    refreshes: AtomicUsize,
    outcome: Result<(), Code>,
    gate: Option<Mutex<mpsc::Receiver<()>>>,
}

impl Fake {
    fn new(id: &'static str, lifetime: Duration) -> Self {
        Self {
            id,
            lifetime,
            refreshes: AtomicUsize::new(0),
            outcome: Ok(()),
            gate: None,
        }
    }

    fn granted(&self, access: String, lifetime: Duration) -> TokenSet {
        let now = clock::now();
        TokenSet {
            access: SecretValue::copy_of(access.as_bytes()).into(),
            refresh: Some(SecretValue::copy_of(b"r").into()),
            id_token: None,
            obtained_at: now,
            expires_at: Some(now.plus(lifetime)),
            metadata: BTreeMap::new(),
        }
    }
}

impl OAuthFlow for Fake {
    fn provider_id(&self) -> &str {
        self.id
    }

    fn authenticate(&self) -> Result<TokenSet, Failure> {
        Ok(self.granted("access 0".to_owned(), self.lifetime))
    }

    fn refresh(&self, _tokens: &TokenSet) -> Result<TokenSet, Failure> {
        let count = self.refreshes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        match self.outcome {
            Ok(()) => Ok(self.granted(format!("access {count}"), HOUR)),
            Err(code) => Err(Failure::new(code, "refused")),
        }
    }
}

fn text(token: AccessToken) -> String {
    String::from_utf8(token.secret().expose().to_vec()).unwrap()
}

#[test]
fn a_valid_token_is_used_as_it_is_and_a_used_up_one_is_renewed() {
    let flow = Arc::new(Fake::new("a", HOUR));
    let credentials = Credentials::with(flow.clone(), Arc::new(Memory::new()));
    let absent = credentials.access_token().unwrap_err();
    assert_eq!(absent.code, Code::OAuthSignIn);
    credentials.sign_in().unwrap();
    assert_eq!(text(credentials.access_token().unwrap()), "access 0");
    let flow = Arc::new(Fake::new("b", Duration::ZERO));
    let credentials = Credentials::with(flow.clone(), Arc::new(Memory::new()));
    credentials.sign_in().unwrap();
    assert_eq!(text(credentials.access_token().unwrap()), "access 1");
    assert_eq!(text(credentials.access_token().unwrap()), "access 1");
    assert_eq!(flow.refreshes.load(Ordering::SeqCst), 1);
}

#[test]
fn the_margin_is_five_minutes_and_a_tenth_of_a_short_life() {
    let flow = Fake::new("a", HOUR);
    let mut tokens = flow.granted(String::new(), HOUR);
    let end = tokens.expires_at.unwrap().0;
    assert!(flow.is_valid(&tokens, UnixMs(end - 300_001)));
    assert!(!flow.is_valid(&tokens, UnixMs(end - 300_000)));
    tokens.expires_at = Some(tokens.obtained_at.plus(Duration::from_secs(60)));
    let end = tokens.expires_at.unwrap().0;
    assert!(flow.is_valid(&tokens, UnixMs(end - 6_001)));
    assert!(!flow.is_valid(&tokens, UnixMs(end - 6_000)));
}

#[test]
fn many_threads_send_one_refresh_token_once() {
    let flow = Arc::new(Fake::new("a", Duration::ZERO));
    let credentials = Credentials::with(flow.clone(), Arc::new(Memory::new()));
    credentials.sign_in().unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| text(credentials.access_token().unwrap())))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), "access 1");
        }
    });
    assert_eq!(flow.refreshes.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refusal_reaches_the_caller_and_the_old_tokens_stay() {
    let mut flow = Fake::new("a", Duration::ZERO);
    flow.outcome = Err(Code::OAuthUnavailable);
    let store = Arc::new(Memory::new());
    let credentials = Credentials::with(Arc::new(flow), store.clone());
    credentials.sign_in().unwrap();
    let before = store.load("a").unwrap();
    let failure = credentials.access_token().unwrap_err();
    assert_eq!(failure.code, Code::OAuthUnavailable);
    assert_eq!(store.load("a").unwrap(), before);
}

/// Wakes the thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_slow_server_delays_only_its_own_account_also_on_one_thread() {
    let (release, gate) = mpsc::channel();
    let mut slow = Fake::new("slow", Duration::ZERO);
    slow.gate = Some(Mutex::new(gate));
    let slow = Arc::new(slow);
    let store = Arc::new(Memory::new());
    let slow_one = Credentials::with(slow.clone(), store.clone());
    let quick = Credentials::with(Arc::new(Fake::new("quick", Duration::ZERO)), store);
    slow_one.sign_in().unwrap();
    quick.sign_in().unwrap();
    let pending = slow_one.access_token_async();
    assert_eq!(
        text(block_on(quick.access_token_async()).unwrap()),
        "access 1"
    );
    release.send(()).unwrap();
    assert_eq!(text(block_on(pending).unwrap()), "access 1");
}

#[test]
fn a_refresh_ends_and_is_kept_although_nobody_waits_for_it_any_more() {
    let (release, gate) = mpsc::channel();
    let mut flow = Fake::new("a", Duration::ZERO);
    flow.gate = Some(Mutex::new(gate));
    let flow = Arc::new(flow);
    let credentials = Credentials::with(flow.clone(), Arc::new(Memory::new()));
    credentials.sign_in().unwrap();
    drop(credentials.access_token_async());
    release.send(()).unwrap();
    // Waits its turn behind the one that was begun, or begins it itself if that is not there yet.
    let _taken_or_not = release.send(());
    assert_eq!(text(credentials.access_token().unwrap()), "access 1");
    assert_eq!(flow.refreshes.load(Ordering::SeqCst), 1);
}
