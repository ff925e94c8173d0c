//! Templates and env files: the text around refs comes out byte for byte, every ref is one that
//! prints and parses, and the counts stay under their limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::reference::embedded::{
    EnvPiece, MAX_EMBEDDED_REFS, MAX_ENV_ENTRIES, Piece, env_file, template,
};
use reseal::reference::{Defaults, SecretRef};

fuzz_target!(|data: &[u8]| {
    let defaults = Defaults::default();
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(pieces) = template(text, &defaults) {
        check_pieces(text, &pieces);
    }
    if let Ok(entries) = env_file(text, &defaults) {
        assert!(entries.len() <= MAX_ENV_ENTRIES);
        let lines = text.lines().count();
        for entry in &entries {
            assert!(!entry.name.is_empty() && !entry.name.contains(['=', '\0', '\n']));
            assert!((1..=lines).contains(&entry.line));
            for piece in &entry.value {
                if let EnvPiece::Ref(reference) = piece {
                    parses_back(reference);
                }
            }
        }
    }
});

/// The text pieces, in order, are the text with the `{{ … }}` of the refs cut out.
fn check_pieces(text: &str, pieces: &[Piece<'_>]) {
    let mut rest = text;
    let mut refs = 0;
    for piece in pieces {
        match piece {
            Piece::Ref(reference) => {
                parses_back(reference);
                let cut = rest.strip_prefix("{{").expect("a ref stands in braces");
                rest = cut.split_once("}}").expect("a ref stands in braces").1;
                refs += 1;
            }
            Piece::Text(kept) => {
                rest = rest
                    .strip_prefix(kept)
                    .expect("the text around refs is kept");
            }
        }
    }
    assert!(rest.is_empty(), "text after the last piece");
    assert!(refs <= MAX_EMBEDDED_REFS);
}

fn parses_back(reference: &SecretRef) {
    assert_eq!(
        reference.to_string().parse::<SecretRef>().as_ref(),
        Ok(reference)
    );
}
