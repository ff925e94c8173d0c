use super::super::fast_agent::CODEX;
use super::*;
use crate::keyring::fixture::{Desk, With};
use crate::time::UnixMs;
use std::sync::{Arc, Mutex};

struct World {
    desk: Desk,
    locks: tempfile::TempDir,
    warnings: Arc<Mutex<Vec<Warning>>>,
}

impl World {
    fn new() -> Self {
        Self {
            desk: Desk::new(With::Unlocked),
            locks: tempfile::tempdir().unwrap(),
            warnings: Arc::default(),
        }
    }

    fn store(&self, layout: Layout) -> Keyring {
        let warnings = Arc::clone(&self.warnings);
        Keyring::new(self.desk.keyring(), layout, self.locks.path())
            .warning_to(move |warning| warnings.lock().unwrap().push(warning.clone()))
    }

    fn warned(&self) -> Vec<String> {
        let taken = std::mem::take(&mut *self.warnings.lock().unwrap());
        taken.into_iter().map(|warning| warning.why).collect()
    }

    /// Python's `keyring` on the same entries: `get`, `set` and `del`, and what it has printed.
    fn python(&self, script: &str) -> String {
        let prelude = "import keyring, json\n\
             from keyring.backends import SecretService\n\
             keyring.set_keyring(SecretService.Keyring())\n\
             get, put, rm = keyring.get_password, keyring.set_password, keyring.delete_password\n";
        let output = self
            .desk
            .command("/usr/bin/python3")
            .arg("-c")
            .arg(format!("{prelude}{script}"))
            .output()
            .expect("python3 is installed (tests/run installs it)");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text.trim_end().to_owned()
    }

