//! What fast-agent keeps in the keyring, for `secrets migrate`: read, and removed once it is in the
//! vault; and the API keys in its files, which are only read.

use super::kept;
use super::servers::{ConfigArgs, Servers, at_base};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::session::{UnlockArgs, asking};
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::mcp::keyring::InKeyring;
use crate::mcp::servers::MAX_YAML;
use crate::mcp::{Identity, McpServer, Persist, Transport, api_keys};
use crate::migrate::{Entry, Logins, Moving};
use crate::oauth::{Account, TokenSet};
use crate::store::files;
use crate::token_store::fast_agent::{CODEX, Layout};
use crate::token_store::{Keyring, TokenStore};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use zeroize::Zeroizing;

/// The providers that fast-agent signs in to, under its names and ours.
const PROVIDERS: [(&str, &str); 3] = [("codex", CODEX), ("xai", "xai"), ("copilot", "copilot")];

/// Adds what the keyring and the files of fast-agent hold.
///
/// # Errors
/// `keyring.*` if it can't be read and no file has a key; `file.*`. What can't be moved is noted
/// with its reason.
pub fn read(
    context: &Context,
    unlock: &UnlockArgs,
    config: &Config,
    logins: &mut Logins,
) -> Result<(), CliError> {
    let doing = "read what fast-agent keeps";
    let before = logins.is_empty();
    let servers = Servers::read(context, &ConfigArgs::default())?;
    keys(&servers, logins).doing(doing)?;
    match kept::readable(context, asking(context)) {
        Ok(_) => keyring(context, unlock, (config, &servers), logins).doing(doing)?,
        Err(why) if before && logins.is_empty() => return Err(why).doing(doing),
        Err(why) => logins.leave("keyring".to_owned(), why.to_string()),
    }
    if before && logins.is_empty() {
        context
            .out
            .tell("Neither the keyring nor a config holds anything of fast-agent.");
    }
    Ok(())
}

/// Adds the API keys in the config that is found, and beside it.
fn keys(servers: &Servers, logins: &mut Logins) -> Result<(), Failure> {
    let paths = servers.found_config().map(api_keys::files);
    for path in paths.unwrap_or_default() {
        let Some(bytes) = files::read(&path, MAX_YAML)?.map(Zeroizing::new) else {
            continue;
        };
        match std::str::from_utf8(&bytes).ok().and_then(api_keys::read) {
            Some(keys) => logins.add_keys(&path, keys),
            None => logins.leave(path.display().to_string(), "it is not readable as YAML"),
        }
    }
    Ok(())
}

/// Adds what the keyring holds.
fn keyring(
    context: &Context,
    unlock: &UnlockArgs,
    (config, servers): (&Config, &Servers),
    logins: &mut Logins,
) -> Result<(), Failure> {
    for layout in [Layout::Codex, Layout::Provider] {
        let store = kept::store(context, layout, asking(context));
        for (theirs, ours) in PROVIDERS {
            let id = match layout {
                Layout::Codex if ours != CODEX => continue,
                Layout::Codex => CODEX,
                _ => theirs,
            };
            if let Some(tokens) = store.load(id)? {
                let entry = entry(layout, id, &tokens);
                logins.add_account(ours, entry, &tokens, config);
            }
        }
    }
    of_servers(context, unlock, servers, logins)
}

fn entry(layout: Layout, id: &str, tokens: &TokenSet) -> Entry {
    Entry {
        layout,
        id: id.to_owned(),
        access: tokens.access.clone(),
    }
}

fn of_servers(
    context: &Context,
    unlock: &UnlockArgs,
    servers: &Servers,
    logins: &mut Logins,
) -> Result<(), Failure> {
    let store = kept::store(context, Layout::Mcp, asking(context));
    let mut keys = store.servers()?;
    // Older versions did not always list them.
    for (server, _) in servers.remote() {
        let key = server.legacy.key();
        if !keys
            .iter()
            .any(|other| Identity::of(other) == Identity::of(&key))
        {
            keys.push(key);
        }
    }
    for key in keys {
        let Some(tokens) = store.load(&key)? else {
            continue;
        };
        let identity = Identity::of(&key);
        let entry = entry(Layout::Mcp, &key, &tokens);
        let name = match identity.record() {
            Ok(name) => name,
            Err(error) => {
                logins.leave(entry.place(), error.to_string());
                continue;
            }
        };
        let mut remote = servers.remote();
        let known = remote.find(|(_, url)| Identity::of(url.as_str()) == identity);
        let server = match known {
            Some((server, _)) => Ok(server.clone()),
            None => at_base(&key, Transport::Http)
                .map(|url| McpServer::at(&url, Transport::Http, Persist::Keyring)),
        };
        let account = server.and_then(|server| -> Result<Account, Failure> {
            context.out.progress(&format!(
                "Asking {identity} where its tokens are renewed ..."
            ));
            kept::with(context, &server, unlock, &store, |kept| {
                InKeyring { id: &key, ..*kept }.account(&tokens)
            })
        });
        match account {
            Ok(account) => logins.add_server(entry, name, account),
            Err(failure) => logins.leave(entry.place(), failure.message),
        }
    }
    Ok(())
}

/// Held while entries move: nobody of ours renews them.
pub type Guards = Vec<Box<dyn Send>>;

/// Takes the lock of each entry, and looks whether it is as it was read: since then servers and a
/// person were asked.
///
/// # Errors
/// `config.conflict` if it holds something else by now; `vault.busy` if somebody keeps renewing it;
/// `keyring.*`.
pub fn hold(context: &Context, entries: &[Moving]) -> Result<Guards, Failure> {
    let mut guards = BTreeMap::new();
    for Moving { entry, .. } in entries {
        let store = kept::store(context, entry.layout, asking(context));
        // Several names of a server share its lock.
        let key = (entry.layout.service(), Identity::of(&entry.id));
        if let Slot::Vacant(slot) = guards.entry(key) {
            slot.insert(store.refresh_guard(&entry.id)?);
        }
        if !is_as_read(&store, entry)?.unwrap_or_default() {
            return Err(conflict(entry));
        }
    }
    Ok(guards.into_values().collect())
}

/// Removes an entry that is held ([`hold()`]) and whose content is in the vault.
///
/// # Errors
/// `keyring.*`; `config.conflict` if it holds something newer by now: fast-agent takes no lock.
pub fn remove(context: &Context, entry: &Entry) -> Result<(), Failure> {
    let store = kept::store(context, entry.layout, asking(context));
    match is_as_read(&store, entry)? {
        Some(true) => {
            if entry.layout == Layout::Mcp {
                // Whoever finds the keyring empty does not take that for nobody's sign-in.
                kept::set_in_vault(context, &Identity::of(&entry.id), true)?;
            }
            store.clear(&entry.id).map(|_| ())
        }
        Some(false) => Err(conflict(entry)),
        None => Ok(()),
    }
}

/// `None` if it is gone.
fn is_as_read(store: &Keyring, entry: &Entry) -> Result<Option<bool>, Failure> {
    let tokens = store.load(&entry.id)?;
    Ok(tokens.map(|tokens| tokens.access == entry.access))
}

fn conflict(entry: &Entry) -> Failure {
    let text = format!("{} was renewed or removed since it was read", entry.place());
    Failure::new(Code::ConfigConflict, text)
}
