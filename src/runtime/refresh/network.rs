//! The network, opened when the first token has to be refreshed.

use crate::net::{Client, Http, NetError, Policy};
use crate::oauth::{HttpAnswer, HttpRequest};
use std::sync::OnceLock;

/// A client that is made at its first request: most commands never need one.
#[derive(Default)]
pub struct Network(OnceLock<Client>);

impl Http for Network {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let client = self.0.get_or_init(|| Client::new(&Policy::default()));
        client.send(request)
    }
}