    /// What `secret-tool` shows of the entries of a service, sorted.
    fn shown(&self, service: &str) -> Vec<String> {
        let found = self
            .desk
            .command("secret-tool")
            .args(["search", "--all", "service", service])
            .output()
            .unwrap();
        let text = String::from_utf8([found.stdout, found.stderr].concat()).unwrap();
        let kept = ["label", "attribute."];
        let lines = text
            .lines()
            .filter(|line| kept.iter().any(|start| line.starts_with(start)));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn tokens(access: &str) -> TokenSet {
    TokenSet {
        access: secret(access).into(),
        refresh: Some(secret("rt").into()),
        id_token: None,
        obtained_at: UnixMs(0),
        expires_at: Some(UnixMs(4_000_000_000_000)),
        metadata: [("scope".to_owned(), "mcp:read".to_owned())].into(),
    }
}

fn access(store: &Keyring, id: &str) -> Option<String> {
    let tokens = store.load(id).unwrap()?;
    Some(String::from_utf8(tokens.access.secret().expose().to_vec()).unwrap())
}

const SERVER: &str = "https://h/mcp";

#[test]
fn what_python_wrote_is_read_and_changed_in_place() {
    let world = World::new();
    world.python(
        "put('fast-agent-mcp', 'oauth:tokens:https://h', json.dumps({'access_token': 'theirs', \
         'token_type': 'Bearer', 'expires_in': 30, 'scope': None, 'refresh_token': 'r'}))\n\
         put('fast-agent-mcp', 'oauth:index', json.dumps(['https://h']))",
    );
    let before = world.shown("fast-agent-mcp");
    let store = world.store(Layout::Mcp);
    let found = store.load(SERVER).unwrap().unwrap();
    let left = clock::now().until(found.expires_at.unwrap()).as_secs();
    assert!((1..=30).contains(&left), "{left}");
    assert_eq!(access(&store, SERVER).as_deref(), Some("theirs"));
    store.save(SERVER, &tokens("ours")).unwrap();
    let theirs = world.python(
        "t = json.loads(get('fast-agent-mcp', 'oauth:tokens:https://h'))\n\
         print(t['access_token'], t['refresh_token'], t['scope'], t['expires_in'] > 0)",
    );
    assert_eq!(theirs, "ours rt mcp:read True");
    // Not one entry more, and none looks different.
    assert_eq!(world.shown("fast-agent-mcp"), before);
    assert_eq!(store.clear(SERVER), Ok(true));
    let gone = "S = 'fast-agent-mcp'\n\
         print(get(S, 'oauth:tokens:https://h'), get(S, 'oauth:index'))";
    assert_eq!(world.python(gone), "None []");
    assert_eq!(store.clear(SERVER), Ok(false));
}

#[test]
fn entries_that_are_made_look_as_python_makes_them() {
    let (ours, theirs) = (World::new(), World::new());
    let store = ours.store(Layout::Mcp);
    store.save(SERVER, &tokens("t")).unwrap();
    store
        .save_client_info(SERVER, &secret(r#"{"client_id":"c"}"#))
        .unwrap();
    ours.store(Layout::Provider)
        .save("codex", &tokens("t"))
        .unwrap();
    theirs.python(
        "put('fast-agent-mcp', 'oauth:tokens:https://h', 't')\n\
         put('fast-agent-mcp', 'oauth:client_info:https://h', 'c')\n\
         put('fast-agent-mcp', 'oauth:index', json.dumps(['https://h']))\n\
         put('fast-agent-provider-auth', 'codex', 't')",
    );
    for service in ["fast-agent-mcp", "fast-agent-provider-auth"] {
        let shown = ours.shown(service);
        assert!(
            shown
                .iter()
                .any(|line| line == "attribute.application = Python keyring library")
        );
        assert_eq!(shown, theirs.shown(service));
    }
    // Python changes ours in place as well, and we read what it wrote.
    let before = ours.shown("fast-agent-provider-auth");
    ours.python(
        "t = json.loads(get('fast-agent-provider-auth', 'codex')); t['access_token'] = 'changed'\n\
         put('fast-agent-provider-auth', 'codex', json.dumps(t))",
    );
    assert_eq!(
        access(&ours.store(Layout::Provider), "codex").as_deref(),
        Some("changed")
    );
    assert_eq!(ours.shown("fast-agent-provider-auth"), before);
    let index = "print(get('fast-agent-mcp', 'oauth:index'))";
    assert_eq!(ours.python(index), theirs.python(index));
    assert_eq!(
        store.client_info(SERVER).unwrap(),
        Some(secret(r#"{"client_id":"c"}"#))
    );
}

#[test]
fn the_older_name_of_a_server_is_read_and_the_newer_written() {
    let world = World::new();
    world.python(
        "put('fast-agent-mcp', 'oauth:tokens:https://H:443', '{\"access_token\":\"old\"}')",
    );
    let store = world.store(Layout::Mcp);
    assert_eq!(access(&store, "https://H:443/mcp").as_deref(), Some("old"));
    store.save("https://H:443/mcp", &tokens("new")).unwrap();
    assert_eq!(access(&store, "https://H:443/mcp").as_deref(), Some("new"));
    assert_eq!(access(&store, "https://h/sse").as_deref(), Some("new"));
    assert_eq!(
        store.list().unwrap().into_iter().collect::<Vec<_>>(),
        ["https://h"]
    );
    assert_eq!(store.clear("https://H:443/mcp"), Ok(true));
    assert_eq!(store.load("https://H:443/mcp"), Ok(None));
}

/// What fast-agent 0.8 does with the entries of Codex.
const CODEX_IN_PYTHON: &str = "S, K = 'fast-agent-codex', 'oauth:tokens:openai-codex'\n\
    def load():\n\
    \x20   whole = get(S, K)\n\
    \x20   if whole: return whole\n\
    \x20   meta = get(S, K + ':meta')\n\
    \x20   if not meta: return None\n\
    \x20   return ''.join(get(S, f'{K}:chunk:{i}') for i in range(json.loads(meta)['parts']))\n";

#[test]
fn long_tokens_of_codex_are_in_pieces_both_ways() {
    let world = World::new();
    let store = world.store(Layout::Codex);
    assert_eq!(store.load(CODEX), Ok(None));
    world.python(&format!(
        "{CODEX_IN_PYTHON}text = json.dumps({{'access_token': 'p' * 1200, 'expires_at': 4e9}})\n\
         parts = [text[i:i + 512] for i in range(0, len(text), 512)]\n\
         for i, part in enumerate(parts): put(S, f'{{K}}:chunk:{{i}}', part)\n\
         put(S, K + ':meta', json.dumps({{'version': 1, 'parts': len(parts), 'size': len(text)}}))",
    ));
    assert_eq!(access(&store, CODEX), Some("p".repeat(1200)));
    let read = format!("{CODEX_IN_PYTHON}print(json.loads(load())['access_token'])");
    let entries = "print(' '.join(sorted(i.get_attributes()['username'].rsplit('codex')[-1] \
         for i in SecretService.Keyring().get_preferred_collection().search_items({'service': \
         'fast-agent-codex'}))))";
    for (len, names) in [
        (1300, ":chunk:0 :chunk:1 :chunk:2 :meta oauth:index"),
        (700, ":chunk:0 :chunk:1 :meta oauth:index"),
        (3, " oauth:index"),
        (1200, ":chunk:0 :chunk:1 :chunk:2 :meta oauth:index"),
    ] {
        let long = "x".repeat(len);
        store.save(CODEX, &tokens(&long)).unwrap();
        assert_eq!(world.python(&read), long);
        assert_eq!(access(&store, CODEX), Some(long));
        assert_eq!(world.python(entries), names, "{len}");
    }
    assert_eq!(store.clear(CODEX), Ok(true));
    assert_eq!(world.python(entries), "oauth:index");
    assert_eq!(world.warned(), [""; 0]);
}

#[test]
fn servers_that_are_saved_at_once_are_all_listed() {
    let world = World::new();
    let servers = ["https://a", "https://b", "https://c", "https://d"];
    std::thread::scope(|scope| {
        for server in servers {
            let store = world.store(Layout::Mcp);
            scope.spawn(move || store.save(server, &tokens("t")).unwrap());
        }
    });
    let listed = world.store(Layout::Mcp).list().unwrap();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), servers);
}

#[test]
fn nobody_reads_half_of_a_long_text() {
    let world = World::new();
    let store = world.store(Layout::Codex);
    store.save(CODEX, &tokens("t")).unwrap();
    let mut other = world.store(Layout::Codex);
    other.patience = Duration::from_millis(20);
    // As while a save goes on.
    let saving = store.turn().unwrap();
    assert_eq!(other.load(CODEX).unwrap_err().code, Code::VaultBusy);
    drop(saving);
    assert_eq!(access(&other, CODEX).as_deref(), Some("t"));
}

#[test]
fn a_long_text_stands_whole_in_one_entry_while_its_pieces_change() {
    let world = World::new();
    let store = world.store(Layout::Codex);
    store.save(CODEX, &tokens(&"a".repeat(1400))).unwrap();
    // As a save leaves it that was killed between its pieces.
    let whole = Layout::Codex
        .write(&tokens(&"b".repeat(1400)), clock::now())
        .unwrap();
    let user = Layout::Codex.user(CODEX);
    store.write(&user, &whole).unwrap();
    store
        .write(&piece_user(&user, 0), &cut(&whole).unwrap()[0])
        .unwrap();
    assert_eq!(access(&store, CODEX), Some("b".repeat(1400)));
    let read = format!("{CODEX_IN_PYTHON}print(json.loads(load())['access_token'])");
    assert_eq!(world.python(&read), "b".repeat(1400));
    store.save(CODEX, &tokens(&"c".repeat(1400))).unwrap();
    assert_eq!(world.python(&read), "c".repeat(1400));
}

#[test]
fn what_is_broken_is_none_with_a_warning() {
    let world = World::new();
    world.python(
        "put('fast-agent-mcp', 'oauth:tokens:https://h', 'no json')\n\
         put('fast-agent-provider-auth', 'xai', '{\"access_token\":7}')\n\
         S, K = 'fast-agent-codex', 'oauth:tokens:openai-codex'\n\
         put(S, K + ':meta', '{\"parts\": 2, \"size\": 4}'); put(S, K + ':chunk:0', 'ab')",
    );
    assert_eq!(world.store(Layout::Mcp).load(SERVER), Ok(None));
    assert_eq!(world.store(Layout::Provider).load("xai"), Ok(None));
    let codex = world.store(Layout::Codex);
    assert_eq!(codex.load(CODEX), Ok(None));
    world.python("put('fast-agent-codex', 'oauth:tokens:openai-codex:chunk:1', 'abc')");
    assert_eq!(codex.load(CODEX), Ok(None));
    world.python("put('fast-agent-codex', 'oauth:tokens:openai-codex:meta', '{\"parts\": 1e9}')");
    assert_eq!(codex.load(CODEX), Ok(None));
    let expected = [
        "holds no tokens",
        "holds no tokens",
        "is missing",
        "has pieces that do not belong together",
        "does not say how many pieces there are",
    ];
    assert_eq!(world.warned(), expected);
    codex.save(CODEX, &tokens("good")).unwrap();
    assert_eq!(access(&codex, CODEX).as_deref(), Some("good"));
}

#[test]
fn a_failed_save_is_an_error_and_a_trial_entry_tells_before() {
    let world = World::new();
    let store = world.store(Layout::Mcp);
    store.check_writable().unwrap();
    store.save(SERVER, &tokens("kept")).unwrap();
    world.desk.lock();
    assert_eq!(store.check_writable(), Err(Fault::Locked));
    let refused = store.save(SERVER, &tokens("lost")).unwrap_err();
    assert_eq!(refused.code, Code::KeyringLocked);
    assert_eq!(store.load(SERVER).unwrap_err().code, Code::KeyringLocked);
    assert_eq!(store.clear(SERVER).unwrap_err().code, Code::KeyringLocked);
    let headless = Desk::new(With::NoCollection);
    let nowhere = Keyring::new(headless.keyring(), Layout::Mcp, world.locks.path());
    assert_eq!(nowhere.check_writable(), Err(Fault::NoCollection));
    let refused = nowhere.save(SERVER, &tokens("t")).unwrap_err();
    assert_eq!(refused.code, Code::KeyringNoCollection);
    let bad = store.save(SERVER, &tokens("a\r\nb")).unwrap_err();
    assert_eq!(bad.code, Code::InputInvalid);
    let _guard = store.refresh_guard(SERVER).unwrap();
}

#[test]
fn a_trial_entry_leaves_nothing_behind() {
    let world = World::new();
    world.store(Layout::Mcp).check_writable().unwrap();
    assert_eq!(world.shown("reseal-keyring-probe"), [""; 0]);
}
