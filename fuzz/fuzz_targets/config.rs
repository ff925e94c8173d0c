//! A config that is read keeps its limits; a project's config gets no power; a plaintext value in a
//! place where a secret belongs shows in no error and in no `Debug`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::config::provider::{MAX_ARGS, MAX_BYTES, MAX_RETRIES, MAX_TIMEOUT};
use reseal::config::{Config, Document, MAX_ERRORS, ProviderConfig, Trust};

const CANARY: &str = "canary-6f1c9a04e7";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(document) = Document::parse(text, "fuzz") else {
        return;
    };
    match Config::read(&document, Trust::Own) {
        Ok(config) => holds_limits(&config, &document),
        Err(errors) => assert!((1..=MAX_ERRORS).contains(&errors.all().len())),
    }
    if let Ok(config) = Config::read(&document, Trust::Project) {
        let runs = |provider: &ProviderConfig| matches!(provider, ProviderConfig::Exec(_));
        assert!(
            !config.providers.values().any(runs),
            "a project's config runs a command"
        );
    }
    hides_plaintext(document);
});

fn holds_limits(config: &Config, document: &Document) {
    for provider in config.providers.values() {
        match provider {
            ProviderConfig::Exec(exec) => {
                assert!(exec.command.is_absolute());
                assert!(exec.timeout <= MAX_TIMEOUT && exec.no_output_timeout <= MAX_TIMEOUT);
                assert!(exec.max_output_bytes <= MAX_BYTES && exec.args.len() <= MAX_ARGS);
                assert!(u64::from(exec.retries) <= MAX_RETRIES);
            }
            ProviderConfig::File(file) => {
                assert!(file.timeout <= MAX_TIMEOUT && file.max_bytes <= MAX_BYTES);
            }
            ProviderConfig::Env(_) | ProviderConfig::Vault(_) => {}
        }
    }
    for input in config.secret_inputs() {
        assert!(
            document.get(&input.path).is_some(),
            "an input that isn't there: {}",
            input.path
        );
    }
}

fn hides_plaintext(mut document: Document) {
    let place = "models.providers.openai.apiKey".parse().expect("a path");
    if document.set(&place, CANARY.into()).is_err() {
        return;
    }
    let shown = match Config::read(&document, Trust::Own) {
        Ok(config) => {
            let found = config
                .secret_inputs()
                .iter()
                .find(|input| input.path == place);
            assert!(
                found.is_some_and(|input| input.is_plaintext()),
                "plaintext was not seen"
            );
            format!("{config:?}")
        }
        Err(errors) => format!("{errors} {errors:?}"),
    };
    assert!(!shown.contains(CANARY), "plaintext shows: {shown}");
}
