//! Every ref of the folder: is it one, is its provider there, does it resolve.
//!
//! Invariants: a `vault` ref is looked up by its name, so that no account is renewed by an audit;
//! a command is run only if that was allowed; each ref is resolved once.

use super::report::{Finding, FindingCode};
use super::{Audit, Order, Vault};
use crate::config::{Config, ConfigError, ProviderConfig, Trust, VaultProvider};
use crate::document::{Document, Path};
use crate::error::{Code, Failure};
use crate::family::{Place, PlaceKind, Runtime, includes};
use crate::name::RecordName;
use crate::profile::{Profile, Store};
use crate::reference::{SecretInput, SecretRef};
use crate::runtime::resolve::{Resolver, VaultValues};
use crate::secret::SecretValue;
use crate::source;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;

/// The refs that were found, and what they need.
#[derive(Default)]
pub(super) struct Refs {
    config: Config,
    /// Files that the config takes in are missing from it.
    is_partial: bool,
    config_file: Option<PathBuf>,
    found: Vec<Noted>,
    /// Variables that the runtime gets from its own files.
    variables: BTreeSet<String>,
    /// The providers of profiles that have a credential.
    providers: BTreeMap<String, String>,
}

/// A ref and where it stands.
struct Noted {
    reference: SecretRef,
    finding: Finding,
}

impl Refs {
    /// Notes that the runtime's own files set a variable.
    pub(super) fn variable(&mut self, name: &str) {
        self.variables.insert(name.to_owned());
    }

    /// Notes a ref that is the whole value of a variable.
    pub(super) fn env_value(&mut self, place: &Place, name: &str, line: usize, text: &str) {
        if let Ok(SecretInput::Ref { reference, .. }) =
            SecretInput::parse_text(text, &self.config.defaults)
        {
            let mut finding = unresolved(place, &format!("$env.{name}"));
            finding.line = Some(line);
            self.found.push(Noted { reference, finding });
        }
    }
}

