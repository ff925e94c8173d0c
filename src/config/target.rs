//! The places where the family allows a SecretRef, as data.
//!
//! Patterns: `*` is any key, `[]` any element, `{a,b}` either. The table is the union of the
//! family's versions, so that a config of any of them is understood.

use crate::document::Segment;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One place where a secret belongs.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The pattern, one entry per step.
    steps: Vec<&'static str>,
    /// The last key is a free name: only a sensitive one makes plaintext a finding.
    pub by_name: bool,
}

impl Target {
    /// The steps of the pattern: a key, `*` for any key, `[]` for any element.
    pub fn steps(&self) -> &[&'static str] {
        &self.steps
    }

    /// The pattern as text.
    pub fn pattern(&self) -> String {
        self.steps.join(".").replace(".[]", "[]")
    }

    fn fits(&self, path: &[Segment]) -> bool {
        self.steps.len() == path.len()
            && self
                .steps
                .iter()
                .zip(path)
                .all(|(step, segment)| step_fits(step, segment))
    }
}

/// The target that a path is, if it is one.
pub fn find(path: &[Segment]) -> Option<&'static Target> {
    let first = path.first()?.as_key()?;
    BY_FIRST_KEY
        .get(first)?
        .iter()
        .copied()
        .find(|target| target.fits(path))
}

/// The table by the first key of each pattern, which is never a wildcard: a config has many more
/// places than targets, and almost all of them differ in the first key.
static BY_FIRST_KEY: LazyLock<HashMap<&'static str, Vec<&'static Target>>> = LazyLock::new(|| {
    let mut targets: HashMap<_, Vec<_>> = HashMap::new();
    for target in TABLE.iter() {
        targets.entry(target.steps[0]).or_default().push(target);
    }
    targets
});

/// The length of what a ref at this path belongs to: the part that is switched on and off as one.
pub fn owner_len(path: &[Segment]) -> usize {
    let fits = |steps: &&Vec<&str>| {
        steps.len() < path.len()
            && steps
                .iter()
                .zip(path)
                .all(|(step, part)| step_fits(step, part))
    };
    OWNER_STEPS
        .iter()
        .find(fits)
        .map_or(path.len().saturating_sub(1), Vec::len)
}

/// True if a header or variable of this name usually holds a secret.
pub fn is_sensitive_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    let exact = ["authorization", "proxy-authorization"];
    let parts = [
        "api-key",
        "apikey",
        "access-key",
        "private-key",
        "secret",
        "token",
        "password",
    ];
    exact.contains(&name.as_str())
        || name.contains("credential")
        || parts.iter().any(|part| name.contains(part))
}

fn step_fits(step: &str, segment: &Segment) -> bool {
    match (step, segment) {
        ("[]", _) => segment.as_index().is_some(),
        ("*", _) => segment.as_key().is_some(),
        (_, Segment::Key(key)) => *step == **key,
        (_, Segment::Index(_)) => false,
    }
}

/// Owners, longest first.
const OWNERS: &[&str] = &[
    "channels.*.accounts.*",
    "messages.tts.providers.*",
    "agents.list.[]",
    "agents.entries.*",
    "models.providers.*",
    "skills.entries.*",
    "plugins.entries.*",
    "mcp.servers.*",
    "oauth.providers.*",
    "talk.providers.*",
    "tts.providers.*",
    "tools.web.search",
    "tools.web.fetch",
    "agents.defaults",
    "gateway.remote",
    "gateway.auth",
    "channels.*",
];

static OWNER_STEPS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    OWNERS
        .iter()
        .map(|pattern| pattern.split('.').collect())
        .collect()
});

static TABLE: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let mut table = Vec::new();
    for pattern in PATTERNS {
        add(
            &mut table,
            Vec::new(),
            &pattern.split('.').collect::<Vec<_>>(),
        );
    }
    for (channel, fields) in CHANNELS {
        for field in *fields {
            let field: Vec<_> = field.split('.').collect();
            add(&mut table, vec!["channels", channel], &field);
            add(
                &mut table,
                vec!["channels", channel, "accounts", "*"],
                &field,
            );
        }
    }
    table
});

/// Adds a pattern, each `{a,b}` written out.
fn add(table: &mut Vec<Target>, mut done: Vec<&'static str>, rest: &[&'static str]) {
    let Some((step, rest)) = rest.split_first() else {
        let before = done.len().checked_sub(2).map(|i| done[i]);
        let by_name = done.last() == Some(&"*") && matches!(before, Some("headers" | "env"));
        table.push(Target {
            steps: done,
            by_name,
        });
        return;
    };
    match step
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
    {
        Some(choices) => {
            for choice in choices.split(',') {
                let mut branch = done.clone();
                branch.push(choice);
                add(table, branch, rest);
            }
        }
        None => {
            done.push(step);
            add(table, done, rest);
        }
    }
}

