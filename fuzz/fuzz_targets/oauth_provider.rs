//! `oauth.providers` of a config: one that is read keeps its limits and is complete for its flows,
//! every URL is https or of this machine, no extra parameter undoes what a flow sets; a project's
//! config leaves what is built in as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::config::{Config, Trust};
use reseal::oauth::builtin;
use reseal::oauth::provider::{MAX_EXTRA, MAX_FALLBACK_PORTS, MAX_SCOPES, RESERVED};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let text = format!("{{oauth: {{providers: {text}\n}}}}");
    if let Ok(config) = Config::parse(&text, "fuzz", Trust::Own) {
        for provider in config.all_oauth_providers() {
            assert_eq!(provider.missing(), [], "{} is not complete", provider.id);
            let endpoints = [
                &provider.authorization_endpoint,
                &provider.token_endpoint,
                &provider.device_authorization_endpoint,
                &provider.revocation_endpoint,
            ];
            let issuer = provider.issuer.iter().map(|issuer| issuer.url());
            for endpoint in endpoints.into_iter().flatten().chain(issuer) {
                let secure = endpoint.as_str().starts_with("https://");
                assert!(secure || endpoint.is_loopback(), "{endpoint}");
                assert!(
                    !endpoint.as_str().contains('@')
                        || endpoint.path().contains('@')
                        || endpoint.as_str().contains('?')
                );
            }
            assert!(provider.scopes.len() <= MAX_SCOPES);
            assert!(provider.redirect.fallback_ports.len() <= MAX_FALLBACK_PORTS);
            for extra in [&provider.extra_authorize, &provider.extra_token] {
                assert!(extra.len() <= MAX_EXTRA);
                assert!(
                    extra
                        .iter()
                        .all(|(name, _)| !RESERVED.contains(&name.as_str()))
                );
            }
        }
    }
    if let Ok(config) = Config::parse(&text, "fuzz", Trust::Project) {
        for built_in in builtin::all() {
            let ours = config.oauth_provider(&built_in.id);
            assert_eq!(ours, Some(built_in), "a project changed a provider");
        }
    }
});
