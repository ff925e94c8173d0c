//! The rules that the whole tree keeps, each with a planted violation that shows that it fires.

mod tidy {
    pub mod docs;
    pub mod layers;
    pub mod lexer;
    pub mod style;
    pub mod tree;
}

use std::path::Path;
use std::process::Command;
use tidy::tree::{Offence, Tree};
use tidy::{docs, layers, style};

type Rule = fn(&Tree) -> Vec<Offence>;

/// Holds the project to a rule; the message lists every offender.
#[track_caller]
fn hold(rule: Rule) {
    let offences = rule(&Tree::load());
    let list: Vec<String> = offences
        .iter()
        .map(|o| format!("  {}:{}: {}", o.path, o.line, o.what))
        .collect();
    assert!(
        list.is_empty(),
        "{} offences:\n{}",
        list.len(),
        list.join("\n")
    );
}

/// Shows that a rule finds exactly what was planted: the lines of `path`, in order.
#[track_caller]
fn fires(rule: Rule, files: &[(&str, &str)], path: &str, lines: &[usize]) {
    let offences = rule(&Tree::of(files));
    let mut found: Vec<usize> = offences
        .iter()
        .filter(|o| o.path == path)
        .map(|o| o.line)
        .collect();
    found.sort_unstable();
    assert_eq!(found, lines, "{offences:?}");
}

const DIAGRAM: (&str, &str) = (
    "src/lib.rs",
    "//! ```text\n//!  9  cli\n//! == purity wall == (none)\n//!  2  vault   0  name\n\
     //! -1  sys\n//! ```\n",
);

#[test]
fn imports_point_down() {
    hold(layers::imports_point_down);
}

#[test]
fn an_import_upwards_is_found() {
    let vault = "use crate::{\n    name::X,\n    cli::Y,\n};\nfn f() { crate::cli::g() }\n\
                 #[cfg(test)]\nmod tests { use crate::cli; }\n";
    let files = [DIAGRAM, ("src/vault/mod.rs", vault), ("src/new.rs", "")];
    fires(
        layers::imports_point_down,
        &files,
        "src/vault/mod.rs",
        &[3, 5],
    );
    fires(layers::imports_point_down, &files, "src/new.rs", &[0]);
}

#[test]
fn the_core_is_pure() {
    hold(layers::core_is_pure);
}

#[test]
fn an_impure_core_is_found() {
    let vault = "use std::{io::Read, fs};\nuse std::time::{Duration, Instant};\n\
                 fn f() { std::env::var(\"X\"); let d = std::time::Duration::ZERO; }\n// std::fs\n";
    let files = [
        DIAGRAM,
        ("src/vault/a.rs", vault),
        ("src/cli/mod.rs", "use std::fs;"),
    ];
    fires(layers::core_is_pure, &files, "src/vault/a.rs", &[1, 2, 3]);
    fires(layers::core_is_pure, &files, "src/cli/mod.rs", &[]);
}

#[test]
fn unsafe_is_at_the_edge() {
    hold(layers::unsafe_is_at_the_edge);
}

#[test]
fn unsafe_elsewhere_is_found() {
    let forbidding = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
    let files = [
        ("src/vault/mod.rs", forbidding),
        ("src/name.rs", "//! No wall.\n"),
        ("src/sys/mod.rs", "unsafe fn f() {}\n"),
    ];
    fires(
        layers::unsafe_is_at_the_edge,
        &files,
        "src/vault/mod.rs",
        &[2],
    );
    fires(layers::unsafe_is_at_the_edge, &files, "src/name.rs", &[0]);
    fires(layers::unsafe_is_at_the_edge, &files, "src/sys/mod.rs", &[]);
}

#[test]
fn expose_is_listed() {
    hold(layers::expose_is_listed);
}

#[test]
fn an_unlisted_expose_is_found() {
    let files = [("src/config/mod.rs", "//! X\nfn f(v: V) { v.expose(); }\n")];
    fires(layers::expose_is_listed, &files, "src/config/mod.rs", &[2]);
}

#[test]
fn secrets_derive_nothing() {
    hold(layers::secrets_derive_nothing);
}

#[test]
fn a_derive_on_a_secret_is_found() {
    let files = [(
        "src/secret/mod.rs",
        "#[derive(Clone, Debug)]\npub struct S(u8);\n",
    )];
    fires(
        layers::secrets_derive_nothing,
        &files,
        "src/secret/mod.rs",
        &[2],
    );
}

#[test]
fn dependencies_are_allowed() {
    hold(layers::dependencies_are_allowed);
}

#[test]
fn a_banned_dependency_is_found() {
    let lock = "name = \"rsa\"\nname = \"serde\"\nsource = \"git+https://example.org/x\"\n";
    fires(
        layers::dependencies_are_allowed,
        &[("Cargo.lock", lock)],
        "Cargo.lock",
        &[1, 3],
    );
}

#[test]
fn sizes_are_readable() {
    hold(style::sizes_are_readable);
}

#[test]
fn sizes_out_of_bounds_are_found() {
    let long_line = format!("// {}\n", "x".repeat(98));
    let long_function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(69));
    let long_file = "// x\n".repeat(601);
    let files = [
        ("src/a.rs", long_line.as_str()),
        ("src/b.rs", long_function.as_str()),
        ("src/c.rs", long_file.as_str()),
    ];
    fires(style::sizes_are_readable, &files, "src/a.rs", &[1]);
    fires(style::sizes_are_readable, &files, "src/b.rs", &[1]);
    fires(style::sizes_are_readable, &files, "src/c.rs", &[0]);
}

