//! The MCP servers of a config: `mcp.servers` of `fastagent.config.yaml` and of `reseal.json`.
//!
//! Only what signing in needs is read; everything else is skipped unread, since such files hold API
//! keys. An error names file, line and column, or server and member, and quotes nothing. A server
//! that can't be used does not take the others with it.

mod yaml;

pub use yaml::MAX_MISTYPED;

use super::identity::Identity;
use crate::config::Trust;
use crate::document::Document;
use crate::error::{Code, Failure};
use crate::oauth::provider::{MAX_PARAMETER, MAX_SCOPES, Redirect, RedirectHost, is_scope};
use crate::oauth::{Endpoint, EndpointError, Issuer};
use crate::reference::{Defaults, SecretInput, SecretRef};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;

/// The largest YAML file in bytes.
pub const MAX_YAML: usize = 1 << 20;
/// The most servers of a config.
pub const MAX_SERVERS: usize = 512;
/// The longest name of a server in bytes.
pub const MAX_SERVER_NAME: usize = 256;
/// The ports that fast-agent's clients come back to, in its order; 0 is any free one.
pub const PORTS: [u16; 5] = [3030, 3031, 3032, 8080, 0];

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// HTTP with server-sent events, the transport of revision 2024-11-05.
    Sse,
    /// A child process; it has no OAuth.
    Stdio,
}

impl Transport {
    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Http => "http",
            Transport::Sse => "sse",
            Transport::Stdio => "stdio",
        }
    }
}

/// Where the tokens of a server are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// In the keyring of the operating system.
    Keyring,
    /// In the vault.
    Vault,
    /// Nowhere: they end with the process.
    Memory,
}

impl Persist {
    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Persist::Keyring => "keyring",
            Persist::Vault => "vault",
            Persist::Memory => "memory",
        }
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// Its name in the config; the URL for one that is not in it.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Where; `None` for a child process.
    pub url: Option<Endpoint>,
    /// Its identity by fast-agent's earlier rule, which keeps the spelling of the config: by its
    /// [`Identity::key`] tokens in a keyring are found, under this name or the later one.
    pub legacy: Identity,
    /// False: it wants no OAuth (`oauth: false`).
    pub oauth: bool,
    /// Where its tokens are kept.
    pub persist: Persist,
    /// Where the browser comes back to.
    pub redirect: Redirect,
    /// The scopes to ask for; empty: what the server says.
    pub scopes: Vec<String>,
    /// A client that was registered beforehand.
    pub client_id: Option<String>,
    /// Where the secret of that client is.
    pub client_secret: Option<SecretRef>,
    /// Who issued that client: it is used nowhere else.
    pub client_issuer: Option<Issuer>,
    /// The address of a document about a client (`client_metadata_url`).
    pub client_metadata_url: Option<Endpoint>,
}

impl McpServer {
    /// What people are shown before they agree to something: whoever wrote the config chose the
    /// name, but not where the tokens go.
    pub fn label(&self) -> String {
        match &self.url {
            None => self.name.clone(),
            Some(url) if self.is_bare() => Identity::of(url.as_str()).to_string(),
            Some(url) => format!("{} ({})", self.name, Identity::of(url.as_str())),
        }
    }

    /// True if no config has it: only its address is known.
    pub fn is_bare(&self) -> bool {
        self.url
            .as_ref()
            .is_some_and(|url| self.name == url.to_string())
    }

    /// A server of which only the address is known, with the settings of fast-agent.
    pub fn at(url: &Endpoint, transport: Transport, persist: Persist) -> Self {
        Self {
            name: url.to_string(),
            transport,
            url: Some(url.clone()),
            legacy: Identity::legacy(url.as_str()),
            oauth: true,
            persist,
            redirect: redirect(None, None),
            scopes: Vec::new(),
            client_id: None,
            client_secret: None,
            client_issuer: None,
            client_metadata_url: None,
        }
    }
}

/// What a config says: its servers, and those that can't be used, each with its name and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Those that can be used, by name.
    pub servers: Vec<McpServer>,
    /// Those that can't (`config.invalid`), by name.
    pub bad: Vec<(String, Failure)>,
}

/// What fills `${NAME}` in a URL.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn redirect(port: Option<u16>, path: Option<&str>) -> Redirect {
    let mut ports: Vec<u16> = port.into_iter().collect();
    ports.extend(PORTS.into_iter().filter(|other| Some(*other) != port));
    Redirect {
        host: RedirectHost::V4,
        port: ports[0],
        fallback_ports: ports[1..].to_vec(),
        path: path.unwrap_or("/callback").to_owned(),
    }
}

#[derive(Deserialize, Default)]
struct ServerWire {
    #[serde(default)]
    transport: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    command: Option<IgnoredAny>,
    #[serde(default)]
    auth: Option<AuthWire>,
}

