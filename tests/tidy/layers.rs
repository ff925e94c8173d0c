//! The architecture: layers, the purity wall, who may be unsafe, who may look inside a secret.

use super::tree::{Offence, Rust, Tree};
use std::collections::BTreeMap;

/// Imports between modules of one layer, or upwards, that are meant, each with its reason.
const MEANT: &[(&str, &str, &str)] = &[
    (
        "secret",
        "sys",
        "a secret lies in locked memory, which is the system's",
    ),
    (
        "sys",
        "secret",
        "the terminal reads a passphrase straight into a secret",
    ),
    ("sys", "time", "the clock gives the type of layer 0"),
    ("sys", "error", "the edge reports with the codes of layer 0"),
    ("name", "error", "layer 0 shares one list of codes"),
    ("time", "error", "layer 0 shares one list of codes"),
    ("secret", "error", "layer 0 shares one list of codes"),
    (
        "credentials",
        "daemon",
        "a profile's credential is asked of the daemon",
    ),
    ("helper", "launch", "both take the one `Lookup` of `launch`"),
    (
        "migrate",
        "apply",
        "a migration is carried out by the engine that carries out plans",
    ),
    (
        "mcp",
        "sign_in",
        "a server names a provider, and people sign in there as anywhere",
    ),
    (
        "family",
        "store",
        "state folders of others are read with the same bounds",
    ),
    (
        "token_store",
        "store",
        "token files are written like any other state file",
    ),
    (
        "token_store",
        "keyring",
        "token sets can lie in the keyring",
    ),
    (
        "unlock",
        "keyring",
        "the key of a slot can lie in the keyring",
    ),
    (
        "plaintext",
        "reference",
        "a ref or a marker is no plaintext",
    ),
    (
        "plaintext",
        "document",
        "a value is looked for as JSON writes it",
    ),
];

/// The only files that may call `expose()`, and why each must.
const EXPOSE: &[(&str, &str)] = &[
    ("src/secret/mod.rs", "the type itself: equality, slices"),
    ("src/secret/json.rs", "values into JSON in locked memory"),
    ("src/daemon/wire.rs", "the daemon's frame writer"),
    ("src/daemon/capability.rs", "a capability as text"),
    (
        "src/cli/output.rs",
        "values to stdout: the one place that prints them",
    ),
    ("src/store/files.rs", "a secret into a private file"),
    ("src/cli/new_slot.rs", "a new key into its file"),
    ("src/cli/grants.rs", "a new capability into its file"),
    (
        "src/cli/vault/vault_owner.rs",
        "a new key to this program, started as the vault's owner",
    ),
    (
        "src/unlock/systemd_creds.rs",
        "a new key to the program that encrypts it",
    ),
    (
        "src/cli/models/paste.rs",
        "a pasted key is checked for its form",
    ),
    ("src/cli/token.rs", "a credential is checked for its form"),
    (
        "src/cli/models/status/probe.rs",
        "a credential is checked for its form",
    ),
    (
        "src/cli/quickstart.rs",
        "the digest that the child's is compared with",
    ),
    ("src/net/http/mod.rs", "bodies and headers of requests"),
    ("src/runtime/export.rs", "an export is parsed"),
    ("src/runtime/probe.rs", "a credential into a header"),
    (
        "src/helper/exec_provider/mod.rs",
        "the answer of the exec protocol",
    ),
    (
        "src/helper/git.rs",
        "git's question is parsed, its answer laid out",
    ),
    (
        "src/helper/docker.rs",
        "Docker's request is parsed; is a value text",
    ),
    ("src/helper/aws.rs", "AWS keys are found in a record"),
    (
        "src/launch/binding.rs",
        "an env file's text, which may hold plaintext",
    ),
    ("src/launch/inject.rs", "values into a template"),
    ("src/launch/mask.rs", "values are looked for in output"),
    ("src/oauth/callback.rs", "what came back from the browser"),
    ("src/oauth/claims.rs", "the payload of a JWT"),
    ("src/oauth/pkce.rs", "the digest of a verifier"),
    (
        "src/oauth/record.rs",
        "the document of an account is parsed",
    ),
    (
        "src/oauth/request.rs",
        "tokens into request bodies; answers are parsed",
    ),
    ("src/oauth/tokens.rs", "a token is checked for its form"),
    (
        "src/migrate/entry.rs",
        "the digest of an account that moves, to know it again",
    ),
    (
        "src/migrate/fast_agent.rs",
        "a hint at a key is told from a key",
    ),
    (
        "src/migrate/export.rs",
        "values into the files of an export in plaintext",
    ),
    ("src/plaintext/needles.rs", "values are looked for in files"),
    ("src/launch/run.rs", "values into a program's environment"),
    (
        "src/source/file/mod.rs",
        "values are cut out of a file's content",
    ),
    ("src/keyring/mod.rs", "a secret into its entry"),
    (
        "src/credentials/vault.rs",
        "the document of a token set is parsed",
    ),
    (
        "src/token_store/fast_agent.rs",
        "texts of entries are parsed, cut and joined",
    ),
    ("src/token_store/file.rs", "tokens into their file"),
    ("src/crypto/aead.rs", "the key of a cipher call"),
    ("src/crypto/derive.rs", "the input of a derivation"),
    (
        "src/vault/keys.rs",
        "serialised for the hand-over to the daemon",
    ),
    (
        "src/vault/slot/recovery.rs",
        "the text form of a recovery code",
    ),
    (
        "src/vault/slot/wrap.rs",
        "the root key and the secret that wraps it",
    ),
    ("src/vault/value.rs", "the payload that is sealed"),
    (
        "src/unlock/age/identity.rs",
        "the lines of an identity file",
    ),
    (
        "src/unlock/age/mod.rs",
        "what age encrypts, and its passphrases",
    ),
    (
        "src/unlock/age/plugin.rs",
        "identities and answers, to a plugin's pipe",
    ),
    ("src/unlock/age/stanza.rs", "messages of a plugin"),
    ("src/unlock/key_file.rs", "hexadecimal to bytes; is it text"),
    ("src/unlock/keyring.rs", "bytes to hexadecimal"),
    ("src/unlock/mod.rs", "is a passphrase ASCII"),
];

