//! One connection: a request, its answer, the next request, until one side has enough.

use super::Shared;
use crate::daemon::frame::{Ask, answer_frames};
use crate::daemon::wire::{Waited, Wire, WireError};
use crate::daemon::{Stopped, Unlock};
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, LockState, Reply, Request};
use crate::secret::SecretValue;
use crate::sys::peer::Peer;

/// Serves a checked peer until it leaves, breaks the protocol, lets a limit pass, or the daemon
/// locks.
pub fn serve(shared: &Shared, mut wire: Wire, peer: Peer) {
    match converse(shared, &mut wire, peer) {
        // A client that leaves early harms nobody, itself included.
        Ok(()) | Err(WireError::Closed) => {}
        Err(error) => {
            let pid = peer.pid;
            shared
                .log
                .line(format_args!("connection of process {pid} ended: {error}"));
        }
    }
}

fn converse(shared: &Shared, wire: &mut Wire, peer: Peer) -> Result<(), WireError> {
    let mut limit = shared.limits.fresh;
    while wire.wait(limit, Some(shared.stopping.fd()))? == Waited::Ready {
        let (ask, secrets) = match wire.read_request() {
            Err(WireError::Frame(error)) => {
                // Where the next frame would start is unknown now, so the connection ends here.
                let frames = answer_frames(Err(error.into()))?;
                wire.write(&frames)?;
                return Err(error.into());
            }
            other => other?,
        };
        let frames = match answer_frames(answer(shared, peer, ask, secrets)) {
            Ok(frames) => frames,
            Err(error) => answer_frames(Err(error.into()))?,
        };
        wire.write(&frames)?;
        limit = shared.limits.kept;
    }
    Ok(())
}

fn answer(
    shared: &Shared,
    peer: Peer,
    ask: Ask,
    secrets: Vec<SecretValue>,
) -> Result<Answer, Failure> {
    shared.look.ask();
    match ask {
        Ask::Request(Request::Lock) => {
            shared.stop(Stopped::Asked);
            shared.wait_locked();
            Ok(Answer::plain(Reply::Done))
        }
        // Looking at the time that is left must not prolong it.
        Ask::Request(Request::Status) => {
            let mut answer = shared.backend.call(peer, Request::Status, secrets)?;
            if let Reply::Status(status) = &mut answer.reply {
                status.state = LockState::Unlocked;
                status.daemon = Some(shared.status());
            }
            Ok(answer)
        }
        Ask::Request(request) => {
            let _running = Running::begin(shared);
            shared.backend.call(peer, request, secrets)
        }
        Ask::Unlock(options) => {
            let _running = Running::begin(shared);
            unlock(shared, peer, &options, &secrets)
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
