//! Names and values that say that something is a credential.
//!
//! Invariant: what is a secret by its place needs no judgement by its value; where only the name
//! speaks for it, the value has to look like one too, so that `tokenLimit` and `password: false`
//! raise no alarm.

use crate::plaintext::marker;

/// Fields of the family's credential stores.
const STORE_FIELDS: &[&str] = &["key", "apiKey", "token", "access", "refresh", "idToken"];

/// Names of fields that hold a credential in any file, in lower case without `-` and `_`.
const FIELDS: &[&str] = &[
    "accesskey",
    "accesstoken",
    "apikey",
    "apipassword",
    "apitoken",
    "appsecret",
    "apptoken",
    "authtoken",
    "authorization",
    "bearertoken",
    "botsecret",
    "bottoken",
    "clientsecret",
    "codeverifier",
    "encryptkey",
    "idtoken",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "privatekeypem",
    "proxyauthorization",
    "pushtoken",
    "refreshtoken",
    "secret",
    "secretaccesskey",
    "secretkey",
    "sessiontoken",
    "signingsecret",
    "token",
    "usertoken",
    "verificationtoken",
    "webhooksecret",
    "webhooktoken",
    "xapikey",
    "xauthtoken",
];

/// Words of a variable's name that say that it holds a credential.
const WORDS: &[&str] = &[
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PWD",
    "SECRET",
    "TOKEN",
];

/// Words at the end of a variable's name that say that it holds something about a credential.
const ABOUT: &[&str] = &[
    "ALGORITHM",
    "COUNT",
    "DIR",
    "ENABLED",
    "ENDPOINT",
    "EXPIRES",
    "EXPIRY",
    "FILE",
    "HEADER",
    "HOST",
    "ID",
    "LENGTH",
    "LIMIT",
    "MODE",
    "NAME",
    "PATH",
    "REF",
    "REGION",
    "SIZE",
    "TTL",
    "TYPE",
    "URI",
    "URL",
    "USER",
    "USERNAME",
];

/// The shortest value that a name alone makes a secret, in bytes.
const LEAST: usize = 6;
/// The longest such value that is no private key, in bytes.
const MOST: usize = 8_192;

/// True for a field of a credential store that holds a credential.
pub(super) fn is_store_field(key: &str) -> bool {
    STORE_FIELDS.contains(&key)
}

/// True for a field of a store that holds a part of an OAuth token set.
pub(super) fn is_oauth_field(key: &str) -> bool {
    matches!(key, "access" | "refresh" | "idToken")
}

/// True for a field that holds a credential wherever it stands.
pub(super) fn is_field(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .collect();
    FIELDS.contains(&plain.to_lowercase().as_str())
}

/// True for a variable of the environment that holds a credential.
pub(super) fn is_variable(name: &str) -> bool {
    let name = name.to_uppercase();
    let words: Vec<&str> = name.split(['_', '-', '.']).collect();
    let about = words.last().is_some_and(|last| ABOUT.contains(last));
    let public = words.contains(&"PUBLIC") || words.contains(&"PUB");
    let named = words
        .iter()
        .any(|word| WORDS.contains(word) || word.ends_with("APIKEY") || word.ends_with("TOKEN"));
    named && !about && !public
}

/// True if a value may be a secret: not a marker, not a word, a number, a path or an address.
pub(super) fn looks_secret(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with("-----BEGIN") {
        return text.contains("PRIVATE KEY");
    }
    let value = match text.split_once(' ') {
        Some((scheme, rest)) if marker::is_scheme(scheme) => rest,
        Some(_) => return false,
        None => text,
    };
    let is_path = ["/", "./", "../", "~/"]
        .iter()
        .any(|start| value.starts_with(start));
    let is_number = value.len() < 12 && value.parse::<f64>().is_ok();
    let is_address = value.contains("://") && !has_password(value);
    (LEAST..=MOST).contains(&value.len())
        && marker::of(value).is_none()
        && !(is_path || is_number || is_address)
}

/// True if an address in the text has a password in it.
pub(super) fn has_password(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("://") {
        let end = after.find(['/', '?', '#', ' ', '"', '\'']);
        let authority = &after[..end.unwrap_or(after.len())];
        if let Some((userinfo, _)) = authority.rsplit_once('@')
            && let Some((_, password)) = userinfo.split_once(':')
            && password.len() >= 4
            && marker::of(password).is_none()
            && !matches!(password, "password" | "pass" | "secret")
        {
            return true;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables() {
        for name in [
            "OPENAI_API_KEY",
            "FAL_KEY",
            "XIAOMI_TOKEN_PLAN_API_KEY",
            "TELEGRAM_BOT_TOKEN",
            "PGPASSWORD_PASS",
            "RUNWAYML_API_SECRET",
            "IRC_NICKSERV_PASSWORD",
        ] {
            assert!(is_variable(name), "{name}");
        }
        for name in [
            "MAX_TOKENS",
            "TOKENIZER",
            "SSH_KEY_PATH",
            "TOKEN_TTL",
            "AZURE_SPEECH_REGION",
            "MONKEY",
            "VAPID_PUBLIC_KEY",
            "AWS_ACCESS_KEY_ID",
            "PATH",
        ] {
            assert!(!is_variable(name), "{name}");
        }
    }

    #[test]
    fn values_and_addresses() {
        for text in [
            "hunter22",
            "Bearer 9f8e7d6c5b4a3928",
            "9f8b3c2a-71d4-4e5f-8a6b-0c1d2e3f4a5b",
            "postgres://app:s3cr3t-pw@db/x",
        ] {
            assert!(looks_secret(text), "{text}");
        }
        for text in [
            "short",
            "4096",
            "1700000000",
            "/run/secrets/key",
            "https://example.org/token",
            "two words",
            "${TOKEN}",
            "your-token",
            "-----BEGIN PUBLIC KEY-----",
        ] {
            assert!(!looks_secret(text), "{text}");
        }
        assert!(!has_password("https://user@host/x"));
        assert!(!has_password("redis://user:password@host"));
    }

    #[test]
    fn names_of_fields() {
        for key in [
            "apiKey",
            "api_key",
            "X-Api-Key",
            "botToken",
            "privateKeyPem",
            "client_secret",
        ] {
            assert!(is_field(key), "{key}");
        }
        for key in [
            "tokenLimit",
            "tokenUrl",
            "publicKey",
            "keyRef",
            "maxTokens",
            "id",
        ] {
            assert!(!is_field(key), "{key}");
        }
    }
}
