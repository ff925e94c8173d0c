//! Documents stay true: the error list, links, the names of tests, the shape of the top level.

use super::tree::{Offence, Tree};
use reseal::error::{Code, Kind};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Every entry of the top level. Tool settings live in dotfiles so that it stays this short.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "THREAT_MODEL.md",
    "benches",
    "docs",
    "fuzz",
    "src",
    "tests",
];

/// The table of `docs/errors.md`, from the code itself.
pub fn error_table() -> String {
    let mut table = String::from("| code | kind | exit | meaning |\n| --- | --- | --- | --- |\n");
    for code in Code::ALL {
        let kind = kind_word(code.kind());
        let (name, exit, meaning) = (code.as_str(), code.kind().exit_code(), code.meaning());
        writeln!(table, "| `{name}` | {kind} | {exit} | {meaning} |").expect("a String grows");
    }
    table
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "invalid",
        Kind::Absent => "absent",
        Kind::Sealed => "sealed",
        Kind::Denied => "denied",
        Kind::Unavailable => "unavailable",
        Kind::Corrupt => "corrupt",
        Kind::Stale => "stale",
        Kind::SignIn => "sign-in needed",
        Kind::NotStarted => "not started",
        Kind::NoProgram => "no program",
        Kind::Cancelled => "cancelled",
        Kind::Bug => "bug",
    }
}

/// `text` with the table of `docs/errors.md` replaced by the one of the code.
pub fn with_error_table(text: &str) -> String {
    let start = text.find("| code |").unwrap_or(text.len());
    let rest = &text[start..];
    let len = rest
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('|'))
        .map(str::len);
    let end = start + len.sum::<usize>();
    format!("{}{}{}", &text[..start], error_table(), &text[end..])
}

/// `docs/errors.md` lists exactly the codes that exist, each with its kind and exit code.
pub fn errors_are_documented(tree: &Tree) -> Vec<Offence> {
    let path = "docs/errors.md";
    let text = tree.text(path).unwrap_or_default();
    let fresh = with_error_table(text);
    let differs = text
        .lines()
        .zip(fresh.lines())
        .position(|(is, should)| is != should);
    if text == fresh {
        return Vec::new();
    }
    let line = differs.map_or(0, |index| index + 1);
    let what = "differs from error::Code; run `RESEAL_BLESS=1 cargo test --test tidy`";
    vec![Offence::new(path, line, what)]
}

/// Every relative link of a document leads to a file, and to a heading where it names one.
pub fn links_resolve(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            for target in link_targets(line) {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() {
                    path.to_owned()
                } else {
                    join(path, file)
                };
                let file = file.trim_end_matches('/');
                let leads = tree.has(file)
                    && (heading.is_empty() || headings(tree, file).contains(heading));
                if !leads {
                    let what = format!("link to `{target}` leads nowhere");
                    offences.push(Offence::new(path, index + 1, what));
                }
            }
        }
    }
    offences
}

fn link_targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    let targets = after.filter_map(|rest| rest.split(')').next());
    targets
        .filter(|t| !t.contains("://") && !t.starts_with("mailto:"))
        .collect()
}

fn join(from: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn headings(tree: &Tree, path: &str) -> BTreeSet<String> {
    let lines = tree.text(path).unwrap_or_default().lines();
    let slug = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines
        .filter(|l| l.starts_with('#'))
        .map(|l| slug(l.trim_start_matches('#')))
        .collect()
}

/// A promise names the test that proves it, and that test exists. In `THREAT_MODEL.md` and the
/// documents, a test is written `test:name` or `fuzz:name` in backticks.
pub fn named_tests_exist(tree: &Tree) -> Vec<Offence> {
    let mut tests = BTreeSet::new();
    for file in tree.rust("src/").into_iter().chain(tree.rust("tests/")) {
        for (name, first, _) in super::lexer::functions(&file.code) {
            if file.is_test[first - 1] {
                tests.insert(format!("test:{name}"));
            }
        }
    }
    for file in tree.rust("fuzz/fuzz_targets/") {
        let name = file
            .path
            .trim_start_matches("fuzz/fuzz_targets/")
            .trim_end_matches(".rs");
        tests.insert(format!("fuzz:{name}"));
    }
    let mut offences = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            for span in line.split('`').skip(1).step_by(2) {
                let is_name = span.starts_with("test:") || span.starts_with("fuzz:");
                if is_name && !tests.contains(span) {
                    offences.push(Offence::new(path, index + 1, format!("no such `{span}`")));
                }
            }
        }
    }
    offences
}

/// The top level holds what the architecture says, and nothing else but dotfiles.
pub fn top_level_is_short(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for entry in tree.top_level() {
        if !entry.starts_with('.') && !TOP_LEVEL.contains(&entry.as_str()) {
            offences.push(Offence::new(entry, 0, "does not belong to the top level"));
        }
    }
    for expected in TOP_LEVEL {
        if !tree.top_level().iter().any(|entry| entry == expected) {
            offences.push(Offence::new(expected, 0, "is missing"));
        }
    }
    offences
}

/// Nothing depends on, or tells of, the machine it was written on.
pub fn no_machine_paths(tree: &Tree) -> Vec<Offence> {
    // Spelled so that this file doesn't find itself.
    let marks = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut offences = Vec::new();
    for (path, text) in tree.iter() {
        for (index, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                let what = format!("names a path of one machine: {mark}");
                offences.push(Offence::new(path, index + 1, what));
            }
        }
    }
    offences
}
