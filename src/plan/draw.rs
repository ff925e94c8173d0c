//! Drawing a plan: a target for every plaintext value of a config and its agents' profiles.
//!
//! Record names are derived from the place alone, so the same folder always gives the same plan,
//! and two places never share a name.

use super::{MAX_TARGETS, Options, Place, Plan, ProfileField, Target, Upsert, kind};
use crate::config::{Config, Input, Path, Segment};
use crate::name::{AgentId, Alias, NameError, ProfileId, RecordName};
use crate::profile::{ProfileType, Store};
use crate::reference::{SecretRef, Source};
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
}

/// A provider that runs this program: for [`Via::Exec`].
///
/// `program` and `state_dir` are absolute. The alias is `reseal`, or the first of `reseal-2`,
/// `reseal-3`, … that the config does not use for something else.
pub fn exec_upsert(config: &Config, root: &Value, program: &str, state_dir: &str) -> Upsert {
    let definition = json!({
        "source": "exec",
        "command": program,
        "args": ["exec-provider", "--state-dir", state_dir],
        "jsonOnly": true,
    });
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
    if let Via::Exec(upsert) = via {
        drawn.plan.upserts.push(upsert.clone());
    }
    drawn.plan.options = Options::default();
    for input in config.secret_inputs().iter().filter(|i| i.is_plaintext()) {
        draw_input(input, via, &mut drawn);
    }
    for (agent, store) in agents {
        draw_profiles(agent, store, via, &mut drawn);
    }
    if drawn.plan.targets.is_empty() {
        drawn.plan.upserts.clear();
    }
    drawn
}

fn draw_input(input: &Input, via: &Via, drawn: &mut Drawn) {
    let path = input.path.segments();
    let place = || input.path.to_string();
    // Other runtimes know no refs there.
    let ours = ["mcp", "oauth"].map(Some).contains(&path[0].as_key());
    if ours && *via != Via::Vault {
        let why = "another runtime takes no ref there".to_owned();
        return drawn.leave(place(), why);
    }
    let (Some(kind), Some(path)) = (kind::of(path), keys(path)) else {
        return drawn.leave(place(), kind::NO_PLACE.to_owned());
    };
    let steps = path.segments().iter().filter_map(Segment::as_key);
    let name = RecordName::for_config_path(steps);
    let following = |group: &str| {
        let mut keys = path.segments().iter().filter_map(Segment::as_key);
        keys.find(|key| *key == group)?;
        keys.next().map(str::to_owned)
    };
    let (provider_id, account_id) = (following("providers"), following("accounts"));
    drawn.add(place(), name, via, |reference| Target {
        kind,
        provider_id,
        account_id,
        place: Place::Config(path.clone()),
        reference,
    });
}

fn draw_profiles(agent: &AgentId, store: &Store, via: &Via, drawn: &mut Drawn) {
    for found in store.plaintext() {
        let place = format!("{agent}: {} ({})", found.profile, found.field);
        let Some(profile) = store.get(&found.profile) else {
            continue;
        };
        let field = match profile.kind.profile_type() {
            ProfileType::ApiKey => ProfileField::Key,
            ProfileType::Token => ProfileField::Token,
            ProfileType::OAuth => {
                let place = format!("{agent}: {}", found.profile);
                if drawn.left.last().is_some_and(|left| left.place == place) {
                    continue;
                }
                let why = "the tokens of an account: `reseal secrets migrate` moves them";
                drawn.leave(place, why.to_owned());
                continue;
            }
        };
        if found.shadowed {
            let why = "a ref beside it is used instead; remove it if it is not the only copy";
            drawn.leave(place, why.to_owned());
            continue;
        }
        let id: ProfileId = found.profile;
        if drawn.has_profile(agent, &id) {
            continue;
        }
        let name = RecordName::for_agent_profile(agent, &id);
        drawn.add(place, name, via, |reference| Target {
            kind: field.kind().to_owned(),
            provider_id: None,
            account_id: None,
            place: Place::Profile {
                agent: agent.clone(),
                id,
                field,
                provider: Some(profile.provider.clone()),
            },
            reference,
        });
    }
    for ignored in store.ignored() {
        let why = format!("it is no profile ({})", ignored.reason.as_str());
        drawn.leave(format!("{agent}: {}", ignored.id), why);
    }
}

impl Drawn {
    fn leave(&mut self, place: String, why: String) {
        self.left.push(Left { place, why });
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
            Segment::Index(index) => index.to_string(),
        };
        let plain = !key.trim().is_empty() && !key.chars().any(char::is_control);
        plain.then_some(Segment::Key(key))
    };
    let keys: Option<Vec<Segment>> = path.iter().map(key).collect();
    keys.map(Path::from)
}
