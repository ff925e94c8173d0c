//! Where the tokens of a server are: in the keyring if its config says so and there is one, else in
//! the vault, else in this process alone.
//!
//! A mark in the state folder says that the newest tokens of an identity are in the vault although
//! the keyring was meant: it was not there when somebody signed in, or did not take what was
//! renewed. Then the vault counts, until somebody signs in with the keyring at hand.

use super::login::{client_secret, seal};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::shown;
use crate::cli::session::{self, UnlockArgs, asking};
use crate::crypto::hash::sha256;
use crate::error::{Code, Failure};
use crate::keyring::{Asking, Fault, Keyring as System};
use crate::mcp::keyring::{InKeyring, Rescue, Wanted};
use crate::mcp::{Identity, McpServer, Persist};
use crate::net::http::{Client, Policy};
use crate::oauth::{Account, TokenSet};
use crate::store::state_dir::make_private_folder;
use crate::store::{StoreError, files};
use crate::token_store::fast_agent::Layout;
use crate::token_store::{Chosen, Keyring, TokenStore};
use std::io::ErrorKind;
use std::path::PathBuf;

/// What the name of a mark ends with.
const MARK: &str = "vault";

/// Where tokens are, or go.
pub(super) enum Place {
    /// In the keyring.
    Keyring(Box<Keyring>),
    /// In the vault; and why not in the keyring, if that was meant and can't be had.
    Vault(Option<Fault>),
    /// Nowhere but here, and why.
    Memory(Fault),
}

/// The keyring as fast-agent uses it.
pub(super) fn store(context: &Context, layout: Layout, asking: Asking) -> Keyring {
    let out = context.out.clone();
    let system = System::of_session(asking);
    Keyring::new(system, layout, context.state.tokens()).warning_to(move |warning| {
        out.warn(&shown(&format!(
            "the keyring's entry {} {}",
            warning.place, warning.why
        )));
    })
}

/// The keyring, if it can be read.
pub(super) fn readable(context: &Context, asks: Asking) -> Result<Keyring, Fault> {
    let system = System::of_session(asks);
    let locked = system.state()?.locked;
    if locked && asks == Asking::Never {
        return Err(Fault::Locked);
    }
    Ok(store(context, Layout::Mcp, asks))
}

/// Where to look for the tokens of a server.
pub(super) fn to_read(context: &Context, persist: Persist, identity: &Identity) -> Place {
    if persist != Persist::Keyring || is_in_vault(context, identity) {
        return Place::Vault(None);
    }
    match readable(context, asking(context)) {
        Ok(store) => Place::Keyring(Box::new(store)),
        Err(why) => Place::Vault(Some(why)),
    }
}

/// Where new tokens of a server go: proven to take them, as far as the keyring goes.
///
/// # Errors
/// The config can't be read.
pub(super) fn to_write(context: &Context, persist: Persist) -> Result<Place, CliError> {
    if persist != Persist::Keyring {
        return Ok(Place::Vault(None));
    }
    let store = store(context, Layout::Mcp, asking(context));
    Ok(match store.check_writable() {
        Ok(()) => Place::Keyring(Box::new(store)),
        Err(why) if has_vault(context)? => Place::Vault(Some(why)),
        Err(why) => Place::Memory(why),
    })
}

/// Says once where tokens go if that is not where the config wants them.
pub(super) fn tell(context: &Context, place: &Place) {
    let chosen = match place {
        Place::Vault(Some(why)) => Chosen::Vault(why.clone()),
        Place::Memory(why) => Chosen::Memory(why.clone()),
        Place::Keyring(_) | Place::Vault(None) => return,
    };
    context.out.warn(&chosen.to_string());
}

/// True if there is a vault to look into.
pub(super) fn has_vault(context: &Context) -> Result<bool, CliError> {
    Ok(session::vault_path(context)?.exists() || session::daemon(context)?.is_some())
}

/// Why the keyring has nothing, as the end of a sentence; nothing if it can be read.
pub(super) fn why(context: &Context) -> String {
    match readable(context, Asking::Never) {
        Ok(_) => String::new(),
        Err(why) => format!(", as far as can be seen: {why}"),
    }
}

