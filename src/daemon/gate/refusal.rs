//! Why a request is refused, and what the one who made it is told: what he asked for in his own
//! words, and nothing of the vault.

use super::acts::Needs;
use crate::daemon::caller::Caller;
use crate::daemon::confirm::MAX_ASKED_REFS;
use crate::error::{Code, Failure};
use crate::grants::Refusal;
use std::time::Duration;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The grants say so.
    Policy(Refusal),
    /// A person must say yes, and there is none to ask.
    NobodyToAsk,
    /// A person must say yes, and would have to read too much for that.
    TooMuch,
    /// A person must say yes, and is being asked enough already.
    Asking,
    /// A person must say yes, and is not to be asked again for so long.
    Quiet { declined: bool, left: Duration },
    /// A person said no.
    Declined,
    /// Nobody said anything.
    Unanswered,
    /// The vault was locked before anybody did.
    Locked,
}

impl Why {
    const fn code(self) -> Code {
        match self {
            Why::Policy(Refusal::NotGranted) => Code::GrantRefused,
            Why::Policy(Refusal::Expired) => Code::GrantExpired,
            Why::Policy(Refusal::SecretNeeded) => Code::GrantSecretNeeded,
            Why::NobodyToAsk | Why::TooMuch => Code::GrantConfirm,
            Why::Asking => Code::DaemonBusy,
            Why::Declined | Why::Quiet { declined: true, .. } => Code::GrantDeclined,
            Why::Unanswered | Why::Quiet { .. } => Code::GrantUnanswered,
            Why::Locked => Code::DaemonUnavailable,
        }
    }

    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Policy(refusal) => refusal.as_str(),
            Why::NobodyToAsk | Why::TooMuch => "confirm",
            Why::Asking => "asking",
            Why::Quiet { .. } => "quiet",
            Why::Declined => "declined",
            Why::Unanswered | Why::Locked => "unanswered",
        }
    }
}

/// What a refused caller is told.
pub(super) fn refused(caller: &Caller, needs: &Needs, why: Why) -> Failure {
    let who = format!("user {}", caller.peer.uid);
    let verb = needs.verb().map_or("ask", |verb| verb.as_str());
    let what = match needs {
        Needs::Records(_, refs) | Needs::EachRef(refs) => {
            let names: Vec<String> = refs.iter().map(ToString::to_string).collect();
            names.join(", ")
        }
        Needs::All(_) => "all records (vault:*)".to_owned(),
        Needs::Part(_) | Needs::Greeting => "anything".to_owned(),
    };
    let may = format!("{who} may {verb} {what}");
    let text = match why {
        Why::Policy(Refusal::NotGranted) => format!("no grant lets {who} {verb} {what}"),
        Why::Policy(Refusal::Expired) => {
            format!("the grant that let {who} {verb} {what} has ended")
        }
        Why::Policy(Refusal::SecretNeeded) => {
            format!("the grant lets {who} {verb} {what} only with a keyslot's secret")
        }
        Why::NobodyToAsk => format!(
            "a person must confirm that {may}, and the daemon's config names no program that asks \
             one (daemon.confirm)"
        ),
        Why::TooMuch => format!(
            "a person must confirm what {who} may {verb}, and is asked about at most \
             {MAX_ASKED_REFS} refs at once: ask for fewer"
        ),
        Why::Asking => {
            format!("a person is being asked already, for {who} or others: try again later")
        }
        Why::Quiet { declined, left } => {
            let seconds = left.as_secs() + 1;
            let before = match declined {
                true => "said no",
                false => "did not answer",
            };
            format!(
                "a person must confirm that {may}, {before} the last time, and is not asked again \
                 for {seconds} s"
            )
        }
        Why::Declined => format!("a person said no: {who} may not {verb} {what}"),
        Why::Unanswered => format!("nobody answered whether {may}"),
        Why::Locked => format!("the vault was locked before anybody said whether {may}"),
    };
    Failure::new(why.code(), text)
}
