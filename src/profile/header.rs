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