/// What code below the purity wall may not name: the outside world in all its forms.
const IMPURE: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "env"],
    &["std", "net"],
    &["std", "process"],
    &["std", "os"],
    &["std", "thread"],
    &["std", "time", "SystemTime"],
    &["std", "time", "Instant"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["getrandom"],
    &["rustix"],
    &["libc"],
    &["tokio"],
    &["rpassword"],
    &["rand"],
];

/// The layer of each module, as drawn in `src/lib.rs`, and whether it lies below the wall.
struct Diagram {
    layers: BTreeMap<String, i32>,
    pure: Vec<String>,
}

impl Diagram {
    fn read(tree: &Tree) -> Self {
        let text = tree.text("src/lib.rs").unwrap_or_default();
        let drawing = text.split("```").nth(1).unwrap_or_default();
        let mut diagram = Self {
            layers: BTreeMap::new(),
            pure: Vec::new(),
        };
        let mut below_wall = false;
        for line in drawing
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches("//!"))
        {
            if line.contains("purity wall") {
                below_wall = true;
                continue;
            }
            let mut layer = None;
            for word in line.split_whitespace() {
                match word.parse::<i32>() {
                    Ok(number) => layer = Some(number),
                    Err(_) => {
                        let Some(layer) = layer else { continue };
                        diagram.layers.insert(word.to_owned(), layer);
                        if below_wall && layer >= 0 {
                            diagram.pure.push(word.to_owned());
                        }
                    }
                }
            }
        }
        diagram
    }
}

/// Imports point down: a module names only modules of lower layers, its own, or a meant one.
pub fn imports_point_down(tree: &Tree) -> Vec<Offence> {
    let diagram = Diagram::read(tree);
    let mut offences = Vec::new();
    for file in tree.rust("src/") {
        let module = file.module().to_owned();
        if module.is_empty() {
            continue;
        }
        let Some(own) = diagram.layers.get(&module) else {
            let what = format!("module `{module}` is not in the diagram of src/lib.rs");
            offences.push(Offence::new(&file.path, 0, what));
            continue;
        };
        for (line, path) in file.shipped_paths() {
            let target = match path[0].as_str() {
                "crate" | "reseal" => &path[1],
                _ => continue,
            };
            let Some(theirs) = diagram.layers.get(target) else {
                continue;
            };
            let meant = MEANT
                .iter()
                .any(|(from, to, _)| *from == module && to == target);
            if *target != module && theirs >= own && !meant {
                let what = format!("layer {own} `{module}` imports layer {theirs} `{target}`");
                offences.push(Offence::new(&file.path, line, what));
            }
        }
    }
    offences
}

