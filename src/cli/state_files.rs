//! The config and the profiles, read for a command and edited without a lost update.

use super::context::Context;
use crate::config::{Config, Trust};
use crate::document::Document;
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId};
use crate::profile::{ProfileError, State, Store};
use crate::reference::Defaults;
use crate::runtime::ground::trust_of;
use crate::store::files::{self, Care, MAX_STATE_FILE};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an edit starts again because another program wrote the file first.
const EDIT_TIME: Duration = files::WRITE_TIMEOUT;

/// The config; a state folder without one has the defaults.
pub fn config(context: &Context) -> Result<Config, Failure> {
    let path = context.config();
    match config_at(&path, trust_of(&context.state, &path))? {
        Some(config) => Ok(config),
        None if context.named_config.is_some() => Err(config_absent(&path)),
        None => Ok(Config::default()),
    }
}

/// The config at a path, if there is one.
pub fn config_at(path: &Path, trust: Trust) -> Result<Option<Config>, Failure> {
    match read_text(path)? {
        Some((_, text)) => Ok(Some(Config::parse(&text, &name(path), trust)?)),
        None => Ok(None),
    }
}

fn config_absent(path: &Path) -> Failure {
    Failure::new(
        Code::ConfigAbsent,
        format!("there is no config at {}", path.display()),
    )
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// A file's bytes, and the same as text.
type Text = (Vec<u8>, zeroize::Zeroizing<String>);

fn read_text(path: &Path) -> Result<Option<Text>, Failure> {
    let Some(bytes) = files::read(path, MAX_STATE_FILE)? else {
        return Ok(None);
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let text = zeroize::Zeroizing::new(text.to_owned());
            Ok(Some((bytes, text)))
        }
        Err(error) => {
            let message = format!(
                "{}: byte {} is no UTF-8",
                path.display(),
                error.valid_up_to()
            );
            Err(Failure::new(Code::ConfigInvalid, message))
        }
    }
}

/// Edits the config where it stands. `edit` may run again, on what another program wrote. A config
/// that would not be valid afterwards stays as it is.
pub fn edit_config(
    context: &Context,
    mut edit: impl FnMut(&mut Document) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = context.config();
    retry(|| {
        let (bytes, document) = edited(context, &path, &mut edit)?;
        if document.text().as_bytes() != bytes.as_slice() {
            files::write(&path, Some(&bytes), document.text().as_bytes())?;
        }
        Ok(())
    })
}

/// Fails as [`edit_config`] would, and writes nothing.
pub fn try_edit_config(
    context: &Context,
    mut edit: impl FnMut(&mut Document) -> Result<(), Failure>,
) -> Result<(), Failure> {
    edited(context, &context.config(), &mut edit).map(|_| ())
}

/// The config as it stands and as it would be.
fn edited(
    context: &Context,
    path: &Path,
    edit: &mut impl FnMut(&mut Document) -> Result<(), Failure>,
) -> Result<(Vec<u8>, Document), Failure> {
    let Some((bytes, text)) = read_text(path)? else {
        return Err(config_absent(path));
    };
    let mut document = Document::parse(&text, &name(path))?;
    edit(&mut document)?;
    // What the next command would refuse to read is not written.
    match Config::read(&document, trust_of(&context.state, path)) {
        Ok(_) => Ok((bytes, document)),
        Err(errors) => {
            let why = format!("the config would no longer be valid: {errors}");
            Err(Failure::new(Code::ConfigInvalid, why))
        }
    }
}

/// The config as a document, for looking at it.
pub fn config_document(context: &Context) -> Result<Document, Failure> {
    let path = context.config();
    match read_text(&path)? {
        Some((_, text)) => Ok(Document::parse(&text, &name(&path))?),
        None => Err(config_absent(&path)),
    }
}

/// The profiles of an agent; none if it has no file yet. `agent.absent` if nobody made the agent.
pub fn profiles(context: &Context, agent: &AgentId) -> Result<Store, Failure> {
    let defaults = config(context)?.defaults;
    profiles_with(context, agent, &defaults)
}

/// [`profiles`], with the defaults of a config that was read already.
pub fn profiles_with(
    context: &Context,
    agent: &AgentId,
    defaults: &Defaults,
) -> Result<Store, Failure> {
    check_agent(context, agent)?;
    let path = context.state.auth_profiles(agent);
    match read_profiles(&path)? {
        Some((_, text)) => Ok(Store::parse(&text, &name(&path), defaults)?),
        None => Ok(Store::empty(&name(&path))?),
    }
}

