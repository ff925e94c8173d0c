//! Signing in on another device, as the server's own pages have it.

use super::app::{provider, refresh, send, server};
use crate::idp::{Fault, Idp, TOKEN, Walker};
use reseal::oauth::device::{self, DEFAULT_INTERVAL, SLOW_DOWN};
use reseal::oauth::{Device, FlowKind, Polled, SignInWith, Step};
use reseal::sys::clock;
use serde_json::json;
use std::time::Duration;

/// Polls once, without waiting as long as a program would.
fn poll(device: Device) -> Step {
    let now = clock::now();
    let answer = send(&device.poll());
    let polled = answer.as_ref().map_or(Polled::Nothing, Polled::Answer);
    device.step(polled, Duration::ZERO, now).unwrap()
}

fn waiting(step: Step) -> Device {
    match step {
        Step::Wait(device) => *device,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_waits_for_the_person_and_polls_less_often_when_asked_to() {
    let idp = Idp::start();
    let provider = provider(&idp, json!({}));
    let server = server(&provider, FlowKind::Device);
    let (request, starting) = device::start(&provider, &server, &SignInWith::default()).unwrap();
    let device = starting.read(&send(&request).unwrap()).unwrap();
    assert_eq!(device.wait(), DEFAULT_INTERVAL);
    let device = waiting(poll(device));
    assert_eq!(device.wait(), DEFAULT_INTERVAL);

    idp.proxy
        .plan(TOKEN, Fault::json(400, r#"{"error":"slow_down"}"#));
    let device = waiting(poll(device));
    assert_eq!(device.wait(), DEFAULT_INTERVAL + SLOW_DOWN);
    // Nothing came back: twice as long, until something does.
    idp.proxy.plan(TOKEN, Fault::Cut);
    let device = waiting(poll(device));
    assert_eq!(device.wait(), 2 * (DEFAULT_INTERVAL + SLOW_DOWN));
    idp.proxy.plan(TOKEN, Fault::too_many(60));
    let device = waiting(poll(device));
    assert_eq!(device.wait(), Duration::from_secs(60));

    let page = device.prompt().complete.clone().unwrap();
    assert!(page.as_str().contains(&device.prompt().user_code));
    Walker::new("bob").approve_device(page.as_str());
    let account = match poll(device) {
        Step::Done(account) => *account,
        other => panic!("not signed in: {other:?}, {:?}", idp.events()),
    };
    assert_eq!(account.identity.email.as_deref(), Some("bob@example.com"));
    assert!(refresh(&account).unwrap().is_ok());
}
