//! The HTTP header in which a provider's API takes a credential.

use super::ProfileType;

/// The header's name, and what stands before the credential in it.
///
/// `provider` is in the form of [`super::normal_provider`].
pub fn header(provider: &str, profile_type: ProfileType) -> (&'static str, &'static str) {
    match (provider, profile_type) {
        ("anthropic", ProfileType::ApiKey) => ("x-api-key", ""),
        ("google" | "gemini", ProfileType::ApiKey) => ("x-goog-api-key", ""),
        ("azure-openai", ProfileType::ApiKey) => ("api-key", ""),
        (_, ProfileType::ApiKey | ProfileType::Token | ProfileType::OAuth) => {
            ("Authorization", "Bearer ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_s_api_gets_the_credential_where_it_looks_for_it() {
        let key = ProfileType::ApiKey;
        assert_eq!(header("anthropic", key), ("x-api-key", ""));
        assert_eq!(header("google", key), ("x-goog-api-key", ""));
        assert_eq!(header("gemini", key), ("x-goog-api-key", ""));
        assert_eq!(header("azure-openai", key), ("api-key", ""));
        let bearer = ("Authorization", "Bearer ");
        assert_eq!(header("openai", key), bearer);
        for kind in [ProfileType::Token, ProfileType::OAuth] {
            assert_eq!(header("anthropic", kind), bearer);
        }
    }
}
