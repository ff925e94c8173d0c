//! `reseal secrets plan`.

use crate::apply::{Program, Site};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::{shown, shown_path};
use crate::cli::vault::status::plural;
use crate::config::{Config, ProviderConfig, Trust};
use crate::error::{Code, Failure};
use crate::name::{AgentId, RecordName};
use crate::plan::{Drawn, Left, Upsert, Via, draw};
use crate::profile::Store;
use crate::store::files;
use clap::Args;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Arguments of `secrets plan`.
///
/// Draws a plan that moves every plaintext value of the config and of all agents' profiles into
/// the vault. The plan names places and refs and holds no secret: read it, change it, keep it, and
/// carry it out with `secrets apply`.
#[derive(Args)]
pub struct PlanArgs {
    /// Another runtime's state folder, such as ~/.openclaw [default: this state folder]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Write the plan to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Put the new records below this name, as `NAME/openai/default`: for a second folder whose
    /// places have the same names
    #[arg(long, value_name = "NAME")]
    prefix: Option<RecordName>,
}

const DOING: &str = "draw the plan";

/// Draws a plan.
pub fn run(context: &Context, args: PlanArgs) -> Done {
    let site = site(context, args.from.as_deref())?;
    let found = Found::read(&site).doing(DOING)?;
    let via = via(context, &site, &found)?;
    let mut drawn = found.draw(&via, |_| true);
    if let Some(prefix) = &args.prefix {
        drawn.put_below(prefix);
    }
    if !site.own {
        drawn.plan.state_dir = site.root.to_str().map(str::to_owned);
    }
    let text = drawn.plan.to_text();
    if let Some(out) = &args.out {
        files::overwrite(out, text.as_bytes()).doing(format!("write {}", shown_path(out)))?;
    }
    if context.out.json {
        context
            .out
            .document(&document(&drawn, args.out.as_deref()))?;
        return Ok(0);
    }
    tell(context, &site, &drawn);
    match &args.out {
        Some(out) if !drawn.plan.targets.is_empty() => context.out.say(&format!(
            "Look at it with `reseal secrets apply --from {} --dry-run`.",
            shown_path(out)
        )),
        Some(_) => {}
        None => context.out.bytes(text.as_bytes())?,
    }
    Ok(0)
}

fn document(drawn: &Drawn, file: Option<&Path>) -> Value {
    let left = drawn.left.iter();
    let left: Vec<Value> = left
        .map(|l| json!({"place": l.place, "why": l.why}))
        .collect();
    match file {
        Some(file) => {
            json!({"file": file, "targets": drawn.plan.targets.len(), "left": left})
        }
        None => json!({"plan": drawn.plan.to_json(), "left": left}),
    }
}

/// Says what the plan moves, and what it leaves.
pub fn tell(context: &Context, site: &Site, drawn: &Drawn) {
    let count = drawn.plan.targets.len() - drawn.respelled;
    let what = plural(count as u64, "plaintext value");
    let folder = shown_path(&site.root);
    let out = &context.out;
    out.say(&format!(
        "{count} {what} in {folder} can move into the vault."
    ));
    if drawn.respelled > 0 {
        let (count, what) = (drawn.respelled, plural(drawn.respelled as u64, "ref"));
        out.say(&format!(
            "{count} {what} in an older spelling can get the newer form."
        ));
    }
    for Left { place, why, .. } in &drawn.left {
        context.out.warn(&shown(&format!("{place} stays: {why}")));
    }
}

/// The folder that is meant.
pub fn site(context: &Context, root: Option<&Path>) -> Result<Site, CliError> {
    match root {
        None => Ok(Site::own(&context.state, context.config())),
        Some(root) => Site::foreign(root).doing("find the state folder"),
    }
}

