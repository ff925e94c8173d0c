//! Which profiles of a provider are tried, in which order.

use super::eligibility::{Reason, eligibility};
use super::{Routing, State, Store, normal_provider};
use crate::name::ProfileId;
use crate::time::UnixMs;
use std::collections::HashSet;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The provider.
    pub provider: &'a str,
    /// The model, where cooldowns that hold for one model only matter.
    pub model: Option<&'a str>,
    /// A profile that goes first if it can be used.
    pub preferred: Option<&'a ProfileId>,
    /// The profiles.
    pub store: &'a Store,
    /// Stored order and usage.
    pub state: &'a State,
    /// What the config says.
    pub routing: &'a Routing,
    /// Now.
    pub now: UnixMs,
}

/// Where an order comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// `models auth order set`.
    Stored,
    /// `auth.order` of the config.
    Config,
    /// The profiles of `auth.profiles`.
    Configured,
    /// Whatever the store has for the provider.
    Discovered,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The profiles to try, first to last; each can be used, or only has to cool down.
    pub ids: Vec<ProfileId>,
    /// Where the order comes from.
    pub basis: Basis,
    /// Those of `ids` that have to cool down, with the end of it.
    pub cooling: Vec<(ProfileId, UnixMs)>,
    /// Those of the list that can't be used, with the reason.
    pub skipped: Vec<(ProfileId, Reason)>,
}

impl Order {
    /// True if the use of a profile makes way for another one: the order is by oldest use, and
    /// there is another one of its type. Whoever uses it notes it then ([`State::record_use`]).
    pub fn rotates(&self, id: &ProfileId, store: &Store) -> bool {
        let kind = |id: &ProfileId| store.get(id).map(|profile| profile.kind.profile_type());
        let is_peer = |other: &&ProfileId| *other != id && kind(other) == kind(id);
        matches!(self.basis, Basis::Configured | Basis::Discovered)
            && self.ids.contains(id)
            && self.ids.iter().any(|other| is_peer(&other))
    }
}

/// The effective order. An explicit order (stored, or of the config) is kept; any other goes by
/// type (OAuth, token, API key), then oldest use first, then (for what was discovered) by id.
/// Those that have to cool down come last, soonest end first.
pub fn effective(query: &Query<'_>) -> Order {
    let (mut basis, mut list) = base_list(query);
    let missing = |id: &ProfileId| query.store.get(id).is_none();
    let names_provider = configured_ids(query).next().is_some();
    let may_fall_back = basis == Basis::Stored || names_provider;
    if !list.is_empty() && list.iter().all(missing) && may_fall_back {
        (basis, list) = (Basis::Discovered, discovered(query));
    }
    let mut seen = HashSet::new();
    list.retain(|id| seen.insert(id.clone()));

    let mut skipped = Vec::new();
    let mut usable = Vec::new();
    for id in list {
        let verdict = eligibility(&id, query.provider, query.store, query.routing, query.now);
        match verdict.map(|profile| profile.kind.profile_type()) {
            Ok(profile_type) => usable.push((profile_type, id)),
            Err(reason) => skipped.push((id, reason)),
        }
    }
    if matches!(basis, Basis::Configured | Basis::Discovered) {
        let last_used = |id: &ProfileId| query.state.usage(id).and_then(|usage| usage.last_used);
        usable.sort_by_key(|(profile_type, id)| (*profile_type, last_used(id)));
    }
    let provider = normal_provider(query.provider);
    let until = |id: &ProfileId| {
        query
            .state
            .usage(id)?
            .unusable_until(&provider, query.model, query.now)
    };
    let (mut ready, mut cooling) = (Vec::new(), Vec::new());
    for (_, id) in usable {
        match until(&id) {
            None => ready.push(id),
            Some(until) => cooling.push((id, until)),
        }
    }
    cooling.sort_by_key(|(_, until)| *until);
    let mut ids = ready;
    ids.extend(cooling.iter().map(|(id, _)| id.clone()));
    if let Some(at) = query
        .preferred
        .and_then(|id| ids.iter().position(|other| other == id))
    {
        ids[..=at].rotate_right(1);
    }
    Order {
        ids,
        basis,
        cooling,
        skipped,
    }
}

fn base_list(query: &Query<'_>) -> (Basis, Vec<ProfileId>) {
    if let Some(order) = query.state.order(query.provider) {
        return (Basis::Stored, order.to_vec());
    }
    let order = query.routing.order.get(&normal_provider(query.provider));
    if let Some(order) = order.filter(|order| !order.is_empty()) {
        return (Basis::Config, order.clone());
    }
    let configured: Vec<_> = configured_ids(query).cloned().collect();
    if configured.is_empty() {
        (Basis::Discovered, discovered(query))
    } else {
        (Basis::Configured, configured)
    }
}

fn configured_ids<'a>(query: &Query<'a>) -> impl Iterator<Item = &'a ProfileId> {
    let provider = normal_provider(query.provider);
    let profiles = query.routing.profiles.iter();
    profiles
        .filter(move |(_, configured)| configured.provider == provider)
        .map(|(id, _)| id)
}

/// The store's profiles of the provider, by id, so that the order of the file does not matter.
fn discovered(query: &Query<'_>) -> Vec<ProfileId> {
    let provider = normal_provider(query.provider);
    let profiles = query
        .store
        .profiles()
        .iter()
        .filter(|profile| profile.provider == provider);
    let mut ids: Vec<_> = profiles.map(|profile| profile.id.clone()).collect();
    ids.sort();
    ids
}

/// Splits `Model@profileId`: at the first `@` after which a profile id follows. Without one the
/// whole is the model.
pub fn split_pin(text: &str) -> (&str, Option<ProfileId>) {
    let pins = text.match_indices('@').filter(|(at, _)| *at > 0);
    let mut pins = pins.filter_map(|(at, _)| Some((&text[..at], text[at + 1..].parse().ok()?)));
    pins.next()
        .map_or((text, None), |(model, id)| (model, Some(id)))
}

#[cfg(test)]
mod tests;
