//! Drawing a plan: a target for every plaintext value of a config and its agents' profiles.
//!
//! Record names are derived from the place alone, so the same folder always gives the same plan,
//! and two places never share a name.

use super::{MAX_TARGETS, Options, Place, Plan, ProfileField, Target, Upsert, kind};
use crate::config::{Config, Input, Path, Segment};
use crate::name::{AgentId, Alias, NameError, ProfileId, RecordName};
use crate::profile::{Credential, Mode, Profile, ProfileType, Store};
use crate::reference::{SecretInput, SecretRef, Source};
use serde_json::{Value, json};

/// How the folder's owner will ask for the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// It is this program's own folder: refs with source `vault`.
    Vault,
    /// Another runtime: exec refs to a provider that it gets.
    Exec(Upsert),
}

/// A plan, and what it leaves where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// The plan.
    pub plan: Plan,
    /// How many of its targets, the last ones, only write a ref in another form.
    pub respelled: usize,
    /// What stands in plaintext and is not in it.
    pub left: Vec<Left>,
}

/// Plaintext that a plan can't move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it stands.
    pub place: String,
    /// Why, and what moves it.
    pub why: String,
    /// What it is, for programs.
    pub kind: LeftKind,
}

/// What a plan can't move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftKind {
    /// The tokens of an account, which only a migration moves.
    Account,
    /// Anything else.
    Other,
}

impl Left {
    /// Anything but an account.
    pub fn new(place: String, why: impl Into<String>) -> Self {
        let why = why.into();
        let kind = LeftKind::Other;
        Self { place, why, kind }
    }
}

/// The definition of a provider that runs this program in another runtime's config. Both paths are
/// absolute.
pub fn exec_definition(program: &str, state_dir: &str) -> Value {
    let folder = program.rsplit_once('/').map_or("/", |(folder, _)| folder);
    json!({
        "source": "exec",
        "command": program,
        "args": ["--state-dir", state_dir, "exec-provider"],
        "timeoutMs": 5000,
        "jsonOnly": true,
        "trustedDirs": [if folder.is_empty() { "/" } else { folder }],
    })
}

/// A provider that runs this program: for [`Via::Exec`]. `root` is the whole of the config.
///
/// The alias is `reseal`, or the first of `reseal-2`, `reseal-3`, … that the config does not use
/// for something else.
pub fn exec_upsert(config: &Config, root: &Value, definition: Value) -> Upsert {
    let there = |alias: &Alias| root["secrets"]["providers"].get(alias.as_str());
    let taken = |alias: &Alias| {
        let default = config.defaults.alias(Source::Vault) == alias;
        default || there(alias).is_some_and(|other| *other != definition)
    };
    let names = std::iter::once("reseal".to_owned()).chain((2..).map(|n| format!("reseal-{n}")));
    let mut free = names.filter_map(|name| name.parse().ok());
    let alias = free.find(|alias: &Alias| !taken(alias));
    Upsert {
        alias: alias.unwrap_or_else(Alias::default_alias),
        definition,
    }
}

/// Draws a plan for a config and the profiles of all agents.
pub fn draw(config: &Config, agents: &[(&AgentId, &Store)], via: &Via) -> Drawn {
    let mut drawn = Drawn::default();
    let mut respelled = Vec::new();
    if let Via::Exec(upsert) = via {
        drawn.plan.upserts.push(upsert.clone());
    }
    drawn.plan.options = Options::default();
    for input in config.secret_inputs() {
        match (&input.input, via) {
            (Ok(SecretInput::Plaintext), _) => draw_input(input, via, &mut drawn),
            (Ok(SecretInput::Ref { reference, older }), Via::Vault) if *older => {
                respelled.extend(respell_input(input, reference));
            }
            _ => {}
        }
    }
    for (agent, store) in agents {
        draw_profiles(config, agent, store, via, &mut drawn);
        if *via == Via::Vault {
            respelled.extend(respell_profiles(agent, store));
        }
    }
    respelled.truncate(MAX_TARGETS - drawn.plan.targets.len());
    drawn.respelled = respelled.len();
    drawn.plan.targets.extend(respelled);
    if drawn.plan.targets.is_empty() {
        drawn.plan.upserts.clear();
    }
    drawn
}

fn draw_input(input: &Input, via: &Via, drawn: &mut Drawn) {
    let path = input.path.segments();
    let place = input.path.to_string();
    // Other runtimes know no refs there.
    let ours = ["mcp", "oauth"].map(Some).contains(&path[0].as_key());
    if ours && *via != Via::Vault {
        let why = "another runtime takes no ref there".to_owned();
        return drawn.leave(place, why);
    }
    let Some((kind, path)) = kind::of(path).zip(keys(path)) else {
        return drawn.leave(place, kind::NO_PLACE.to_owned());
    };
    let steps = path.segments().iter().filter_map(Segment::as_key);
    let name = RecordName::for_config_path(steps);
    drawn.add(place, name, via, |reference| {
        config_target(kind, path, reference)
    });
}

/// A ref in an older spelling gets the form that every program reads. What it means stays.
fn respell_input(input: &Input, reference: &SecretRef) -> Option<Target> {
    let path = input.path.segments();
    let (kind, path) = kind::of(path).zip(keys(path))?;
    Some(config_target(kind, path, reference.clone()))
}

fn config_target(kind: String, path: Path, reference: SecretRef) -> Target {
    let following = |group: &str| {
        let mut keys = path.segments().iter().filter_map(Segment::as_key);
        keys.find(|key| *key == group)?;
        keys.next().map(str::to_owned)
    };
    Target {
        kind,
        provider_id: following("providers"),
        account_id: following("accounts"),
        place: Place::Config(path),
        reference,
    }
}

