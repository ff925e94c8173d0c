//! Whole processes: from `fork` to the exit code, as a program that calls `reseal` in a loop sees
//! it. Each is measured in turn with what it is compared with. Called by `benches/compare.sh`.

mod harness;

use harness::{Figure, medians, report, vaults};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROUNDS: usize = 201;
const SMALL: usize = 10;
const MIDDLE: usize = 10_000;
const LARGE: usize = 100_000;
const IDS: usize = 20;
const CONCURRENT: usize = 100;
const ACCOUNT: &str = "oauth/acme/me";
const PROFILE: &str = "acme:me";

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-processes");
    // A run that was stopped leaves its folder behind.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder can be made");
    let yardstick = Yardstick::make(&folder);
    let small = State::unlocked(&folder, SMALL);
    let middle = State::unlocked(&folder, MIDDLE);
    let large = State::unlocked(&folder, LARGE);
    let mut figures = vec![
        small.get(&yardstick),
        middle.get(&yardstick),
        large.get(&yardstick),
        middle.exec_provider(),
        middle.run(),
        middle.token(),
        middle.set(),
        middle.concurrent(),
    ];
    figures.push(middle.resident());
    for state in [small, middle, large] {
        state.lock();
    }
    fs::remove_dir_all(&folder).expect("the folder can be removed");
    report(&figures);
}

/// One small file, encrypted with age to an X25519 identity.
struct Yardstick {
    identity: PathBuf,
    file: PathBuf,
}

impl Yardstick {
    fn make(folder: &Path) -> Self {
        let (identity, file) = (folder.join("identity.txt"), folder.join("small.age"));
        let output = Command::new("age-keygen").arg("-o").arg(&identity).output();
        let talk = output.expect("age-keygen runs (Debian's age)").stderr;
        let talk = String::from_utf8(talk).expect("age-keygen says the recipient");
        let recipient = talk
            .split_whitespace()
            .last()
            .expect("age-keygen says the recipient");
        let mut age = Command::new("age");
        age.args(["-r", recipient, "-o"])
            .arg(&file)
            .stdin(Stdio::piped());
        let mut age = age.spawn().expect("age runs");
        let value = [b'a'; vaults::VALUE];
        age.stdin
            .take()
            .expect("a pipe")
            .write_all(&value)
            .expect("age reads");
        assert!(age.wait().expect("age ends").success());
        Self { identity, file }
    }

    fn decrypt(&self) -> Command {
        let mut age = Command::new("age");
        age.arg("-d").arg("-i").arg(&self.identity).arg(&self.file);
        age
    }
}

/// A state folder whose daemon runs.
struct State {
    folder: PathBuf,
    records: usize,
}

impl State {
    fn unlocked(folder: &Path, records: usize) -> Self {
        let state = Self {
            folder: folder.join(format!("state-{records}")),
            records,
        };
        let vault = vaults::make(&state.folder, records).expect("a vault is made");
        vaults::sign_in(&state.folder, vault, ACCOUNT).expect("an account is stored");
        let key = state.folder.join("key");
        fs::write(&key, vaults::KEY).expect("the key file is written");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("and made private");
        for command in [
            &["init"][..],
            &["vault", "unlock", "--ttl", "1h", "--idle", "1h"],
        ] {
            run(state.reseal(command).arg("--key-file").arg(&key));
        }
        let profiles = serde_json::json!({"version": 1, "profiles": {PROFILE: {
            "type": "oauth", "provider": "acme",
            "oauthRef": {"source": "vault", "provider": "default", "id": ACCOUNT},
        }}});
        let file = state.folder.join("agents/main/agent/auth-profiles.json");
        fs::write(file, profiles.to_string()).expect("the profile is written");
        state
    }

    fn lock(&self) {
        run(&mut self.reseal(&["vault", "lock"]));
    }

