//! The servers that a command knows: those of `reseal.json`, then those of fast-agent's config.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::state_files;
use crate::error::{Code, Failure};
use crate::mcp::servers::from_config;
use crate::mcp::{Identity, McpServer, Persist, Transport, find};
use crate::oauth::Endpoint;
use crate::runtime::ground::trust_of;
use clap::Args;
use std::path::PathBuf;

/// Where the servers are read from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ConfigArgs {
    /// A fastagent.config.yaml; else the nearest in this folder or above
    #[arg(short = 'c', long, value_name = "PATH")]
    config_path: Option<String>,
}

/// The servers of both configs; of two with one name, ours.
pub(super) struct Servers(Vec<McpServer>);

const DOING: &str = "read the servers";

impl Servers {
    pub(super) fn read(context: &Context, args: &ConfigArgs) -> Result<Self, CliError> {
        let mut servers = own(context).doing(DOING)?;
        for other in foreign(args).doing(DOING)? {
            if servers.iter().all(|known| known.name != other.name) {
                servers.push(other);
            }
        }
        Ok(Self(servers))
    }

    /// Those that are not child processes.
    pub(super) fn remote(&self) -> impl Iterator<Item = (&McpServer, &Endpoint)> {
        self.0
            .iter()
            .filter_map(|server| Some((server, server.url.as_ref()?)))
    }

    /// The server of this name.
    pub(super) fn named(&self, name: &str) -> Option<&McpServer> {
        self.0.iter().find(|server| server.name == name)
    }

    /// The names of the servers with this identity.
    pub(super) fn of(&self, identity: &Identity) -> Vec<&str> {
        let same = |(_, url): &(&McpServer, &Endpoint)| Identity::of(url.as_str()) == *identity;
        let servers = self.remote().filter(same);
        servers.map(|(server, _)| server.name.as_str()).collect()
    }
}

fn own(context: &Context) -> Result<Vec<McpServer>, Failure> {
    let document = match state_files::config_document(context) {
        Err(failure) if failure.code == Code::ConfigAbsent => return Ok(Vec::new()),
        other => other?,
    };
    let defaults = state_files::config(context)?.defaults;
    let trust = trust_of(&context.state, &context.config());
    from_config(&document, &defaults, trust)
}

fn foreign(args: &ConfigArgs) -> Result<Vec<McpServer>, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(named) = &args.config_path else {
        let here = std::env::current_dir().ok();
        let found = here.and_then(|folder| find::find(&folder));
        return found.map_or(Ok(Vec::new()), |path| find::read(&path, &variable));
    };
    let path = named.strip_prefix("file://").unwrap_or(named);
    if path.contains("://") {
        let text = "a config from the network is not read: whoever serves it would say where to \
                    sign in; save it as a file first";
        return Err(Failure::new(Code::Usage, text));
    }
    find::read(&PathBuf::from(path), &variable)
}

/// The server that a target stands for: of this name, else at this URL exactly.
pub(super) fn server(servers: &Servers, target: &str, doing: &str) -> Result<McpServer, CliError> {
    if let Some(server) = servers.named(target) {
        return Ok(server.clone());
    }
    if !target.contains("://") {
        let why = format!("there is no server {} in the config", target.escape_debug());
        return Err(CliError::because(doing, Code::Usage, why));
    }
    let url = address(target).doing(doing)?;
    Ok(McpServer::at(&url, Transport::Http, Persist::Vault))
}

/// The identity that a target stands for: of a server's name, else the target itself as a URL.
pub(super) fn identity(servers: &Servers, target: &str) -> Identity {
    let url = servers.named(target).and_then(|server| server.url.as_ref());
    Identity::of(url.map_or(target, Endpoint::as_str))
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
