//! The config that `init` writes.

/// Valid as it stands; every section that a beginner needs is shown in a comment.
pub const TEXT: &str = r#"// Reseal's config: JSON with comments and trailing commas.
// Secrets do not belong in here. Where one is needed, write a SecretRef:
//   {"source": "vault", "provider": "default", "id": "openai/default"}
{
  "secrets": {
    // Where refs point besides the vault and the environment.
    "providers": {
      // "mounted": {"source": "file", "path": "/run/secrets/keys.json"},
      // "onepassword": {"source": "exec", "command": "/usr/local/bin/op-provider"},
    },
  },

  "auth": {
    // Which profiles there are; the profiles themselves are in
    // agents/<agent>/agent/auth-profiles.json.
    "profiles": {},
    // In which order they are tried, per provider.
    "order": {},
  },

  "models": {
    "providers": {
      // "openai": {"apiKey": {"source": "vault", "provider": "default", "id": "openai/default"}},
    },
  },

  "vault": {
    // How long `reseal vault unlock` keeps the vault open, and how long without any request.
    // "ttl": "12h",
    // "idle": "15m",
  },

  "daemon": {},
}
"#;
