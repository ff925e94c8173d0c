//! Places that the family does not use, given the rest of the config, although nothing on the way
//! to them says `"enabled": false`.

use crate::document::{Path, Segment};
use serde_json::Value;

/// Why the place at `path` is not in use; `None` if it is.
pub(super) fn inactive(root: &Value, path: &Path) -> Option<String> {
    let section = path.segments().first()?.as_key()?;
    if !["channels", "tools", "plugins", "agents", "gateway"].contains(&section) {
        return None;
    }
    let keys: Vec<&str> = path
        .segments()
        .iter()
        .map(|s| s.as_key().unwrap_or("[]"))
        .collect();
    match keys.as_slice() {
        ["channels", channel, rest @ ..] if rest.first() != Some(&"accounts") => {
            uninherited(root, channel, rest)
        }
        ["tools", "web", "search", ..] | ["plugins", "entries", _, "config", "webSearch", ..] => {
            unselected_search(root, &keys)
        }
        ["agents", .., "sandbox", "ssh", _] => other_sandbox(root, path),
        ["gateway", "remote", _] => local_gateway(root),
        ["gateway", "auth", field] => other_gateway_auth(root, field),
        _ => None,
    }
}

fn at<'a>(root: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(root, |value, key| value.get(key))
}

fn text<'a>(root: &'a Value, keys: &[&str]) -> Option<&'a str> {
    at(root, keys)?
        .as_str()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// A channel's own credential counts only if an enabled account has none of its own.
fn uninherited(root: &Value, channel: &str, field: &[&str]) -> Option<String> {
    let accounts = at(root, &["channels", channel, "accounts"])?.as_object()?;
    let mut enabled = accounts
        .values()
        .filter(|account| account.get("enabled") != Some(&Value::Bool(false)));
    let inherits = enabled.any(|account| at(account, field).is_none_or(Value::is_null));
    let unused = !accounts.is_empty() && !inherits;
    unused.then(|| format!("no enabled account of channels.{channel} inherits it"))
}

/// Search providers in the order in which the family tries them when none is chosen.
const SEARCH_ORDER: &[&str] = &[
    "brave",
    "gemini",
    "grok",
    "kimi",
    "perplexity",
    "exa",
    "firecrawl",
    "minimax",
    "tavily",
];

fn search_name(keys: &[&str]) -> Option<&'static str> {
    let name = match keys {
        ["tools", "web", "search", "apiKey"] => "brave",
        ["tools", "web", "search", name, ..] | ["plugins", "entries", name, ..] => *name,
        _ => return None,
    };
    let name = match name {
        "google" => "gemini",
        "xai" => "grok",
        "moonshot" => "kimi",
        name => name,
    };
    SEARCH_ORDER.iter().copied().find(|known| *known == name)
}

fn unselected_search(root: &Value, keys: &[&str]) -> Option<String> {
    if at(root, &["tools", "web", "search", "enabled"]) == Some(&Value::Bool(false)) {
        return Some("tools.web.search is disabled".to_owned());
    }
    let name = search_name(keys)?;
    let chosen = text(root, &["tools", "web", "search", "provider"]);
    let chosen = match chosen {
        Some(chosen) => search_name(&["plugins", "entries", chosen]).unwrap_or(chosen),
        None => SEARCH_ORDER
            .iter()
            .copied()
            .find(|name| is_configured(root, name))?,
    };
    (chosen != name).then(|| format!("web search uses {chosen}"))
}

fn is_configured(root: &Value, name: &str) -> bool {
    let plugin = match name {
        "gemini" => "google",
        "grok" => "xai",
        "kimi" => "moonshot",
        name => name,
    };
    let own = at(root, &["tools", "web", "search", name, "apiKey"]);
    let entry = at(root, &["plugins", "entries", plugin]);
    let enabled = entry.is_some_and(|e| e.get("enabled") != Some(&Value::Bool(false)));
    let by_plugin = entry.and_then(|e| at(e, &["config", "webSearch", "apiKey"]));
    let general = at(root, &["tools", "web", "search", "apiKey"]).filter(|_| name == "brave");
    own.or(general)
        .or(by_plugin.filter(|_| enabled))
        .is_some_and(|value| !value.is_null())
}

/// SSH material counts only where the sandbox runs over ssh.
fn other_sandbox(root: &Value, path: &Path) -> Option<String> {
    let backend = |agent: &Value| text(agent, &["sandbox", "backend"]).map(str::to_owned);
    let segments = path.segments();
    let ssh = segments
        .iter()
        .position(|s| s.as_key() == Some("sandbox"))?;
    let agent = segments[..ssh]
        .iter()
        .try_fold(root, |value, segment| match segment {
            Segment::Key(key) => value.get(&**key),
            Segment::Index(index) => value.get(index),
        })?;
    let defaults = at(root, &["agents", "defaults"]);
    let effective = backend(agent).or_else(|| defaults.and_then(backend));
    (effective.as_deref() != Some("ssh")).then(|| "the sandbox backend is not ssh".to_owned())
}

/// `gateway.remote` counts in remote mode, or when there is a way in from outside.
fn local_gateway(root: &Value) -> Option<String> {
    let remote = text(root, &["gateway", "mode"]) == Some("remote");
    let url = text(root, &["gateway", "remote", "url"]).is_some();
    let tailscale = text(root, &["gateway", "tailscale", "mode"]);
    let used = remote || url || matches!(tailscale, Some("serve" | "funnel"));
    (!used).then(|| "the gateway is local".to_owned())
}

/// A chosen way of authenticating makes the others unused.
fn other_gateway_auth(root: &Value, field: &str) -> Option<String> {
    let mode = text(root, &["gateway", "auth", "mode"])?;
    (mode != field).then(|| format!("gateway.auth.mode is {mode}"))
}
