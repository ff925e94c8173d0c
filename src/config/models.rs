//! Which models an agent uses, by the sections `agents` and `models` of the config.
//!
//! They are another runtime's sections: what does not have the expected shape counts as absent, and
//! no list is read further than [`MAX_MODELS`].

use crate::name::AgentId;
use crate::profile::normal_provider;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The most entries that a list of models is read with.
pub const MAX_MODELS: usize = 1024;

/// The models of an agent, as the config names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models {
    /// The model that is used first.
    pub default: Option<String>,
    /// Those that are tried after it.
    pub fallbacks: Vec<String>,
    /// The model for images.
    pub image: Option<String>,
    /// Those that are tried after it.
    pub image_fallbacks: Vec<String>,
    /// What people call models: the alias and the model.
    pub aliases: BTreeMap<String, String>,
    /// The models that may be chosen; all if there are none.
    pub allowed: Vec<String>,
    /// True if the agent's own entry names the default.
    pub own_default: bool,
    /// True if the agent's own entry names the fallbacks.
    pub own_fallbacks: bool,
    /// The providers of `models.providers`, in the form of [`normal_provider`].
    pub providers: BTreeSet<String>,
}

impl Models {
    /// Reads the whole config for an agent.
    pub fn read(root: &Value, agent: &AgentId) -> Self {
        let defaults = &root["agents"]["defaults"];
        let (default, fallbacks) = choice(&defaults["model"]);
        let (image, image_fallbacks) = choice(&defaults["imageModel"]);
        let (own_default, own_fallbacks) = choice(&entry(root, agent)["model"]);
        let known = defaults["models"].as_object();
        let known = || known.into_iter().flatten().take(MAX_MODELS);
        let alias = |(model, entry): (&String, &Value)| {
            Some((text(&entry["alias"])?, model.trim().to_owned()))
        };
        let providers = root["models"]["providers"].as_object();
        let providers = providers.into_iter().flatten().take(MAX_MODELS);
        Self {
            own_default: own_default.is_some(),
            own_fallbacks: own_fallbacks.is_some(),
            default: own_default.or(default),
            fallbacks: own_fallbacks.or(fallbacks).unwrap_or_default(),
            image,
            image_fallbacks: image_fallbacks.unwrap_or_default(),
            aliases: known().filter_map(alias).collect(),
            allowed: known().map(|(model, _)| model.trim().to_owned()).collect(),
            providers: providers.map(|(id, _)| normal_provider(id)).collect(),
        }
    }

    /// The model that a name means: that of the alias, whatever its case, else the name itself.
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let mut aliases = self.aliases.iter();
        let meant = aliases.find(|(alias, _)| alias.eq_ignore_ascii_case(name.trim()));
        meant.map_or(name, |(_, model)| model)
    }

    /// The first model in use of a provider.
    pub fn first_of(&self, provider: &str) -> Option<String> {
        let names = self.default.iter().chain(&self.fallbacks);
        let mut names = names.map(|name| self.resolve(name));
        let is_of = |name: &&str| provider_of(name).is_some_and(|p| normal_provider(p) == provider);
        names.find(is_of).map(str::to_owned)
    }

    /// The providers of the models that are in use, fallbacks included.
    pub fn providers_in_use(&self) -> BTreeSet<String> {
        let first = self.default.iter().chain(&self.image);
        let others = self.fallbacks.iter().chain(&self.image_fallbacks);
        let provider = |name: &String| Some(normal_provider(provider_of(self.resolve(name))?));
        first.chain(others).filter_map(provider).collect()
    }
}

/// The part of `PROVIDER/MODEL` before the first slash.
pub fn provider_of(model: &str) -> Option<&str> {
    let (provider, model) = model.split_once('/')?;
    (!provider.trim().is_empty() && !model.is_empty()).then_some(provider)
}

/// `models.providers.<id>.baseUrl`.
pub fn base_url<'a>(root: &'a Value, provider: &str) -> Option<&'a str> {
    let mut providers = root["models"]["providers"].as_object()?.iter();
    let (_, entry) = providers.find(|(id, _)| normal_provider(id) == provider)?;
    let url = entry["baseUrl"].as_str()?.trim();
    (!url.is_empty()).then_some(url)
}

