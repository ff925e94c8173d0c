//! The labelled corpus of `tests/audit/corpus.json`: what `secrets audit` finds in it, what it
//! misses, what it takes for a secret and is none.
//!
//! A file of the corpus is JSON, JSON with comments, or lines. `⟦…⟧` stands around a secret;
//! everything else is a look-alike. `@{l:40}` stands for 40 characters made up by the test: `l`
//! letters and digits, `L` lower case, `U` upper case, `u` the URL alphabet, `h` hexadecimal, `d`
//! digits. So no real key is in the corpus, and each is a canary.

use super::world::{Ran, World};
use reseal::document::{Document, Path as JsonPath};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Sample {
    file: String,
    json: Option<Value>,
    mode: Option<String>,
    #[serde(default)]
    lines: Vec<String>,
}

/// The corpus on the disk.
pub struct Corpus {
    pub world: World,
    pub folder: String,
    /// File and place (a JSON path, or a line) of every secret.
    labels: BTreeSet<(String, String)>,
    /// Every secret.
    pub canaries: Vec<String>,
}

const OPEN: char = '⟦';
const CLOSE: char = '⟧';

impl Corpus {
    pub fn new() -> Self {
        let text = include_str!("../audit/corpus.json");
        let samples: Vec<Sample> = serde_json::from_str(text).unwrap();
        let world = World::new();
        let folder = world.beside(".openclaw");
        let mut corpus = Self {
            world,
            folder,
            labels: BTreeSet::new(),
            canaries: Vec::new(),
        };
        let mut random = Random(7);
        for sample in &samples {
            corpus.add(sample, &mut random);
        }
        fs::set_permissions(&corpus.folder, fs::Permissions::from_mode(0o700)).unwrap();
        corpus
    }

    fn add(&mut self, sample: &Sample, random: &mut Random) {
        let marked = match &sample.json {
            Some(json) => serde_json::to_string_pretty(json).unwrap(),
            None => sample.lines.join("\n") + "\n",
        };
        let marked = random.expand(&marked);
        let file = random.expand(&sample.file);
        let path = PathBuf::from(&self.folder).join(&file);
        let plain = marked.replace([OPEN, CLOSE], "");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &plain).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = path.to_str().unwrap();
        let is_text = sample.json.is_none() && sample.mode.as_deref() == Some("text");
        if !is_text {
            let document = Document::parse(&marked, "corpus").unwrap();
            self.paths(file, document.value(), &JsonPath::root());
        }
        for (index, _) in marked.match_indices(OPEN) {
            let end = index + marked[index..].find(CLOSE).unwrap();
            let inside = &marked[index + OPEN.len_utf8()..end];
            self.canaries.push(inside.replace("\\n", "\n"));
            let before = &marked[..index];
            let in_comment = before.rsplit('\n').next().unwrap().contains("// ");
            if is_text || in_comment {
                let line = before.matches('\n').count() + 1;
                self.labels
                    .insert((file.to_owned(), format!("line {line}")));
            }
        }
    }

    fn paths(&mut self, file: &str, value: &Value, at: &JsonPath) {
        match value {
            Value::String(text) if text.contains(OPEN) => {
                self.labels.insert((file.to_owned(), at.to_string()));
            }
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    self.paths(file, value, &at.join(index));
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    self.paths(file, value, &at.join(key.as_str()));
                }
            }
            _ => {}
        }
    }

    pub fn audit(&self, options: &[&str]) -> Ran {
        let mut args = vec!["secrets", "audit", "--from", &self.folder];
        args.extend(options);
        self.world.with_passphrase(&args)
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize
    }

    fn expand(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("@{") {
            let (spec, after) = after.split_once('}').unwrap();
            let (kind, count) = spec.split_once(':').unwrap();
            let letters: &[u8] = match kind {
                "l" => b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ23456789",
                "L" => b"abcdefghijkmnpqrstuvwxyz23456789",
                "U" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
                "u" => b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ23456789-_",
                "h" => b"0123456789abcdef",
                "d" => b"123456789",
                other => panic!("no alphabet {other}"),
            };
            out.push_str(before);
            for i in 0..count.parse().unwrap() {
                // The dash and the underscore only inside, where every form has them.
                let most = if i == 0 {
                    letters.len().min(60)
                } else {
                    letters.len()
                };
                out.push(char::from(letters[self.next() % most]));
            }
            rest = after;
        }
        out + rest
    }
}

/// Codes that say that a secret stands somewhere.
const SECRET: &[&str] = &[
    "PLAINTEXT_FOUND",
    "LEGACY_RESIDUE",
    "BACKUP_PLAINTEXT",
    "STORE_PLAINTEXT_RESIDUE",
    "VAULT_COPY",
    "KEY_FOUND",
];

#[test]
fn precision_and_recall_are_what_the_docs_state() {
    let corpus = Corpus::new();
    let report = corpus.audit(&["--json"]).json();
    let found: Vec<(String, String)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| SECRET.contains(&finding["code"].as_str().unwrap()))
        .map(|finding| {
            let file = finding["file"].as_str().unwrap().to_owned();
            let place = match (&finding["line"], &finding["jsonPath"]) {
                (Value::Number(line), _) => format!("line {line}"),
                (_, path) => path.as_str().unwrap_or_default().to_owned(),
            };
            (file, place)
        })
        .collect();
    let places: BTreeSet<_> = found.iter().cloned().collect();
    let false_alarms: Vec<_> = places.difference(&corpus.labels).collect();
    let missed: Vec<_> = corpus.labels.difference(&places).collect();
    assert_eq!(found.len(), places.len(), "a place was reported twice");
    assert_eq!(false_alarms, Vec::<&(String, String)>::new());
    let (all, right) = (corpus.labels.len(), corpus.labels.len() - missed.len());
    let sentence = format!(
        "Of {all} secrets it finds {right} (recall {:.3}); of {} findings {} are secrets \
         (precision {:.3}).",
        right as f64 / all as f64,
        places.len(),
        places.len() - false_alarms.len(),
        (places.len() - false_alarms.len()) as f64 / places.len() as f64,
    );
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/secret-audit.md");
    let page = fs::read_to_string(page).unwrap();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&sentence), "{sentence}\nmissed: {missed:#?}");
}

#[test]
fn no_part_of_a_secret_is_ever_shown() {
    let corpus = Corpus::new();
    let runs = [
        corpus.audit(&[]),
        corpus.audit(&["--json"]),
        corpus.audit(&["--check", "--verbose"]),
    ];
    for ran in runs {
        assert!(ran.text().len() > 2_000, "{}", ran.text());
        let shown = format!("{}{}", ran.text(), ran.stderr);
        for canary in &corpus.canaries {
            // Eight characters in a row are a part of a secret; a prefix that all keys of a vendor
            // have is none.
            let bytes = canary.as_bytes();
            let made_up = &bytes[bytes.len().saturating_sub(12)..];
            for part in made_up.windows(8.min(made_up.len())) {
                let part = std::str::from_utf8(part).unwrap_or("\u{0}");
                assert!(!shown.contains(part), "{canary}: {part} in\n{shown}");
            }
        }
    }
}

#[test]
fn nothing_is_changed() {
    let corpus = Corpus::new();
    let state = || {
        let mut all = Vec::new();
        let mut open = vec![PathBuf::from(&corpus.folder)];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => all.push((fs::read(&path).unwrap(), path)),
                }
            }
        }
        all.sort();
        all
    };
    let before = state();
    corpus.audit(&["--check"]);
    assert!(state() == before, "an audit changed a file");
}