#[test]
fn nothing_is_unfinished() {
    hold(style::nothing_is_unfinished);
}

#[test]
fn unfinished_work_is_found() {
    let code = "fn f() { todo!() }\n#[ignore]\nfn g() { dbg!(1); }\n";
    let prose = concat!("Fine.\nTO", "DO: more\n");
    let files = [("src/a.rs", code), ("docs/a.md", prose)];
    fires(style::nothing_is_unfinished, &files, "src/a.rs", &[1, 2, 3]);
    fires(style::nothing_is_unfinished, &files, "docs/a.md", &[2]);
}

#[test]
fn nothing_unwraps() {
    hold(style::nothing_unwraps);
}

#[test]
fn an_unwrap_is_found() {
    let code = "fn f() { g().unwrap(); }\n#[cfg(test)]\nfn t() { g().unwrap(); }\n";
    fires(
        style::nothing_unwraps,
        &[("src/a.rs", code)],
        "src/a.rs",
        &[1],
    );
}

#[test]
fn tests_do_not_sleep() {
    hold(style::tests_do_not_sleep);
}

#[test]
fn a_sleeping_test_is_found() {
    let code = "fn f() { sleep(d) }\n#[cfg(test)]\nfn t() { thread::sleep(d); }\n";
    fires(
        style::tests_do_not_sleep,
        &[("src/a.rs", code)],
        "src/a.rs",
        &[3],
    );
}

#[test]
fn only_output_prints() {
    hold(style::only_output_prints);
}

#[test]
fn a_print_elsewhere_is_found() {
    let code = "fn f() { println!(\"x\"); }\nfn g() { s.print(); }\n";
    fires(
        style::only_output_prints,
        &[("src/a.rs", code)],
        "src/a.rs",
        &[1],
    );
}

#[test]
fn modules_introduce_themselves() {
    hold(style::modules_introduce_themselves);
}

#[test]
fn a_module_without_a_header_is_found() {
    let files = [
        ("src/a.rs", "fn f() {}\n"),
        ("src/vault/util.rs", "//! X.\n"),
    ];
    fires(
        style::modules_introduce_themselves,
        &files,
        "src/a.rs",
        &[1],
    );
    fires(
        style::modules_introduce_themselves,
        &files,
        "src/vault/util.rs",
        &[0],
    );
}

#[test]
fn errors_are_documented() {
    if std::env::var_os("RESEAL_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
        let text = std::fs::read_to_string(path).expect("docs/errors.md is there");
        std::fs::write(path, docs::with_error_table(&text)).expect("docs/errors.md is writable");
    }
    hold(docs::errors_are_documented);
}

#[test]
fn a_stale_error_list_is_found() {
    let stale = format!(
        "# Errors\n\n{}",
        docs::error_table().replace("| 7 |", "| 1 |")
    );
    let first = docs::error_table()
        .lines()
        .position(|line| line.contains("| 7 |"));
    let line = first.expect("some error is of the kind corrupt") + 3;
    fires(
        docs::errors_are_documented,
        &[("docs/errors.md", &stale)],
        "docs/errors.md",
        &[line],
    );
}

#[test]
fn links_resolve() {
    hold(docs::links_resolve);
}

#[test]
fn a_dead_link_is_found() {
    let text = "[a](b.md)\n[a](c.md)\n[a](b.md#the-head)\n[a](b.md#no)\n[w](https://x.y)\n\
                [up](../README.md)\n";
    let files = [
        ("docs/a.md", text),
        ("docs/b.md", "## The head\n"),
        ("README.md", ""),
    ];
    fires(docs::links_resolve, &files, "docs/a.md", &[2, 4]);
}

#[test]
fn named_tests_exist() {
    hold(docs::named_tests_exist);
}

#[test]
fn a_promise_without_its_test_is_found() {
    let model = "`test:there`\n`test:gone`\n`fuzz:header` and `fuzz:none`\n`test:shipped`\n";
    let files = [
        ("THREAT_MODEL.md", model),
        ("src/a.rs", "fn shipped() {}\n"),
        ("tests/a.rs", "fn there() {}\n"),
        ("fuzz/fuzz_targets/header.rs", ""),
    ];
    fires(
        docs::named_tests_exist,
        &files,
        "THREAT_MODEL.md",
        &[2, 3, 4],
    );
}

#[test]
fn top_level_is_short() {
    hold(docs::top_level_is_short);
}

#[test]
fn clutter_is_found() {
    let files = [("scripts/x.sh", ""), (".ci/run", "")];
    fires(docs::top_level_is_short, &files, "scripts", &[0]);
    fires(docs::top_level_is_short, &files, ".ci", &[]);
    fires(docs::top_level_is_short, &files, "README.md", &[0]);
}

#[test]
fn no_machine_paths() {
    hold(docs::no_machine_paths);
}

#[test]
fn a_machine_path_is_found() {
    let text = concat!("fine\nsee /wo", "rk/main\n");
    fires(
        docs::no_machine_paths,
        &[("docs/a.md", text)],
        "docs/a.md",
        &[2],
    );
}

/// What mutants and sanitizers are run on (`tests/run --mutants`, `--sanitizers`).
#[test]
fn a_part_of_the_code_is_a_crate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let part = Command::new(root.join("tests/assurance/part.py"))
        .arg(folder.path())
        .arg("crypto")
        .output()
        .unwrap();
    assert!(part.status.success(), "{part:?}");
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{metadata:?}");
    let lib = std::fs::read_to_string(folder.path().join("src/lib.rs")).unwrap();
    assert!(lib.contains("pub mod crypto;") && !lib.contains("pub mod vault;"));
}