/// The agent's own entry, in the list of older runtimes or the table of newer ones.
fn entry<'a>(root: &'a Value, agent: &AgentId) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    let listed = root["agents"]["list"].as_array();
    let mut listed = listed.into_iter().flatten();
    let in_list = listed.find(|entry| entry["id"].as_str() == Some(agent.as_str()));
    let in_table = || root["agents"]["entries"].get(agent.as_str());
    in_list.or_else(in_table).unwrap_or(NOTHING)
}

/// A model and its fallbacks: a text, or an object with `primary` and `fallbacks`.
fn choice(value: &Value) -> (Option<String>, Option<Vec<String>>) {
    let fallbacks = value.get("fallbacks").and_then(Value::as_array);
    let fallbacks = fallbacks.map(|list| list.iter().take(MAX_MODELS).filter_map(text).collect());
    let primary = text(value).or_else(|| text(value.get("primary")?));
    (primary, fallbacks)
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(root: &Value, agent: &str) -> Models {
        Models::read(root, &agent.parse().unwrap())
    }

    #[test]
    fn defaults_aliases_and_an_agent_s_own_choice() {
        let root = json!({
            "agents": {
                "defaults": {
                    "model": {"primary": "opus", "fallbacks": ["openai/gpt", 7, " "]},
                    "imageModel": "google/g",
                    "models": {"anthropic/claude-opus": {"alias": "Opus"}, "openai/gpt": {}},
                },
                "list": [{"id": "second", "model": "Groq/llama"}, {"id": "third",
                    "model": {"fallbacks": []}}],
            },
            "models": {"providers": {" OpenAI ": {"baseUrl": " http://127.0.0.1:1/v1 "}}},
        });
        let main = read(&root, "main");
        assert_eq!(main.default.as_deref(), Some("opus"));
        assert_eq!(main.resolve("OPUS"), "anthropic/claude-opus");
        assert_eq!(main.resolve("openai/gpt"), "openai/gpt");
        assert_eq!(main.fallbacks, ["openai/gpt"]);
        assert_eq!(main.allowed, ["anthropic/claude-opus", "openai/gpt"]);
        let in_use = |models: Models| Vec::from_iter(models.providers_in_use());
        assert_eq!(in_use(main.clone()), ["anthropic", "google", "openai"]);
        assert!(!main.own_default && !main.own_fallbacks);
        assert_eq!(Vec::from_iter(&main.providers), ["openai"]);
        let second = read(&root, "second");
        assert_eq!(second.default.as_deref(), Some("Groq/llama"));
        assert!(second.own_default && !second.own_fallbacks);
        assert_eq!(in_use(second), ["google", "groq", "openai"]);
        let third = read(&root, "third");
        assert!(third.own_fallbacks && third.fallbacks.is_empty());
        assert_eq!(base_url(&root, "openai"), Some("http://127.0.0.1:1/v1"));
        assert_eq!(base_url(&root, "groq"), None);
        let newer = json!({"agents": {"entries": {"main": {"model": "a/b"}}}});
        assert_eq!(read(&newer, "main").default.as_deref(), Some("a/b"));
    }

    #[test]
    fn other_shapes_count_as_absent() {
        for root in [
            json!(null),
            json!([]),
            json!({"agents": 5, "models": {"providers": []}}),
            json!({"agents": {"list": {"id": "main"}, "defaults": {"model": 5, "models": [1]}}}),
        ] {
            assert_eq!(read(&root, "main"), Models::default());
        }
        let many: serde_json::Map<_, _> = (0..=MAX_MODELS)
            .map(|i| (format!("p/{i}"), json!({})))
            .collect();
        let models = read(&json!({"agents": {"defaults": {"models": many}}}), "main");
        assert_eq!(models.allowed.len(), MAX_MODELS);
        assert_eq!(provider_of("/m"), None);
        assert_eq!(provider_of("m"), None);
    }
}
