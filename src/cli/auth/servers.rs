//! The servers that a command knows: those of `reseal.json`, then those of fast-agent's config.

use super::kept;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::output::{shown, shown_path};
use crate::cli::state_files;
use crate::error::{Code, Failure};
use crate::mcp::servers::{Listed, from_config};
use crate::mcp::{Identity, McpServer, Persist, Transport, find};
use crate::oauth::Endpoint;
use crate::runtime::ground::trust_of;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where the servers are read from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConfigArgs {
    /// A config of fast-agent; else that of its home, or the nearest in this folder or above
    #[arg(short = 'c', long, value_name = "PATH")]
    config_path: Option<String>,
}

/// The servers of both configs; of two with one name, ours.
pub(super) struct Servers {
    servers: Vec<McpServer>,
    /// Those that can't be used, and why.
    bad: Vec<(String, Failure)>,
    /// The config of fast-agent's that nobody named, and whose servers come from it.
    found: Option<(PathBuf, Vec<String>)>,
}

const DOING: &str = "read the servers";

impl Servers {
    pub(super) fn read(context: &Context, args: &ConfigArgs) -> Result<Self, CliError> {
        let ours = own(context).doing(DOING)?;
        let (mut servers, mut bad) = (ours.servers, ours.bad);
        let (found, theirs) = match &args.config_path {
            Some(named) => (None, read_named(named).doing(DOING)?),
            None => read_found(context),
        };
        let (own_good, own_bad) = (servers.len(), bad.len());
        let known = |name: &String, servers: &[McpServer], bad: &[(String, Failure)]| {
            let good = servers[..own_good]
                .iter()
                .any(|server| server.name == *name);
            good || bad[..own_bad].iter().any(|(other, _)| other == name)
        };
        let mut names = Vec::new();
        for server in theirs.servers {
            if !known(&server.name, &servers, &bad) {
                names.push(server.name.clone());
                servers.push(server);
            }
        }
        for (name, failure) in theirs.bad {
            if !known(&name, &servers, &bad) {
                bad.push((name, failure));
            }
        }
        Ok(Self {
            servers,
            bad,
            found: found.map(|path| (path, names)),
        })
    }

    /// The config of fast-agent's that nobody named.
    pub(super) fn found_config(&self) -> Option<&Path> {
        self.found.as_ref().map(|(path, _)| path.as_path())
    }

    /// Warns of those that can't be used: for commands that list them.
    pub(super) fn warn(&self, context: &Context) {
        for (_, failure) in &self.bad {
            context.out.warn(&shown(&failure.message));
        }
    }

    /// Says from which file a server comes, if nobody named that file.
    pub(super) fn tell_origin(&self, context: &Context, server: &McpServer) {
        let Some((path, names)) = &self.found else {
            return;
        };
        if names.contains(&server.name) {
            let (label, path) = (shown(&server.label()), shown_path(path));
            context.out.tell(&format!("{label} is a server of {path}"));
        }
    }

    /// Those that are not child processes.
    pub(super) fn remote(&self) -> impl Iterator<Item = (&McpServer, &Endpoint)> {
        self.servers
            .iter()
            .filter_map(|server| Some((server, server.url.as_ref()?)))
    }

    /// The server of this name.
    ///
    /// # Errors
    /// `config.invalid`: there is one, but it can't be used.
    pub(super) fn named(&self, name: &str) -> Result<Option<&McpServer>, CliError> {
        if let Some((_, failure)) = self.bad.iter().find(|(bad, _)| bad == name) {
            return Err(failure.clone()).doing(DOING);
        }
        Ok(self.servers.iter().find(|server| server.name == name))
    }

    /// Where the servers with this identity want their tokens.
    pub(super) fn persist_of(&self, identity: &Identity) -> Vec<Persist> {
        let same = |(_, url): &(&McpServer, &Endpoint)| Identity::of(url.as_str()) == *identity;
        let servers = self.remote().filter(same);
        servers.map(|(server, _)| server.persist).collect()
    }

    /// The names of the servers with this identity.
    pub(super) fn of(&self, identity: &Identity) -> Vec<&str> {
        let same = |(_, url): &(&McpServer, &Endpoint)| Identity::of(url.as_str()) == *identity;
        let servers = self.remote().filter(same);
        servers.map(|(server, _)| server.name.as_str()).collect()
    }
}

