//! What each request asks for, as acts that grants are about. The one table of it; a new request
//! does not compile before it is in here.

use crate::grants::Verb;
use crate::name::RecordName;
use crate::reference::SecretRef;
use crate::runtime::service::Request;

/// The longest remaining life of a token that `use` may ask for, in milliseconds. More than that
/// would renew it each time, which is `refresh`.
pub const MAX_USE_TTL_MS: u64 = 10 * 60 * 1000;

/// What must be granted for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Anything at all.
    Greeting,
    /// Each of these records, with this verb.
    Records(Verb, Vec<SecretRef>),
    /// Refs that are judged one by one: the answer tells of each.
    EachRef(Vec<SecretRef>),
    /// Something with this verb; the answer is cut to what the grants are about.
    Part(Verb),
    /// All records at once, with this verb.
    All(Verb),
}

/// What must be granted for a request.
pub fn needs(request: &Request) -> Needs {
    let on = |verb, names: &[&RecordName]| {
        let refs = names.iter().map(|name| SecretRef::to_record(name));
        Needs::Records(verb, refs.collect())
    };
    match request {
        Request::Status => Needs::Greeting,
        Request::Resolve { refs } => Needs::EachRef(refs.clone()),
        Request::Token {
            name,
            min_ttl_ms,
            force,
        } => {
            let renews = *force || *min_ttl_ms > MAX_USE_TTL_MS;
            on(if renews { Verb::Refresh } else { Verb::Use }, &[name])
        }
        Request::Report { .. } => Needs::Part(Verb::Use),
        Request::List | Request::ListUnder { .. } => Needs::Part(Verb::Read),
        Request::Get { name, .. } | Request::History { name } | Request::Compare { name } => {
            on(Verb::Read, &[name])
        }
        Request::Put { name, .. }
        | Request::Remove { name, .. }
        | Request::Restore { name, .. }
        | Request::SignOut { name, .. } => on(Verb::Admin, &[name]),
        Request::Rename { from, to } => on(Verb::Admin, &[from, to]),
        Request::CheckWritable
        | Request::Reload
        | Request::Compact { .. }
        | Request::Verify
        | Request::Lock => Needs::All(Verb::Admin),
    }
}

/// The name of a request's operation in the protocol.
pub fn op(request: &Request) -> &'static str {
    match request {
        Request::Status => "status",
        Request::Get { .. } => "get",
        Request::Token { .. } => "token",
        Request::SignOut { .. } => "signOut",
        Request::CheckWritable => "checkWritable",
        Request::List => "list",
        Request::ListUnder { .. } => "listUnder",
        Request::History { .. } => "history",
        Request::Put { .. } => "put",
        Request::Compare { .. } => "compare",
        Request::Remove { .. } => "remove",
        Request::Rename { .. } => "rename",
        Request::Restore { .. } => "restore",
        Request::Resolve { .. } => "resolve",
        Request::Report { .. } => "report",
        Request::Reload => "reload",
        Request::Compact { .. } => "compact",
        Request::Verify => "verify",
        Request::Lock => "lock",
    }
}

impl Needs {
    /// The verb that is judged.
    pub fn verb(&self) -> Option<Verb> {
        match self {
            Needs::Greeting => None,
            Needs::EachRef(_) => Some(Verb::Use),
            Needs::Records(verb, _) | Needs::Part(verb) | Needs::All(verb) => Some(*verb),
        }
    }

    /// The refs that it is about by name.
    pub fn refs(&self) -> &[SecretRef] {
        match self {
            Needs::Records(_, refs) | Needs::EachRef(refs) => refs,
            Needs::Greeting | Needs::Part(_) | Needs::All(_) => &[],
        }
    }
}
