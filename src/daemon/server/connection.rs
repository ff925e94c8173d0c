//! One connection: a request, its answer, the next request, until one side has enough.

use super::Shared;
use super::admission::Slot;
use crate::daemon::caller::Caller;
use crate::daemon::confirm::Ends;
use crate::daemon::frame::{Ask, MAX_FRAME, Present, answer_frames};
use crate::daemon::gate::Standing;
use crate::daemon::wire::{Waited, Wire, WireError};
use crate::daemon::{Stopped, Unlock};
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, LockState, Reply, Request};
use crate::secret::SecretValue;
use crate::sys::peer::Peer;
use crate::vault::SubKeys;
use std::os::fd::AsFd;

/// The longest frame in bytes of others than the daemon's own user and root.
pub const OTHERS_FRAME: usize = 128 << 10;
/// The longest frame in bytes of somebody of whom only the user is known.
pub const STRANGERS_FRAME: usize = 1 << 10;

/// Serves a checked peer until it leaves, breaks the protocol, lets a limit pass, or the daemon
/// locks.
pub(super) fn serve(shared: &Shared, slot: &mut Slot, mut wire: Wire, mut caller: Caller) {
    match converse(shared, slot, &mut wire, &mut caller) {
        // A client that leaves early harms nobody, itself included.
        Ok(()) | Err(WireError::Closed) => {}
        Err(error) => {
            let pid = caller.peer.pid;
            shared
                .log
                .line_of_client(format_args!("connection of process {pid} ended: {error}"));
        }
    }
}

fn converse(
    shared: &Shared,
    slot: &mut Slot,
    wire: &mut Wire,
    caller: &mut Caller,
) -> Result<(), WireError> {
    let mut limit = shared.limits.fresh;
    while wire.wait(limit, Some(shared.stopping.fd()))? == Waited::Ready
        && shared.keep_pace(caller.peer.uid)?
    {
        // The grants may have changed since the last request.
        let standing = shared.gate.standing(caller);
        let max = match standing {
            Standing::Full => MAX_FRAME,
            Standing::Known => OTHERS_FRAME,
            Standing::Stranger | Standing::Nobody => STRANGERS_FRAME,
        };
        let (ask, secrets) = match wire.read_request(max) {
            Err(WireError::Frame(error)) => {
                // Where the next frame would start is unknown now, so the connection ends here.
                let frames = answer_frames(Err(error.into()))?;
                wire.write(&frames)?;
                return Err(error.into());
            }
            other => other?,
        };
        if !is_known(standing) && !matches!(ask, Ask::Present(Present::Capability)) {
            let frames = answer_frames(Err(nothing_for(caller)))?;
            shared.gate.book().turned_away(caller);
            return wire.write(&frames);
        }
        let mut answer = answer(shared, caller, wire, ask, secrets);
        // Whoever showed a capability that opens nothing has no second try on this connection.
        let known = is_known(standing) || is_known(shared.gate.standing(caller));
        if known {
            slot.is_known();
        } else {
            answer = answer.and_then(|_| Err(nothing_for(caller)));
        }
        if let Some(news) = shared.gate.book().news() {
            shared.log.line(format_args!("{news}"));
        }
        let frames = match answer_frames(answer) {
            Ok(frames) => frames,
            Err(error) => answer_frames(Err(error.into()))?,
        };
        wire.write(&frames)?;
        if !known {
            return Ok(());
        }
        limit = shared.limits.kept;
    }
    Ok(())
}

fn is_known(standing: Standing) -> bool {
    matches!(standing, Standing::Full | Standing::Known)
}

fn nothing_for(caller: &Caller) -> Failure {
    let text = format!("the daemon has nothing for user {}", caller.peer.uid);
    Failure::new(Code::DaemonPeer, text)
}

fn answer(
    shared: &Shared,
    caller: &mut Caller,
    wire: &Wire,
    ask: Ask,
    secrets: Vec<SecretValue>,
) -> Result<Answer, Failure> {
    match ask {
        Ask::Request(request) => {
            shared.look.ask();
            let peer = caller.peer;
            let act = |request, secrets| answer_request(shared, peer, request, secrets);
            let backend = shared.backend.as_ref();
            let ends = Ends {
                client: Some(wire.stream().as_fd()),
                lock: Some(shared.stopping.fd()),
            };
            shared
                .gate
                .serve(caller, backend, request, secrets, &ends, act)
        }
        Ask::Unlock(options) => {
            shared.gate.may_unlock(caller)?;
            shared.look.ask();
            let _running = Running::begin(shared);
            unlock(shared, caller.peer, &options, &secrets)
        }
        Ask::Present(Present::Capability) => {
            shared.gate.take(caller, &secrets)?;
            Ok(Answer::plain(Reply::Done))
        }
        Ask::Present(what) => {
            let secret = secrets
                .first()
                .ok_or_else(|| Failure::new(Code::DaemonProtocol, "there is nothing to look at"))?;
            let backend = shared.backend.as_ref();
            shared.gate.prove(caller, backend, what, secret)?;
            // Only a right one shows that somebody still needs the vault.
            drop(Running::begin(shared));
            Ok(Answer::plain(Reply::Done))
        }
    }
}

/// Answers a request that may be answered.
fn answer_request(
    shared: &Shared,
    peer: Peer,
    request: Request,
    secrets: Vec<SecretValue>,
) -> Result<Answer, Failure> {
    match request {
        Request::Lock => {
            shared.stop(Stopped::Asked);
            shared.wait_locked();
            Ok(Answer::plain(Reply::Done))
        }
        // Looking at the time that is left must not prolong it.
        Request::Status => {
            let mut answer = shared.backend.call(peer, Request::Status, secrets)?;
            if let Reply::Status(status) = &mut answer.reply {
                status.state = LockState::Unlocked;
                status.daemon = Some(shared.status());
            }
            Ok(answer)
        }
        // What is not granted must not be asked for either, and a command not be run at will.
        Request::Report { agent } if !shared.gate.is_own(peer.uid) => {
            let _running = Running::begin(shared);
            let report = shared.backend.published(agent.as_ref())?;
            Ok(Answer::plain(Reply::Report(report)))
        }
        Request::Reload => {
            let _running = Running::begin(shared);
            shared.reload_grants();
            shared.backend.call(peer, Request::Reload, secrets)
        }
        request => {
            let _running = Running::begin(shared);
            shared.backend.call(peer, request, secrets)
        }
    }
}

fn unlock(
    shared: &Shared,
    peer: Peer,
    options: &Unlock,
    secrets: &[SecretValue],
) -> Result<Answer, Failure> {
    let [keys] = secrets else {
        let what = "an unlock needs the sub-keys as its one value";
        return Err(Failure::new(Code::DaemonProtocol, what));
    };
    let report = shared.backend.unlock(peer, options, keys)?;
    if let Ok(keys) = SubKeys::from_secret(keys)
        && let Some(failure) = shared.gate.book().rearm(&keys)
    {
        let code = failure.code.as_str();
        shared.log.line(format_args!(
            "the log of decisions goes on with the old key: {code}"
        ));
    }
    shared.session.renew(options, shared.clock.now());
    shared.renewals.raise();
    // The new limits may be nearer than the timer is set for; a mere request moves them away.
    shared.wake.raise();
    Ok(Answer::plain(Reply::Report(report)))
}

/// A request that is being answered: the vault is not idle meanwhile.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.session.begin(shared.clock.now());
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.session.end(self.0.clock.now());
    }
}
