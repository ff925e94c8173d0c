//! This program's own profiles: one for each of theirs that it feeds, pointing at the same record.
//!
//! A profile that is there already stays. Only fields that this program knows are written, so that
//! nothing in plaintext comes with them.

use super::fast_agent::Moving;
use super::theirs::{Edited, Theirs, record_of};
use super::{Left, NEW_PROFILES, Work};
use crate::apply::{FileChange, Shown, site};
use crate::config::Path;
use crate::document::Document;
use crate::error::Failure;
use crate::name::{AgentId, ProfileId};
use crate::profile::{Profile, ProfileType, Store, Usage};
use crate::reference::SecretRef;
use crate::vault::RecordKind;
use serde_json::{Map, Value, json};

/// What becomes of this program's folder.
#[derive(Default)]
pub(super) struct Own {
    pub(super) files: Vec<FileChange>,
    pub(super) profiles: Vec<(AgentId, ProfileId)>,
    pub(super) agents: Vec<AgentId>,
    pub(super) left: Vec<Left>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
    /// Entries of the keyring that go afterwards.
    pub(super) entries: Vec<Moving>,
}

const NEW_STATE: &str = "{\n  \"version\": 1\n}\n";
/// What a profile has beside its credential.
const PLAIN_FIELDS: [&str; 6] = [
    "email",
    "displayName",
    "copyToAgents",
    "accountId",
    "projectId",
    "chatgptPlanType",
];

impl Work<'_> {
    pub(super) fn own_profiles(&mut self, theirs: &mut Theirs<'_>) -> Result<Own, Failure> {
        let mut own = Own::default();
        let config = theirs.config()?;
        for agent in self.own_agents(theirs) {
            let path = self.wish.own.auth_profiles(&agent);
            let mut file = Edited::read(path.clone(), NEW_PROFILES)?;
            let there = Store::parse(
                file.document.document()?.text(),
                &path.display().to_string(),
                &self.wish.config.defaults,
            )?;
            let mut stores = Vec::new();
            for shelf in theirs.shelves(&agent) {
                stores.push((theirs.store(&shelf, &config)?, shelf));
            }
            let refs = stores.iter();
            let refs =
                refs.flat_map(|(store, shelf)| store.refs().map(move |found| (shelf, found)));
            for (shelf, (profile, reference)) in refs {
                let name = record_of(&config, self.wish.program, reference);
                let Some(name) = name else {
                    let place = format!("{agent}: {}", profile.id);
                    let why = format!("it points at {reference}, which their config resolves");
                    own.left.push(Left::new(place, why));
                    continue;
                };
                let kind = self.kind_of(&name);
                let is_account = kind == Some(RecordKind::OAuth);
                let reference = SecretRef::to_record(&name);
                let ours = (agent.clone(), profile.id.clone());
                if own.profiles.contains(&ours) {
                    // A store that comes first has it.
                    continue;
                }
                own.profiles.push(ours);
                if let Some(old) = there.get(&profile.id) {
                    if old.kind.credential().reference() != Some(&reference) {
                        let place = format!("{agent}: {}", profile.id);
                        let why = format!(
                            "this program has a profile of that id, which stays; the other one's \
                             value is {reference}"
                        );
                        own.left.push(Left::new(place, why));
                    }
                    continue;
                }
                let entry = theirs.entry(shelf, profile.id.as_str());
                let new = profile_json(profile, &reference, is_account, entry.unwrap_or_default());
                let at = Path::of_keys(["profiles", profile.id.as_str()]);
                file.document.set(&at, new)?;
                let shown = Shown::Ref(reference);
                file.note(profile.id.to_string(), Shown::Nothing, shown);
            }
            if agent == AgentId::main() {
                self.logins(&mut file, &mut own)?;
            }
            if let Some(change) = file.change()? {
                own.files.push(change);
                own.agents.push(agent.clone());
            }
            if stores
                .iter()
                .any(|(store, _)| store.refs().next().is_some())
            {
                own.files.extend(self.state(&agent, theirs)?);
            }
        }
        Ok(own)
    }

    /// The agents whose profiles change: theirs, and `main` if logins come along.
    fn own_agents(&self, theirs: &Theirs<'_>) -> Vec<AgentId> {
        let mut agents = theirs.agents();
        let main = AgentId::main();
        if !self.wish.logins.is_empty() && !agents.contains(&main) {
            agents.push(main);
        }
        agents
    }

    /// Order, last good profile and usage, where this program has none yet.
    fn state(
        &self,
        agent: &AgentId,
        theirs: &mut Theirs<'_>,
    ) -> Result<Option<FileChange>, Failure> {
        let path = self
            .wish
            .from
            .profiles(agent)
            .with_file_name("auth-state.json");
        let state = match site::read(&path)? {
            Some(bytes) => site::parse(&path, &bytes)?,
            None => Document::empty(""),
        };
        // Era A has the tables in the profiles file; where both have an entry, the state file wins.
        let file = theirs.file(agent);
        let older = theirs.profiles(&file)?.document.document()?;
        let row = theirs.state(agent);
        let mut file = Edited::read(self.wish.own.auth_state(agent), NEW_STATE)?;
        for (table, check) in TABLES {
            for document in row.into_iter().chain([&state, &older]) {
                let entries = document.value().get(table).and_then(Value::as_object);
                for (key, value) in entries.into_iter().flatten() {
                    let at = Path::of_keys([table, key.as_str()]);
                    let (Some(value), None) = (check(key, value), file.document.get(&at)) else {
                        continue;
                    };
                    file.document.set(&at, value)?;
                    let text = Shown::Text("(order and usage)".to_owned());
                    file.note(at.to_string(), Shown::Nothing, text);
                }
            }
        }
        file.change()
    }
}

/// What of a table's entry is taken: nothing but what this program knows.
type Check = fn(&str, &Value) -> Option<Value>;

const TABLES: [(&str, Check); 3] = [
    ("order", |_, ids| {
        let ids = ids.as_array()?.iter();
        let ids: Option<Vec<Value>> = ids.map(|id| profile_id(id.as_str()?)).collect();
        ids.map(Value::from)
    }),
    ("lastGood", |_, id| profile_id(id.as_str()?)),
    ("usageStats", |id, usage| {
        profile_id(id)?;
        let members = Usage::read(usage).members().into_iter();
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let members: Map<String, Value> = members.collect();
        (!members.is_empty()).then(|| members.into())
    }),
];

fn profile_id(text: &str) -> Option<Value> {
    let id: ProfileId = text.parse().ok()?;
    Some(id.as_str().into())
}

fn profile_json(
    profile: &Profile,
    reference: &SecretRef,
    is_account: bool,
    entry: Map<String, Value>,
) -> Value {
    let (kind, field) = match profile.kind.profile_type() {
        _ if is_account => (ProfileType::OAuth, "oauthRef"),
        ProfileType::ApiKey => (ProfileType::ApiKey, "keyRef"),
        ProfileType::Token | ProfileType::OAuth => (ProfileType::Token, "tokenRef"),
    };
    let mut new = json!({"type": kind.as_str(), "provider": profile.provider});
    new[field] = reference.to_json();
    if kind == ProfileType::Token
        && let Some(expires) = entry.get("expires").filter(|expires| expires.is_number())
    {
        new["expires"] = expires.clone();
    }
    for field in PLAIN_FIELDS {
        if let Some(value) = entry.get(field).filter(|v| v.is_string() || v.is_boolean()) {
            new[field] = value.clone();
        }
    }
    new
}
