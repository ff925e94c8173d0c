//! A plugin of its own kind (a shell script) on the other side of the protocol.

use super::*;
use crate::sys::tty::PromptError;
use crate::unlock::age::{
    AgeError, Identity, Recipient, decrypt_talking, encrypt_talking, parse_identities,
    parse_recipient,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

const RECIPIENT: &str = "age1foobar1wfjkx6tsd9jkuaqpag8g7";
const IDENTITY: &str = "AGE-PLUGIN-FOOBAR-1QVHULF";

/// Wraps the file key by swapping letters, and gives it back for the PIN 1234. It leaves its
/// environment beside itself.
const SCRIPT: &str = r#"#!/bin/sh
env >"$(dirname "$0")/environment"
swap() { printf %s "$1" | tr 'A-Za-z0-9+/' 'N-ZA-Mn-za-m5-90-4/+'; }
ask() { printf -- "$1"; read -r answer; read -r body; }
while read -r line; do
    case $line in
        '-> done') read -r line; break ;;
        '-> recipient-stanza 0 fake '*) wrapped=${line##* } ;;
        '-> wrap-file-key') read -r key ;;
    esac
done
case $1 in
    --age-plugin=recipient-v1)
        ask '-> grease-not-known\n\n'
        [ "$answer" = '-> unsupported' ] || exit 1
        ask "-> recipient-stanza 0 fake $(swap "$key")\n\n"
        ;;
    --age-plugin=identity-v1)
        if [ -n "$wrapped" ]; then
            ask '-> msg\nG1syShtbSGVsbG8\n'
            ask '-> request-secret\nUElO\n'
            if [ "$body" = MTIzNA ]; then
                ask '-> confirm eWVz bm8\nU3VyZT8\n'
                [ "$answer" = '-> ok yes' ] || exit 1
                ask "-> file-key 0\n$(swap "$wrapped")\n"
            else
                ask '-> error internal\nV3JvbmcgUElO\n'
            fi
        fi
        ;;
esac
printf -- '-> done\n\n'
"#;

struct World {
    folder: TempDir,
    plugin: PathBuf,
}

impl World {
    fn with(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("age-plugin-foobar");
        // Copied by another process: a file that a fork of ours holds open for writing for a
        // moment can't be run.
        let source = folder.path().join("source");
        fs::write(&source, script).unwrap();
        let mut install = Command::new("install");
        install.arg("-m755").arg(&source).arg(&plugin);
        assert!(install.status().unwrap().success());
        Self { folder, plugin }
    }

    fn allow(&self) -> Vec<PathBuf> {
        vec![self.plugin.clone()]
    }

    fn was_run(&self) -> bool {
        self.folder.path().join("environment").exists()
    }
}

#[derive(Default)]
struct Scripted {
    pin: &'static str,
    shown: Vec<String>,
}

impl Talk for Scripted {
    fn message(&mut self, text: &str) {
        self.shown.push(text.to_owned());
    }

    fn secret(&mut self, prompt: &str) -> Result<SecretValue, PromptError> {
        self.shown.push(prompt.to_owned());
        Ok(SecretValue::copy_of(self.pin.as_bytes()))
    }

    fn line(&mut self, _: &str) -> Result<String, PromptError> {
        Err(PromptError::NoTerminal)
    }