/// Tokens from the keyring that are good enough; `None` if it has none, or is not the place.
pub(super) fn token(
    context: &Context,
    server: &McpServer,
    unlock: &UnlockArgs,
    wanted: &Wanted<'_>,
) -> Result<Option<TokenSet>, Failure> {
    let Some(url) = &server.url else {
        return Ok(None);
    };
    let identity = Identity::of(url.as_str());
    let Place::Keyring(store) = to_read(context, server.persist, &identity) else {
        return Ok(None);
    };
    let rescue = |account: &Account| rescue(context, &identity, unlock, account);
    with(context, server, unlock, &store, |kept| {
        kept.token(wanted, &rescue as Rescue<'_>)
    })
}

/// Does something with a server's entries.
pub(super) fn with<T>(
    context: &Context,
    server: &McpServer,
    unlock: &UnlockArgs,
    store: &Keyring,
    act: impl FnOnce(&InKeyring<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let url = server.url.as_ref();
    let url = url.ok_or_else(|| Failure::new(Code::Bug, "a server without a URL"))?;
    let secret = || client_secret(context, server, unlock).map_err(CliError::into_reason);
    let http = Client::new(&Policy::default());
    let (id, identity) = (server.legacy.key(), Identity::of(url.as_str()));
    act(&InKeyring {
        store,
        http: &http,
        server,
        url,
        id: &id,
        client_secret: &secret,
        is_elsewhere: &|| is_in_vault(context, &identity),
    })
}

/// Puts an account into the vault that the keyring did not take, and says where it is.
pub(super) fn rescue(
    context: &Context,
    identity: &Identity,
    unlock: &UnlockArgs,
    account: &Account,
) -> Result<String, Failure> {
    let name = identity.record()?;
    let mut service = session::service(context, unlock).map_err(CliError::into_reason)?;
    seal(service.as_mut(), &name, account).map_err(CliError::into_reason)?;
    set_in_vault(context, identity, true)?;
    Ok(format!("in the vault now, as {name}, and used from there"))
}

/// The mark of an identity.
fn mark(context: &Context, identity: &Identity) -> PathBuf {
    let digest = sha256(&[identity.as_str().as_bytes()]);
    let name = data_encoding::HEXLOWER.encode(&digest[..8]);
    context.state.tokens().join(format!("{name}.{MARK}"))
}

/// True if the newest tokens are in the vault although the keyring was meant.
pub(super) fn is_in_vault(context: &Context, identity: &Identity) -> bool {
    mark(context, identity).exists()
}

/// Removes the marks of all identities.
pub(super) fn remove_marks(context: &Context) -> Result<(), Failure> {
    let folder = context.state.tokens();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(StoreError::io("list", &folder))?,
    };
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", &folder))?.path();
        if path.extension().is_some_and(|end| end == MARK) {
            files::remove(&path, b"")?;
        }
    }
    Ok(())
}

/// Makes the mark, or removes it.
pub(super) fn set_in_vault(
    context: &Context,
    identity: &Identity,
    is: bool,
) -> Result<(), Failure> {
    let path = mark(context, identity);
    match (is, path.exists()) {
        (true, false) => {
            make_private_folder(&context.state.tokens())?;
            Ok(files::write(&path, None, b"")?)
        }
        (false, true) => Ok(files::remove(&path, b"").map(|_| ())?),
        _ => Ok(()),
    }
}

/// Where the tokens of a server are kept that is known by its URL alone: as those of a server of
/// the config that shares them; else in the keyring if fast-agent left some there, or that can't be
/// seen; else in the vault.
pub(super) fn persist_of_url(
    context: &Context,
    siblings: &[Persist],
    identity: &Identity,
    legacy: &Identity,
) -> Persist {
    let configured = siblings.iter().find(|persist| **persist != Persist::Memory);
    if let Some(persist) = configured {
        return *persist;
    }
    let holds_some = match to_read(context, Persist::Keyring, identity) {
        Place::Keyring(store) => !matches!(store.load(&legacy.key()), Ok(None)),
        Place::Vault(why) => why.is_some_and(|why| !why.is_absence()),
        Place::Memory(_) => false,
    };
    match holds_some {
        true => Persist::Keyring,
        false => Persist::Vault,
    }
}

/// True if tokens that go to the vault are newer than all that a keyring may hold of the server:
/// the keyring was meant, or nobody could look whether it was.
pub(super) fn is_instead(context: &Context, server: &McpServer, place: &Place) -> bool {
    match place {
        Place::Vault(Some(_)) => true,
        Place::Vault(None) => server.is_bare() && readable(context, Asking::Never).is_err(),
        Place::Keyring(_) | Place::Memory(_) => false,
    }
}
