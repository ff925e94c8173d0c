//! `reseal agents`.

use super::context::Context;
use super::error::{CliError, Doing, Done, io_failure};
use super::lazy::Lazy;
use super::output::shown_path;
use super::state_files;
use super::table::Table;
use crate::error::{Code, Failure};
use crate::name::AgentId;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The most agents that a state folder lists.
pub const MAX_AGENTS: usize = 4096;

/// Arguments of `agents`.
#[derive(Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Subcommand)]
enum AgentsCommand {
    /// Make an agent with an empty auth-profiles.json
    Add(Lazy<AddArgs>),
    /// List the agents
    #[command(visible_alias = "ls")]
    List(Lazy<ListArgs>),
    /// Remove an agent's profiles; its records stay in the vault
    #[command(visible_alias = "rm")]
    Remove(Lazy<RemoveArgs>),
}

#[derive(Args)]
struct AddArgs {
    /// The agent: a-z, 0-9, _ and -
    id: AgentId,
}

#[derive(Args)]
struct ListArgs {}

#[derive(Args)]
struct RemoveArgs {
    /// The agent
    id: AgentId,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs `agents`.
pub fn run(context: &Context, args: AgentsArgs) -> Done {
    match args.command {
        AgentsCommand::Add(args) => add(context, &args.0.id),
        AgentsCommand::List(_) => list(context),
        AgentsCommand::Remove(args) => remove(context, &args.0),
    }
}

fn add(context: &Context, id: &AgentId) -> Done {
    let doing = "add the agent";
    if context.state.agent_dir(id).exists() {
        let why = format!("there is an agent {id} already");
        return Err(CliError::because(doing, Code::AgentExists, why));
    }
    let path = state_files::make_agent(context, id).doing(doing)?;
    if context.out.json {
        context.out.document(&Agent::of(context, id.clone())?)?;
    } else {
        context
            .out
            .say(&format!("Made agent {id}: {}", shown_path(&path)));
    }
    Ok(0)
}

/// An agent as `agents list --json` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    id: AgentId,
    agent_dir: PathBuf,
    profiles: usize,
}

impl Agent {
    fn of(context: &Context, id: AgentId) -> Result<Self, CliError> {
        let store = state_files::profiles(context, &id).doing("read the agent's profiles")?;
        Ok(Self {
            agent_dir: context.state.agent_dir(&id),
            profiles: store.profiles().len(),
            id,
        })
    }
}

fn list(context: &Context) -> Done {
    let mut agents = Vec::new();
    for id in ids(context)? {
        agents.push(Agent::of(context, id)?);
    }
    if context.out.json {
        context
            .out
            .document(&serde_json::json!({ "agents": agents }))?;
        return Ok(0);
    }
    if agents.is_empty() {
        context
            .out
            .say("There are no agents. Make one with `reseal agents add ID`.");
        return Ok(0);
    }
    let mut table = Table::new(vec!["AGENT", "PROFILES", "FOLDER"], 2);
    for agent in agents {
        table.row(vec![
            agent.id.as_str().into(),
            agent.profiles.to_string().into(),
            agent.agent_dir.to_string_lossy().into_owned().into(),
        ]);
    }
    table.print(&context.out)?;
    Ok(0)
}

/// The ids of all agents, sorted.
pub fn ids(context: &Context) -> Result<Vec<AgentId>, CliError> {
    let doing = "list the agents";
    let folder = context.state.agents();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other
            .map_err(|error| io_failure(&folder, &error))
            .doing(doing)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry
            .map_err(|error| io_failure(&folder, &error))
            .doing(doing)?;
        // A name that no agent can have is somebody else's.
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<AgentId>().ok());
        if let Some(id) = id.filter(|id| context.state.agent_dir(id).is_dir()) {
            ids.push(id);
        }
        if ids.len() > MAX_AGENTS {
            let why = format!("{} holds more than {MAX_AGENTS} agents", folder.display());
            return Err(CliError::because(doing, Code::InputTooLarge, why));
        }
    }
    ids.sort();
    Ok(ids)
}

fn remove(context: &Context, args: &RemoveArgs) -> Done {
    let doing = "remove the agent";
    let id = &args.id;
    let folder = context.state.agent_dir(id);
    if *id == AgentId::main() {
        let why = "the agent main is the one that commands act for when none is named";
        return Err(CliError::because(doing, Code::InputInvalid, why));
    }
    if !folder.is_dir() {
        let why = format!("there is no agent {id}");
        return Err(CliError::because(doing, Code::AgentAbsent, why));
    }
    let question = format!("Remove the profiles of agent {id}?");
    if !args.yes && !context.confirm(doing, &question, "--yes")? {
        context.out.say("Nothing was removed.");
        return Ok(0);
    }
    for path in [
        context.state.auth_profiles(id),
        context.state.auth_state(id),
    ] {
        remove_if_there(&path, |path| fs::remove_file(path)).doing(doing)?;
    }
    // Folders that hold another program's files stay.
    let mut left = Vec::new();
    for path in [folder.clone(), context.state.agents().join(id.as_str())] {
        if !remove_if_there(&path, |path| fs::remove_dir(path)).doing(doing)? {
            left.push(path);
        }
    }
    if context.out.json {
        context
            .out
            .document(&serde_json::json!({"id": id, "removed": true, "left": left}))?;
    } else {
        context.out.say(&format!(
            "Removed agent {id}. Its records stay in the vault."
        ));
        if let Some(path) = left.first() {
            let path = shown_path(path);
            context
                .out
                .say(&format!("{path} holds files of other programs and stays."));
        }
    }
    Ok(0)
}

/// Removes something; false if it is a folder that is not empty.
fn remove_if_there(
    path: &Path,
    remove: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<bool, Failure> {
    match remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(io_failure(path, &error)),
    }
}
