//! The device flow: a code is shown, the person enters it elsewhere, and the server is asked until
//! it knows.

use super::{News, Person, SignedIn, Wish, exchange, timed_out};
use crate::error::Failure;
use crate::net::Http;
use crate::oauth::device::{self, Polled, Step};
use crate::oauth::provider::Provider;
use crate::oauth::server::Server;
use crate::sys::clock;
use std::time::{Duration, Instant};

pub(super) fn sign_in(
    provider: &Provider,
    server: &Server,
    http: &dyn Http,
    person: &mut dyn Person,
    wish: &Wish,
) -> Result<SignedIn, Failure> {
    let (request, starting) = device::start(provider, server, &wish.with)?;
    let answer = http.send(&request)?;
    let mut device = starting.read(&answer)?;
    person.tell(News::Code(device.prompt()))?;
    // Counted from what was waited, for the pauses and for the server: a machine that slept learns
    // at the next poll that it is too late, and the server has the last word.
    let mut waited = Duration::ZERO;
    let account = loop {
        let pause = device.wait();
        if waited.saturating_add(pause) > wish.timeout.min(device.prompt().lifetime) {
            return Err(timed_out(waited));
        }
        person.pause(pause);
        waited = waited.saturating_add(pause);
        let asked_at = clock::now();
        let sent = Instant::now();
        let answer = http.send(&device.poll());
        waited = waited.saturating_add(sent.elapsed());
        let polled = match &answer {
            Ok(answer) => Polled::Answer(answer),
            Err(_) => Polled::Nothing,
        };
        match device.step(polled, waited, asked_at)? {
            Step::Wait(next) => device = *next,
            Step::Done(account) => break *account,
            Step::Exchange(exchanged) => {
                let (request, awaited) = *exchanged;
                person.tell(News::Exchanging)?;
                break exchange(http, &request, awaited)?;
            }
        }
    };
    Ok(SignedIn {
        account,
        label: provider.label.clone(),
        browser: None,
    })
}
