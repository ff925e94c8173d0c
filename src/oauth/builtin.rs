//! The providers that are built in. Each stands here because its vendor allows the flow, and says
//! where; `docs/oauth.md` tells people the same.

use super::client::{Dialect, TokenFormat};
use super::provider::{DynamicClient, FlowKind, ProfileIdFrom, Provider, Redirect, RedirectHost};

/// Every built-in provider, in the order in which they are listed.
pub fn all() -> Vec<Provider> {
    vec![anthropic(), openai(), openai_codex()]
}

/// The built-in provider of this id.
pub fn get(id: &str) -> Option<Provider> {
    all().into_iter().find(|provider| provider.id == id)
}

/// The claim of OpenAI's tokens that holds the account.
const OPENAI_ACCOUNT: &str = "https://api.openai.com/auth/chatgpt_account_id";

/// Anthropic: API key, setup-token, pasted token. The vendor keeps its OAuth sign-in for its own
/// applications, so there is none here.
fn anthropic() -> Provider {
    Provider {
        label: "Anthropic".to_owned(),
        flows: vec![FlowKind::ApiKey, FlowKind::SetupToken, FlowKind::Paste],
        ..Provider::empty("anthropic")
    }
}

/// "Sign in with ChatGPT", OpenAI's documented flow for open-source and local applications.
fn openai() -> Provider {
    Provider {
        label: "OpenAI (Sign in with ChatGPT)".to_owned(),
        issuer: "https://auth.openai.com".parse().ok(),
        authorization_endpoint: "https://auth.openai.com/api/accounts/authorize"
            .parse()
            .ok(),
        token_endpoint: "https://auth.openai.com/api/accounts/oauth/token"
            .parse()
            .ok(),
        client_id: Some("dynamic_agent_client".to_owned()),
        dynamic_client: Some(DynamicClient {
            first_params: pairs(&[("agent_name_hint", "reseal")]),
            install_id_param: Some("ext_agent_host_id".to_owned()),
        }),
        flows: vec![FlowKind::Pkce, FlowKind::ApiKey],
        scopes: words(
            "openid profile email offline_access resource.invoke chatgpt.tokens.use.direct",
        ),
        required_scopes: words("chatgpt.tokens.use.direct"),
        resource: Some("https://api.openai.com/v1".to_owned()),
        redirect: Redirect {
            path: "/auth/callback".to_owned(),
            ..Redirect::default()
        },
        account_id_claim: Some(OPENAI_ACCOUNT.to_owned()),
        profile_id_from: ProfileIdFrom::Email,
        ..Provider::empty("openai")
    }
}

/// What a person agrees to before Codex's client id is used.
const CODEX_NOTICE: &str = "This signs in with the client id of OpenAI's own Codex CLI. Whether \
    OpenAI permits that for other programs is not settled: its maintainers have said yes, others \
    were warned that accounts may be blocked. OpenAI's documented way is the provider `openai`.";

/// OpenAI's Codex sign-in, for those who choose it: with the client id of the Codex CLI.
fn openai_codex() -> Provider {
    Provider {
        label: "OpenAI Codex".to_owned(),
        issuer: "https://auth.openai.com".parse().ok(),
        client_id: Some("app_EMoamEEZ73f0CkXaXp7hrann".to_owned()),
        flows: vec![FlowKind::Pkce, FlowKind::Device],
        dialect: Dialect::OpenAi,
        revocation_format: TokenFormat::Json,
        scopes: words("openid profile email offline_access"),
        redirect: Redirect {
            host: RedirectHost::Localhost,
            port: 1455,
            fallback_ports: vec![1457],
            path: "/auth/callback".to_owned(),
        },
        extra_authorize: pairs(&[
            ("id_token_add_organizations", "true"),
            ("codex_cli_simplified_flow", "true"),
            ("originator", "reseal"),
        ]),
        account_id_claim: Some(OPENAI_ACCOUNT.to_owned()),
        profile_id_from: ProfileIdFrom::Email,
        notice: Some(CODEX_NOTICE),
        ..Provider::empty("openai-codex")
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}
