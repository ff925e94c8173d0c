//! Exec providers as processes: what they are given, and that none of them can hold or hurt us,
//! whatever it does.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use reseal::config::{ExecProvider, LiteralEnv, ProviderConfig};
use reseal::error::{Code, Coded};
use reseal::reference::{SecretRef, Source};
use reseal::secret::SecretValue;
use reseal::source::exec::{Cache, ExecError};
use reseal::source::{Context, SourceError, resolve_group};
use reseal::sys::children;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CANARY: &str = "canary-7f3a-value";

/// A folder with a provider script in it.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let mode = Permissions::from_mode(0o755);
        Self(
            tempfile::Builder::new()
                .permissions(mode)
                .tempdir()
                .unwrap(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A provider whose command is this shell script. Another process writes it: the kernel refuses
    /// to run a file that a child of another test may still hold open for writing.
    fn script(&self, body: &str) -> ExecProvider {
        let path = self.path("provider");
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        write!(stdin, "#!/bin/sh\n{body}\n").unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        provider(&path)
    }
}

fn provider(command: &Path) -> ExecProvider {
    ExecProvider {
        command: command.to_owned(),
        args: Vec::new(),
        timeout: Duration::from_secs(60),
        no_output_timeout: Duration::from_secs(60),
        max_output_bytes: 1 << 20,
        json_only: true,
        env: LiteralEnv::default(),
        pass_env: Vec::new(),
        trusted_dirs: Vec::new(),
        allow_symlink_command: false,
        allow_insecure_path: false,
        retries: 0,
        cache_ttl: Duration::ZERO,
    }
}

fn lookup(name: &str) -> Option<OsString> {
    (name == "PASSED").then(|| "from outside".into())
}

fn ask_with(
    provider: &ExecProvider,
    ids: &[&str],
    cache: Option<&Cache>,
) -> Vec<Result<SecretValue, SourceError>> {
    let alias = "vault".parse().unwrap();
    let reference = |id: &&str| SecretRef::new(Source::Exec, "vault".parse().unwrap(), id).unwrap();
    let refs: Vec<SecretRef> = ids.iter().map(reference).collect();
    let ctx = Context {
        cache,
        ..Context::plain(&lookup, None)
    };
    resolve_group(&ProviderConfig::Exec(provider.clone()), &alias, &refs, &ctx)
}

fn ask(provider: &ExecProvider) -> Result<String, ExecError> {
    match ask_with(provider, &["x"], None).remove(0) {
        Ok(value) => Ok(String::from_utf8(value.expose().to_vec()).unwrap()),
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains(CANARY));
            match error {
                SourceError::Exec(error) => Err(error),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn refused(provider: &ExecProvider) -> String {
    ask(provider).unwrap_err().to_string()
}

const GOOD: &str = r#"echo '{"protocolVersion":1,"values":{"x":"value"}}'"#;

#[test]
fn a_command_gets_the_request_its_folder_its_environment_and_nothing_else() {
    let world = World::new();
    let mut provider = world.script(&format!(
        "cat > request; pwd > folder; tr '\\0' '\\n' < /proc/$$/environ > environment
         cut -d' ' -f1,5,6 /proc/$$/stat > ids; echo \"$0 $1\" > arguments; {GOOD}"
    ));
    provider.args = vec!["a b;$(c)".into()];
    provider.env = LiteralEnv(vec![("LITERAL".into(), "a=b\nc".into())]);
    provider.pass_env = vec!["PASSED".into(), "UNSET".into(), "HOME".into()];
    assert_eq!(ask(&provider), Ok("value".into()));
    let request = r#"{"protocolVersion":1,"provider":"vault","ids":["x"]}"#;
    assert_eq!(world.text("request"), request);
    assert_eq!(Path::new(world.text("folder").trim_end()), world.0.path());
    assert_eq!(
        world.text("environment"),
        "PASSED=from outside\nLITERAL=a=b\nc\n"
    );
    let arguments = format!("{} a b;$(c)\n", provider.command.display());
    assert_eq!(world.text("arguments"), arguments);
    let ids = world.text("ids");
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(ids, [ids[0]; 3], "a process group and a session of its own");
}

#[test]
fn no_descriptor_is_inherited() {
    // Unlike those of the standard library, this one does not close by itself.
    let _open = rustix::io::dup(File::open("/dev/null").unwrap()).unwrap();
    let mut provider = provider(Path::new("/usr/bin/ls"));
    provider.args = vec!["/proc/self/fd".into()];
    provider.json_only = false;
    // The last one is the folder that the command lists.
    assert_eq!(ask(&provider), Ok("0\n1\n2\n3".into()));
}

#[test]
fn output_without_end_is_cut_at_the_limit() {
    let mut provider = provider(Path::new("/usr/bin/yes"));
    provider.args = vec![CANARY.into()];
    provider.max_output_bytes = 1000;
    assert_eq!(
        refused(&provider),
        "Exec provider output exceeded maxOutputBytes (1000)."
    );
    provider.max_output_bytes = 20 << 20;
    assert!(refused(&provider).ends_with("exceeded maxOutputBytes (20971520)."));
}

#[test]
fn stdout_and_stderr_count_together() {
    let world = World::new();
    let mut provider = world.script("printf '%0600d' 1 >&2; printf '%0400d' 7");
    provider.json_only = false;
    provider.max_output_bytes = 1000;
    assert_eq!(ask(&provider).unwrap().len(), 400);
    provider.max_output_bytes = 999;
    assert!(matches!(
        ask(&provider),
        Err(ExecError::TooMuchOutput { max: 999 })
    ));
    let flood = world.script(&format!("while :; do echo {CANARY} >&2; done"));
    assert!(matches!(ask(&flood), Err(ExecError::TooMuchOutput { .. })));
}

/// True once nobody has the FIFO open for writing any more; false if that takes a minute.
fn all_writers_end(reader: &mut File) -> bool {
    let patience = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    loop {
        match reader.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        if poll(&mut [PollFd::new(&*reader, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            return false;
        }
    }
}

#[test]
fn at_the_limit_the_whole_process_group_is_killed() {
    let world = World::new();
    let made = Command::new("/usr/bin/mkfifo")
        .arg(world.path("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    let mut reader = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(world.path("fifo"))
        .unwrap();
    // Both hold the FIFO open; neither cares about a polite signal.
    let mut provider = world.script(
        "trap '' TERM INT HUP; exec 9> fifo
         (trap '' TERM INT HUP; /bin/sleep 600) & while :; do /bin/sleep 600; done",
    );
    provider.timeout = Duration::from_millis(500);
    provider.no_output_timeout = Duration::from_millis(500);
    assert_eq!(
        refused(&provider),
        "Exec provider \"vault\" timed out after 500ms."
    );
    assert!(
        all_writers_end(&mut reader),
        "a process of the group is still alive"
    );
}

#[test]
fn silence_has_a_limit_of_its_own() {
    let world = World::new();
    let mut provider = world.script("exec /bin/sleep 600");
    provider.no_output_timeout = Duration::from_millis(200);
    assert_eq!(
        refused(&provider),
        "Exec provider \"vault\" produced no output for 200ms."
    );
    provider.timeout = Duration::from_millis(100);
    assert_eq!(
        refused(&provider),
        "Exec provider \"vault\" timed out after 100ms."
    );
    // Closing its output does not end a command.
    let mut closed = world.script("exec >&- 2>&- <&-; exec /bin/sleep 600");
    closed.no_output_timeout = Duration::from_millis(200);
    assert!(matches!(ask(&closed), Err(ExecError::Silence { .. })));
}

#[test]
fn every_output_starts_the_silence_anew() {
    let world = World::new();
    let mut provider = world.script(&format!(
        "for i in 1 2 3 4; do /bin/sleep 1; echo . >&2; done; {GOOD}"
    ));
    provider.no_output_timeout = Duration::from_secs(3);
    assert_eq!(ask(&provider), Ok("value".into()));
}

#[test]
fn descendants_that_keep_the_pipes_open_do_not_hold_us() {
    let world = World::new();
    let provider = world.script(&format!("/bin/sleep 600 & echo $! > pid; {GOOD}"));
    assert_eq!(ask(&provider), Ok("value".into()));
    let pid = world.text("pid").trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // Left alone on success: a command may start an agent of its own.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_large_request_and_a_large_answer_do_not_block_each_other() {
    let world = World::new();
    // Answers before it reads: both pipes are full at some time.
    let filler = r#"printf '{"protocolVersion":1,"fill":"%0300000d",' 0; cat > request"#;
    let provider = world.script(&format!("{filler}; echo '\"values\":{{}}}}'"));
    let ids: Vec<String> = (0..512).map(|i| format!("{i:0250}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answers = ask_with(&provider, &ids, None);
    assert!(
        answers.iter().all(|answer| {
            matches!(answer, Err(SourceError::Exec(ExecError::MissingId { .. })))
        })
    );
    assert!(world.text("request").len() > 128_000);
}

#[test]
fn a_command_that_does_not_read_the_request_is_fine() {
    let world = World::new();
    let ids: Vec<String> = (0..512).map(|i| format!("{i:0250}")).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.push("x");
    let answers = ask_with(&world.script(&format!("exec <&-; {GOOD}")), &ids[1..], None);
    assert_eq!(answers[511].as_ref().unwrap().expose(), b"value");
    assert_eq!(ask(&world.script(GOOD)), Ok("value".into()));
}

#[test]
fn bad_answers_and_bad_ends() {
    let world = World::new();
    let text = |body: &str| refused(&world.script(&format!("echo {CANARY} >&2; {body}")));
    let vault = |text: &str| format!("Exec provider \"vault\" {text}");
    assert_eq!(
        text(&format!("{GOOD}; exit 3")),
        vault("exited with code 3.")
    );
    assert_eq!(text("kill -9 $$"), vault("was ended by signal 9."));
    assert_eq!(text("exit 0"), vault("returned empty stdout."));
    assert_eq!(
        text("echo '{\"protocolVersion\":1,\"val'"),
        vault("returned invalid JSON.")
    );
    assert_eq!(
        text(&format!("echo {CANARY}")),
        vault("returned invalid JSON.")
    );
    let version = "echo '{\"protocolVersion\":2,\"values\":{\"x\":\"v\"}}'";
    assert_eq!(text(version), vault("protocolVersion must be 1."));
    assert_eq!(text("echo '[]'"), vault("response must be an object."));
    let other = "echo '{\"protocolVersion\":1,\"values\":{\"X\":\"v\"}}'";
    assert_eq!(text(other), vault("response missing id \"x\"."));
}

#[test]
fn what_can_not_be_started_says_so() {
    let world = World::new();
    let provider = world.script("#");
    fs::set_permissions(&provider.command, Permissions::from_mode(0o644)).unwrap();
    let text = refused(&provider);
    assert_eq!(
        text,
        "Exec provider \"vault\" could not be started (permission denied)."
    );
    fs::set_permissions(&provider.command, Permissions::from_mode(0o755)).unwrap();
    let text_file = world.path("text");
    fs::write(&text_file, "no program").unwrap();
    fs::set_permissions(&text_file, Permissions::from_mode(0o755)).unwrap();
    let error = ask(&self::provider(&text_file)).unwrap_err();
    assert_eq!(error.code(), Code::SourceUnavailable);
}

#[test]
fn a_call_that_is_late_is_made_again() {
    let world = World::new();
    // A first call hangs, a second one answers.
    let body = format!("if mkdir been; then exec /bin/sleep 600; fi; {GOOD}");
    let mut provider = world.script(&body);
    // Long enough for a busy machine to start the script.
    provider.no_output_timeout = Duration::from_secs(4);
    assert!(matches!(ask(&provider), Err(ExecError::Silence { .. })));
    fs::remove_dir(world.path("been")).unwrap();
    provider.retries = 1;
    assert_eq!(ask(&provider), Ok("value".into()));
    // An answer is an answer: a refusal is not asked for twice.
    let mut refusing = world.script("echo . >> count; exit 3");
    refusing.retries = 5;
    assert!(matches!(
        ask(&refusing),
        Err(ExecError::ExitCode { code: 3, .. })
    ));
    assert_eq!(world.text("count"), ".\n");
}

#[test]
fn a_cached_answer_starts_nothing() {
    let world = World::new();
    let mut provider = world.script(&format!("echo . >> count; {GOOD}"));
    provider.cache_ttl = Duration::from_secs(3600);
    let cache = Cache::default();
    for _ in 0..3 {
        let answer = ask_with(&provider, &["x"], Some(&cache)).remove(0);
        assert_eq!(answer.unwrap().expose(), b"value");
    }
    assert_eq!(world.text("count"), ".\n");
    cache.clear();
    assert!(ask_with(&provider, &["x"], Some(&cache))[0].is_ok());
    assert_eq!(world.text("count"), ".\n.\n");
}

const AS_USER: &str = "RESEAL_TEST_AS_USER";

/// Root's command serves everybody, another user's command nobody else. Seen from a user without
/// privileges, which only root can become.
#[test]
fn a_user_may_use_a_command_of_root_and_not_that_of_another() {
    if let Some(folder) = std::env::var_os(AS_USER) {
        let mut ls = provider(Path::new("/usr/bin/ls"));
        ls.json_only = false;
        ls.args = vec!["/dev/null".into()];
        assert_eq!(ask(&ls), Ok("/dev/null".into()));
        let folder = Path::new(&folder);
        let foreign = ask(&provider(&folder.join("foreign"))).unwrap_err();
        assert_eq!(foreign.code(), Code::SourceUnsafe);
        let text = foreign.to_string();
        assert!(
            text.contains("must be owned by the current user (uid=4242)"),
            "{text}"
        );
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let foreign = world.script(GOOD).command;
    fs::rename(&foreign, world.path("foreign")).unwrap();
    std::os::unix::fs::chown(world.path("foreign"), Some(4243), None).unwrap();
    // The build folder may not be open to others.
    let program = world.path("test");
    let status = Command::new("/bin/cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status()
        .unwrap();
    assert!(status.success());
    let name = "a_user_may_use_a_command_of_root_and_not_that_of_another";
    let output = Command::new("/usr/bin/setpriv")
        .args(["--reuid=4242", "--regid=4242", "--clear-groups"])
        .arg(&program)
        .args(["--exact", name, "--nocapture"])
        .env(AS_USER, world.0.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}

const BOMB: &str = "RESEAL_TEST_BOMB";

/// As a user without privileges: the kernel holds root to no number of processes.
#[test]
fn a_command_that_multiplies_meets_a_limit_and_all_of_it_ends() {
    let name = "a_command_that_multiplies_meets_a_limit_and_all_of_it_ends";
    if let Some(folder) = std::env::var_os(BOMB) {
        children::adopt_orphans().unwrap();
        children::limit_processes(40).unwrap();
        let folder = Path::new(&folder);
        // The shell gives up when it can't start another one.
        let many = ask(&provider(&folder.join("many")));
        assert!(
            matches!(many, Err(ExecError::ExitCode { code: 2, .. })),
            "{many:?}"
        );
        assert!(children::end_descendants());
        let mut bomb = provider(&folder.join("bomb"));
        bomb.timeout = Duration::from_secs(2);
        assert!(matches!(ask(&bomb), Err(ExecError::Timeout { .. })));
        assert!(children::end_descendants());
        let nobody = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(nobody.unwrap_err(), rustix::io::Errno::CHILD);
        return;
    }
    let world = World::new();
    let bodies = [
        (
            "many",
            "i=0; while [ $i -lt 200 ]; do /bin/sleep 600 & i=$((i+1)); done",
        ),
        ("bomb", "b() { b | b & }; b; exec /bin/sleep 600"),
    ];
    for (file, body) in bodies {
        fs::rename(world.script(body).command, world.path(file)).unwrap();
    }
    let program = world.path("test");
    // By another process: a file open for writing can't be run.
    let copied = Command::new("/bin/cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid=4244", "--regid=4244", "--clear-groups"]);
        command.arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let output = command
        .args(["--exact", name, "--nocapture"])
        .env(BOMB, world.0.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}
