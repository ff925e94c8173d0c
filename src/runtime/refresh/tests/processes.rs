//! Many processes over one account, some of them killed, against a server that rotates its tokens,
//! ends a session when a token comes twice, and says by itself what came.
//!
//! The test binary starts itself again as the worker. Killed are those who hold the account's lock:
//! before the server acts on their token, after it has acted and before it answers, and right after
//! its answer; and, besides, anybody at a random moment. `RESEAL_STORM=1` makes it 1,000 refreshes
//! by 8 processes, and prints the figures.

use super::issuer::token_in;
use super::world::*;
use crate::error::Code;
use crate::net::{Client, Http, Policy};
use crate::oauth::{Account, SignInReason};
use crate::runtime::refresh::Want;
use crate::sys::{clock, random};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The access token of [`ended_with`].
const SIGNED_IN: &str = "access-of-the-sign-in";
const ROLE: &str = "RESEAL_TEST_REFRESHER";
/// Milliseconds that an access token lives; a tenth of it is the margin.
const LIFETIME: u64 = 150;

/// Asks for a token over and over, and says what it got, until it is killed or told to end.
#[test]
fn worker() {
    let Ok(folder) = std::env::var(ROLE) else {
        return;
    };
    let place = Place::on_disk(Path::new(&folder));
    let http = Arc::new(Client::new(&Policy::default()));
    let runtime = place.runtime(&http);
    let mut out = std::io::stdout();
    let mut last = None;
    // The parent's end of the pipe goes when it has seen enough.
    loop {
        let said = match runtime.token(&name(ACCOUNT), &Want::FRESH) {
            Ok(token) => format!("token {}", text(token.access.secret())),
            Err(failure) => format!("error {} {}", failure.code.as_str(), failure.message),
        };
        if last.as_ref() != Some(&said) {
            if writeln!(out, "\n{said}")
                .and_then(|()| out.flush())
                .is_err()
            {
                return;
            }
            last = Some(said);
        }
        std::thread::yield_now();
    }
}

/// When the holder of the lock is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kill {
    Never,
    BeforeActing,
    BeforeAnswering,
    AfterAnswering,
}

/// The server's own account of what happened.
#[derive(Default)]
struct Ledger {
    session: u64,
    generation: u64,
    dead: bool,
    /// When the newest access token was granted.
    granted_at: u64,
    /// How often each refresh token came.
    came: HashMap<String, usize>,
    /// Refreshes that came in the first half of the life of the token before. A client counts from
    /// when it asks, so a slow machine may have some; clients that don't take each other's token
    /// would have many.
    early: usize,
    grants: usize,
    refused: usize,
    /// Refresh tokens whose answer may not have arrived: their holder was killed.
    killed: HashMap<String, Kill>,
    kills: HashMap<Kill, usize>,
}

struct Server {
    address: String,
    ledger: Mutex<Ledger>,
    /// Where the lock of the account lies.
    locks: PathBuf,
    workers: Mutex<HashSet<u32>>,
    killing: bool,
    done: AtomicBool,
}