impl Audit<'_> {
    /// Notes the refs of a document, by what it is.
    pub(super) fn note_refs(&mut self, place: &Place, document: &Document) {
        match place.kind {
            _ if place.backup => {}
            PlaceKind::Config => self.note_config(place, document),
            PlaceKind::Include => self.note_any(place, document.value(), &mut String::new()),
            PlaceKind::AuthProfiles => self.note_profiles(place, document),
            _ => {}
        }
    }

    fn note_config(&mut self, place: &Place, document: &Document) {
        let whole = self.with_includes(document);
        match Config::read(&whole, Trust::Own) {
            Ok(config) => self.refs.config = config,
            Err(errors) => {
                for error in errors.all() {
                    let mut finding = unresolved(place, "<root>");
                    finding.message = format!("The config is not valid: {error}.");
                    finding.remedy = "correct the config".to_owned();
                    self.add(finding);
                }
                return;
            }
        }
        self.refs.config_file = Some(place.path.clone());
        self.note_env_block(document.value());
        for input in self.refs.config.secret_inputs().to_vec() {
            let path = input.path.to_string();
            match &input.input {
                Ok(SecretInput::Ref { reference, .. }) => self.refs.found.push(Noted {
                    reference: reference.clone(),
                    finding: unresolved(place, &path),
                }),
                Ok(_) => {}
                Err(_) if is_store_ref(document.get(&input.path)) => {
                    let why = "a ref into the other runtime's own store, which is not read";
                    self.skip_text(&format!("{}: {path}", place.path.display()), why);
                }
                Err(crate::reference::RefError::Redacted) => {}
                Err(error) => {
                    let mut finding = unresolved(place, &path);
                    finding.message = format!("{path}: {error}.");
                    self.add(finding);
                }
            }
        }
    }

    /// The config with the providers that its includes bring; ours has none. The refs of an include
    /// are noted where they stand.
    fn with_includes(&mut self, document: &Document) -> Document {
        if self.order.folder.runtime == Runtime::Reseal {
            return document.clone();
        }
        let merged = includes::merged(&self.order.folder, document.value());
        self.refs.is_partial = merged.is_partial;
        let mut whole = document.clone();
        let secrets = Path::of_keys(["secrets"]);
        if let Some(merged) = merged.value.get("secrets")
            && document.get(&secrets) != Some(merged)
            && whole.set(&secrets, merged.clone()).is_err()
        {
            self.refs.is_partial = true;
            return document.clone();
        }
        whole
    }

    /// `env.NAME` and `env.vars.NAME` of a config.
    fn note_env_block(&mut self, root: &Value) {
        let block = root.get("env").and_then(Value::as_object);
        let vars = block.and_then(|block| block.get("vars"));
        let vars = vars.and_then(Value::as_object);
        for (name, value) in block.into_iter().chain(vars).flatten() {
            if value.as_str().is_some_and(|text| !text.is_empty()) {
                self.refs.variable(name);
            }
        }
    }

    /// Whole refs in a part of a config, wherever they stand.
    fn note_any(&mut self, place: &Place, value: &Value, at: &mut String) {
        let defaults = self.refs.config.defaults.clone();
        let members: Vec<(String, &Value)> = match value {
            Value::Object(object) => {
                if object.len() == 3
                    && let Ok(reference) = SecretRef::from_json(value, &defaults)
                {
                    let finding = unresolved(place, at);
                    self.refs.found.push(Noted { reference, finding });
                    return;
                }
                let member = |(key, value)| (format!(".{key}"), value);
                object.iter().map(member).collect()
            }
            Value::Array(array) => {
                let member = |(index, value)| (format!("[{index}]"), value);
                array.iter().enumerate().map(member).collect()
            }
            _ => return,
        };
        for (step, value) in members {
            let before = at.len();
            at.push_str(if before == 0 {
                step.trim_start_matches('.')
            } else {
                &step
            });
            self.note_any(place, value, at);
            at.truncate(before);
        }
    }

    fn note_profiles(&mut self, place: &Place, document: &Document) {
        let name = place.path.display().to_string();
        let defaults = self.refs.config.defaults.clone();
        let store = match Store::parse(document.text(), &name, &defaults) {
            Ok(store) => store,
            Err(error) => {
                let mut finding = unresolved(place, "<root>");
                finding.message = format!("Not a store of profiles: {error}.");
                return self.add(finding);
            }
        };
        for profile in store.profiles() {
            self.note_profile(place, profile);
        }
        for ignored in store.ignored() {
            let mut finding = unresolved(place, &format!("profiles.{}", ignored.id));
            let why = ignored.reason.as_str();
            finding.message = format!("The entry {} is no profile ({why}).", ignored.id);
            finding.profile_id = Some(self.safe(&ignored.id));
            self.add(finding);
        }
    }

    fn note_profile(&mut self, place: &Place, profile: &Profile) {
        use crate::profile::{Credential, ProfileKind};
        let field = match profile.kind {
            ProfileKind::ApiKey { .. } => "keyRef",
            ProfileKind::Token { .. } => "tokenRef",
            ProfileKind::OAuth { .. } => "oauthRef",
        };
        let path = format!("profiles.{}.{field}", profile.id);
        let mut finding = unresolved(place, &path);
        finding.profile_id = Some(self.safe(profile.id.as_str()));
        finding.provider = Some(self.safe(&profile.provider));
        match profile.kind.credential() {
            Credential::Ref { reference, .. } => {
                let reference = reference.clone();
                self.refs.found.push(Noted { reference, finding });
            }
            Credential::Invalid(crate::reference::RefError::Redacted) => {}
            Credential::Invalid(error) => {
                finding.message = format!("{path}: {error}.");
                return self.add(finding);
            }
            Credential::Plaintext => {}
            Credential::Missing => return,
        }
        let id = profile.id.to_string();
        self.refs
            .providers
            .entry(profile.provider.clone())
            .or_insert(id);
    }
}

fn unresolved(place: &Place, path: &str) -> Finding {
    Finding {
        json_path: Some(path.to_owned()),
        ..Finding::new(FindingCode::RefUnresolved, &place.path, "")
    }
}

/// True for `{"source": "store", …}`, which only another runtime can read.
fn is_store_ref(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("source")) == Some(&Value::from("store"))
}

