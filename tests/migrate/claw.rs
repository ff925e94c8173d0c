//! A state folder of another runtime with a canary in every place, and this program's own beside
//! it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const RESEAL: &str = env!("CARGO_BIN_EXE_reseal");

/// The two folders, and where each canary has to be in the end.
pub struct Claw {
    temp: tempfile::TempDir,
    /// By canary: the record that holds it, as `NAME` or `NAME MEMBER` of an account.
    pub moved: BTreeMap<String, String>,
    /// By canary: the file that keeps it, and what the report says of it.
    pub stays: BTreeMap<String, (PathBuf, String)>,
    count: u32,
}

impl Claw {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let claw = Self {
            temp,
            moved: BTreeMap::new(),
            stays: BTreeMap::new(),
            count: 0,
        };
        claw.write_in("key", &"k".repeat(32));
        let init = claw.run(&["init", "--no-recovery"]);
        assert!(init.status.success(), "{}", text(&init.stderr));
        fs::create_dir(claw.from()).unwrap();
        claw
    }

    /// The other runtime's folder.
    pub fn from(&self) -> PathBuf {
        self.temp.path().join(".openclaw")
    }

    /// This program's folder.
    pub fn own(&self) -> PathBuf {
        self.temp.path().join("reseal")
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn write_in(&self, name: &str, text: &str) {
        write(&self.temp.path().join(name), text);
    }

    /// Writes a file of the other runtime.
    pub fn put(&self, name: &str, text: &str) {
        write(&self.from().join(name), text);
    }

    fn canary(&mut self) -> String {
        self.count += 1;
        let spread = self.count.wrapping_mul(0x9e37_79b1);
        // With what JSON escapes, and what is not ASCII.
        format!("canary{:03}-q7Zk+\u{e9}\\\"-{spread:08x}", self.count)
    }

    /// A value that has to move into this record.
    pub fn moves(&mut self, record: &str) -> String {
        let canary = self.canary();
        self.moved.insert(canary.clone(), record.to_owned());
        canary
    }

    /// A value that stays in this file, of which the report says this.
    pub fn stays(&mut self, file: &str, report: &str) -> String {
        let canary = self.canary();
        let file = self.from().join(file);
        self.stays.insert(canary.clone(), (file, report.to_owned()));
        canary
    }

    /// The program on this program's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RESEAL);
        self.add_to(&mut command, args);
        command
    }

    /// The same under `strace`.
    pub fn traced(&self, options: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command.args(["-qq", "-f"]).args(options).arg(RESEAL);
        self.add_to(&mut command, args);
        command
    }

    /// The program without what opens the vault.
    pub fn without_key(&self, args: &[&str]) -> Output {
        let mut command = Command::new(RESEAL);
        self.add_bare(&mut command, args);
        command.output().unwrap()
    }

    fn add_to(&self, command: &mut Command, args: &[&str]) {
        self.add_bare(command, args);
        command.arg("--key-file").arg(self.temp.path().join("key"));
    }

    fn add_bare(&self, command: &mut Command, args: &[&str]) {
        command.arg("--state-dir").arg(self.own());
        command.arg("--no-input").args(args);
        command.env_clear().stdin(Stdio::null());
        command.env("TMPDIR", self.temp.path().join("tmp"));
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn migrate_args(&self) -> Vec<String> {
        let from = self.from().to_str().unwrap().to_owned();
        ["secrets", "migrate", &from, "--yes", "--json"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Moves the folder in; what the program reports.
    #[track_caller]
    pub fn migrate(&self, more: &[&str]) -> Value {
        let args = self.migrate_args();
        let args: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        let output = self.run(&args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{err}");
        for canary in self.moved.keys().chain(self.stays.keys()) {
            assert!(!out.contains(canary.as_str()) && !err.contains(canary.as_str()));
        }
        serde_json::from_str(&out).unwrap()
    }

    /// What the vault holds, by record.
    pub fn records(&self) -> BTreeMap<String, String> {
        let out = self.beside("export.age");
        let _ = fs::remove_file(&out);
        let out = out.to_str().unwrap();
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let ran = self.run(&[
            "vault",
            "export",
            "--output",
            out,
            "--recipient",
            &recipient,
        ]);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        let bytes = fs::read(out).unwrap();
        let decryptor = age::Decryptor::new(bytes.as_slice()).unwrap();
        let mut reader = decryptor.decrypt(std::iter::once(&identity as _)).unwrap();
        let mut json = String::new();
        std::io::Read::read_to_string(&mut reader, &mut json).unwrap();
        let export: Value = serde_json::from_str(&json).unwrap();
        let records = export["records"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        records
            .map(|r| (text(&r["name"]), text(&r["value"])))
            .collect()
    }

    /// Every value comes out of the vault equal, and each canary is in no file, in any form, but
    /// in the one that the report names.
    #[track_caller]
    pub fn check(&self, report: &Value) {
        let records = self.records();
        for (canary, record) in &self.moved {
            let (name, member) = record.split_once(' ').unwrap_or((record, ""));
            let value = records
                .get(name)
                .unwrap_or_else(|| panic!("no record {name}: {:?}", records.keys()));
            if member.is_empty() {
                assert_eq!(value, canary, "{name}");
            } else {
                let account: Value = serde_json::from_str(value).unwrap();
                assert_eq!(account[member], canary.as_str(), "{name} {member}");
            }
        }
        let said = report.to_string();
        let sessions = self.from().join("agents/main/sessions");
        let mut files = contents(&self.from());
        files.extend(contents(&self.own()));
        for (path, bytes) in files {
            for canary in self.moved.keys().chain(self.stays.keys()) {
                if !stands_in(canary, &bytes) {
                    continue;
                }
                let residue = report["residue"].as_array().unwrap();
                let named = residue
                    .iter()
                    .any(|r| Path::new(r["path"].as_str().unwrap()) == path);
                let stays = self
                    .stays
                    .get(canary)
                    .is_some_and(|(file, words)| *file == path && said.contains(words.as_str()));
                let may = self.stays.contains_key(canary) || path.starts_with(&sessions);
                assert!(
                    (named && may) || stays,
                    "{canary} stands in {}: {report:#}",
                    path.display()
                );
            }
        }
        for (canary, (file, _)) in &self.stays {
            let bytes = fs::read(file).unwrap();
            assert!(
                stands_in(canary, &bytes),
                "{canary} is lost from {}",
                file.display()
            );
        }
    }
}

/// As it is, as JSON writes it, and in base64 at any place.
fn stands_in(canary: &str, bytes: &[u8]) -> bool {
    let json = serde_json::to_string(canary).unwrap();
    let ascii: String = json
        .chars()
        .map(|c| {
            if c.is_ascii() {
                c.to_string()
            } else {
                format!("\\u{:04x}", u32::from(c))
            }
        })
        .collect();
    let mut forms = vec![canary.as_bytes().to_vec()];
    forms.extend([&json, &ascii].map(|json| json.as_bytes()[1..json.len() - 1].to_vec()));
    for before in 0..3 {
        let padded = [vec![b' '; before], canary.as_bytes().to_vec()].concat();
        let coded = data_encoding::BASE64.encode(&padded);
        let from = before * 4 / 3 + usize::from(before > 0);
        forms.push(coded.as_bytes()[from..coded.len() - 4].to_vec());
    }
    let found = |form: &Vec<u8>| {
        bytes
            .windows(form.len())
            .any(|window| window == form.as_slice())
    };
    forms.iter().any(found)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Every file below a folder.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