    fn decide(&mut self, message: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError> {
        self.shown.push(format!("{message} {yes} {no:?}"));
        Ok(true)
    }
}

fn recipient() -> Recipient {
    parse_recipient(RECIPIENT).unwrap()
}

fn identity() -> Vec<Identity> {
    parse_identities(&SecretValue::copy_of(IDENTITY.as_bytes()), "test").unwrap()
}

fn encrypt(world: &World) -> Result<Vec<u8>, AgeError> {
    let payload = SecretValue::copy_of(b"payload");
    encrypt_talking(
        &[recipient()],
        &payload,
        &world.allow(),
        &mut Scripted::default(),
    )
}

fn fault(result: Result<impl std::fmt::Debug, AgeError>) -> PluginError {
    match result {
        Err(AgeError::Plugin(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_wraps_and_unwraps_and_talks() {
    let world = World::with(SCRIPT);
    let file = encrypt(&world).unwrap();
    let mut talk = Scripted {
        pin: "1234",
        ..Scripted::default()
    };
    let opened = decrypt_talking(&file, &identity(), &world.allow(), 100, &mut talk).unwrap();
    assert_eq!(opened.expose(), b"payload");
    assert_eq!(
        talk.shown,
        [
            "age-plugin-foobar: ?[2J?[Hello",
            "age-plugin-foobar: PIN",
            "age-plugin-foobar: Sure? yes Some(\"no\")"
        ]
    );
    let environment = fs::read_to_string(world.folder.path().join("environment")).unwrap();
    assert!(!environment.contains("CARGO"), "{environment}");
}

#[test]
fn a_plugin_that_reports_an_error_is_named_and_its_text_shown() {
    let world = World::with(SCRIPT);
    let file = encrypt(&world).unwrap();
    let mut talk = Scripted {
        pin: "0000",
        ..Scripted::default()
    };
    let result = decrypt_talking(&file, &identity(), &world.allow(), 100, &mut talk);
    assert!(matches!(fault(result), PluginError::Reported(_)));
    assert_eq!(talk.shown.last().unwrap(), "age-plugin-foobar: Wrong PIN");
}

#[test]
fn a_file_for_others_is_no_match() {
    let world = World::with(SCRIPT);
    let other = ::age::x25519::Identity::generate().to_public().to_string();
    let other = parse_recipient(&other).unwrap();
    let payload = SecretValue::copy_of(b"payload");
    let file = encrypt_talking(&[other], &payload, &[], &mut Scripted::default()).unwrap();
    let mut talk = Scripted::default();
    let result = decrypt_talking(&file, &identity(), &world.allow(), 100, &mut talk);
    assert!(matches!(result, Err(AgeError::NoMatch)));
}

#[test]
fn a_plugin_that_is_not_on_the_list_is_not_run() {
    let world = World::with(SCRIPT);
    let elsewhere = vec![world.folder.path().join("age-plugin-other")];
    for allow in [&[][..], &elsewhere] {
        let payload = SecretValue::copy_of(b"payload");
        let result = encrypt_talking(&[recipient()], &payload, allow, &mut Scripted::default());
        assert!(matches!(fault(result), PluginError::NotAllowed(name) if name == "foobar"));
    }
    assert!(!world.was_run());
}

const ROLE: &str = "RESEAL_TEST_PLUGIN_IN_PATH";

/// What the child of the next test does, with the plugin in its `PATH`.
#[test]
fn child_with_a_plugin_in_its_path() {
    if std::env::var_os(ROLE).is_some() {
        let payload = SecretValue::copy_of(b"payload");
        let result = encrypt_talking(&[recipient()], &payload, &[], &mut Scripted::default());
        assert!(matches!(fault(result), PluginError::NotAllowed(_)));
        println!("\nREFUSED");
    }
}

#[test]
fn a_plugin_in_the_path_is_not_run() {
    let world = World::with(SCRIPT);
    let path = format!("{}:/usr/bin:/bin", world.folder.path().display());
    let found = Command::new("sh")
        .args(["-c", "command -v age-plugin-foobar"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert!(found.status.success(), "the plugin is in that PATH");
    let name = "unlock::age::plugin::tests::child_with_a_plugin_in_its_path";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("PATH", &path)
        .env(ROLE, "1")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("REFUSED"),
        "{output:?}"
    );
    assert!(!world.was_run());
}

#[test]
fn an_unsafe_plugin_is_not_run() {
    let world = World::with(SCRIPT);
    let folder = world.folder.path();
    let file_mode =
        |mode| fs::set_permissions(&world.plugin, Permissions::from_mode(mode)).unwrap();
    let folder_mode = |mode| fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    let refused = |allow: &Path, expected: &str| match locate("foobar", &[allow.to_owned()]) {
        Err(PluginError::Unsafe { why, .. }) => assert!(why.contains(expected), "{why}"),
        other => panic!("{other:?}"),
    };
    for mode in [0o775, 0o757] {
        file_mode(mode);
        refused(&world.plugin, "others may write to it");
    }
    file_mode(0o644);
    refused(&world.plugin, "not executable");
    file_mode(0o755);
    folder_mode(0o777);
    refused(&world.plugin, "a folder");
    folder_mode(0o700);
    let links = folder.join("links");
    fs::create_dir(&links).unwrap();
    symlink(&world.plugin, links.join("age-plugin-foobar")).unwrap();
    refused(&links.join("age-plugin-foobar"), "symlink");
    fs::create_dir(folder.join("age-plugin-foobar.d")).unwrap();
    refused(Path::new("age-plugin-foobar"), "not absolute");
    refused(&folder.join("links/../age-plugin-foobar"), "not absolute");
    let directory = folder.join("other/age-plugin-foobar");
    fs::create_dir_all(&directory).unwrap();
    refused(&directory, "not a regular file");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&world.plugin, Some(65_534), None).unwrap();
        refused(&world.plugin, "another user");
    }
    assert!(matches!(
        locate("foobar", &[folder.join("absent/age-plugin-foobar")]),
        Err(PluginError::Io { .. })
    ));
}

#[test]
fn a_plugin_that_breaks_the_protocol_is_stopped() {
    for (body, why) in [
        ("exit 0", "ended too early"),
        (
            "read -r l; printf 'nonsense\\n\\n'; cat >/dev/null",
            "malformed command",
        ),
        (
            "printf -- '-> msg\\n!!!!\\n'; cat >/dev/null",
            "malformed body",
        ),
        (
            "printf -- '-> done\\n\\n'; cat >/dev/null",
            "wrapped nothing",
        ),
        (
            "printf -- '-> recipient-stanza 1 x\\n\\n'; cat >/dev/null",
            "malformed command",
        ),
        (
            "printf -- '-> labels a a\\n\\n'; cat >/dev/null",
            "malformed command",
        ),
        (
            "printf -- '-> confirm\\n\\n'; cat >/dev/null",
            "malformed question",
        ),
        (
            "head -c 20000 /dev/zero | tr '\\0' x; cat >/dev/null",
            "line of more than 16 KiB",
        ),
        (
            "echo '-> msg'; yes QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB",
            "64 KiB",
        ),
        ("yes -- '-> msg\n'", "256 commands"),
    ] {
        let world = World::with(&format!("#!/bin/sh\n{body}\n"));
        match fault(encrypt(&world)) {
            PluginError::Broke { why: found, .. } => assert!(found.contains(why), "{found} {why}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn a_plugin_that_does_not_answer_is_killed() {
    let world = World::with("#!/bin/sh\nexec cat\n");
    let limit = Duration::from_millis(300);
    let mut conversation = Conversation::start_within(&world.plugin, "identity-v1", limit).unwrap();
    let pid = conversation.link.pid();
    let error = conversation
        .listen(&mut Scripted::default(), |_| Heard::Unknown)
        .unwrap_err();
    assert!(matches!(error, PluginError::Late { .. }), "{error:?}");
    drop(conversation);
    // Reaped, so that its number is free again.
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
