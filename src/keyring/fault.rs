//! Why the keyring did not do what it was asked.

use super::{MAX_NAME, MAX_SECRET};
use crate::error::{Code, Coded, failure_from};
use std::time::Duration;

/// Why the keyring did not do what it was asked. Each way has its own code, and the command line
/// its own advice for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no session bus to talk to.
    #[error("there is no session bus ({0})")]
    NoBus(&'static str),
    /// Nothing on the bus keeps secrets.
    #[error("no program on the session bus provides the Secret Service")]
    NoService,
    /// There is no collection for new entries, as on a machine where nobody logged in graphically.
    #[error("the keyring has no default collection")]
    NoCollection,
    /// The keyring is locked and nobody may be asked.
    #[error("the keyring is locked")]
    Locked,
    /// The question whether to unlock it was refused, or could not be shown.
    #[error("unlocking the keyring was refused, or there is no display to ask on")]
    Refused,
    /// No answer in time.
    #[error("the keyring gave no answer for {} s", .0.as_secs())]
    Timeout(Duration),
    /// Earlier calls still wait for their answers.
    #[error("the keyring still owes the answers to earlier calls")]
    Busy,
    /// Longer than an entry may be.
    #[error("a keyring entry holds at most {MAX_SECRET} bytes, and its label {MAX_NAME}")]
    TooLarge,
    /// A name that no entry has.
    #[error("the service and the user name of a keyring entry have 1 to {MAX_NAME} bytes")]
    Name,
    /// The program was built without.
    #[error("this program was built without support for keyrings")]
    NotBuilt,
    /// What was written could not be read again.
    #[error("the keyring does not keep what it is given")]
    NotKept,
    /// Anything else; the text is the name of the error, not what the service said.
    #[error("the keyring failed ({0})")]
    Failed(String),
}

impl Fault {
    /// True if there is no keyring here that could hold anything.
    pub fn is_absence(&self) -> bool {
        use Fault::{NoBus, NoCollection, NoService, NotBuilt};
        matches!(self, NoBus(_) | NoService | NoCollection | NotBuilt)
    }

    /// The longest name of an error that is repeated.
    #[cfg(feature = "keyring")]
    const MAX_ERROR_NAME: usize = 100;

    /// Something else went wrong; `name` is repeated only if it looks like a name.
    #[cfg(feature = "keyring")]
    pub(super) fn failed(name: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c);
        let is_name = name.len() <= Self::MAX_ERROR_NAME && name.chars().all(plain);
        Fault::Failed(if is_name { name } else { "an unnamed error" }.to_owned())
    }
}

impl Coded for Fault {
    fn code(&self) -> Code {
        match self {
            Fault::NoBus(_) => Code::KeyringNoBus,
            Fault::NoService => Code::KeyringNoService,
            Fault::NoCollection => Code::KeyringNoCollection,
            Fault::Locked => Code::KeyringLocked,
            Fault::Refused => Code::KeyringRefused,
            Fault::Timeout(_) | Fault::Busy => Code::KeyringTimeout,
            Fault::TooLarge => Code::InputTooLarge,
            Fault::Name => Code::NameInvalid,
            Fault::NotBuilt => Code::KeyringNotBuilt,
            Fault::NotKept | Fault::Failed(_) => Code::KeyringFailed,
        }
    }
}

failure_from!(Fault);
