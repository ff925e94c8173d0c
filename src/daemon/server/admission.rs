//! Who gets a connection at all: the check before a byte is read, and a thread.

use super::{SPARE_THREADS, STACK, Shared, connection};
use crate::daemon::caller::Caller;
use crate::daemon::frame::answer_frames;
use crate::daemon::gate::Standing;
use crate::daemon::wire::Wire;
use crate::error::{Code, Failure};
use crate::sys::peer::{self, Peer};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};

/// The most connections at once of all others than the daemon's own user and root: the rest stays
/// for these.
pub const MAX_OF_OTHERS: usize = 48;
/// The most of these at once of whom no grant is known yet, for they have shown no capability.
pub const MAX_OF_STRANGERS: usize = 8;
/// The most connections at once of one other user.
pub const MAX_OF_USER: usize = 16;

/// Checks the peer and hands the connection to a spare thread, or to a new one.
pub(super) fn admit(shared: &Arc<Shared>, stream: UnixStream) {
    let Ok(peer) = peer::of(&stream) else {
        return;
    };
    let Ok(wire) = Wire::new(stream, shared.limits.frame) else {
        return;
    };
    if !shared.gate.may_admit(peer.uid) {
        return turn_away(shared, wire, &Caller::by_user(peer));
    }
    let caller = Caller::of(wire.stream(), peer);
    let whose = match shared.gate.standing(&caller) {
        Standing::Nobody => return turn_away(shared, wire, &caller),
        Standing::Full => Whose::Own,
        Standing::Known => Whose::Known(peer.uid),
        Standing::Stranger => Whose::Stranger(peer.uid),
    };
    if whose
        .other()
        .is_some_and(|uid| !shared.pace.connection(uid, shared.clock.now()))
    {
        shared.gate.no_room(&caller);
        let text = format!("user {} asks too often", peer.uid);
        return say(wire, Failure::new(Code::DaemonBusy, text));
    }
    let Some(slot) = Slot::take(shared, whose) else {
        shared.gate.no_room(&caller);
        let text = match whose {
            Whose::Stranger(_) => "too many whom the daemon does not know are connected".to_owned(),
            _ => format!("user {} has too many connections", peer.uid),
        };
        return say(wire, Failure::new(Code::DaemonBusy, text));
    };
    let mut state = shared.state();
    if state.waiting.len() < state.spare {
        state.waiting.push_back((wire, caller, whose));
        drop(state);
        slot.hand_over();
        return shared.admitted.notify_one();
    }
    drop(state);
    let thread = std::thread::Builder::new()
        .name("connection".to_owned())
        .stack_size(STACK);
    // A thread that can't be started drops the slot and the connection with its closure.
    if let Err(error) = thread.spawn(move || serve_connections(slot, wire, caller)) {
        shared
            .log
            .line(format_args!("no thread for a connection: {error}"));
    }
}

/// What a connection's thread does: its connection, then others as they come.
fn serve_connections(slot: Slot, wire: Wire, caller: Caller) {
    let shared = Arc::clone(&slot.shared);
    let mut next = Some((slot, wire, caller));
    while let Some((mut slot, wire, caller)) = next {
        connection::serve(&shared, &mut slot, wire, caller);
        drop(slot);
        let admitted = next_connection(&shared);
        next = admitted.map(|(wire, caller, whose)| (Slot::taken(&shared, whose), wire, caller));
    }
}

/// Waits with a thread that has done its work for more; `None` if it is not needed any longer.
fn next_connection(shared: &Shared) -> Option<Waiting> {
    let mut state = shared.state();
    if state.spare >= SPARE_THREADS {
        return None;
    }
    state.spare += 1;
    let nothing = |state: &mut super::State| state.waiting.is_empty() && !state.locked;
    let waited = shared.admitted.wait_while(state, nothing);
    let mut state = waited.unwrap_or_else(PoisonError::into_inner);
    state.spare -= 1;
    state.waiting.pop_front()
}

/// Refuses somebody of whom nothing was read.
fn turn_away(shared: &Shared, wire: Wire, caller: &Caller) {
    let Peer { pid, uid, .. } = caller.peer;
    // Whoever comes again and again is counted, and does not fill the log.
    if shared.gate.book().turned_away(caller) {
        shared
            .log
            .line_of_client(format_args!("refused process {pid} of user {uid}"));
    }
    let text = format!("the daemon has nothing for user {uid}");
    say(wire, Failure::new(Code::DaemonPeer, text));
}

fn say(mut wire: Wire, failure: Failure) {
    if let Ok(frames) = answer_frames(Err(failure)) {
        // The answer fits the empty buffer of a fresh socket, so this does not block.
        let _ = wire.write(&frames);
    }
}

/// A connection that waits for a thread; its place is counted already.
pub(super) type Waiting = (Wire, Caller, Whose);

/// Whose a connection is, for the limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// The daemon's own user's, or root's.
    Own,
    /// Of a user, or of a unit of his, to whom something is granted.
    Known(u32),
    /// Of a user who may have a capability.
    Stranger(u32),
}

impl Whose {
    fn other(self) -> Option<u32> {
        match self {
            Whose::Own => None,
            Whose::Known(uid) | Whose::Stranger(uid) => Some(uid),
        }
    }
}

/// A connection's place among the limited number.
pub(super) struct Slot {
    shared: Arc<Shared>,
    whose: Whose,
    held: bool,
}

impl Slot {
    /// `None` if others than the daemon's own user have enough.
    fn take(shared: &Arc<Shared>, whose: Whose) -> Option<Self> {
        let slot = Self::taken(shared, whose);
        let mut state = shared.state();
        if let Some(uid) = whose.other() {
            let all: usize = state.of_others.values().sum();
            let count = state.of_others.get(&uid).copied().unwrap_or(0);
            let strange = usize::from(matches!(whose, Whose::Stranger(_)));
            let full = all >= MAX_OF_OTHERS || count >= MAX_OF_USER;
            if full || state.of_strangers + strange > MAX_OF_STRANGERS {
                drop(state);
                slot.hand_over();
                return None;
            }
            state.of_others.insert(uid, count + 1);
            state.of_strangers += strange;
        }
        state.active += 1;
        drop(state);
        Some(slot)
    }

    /// The place of a connection that was counted already.
    fn taken(shared: &Arc<Shared>, whose: Whose) -> Self {
        Self {
            shared: Arc::clone(shared),
            whose,
            held: true,
        }
    }

    /// A grant of the one who has the place is known now: it is a stranger's no longer.
    pub fn is_known(&mut self) {
        if let Whose::Stranger(uid) = self.whose {
            self.whose = Whose::Known(uid);
            self.shared.state().of_strangers -= 1;
        }
    }

    /// Leaves the place to whoever serves the connection.
    fn hand_over(mut self) {
        self.held = false;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let mut state = self.shared.state();
        state.active -= 1;
        if let Whose::Stranger(_) = self.whose {
            state.of_strangers -= 1;
        }
        if let Some(uid) = self.whose.other()
            && let Some(count) = state.of_others.get_mut(&uid)
        {
            *count -= 1;
            if *count == 0 {
                state.of_others.remove(&uid);
            }
        }
        if state.full {
            self.shared.wake.raise();
        }
        // Before that, nobody waits for connections to end.
        if state.locked {
            self.shared.changed.notify_all();
        }
    }
}
