//! The report of what the last activation found.

use super::*;

/// A provider that notes each start of itself is not started.
#[test]
fn a_report_of_the_snapshot_asks_no_source() {
    let world = World::new();
    let (answer, config) = world.exec_provider();
    let started = world.folder.path().join("started");
    let command = world.folder.path().join("provider");
    let script = format!(
        "#!/bin/sh\necho x >> {}\ncat {}\n",
        started.display(),
        answer.display()
    );
    fs::write(&command, script).unwrap();
    world.config(&config);
    world.profiles("main", OPENAI);
    world.profiles("off", &OPENAI.replace("openai/default", "missing"));
    world.put("openai/default", "sk-1");
    answer_with(&answer, "first");
    world
        .runtime
        .activate(Tolerance {
            allow_degraded: true,
        })
        .unwrap();
    let times = || fs::read_to_string(&started).unwrap().len();
    let before = times();
    let main: AgentId = "main".parse().unwrap();
    let outcomes = |agent| {
        let report = world.runtime.published(agent).unwrap();
        let outcome = |entry: super::super::service::RefReport| {
            (entry.reference.unwrap().to_string(), entry.outcome)
        };
        report.refs.into_iter().map(outcome).collect::<Vec<_>>()
    };
    let exec = ("exec@op:key".to_owned(), RefOutcome::Ok);
    let vault = ("vault:openai/default".to_owned(), RefOutcome::Ok);
    let missing = ("vault:missing".to_owned(), RefOutcome::Error);
    assert_eq!(outcomes(Some(&main)), [exec.clone(), vault.clone()]);
    assert_eq!(outcomes(None), [exec, vault, missing]);
    assert_eq!(times(), before);
    world.runtime.lock();
    assert_eq!(
        world.runtime.published(None).unwrap_err().code,
        Code::VaultSealed
    );
}
