use super::*;
use crate::profile::Configured;
use crate::reference::Defaults;
use proptest::prelude::*;
use serde_json::json;

fn id(text: &str) -> ProfileId {
    text.parse().unwrap()
}

/// A profile of the provider `p` for the order tests.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    token: bool,
    broken: bool,
    last_used: Option<u64>,
    cooldown: Option<u64>,
}

fn world(entries: &[Entry]) -> (Store, State) {
    let mut profiles = serde_json::Map::new();
    let mut usage = serde_json::Map::new();
    for entry in entries {
        let mut profile =
            json!({"type": if entry.token { "token" } else { "api_key" }, "provider": "p"});
        if !entry.broken {
            let field = if entry.token { "tokenRef" } else { "keyRef" };
            profile[field] = json!({"source": "env", "provider": "default", "id": "A"});
        }
        profiles.insert(format!("p:{}", entry.name), profile);
        let stats = json!({"lastUsed": entry.last_used, "cooldownUntil": entry.cooldown});
        usage.insert(format!("p:{}", entry.name), stats);
    }
    let text = json!({"profiles": profiles}).to_string();
    let store = Store::parse(&text, "f", &Defaults::default()).unwrap();
    let state = State::parse(&json!({"usageStats": usage}).to_string(), "s", &store).unwrap();
    (store, state)
}

fn ask(store: &Store, state: &State, routing: &Routing, preferred: Option<&ProfileId>) -> Order {
    let query = Query {
        provider: "P",
        model: None,
        preferred,
        store,
        state,
        routing,
        now: UnixMs(1000),
    };
    effective(&query)
}

fn names(order: &Order) -> Vec<&str> {
    order.ids.iter().map(|id| id.name()).collect()
}

fn entry(name: &str, token: bool, last_used: Option<u64>, cooldown: Option<u64>) -> Entry {
    Entry {
        name: name.to_owned(),
        token,
        broken: false,
        last_used,
        cooldown,
    }
}

#[test]
fn the_discovered_order() {
    let entries = [
        entry("key-old", false, Some(1), None),
        entry("key-new", false, Some(9), None),
        entry("key-never", false, None, None),
        entry("token-new", true, Some(9), None),
        entry("token-old", true, Some(2), None),
        entry("cool-late", true, None, Some(3000)),
        entry("cool-soon", false, None, Some(2000)),
        entry("cooled", false, Some(5), Some(1000)),
        Entry {
            broken: true,
            ..entry("broken", false, None, None)
        },
    ];
    let (store, state) = world(&entries);
    let order = ask(&store, &state, &Routing::default(), None);
    assert_eq!(
        names(&order),
        [
            "token-old",
            "token-new",
            "key-never",
            "key-old",
            "cooled",
            "key-new",
            "cool-soon",
            "cool-late",
        ]
    );
    assert_eq!(order.basis, Basis::Discovered);
    assert_eq!(order.skipped, [(id("p:broken"), Reason::MissingCredential)]);
    assert_eq!(
        order.cooling,
        [
            (id("p:cool-soon"), UnixMs(2000)),
            (id("p:cool-late"), UnixMs(3000))
        ]
    );
    let preferred = ask(&store, &state, &Routing::default(), Some(&id("p:key-new")));
    assert_eq!(
        names(&preferred)[..3],
        ["key-new", "token-old", "token-new"]
    );
    let unknown = ask(&store, &state, &Routing::default(), Some(&id("p:broken")));
    assert_eq!(unknown.ids, order.ids);
}