const PATTERNS: &[&str] = &[
    // Ours.
    "mcp.servers.*.{env,headers}.*",
    "oauth.providers.*.clientSecretRef",
    // Models.
    "models.providers.*.apiKey",
    "models.providers.*.headers.*",
    "models.providers.*.request.auth.{token,value}",
    "models.providers.*.request.headers.*",
    "models.providers.*.request.proxy.tls.{ca,cert,key,passphrase}",
    "models.providers.*.request.tls.{ca,cert,key,passphrase}",
    // Skills, agents, memory, talk, speech.
    "skills.entries.*.apiKey",
    "agents.defaults.memorySearch.remote.apiKey",
    "agents.list.[].memorySearch.remote.apiKey",
    "agents.list.[].tts.providers.*.apiKey",
    "agents.entries.*.memory.search.remote.apiKey",
    "agents.entries.*.tts.providers.*.apiKey",
    "agents.entries.*.tts.personas.*.providers.*.apiKey",
    "agents.defaults.sandbox.ssh.{identityData,certificateData,knownHostsData}",
    "agents.list.[].sandbox.ssh.{identityData,certificateData,knownHostsData}",
    "agents.entries.*.sandbox.ssh.{identityData,certificateData,knownHostsData}",
    "memory.search.remote.apiKey",
    "talk.apiKey",
    "talk.providers.*.apiKey",
    "talk.realtime.providers.*.apiKey",
    "tts.providers.*.apiKey",
    "tts.personas.*.providers.*.apiKey",
    "messages.tts.providers.*.apiKey",
    "messages.tts.{elevenlabs,openai}.apiKey",
    // Tools.
    "tools.web.fetch.firecrawl.apiKey",
    "tools.web.search.apiKey",
    "tools.web.search.*.apiKey",
    // Plugins.
    "plugins.entries.*.config.{webSearch,webFetch}.apiKey",
    "plugins.entries.*.config.webSearch.headers.*",
    "plugins.entries.*.config.mcpServers.*.env.*",
    "plugins.entries.*.config.{realtime,streaming,tts}.providers.*.apiKey",
    "plugins.entries.*.config.twilio.authToken",
    "plugins.entries.*.config.headers.*",
    "plugins.entries.codex.config.appServer.authToken",
    "plugins.entries.codex.config.appServer.headers.*",
    "plugins.entries.imap.config.accounts.*.password",
    "plugins.entries.team-reports.config.{discord,github}.token",
    "plugins.entries.typesafe.config.apiKey",
    "plugins.entries.webhooks.config.routes.*.secret",
    // Gateway, cron.
    "gateway.auth.{password,token}",
    "gateway.remote.{password,token}",
    "cron.webhookToken",
];

/// Per channel, the fields that hold a secret; each also under `accounts.*`.
const CHANNELS: &[(&str, &[&str])] = &[
    ("telegram", &["botToken", "webhookSecret"]),
    (
        "slack",
        &[
            "{botToken,appToken,userToken,signingSecret}",
            "relay.authToken",
        ],
    ),
    ("sms", &["authToken"]),
    (
        "discord",
        &[
            "token",
            "pluralkit.token",
            "voice.{tts,realtime}.providers.*.apiKey",
            "voice.tts.personas.*.providers.*.apiKey",
        ],
    ),
    ("irc", &["password", "nickserv.password"]),
    ("feishu", &["{appSecret,encryptKey,verificationToken}"]),
    ("qqbot", &["clientSecret"]),
    ("msteams", &["appPassword"]),
    ("mattermost", &["botToken"]),
    ("matrix", &["{accessToken,password}"]),
    ("nextcloud-talk", &["{botSecret,apiPassword}"]),
    ("zalo", &["{botToken,webhookSecret}"]),
    ("googlechat", &["{serviceAccount,serviceAccountRef}"]),
    ("bluebubbles", &["password"]),
    ("buzz", &["{authTag,privateKey}"]),
    ("clickclack", &["token"]),
    ("nostr", &["privateKey"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_starts_with_a_key_and_is_found() {
        for target in TABLE.iter() {
            let pattern = target.pattern();
            assert!(!["*", "[]"].contains(&target.steps[0]), "{pattern}");
            let path: Vec<Segment> = target
                .steps
                .iter()
                .map(|step| match *step {
                    "[]" => 0.into(),
                    "*" => "any".into(),
                    key => key.into(),
                })
                .collect();
            assert!(find(&path).is_some(), "{pattern}");
        }
    }
}
