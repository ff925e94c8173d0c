//! Reseal in containers without network, privileges or anything to write to but a volume: the files
//! of `docs/deploy`, with a real Docker daemon that ends with the test. `tests/run --containers`
//! runs it.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_reseal");
const IMAGE: &str = "reseal:local";
/// How often a starting Docker daemon is asked whether it is there; each question takes a while.
const TRIES: usize = 2000;

/// A Docker daemon of the test's own.
struct Docker {
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Docker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--bridge=none", "--ip-forward=false"])
            .args(["--ip-masq=false", "--storage-driver=overlay2"])
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("-p")
            .arg(path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", path("socket").display()))
            .stdin(Stdio::null())
            .stdout(fs::File::create(path("log")).unwrap())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .expect("dockerd is installed");
        let mut docker = Self { folder, daemon };
        let up = (0..TRIES).any(|_| {
            let ended = docker.daemon.try_wait().unwrap();
            assert_eq!(ended, None, "dockerd ended: {}", docker.log());
            docker.docker(&["version"]).status.success()
        });
        assert!(up, "dockerd does not answer: {}", docker.log());
        docker.import();
        docker
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let socket = self.folder.path().join("socket");
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .stdin(Stdio::null());
        command
    }

    fn docker(&self, args: &[&str]) -> Output {
        self.command("docker").args(args).output().unwrap()
    }

    /// The image, as the page says, with one more program to be run.
    fn import(&self) {
        let script = "\"$0\" \"$1\" /usr/bin/env | docker import - \"$2\"";
        let output = self
            .command("sh")
            .args(["-c", script])
            .arg(deploy("image.sh"))
            .args([BIN, IMAGE])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
    }
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/deploy")
        .join(name)
}

/// A vault in a volume, and a folder with its key.
struct World<'a> {
    docker: &'a Docker,
    volume: &'static str,
    secrets: tempfile::TempDir,
}

impl<'a> World<'a> {
    /// With a key file of user 1000's, mode 0400.
    fn new(docker: &'a Docker, volume: &'static str) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let key = secrets.path().join("reseal.key");
        fs::write(&key, [b'k'; 32]).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        for path in [secrets.path(), &key] {
            chown(path, Some(1000), Some(1000)).unwrap();
        }
        Self {
            docker,
            volume,
            secrets,
        }
    }

    fn command(&self, options: &str, args: &[&str]) -> Command {
        let mut command = self.docker.command(deploy("run.sh"));
        command
            .env("DOCKER_OPTIONS", options)
            .args([IMAGE, self.volume])
            .arg(self.secrets.path())
            .args(args);
        command
    }

    #[track_caller]
    fn ok(&self, options: &str, args: &[&str]) -> String {
        text(self.command(options, args).output().unwrap())
    }

    fn store(&self, name: &str, value: &str) {
        let mut command = self.command("-i", &["secrets", "set", name]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), value.as_bytes()).unwrap();
        text(child.wait_with_output().unwrap());
    }
}

#[track_caller]
fn text(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_container_with_nothing_but_its_volume_keeps_and_hands_out_secrets() {
    let docker = Docker::start();
    let world = World::new(&docker, "alone");
    world.ok("", &["init", "--no-recovery"]);
    world.store("openai/default", "a value");
    // Each command is a new container: what stays lies on the volume.
    let got = world.ok("", &["secrets", "get", "openai/default"]);
    assert_eq!(got, "a value\n");
    let run = [
        "run",
        "--env",
        "KEY=vault:openai/default",
        "--",
        "/usr/bin/env",
    ];
    let seen = world.ok("", &run);
    assert!(seen.lines().any(|line| line == "KEY=a value"), "{seen}");
    let elsewhere = ["--state-dir", "/elsewhere", "init"];
    let refused = world.command("", &elsewhere).output().unwrap();
    assert!(!refused.status.success(), "the root takes files");

    // The daemon, and programs that ask it without the key.
    let daemon = world.command("--name vault", &["daemon"]).spawn().unwrap();
    let exec = [
        "exec",
        "--env",
        "CREDENTIALS_DIRECTORY=",
        "vault",
        "/usr/bin/reseal",
    ];
    let asking = [
        &exec[..],
        &["--no-input", "secrets", "get", "openai/default"],
    ]
    .concat();
    let answered = (0..TRIES).any(|_| {
        let output = docker.docker(&asking);
        output.status.success() && output.stdout == b"a value\n"
    });
    assert!(answered, "the daemon does not answer");
    text(docker.docker(&["stop", "--time", "45", "vault"]));
    let ended = text(daemon.wait_with_output().unwrap());
    assert_eq!(ended, "");
}

#[test]
fn a_key_as_the_kubelet_mounts_it_opens_the_vault() {
    let docker = Docker::start();
    let world = World::new(&docker, "kubelet");
    world.ok("", &["init", "--no-recovery"]);
    world.store("canary", "a value");
    // Root's, for the group of the pod, behind a symlink that is changed with the secret.
    let folder = world.secrets.path();
    let data = folder.join("..2026_01_01");
    fs::create_dir(&data).unwrap();
    fs::rename(folder.join("reseal.key"), data.join("reseal.key")).unwrap();
    symlink("..2026_01_01", folder.join("..data")).unwrap();
    symlink("..data/reseal.key", folder.join("reseal.key")).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (path, bits) in [
        (folder, 0o2750),
        (&data, 0o2750),
        (&data.join("reseal.key"), 0o440),
    ] {
        chown(path, Some(0), Some(1000)).unwrap();
        mode(path, bits);
    }
    assert_eq!(world.ok("", &["secrets", "get", "canary"]), "a value\n");
    // For everybody it is no credential.
    mode(&data.join("reseal.key"), 0o444);
    let refused = world
        .command("", &["secrets", "get", "canary"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
}

#[test]
fn a_container_that_may_lock_no_memory_is_warned_of() {
    let docker = Docker::start();
    let world = World::new(&docker, "memory");
    world.ok("", &["init", "--no-recovery"]);
    world.store("canary", "a value");
    let memory = |options: &str| {
        let output = world
            .command(options, &["--json", "doctor"])
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let mut found = findings.filter(|finding| finding["check"] == "memory");
        found.next().unwrap()["severity"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(memory("--ulimit memlock=0"), "warning");
    assert_eq!(memory("--ulimit memlock=8388608"), "ok");
    let got = world.ok("--ulimit memlock=0", &["secrets", "get", "canary"]);
    assert_eq!(got, "a value\n");
}
