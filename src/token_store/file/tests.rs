use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Barrier, Mutex};

struct World {
    home: tempfile::TempDir,
    warnings: Arc<Mutex<Vec<Warning>>>,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let warnings = Arc::default();
        Self { home, warnings }
    }

    fn store(&self) -> File {
        let warnings = Arc::clone(&self.warnings);
        File::of_agentos(self.home.path())
            .warning_to(move |warning| warnings.lock().unwrap().push(warning.clone()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// What the warnings since the last call say.
    fn warned(&self) -> Vec<String> {
        let taken = std::mem::take(&mut *self.warnings.lock().unwrap());
        taken.into_iter().map(|warning| warning.why).collect()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let no_lock = |name: &String| !name.ends_with(".lock");
        let mut names: Vec<String> = entries.map(name).filter(no_lock).collect();
        names.sort();
        names
    }
}

fn tokens(access: &str) -> TokenSet {
    TokenSet {
        access: SecretValue::copy_of(access.as_bytes()).into(),
        refresh: None,
        id_token: None,
        obtained_at: UnixMs(1),
        expires_at: Some(UnixMs(2)),
        metadata: BTreeMap::new(),
    }
}

fn agentos(access: &str) -> String {
    format!(r#"{{"accessToken":"{access}","expiresAt":1700000000000}}"#)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn what_is_saved_is_loaded_until_it_is_cleared() {
    let world = World::new();
    let store = world.store();
    assert_eq!(store.load("openai"), Ok(None));
    assert_eq!(store.clear("openai"), Ok(false));
    store.save("openai", &tokens("one")).unwrap();
    store.save("openai", &tokens("two")).unwrap();
    assert_eq!(world.store().load("openai"), Ok(Some(tokens("two"))));
    assert_eq!(world.names(".wunderland/auth"), ["openai.json"]);
    assert_eq!(mode(&world.path(".wunderland/auth")), 0o700);
    assert_eq!(mode(&world.path(".wunderland/auth/openai.json")), 0o600);
    assert_eq!(store.clear("openai"), Ok(true));
    assert_eq!(store.load("openai"), Ok(None));
    assert_eq!(world.warned(), [""; 0]);
}

#[test]
fn both_folders_of_agentos_are_read_and_an_entry_stays_where_it_is() {
    let world = World::new();
    let second = world.put(".agentos/auth/x.json", &agentos("documented"));
    let store = world.store();
    let access = |id: &str| store.load(id).unwrap().unwrap().access;
    assert_eq!(access("x"), tokens("documented").access);
    fs::set_permissions(&second, fs::Permissions::from_mode(0o644)).unwrap();
    store.save("x", &tokens("renewed")).unwrap();
    assert_eq!(mode(&second), 0o600);
    assert!(!world.path(".wunderland").exists());
    // What the code of AgentOS would read counts more than what its documentation says.
    world.put(".wunderland/auth/x.json", &agentos("real"));
    assert_eq!(access("x"), tokens("real").access);
    assert_eq!(store.clear("x"), Ok(true));
    assert_eq!(store.load("x"), Ok(None));
}

#[test]
fn ids_with_one_file_name_keep_their_tokens_apart() {
    let world = World::new();
    let store = world.store();
    for id in ["a.b", "a_b", "a/b"] {
        store.save(id, &tokens(id)).unwrap();
    }
    for id in ["a.b", "a_b", "a/b"] {
        store.save(id, &store.load(id).unwrap().unwrap()).unwrap();
        assert_eq!(store.load(id), Ok(Some(tokens(id))), "{id}");
    }
    assert_eq!(world.names(".wunderland/auth").len(), 3);
    // Gone is only what was cleared, also when the name that all three want is free again.
    assert_eq!(store.clear("a.b"), Ok(true));
    assert_eq!(store.load("a.b"), Ok(None));
    assert_eq!(store.load("a_b"), Ok(Some(tokens("a_b"))));
    assert_eq!(store.load("a/b"), Ok(Some(tokens("a/b"))));
}

#[test]
fn ids_that_are_saved_at_once_keep_their_tokens_apart() {
    let world = World::new();
    let ids = ["a.b", "a_b", "a/b", "a:b"];
    let barrier = Barrier::new(ids.len());
    std::thread::scope(|scope| {
        for id in ids {
            let (store, barrier) = (world.store(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..20 {
                    store.save(id, &tokens(&format!("{id} {round}"))).unwrap();
                }
            });
        }
    });
    for id in ids {
        assert_eq!(
            world.store().load(id),
            Ok(Some(tokens(&format!("{id} 19"))))
        );
    }
    assert_eq!(world.names(".wunderland/auth").len(), ids.len());
}

#[test]
fn broken_and_foreign_files_are_none_with_a_warning_and_stay() {
    let world = World::new();
    let store = world.store();
    let mut cases = vec![
        (String::new(), "is no token file: it is not a JSON object"),
        (
            "{\"accessToken\":".to_owned(),
            "is no token file: it is not a JSON object",
        ),
        (
            "{\"name\":\"x\"}".to_owned(),
            "is no token file: its accessToken is missing or can't be a token",
        ),
        (
            " ".repeat(MAX_TOKEN_FILE + 1),
            "is larger than 524288 bytes",
        ),
    ];
    cases.push((
        r#"{"accessToken":"a","expiresAt":1,"providerId":"other"}"#.to_owned(),
        "holds the tokens of another provider",
    ));
    for (content, why) in cases {
        let path = world.put(".wunderland/auth/x.json", &content);
        assert_eq!(store.load("x"), Ok(None), "{why}");
        assert_eq!(world.warned(), [why]);
        store.save("x", &tokens("new")).unwrap();
        assert_eq!(store.load("x"), Ok(Some(tokens("new"))), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(store.clear("x"), Ok(true));
        assert!(path.exists(), "{why}");
        world.warned();
    }
}

#[test]
fn what_a_killed_save_left_is_cleared_by_the_next() {
    let world = World::new();
    let store = world.store();
    store.save("x", &tokens("t")).unwrap();
    world.put(".wunderland/auth/x.json.tmp-0123456789abcdef", "half a tok");
    store.save("x", &tokens("t")).unwrap();
    assert_eq!(world.names(".wunderland/auth"), ["x.json"]);
}

#[test]
fn what_is_no_file_is_passed_over_without_waiting_for_it() {
    let world = World::new();
    let store = world.store();
    let path = world.put(".wunderland/auth/keep", "");
    let path = path.with_file_name("x.json");
    fs::create_dir(&path).unwrap();
    assert_eq!(store.load("x"), Ok(None));
    fs::remove_dir(&path).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
    assert_eq!(store.load("x"), Ok(None));
    assert_eq!(world.warned(), ["is not a regular file"; 2]);
}

#[test]
fn a_folder_that_anybody_can_write_is_refused() {
    let world = World::new();
    let path = world.put(".wunderland/auth/x.json", &agentos("planted"));
    let folder = path.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let store = world.store();
    assert_eq!(store.load("x").unwrap_err().code, Code::FilePermission);
    let refused = store.save("x", &tokens("t")).unwrap_err();
    assert_eq!(refused.code, Code::FilePermission);
}

#[test]
fn provider_ids_have_a_limit_and_lead_nowhere_else() {
    let world = World::new();
    let store = world.store();
    let longest = "é".repeat(MAX_PROVIDER_ID / 2);
    for id in ["../../x", "/etc/passwd", "\0", longest.as_str()] {
        store.save(id, &tokens("t")).unwrap();
        assert_eq!(store.load(id), Ok(Some(tokens("t"))));
    }
    assert_eq!(world.names(".").len(), 1);
    for id in ["", &"x".repeat(MAX_PROVIDER_ID + 1)] {
        assert_eq!(store.load(id).unwrap_err().code, Code::NameInvalid);
    }
    let refused = store.save("x", &tokens("a\r\nb")).unwrap_err();
    assert_eq!(refused.code, Code::InputInvalid);
}

#[test]
fn one_refreshes_at_a_time() {
    let world = World::new();
    let store = world.store();
    store.save("x", &tokens("0")).unwrap();
    let count = 8;
    std::thread::scope(|scope| {
        for _ in 0..count {
            let store = world.store();
            scope.spawn(move || {
                let _guard = store.refresh_guard("x").unwrap();
                let held = store.load("x").unwrap().unwrap();
                let text = std::str::from_utf8(held.access.secret().expose())
                    .unwrap()
                    .to_owned();
                let next = text.parse::<u32>().unwrap() + 1;
                store.save("x", &tokens(&next.to_string())).unwrap();
            });
        }
    });
    assert_eq!(store.load("x"), Ok(Some(tokens(&count.to_string()))));
}
