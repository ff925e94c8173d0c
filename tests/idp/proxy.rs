//! What stands between a client and the authorization server, and misbehaves when told to.
//!
//! Each fault is for one request of one route, in the order in which they were planned.

use super::wire::{self, Message};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// No test waits this long unless it is going to fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// The route of an answer that leads the browser back to the client, whatever was asked for.
pub const CALLBACK: &str = "callback";

/// Changes a message on its way.
type Change = Box<dyn FnOnce(&mut Message) + Send>;

/// What goes wrong.
pub enum Fault {
    /// The connection ends after the request was read; the server never sees it.
    Cut,
    /// The server acts on the request, and its answer is lost.
    Lose,
    /// The server acts on the request, and half of its answer arrives.
    Halve,
    /// This answer, instead of the server's, which never sees the request.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The request waits here until the gate opens, then goes on.
    Hold(Gate),
    /// The server acts on the request; its answer waits here until the gate opens.
    HoldAnswer(Gate),
    /// The server acts on the request, and the answer is changed.
    Change(Change),
}

impl Fault {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        let kind = ("Content-Type", "application/json".to_owned());
        Fault::Answer(status, vec![kind], body.to_owned())
    }

    /// 429 with `Retry-After`.
    pub fn too_many(seconds: u64) -> Self {
        let wait = ("Retry-After", seconds.to_string());
        Fault::Answer(429, vec![wait], String::new())
    }

    /// Puts another value for a parameter into the address that a redirect leads to; `None` takes
    /// the parameter out. For [`CALLBACK`].
    pub fn in_redirect(name: &'static str, value: Option<&'static str>) -> Self {
        Fault::Change(Box::new(move |answer| {
            let mut url = url::Url::parse(answer.header("location").unwrap()).unwrap();
            let others: Vec<(String, String)> = url
                .query_pairs()
                .into_owned()
                .filter(|(own, _)| own != name)
                .collect();
            let with = value.map(|value| (name.to_owned(), value.to_owned()));
            let pairs = others.into_iter().chain(with);
            url.query_pairs_mut().clear().extend_pairs(pairs);
            answer.set("Location", url.as_str());
        }))
    }
}

/// Holds what came to it until it is opened, for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets through what waits, and what will come.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let wait = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open);
        assert!(*wait.unwrap().0, "nobody opened the gate");
    }
}

/// The proxy. It serves until the process ends.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Where the server is.
    upstream: Option<u16>,
    planned: BTreeMap<String, VecDeque<Fault>>,
    /// Requests of each route that have arrived here.
    seen: BTreeMap<String, usize>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Proxy {
    /// Listens; requests wait for [`Proxy::lead_to`].
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names the server behind it.
    pub fn lead_to(&self, port: u16) {
        self.shared.state().upstream = Some(port);
        self.shared.changed.notify_all();
    }

    /// Plans a fault for the next request of a route, `POST /token`, that has none yet.
    pub fn plan(&self, route: &str, fault: Fault) {
        let mut state = self.shared.state();
        let planned = state.planned.entry(route.to_owned()).or_default();
        planned.push_back(fault);
    }

    /// How many requests of a route have arrived.
    pub fn seen(&self, route: &str) -> usize {
        self.shared.state().seen.get(route).copied().unwrap_or(0)
    }

    /// Waits until so many requests of a route have arrived.
    pub fn wait_for(&self, route: &str, count: usize) {
        let missing = |state: &mut State| state.seen.get(route).copied().unwrap_or(0) < count;
        let changed = &self.shared.changed;
        let wait = changed.wait_timeout_while(self.shared.state(), PATIENCE, missing);
        assert!(
            !wait.unwrap().1.timed_out(),
            "{route}: not {count} requests"
        );
    }
}

fn serve(shared: &Shared, mut client: TcpStream) {
    let Ok(request) = Message::read(&mut client, false) else {
        return;
    };
    let route = request.route();
    let (fault, upstream) = {
        let mut state = shared.state();
        *state.seen.entry(route.clone()).or_default() += 1;
        shared.changed.notify_all();
        let fault = state.planned.get_mut(&route).and_then(VecDeque::pop_front);
        let nowhere = |state: &mut State| state.upstream.is_none();
        let wait = shared.changed.wait_timeout_while(state, PATIENCE, nowhere);
        (fault, wait.unwrap().0.upstream.unwrap())
    };
    match fault {
        Some(Fault::Cut) => return,
        Some(Fault::Answer(status, headers, body)) => {
            return send(client, &invented(status, headers, body).bytes());
        }
        Some(Fault::Hold(ref gate)) => gate.pass(),
        _ => {}
    }
    // A server that is gone looks like a proxy that can't reach it.
    let Ok(mut answer) = wire::exchange(upstream, &request) else {
        return send(client, &invented(502, Vec::new(), String::new()).bytes());
    };
    let fault = fault.or_else(|| {
        let to = answer.header("location")?;
        let is_ours = to.starts_with('/') || request.header("host").is_some_and(|h| to.contains(h));
        let planned = &mut shared.state().planned;
        planned.get_mut(CALLBACK).filter(|_| !is_ours)?.pop_front()
    });
    match fault {
        Some(Fault::Lose) => return,
        Some(Fault::Halve) => {
            let bytes = answer.bytes();
            return send(client, &bytes[..bytes.len() - answer.body.len() / 2 - 1]);
        }
        Some(Fault::HoldAnswer(gate)) => gate.pass(),
        Some(Fault::Change(change)) => change(&mut answer),
        _ => {}
    }
    send(client, &answer.bytes());
}

fn invented(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Message {
    let headers = headers.into_iter();
    Message {
        start: format!("HTTP/1.1 {status} Invented"),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        body: body.into_bytes(),
    }
}

/// The client may be gone; that is its affair.
fn send(mut client: TcpStream, bytes: &[u8]) {
    drop(client.write_all(bytes));
    drop(client.shutdown(Shutdown::Both));
}