/// Both spellings: fast-agent's, and that of our own config.
#[derive(Deserialize, Default)]
struct AuthWire {
    #[serde(default)]
    oauth: Option<bool>,
    #[serde(default)]
    persist: Option<String>,
    #[serde(default, alias = "redirectPort")]
    redirect_port: Option<u16>,
    #[serde(default, alias = "redirectPath")]
    redirect_path: Option<String>,
    #[serde(default)]
    scope: Option<ScopeWire>,
    #[serde(default, alias = "clientId")]
    client_id: Option<String>,
    #[serde(default, alias = "clientSecretRef")]
    client_secret_ref: Option<Value>,
    #[serde(default, alias = "clientIssuer")]
    client_issuer: Option<String>,
    #[serde(default, alias = "clientMetadataUrl")]
    client_metadata_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeWire {
    Text(String),
    List(Vec<String>),
}

/// The servers of a `fastagent.config.yaml`, by name. `file` is what errors call it; `variable`
/// gives what `${NAME}` in a URL stands for; without it such a server can't be used, since whoever
/// wrote the file would be sent what the environment holds.
///
/// # Errors
/// `config.invalid` if the file as a whole can't be read, `input.too_large`.
pub fn from_yaml(
    text: &str,
    file: &str,
    variable: Option<Variable<'_>>,
) -> Result<Listed, Failure> {
    if text.len() > MAX_YAML {
        let why = format!("{file} is larger than {MAX_YAML} bytes");
        return Err(Failure::new(Code::InputTooLarge, why));
    }
    let found = yaml::read(text, file, named)?;
    let read = Reading {
        file,
        persist: Persist::Keyring,
        defaults: &Defaults::default(),
        variable,
        may_name_secrets: false,
    };
    read.all(found.wires, found.mistyped)
}

/// The servers of our own config.
///
/// # Errors
/// `config.invalid` if they can't be read as a whole.
pub fn from_config(
    document: &Document,
    defaults: &Defaults,
    trust: Trust,
) -> Result<Listed, Failure> {
    let file = document.name();
    let invalid = |what: &str| Failure::new(Code::ConfigInvalid, format!("{file}: {what}"));
    let Some(servers) = document.value().pointer("/mcp/servers") else {
        return Ok(Listed::default());
    };
    let Value::Object(servers) = servers else {
        return Err(invalid("mcp.servers is not an object"));
    };
    let mut wires = BTreeMap::new();
    let mut mistyped = BTreeMap::new();
    for (name, value) in servers {
        if let Ok(wire) = Option::<ServerWire>::deserialize(value) {
            wires.insert(name.clone(), wire);
        } else {
            let what = "a member is of the wrong type";
            let failure = invalid(&format!("mcp.servers.{}: {what}", named(name)));
            mistyped.insert(name.clone(), failure);
        }
    }
    let read = Reading {
        file,
        persist: Persist::Vault,
        defaults,
        variable: Some(&|_| None),
        may_name_secrets: trust == Trust::Own,
    };
    read.all(wires, mistyped)
}

/// A name as it may be shown in an error.
fn named(name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    shown.escape_debug().to_string()
}

/// What is the same for all servers of one file.
struct Reading<'a> {
    file: &'a str,
    persist: Persist,
    defaults: &'a Defaults,
    /// `None`: a URL with a variable is not filled.
    variable: Option<Variable<'a>>,
    /// Whether a server may name a secret of ours: not in a file that came with a project.
    may_name_secrets: bool,
}

