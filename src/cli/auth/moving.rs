//! What fast-agent keeps in the keyring, for `secrets migrate`: read, and removed once it is in the
//! vault.

use super::kept;
use super::servers::{ConfigArgs, Servers, at_base};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::session::{UnlockArgs, asking};
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::mcp::keyring::InKeyring;
use crate::mcp::{Identity, McpServer, Persist, Transport};
use crate::migrate::{Entry, Logins};
use crate::oauth::{Account, TokenSet};
use crate::token_store::TokenStore;
use crate::token_store::fast_agent::{CODEX, Layout};

/// The providers that fast-agent signs in to, under its names and ours.
const PROVIDERS: [(&str, &str); 3] = [("codex", CODEX), ("xai", "xai"), ("copilot", "copilot")];

/// Adds what the keyring holds of fast-agent.
///
/// # Errors
/// `keyring.*` if it can't be read. What can't be moved is noted with its reason.
pub fn read(
    context: &Context,
    unlock: &UnlockArgs,
    config: &Config,
    logins: &mut Logins,
) -> Result<(), CliError> {
    let doing = "read the keyring";
    kept::readable(context, asking(context)).doing(doing)?;
    let before = logins.is_empty();
    for layout in [Layout::Codex, Layout::Provider] {
        let store = kept::store(context, layout, asking(context));
        for (theirs, ours) in PROVIDERS {
            let id = match layout {
                Layout::Codex if ours != CODEX => continue,
                Layout::Codex => CODEX,
                _ => theirs,
            };
            if let Some(tokens) = store.load(id).doing(doing)? {
                let entry = entry(layout, id, &tokens);
                logins.add_account(ours, entry, &tokens, config);
            }
        }
    }
    servers(context, unlock, logins).doing(doing)?;
    if before && logins.is_empty() {
        context.out.tell("The keyring holds nothing of fast-agent.");
    }
    Ok(())
}

fn entry(layout: Layout, id: &str, tokens: &TokenSet) -> Entry {
    Entry {
        layout,
        id: id.to_owned(),
        access: tokens.access.clone(),
    }
}

fn servers(context: &Context, unlock: &UnlockArgs, logins: &mut Logins) -> Result<(), Failure> {
    let store = kept::store(context, Layout::Mcp, asking(context));
    let servers = Servers::read(context, &ConfigArgs::default()).map_err(CliError::into_reason)?;
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

/// Removes an entry whose content is in the vault.
///
/// # Errors
/// `keyring.*`; `config.conflict` if it holds something newer by now.
pub fn remove(context: &Context, entry: &Entry) -> Result<(), Failure> {
    let store = kept::store(context, entry.layout, asking(context));
    let _guard = store.refresh_guard(&entry.id)?;
    match store.load(&entry.id)? {
        Some(tokens) if tokens.access != entry.access => {
            let text = format!("{} was renewed since it was read", entry.place());
            Err(Failure::new(Code::ConfigConflict, text))
        }
        Some(_) => store.clear(&entry.id).map(|_| ()),
        None => Ok(()),
    }
}
