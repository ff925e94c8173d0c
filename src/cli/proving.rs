//! A daemon of another user, which is shown a keyslot's secret when a request needs one.

use super::context::Context;
use super::session::{self, UnlockArgs};
use crate::daemon::client::Client;
use crate::daemon::frame::Present;
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, Request, Service};
use crate::secret::SecretValue;
use crate::sys::tty::PromptError;
use crate::unlock::key_file;

/// A client that asks for the secret, or takes it from the options, once the daemon wants it.
pub struct Proving {
    /// The connection.
    pub client: Client,
    /// How to ask.
    pub context: Context,
    /// What was given.
    pub how: UnlockArgs,
}

impl Service for Proving {
    fn call(&mut self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        match self.client.call(request.clone(), secrets.clone()) {
            Err(failure) if failure.code == Code::GrantSecretNeeded => {
                let (what, secret) = self.secret(failure)?;
                self.client.present(what, &secret)?;
                self.client.call(request, secrets)
            }
            other => other,
        }
    }
}

impl Proving {
    fn secret(&self, needed: Failure) -> Result<(Present, SecretValue), Failure> {
        let how = &self.how;
        if let Some(path) = &how.passphrase_file {
            return Ok((Present::Passphrase, key_file::read_passphrase(path)?));
        }
        if let Some(fd) = how.passphrase_fd {
            return Ok((Present::Passphrase, key_file::read_passphrase_fd(fd)?));
        }
        if let Some(path) = &how.key_file {
            return Ok((Present::Key, key_file::read_key(path)?));
        }
        if let Some(fd) = how.key_fd {
            return Ok((Present::Key, key_file::read_key_fd(fd)?));
        }
        if let Some(fd) = how.recovery_code_fd {
            return Ok((Present::RecoveryCode, key_file::read_recovery_code_fd(fd)?));
        }
        match session::prompt(&self.context, "Passphrase of the daemon's vault: ") {
            Ok(passphrase) => Ok((Present::Passphrase, passphrase)),
            Err(PromptError::NoTerminal) => Err(needed),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}
