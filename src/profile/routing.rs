//! What the config says about profiles: metadata and order, never a secret.

use crate::name::ProfileId;
use std::collections::BTreeMap;

/// How a configured profile authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `api_key`.
    ApiKey,
    /// `token`.
    Token,
    /// `oauth`.
    OAuth,
    /// `aws-sdk`: the vendor's own credential chain; such a profile is never in a store.
    AwsSdk,
}

impl Mode {
    /// Reads the family's name of a mode.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "api_key" | "apiKey" => Some(Mode::ApiKey),
            "token" => Some(Mode::Token),
            "oauth" => Some(Mode::OAuth),
            "aws-sdk" => Some(Mode::AwsSdk),
            _ => None,
        }
    }
}

/// One entry of `auth.profiles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// The provider, in the form of [`normal_provider`].
    pub provider: String,
    /// How it authenticates.
    pub mode: Option<Mode>,
    /// The account's address.
    pub email: Option<String>,
}

/// `auth.profiles` and `auth.order`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// The configured profiles, in the order of the file.
    pub profiles: Vec<(ProfileId, Configured)>,
    /// The order per provider (in the form of [`normal_provider`]).
    pub order: BTreeMap<String, Vec<ProfileId>>,
}

impl Routing {
    /// The entry of a profile.
    pub fn profile(&self, id: &ProfileId) -> Option<&Configured> {
        self.profiles
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, configured)| configured)
    }
}

/// The form in which provider ids are compared: trimmed, lower-case.
pub fn normal_provider(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_s_modes() {
        for (text, mode) in [
            ("api_key", Some(Mode::ApiKey)),
            ("apiKey", Some(Mode::ApiKey)),
            ("token", Some(Mode::Token)),
            ("oauth", Some(Mode::OAuth)),
            ("aws-sdk", Some(Mode::AwsSdk)),
            ("OAuth", None),
            ("", None),
        ] {
            assert_eq!(Mode::parse(text), mode, "{text}");
        }
    }
}
