//! What stands in a secret's place and is none: refs, markers of runtimes, placeholders, and the
//! example keys of vendors' own documentation.
//!
//! Invariant: a text that only resembles one of these is not one; a miss costs a look by a person,
//! a wrong guess leaves a secret behind.

use crate::reference::embedded;
use crate::reference::input::{MANAGED_MARKER, REDACTED_MARKER, TEXT_PREFIX, older_spelling};
use crate::reference::{Defaults, is_env_name};

/// What a text is, if it is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Nothing but blanks.
    Empty,
    /// A ref in text form, in an older spelling, or `${NAME}` somewhere in it.
    Ref,
    /// What a runtime writes where a credential lies elsewhere, such as `secretref-managed`.
    Managed,
    /// What a runtime shows in place of a secret. As a stored value it is a mistake.
    Redacted,
    /// The name of the variable that holds the secret.
    Name,
    /// A hint at what to write there, such as `<your-api-key>` or `sk-xxxx`.
    Placeholder,
    /// A key of some vendor's documentation.
    Example,
}

/// The longest text that can be one of these, in bytes; longer ones are none.
pub const MAX_MARKER: usize = 512;

/// Markers of the family that hold no secret, beside those of [`crate::reference`].
const RUNTIME: &[&str] = &[
    "codex-app-server",
    "custom-local",
    "gcp-vertex-credentials",
    "lmstudio-local",
    "minimax-oauth",
    "ollama-local",
    "qwen-oauth",
];

/// Words that, between other characters than letters and digits, make a placeholder.
const WORDS: &[&str] = &[
    "changeme",
    "dummy",
    "example",
    "fake",
    "fixme",
    "here",
    "insert",
    "placeholder",
    "redacted",
    "replace",
    "replaceme",
    "sample",
    "todo",
    "your",
    "yours",
];

/// Parts that make a placeholder wherever they stand, as lower case.
const PARTS: &[&str] = &[
    "...",
    "\u{2026}",
    "0123456789",
    "1234567890",
    "abcdefghij",
    "apikeyhere",
    "change-me",
    "change_me",
    "changeme",
    "example",
    "not-needed",
    "not-required",
    "placeholder",
    "replaceme",
    "yourapikey",
    "yourkey",
    "yoursecret",
    "yourtoken",
];

/// Whole texts that say that there is no secret.
const NOTHING: &[&str] = &[
    "-",
    "anything",
    "default",
    "disabled",
    "empty",
    "false",
    "local",
    "n/a",
    "na",
    "no",
    "no-key",
    "none",
    "null",
    "ollama",
    "true",
    "undefined",
    "unset",
    "yes",
];

/// Keys that stand in vendors' documentation.
const EXAMPLES: &[&str] = &[
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11",
    "4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc",
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "mF_9.B5f-4.1JqM",
    "2YotnFZFEjr1zCsicMWpAA",
    "tGzv3JOkF0XG5Qx2TlKWIA",
];

/// Characters that people repeat where a secret goes.
const FILLERS: &[char] = &['x', 'X', '*', '.', '\u{2022}', '#', '_', '?', '0'];
/// So many of one filler in a row are no part of a key.
const FILLER_RUN: usize = 6;

/// What a text is, if it is no secret; `None` for anything that may be one.
pub fn of(text: &str) -> Option<Marker> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Marker::Empty);
    }
    if text.len() > MAX_MARKER {
        return None;
    }
    let text = scheme_value(text);
    if text == REDACTED_MARKER {
        return Some(Marker::Redacted);
    }
    if is_ref(text) {
        return Some(Marker::Ref);
    }
    if text == MANAGED_MARKER || RUNTIME.contains(&text) || text.starts_with("oauth:") {
        return Some(Marker::Managed);
    }
    if is_env_name(text) && text.contains('_') {
        return Some(Marker::Name);
    }
    if EXAMPLES.iter().any(|example| text.contains(example)) {
        return Some(Marker::Example);
    }
    is_placeholder(text).then_some(Marker::Placeholder)
}

/// What stands behind `Bearer` and the like.
fn scheme_value(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, rest)) if is_scheme(scheme) => rest.trim_start(),
        _ => text,
    }
}