/// How the owner of a folder asks for values.
pub fn via(context: &Context, site: &Site, found: &Found) -> Result<Via, CliError> {
    if site.own {
        return Ok(Via::Vault);
    }
    let program = program(context)?;
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| {
            let why = format!("{} is not UTF-8", path.display());
            CliError::because(DOING, Code::InputInvalid, why)
        })
    };
    let (path, state_dir) = (text(&program.path)?, text(&program.state_dir)?);
    let upsert = found.wired(&program).unwrap_or_else(|| {
        warn_of_owner(context, &program);
        let definition = draw::exec_definition(&path, &state_dir);
        draw::exec_upsert(&found.config, &found.root, definition)
    });
    Ok(Via::Exec(upsert))
}

/// OpenClaw starts only what belongs to its own user.
pub(super) fn warn_of_owner(context: &Context, program: &Program) {
    let owner = std::fs::metadata(&program.path).map(|metadata| metadata.uid());
    if owner.is_ok_and(|owner| owner != rustix::process::geteuid().as_raw()) {
        let path = shown_path(&program.path);
        context.out.warn(&format!(
            "{path} belongs to another user, so OpenClaw would not start it; `reseal doctor \
             openclaw` tells how to make a copy, whose path belongs into the plan"
        ));
    }
}

/// This program, as other runtimes start it.
pub fn program(context: &Context) -> Result<Program, CliError> {
    let path = std::env::current_exe().and_then(std::fs::canonicalize);
    let path = path.map_err(|error| {
        let text = format!("this program's own path is not known: {error}");
        CliError::because("find this program", Code::FileIo, text)
    })?;
    let state_dir = context.state.root();
    let state_dir = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_path_buf());
    Ok(Program { path, state_dir })
}

/// A folder's config and profiles, as they stand.
pub struct Found {
    /// The config.
    pub config: Config,
    /// The same, whole.
    root: Value,
    /// The config names other files that are read with it.
    includes: bool,
    agents: Vec<(AgentId, Store)>,
}

impl Found {
    /// Reads a folder.
    pub fn read(site: &Site) -> Result<Self, Failure> {
        let document = site.config_document()?;
        let config = Config::read(&document, Trust::Own)?;
        let root = document.value().clone();
        let mut agents = Vec::new();
        for agent in site.stores()? {
            let store = site.store(&agent, &config.defaults)?;
            agents.push((agent, store));
        }
        Ok(Self {
            config,
            includes: has_include(&root),
            root,
            agents,
        })
    }

    /// The provider that runs this program already, as it stands.
    fn wired(&self, program: &Program) -> Option<Upsert> {
        let runs_us = |provider: &ProviderConfig| match provider {
            ProviderConfig::Exec(exec) => program.is_run_by(exec),
            ProviderConfig::Env(_) | ProviderConfig::File(_) | ProviderConfig::Vault(_) => false,
        };
        let mut providers = self.config.providers.iter();
        let (alias, _) = providers.find(|(_, provider)| runs_us(provider))?;
        let definition = self.root["secrets"]["providers"]
            .get(alias.as_str())?
            .clone();
        Some(Upsert {
            alias: alias.clone(),
            definition,
        })
    }

    /// A plan for the config and for the agents that are chosen.
    pub fn draw(&self, via: &Via, chosen: impl Fn(&AgentId) -> bool) -> Drawn {
        let agents = self.agents.iter();
        let agents = agents.map(|(agent, store)| (agent, store));
        let agents: Vec<_> = agents.filter(|(agent, _)| chosen(agent)).collect();
        let mut drawn = draw(&self.config, &agents, via);
        if self.includes {
            let why = "files that the config includes are not planned; `reseal secrets audit` \
                       looks into them";
            drawn.left.push(Left::new("$include".to_owned(), why));
        }
        drawn
    }

    /// The agents but this one whose profiles hold plaintext.
    pub fn other_agents(&self, agent: &AgentId) -> Vec<&AgentId> {
        let others = self.agents.iter().filter(|(other, _)| other != agent);
        let plain = others.filter(|(_, store)| !store.plaintext().is_empty());
        plain.map(|(agent, _)| agent).collect()
    }
}

fn has_include(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.contains_key("$include") || object.values().any(has_include)
        }
        Value::Array(array) => array.iter().any(has_include),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
