//! The environment variables that `run` sets for a profile, per provider.
//!
//! The config's `oauth.providers.<id>.env` and `models.providers.<id>.env` come before this table
//! (`config::Config::env_names`). A provider that is in neither gets the family's convention,
//! `<PROVIDER>_API_KEY`.

use super::{ProfileType, normal_provider};
use crate::reference::is_env_name;

/// The variables for a profile of this provider and type. Each gets the same value.
///
/// An Anthropic token is what `claude setup-token` prints: it goes to `CLAUDE_CODE_OAUTH_TOKEN`
/// (Claude Code) and `ANTHROPIC_OAUTH_TOKEN` (the OpenClaw family), never to `ANTHROPIC_API_KEY`,
/// where the vendor's API would refuse it.
pub fn env_names(provider: &str, profile_type: ProfileType) -> Vec<String> {
    let provider = normal_provider(provider);
    let tokens = match profile_type {
        ProfileType::ApiKey => None,
        ProfileType::Token | ProfileType::OAuth => find(TOKENS, &provider),
    };
    if let Some(names) = tokens.or_else(|| find(KEYS, &provider)) {
        return names.iter().map(|name| (*name).to_owned()).collect();
    }
    let stem = provider
        .to_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let name = format!("{stem}_API_KEY");
    if is_env_name(&name) {
        vec![name]
    } else {
        Vec::new()
    }
}

type Row = (&'static str, &'static [&'static str]);

fn find(table: &'static [Row], provider: &str) -> Option<&'static [&'static str]> {
    table
        .iter()
        .find(|(id, _)| *id == provider)
        .map(|(_, names)| *names)
}

/// Where a token goes elsewhere than a key.
const TOKENS: &[Row] = &[
    (
        "anthropic",
        &["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_OAUTH_TOKEN"],
    ),
    ("chutes", &["CHUTES_OAUTH_TOKEN"]),
    ("minimax", &["MINIMAX_OAUTH_TOKEN"]),
    ("minimax-portal", &["MINIMAX_OAUTH_TOKEN"]),
];

/// Providers whose variables don't follow from their id.
const KEYS: &[Row] = &[
    ("amazon-bedrock", &["AWS_BEARER_TOKEN_BEDROCK"]),
    ("arcee", &["ARCEEAI_API_KEY"]),
    ("azure-openai", &["AZURE_OPENAI_API_KEY"]),
    (
        "azure-speech",
        &["AZURE_SPEECH_KEY", "AZURE_SPEECH_API_KEY"],
    ),
    ("brave", &["BRAVE_API_KEY"]),
    ("cloudflare-ai-gateway", &["CLOUDFLARE_AI_GATEWAY_API_KEY"]),
    ("codex", &["CODEX_API_KEY"]),
    ("copilot", &["COPILOT_GITHUB_TOKEN"]),
    ("fal", &["FAL_KEY", "FAL_API_KEY"]),
    ("gemini", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ("github", &["GITHUB_TOKEN", "GH_TOKEN"]),
    ("github-copilot", &["COPILOT_GITHUB_TOKEN"]),
    ("gmi", &["GMI_API_KEY"]),
    ("google", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ("google-vertex", &["GOOGLE_CLOUD_API_KEY"]),
    ("huggingface", &["HF_TOKEN", "HUGGINGFACE_HUB_TOKEN"]),
    ("kimi-coding", &["KIMI_API_KEY", "KIMICODE_API_KEY"]),
    ("lmstudio", &["LM_API_TOKEN"]),
    (
        "minimax-portal",
        &["MINIMAX_CODE_PLAN_KEY", "MINIMAX_CODING_API_KEY"],
    ),
    (
        "modelstudio",
        &["DASHSCOPE_API_KEY", "MODELSTUDIO_API_KEY", "QWEN_API_KEY"],
    ),
    ("openai-codex", &["CODEX_API_KEY"]),
    ("opencode", &["OPENCODE_API_KEY", "OPENCODE_ZEN_API_KEY"]),
    ("qwen", &["DASHSCOPE_API_KEY", "QWEN_API_KEY"]),
    ("runway", &["RUNWAYML_API_SECRET", "RUNWAY_API_KEY"]),
    ("vercel-ai-gateway", &["AI_GATEWAY_API_KEY"]),
    ("volcengine", &["VOLCANO_ENGINE_API_KEY"]),
    ("elevenlabs", &["ELEVENLABS_API_KEY", "XI_API_KEY"]),
    ("zai", &["ZAI_API_KEY", "Z_AI_API_KEY"]),
];