/// Below the wall nothing names files, environment, clock, network, processes or OS randomness.
pub fn core_is_pure(tree: &Tree) -> Vec<Offence> {
    let diagram = Diagram::read(tree);
    let mut offences = Vec::new();
    for file in tree.rust("src/") {
        if !diagram.pure.iter().any(|pure| pure == file.module()) {
            continue;
        }
        for (line, path) in file.shipped_paths() {
            let named = |impure: &&&[&str]| {
                impure.len() <= path.len() && impure.iter().zip(&path).all(|(a, b)| a == b)
            };
            if IMPURE.iter().any(|impure| named(&impure)) {
                offences.push(Offence::new(&file.path, line, path.join("::")));
            }
        }
    }
    offences
}

/// `unsafe` stands only in `sys`; every other module forbids it, so that no edit lets it in.
pub fn unsafe_is_at_the_edge(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree
        .rust("src/")
        .into_iter()
        .filter(|file| file.module() != "sys")
    {
        for (line, code) in file.code_lines() {
            let words = super::lexer::words(code);
            if words.iter().any(|(_, word)| *word == "unsafe") {
                offences.push(Offence::new(&file.path, line, "unsafe outside sys"));
            }
        }
        let is_root = file.path == format!("src/{}.rs", file.module())
            || file.path == format!("src/{}/mod.rs", file.module())
            || file.path == "src/main.rs";
        // A macro of `sys` names the function that the C library calls, which counts as unsafe.
        let wall = match file.path.as_str() {
            "src/main.rs" => "#![deny(unsafe_code)]",
            _ => "#![forbid(unsafe_code)]",
        };
        if is_root && !file.code.contains(wall) {
            offences.push(Offence::new(&file.path, 0, format!("no {wall}")));
        }
    }
    offences
}

/// Only listed files look inside a secret, and the list holds no file that doesn't.
pub fn expose_is_listed(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    let files = tree.rust("src/");
    let calls = |file: &Rust| {
        let call = |(_, line): &(usize, &str)| line.contains(".expose()");
        file.shipped_lines().find(call).map(|(number, _)| number)
    };
    for file in &files {
        let listed = EXPOSE.iter().any(|(path, _)| *path == file.path);
        if let Some(line) = calls(file).filter(|_| !listed) {
            offences.push(Offence::new(
                &file.path,
                line,
                "expose() in a file not listed",
            ));
        }
    }
    for (path, _) in EXPOSE {
        if !files
            .iter()
            .any(|file| file.path == *path && calls(file).is_some())
        {
            offences.push(Offence::new(path, 0, "listed for expose() but has none"));
        }
    }
    offences
}

/// No secret type gets a derive that would print, copy or compare it.
pub fn secrets_derive_nothing(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for file in tree.rust("src/secret/") {
        let mut derived = String::new();
        for (line, code) in file.shipped_lines() {
            if code.trim_start().starts_with("#[derive(") {
                derived = code.trim().to_owned();
            } else if code.contains("struct ") {
                let forbidden = [
                    "Debug",
                    "Display",
                    "Serialize",
                    "PartialEq",
                    "Copy",
                    "Deref",
                ];
                for name in forbidden.into_iter().filter(|name| derived.contains(name)) {
                    offences.push(Offence::new(&file.path, line, format!("derives {name}")));
                }
                derived.clear();
            }
        }
    }
    offences
}

/// The crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("rsa", "RUSTSEC-2023-0071 has no fix"),
    ("openssl-sys", "no system TLS"),
    ("native-tls", "no system TLS"),
    (
        "aws-lc-sys",
        "needs a C tool chain and a minute of build time",
    ),
];

/// The lock file holds no banned crate, and nothing from outside the registry.
pub fn dependencies_are_allowed(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    let lock = tree.text("Cargo.lock").unwrap_or_default();
    for (index, line) in lock.lines().enumerate() {
        if let Some(name) = line
            .strip_prefix("name = ")
            .map(|name| name.trim_matches('"'))
            && let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name)
        {
            offences.push(Offence::new(
                "Cargo.lock",
                index + 1,
                format!("{name}: {why}"),
            ));
        }
        let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        if line.starts_with("source = ") && line != registry {
            offences.push(Offence::new("Cargo.lock", index + 1, "not from crates.io"));
        }
    }
    offences
}
