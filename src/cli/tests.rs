//! The definitions of the command line are sound, and `docs/cli.md` shows them.

use super::*;

#[test]
fn the_definitions_are_sound() {
    full_command().debug_assert();
}

#[test]
fn cli_docs_show_every_command() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let text = reference_page::text();
    if std::env::var_os("RESEAL_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == text,
        "docs/cli.md differs: RESEAL_BLESS=1 cargo test --lib cli_docs"
    );
}