fn own(context: &Context) -> Result<Listed, Failure> {
    let document = match state_files::config_document(context) {
        Err(failure) if failure.code == Code::ConfigAbsent => return Ok(Listed::default()),
        other => other?,
    };
    let defaults = state_files::config(context)?.defaults;
    let trust = trust_of(&context.state, &context.config());
    from_config(&document, &defaults, trust)
}

/// The config that a person named.
fn read_named(named: &str) -> Result<Listed, Failure> {
    let path = named.strip_prefix("file://").unwrap_or(named);
    if path.contains("://") {
        let text = "a config from the network is not read: whoever serves it would say where to \
                    sign in; save it as a file first";
        return Err(Failure::new(Code::Usage, text));
    }
    let variable = |name: &str| std::env::var(name).ok();
    find::read(Path::new(path), Some(&variable))
}

/// The config nearest to where one works. It may have come with a project: it gets nothing of the
/// environment, and if it can't be read the rest goes on without it.
fn read_found(context: &Context) -> (Option<PathBuf>, Listed) {
    let here = std::env::current_dir().ok();
    // As fast-agent has it, from 0.8 on.
    let home = ["FAST_AGENT_HOME", "ENVIRONMENT_DIR"].map(std::env::var_os);
    let home = home.into_iter().flatten().find(|home| !home.is_empty());
    let found = here.map(|folder| {
        let home = home.map(|home| folder.join(home));
        find::find(home.as_deref(), &folder)
    });
    let found = found.unwrap_or_default();
    for (path, problem) in found.skipped {
        let path = shown_path(&path);
        context.out.warn(&format!(
            "{path} {problem}: that config of fast-agent is not read, unless -c names it"
        ));
    }
    let Some(path) = found.path else {
        return (None, Listed::default());
    };
    match find::read(&path, None) {
        Ok(listed) => (Some(path), listed),
        Err(failure) => {
            context.out.warn(&shown(&failure.message));
            (None, Listed::default())
        }
    }
}

/// The server that a target stands for: of this name, else at this URL exactly.
pub(super) fn server(
    context: &Context,
    servers: &Servers,
    target: &str,
    doing: &str,
) -> Result<McpServer, CliError> {
    if let Some(server) = servers.named(target)? {
        return Ok(server.clone());
    }
    if !target.contains("://") {
        let why = format!("there is no server {} in the config", target.escape_debug());
        return Err(CliError::because(doing, Code::Usage, why));
    }
    let url = address(target).doing(doing)?;
    Ok(at_url(context, servers, target, &url, Transport::Http))
}

/// The server at a URL, whose tokens are where those of this identity are looked for.
pub(super) fn at_url(
    context: &Context,
    servers: &Servers,
    target: &str,
    url: &Endpoint,
    transport: Transport,
) -> McpServer {
    let identity = Identity::of(url.as_str());
    let legacy = Identity::legacy(target);
    let siblings = servers.persist_of(&identity);
    let persist = kept::persist_of_url(context, &siblings, &identity, &legacy);
    McpServer {
        legacy,
        ..McpServer::at(url, transport, persist)
    }
}

/// The identity that a target stands for: of a server's name, of a URL, else the target itself.
pub(super) fn identity(servers: &Servers, target: &str, doing: &str) -> Result<Identity, CliError> {
    let server = servers.named(target)?;
    if let Some(url) = server.and_then(|server| server.url.as_ref()) {
        return Ok(Identity::of(url.as_str()));
    }
    if !target.contains("://") {
        return Ok(Identity::of(target));
    }
    Ok(Identity::of(address(target).doing(doing)?.as_str()))
}

/// The server at a URL that is in no config: fast-agent's rule puts the transport's usual path
/// behind its base.
pub(super) fn at_base(url: &str, transport: Transport) -> Result<Endpoint, Failure> {
    let path = match transport {
        Transport::Sse => "/sse",
        Transport::Http | Transport::Stdio => "/mcp",
    };
    address(&format!("{}{path}", Identity::legacy(url)))
}

/// A URL as it stands.
pub(super) fn address(url: &str) -> Result<Endpoint, Failure> {
    let invalid = |error| Failure::new(Code::Usage, format!("the server's URL {error}"));
    url.parse().map_err(invalid)
}