/// Refuses an agent that was not made. The agent main is the one that is meant when none is named,
/// so it needs no making.
pub fn check_agent(context: &Context, agent: &AgentId) -> Result<(), Failure> {
    if *agent == AgentId::main() || context.state.agent_dir(agent).is_dir() {
        return Ok(());
    }
    let why = format!("there is no agent {agent}");
    Err(Failure::new(Code::AgentAbsent, why))
}

/// Refuses a config that was named and is not there: it must not pass for an empty one.
pub fn check_named_config(context: &Context) -> Result<(), Failure> {
    match &context.named_config {
        Some(path) if matches!(path.try_exists(), Ok(false)) => Err(config_absent(path)),
        Some(_) | None => Ok(()),
    }
}

fn read_profiles(path: &Path) -> Result<Option<Text>, Failure> {
    read_text(path).map_err(|failure| match failure.code {
        Code::ConfigInvalid => Failure::new(Code::ProfilesInvalid, failure.message),
        _ => failure,
    })
}

/// The order and usage of an agent's profiles.
pub fn state(context: &Context, agent: &AgentId, store: &Store) -> Result<State, Failure> {
    let path = context.state.auth_state(agent);
    match read_profiles(&path)? {
        Some((_, text)) => Ok(State::parse(&text, &name(&path), store)?),
        None => Ok(State::empty(&name(&path), store)?),
    }
}

/// Edits an agent's profiles where they stand; makes the file if it is missing. `edit` may run
/// again, on what another program wrote. Gives the path of the file.
pub fn edit_profiles(
    context: &Context,
    agent: &AgentId,
    mut edit: impl FnMut(&mut Store) -> Result<(), ProfileError>,
) -> Result<PathBuf, Failure> {
    let defaults = config(context)?.defaults;
    let path = context.state.auth_profiles(agent);
    check_agent(context, agent)?;
    context.state.create_agent(agent)?;
    retry(|| {
        let (before, mut store) = match read_profiles(&path)? {
            Some((bytes, text)) => (Some(bytes), Store::parse(&text, &name(&path), &defaults)?),
            None => (None, Store::empty(&name(&path))?),
        };
        edit(&mut store)?;
        if before.as_deref() != Some(store.text().as_bytes()) {
            files::write(&path, before.as_deref(), store.text().as_bytes())?;
        }
        Ok(path.clone())
    })
}

/// Makes an agent's folder with an empty auth-profiles.json; gives the path of the file.
pub fn make_agent(context: &Context, agent: &AgentId) -> Result<PathBuf, Failure> {
    context.state.create_agent(agent)?;
    let path = context.state.auth_profiles(agent);
    let empty = Store::empty(&name(&path))?;
    files::write(&path, None, empty.text().as_bytes())?;
    Ok(path)
}

/// After a profile got a new credential: what the old one's failures closed is open again. A file
/// that says nothing of the profile is left alone.
pub fn forget_failures(context: &Context, agent: &AgentId, id: &ProfileId) -> Result<(), Failure> {
    let store = profiles(context, agent)?;
    if state(context, agent, &store)?.usage(id).is_some() {
        edit_state(context, agent, &store, |state| {
            state.record_new_credential(id)
        })?;
    }
    Ok(())
}

/// Edits the order and usage of an agent's profiles where they stand. `edit` may run again, on what
/// another program wrote. As the family does: a file that would say nothing is removed, and one
/// that stays as it is only gets its mode repaired.
pub fn edit_state(
    context: &Context,
    agent: &AgentId,
    store: &Store,
    edit: impl FnMut(&mut State) -> Result<(), ProfileError>,
) -> Result<State, Failure> {
    edit_state_with(context, agent, store, Care::Durable, edit)
}

/// [`edit_state`], with as much care as is asked for.
pub fn edit_state_with(
    context: &Context,
    agent: &AgentId,
    store: &Store,
    care: Care,
    mut edit: impl FnMut(&mut State) -> Result<(), ProfileError>,
) -> Result<State, Failure> {
    let path = context.state.auth_state(agent);
    check_agent(context, agent)?;
    context.state.create_agent(agent)?;
    retry(|| {
        let (before, mut state) = match read_profiles(&path)? {
            Some((bytes, text)) => (Some(bytes), State::parse(&text, &name(&path), store)?),
            None => (None, State::empty(&name(&path), store)?),
        };
        edit(&mut state)?;
        match &before {
            None if state.is_empty() => {}
            Some(before) if state.is_empty() && files::remove(&path, before)? => {}
            Some(before) if before.as_slice() == state.text().as_bytes() => {
                files::make_private(&path)?;
            }
            before => {
                files::write_with(&path, before.as_deref(), state.text().as_bytes(), care)?;
            }
        }
        Ok(state)
    })
}

fn retry<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(failure)
                if failure.code == Code::ConfigConflict && started.elapsed() < EDIT_TIME => {}
            outcome => return outcome,
        }
    }
}