/// True for the authentication schemes whose credentials are one word.
pub fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "token", "apikey", "bot"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn is_ref(text: &str) -> bool {
    let defaults = Defaults::default();
    let embedded = || {
        let pieces = embedded::template(text, &defaults).unwrap_or_default();
        pieces.iter().any(|p| matches!(p, embedded::Piece::Ref(_)))
    };
    let written = text
        .strip_prefix(TEXT_PREFIX)
        .is_some_and(|rest| crate::reference::SecretRef::parse_text(rest, &defaults).is_ok());
    written || older_spelling(text, &defaults).is_some() || interpolates(text) || embedded()
}

/// `${NAME}` as a part of the text, which a runtime fills in.
fn interpolates(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        if after
            .split_once('}')
            .is_some_and(|(name, _)| is_env_name(name))
        {
            return true;
        }
        rest = after;
    }
    false
}

fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let framed = [("<", ">"), ("{", "}"), ("[", "]"), ("%", "%")]
        .iter()
        .any(|(open, close)| text.len() > 1 && text.starts_with(open) && text.ends_with(close));
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    framed
        || NOTHING.contains(&lower.as_str())
        || PARTS.iter().any(|part| lower.contains(part))
        || words.any(|word| WORDS.contains(&word))
        || has_filler(text)
        || all_the_same(text)
}

fn has_filler(text: &str) -> bool {
    let (mut last, mut run) = ('\0', 0);
    for c in text.chars() {
        run = if c == last { run + 1 } else { 1 };
        last = c;
        if run >= FILLER_RUN && FILLERS.contains(&c) {
            return true;
        }
    }
    false
}

/// Three or more characters, all equal.
fn all_the_same(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    text.chars().count() > 2 && chars.all(|c| Some(c) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_secret_is_known_for_what_it_is() {
        let table = [
            ("  ", Marker::Empty),
            ("secretref-managed", Marker::Managed),
            ("Bearer secretref-managed", Marker::Managed),
            ("oauth:chutes", Marker::Managed),
            ("ollama-local", Marker::Managed),
            ("__OPENCLAW_REDACTED__", Marker::Redacted),
            ("${OPENAI_API_KEY}", Marker::Ref),
            ("$OPENAI_API_KEY", Marker::Ref),
            ("secretref-env:OPENAI_API_KEY", Marker::Ref),
            ("secretref:vault:openai/default", Marker::Ref),
            ("Bearer {{ secretref:vault:a }}", Marker::Ref),
            ("prefix-${TOKEN}-suffix", Marker::Ref),
            ("OPENAI_API_KEY", Marker::Name),
            ("<your-api-key>", Marker::Placeholder),
            ("sk-your-key-here", Marker::Placeholder),
            ("sk-ant-xxxxxxxxxxxxxxxx", Marker::Placeholder),
            ("sk-...", Marker::Placeholder),
            ("YOUR_API_KEY here", Marker::Placeholder),
            ("********", Marker::Placeholder),
            ("sk-1234567890abcdef", Marker::Placeholder),
            ("not-needed", Marker::Placeholder),
            ("AKIAIOSFODNN7EXAMPLE", Marker::Example),
            ("sk_test_4eC39HqLyjWDarjtT1zdp7dc", Marker::Example),
        ];
        for (text, marker) in table {
            assert_eq!(of(text), Some(marker), "{text}");
        }
    }

    #[test]
    fn what_only_resembles_one_may_be_a_secret() {
        for text in [
            "secretref-managed2",
            "hunter2hunter2",
            "correct horse battery staple",
            "Bearer 9f8e7d6c5b4a39281706f5e4",
            "AKIAQ3EGRLJ5XWCPB2NV",
            "$lowercase",
            "${lower}",
            "password",
            "secretref:nothing",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of(&"x".repeat(MAX_MARKER)), Some(Marker::Placeholder));
        assert_eq!(of(&"x".repeat(MAX_MARKER + 1)), None);
    }

    proptest! {
        // A fixed count of cases over a large alphabet: a key that was made by chance is no marker.
        #[test]
        fn random_keys_are_no_markers(key in "[A-Za-z1-9]{32,64}") {
            prop_assert_eq!(of(&key), None);
            prop_assert_eq!(of(&format!("sk-proj-{key}")), None);
        }
    }
}
