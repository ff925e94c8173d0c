//! The client side of the socket: one connection, one request at a time, blocking.

use super::Unlock;
use crate::error::Failure;
use crate::runtime::service::{Answer, Report, Request, Service};
use crate::secret::SecretValue;
use std::path::Path;

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Connects; `None` if no daemon runs. `expected_uid` is the owner of the state folder.
    pub fn connect(socket: &Path, expected_uid: u32) -> Result<Option<Self>, Failure> {
        let _ = (socket, expected_uid);
        todo!()
    }

    /// Gives a running daemon fresh sub-keys (`SubKeys::to_secret`) and new limits.
    pub fn unlock(&mut self, unlock: &Unlock, keys: &SecretValue) -> Result<Report, Failure> {
        let _ = (unlock, keys);
        todo!()
    }
}

impl Service for Client {
    fn call(&mut self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        let _ = (request, secrets);
        todo!()
    }
}