#[test]
fn the_base_of_an_order() {
    let entries = [
        entry("a", false, Some(5), None),
        entry("b", true, Some(9), None),
        entry("c", false, None, None),
    ];
    let (store, mut state) = world(&entries);
    let configured = |names: &[&str]| -> Vec<_> {
        let configured = Configured {
            provider: "p".to_owned(),
            mode: None,
            email: None,
        };
        names
            .iter()
            .map(|name| (id(name), configured.clone()))
            .collect()
    };
    let mut routing = Routing {
        profiles: configured(&["p:c", "p:a"]),
        ..Routing::default()
    };
    let order = ask(&store, &state, &routing, None);
    assert_eq!(
        (names(&order), order.basis),
        (vec!["c", "a"], Basis::Configured)
    );
    assert!(order.rotates(&id("p:c"), &store) && !order.rotates(&id("p:b"), &store));
    // An explicit order is kept, whatever the types and uses are.
    routing.order.insert(
        "p".to_owned(),
        vec![id("p:a"), id("p:b"), id("p:a"), id("p:gone")],
    );
    let order = ask(&store, &state, &routing, None);
    assert_eq!(
        (names(&order), order.basis),
        (vec!["a", "b"], Basis::Config)
    );
    assert_eq!(order.skipped, [(id("p:gone"), Reason::ProfileMissing)]);
    state.set_order("p", &[id("p:c"), id("p:a")]).unwrap();
    let order = ask(&store, &state, &routing, None);
    assert_eq!(
        (names(&order), order.basis),
        (vec!["c", "a"], Basis::Stored)
    );
    // Whoever chose an order wants no other profile, also of the same type, to take its turn.
    assert!(!order.rotates(&id("p:c"), &store));
    // A stored order of which nothing is left falls back to what is there.
    state.set_order("p", &[id("p:gone")]).unwrap();
    let order = ask(&store, &state, &routing, None);
    assert_eq!(
        (names(&order), order.basis),
        (vec!["b", "c", "a"], Basis::Discovered)
    );
    // A configured order alone does not.
    state.set_order("p", &[]).unwrap();
    let gone = vec![id("p:gone")];
    let alone = Routing {
        profiles: Vec::new(),
        order: [("p".to_owned(), gone)].into(),
    };
    let order = ask(&store, &state, &alone, None);
    assert_eq!((names(&order), order.basis), (Vec::new(), Basis::Config));
}

