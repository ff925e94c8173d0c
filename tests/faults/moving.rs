//! `secrets apply` is killed, or fails, at every writing system call: each value is in its file or
//! in the vault at any time, and running it again comes to the same end.

use crate::world::{RESEAL, World, text};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system calls that write, flush, rename, cut or remove. Each is counted by itself: `strace`
/// has one counter for each kind of call.
const WRITING: [&str; 9] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "unlink",
];

/// The values, and the records that they move into.
const VALUES: [(&str, &str); 3] = [
    ("config/gateway/auth/token", "canary-gateway-6d0f3a91c7e2"),
    (
        "config/models/providers/groq/apiKey",
        "canary-groq-93b0f5a8d6e2",
    ),
    ("openai/default", "canary-openai-41c7e0d9b35a"),
];

/// A state folder and another runtime's folder, each with a copy to start from anew.
struct Folders {
    world: World,
    claw: PathBuf,
    fresh: PathBuf,
    plan: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let world = World::new();
        let beside = world.key.parent().unwrap().to_path_buf();
        let (claw, fresh) = (beside.join("claw"), beside.join("fresh"));
        let plan = beside.join("plan.json");
        let agent = claw.join("agents/main/agent");
        fs::create_dir_all(&agent).unwrap();
        let [gateway, groq, openai] = VALUES.map(|(_, value)| value);
        let config = format!(
            r#"{{"gateway": {{"auth": {{"token": "{gateway}"}}}},
  "models": {{"providers": {{"groq": {{"apiKey": "{groq}"}}}}}} }}"#
        );
        fs::write(claw.join("openclaw.json"), &config).unwrap();
        fs::write(claw.join("openclaw.json.bak"), &config).unwrap();
        let env = format!("A=1\nGROQ_API_KEY={groq}\nOPENAI_API_KEY={openai}\n");
        fs::write(claw.join(".env"), env).unwrap();
        let profiles = format!(
            r#"{{"version": 1, "profiles": {{"openai:default":
                {{"type": "api_key", "provider": "openai", "key": "{openai}"}}}}}}"#
        );
        fs::write(agent.join("auth-profiles.json"), profiles).unwrap();
        let folders = Self {
            world,
            claw,
            fresh,
            plan,
        };
        let (from, out) = (folders.claw.clone(), folders.plan.clone());
        let mut command = Command::new(RESEAL);
        command.arg("--state-dir").arg(&folders.world.state);
        command
            .args(["secrets", "plan", "--from"])
            .arg(from)
            .arg("--out")
            .arg(out);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::create_dir(&folders.fresh).unwrap();
        copy(&folders.claw, &folders.fresh.join("claw"));
        copy(&folders.world.state, &folders.fresh.join("state"));
        folders
    }

    /// Everything as it was at the start.
    fn start_anew(&self) {
        for (folder, name) in [(&self.claw, "claw"), (&self.world.state, "state")] {
            fs::remove_dir_all(folder).unwrap();
            copy(&self.fresh.join(name), folder);
        }
    }

    fn args(&self) -> [&str; 4] {
        ["secrets", "apply", "--from", self.plan.to_str().unwrap()]
    }

    /// Runs it to its end, and gives what the folder holds then.
    fn finish(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let output = self.world.command(&self.args()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        contents(&self.claw)
    }

    /// Each value stands in the file that it came from, or in the vault.
    fn check_nothing_lost(&self, when: &str) {
        let config = fs::read_to_string(self.claw.join("openclaw.json")).unwrap();
        let profiles = self.claw.join("agents/main/agent/auth-profiles.json");
        let profiles = fs::read_to_string(profiles).unwrap();
        for (record, value) in VALUES {
            let in_file = config.contains(value) || profiles.contains(value);
            let in_vault = || self.world.get(record).as_deref() == Some(value);
            assert!(in_file || in_vault(), "{when}: {record} is lost");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Runs it under a fault at the first, second, third … call of each kind, until one is not met;
/// `look` sees how each run ended. Gives the number of faults that were met.
fn at_every_call(
    folders: &Folders,
    fault: &str,
    mut look: impl FnMut(&std::process::Output),
) -> usize {
    let end = folders.finish();
    let values = VALUES.map(|(_, value)| value.as_bytes());
    let has = |bytes: &[u8]| {
        let stands = |value: &&[u8]| bytes.windows(value.len()).any(|window| window == *value);
        values.iter().any(stands)
    };
    assert!(
        end.values().all(|bytes| !has(bytes)),
        "the end holds a value"
    );
    let log = folders.plan.with_file_name("calls");
    let mut met = 0;
    for call in WRITING {
        for at in 1.. {
            folders.start_anew();
            let inject = format!("inject={call}:{fault}:when={at}");
            let trace = format!("trace={call}");
            let options = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
            let output = folders
                .world
                .traced(&options, &folders.args())
                .output()
                .unwrap();
            assert!(!has(&output.stdout) && !has(&output.stderr));
            let when = format!("{fault} at {call} {at}");
            let is_temp = |path: &Path| path.to_string_lossy().contains(".tmp-");
            let mut temps = contents(&folders.claw);
            temps.retain(|path, _| is_temp(path));
            assert!(temps.values().all(|bytes| !has(bytes)), "{when}: {temps:?}");
            folders.check_nothing_lost(&when);
            assert_eq!(folders.finish(), end, "{when}: another end");
            folders.check_nothing_lost(&when);
            let calls = fs::read_to_string(&log).unwrap();
            if !calls.contains("INJECTED") && !calls.contains("killed by SIGKILL") {
                assert!(output.status.success(), "{}", text(&output.stderr));
                break;
            }
            met += 1;
            look(&output);
        }
    }
    folders.world.verify();
    met
}

#[test]
fn an_apply_killed_at_every_system_call_loses_nothing() {
    let folders = Folders::new();
    let points = at_every_call(&folders, "signal=KILL", |output| {
        assert!(!output.status.success());
    });
    assert!(
        points > 40,
        "only {points} crash points: is strace at work?"
    );
}

/// A full disk: every writing call fails once. What the program says names the file.
#[test]
fn an_apply_on_a_full_disk_loses_nothing() {
    let folders = Folders::new();
    let names = [
        "vault.reseal",
        "openclaw.json",
        "auth-profiles",
        ".env",
        "claw",
        "state",
    ];
    let mut failed = 0;
    // Some failures are got over: that of a line of talk, or of an anchor.
    at_every_call(&folders, "error=ENOSPC", |output| {
        if !output.status.success() {
            failed += 1;
            let error = text(&output.stderr);
            let named = names.iter().any(|name| error.contains(name));
            assert!(named || error.is_empty(), "{error}");
        }
    });
    assert!(failed > 10, "{failed}");
}