impl Server {
    fn start(folder: &Path, killing: bool) -> (Arc<Self>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(Self {
            address: format!("http://{}/token", listener.local_addr().unwrap()),
            ledger: Mutex::default(),
            locks: folder.join("v.reseal.d/locks"),
            workers: Mutex::default(),
            killing,
            done: AtomicBool::new(false),
        });
        (server, listener)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// A new session, as a person begins it.
    fn sign_in(&self) -> Account {
        let mut ledger = self.ledger();
        ledger.session += 1;
        (ledger.generation, ledger.dead, ledger.granted_at) = (0, false, 0);
        let mut account = ended_with(&format!("s{}-0", ledger.session));
        account.client.token_endpoint = self.address.parse().unwrap();
        account
    }

    fn serve(&self, listener: &TcpListener) {
        std::thread::scope(|scope| {
            for stream in listener.incoming() {
                if self.done.load(Ordering::Acquire) {
                    return;
                }
                let stream = stream.unwrap();
                scope.spawn(move || self.answer(stream));
            }
        });
    }

    fn answer(&self, mut stream: TcpStream) {
        // Who was killed before it sent everything sent nothing.
        let Some(body) = read_request(&mut stream) else {
            return;
        };
        let token = token_in(&body);
        let kill = self.choose(&token);
        self.kill_holder(kill == Kill::BeforeActing);
        let (status, body) = self.act(&token, kill);
        self.kill_holder(kill == Kill::BeforeAnswering);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        self.kill_holder(kill == Kill::AfterAnswering);
    }

    fn choose(&self, token: &str) -> Kill {
        let mut ledger = self.ledger();
        let came = ledger.came.entry(token.to_owned()).or_default();
        *came += 1;
        // A second kill over the same token would tell nothing new: it is given up then.
        let kill = match (self.killing && *came == 1).then(|| below(12)) {
            Some(0) => Kill::BeforeActing,
            Some(1) => Kill::BeforeAnswering,
            Some(2) => Kill::AfterAnswering,
            _ => Kill::Never,
        };
        if kill != Kill::Never {
            ledger.killed.insert(token.to_owned(), kill);
            *ledger.kills.entry(kill).or_default() += 1;
        }
        kill
    }

    fn act(&self, token: &str, kill: Kill) -> (&'static str, String) {
        let mut ledger = self.ledger();
        let current = format!("s{}-{}", ledger.session, ledger.generation);
        // The request of somebody who was killed before it came does not exist.
        if kill == Kill::BeforeActing {
            return ("500 Internal Server Error", String::new());
        }
        if ledger.dead || token != current {
            ledger.dead |= token.starts_with(&format!("s{}-", ledger.session));
            ledger.refused += 1;
            return ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned());
        }
        let now = clock::now().0;
        if now < ledger.granted_at + LIFETIME / 2 {
            ledger.early += 1;
        }
        ledger.granted_at = now;
        ledger.generation += 1;
        ledger.grants += 1;
        let (session, generation) = (ledger.session, ledger.generation);
        let seconds = LIFETIME as f64 / 1000.0;
        let granted = serde_json::json!({
            "access_token": format!("a{session}-{generation}"),
            "refresh_token": format!("s{session}-{generation}"),
            "expires_in": seconds, "token_type": "Bearer",
        });
        ("200 OK", granted.to_string())
    }