#[test]
fn pins() {
    assert_eq!(
        split_pin("Opus@anthropic:work"),
        ("Opus", Some(id("anthropic:work")))
    );
    let (model, pinned) = split_pin("gpt@openai-codex:me@example.com");
    assert_eq!(
        (model, pinned),
        ("gpt", Some(id("openai-codex:me@example.com")))
    );
    assert_eq!(split_pin("@cf/meta/llama"), ("@cf/meta/llama", None));
    assert_eq!(split_pin("@openai:work"), ("@openai:work", None));
    assert_eq!(split_pin("model@2026"), ("model@2026", None));
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let fields = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::option::of(0..4_u64),
        prop::option::of(prop_oneof![500..1000_u64, 1001..1004_u64]),
    );
    prop::collection::vec(fields, 0..8).prop_map(|rows| {
        let entry = |(i, (token, broken, last_used, cooldown))| Entry {
            name: format!("n{i}"),
            token,
            broken,
            last_used,
            cooldown,
        };
        rows.into_iter().enumerate().map(entry).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_the_file_does_not_matter(entries in any_entries().prop_flat_map(|entries| {
        (Just(entries.clone()), Just(entries).prop_shuffle())
    })) {
        let (store, state) = world(&entries.0);
        let (other_store, other_state) = world(&entries.1);
        let routing = Routing::default();
        let order = ask(&store, &state, &routing, None);
        prop_assert_eq!(&order, &ask(&other_store, &other_state, &routing, None));
        prop_assert_eq!(order.ids.len() + order.skipped.len(), entries.0.len());
    }

    #[test]
    fn only_eligible_ones_and_the_cooling_last(
        entries in any_entries(),
        explicit in prop::option::of(prop::collection::vec(0..9_usize, 0..9)),
    ) {
        let (store, mut state) = world(&entries);
        if let Some(list) = &explicit {
            let ids: Vec<_> = list.iter().map(|i| id(&format!("p:n{i}"))).collect();
            state.set_order("p", &ids).unwrap();
        }
        let routing = Routing::default();
        let order = ask(&store, &state, &routing, None);
        for id in &order.ids {
            prop_assert!(eligibility(id, "p", &store, &routing, UnixMs(1000)).is_ok());
            prop_assert_eq!(order.ids.iter().filter(|other| *other == id).count(), 1);
        }
        let ready = order.ids.len() - order.cooling.len();
        let (ready, cooling) = order.ids.split_at(ready);
        let end = |id: &ProfileId| state.usage(id).unwrap().cooldown_until;
        let ends: Vec<_> = cooling.iter().map(end).collect();
        prop_assert!(ends.is_sorted() && ends.iter().all(|end| *end > Some(UnixMs(1000))));
        let usages: Vec<_> = ready.iter().map(|id| {
            let profile_type = store.get(id).unwrap().kind.profile_type();
            (profile_type, state.usage(id).and_then(|usage| usage.last_used))
        }).collect();
        if order.basis == Basis::Stored {
            let list = explicit.unwrap();
            let place = |id: &ProfileId| list.iter().position(|i| format!("n{i}") == id.name());
            prop_assert!(ready.is_sorted_by_key(place));
        } else {
            prop_assert!(usages.is_sorted(), "{:?}", usages);
        }
    }

    #[test]
    fn using_the_first_makes_it_the_last_of_its_type(entries in any_entries()) {
        let entries: Vec<_> = entries.into_iter().map(|e| Entry { cooldown: None, ..e }).collect();
        let (store, mut state) = world(&entries);
        let routing = Routing::default();
        let before = ask(&store, &state, &routing, None).ids;
        if let Some(first) = before.first() {
            state.record_success("p", first, UnixMs(999)).unwrap();
            let after = ask(&store, &state, &routing, None).ids;
            let kind = |id: &ProfileId| store.get(id).unwrap().kind.profile_type();
            let same: Vec<_> = after.iter().filter(|id| kind(id) == kind(first)).collect();
            prop_assert_eq!(same.last(), Some(&first));
        }
    }

    #[test]
    fn an_order_is_a_permutation_of_the_eligible(
        entries in any_entries(),
        explicit in prop::option::of(prop::collection::vec(0..9_usize, 1..9)),
        pinned in prop::option::of(0..9_usize),
    ) {
        let (store, mut state) = world(&entries);
        let routing = Routing::default();
        let all: Vec<_> = entries.iter().map(|entry| id(&format!("p:{}", entry.name))).collect();
        let mut listed = all.clone();
        if let Some(list) = &explicit {
            let ids: Vec<_> = list.iter().map(|i| id(&format!("p:n{i}"))).collect();
            state.set_order("p", &ids).unwrap();
            let known: Vec<_> = all.iter().filter(|id| ids.contains(id)).cloned().collect();
            // Of a list of strangers nothing is left, so that everything counts.
            listed = if known.is_empty() { all } else { known };
        }
        let pin = pinned.map(|i| id(&format!("p:n{i}")));
        let order = ask(&store, &state, &routing, pin.as_ref());
        let eligible = |id: &ProfileId| {
            eligibility(id, "p", &store, &routing, UnixMs(1000)).is_ok()
        };
        listed.retain(eligible);
        let mut sorted = order.ids.clone();
        sorted.sort();
        listed.sort();
        prop_assert_eq!(&sorted, &listed);
        // A pin wins, whether it has to cool down or not, and moves nothing else.
        let plain = ask(&store, &state, &routing, None);
        if let Some(pin) = pin.filter(|pin| listed.contains(pin)) {
            prop_assert_eq!(order.ids.first(), Some(&pin));
            let rest = |order: &Order| {
                let others = order.ids.iter().filter(|id| **id != pin);
                others.cloned().collect::<Vec<_>>()
            };
            prop_assert_eq!(rest(&order), rest(&plain));
        } else {
            prop_assert_eq!(order.ids, plain.ids);
        }
    }

    #[test]
    fn round_robin_visits_everyone_of_the_first_type(entries in any_entries(), rounds in 1..4_u64) {
        let entries: Vec<_> = entries.into_iter().map(|e| Entry { cooldown: None, ..e }).collect();
        let (store, mut state) = world(&entries);
        let routing = Routing::default();
        let kind = |id: &ProfileId| store.get(id).unwrap().kind.profile_type();
        let first = ask(&store, &state, &routing, None);
        let mut peers = first.ids.clone();
        peers.retain(|peer| kind(peer) == kind(&first.ids[0]));
        for peer in &peers {
            prop_assert_eq!(first.rotates(peer, &store), peers.len() > 1);
        }
        for round in 0..rounds {
            let mut visited = Vec::new();
            for turn in 0..peers.len() as u64 {
                let order = ask(&store, &state, &routing, None);
                visited.push(order.ids[0].clone());
                let now = UnixMs(100 + round * 100 + turn);
                state.record_use(&order.ids[0], now).unwrap();
            }
            visited.sort();
            let mut expected = peers.clone();
            expected.sort();
            prop_assert_eq!(visited, expected);
        }
    }
}