/// Resolves every ref that was noted.
pub(super) fn check(audit: &mut Audit<'_>) {
    let refs = std::mem::take(&mut audit.refs);
    shadowed(audit, &refs);
    let order = audit.order;
    let names: BTreeSet<&RecordName> = match &order.vault {
        Vault::Open(records) => records.names.iter().collect(),
        Vault::Absent | Vault::Sealed(_) => BTreeSet::new(),
    };
    let mut outside: BTreeSet<&SecretRef> = BTreeSet::new();
    let mut withheld: BTreeSet<&SecretRef> = BTreeSet::new();
    let mut outcomes: HashMap<&SecretRef, Result<(), Failure>> = HashMap::new();
    for noted in &refs.found {
        let reference = &noted.reference;
        if outcomes.contains_key(reference) || withheld.contains(reference) {
            continue;
        }
        match refs
            .config
            .provider(reference.source(), reference.provider())
        {
            Err(ConfigError::ProviderAbsent { .. }) if refs.is_partial => {
                withheld.insert(reference);
                let why = "not resolved: its provider may be in an include that is not read";
                audit.skip_text(&reference.to_string(), why);
            }
            Err(error) => drop(outcomes.insert(reference, Err(error.into()))),
            Ok(provider) => match provider.as_ref() {
                ProviderConfig::Vault(vault) => match in_vault(order, &names, reference, vault) {
                    Ok(outcome) => drop(outcomes.insert(reference, outcome)),
                    Err(why) => {
                        withheld.insert(reference);
                        audit.skip_text(&reference.to_string(), format!("not resolved: {why}"));
                    }
                },
                ProviderConfig::Exec(_) if !audit.order.allow_exec => {
                    audit.report.resolution.skipped_exec_refs += 1;
                }
                _ => drop(outside.insert(reference)),
            },
        }
    }
    let resolved = resolve(audit, &refs, outside.iter().map(|r| (*r).clone()).collect());
    for (reference, failure) in outside.into_iter().zip(resolved) {
        outcomes.insert(reference, failure);
    }
    let skipped = audit.report.resolution.skipped_exec_refs;
    if skipped > 0 {
        let why = format!("{skipped} checked for their form only; --allow-exec runs the commands");
        audit.skip_text("exec refs", why);
    }
    for noted in &refs.found {
        match outcomes.get(&noted.reference) {
            Some(Ok(())) => audit.report.resolution.refs_checked += 1,
            Some(Err(failure)) => {
                audit.report.resolution.refs_checked += 1;
                let mut finding = noted.finding.clone();
                finding.message = format!(
                    "Failed to resolve {} ({}).",
                    noted.reference, failure.message
                );
                audit.add(finding);
            }
            None => audit.report.resolution.resolvability_complete = false,
        }
    }
}

/// Looks a record up.
///
/// # Errors
/// Why it can't be known whether it is there.
fn in_vault<'a>(
    order: &'a Order<'_>,
    names: &BTreeSet<&RecordName>,
    reference: &SecretRef,
    provider: &VaultProvider,
) -> Result<Result<(), Failure>, &'a str> {
    let absent = match &order.vault {
        _ if provider.path.is_some() => {
            return Err("it lies in another vault, which is not opened");
        }
        Vault::Sealed(why) => return Err(why),
        Vault::Absent => Failure::new(Code::VaultAbsent, "there is no vault"),
        Vault::Open(_) => Failure::new(Code::RecordAbsent, "there is no such record"),
    };
    let record = reference.record();
    let is_there = record.is_some_and(|record| names.contains(&record));
    Ok(is_there.then_some(()).ok_or(absent))
}

/// Resolves refs of the environment, of files and of commands.
fn resolve(audit: &Audit<'_>, refs: &Refs, wanted: Vec<SecretRef>) -> Vec<Result<(), Failure>> {
    let environment = |name: &str| {
        let own = || refs.variables.contains(name).then(|| OsString::from("set"));
        (audit.order.environment)(name).or_else(own)
    };
    let home = (audit.order.environment)("HOME").map(PathBuf::from);
    let resolver = Resolver {
        config: &refs.config,
        context: source::Context {
            batch: refs.config.resolution.batch,
            ..source::Context::plain(&environment, home.as_deref())
        },
        vault: &NoVault,
    };
    match resolver.resolve(wanted.iter().cloned()) {
        Ok(outcomes) => wanted
            .iter()
            .map(|reference| match outcomes.get(reference) {
                Some(Ok(_)) => Ok(()),
                Some(Err(failure)) => Err(failure.clone()),
                None => Err(Failure::new(Code::Bug, "a ref was left out")),
            })
            .collect(),
        Err(failure) => wanted.iter().map(|_| Err(failure.clone())).collect(),
    }
}

/// A profile of the provider comes before what the config says.
fn shadowed(audit: &mut Audit<'_>, refs: &Refs) {
    let Some(file) = &refs.config_file else {
        return;
    };
    for input in refs.config.secret_inputs() {
        let keys: Vec<_> = input
            .path
            .segments()
            .iter()
            .filter_map(|s| s.as_key())
            .collect();
        let ["models", "providers", provider, "apiKey"] = keys.as_slice() else {
            continue;
        };
        let provider = crate::profile::normal_provider(provider);
        if let (Some(profile), Some(_)) = (refs.providers.get(&provider), input.reference()) {
            let message = format!(
                "The profile {profile} comes before the ref at {}.",
                input.path
            );
            let mut finding = Finding::new(FindingCode::RefShadowed, file, message);
            finding.json_path = Some(input.path.to_string());
            finding.profile_id = Some(audit.safe(profile));
            finding.provider = Some(audit.safe(&provider));
            audit.add(finding);
        }
    }
}

/// Vault refs are looked up by name.
struct NoVault;

impl VaultValues for NoVault {
    fn read(
        &self,
        _provider: &VaultProvider,
        refs: &[SecretRef],
    ) -> Vec<Result<SecretValue, Failure>> {
        let failure = Failure::new(Code::Bug, "a vault ref came to the wrong resolver");
        vec![Err(failure); refs.len()]
    }
}