    /// Kills whoever holds the account's lock: the one who sent the request.
    fn kill_holder(&self, yes: bool) {
        if !yes {
            return;
        }
        let lock = std::fs::read_dir(&self.locks)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let holder = std::fs::read_to_string(lock.path()).unwrap();
        let pid: u32 = holder.trim().parse().unwrap();
        if self.workers.lock().unwrap().contains(&pid) {
            kill(pid);
        }
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn below(bound: u32) -> u32 {
    let mut bytes = [0; 4];
    random::fill(&mut bytes);
    u32::from_le_bytes(bytes) % bound
}

/// The body of a request; `None` if it does not come whole.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// What the workers said, all together.
#[derive(Default)]
struct Heard {
    tokens: usize,
    /// Access tokens that somebody was given: whatever was given was stored.
    given: HashSet<String>,
    sign_ins: usize,
    /// Of those: the holder was killed after the server had acted, so the loss lies in the window.
    in_window: usize,
    /// Sessions that were given up although the server would have gone on.
    given_up: usize,
    other: HashMap<String, usize>,
}

struct Storm {
    folder: tempfile::TempDir,
    server: Arc<Server>,
    heard: Mutex<Heard>,
    random_kills: AtomicUsize,
    target: usize,
}

impl Storm {
    fn place(&self) -> Place {
        Place::on_disk(self.folder.path())
    }

    fn is_over(&self) -> bool {
        self.server.ledger().grants >= self.target
    }

    /// Keeps one worker running, and now and then kills it.
    fn seat(&self, random_kills: bool) {
        while !self.is_over() {
            let mut child = start(self.folder.path());
            let pid = child.id();
            self.server.workers.lock().unwrap().insert(pid);
            let patience = 1 + below(200);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut heard = 0;
            while let Some(Ok(line)) = lines.next() {
                self.hear(&line);
                heard += 1;
                if (random_kills && heard >= patience) || self.is_over() {
                    self.random_kills.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
            self.server.workers.lock().unwrap().remove(&pid);
            child.kill().unwrap();
            let end = child.wait().unwrap();
            // Only now: a worker that can't speak any more would end by itself.
            drop(lines);
            assert_eq!(end.signal(), Some(9), "a worker ended by itself: {end}");
        }
    }

    fn hear(&self, line: &str) {
        if let Some(token) = line.strip_prefix("token ") {
            let mut heard = self.heard.lock().unwrap();
            heard.tokens += 1;
            heard.given.insert(token.to_owned());
        } else if line.starts_with(&format!("error {}", Code::OAuthSignIn.as_str())) {
            self.person_signs_in();
        } else if let Some(error) = line.strip_prefix("error ") {
            let code = error.split(' ').next().unwrap_or_default().to_owned();
            let mut heard = self.heard.lock().unwrap();
            *heard.other.entry(code).or_default() += 1;
        }
    }

    /// Somebody reads that the account has to sign in, and does so.
    fn person_signs_in(&self) {
        let mut heard = self.heard.lock().unwrap();
        let mut vault = self.place().open();
        // Another one was faster.
        let Some(why) = reason(&vault) else { return };
        assert_eq!(
            why,
            SignInReason::Lost,
            "the server revoked nothing by itself"
        );
        let sent = stored(&mut vault, ACCOUNT).refresh.unwrap();
        let sent = text(sent.secret());
        {
            let ledger = self.server.ledger();
            // A token that was given up had left this machine, and its sender was killed.
            assert!(
                ledger.came.contains_key(&sent),
                "{sent} was given up unsent"
            );
            heard.given_up += usize::from(!ledger.dead);
            let in_window = [Kill::BeforeAnswering, Kill::AfterAnswering];
            let kill = ledger.killed.get(&sent);
            heard.in_window += usize::from(kill.is_some_and(|kill| in_window.contains(kill)));
        }
        heard.sign_ins += 1;
        sign_in(
            &self.place().runtime(&self.http()),
            ACCOUNT,
            &self.server.sign_in(),
        );
    }

    fn http(&self) -> Arc<impl Http + 'static> {
        Arc::new(Client::new(&Policy::default()))
    }
}

fn start(folder: &Path) -> Child {
    let module = "runtime::refresh::tests::processes::worker";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", module, "--nocapture", "--test-threads=1"])
        .env(ROLE, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn storm(processes: usize, target: usize, killing: bool) -> Storm {
    let folder = tempfile::tempdir().unwrap();
    let (server, listener) = Server::start(folder.path(), killing);
    let storm = Storm {
        folder,
        server,
        heard: Mutex::default(),
        random_kills: AtomicUsize::new(0),
        target,
    };
    storm.place().create();
    let account = storm.server.sign_in();
    sign_in(&storm.place().runtime(&storm.http()), ACCOUNT, &account);
    std::thread::scope(|scope| {
        scope.spawn(|| storm.server.serve(&listener));
        let seats: Vec<_> = (0..processes)
            .map(|_| scope.spawn(|| storm.seat(killing)))
            .collect();
        let outcomes: Vec<_> = seats.into_iter().map(|seat| seat.join()).collect();
        // Also if a seat failed: the server must not wait for ever.
        storm.server.done.store(true, Ordering::Release);
        let address = storm
            .server
            .address
            .replace("http://", "")
            .replace("/token", "");
        drop(TcpStream::connect(address));
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    storm
}

#[test]
fn of_many_processes_one_asks_for_each_token() {
    let storm = storm(4, 40, false);
    let ledger = storm.server.ledger();
    // The last of all may have been cut off at the end.
    let twice = ledger.came.values().filter(|times| **times > 1).count();
    assert_eq!((twice, ledger.refused), (0, 0));
    let heard = storm.heard.lock().unwrap();
    assert_eq!(
        (heard.sign_ins, heard.other.len()),
        (0, 0),
        "{:?}",
        heard.other
    );
}

#[test]
fn killed_processes_lose_only_answers_on_their_way_and_every_loss_is_told() {
    let (processes, target) = match std::env::var_os("RESEAL_STORM") {
        Some(_) => (8, 1_000),
        None => (4, 40),
    };
    let storm = storm(processes, target, true);
    let ledger = storm.server.ledger();
    let heard = storm.heard.lock().unwrap();
    let again = ledger.came.values().filter(|times| **times > 1).count();
    let most = ledger.came.values().max().copied().unwrap_or_default();
    // Not `eprintln!`, which a test that passes does not show.
    let mut out = std::io::stderr();
    let _ = writeln!(
        out,
        "refreshes {}, sent twice {again}, most {most}, in the first half of a life {}, \
         tokens given {}, kills {:?} and {} at random, sign-ins needed {}, {} of them by a \
         kill in the window and {} given up after two unanswered sends; other errors {:?}",
        ledger.grants,
        ledger.early,
        heard.tokens,
        ledger.kills,
        storm.random_kills.load(Ordering::Relaxed),
        heard.sign_ins,
        heard.in_window,
        heard.given_up,
        heard.other,
    );
    assert!(ledger.grants >= target);
    assert!(
        most <= super::super::MAX_SENDS,
        "a token was sent {most} times"
    );
    // Whoever was given a token could rely on its successor: it was sent next, or is stored.
    let newest = text(stored(&mut storm.place().open(), ACCOUNT).access.secret());
    let kept = |token: &String| {
        let successor = token.replacen('a', "s", 1);
        *token == newest || token == SIGNED_IN || ledger.came.contains_key(&successor)
    };
    let lost: Vec<&String> = heard.given.iter().filter(|token| !kept(token)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    storm.place().open().verify_all().unwrap();
}
