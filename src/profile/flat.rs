//! `auth-profiles.json` as it once was: entries at the top, each under its provider or its id.
//!
//! No version of the family reads that any more, and its repair puts the entries below `profiles`,
//! as is done here. Nothing of an entry is left out: what is no entry of a profile comes along, to
//! be listed as ignored.

use super::store::KNOWN;
use super::{ProfileError, normal_provider};
use crate::document::{Document, Path};
use crate::name::ProfileId;
use serde_json::{Map, Value};

/// The same profiles as they are written now; `None` if they are already.
///
/// # Errors
/// Those of the document's edits.
pub fn wrapped(document: &Document) -> Result<Option<Document>, ProfileError> {
    let Some(root) = document.value().as_object() else {
        return Ok(None);
    };
    let is_entry = |(key, value): &(&String, &Value)| {
        !KNOWN.contains(&key.as_str()) && (value.is_object() || value.is_string())
    };
    if root.contains_key("profiles") || !root.iter().any(|member| is_entry(&member)) {
        return Ok(None);
    }
    let mut profiles = Map::new();
    for (key, value) in root.iter().filter(|member| is_entry(member)) {
        let id = id_of(key).filter(|id| !root.contains_key(id) && !profiles.contains_key(id));
        let id = id.unwrap_or_else(|| key.clone());
        profiles.insert(id, entry(key, value));
    }
    let mut wrapped = document.clone();
    for (key, _) in root.iter().filter(|member| is_entry(member)) {
        wrapped.remove(&Path::of_keys([key.as_str()]))?;
    }
    let version = Path::of_keys(["version"]);
    if wrapped.get(&version).is_none() {
        wrapped.set(&version, 1.into())?;
    }
    wrapped.set(&Path::of_keys(["profiles"]), profiles.into())?;
    Ok(Some(wrapped))
}

/// `PROVIDER:default`, unless the key is an id itself.
fn id_of(key: &str) -> Option<String> {
    let id = format!("{}:default", normal_provider(key));
    let is_id = key.parse::<ProfileId>().is_ok();
    (!is_id && id.parse::<ProfileId>().is_ok()).then_some(id)
}

/// An entry with the two members that a profile has to have.
fn entry(key: &str, value: &Value) -> Value {
    let Some(entry) = value.as_object() else {
        return value.clone();
    };
    let has = |field: &str| entry.contains_key(field);
    let kind = if has("access") || has("refresh") {
        "oauth"
    } else if has("token") || has("tokenRef") {
        "token"
    } else {
        "api_key"
    };
    let mut whole = entry.clone();
    if !has("type") && !has("mode") {
        whole.insert("type".to_owned(), kind.into());
    }
    if !has("provider") {
        let provider = key.split(':').next().unwrap_or(key);
        whole.insert("provider".to_owned(), normal_provider(provider).into());
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Store;
    use crate::reference::Defaults;
    use serde_json::json;

    #[test]
    fn the_flat_form_is_wrapped_and_nothing_of_it_is_left_out() {
        let flat = json!({
            "version": 1, "order": {"openai": ["openai:default"]},
            "Ollama": {"apiKey": "a", "baseUrl": "http://x.example"},
            "openai:work": {"type": "token", "token": "b"},
            "codex": {"access": "c", "refresh": "d", "provider": "openai-codex"},
            "groq": {"key": "e"}, "groq:default": {"key": "f"},
            "signed-in": {"access": "h"}, "renewed": {"refresh": "i"}, "moded": {"mode": "token"},
            "moved": {"tokenRef": "vault:j"}, "loose": "g", "count": 3,
        });
        let document = Document::parse(&flat.to_string(), "f").unwrap();
        let new = wrapped(&document).unwrap().unwrap();
        let expected = json!({
        "version": 1, "order": {"openai": ["openai:default"]}, "count": 3,
        "profiles": {
            "ollama:default": {"type": "api_key", "provider": "ollama", "apiKey": "a",
                "baseUrl": "http://x.example"},
            "openai:work": {"type": "token", "provider": "openai", "token": "b"},
            "codex:default": {"type": "oauth", "provider": "openai-codex", "access": "c",
                "refresh": "d"},
            "groq": {"type": "api_key", "provider": "groq", "key": "e"},
            "groq:default": {"type": "api_key", "provider": "groq", "key": "f"},
            "signed-in:default": {"type": "oauth", "provider": "signed-in", "access": "h"},
            "renewed:default": {"type": "oauth", "provider": "renewed", "refresh": "i"},
            "moded:default": {"mode": "token", "provider": "moded"},
            "moved:default": {"type": "token", "provider": "moved", "tokenRef": "vault:j"},
            "loose:default": "g",
        }});
        assert_eq!(*new.value(), expected);
        let store = Store::parse(new.text(), "f", &Defaults::default()).unwrap();
        let ignored: Vec<&str> = store.ignored().iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ignored, ["groq", "loose:default"]);
        assert!(wrapped(&new).unwrap().is_none());
        for text in [
            "{}",
            "[]",
            "{\"version\": 1}",
            include_str!("../../tests/profiles/era-b.json"),
        ] {
            let document = Document::parse(text, "f").unwrap();
            assert!(wrapped(&document).unwrap().is_none(), "{text}");
        }
    }
}
