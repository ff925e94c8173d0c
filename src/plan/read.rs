//! A plan's text to a [`Plan`]: everything is checked, and every error has its line.

use super::{
    MAX_ERRORS, MAX_PLAN, MAX_TARGETS, Options, Place, Plan, PlanError, PlanErrors, ProfileField,
    Target, Upsert, VERSION, kind,
};
use crate::config::{Config, ConfigError, Trust};
use crate::document::{Document, MAX_SEGMENTS, Path, Segment};
use crate::name::{AgentId, Alias, ProfileId};
use crate::reference::{Defaults, SecretRef};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Keys that would reach behind an object in the family's own language.
const FORBIDDEN: [&str; 3] = ["__proto__", "prototype", "constructor"];
/// The most providers that a plan deletes, and that it puts.
const MAX_PROVIDERS: usize = 256;

impl Plan {
    /// Reads a plan's text; `name` is what errors call the file. Members that are not known are
    /// left out: other programs note there what made the plan, and when.
    ///
    /// # Errors
    /// Every error found, at most [`MAX_ERRORS`].
    pub fn parse(text: &str, name: &str) -> Result<Self, PlanErrors> {
        let document = Document::parse_up_to(text, name, MAX_PLAN)?;
        let mut reader = Reader {
            document: &document,
            errors: Vec::new(),
        };
        let plan = reader.plan();
        match (plan, reader.errors) {
            (Some(plan), errors) if errors.is_empty() => Ok(plan),
            (_, errors) => Err(PlanErrors(errors)),
        }
    }
}

struct Reader<'d> {
    document: &'d Document,
    errors: Vec<PlanError>,
}

impl<'d> Reader<'d> {
    fn plan(&mut self) -> Option<Plan> {
        let Some(root) = self.document.value().as_object() else {
            self.fail(&Path::root(), "the whole is not an object");
            return None;
        };
        for key in ["version", "protocolVersion"] {
            if root.get(key).and_then(Value::as_f64) != Some(VERSION as f64) {
                self.fail(&Path::of_keys([key]), "is not 1");
            }
        }
        let state_dir = match root.get("stateDir") {
            None => None,
            Some(Value::String(dir)) if dir.starts_with('/') => Some(dir.clone()),
            Some(_) => {
                self.fail(&Path::of_keys(["stateDir"]), "is not an absolute path");
                None
            }
        };
        Some(Plan {
            state_dir,
            deletes: self.deletes(root),
            upserts: self.upserts(root),
            targets: self.targets(root),
            options: self.options(root),
        })
    }

    fn deletes(&mut self, root: &Map<String, Value>) -> Vec<Alias> {
        let at = Path::of_keys(["providerDeletes"]);
        let list = match root.get("providerDeletes") {
            None => return Vec::new(),
            Some(Value::Array(list)) if list.len() <= MAX_PROVIDERS => list,
            Some(_) => {
                let problem = format!("is not a list of at most {MAX_PROVIDERS} aliases");
                self.fail(&at, problem);
                return Vec::new();
            }
        };
        let mut aliases = Vec::new();
        for (index, item) in list.iter().enumerate() {
            match item.as_str().and_then(|text| text.parse().ok()) {
                Some(alias) => aliases.push(alias),
                None => self.fail(&at.join(index), "is not a provider alias"),
            }
        }
        aliases
    }

    /// The definitions are checked by the reader of configs, in a config of their own.
    fn upserts(&mut self, root: &Map<String, Value>) -> Vec<Upsert> {
        let at = Path::of_keys(["providerUpserts"]);
        let definitions = match root.get("providerUpserts") {
            None => return Vec::new(),
            Some(Value::Object(object)) if object.len() <= MAX_PROVIDERS => object,
            Some(_) => {
                let problem = format!("is not an object of at most {MAX_PROVIDERS} definitions");
                self.fail(&at, problem);
                return Vec::new();
            }
        };
        for error in definition_errors(definitions) {
            match error {
                ConfigError::Value { path, problem, .. } => {
                    let inner = path.segments().iter().skip(2).cloned();
                    let place = inner.fold(at.clone(), |place, segment| place.join(segment));
                    self.fail(&place, problem);
                }
                other => self.fail(&at, other.to_string()),
            }
        }
        let upsert = |(name, definition): (&String, &Value)| {
            Some(Upsert {
                alias: name.parse().ok()?,
                definition: definition.clone(),
            })
        };
        definitions.iter().filter_map(upsert).collect()
    }