    fn reseal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
        command
            .arg("-q")
            .arg("--state-dir")
            .arg(&self.folder)
            .args(arguments);
        command
    }

    fn get(&self, yardstick: &Yardstick) -> Figure {
        let name = format!("record/{}", self.records / 2);
        let [ours, theirs] = medians(
            ROUNDS,
            [
                &mut || run(&mut self.reseal(&["secrets", "get", &name])),
                &mut || run(&mut yardstick.decrypt()),
            ],
        );
        Figure {
            what: format!("`secrets get`, {} records", self.records),
            value: 1e3 * ours,
            unit: "ms",
            beside: Some(("`age -d`".to_owned(), 1e3 * theirs)),
            goal: "at most 0.6 times age",
            reached: ours <= 0.6 * theirs,
        }
    }

    /// A token that need not be refreshed.
    fn token(&self) -> Figure {
        let [token, get] = medians(
            ROUNDS,
            [
                &mut || run(&mut self.reseal(&["token", PROFILE])),
                &mut || run(&mut self.reseal(&["secrets", "get", "record/1"])),
            ],
        );
        Figure {
            what: format!("`token` of an OAuth profile, {} records", self.records),
            value: 1e3 * token,
            unit: "ms",
            beside: Some(("`secrets get`".to_owned(), 1e3 * get)),
            goal: "at most 1 ms more",
            reached: token <= get + 1e-3,
        }
    }

    fn exec_provider(&self) -> Figure {
        let ids: Vec<String> = (0..IDS).map(|id| format!("\"record/{id}\"")).collect();
        let request = format!(
            "{{\"protocolVersion\":1,\"provider\":\"default\",\"ids\":[{}]}}",
            ids.join(",")
        );
        let path = self.folder.join("request");
        fs::write(&path, request).expect("the request is written");
        let ask = || {
            let request = File::open(&path).expect("the request is there");
            run(self.reseal(&["exec-provider"]).stdin(request));
        };
        self.beside_true("`exec-provider` with 20 ids", &mut { ask })
    }

    fn run(&self) -> Figure {
        let sets: Vec<String> = (0..IDS)
            .map(|id| format!("SECRET_{id}=vault:record/{id}"))
            .collect();
        let mut arguments = vec!["run"];
        for set in &sets {
            arguments.extend(["--env", set]);
        }
        arguments.extend(["--", "true"]);
        self.beside_true("`run` with 20 refs", &mut || {
            run(&mut self.reseal(&arguments))
        })
    }

    fn beside_true(&self, what: &str, act: &mut dyn FnMut()) -> Figure {
        let [ours, child] = medians(ROUNDS, [act, &mut || run(&mut Command::new("true"))]);
        Figure {
            what: format!("{what}, {} records", self.records),
            value: 1e3 * ours,
            unit: "ms",
            beside: Some(("`true`".to_owned(), 1e3 * child)),
            goal: "at most 4 ms more",
            reached: ours <= child + 4e-3,
        }
    }

    fn set(&self) -> Figure {
        let path = self.folder.join("value");
        fs::write(&path, [b'x'; 100]).expect("the value is written");
        let [ours] = medians(
            ROUNDS,
            [&mut || {
                let value = File::open(&path).expect("the value is there");
                run(self.reseal(&["secrets", "set", "record/1"]).stdin(value));
            }],
        );
        Figure {
            what: format!("durable `secrets set` into {} records", self.records),
            value: 1e3 * ours,
            unit: "ms",
            beside: None,
            goal: "at most 10 ms",
            reached: ours <= 10e-3,
        }
    }

    fn concurrent(&self) -> Figure {
        let all = |command: &dyn Fn(usize) -> Command| {
            let started: Vec<Child> = (0..CONCURRENT)
                .map(|index| quiet(&mut command(index)).spawn())
                .map(up)
                .collect();
            for mut child in started {
                assert!(child.wait().expect("it ends").success());
            }
        };
        let [ours, theirs] = medians(
            21,
            [
                &mut || all(&|index| self.reseal(&["secrets", "get", &format!("record/{index}")])),
                &mut || all(&|_| Command::new("true")),
            ],
        );
        Figure {
            what: format!(
                "{CONCURRENT} concurrent `secrets get`, {} records",
                self.records
            ),
            value: 1e3 * ours,
            unit: "ms",
            beside: Some((format!("{CONCURRENT} concurrent `true`"), 1e3 * theirs)),
            goal: "at most 1.7 times true",
            reached: ours <= 1.7 * theirs,
        }
    }

    /// What the daemon holds in memory, after the work above.
    fn resident(&self) -> Figure {
        let output = self
            .reseal(&["vault", "status", "--json"])
            .output()
            .expect("it runs");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let pid = status["daemon"]["pid"].as_u64().expect("a daemon runs");
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it has a status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        let mib = kib.expect("it has a size") / 1024.0;
        Figure {
            what: format!("daemon's resident memory, {} records", self.records),
            value: mib,
            unit: "MiB",
            beside: None,
            goal: "under 40 MB",
            reached: mib * 1.048_576 < 40.0,
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdout(Stdio::null())
        .env_remove("RESEAL_STATE_DIR")
        .env_remove("RESEAL_SOCKET")
}

fn up(child: std::io::Result<Child>) -> Child {
    child.expect("it starts")
}

/// Runs to the end; a failure ends the benchmark.
fn run(command: &mut Command) {
    let status = quiet(command).status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
}
