//! A power cut at every system call of a refresh, with every loss that the disk allows.

use super::issuer::Issuer;
use super::world::*;
use crate::error::Code;
use crate::net::{Http, NetError};
use crate::oauth::{HttpAnswer, HttpRequest, SignInReason};
use crate::store::simulated::SimulatedDisk;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A small generator of numbers, so that a failing case comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Notes how far the disk had come when a token was sent.
struct Noting {
    issuer: Issuer,
    disk: SimulatedDisk,
    sent_at: AtomicUsize,
}

impl Http for Noting {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        self.sent_at
            .store(self.disk.journal_len(), Ordering::SeqCst);
        self.issuer.send(request)
    }
}

fn at(disk: &SimulatedDisk) -> Place {
    Place {
        disk: Arc::new(disk.clone()),
        folder: "/f".into(),
    }
}

#[test]
fn a_power_cut_at_any_moment_of_a_refresh_loses_no_more_than_an_answer_on_its_way() {
    let disk = SimulatedDisk::with_folder(Path::new("/f"));
    let place = at(&disk);
    place.create().commit(put(ACCOUNT, &ended(0))).unwrap();
    let before = disk.journal_len();
    let http = Arc::new(Noting {
        issuer: Issuer::new([]),
        disk: disk.clone(),
        sent_at: AtomicUsize::new(0),
    });
    assert_eq!(ask(&place.runtime(&http)), Ok("access-1".to_owned()));
    let sent_at = http.sent_at.load(Ordering::SeqCst);
    let end = disk.journal_len();
    assert!(before < sent_at && sent_at < end);
    let mut dice = Dice(1);
    let (mut unsent, mut lost, mut kept) = (0, 0, 0);
    for events in before..=end {
        for odds in [0, 1, 2, 3, 4] {
            let after = at(&disk.after_crash(events, || dice.roll(4) < odds));
            let told = format!("after {events} of {end} events with odds {odds}");
            // The server as it was at that moment.
            let issuer = Arc::new(Issuer::new([]));
            let was_sent = events >= sent_at;
            if was_sent {
                assert_eq!(issuer.grant("refresh-0", true).0, 200);
            }
            let attempts = after.open().vault().open_intents().len();
            let found = ask(&after.runtime(&issuer));
            if !was_sent {
                // An intent may stand there for nothing: that costs a try, and no token.
                assert_eq!(found, Ok("access-1".to_owned()), "{told}");
                assert_eq!(issuer.sent(), ["refresh-0"], "{told}");
                unsent += 1;
            } else if found.is_ok() {
                assert!(issuer.sent().is_empty(), "{told}");
                kept += 1;
            } else {
                // Between the server's answer and our flush: found out, tried once, reported.
                assert_eq!(attempts, 1, "{told}: nothing says that a token was sent");
                assert_eq!(found, Err(Code::OAuthSignIn), "{told}");
                assert_eq!(issuer.sent(), ["refresh-0"], "{told}");
                assert_eq!(reason(&after.open()), Some(SignInReason::Lost), "{told}");
                assert!(events < end, "{told}: it was acknowledged");
                lost += 1;
            }
        }
    }
    assert!(unsent > 0 && lost > 0 && kept > 0, "{unsent} {lost} {kept}");
}

/// Two power cuts in a row: the second one while the first is being made good.
#[test]
fn a_second_power_cut_sends_no_token_a_third_time() {
    let disk = SimulatedDisk::with_folder(Path::new("/f"));
    at(&disk).create().commit(put(ACCOUNT, &ended(0))).unwrap();
    let mut dice = Dice(7);
    for _ in 0..300 {
        let issuer = Arc::new(Issuer::new([]));
        let mut now = disk.after_crash(disk.journal_len(), || true);
        let mut last = Err(Code::Bug);
        for _ in 0..4 {
            let http = Arc::new(Noting {
                issuer: Issuer::new([]),
                disk: now.clone(),
                sent_at: AtomicUsize::new(usize::MAX),
            });
            // The server of this life goes on where that of the last one was.
            http.issuer.continue_as(&issuer);
            last = ask(&at(&now).runtime(&http));
            let cut = dice.roll(now.journal_len() + 1);
            if cut >= http.sent_at.load(Ordering::SeqCst) {
                issuer.continue_as(&http.issuer);
            }
            let odds = dice.roll(5);
            now = now.after_crash(cut, || dice.roll(4) < odds);
        }
        let sent = issuer.sent();
        let most = sent
            .iter()
            .map(|token| sent.iter().filter(|other| *other == token).count())
            .max();
        assert!(most <= Some(2), "{sent:?} {last:?}");
    }
}
