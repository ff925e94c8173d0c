//! What `auth status` tells of the keyring: which one it is, whether it takes tokens, and whose it
//! holds. Nobody is asked to unlock it.

use super::kept;
use super::servers::Servers;
use super::status::{KEYRING, Kept};
use crate::cli::context::Context;
use crate::keyring::{Asking, Fault};
use crate::mcp::{Identity, Persist};
use crate::token_store::{Keyring, TokenStore};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The name that Python's `keyring`, and so fast-agent, has for the keyring of this system.
const NAME: &str = if cfg!(target_os = "macos") {
    "macOS Keyring"
} else if cfg!(windows) {
    "Windows WinVaultKeyring"
} else {
    "SecretService Keyring"
};

/// The keyring, as far as it can be seen.
pub(super) struct Ring {
    pub(super) name: &'static str,
    /// True if something answers, locked or not.
    available: bool,
    /// Why it does not take tokens.
    pub(super) missing: Option<Fault>,
    /// What it holds, by identity.
    pub(super) kept: Vec<Kept>,
}

impl Ring {
    /// Looks at the keyring, with a trial entry as fast-agent does it.
    pub(super) fn read(context: &Context, servers: &Servers) -> Self {
        let mut ring = Self {
            name: NAME,
            available: false,
            missing: None,
            kept: Vec::new(),
        };
        match kept::readable(context, Asking::Never) {
            Ok(store) => {
                ring.available = true;
                ring.missing = store.check_writable().err();
                match entries(&store, servers) {
                    Ok(kept) => ring.kept = kept,
                    Err(failure) => context.out.warn(&failure.message),
                }
            }
            Err(why) => {
                ring.available = matches!(why, Fault::Locked | Fault::NoCollection);
                ring.missing = Some(why);
            }
        }
        ring
    }

    /// True if it may hold what can't be seen now.
    pub(super) fn is_unknown(&self) -> bool {
        let missing = self.missing.as_ref();
        self.kept.is_empty() && missing.is_some_and(|why| !why.is_absence())
    }

    /// The member `keyring` of fast-agent's JSON.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": if self.available { self.name } else { "unavailable" },
            "available": self.available,
            "writable": self.available && self.missing.is_none(),
        })
    }
}

/// The tokens of all that the index lists, and of the config's servers, which older versions did
/// not always list.
fn entries(store: &Keyring, servers: &Servers) -> Result<Vec<Kept>, crate::error::Failure> {
    let mut keys: BTreeMap<Identity, Vec<String>> = BTreeMap::new();
    let meant = |(server, _): (&crate::mcp::McpServer, &crate::oauth::Endpoint)| {
        (server.persist == Persist::Keyring).then(|| server.legacy.key())
    };
    let configured = servers.remote().filter_map(meant);
    for key in configured.chain(store.servers()?) {
        keys.entry(Identity::of(&key)).or_default().push(key);
    }
    let mut kept = Vec::new();
    for (identity, keys) in keys {
        for key in keys {
            if let Some(tokens) = store.load(&key)? {
                kept.push(Kept {
                    identity,
                    place: KEYRING,
                    expires_at: tokens.expires_at,
                    refreshable: tokens.refresh.is_some(),
                    sign_in_needed: false,
                });
                break;
            }
        }
    }
    Ok(kept)
}