fn draw_profiles(config: &Config, agent: &AgentId, store: &Store, via: &Via, drawn: &mut Drawn) {
    let is_oauth = |id: &ProfileId| {
        let mut configured = config.routing.profiles.iter();
        let configured = configured.find(|(other, _)| other == id);
        configured.is_some_and(|(_, profile)| profile.mode == Some(Mode::OAuth))
    };
    for found in store.plaintext() {
        let place = format!("{agent}: {} ({})", found.profile, found.field);
        let Some(profile) = store.get(&found.profile) else {
            continue;
        };
        let why = if profile.kind.profile_type() == ProfileType::OAuth {
            let place = format!("{agent}: {}", found.profile);
            if drawn.left.last().is_none_or(|left| left.place != place) {
                let why = "the tokens of an account: `reseal secrets migrate` moves them";
                drawn.left.push(Left {
                    kind: LeftKind::Account,
                    ..Left::new(place, why)
                });
            }
            continue;
        } else if found.shadowed {
            "a ref beside it is used instead; remove it if it is not the only copy"
        } else if is_oauth(&profile.id) {
            "the config says that its mode is oauth, which takes no ref"
        } else {
            if !drawn.has_profile(agent, &profile.id) {
                let name = RecordName::for_agent_profile(agent, &profile.id);
                drawn.add(place, name, via, |reference| {
                    profile_target(agent, profile, reference)
                });
            }
            continue;
        };
        drawn.leave(place, why.to_owned());
    }
    for ignored in store.ignored() {
        let why = format!("it is no profile ({})", ignored.reason.as_str());
        drawn.leave(format!("{agent}: {}", ignored.id), why);
    }
}

/// Profiles whose ref stands in an older spelling.
fn respell_profiles(agent: &AgentId, store: &Store) -> Vec<Target> {
    let target = |profile: &Profile| match profile.kind.credential() {
        Credential::Ref { reference, older } if *older && profile.plaintext.is_empty() => {
            let is_account = profile.kind.profile_type() == ProfileType::OAuth;
            (!is_account).then(|| profile_target(agent, profile, reference.clone()))
        }
        _ => None,
    };
    store.profiles().iter().filter_map(target).collect()
}

fn profile_target(agent: &AgentId, profile: &Profile, reference: SecretRef) -> Target {
    let field = match profile.kind.profile_type() {
        ProfileType::ApiKey => ProfileField::Key,
        ProfileType::Token | ProfileType::OAuth => ProfileField::Token,
    };
    Target {
        kind: field.kind().to_owned(),
        provider_id: None,
        account_id: None,
        place: Place::Profile {
            agent: agent.clone(),
            id: profile.id.clone(),
            field,
            provider: Some(profile.provider.clone()),
        },
        reference,
    }
}

impl Drawn {
    /// Puts every record that gets a value below a name: two folders whose places have the same
    /// names don't share records then.
    pub fn put_below(&mut self, prefix: &RecordName) {
        let new = self.plan.targets.len() - self.respelled;
        let mut targets = std::mem::take(&mut self.plan.targets);
        let respelled = targets.split_off(new);
        for mut target in targets {
            let name = target.reference.id().parse::<RecordName>();
            let below = name.and_then(|name| name.below(prefix));
            let (source, alias) = (target.reference.source(), target.reference.provider());
            let reference = below.map(|name| SecretRef::new(source, alias.clone(), name.as_str()));
            match reference {
                Ok(Ok(reference)) => {
                    target.reference = reference;
                    self.plan.targets.push(target);
                }
                Ok(Err(error)) => self.leave(target.place.to_string(), error.to_string()),
                Err(_) => {
                    let why = "its name below the prefix is too long for a record";
                    self.leave(target.place.to_string(), why.to_owned());
                }
            }
        }
        self.plan.targets.extend(respelled);
    }

    fn leave(&mut self, place: String, why: String) {
        self.left.push(Left::new(place, why));
    }

    /// A profile may hold its key in two fields; one target stands for both.
    fn has_profile(&self, agent: &AgentId, id: &ProfileId) -> bool {
        let same = |target: &Target| match &target.place {
            Place::Profile {
                agent: of,
                id: there,
                ..
            } => of == agent && there == id,
            Place::Config(_) => false,
        };
        self.plan.targets.iter().any(same)
    }

    fn add(
        &mut self,
        place: String,
        name: Result<RecordName, NameError>,
        via: &Via,
        target: impl FnOnce(SecretRef) -> Target,
    ) {
        let by_hand = "`reseal secrets set TARGET --ref vault:NAME --move` moves it";
        let Ok(name) = name else {
            return self.leave(
                place,
                format!("its name is too long for a record; {by_hand}"),
            );
        };
        if self.plan.targets.len() >= MAX_TARGETS {
            return self.leave(place, format!("a plan has at most {MAX_TARGETS} targets"));
        }
        let reference = match via {
            Via::Vault => Ok(SecretRef::to_record(&name)),
            Via::Exec(upsert) => SecretRef::new(Source::Exec, upsert.alias.clone(), name.as_str()),
        };
        match reference {
            Ok(reference) => self.plan.targets.push(target(reference)),
            Err(error) => self.leave(place, error.to_string()),
        }
    }
}

/// The path with every step as a key, as plans write it; `None` if a key is blank or holds what a
/// plan refuses.
fn keys(path: &[Segment]) -> Option<Path> {
    let key = |segment: &Segment| {
        let key = match segment {
            Segment::Key(key) => key.clone(),
            Segment::Index(index) => index.to_string().into(),
        };
        let plain = !key.trim().is_empty() && !key.chars().any(char::is_control);
        plain.then_some(Segment::Key(key))
    };
    let keys: Option<Vec<Segment>> = path.iter().map(key).collect();
    keys.map(Path::from)
}