impl Reading<'_> {
    fn all(
        &self,
        servers: BTreeMap<String, Option<ServerWire>>,
        mistyped: BTreeMap<String, Failure>,
    ) -> Result<Listed, Failure> {
        if servers.len() + mistyped.len() > MAX_SERVERS {
            let why = format!("{}: mcp.servers has over {MAX_SERVERS} entries", self.file);
            return Err(Failure::new(Code::ConfigInvalid, why));
        }
        let mut listed = Listed {
            servers: Vec::new(),
            bad: mistyped.into_iter().collect(),
        };
        for (name, wire) in servers {
            match self.one(name.clone(), wire.unwrap_or_default()) {
                Ok(server) => listed.servers.push(server),
                Err(what) => {
                    let text = format!("{}: mcp.servers.{}{what}", self.file, named(&name));
                    listed
                        .bad
                        .push((name, Failure::new(Code::ConfigInvalid, text)));
                }
            }
        }
        Ok(listed)
    }

    /// Reads one; an error says which member is wrong, and why.
    fn one(&self, name: String, wire: ServerWire) -> Result<McpServer, String> {
        if name.is_empty() || name.len() > MAX_SERVER_NAME || name.chars().any(char::is_control) {
            return Err(": is not a name of 1 to 256 printable bytes".to_owned());
        }
        let transport = match (wire.transport.as_deref(), &wire.url) {
            (Some("stdio"), _) => Transport::Stdio,
            (Some("http"), _) => Transport::Http,
            (Some("sse"), _) => Transport::Sse,
            (Some(_), _) => return Err(".transport: is not http, sse or stdio".to_owned()),
            (None, Some(_)) if wire.command.is_none() => Transport::Http,
            (None, _) => Transport::Stdio,
        };
        let url = match (transport, wire.url.as_deref()) {
            (Transport::Stdio, _) => None,
            (_, Some(url)) => Some(self.filled(url).map_err(|what| format!(".url: {what}"))?),
            (_, None) => return Err(".url: is missing".to_owned()),
        };
        let legacy = Identity::legacy(url.as_deref().unwrap_or_default());
        let url: Option<Endpoint> = url
            .map(|url| url.parse())
            .transpose()
            .map_err(|error: EndpointError| format!(".url: {error}"))?;
        let auth = wire.auth.unwrap_or_default();
        let known = self.client(&auth)?;
        let persist = match auth.persist.as_deref() {
            None => self.persist,
            Some("keyring") => Persist::Keyring,
            Some("vault") => Persist::Vault,
            Some("memory") => Persist::Memory,
            Some(_) => return Err(".auth.persist: is not keyring, vault or memory".to_owned()),
        };
        if auth
            .redirect_path
            .as_deref()
            .is_some_and(|path| !Redirect::is_path(path))
        {
            return Err(".auth.redirect_path: is not the path of a URL".to_owned());
        }
        let document = auth
            .client_metadata_url
            .as_deref()
            .map(str::parse)
            .transpose();
        let document: Option<Endpoint> =
            document.map_err(|error| format!(".auth.client_metadata_url: {error}"))?;
        if document.as_ref().is_some_and(|url| url.path() == "/") {
            return Err(".auth.client_metadata_url: needs a path".to_owned());
        }
        Ok(McpServer {
            name,
            transport,
            url,
            legacy,
            oauth: auth.oauth.unwrap_or(true),
            persist,
            redirect: redirect(auth.redirect_port, auth.redirect_path.as_deref()),
            scopes: scopes(auth.scope)?,
            client_id: auth.client_id,
            client_secret: known.0,
            client_issuer: known.1,
            client_metadata_url: document,
        })
    }

    /// The secret and the issuer of a client that was registered beforehand. Without its issuer
    /// the secret would go to whichever authorization server the MCP server names.
    fn client(&self, auth: &AuthWire) -> Result<(Option<SecretRef>, Option<Issuer>), String> {
        let is_id = |id: &String| !id.is_empty() && id.len() <= MAX_PARAMETER;
        if !auth.client_id.as_ref().is_none_or(is_id) {
            return Err(format!(
                ".auth.client_id: is empty, or over {MAX_PARAMETER} bytes"
            ));
        }
        let secret = self.reference(auth.client_secret_ref.as_ref())?;
        let issuer = auth.client_issuer.as_deref().map(str::parse).transpose();
        let issuer = issuer.map_err(|error| format!(".auth.client_issuer: {error}"))?;
        if issuer.is_none() && (auth.client_id.is_some() || secret.is_some()) {
            let why = "is missing: a client is used only with the issuer that registered it";
            return Err(format!(".auth.client_issuer: {why}"));
        }
        Ok((secret, issuer))
    }

    fn filled(&self, text: &str) -> Result<String, String> {
        match self.variable {
            Some(variable) => Ok(filled(text, variable)),
            None if text.contains("${") => {
                Err("named variables are filled only with -c FILE".to_owned())
            }
            None => Ok(text.to_owned()),
        }
    }

    fn reference(&self, value: Option<&Value>) -> Result<Option<SecretRef>, String> {
        let Some(value) = value else { return Ok(None) };
        if !self.may_name_secrets {
            let why = "may stand only in your own reseal.json: whoever names the server gets it";
            return Err(format!(".auth.client_secret_ref: {why}"));
        }
        match SecretInput::parse(value, self.defaults) {
            Ok(SecretInput::Ref { reference, .. }) => Ok(Some(reference)),
            Ok(_) => Err(".auth.client_secret_ref: is no SecretRef".to_owned()),
            Err(error) => Err(format!(".auth.client_secret_ref: {error}")),
        }
    }
}

/// The text with `${NAME}` and `${NAME:DEFAULT}` filled; what has no value stays as it is.
fn filled(text: &str, variable: Variable<'_>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(len) = rest[start..].find('}') else {
            break;
        };
        let whole = &rest[start..=start + len];
        let inside = &whole[2..whole.len() - 1];
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside, None),
        };
        filled.push_str(&rest[..start]);
        let value = variable(name).or(default);
        filled.push_str(value.as_deref().unwrap_or(whole));
        rest = &rest[start + len + 1..];
    }
    filled.push_str(rest);
    filled
}

fn scopes(wire: Option<ScopeWire>) -> Result<Vec<String>, String> {
    let list = match wire {
        None => Vec::new(),
        Some(ScopeWire::Text(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(ScopeWire::List(list)) => list,
    };
    if list.len() > MAX_SCOPES || !list.iter().all(|scope| is_scope(scope)) {
        return Err(format!(
            ".auth.scope: holds no scope, or more than {MAX_SCOPES}"
        ));
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
