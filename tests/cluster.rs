//! docs/deploy/kubernetes.yaml on a real cluster of one node, which ends with the test.
//! `tests/run --cluster` builds the cluster's programs and runs it.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells what it was given, and ends when it is told to, as the first process of a container.
const AGENT: &str = "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
    #include <unistd.h>\n\
    static void end(int signal) { _exit(signal != SIGTERM); }\n\
    int main(void) { signal(SIGTERM, end); const char *key = getenv(\"OPENAI_API_KEY\");\n\
    printf(\"got %s\\n\", key ? key : \"nothing\"); fflush(stdout); pause(); }\n";

#[test]
fn the_manifest_runs_on_a_cluster_and_the_vault_outlives_the_pod() {
    let kubernetes = std::env::var_os("RESEAL_TEST_KUBERNETES").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = tempfile::tempdir().unwrap();
    let agent = work.path().join("agent");
    fs::write(agent.with_extension("c"), AGENT).unwrap();
    let compiled = Command::new("cc")
        .arg("-o")
        .args([&agent, &agent.with_extension("c")])
        .status()
        .unwrap();
    assert!(compiled.success());
    let output = Command::new("bash")
        .arg(root.join("tests/cluster/cluster.sh"))
        .args([
            Path::new(env!("CARGO_BIN_EXE_reseal")),
            Path::new(&kubernetes),
        ])
        .args([&root.join("docs/deploy"), work.path()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let facts: Vec<&str> = seen
        .lines()
        .filter(|line| !line.starts_with("sha256:"))
        .collect();
    let log = fs::read_to_string(work.path().join("log")).unwrap_or_default();
    for fact in [
        "secret set",
        "agent: got value-of-the-vault",
        "daemon: Uid: 1000 1000 1000 1000",
        "daemon: CapEff: 0000000000000000",
        "daemon: NoNewPrivs: 1",
        "daemon: Seccomp: 2",
        "volume: 1000 2700",
        "memory: ok",
        "sandbox: ok",
        "agent sees of the vault: ",
        "daemon ended: 1",
        "agent of the next pod: got value-of-the-vault",
        "end",
    ] {
        assert!(facts.contains(&fact), "not seen: {fact}\n{seen}\n{log}");
    }
    for never in ["the root takes files", "the agent sees the key"] {
        assert!(!facts.contains(&never), "{never}\n{log}");
    }
}
