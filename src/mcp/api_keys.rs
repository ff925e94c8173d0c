//! API keys of model providers in fast-agent's config and in the secrets file beside it.
//!
//! Both may have `PROVIDER: { api_key: … }` at their top; the secrets file counts.

use crate::secret::SecretValue;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What fast-agent calls its secrets file: from 0.8 on, and before it.
pub const SECRETS: [&str; 2] = ["fast-agent.secrets.yaml", "fastagent.secrets.yaml"];

#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Provider { api_key: String },
    Other(IgnoredAny),
}

/// The files that may hold keys, the one that counts first.
pub fn files(config: &Path) -> Vec<PathBuf> {
    let secrets = SECRETS.map(|name| config.with_file_name(name));
    secrets.into_iter().chain([config.to_owned()]).collect()
}

/// The providers of a file and their keys; `None` if it is not readable as YAML.
pub fn read(text: &str) -> Option<Vec<(String, SecretValue)>> {
    let sections: Option<BTreeMap<String, Section>> = serde_saphyr::from_str(text).ok()?;
    let key = |(provider, section)| match section {
        Section::Provider { api_key } => {
            let key = Zeroizing::new(api_key);
            Some((provider, SecretValue::copy_of(key.as_bytes())))
        }
        Section::Other(_) => None,
    };
    Some(sections.into_iter().flatten().filter_map(key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_with_a_key_are_providers_and_all_others_are_passed_over() {
        let text = "default_model: sonnet\nanthropic:\n  api_key: one\n  base_url: x\n\
                    openai: {api_key: 'two'}\ngroq:\n  base_url: x\nxai:\n\
                    mcp:\n  servers:\n    a: {url: 'https://a.example/', headers: {X: three}}\n\
                    list: [1, {api_key: four}]\n";
        let keys = read(text).unwrap();
        let expected = [("anthropic", "one"), ("openai", "two")];
        let expected =
            expected.map(|(name, key)| (name.to_owned(), SecretValue::copy_of(key.as_bytes())));
        assert_eq!(keys, expected);
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(read("# nothing\n"), Some(Vec::new()));
        assert_eq!(read("a: [1"), None);
        assert_eq!(read("just text"), None);
    }

    #[test]
    fn the_secrets_file_comes_before_the_config() {
        let files = files(Path::new("/p/fast-agent.yaml"));
        let names = [
            "fast-agent.secrets.yaml",
            "fastagent.secrets.yaml",
            "fast-agent.yaml",
        ];
        assert_eq!(files, names.map(|name| Path::new("/p").join(name)));
    }
}
