//! A plan that is read keeps its limits and is written back as the same plan; what is refused has
//! at least one error, and neither an error nor `Debug` shows the definition of a provider, whose
//! literal variables may be secrets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::config::target;
use reseal::plan::{MAX_ERRORS, MAX_TARGETS, Place, Plan};

const CANARY: &str = "canary-6f1c9a04e7";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Plan::parse(text, "fuzz") {
        Ok(plan) => holds(&plan),
        Err(errors) => assert!((1..=MAX_ERRORS).contains(&errors.all().len())),
    }
    hides_definitions(text);
});

fn holds(plan: &Plan) {
    assert!(plan.targets.len() <= MAX_TARGETS);
    for target in &plan.targets {
        match &target.place {
            Place::Config(path) => {
                assert!(target::find(path.segments()).is_some(), "no place: {path}");
                let forbidden = ["__proto__", "prototype", "constructor"];
                let keys = path.segments().iter().filter_map(|s| s.as_key());
                assert!(!keys.into_iter().any(|key| forbidden.contains(&key)));
            }
            Place::Profile { field, .. } => assert_eq!(target.kind, field.kind()),
        }
    }
    let again = Plan::parse(&plan.to_text(), "again").expect("a written plan is read");
    assert_eq!(again, *plan);
}

/// The same text as the variable of a provider in a plan of its own.
fn hides_definitions(text: &str) {
    let plan = serde_json::json!({
        "version": 1,
        "protocolVersion": 1,
        "providerUpserts": {"a": {"source": "exec", "command": text, "env": {"V": CANARY}}},
        "targets": [],
    });
    let shown = match Plan::parse(&plan.to_string(), "fuzz") {
        Ok(plan) => format!("{plan:?}"),
        Err(errors) => format!("{errors} {errors:?}"),
    };
    assert!(!shown.contains(CANARY), "a definition shows: {shown}");
}