    fn options(&mut self, root: &Map<String, Value>) -> Options {
        let mut options = Options::default();
        let at = Path::of_keys(["options"]);
        let object = match root.get("options") {
            None => return options,
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.fail(&at, "is not an object");
                return options;
            }
        };
        for (key, flag) in [
            ("scrubEnv", &mut options.scrub_env),
            (
                "scrubAuthProfilesForProviderTargets",
                &mut options.scrub_profiles,
            ),
            ("scrubLegacyAuthJson", &mut options.scrub_legacy),
        ] {
            match object.get(key) {
                None => {}
                Some(Value::Bool(value)) => *flag = *value,
                Some(_) => self.fail(&at.join(key), "is not true or false"),
            }
        }
        options
    }

    fn targets(&mut self, root: &Map<String, Value>) -> Vec<Target> {
        let at = Path::of_keys(["targets"]);
        let Some(list) = root.get("targets").and_then(Value::as_array) else {
            self.fail(&at, "is not a list");
            return Vec::new();
        };
        if list.len() > MAX_TARGETS {
            self.fail(&at, format!("has more than {MAX_TARGETS} entries"));
            return Vec::new();
        }
        let mut targets: Vec<Target> = Vec::with_capacity(list.len());
        let mut seen: BTreeMap<Place, SecretRef> = BTreeMap::new();
        for (index, value) in list.iter().enumerate() {
            if self.errors.len() >= MAX_ERRORS {
                break;
            }
            let at = at.join(index);
            let Some(target) = self.target(value, &at) else {
                continue;
            };
            let place = target.place.clone();
            match seen.insert(place, target.reference.clone()) {
                Some(other) if other != target.reference => {
                    self.fail(&at, "names a place that another target points elsewhere");
                }
                Some(_) => {}
                None => targets.push(target),
            }
        }
        targets
    }

    fn target(&mut self, value: &Value, at: &Path) -> Option<Target> {
        let Some(object) = value.as_object() else {
            self.fail(at, "is not an object");
            return None;
        };
        let written = Written {
            kind: self.text(object, at, "type")?,
            path: self.text(object, at, "path")?,
            provider_id: self.optional_text(object, at, "providerId"),
            account_id: self.optional_text(object, at, "accountId"),
            object,
        };
        let segments = self.segments(&written, at);
        let reference = self.reference(object, at);
        let segments = segments?;
        let place = match written.kind {
            kind if kind == ProfileField::Key.kind() => {
                self.profile(&written, &segments, ProfileField::Key, at)?
            }
            kind if kind == ProfileField::Token.kind() => {
                self.profile(&written, &segments, ProfileField::Token, at)?
            }
            kind => {
                let path: Vec<Segment> = segments.iter().map(|s| s.as_str().into()).collect();
                let (provider, account) = (written.provider_id, written.account_id);
                match kind::check(kind, &path, provider, account) {
                    Ok(()) => Place::Config(path.into()),
                    Err(why) => {
                        self.refuse(&written, at, why);
                        return None;
                    }
                }
            }
        };
        Some(Target {
            kind: written.kind.to_owned(),
            provider_id: written.provider_id.map(str::to_owned),
            account_id: written.account_id.map(str::to_owned),
            place,
            reference: reference?,
        })
    }

    fn reference(&mut self, object: &Map<String, Value>, at: &Path) -> Option<SecretRef> {
        let at = at.join("ref");
        let Some(value) = object.get("ref") else {
            self.fail(&at, "is missing");
            return None;
        };
        match SecretRef::from_json(value, &Defaults::default()) {
            Ok(reference) => Some(reference),
            Err(error) => {
                self.fail(&at, format!("is not a ref: {error}"));
                None
            }
        }
    }

    /// The steps of the path: as they are listed, else the text cut at its dots.
    fn segments(&mut self, written: &Written<'_>, at: &Path) -> Option<Vec<String>> {
        let segments: Vec<String> = match written.object.get("pathSegments") {
            None => written.path.split('.').map(str::to_owned).collect(),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                let texts = list.iter().filter_map(Value::as_str);
                texts.map(str::to_owned).collect()
            }
            Some(_) => {
                let problem = "is not a list of strings";
                self.fail(&at.join("pathSegments"), problem);
                return None;
            }
        };
        let empty = |segment: &String| segment.trim().is_empty();
        let forbidden = |segment: &String| FORBIDDEN.contains(&segment.as_str());
        let why = if segments.join(".") != written.path {
            "pathSegments say something else"
        } else if segments.len() > MAX_SEGMENTS || segments.iter().any(empty) {
            "it has an empty segment, or too many"
        } else if segments.iter().any(forbidden) {
            "it has a forbidden segment"
        } else {
            return Some(segments);
        };
        self.refuse(written, at, why);
        None
    }

    fn profile(
        &mut self,
        written: &Written<'_>,
        segments: &[String],
        field: ProfileField,
        at: &Path,
    ) -> Option<Place> {
        let [root, id, last] = segments else {
            self.refuse(
                written,
                at,
                "a profile's path is profiles, its id and the field",
            );
            return None;
        };
        if root != "profiles" || last != field.as_str() {
            self.refuse(written, at, "the type does not fit the path");
            return None;
        }
        let id: ProfileId = match id.parse() {
            Ok(id) => id,
            Err(_) => {
                self.refuse(written, at, "the id of a profile is PROVIDER:NAME");
                return None;
            }
        };
        let agent = self.text(written.object, at, "agentId")?;
        let agent: AgentId = match agent.parse() {
            Ok(agent) => agent,
            Err(error) => {
                self.fail(&at.join("agentId"), format!("is not valid: {error}"));
                return None;
            }
        };
        let provider = self.optional_text(written.object, at, "authProfileProvider");
        let provider = provider.map(str::to_owned);
        Some(Place::Profile {
            agent,
            id,
            field,
            provider,
        })
    }

    fn text<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        at: &Path,
        key: &str,
    ) -> Option<&'a str> {
        let text = self.optional_text(object, at, key);
        if text.is_none() && !object.contains_key(key) {
            self.fail(&at.join(key), "is missing");
        }
        text
    }

    fn optional_text<'a>(
        &mut self,
        object: &'a Map<String, Value>,
        at: &Path,
        key: &str,
    ) -> Option<&'a str> {
        let value = object.get(key)?;
        let text = value.as_str().filter(|text| {
            !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
        });
        if text.is_none() {
            let problem = format!("is not a string of 1 to {MAX_TEXT} printable bytes");
            self.fail(&at.join(key), problem);
        }
        text
    }

    fn fail(&mut self, place: &Path, problem: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let error = PlanError::Value {
                file: self.document.name().to_owned(),
                line: self.line(place),
                place: place.clone(),
                problem: problem.into(),
            };
            self.errors.push(error);
        }
    }

    fn refuse(&mut self, written: &Written<'_>, at: &Path, why: &'static str) {
        if self.errors.len() < MAX_ERRORS {
            let error = PlanError::Target {
                file: self.document.name().to_owned(),
                line: self.line(&at.join("path")),
                kind: written.kind.to_owned(),
                path: written.path.to_owned(),
                why,
            };
            self.errors.push(error);
        }
    }

    /// The line of what stands at a place; of the object in which it is missing if nothing does.
    fn line(&self, place: &Path) -> usize {
        let mut above = std::iter::successors(Some(place.clone()), Path::parent);
        // Finding a line reads the whole text: only once an error.
        let there = above.find(|place| self.document.get(place).is_some());
        let position = there.and_then(|place| self.document.position(&place));
        position.map_or(1, |position| position.line)
    }
}

/// The longest text of a target in bytes.
const MAX_TEXT: usize = 8192;

/// A target as it stands in the file.
struct Written<'a> {
    kind: &'a str,
    path: &'a str,
    provider_id: Option<&'a str>,
    account_id: Option<&'a str>,
    object: &'a Map<String, Value>,
}

/// What a config says of these definitions.
fn definition_errors(definitions: &Map<String, Value>) -> Vec<ConfigError> {
    let config = json!({"secrets": {"providers": definitions}});
    let document = match Document::parse(&config.to_string(), "") {
        Ok(document) => document,
        Err(error) => return vec![error.into()],
    };
    match Config::read(&document, Trust::Own) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.all().to_vec(),
    }
}
