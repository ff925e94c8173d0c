//! What every file keeps to: no leftovers, no shortcuts, and sizes a person can read.

use super::tree::{Offence, Rust, Tree};

/// The longest line in columns, the longest function and the longest file in lines.
const MAX_COLUMNS: usize = 100;
const MAX_FUNCTION: usize = 70;
const MAX_FILE: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Tests that may call `sleep`, each with the reason why no event can be waited for.
const SLEEPS: &[(&str, &str)] = &[];

/// The only files that print, and why.
const PRINTS: &[(&str, &str)] = &[];

/// Names that say nothing about what a module holds.
const NOT_NOUNS: &[&str] = &["util", "utils", "helpers", "common", "misc"];

/// Sizes: columns, lines of a function, lines of a file.
pub fn sizes_are_readable(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust("") {
        for (index, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                let what = format!("{columns} columns, at most {MAX_COLUMNS}");
                offences.push(Offence::new(&file.path, index + 1, what));
            }
        }
        for (name, first, last) in super::lexer::functions(&file.code) {
            let lines = last - first + 1;
            if lines > MAX_FUNCTION {
                let what = format!("fn {name} has {lines} lines, at most {MAX_FUNCTION}");
                offences.push(Offence::new(&file.path, first, what));
            }
        }
        let lines = file.text.lines().count();
        if lines > MAX_FILE && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
            let what = format!("{lines} lines, at most {MAX_FILE}");
            offences.push(Offence::new(&file.path, 0, what));
        }
    }
    offences
}

/// Nothing unfinished is left behind, in code or in prose.
pub fn nothing_is_unfinished(tree: &Tree) -> Vec<Offence> {
    // Spelled so that this file doesn't find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let macros = ["todo!", "unimplemented!", "dbg!"];
    let mut offences = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| is_prose_or_code(path)) {
        for (index, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                offences.push(Offence::new(path, index + 1, *mark));
            }
        }
    }
    for file in tree.rust("") {
        for (number, line) in file.code_lines() {
            for name in macros.iter().filter(|name| line.contains(**name)) {
                offences.push(Offence::new(&file.path, number, *name));
            }
            if line.contains("#[ignore") {
                offences.push(Offence::new(
                    &file.path,
                    number,
                    "an ignored test proves nothing",
                ));
            }
        }
    }
    offences
}

fn is_prose_or_code(path: &str) -> bool {
    let ends = [".rs", ".toml", ".md", ".sh", "/run"];
    ends.iter().any(|end| path.ends_with(end))
}

/// A program that holds credentials does not stop on an `unwrap`.
pub fn nothing_unwraps(tree: &Tree) -> Vec<Offence> {
    let found = |line: &str| line.contains(".unwrap()");
    shipped(tree, "unwrap() outside tests", found)
}

/// Tests wait for events. A sleep is a guess that makes them slow, flaky, or both.
pub fn tests_do_not_sleep(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust("") {
        if SLEEPS.iter().any(|(path, _)| *path == file.path) {
            continue;
        }
        for (number, line) in file.code_lines().filter(|(n, _)| file.is_test[n - 1]) {
            let words = super::lexer::words(line);
            if words
                .iter()
                .any(|(at, word)| *word == "sleep" && line[at + 5..].starts_with('('))
            {
                offences.push(Offence::new(&file.path, number, "a test sleeps"));
            }
        }
    }
    offences
}

/// Only the output module prints: everything else returns what is to be said.
pub fn only_output_prints(tree: &Tree) -> Vec<Offence> {
    let prints = ["println", "print", "eprintln", "eprint"];
    let found = |line: &str| {
        let words = super::lexer::words(line);
        words
            .iter()
            .any(|(at, word)| prints.contains(word) && line[at + word.len()..].starts_with('!'))
    };
    let mut offences = shipped(tree, "prints outside the output module", found);
    offences.retain(|offence| !PRINTS.iter().any(|(path, _)| *path == offence.path));
    offences
}

/// Every module says in its header what it is, and has a name that does.
pub fn modules_introduce_themselves(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust("src/") {
        if !file.text.starts_with("//!") && !file.is_test[0] {
            offences.push(Offence::new(&file.path, 1, "no module header"));
        }
        let stem = file
            .path
            .trim_end_matches("/mod.rs")
            .trim_end_matches(".rs");
        let name = stem.rsplit('/').next().unwrap_or_default();
        if NOT_NOUNS.contains(&name) {
            offences.push(Offence::new(
                &file.path,
                0,
                format!("`{name}` is not a noun"),
            ));
        }
    }
    offences
}

fn shipped(tree: &Tree, what: &str, found: impl Fn(&str) -> bool) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust("src/") {
        let lines = |file: &Rust| -> Vec<usize> {
            file.shipped_lines()
                .filter(|(_, line)| found(line))
                .map(|(n, _)| n)
                .collect()
        };
        offences.extend(
            lines(&file)
                .into_iter()
                .map(|n| Offence::new(&file.path, n, what)),
        );
    }
    offences
}
