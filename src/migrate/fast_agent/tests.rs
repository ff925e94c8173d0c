//! Which entries go, on a real vault. The whole way is in `tests/mcp/moving.rs`.

use super::*;
use crate::apply::{self, Program, Site};
use crate::family::Folder;
use crate::migrate::{Migration, Wish, draft};
use crate::oauth::{ClientOf, Grant};
use crate::runtime::fixture::new_vault;
use crate::runtime::local::Local;
use crate::store::StateDir;
use crate::time::UnixMs;

struct World {
    folder: tempfile::TempDir,
    state: StateDir,
    service: Local,
}

impl World {
    fn new() -> Self {
        let (folder, state, vault) = new_vault();
        let service = Local::new(state.clone(), state.config(), vault);
        Self {
            folder,
            state,
            service,
        }
    }

    /// Drafts a move of these entries of one server: index name, access and refresh token.
    fn draft(&mut self, entries: &[(&str, &str, Option<&str>)]) -> Migration {
        let mut logins = Logins::default();
        for (id, access, refresh) in entries {
            let account = account(access, *refresh);
            let entry = Entry {
                layout: Layout::Mcp,
                id: (*id).to_owned(),
                access: account.access.clone(),
            };
            logins.add_server(entry, "mcp/https/a.example".parse().unwrap(), account);
        }
        let site = Site::foreign_at(Folder::absent(&self.folder.path().join("none")));
        let program = Program {
            path: std::env::current_exe().unwrap(),
            state_dir: self.state.root().to_path_buf(),
        };
        let wish = Wish {
            from: &site,
            own: &self.state,
            config: &Config::default(),
            program: &program,
            prefix: None,
            logins: &logins,
        };
        draft(&wish, &mut self.service).unwrap()
    }

    fn store(&mut self, migration: &Migration) {
        let changes = &migration.draft.changes;
        apply::run(&mut self.service, changes, &|| Ok(()), &mut |_| {}).unwrap();
    }
}

fn account(access: &str, refresh: Option<&str>) -> Account {
    let secret = |text: &str| SecretValue::copy_of(text.as_bytes());
    let token = "https://a.example/token".parse().unwrap();
    let grant = Grant {
        access: secret(access).into(),
        refresh: refresh.map(|refresh| secret(refresh).into()),
        id_token: None,
        token_type: "Bearer".to_owned(),
        expires_in: None,
        scope: None,
    };
    Account::new(ClientOf::public("mcp", token, "c"), grant, None, UnixMs(1))
}

/// The index names of the entries that go, and how many stay.
fn outcome(migration: &Migration) -> (Vec<&str>, usize) {
    let go = migration
        .entries
        .iter()
        .map(|moving| moving.entry.id.as_str());
    (go.collect(), migration.left.len())
}

#[test]
fn an_entry_goes_only_if_the_vault_has_just_its_tokens() {
    let mut world = World::new();
    let first = world.draft(&[("a", "one", None)]);
    assert_eq!(outcome(&first), (vec!["a"], 0));
    assert_eq!(first.draft.changes.records.len(), 1);
    world.store(&first);
    // What is in the vault goes, also if it came back; another sign-in does not.
    let same = world.draft(&[("a", "one", None)]);
    assert_eq!(outcome(&same), (vec!["a"], 0));
    assert!(same.draft.changes.is_empty());
    let newer = world.draft(&[("a", "two", None)]);
    assert_eq!(outcome(&newer), (vec![], 1));
    assert!(newer.left[0].why.contains("already, with other tokens"));
}

#[test]
fn of_two_entries_with_other_tokens_one_moves() {
    for refresh in [None, Some("r1")] {
        let mut world = World::new();
        let entries = [
            ("a", "one", refresh),
            ("b", "two", refresh.map(|_| "r2")),
            ("c", "one", refresh),
        ];
        let both = world.draft(&entries);
        assert_eq!(outcome(&both), (vec!["a", "c"], 1));
        assert!(both.left[0].place.ends_with("/oauth:tokens:b"));
        assert_eq!(both.draft.changes.records.len(), 1);
        world.store(&both);
        assert_eq!(outcome(&world.draft(&entries)), (vec!["a", "c"], 1));
    }
}

#[test]
fn what_the_vault_renewed_is_known_by_its_refresh_token() {
    let mut world = World::new();
    let first = world.draft(&[("a", "one", Some("r1"))]);
    world.store(&first);
    // The entry came back with other access tokens of the same refresh token.
    let again = world.draft(&[("a", "two", Some("r1"))]);
    assert_eq!(outcome(&again), (vec!["a"], 0));
    let other = world.draft(&[("a", "one", Some("r2"))]);
    assert_eq!(outcome(&other), (vec![], 1));
}
