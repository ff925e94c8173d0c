//! A [`Plan`] to its text.

use super::{Place, Plan, Target, VERSION};
use crate::document::Segment;
use serde_json::{Map, Value, json};

impl Plan {
    /// The text of the plan, which [`Plan::parse`] reads back as the same plan.
    pub fn to_text(&self) -> String {
        format!("{:#}\n", self.to_json())
    }

    /// The plan as JSON.
    pub fn to_json(&self) -> Value {
        let mut root = Map::new();
        let mut put = |key: &str, value: Value| {
            root.insert(key.to_owned(), value);
        };
        put("version", VERSION.into());
        put("protocolVersion", VERSION.into());
        if let Some(dir) = &self.state_dir {
            put("stateDir", dir.as_str().into());
        }
        if !self.deletes.is_empty() {
            let deletes = self.deletes.iter().map(|alias| alias.as_str().into());
            put("providerDeletes", Value::Array(deletes.collect()));
        }
        if !self.upserts.is_empty() {
            let upserts = self.upserts.iter();
            let upserts = upserts.map(|u| (u.alias.to_string(), u.definition.clone()));
            put("providerUpserts", Value::Object(upserts.collect()));
        }
        let targets = self.targets.iter().map(target).collect();
        put("targets", Value::Array(targets));
        let options = json!({
            "scrubEnv": self.options.scrub_env,
            "scrubAuthProfilesForProviderTargets": self.options.scrub_profiles,
            "scrubLegacyAuthJson": self.options.scrub_legacy,
        });
        put("options", options);
        Value::Object(root)
    }
}

fn target(target: &Target) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| {
        object.insert(key.to_owned(), value);
    };
    put("type", target.kind.as_str().into());
    let segments: Vec<String> = match &target.place {
        Place::Config(path) => path.segments().iter().map(step).collect(),
        Place::Profile { id, field, .. } => ["profiles", id.as_str(), field.as_str()]
            .map(str::to_owned)
            .to_vec(),
    };
    put("path", segments.join(".").into());
    put("pathSegments", segments.into());
    if let Some(id) = &target.provider_id {
        put("providerId", id.as_str().into());
    }
    if let Some(id) = &target.account_id {
        put("accountId", id.as_str().into());
    }
    if let Place::Profile {
        agent, provider, ..
    } = &target.place
    {
        put("agentId", agent.as_str().into());
        if let Some(provider) = provider {
            put("authProfileProvider", provider.as_str().into());
        }
    }
    put("ref", target.reference.to_json());
    Value::Object(object)
}

/// A step as the family writes it: an element of an array by its number.
fn step(segment: &Segment) -> String {
    match segment {
        Segment::Key(key) => key.to_string(),
        Segment::Index(index) => index.to_string(),
    }
}
