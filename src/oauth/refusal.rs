//! Why an authorization server granted nothing: the one place where failures are classified.
//!
//! Invariant: nothing that a server sent is repeated. A code that we know is named by our own text;
//! one that we don't know is not named at all.

use super::answer::Members;
use super::client::Dialect;
use super::request::HttpAnswer;
use crate::document::extract::{Shape, shape};
use crate::error::{Code, Coded};
use std::time::Duration;

/// The longest error code that is looked at, in bytes.
const MAX_CODE: usize = 64;

/// Why a grant was refused for good: trying again with the same token can't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermanentReason {
    /// `invalid_grant` (RFC 6749 section 5.2), and what others call it.
    InvalidGrant,
    /// `refresh_token_expired`.
    Expired,
    /// `refresh_token_reused`: it was used before, by us or by someone else.
    Reused,
    /// `refresh_token_invalidated`.
    Invalidated,
    /// `token_revoked`.
    Revoked,
    /// OpenAI's 401 without a code that says more.
    Unauthorized,
}

impl PermanentReason {
    /// Every reason.
    pub const ALL: [PermanentReason; 6] = [
        PermanentReason::InvalidGrant,
        PermanentReason::Expired,
        PermanentReason::Reused,
        PermanentReason::Invalidated,
        PermanentReason::Revoked,
        PermanentReason::Unauthorized,
    ];

    /// The stable text, as records and `--json` output have it.
    pub fn as_str(self) -> &'static str {
        match self {
            PermanentReason::InvalidGrant => "invalid_grant",
            PermanentReason::Expired => "refresh_token_expired",
            PermanentReason::Reused => "refresh_token_reused",
            PermanentReason::Invalidated => "refresh_token_invalidated",
            PermanentReason::Revoked => "token_revoked",
            PermanentReason::Unauthorized => "unauthorized",
        }
    }

    fn of(code: &str) -> Option<Self> {
        Some(match code {
            // GitHub and others have their own words for it.
            "invalid_grant" | "bad_refresh_token" | "invalid_refresh_token" => {
                PermanentReason::InvalidGrant
            }
            "refresh_token_expired" => PermanentReason::Expired,
            "refresh_token_reused" => PermanentReason::Reused,
            "refresh_token_invalidated" => PermanentReason::Invalidated,
            "token_revoked" => PermanentReason::Revoked,
            _ => return None,
        })
    }
}

/// Why an authorization server granted nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// For good: sign in again.
    #[error("the authorization server refused for good ({})", .0.as_str())]
    Permanent(PermanentReason),
    /// 408, 429, 5xx, `temporarily_unavailable`: later.
    #[error("the authorization server can't answer now (HTTP {status})")]
    Transient {
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// The HTTP status.
        status: u16,
    },
    /// `invalid_client`, or a 401 without a code: the client is not known, or not proven.
    #[error("the authorization server does not accept the client id or its secret")]
    ClientInvalid,
    /// The answer is not what the protocol allows.
    #[error("the authorization server answered with {0}")]
    Invalid(&'static str),
    /// `authorization_pending`: the person has not finished.
    #[error("the sign-in is not finished")]
    Pending,
    /// `slow_down`: poll less often; the new interval, if one was given.
    #[error("the authorization server asks to poll less often")]
    SlowDown(Option<Duration>),
    /// `access_denied`: the person said no.
    #[error("the sign-in was declined")]
    AccessDenied,
    /// `expired_token`: the device code ran out.
    #[error("the sign-in was not finished in time")]
    Expired,
    /// Another error; its code if it is one of the standards'.
    #[error("the authorization server refused (HTTP {status}{})", shown(*code))]
    Other {
        /// The HTTP status.
        status: u16,
        /// A code of [`KNOWN`].
        code: Option<&'static str>,
    },
}

fn shown(code: Option<&str>) -> String {
    code.map_or_else(String::new, |code| format!(", {code}"))
}

/// Error codes of RFC 6749, 6750, 7009, 8628, 8707 and OpenID Connect that are named as they are.
pub const KNOWN: &[&str] = &[
    "account_selection_required",
    "consent_required",
    "insufficient_scope",
    "interaction_required",
    "invalid_client_metadata",
    "invalid_redirect_uri",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "login_required",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "unsupported_token_type",
];

impl Refusal {
    /// True if only a new sign-in can help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Refusal::Permanent(_))
    }

    /// Classifies an answer that grants nothing.
    pub fn of(answer: &HttpAnswer, dialect: Dialect) -> Self {
        let text = answer.text().unwrap_or_default();
        let code = error_code(text);
        let code = code.as_deref().unwrap_or_default();
        let (status, retry_after) = (answer.status, answer.retry_after);
        if code == "slow_down" {
            return Refusal::SlowDown(interval(text).or(retry_after));
        }
        // Before the code: what a gateway on the way says must not end a session.
        if matches!(status, 408 | 429 | 500..=599) {
            return Refusal::Transient {
                retry_after,
                status,
            };
        }
        if let Some(reason) = PermanentReason::of(code) {
            return Refusal::Permanent(reason);
        }
        match code {
            "authorization_pending" | "deviceauth_authorization_pending" => Refusal::Pending,
            "access_denied" | "authorization_declined" => Refusal::AccessDenied,
            "expired_token" => Refusal::Expired,
            "temporarily_unavailable" | "server_error" => Refusal::Transient {
                retry_after,
                status,
            },
            "invalid_client" => Refusal::ClientInvalid,
            _ if status == 401 && dialect == Dialect::OpenAi => {
                Refusal::Permanent(PermanentReason::Unauthorized)
            }
            _ if status == 401 => Refusal::ClientInvalid,
            _ if (300..400).contains(&status) => Refusal::Invalid("a redirect"),
            _ => Refusal::Other {
                status,
                code: known(code),
            },
        }
    }
}

/// Our own text for a code that we know.
pub(super) fn known(code: &str) -> Option<&'static str> {
    KNOWN.iter().copied().find(|known| *known == code)
}

const KEYS: &[&str] = &["error", "code", "interval"];

/// The code of an error: `error` as a string, `error.code`, or `code` (OpenAI sends all three).
pub(super) fn error_code(text: &str) -> Option<String> {
    let members = Members::read(text, KEYS)?;
    let error = members.raw("error");
    let nested = error
        .filter(|raw| shape(raw) == Shape::Object)
        .and_then(|raw| Members::read(raw, KEYS));
    members
        .text("error", MAX_CODE)
        .or_else(|| nested?.text("code", MAX_CODE))
        .or_else(|| members.text("code", MAX_CODE))
}

/// True if the answer names an error, whatever its status.
pub(super) fn has_error(text: &str) -> bool {
    Members::read(text, KEYS).is_some_and(|members| members.raw("error").is_some())
}

fn interval(text: &str) -> Option<Duration> {
    Members::read(text, KEYS)?.seconds("interval")
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Permanent(_) => Code::OAuthSignIn,
            Refusal::Transient { .. } | Refusal::Pending | Refusal::SlowDown(_) => {
                Code::OAuthUnavailable
            }
            Refusal::ClientInvalid | Refusal::Other { .. } => Code::OAuthRefused,
            Refusal::Invalid(_) => Code::OAuthInvalid,
            Refusal::AccessDenied => Code::OAuthDenied,
            Refusal::Expired => Code::OAuthTimeout,
        }
    }
}
crate::error::failure_from!(Refusal);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;

    fn refusal(status: u16, body: &str, dialect: Dialect) -> Refusal {
        let answer = HttpAnswer {
            retry_after: Some(Duration::from_secs(7)),
            ..HttpAnswer::new(status, SecretValue::copy_of(body.as_bytes()))
        };
        Refusal::of(&answer, dialect)
    }

    fn plain(status: u16, body: &str) -> Refusal {
        refusal(status, body, Dialect::Rfc8628)
    }

    #[test]
    fn permanent_reasons_in_every_spelling() {
        for body in [
            r#"{"error":"refresh_token_reused"}"#,
            r#"{"error":{"code":"refresh_token_reused","message":"m"}}"#,
            r#"{"code":"refresh_token_reused"}"#,
        ] {
            let is = plain(401, body);
            assert_eq!(is, Refusal::Permanent(PermanentReason::Reused), "{body}");
        }
        let grant = plain(400, r#"{"error":"invalid_grant","error_description":"x"}"#);
        assert_eq!(grant, Refusal::Permanent(PermanentReason::InvalidGrant));
        for reason in PermanentReason::ALL {
            let code = reason.as_str();
            let is = plain(400, &format!(r#"{{"error":"{code}"}}"#));
            let expected = PermanentReason::of(code).map(Refusal::Permanent);
            let other = Refusal::Other {
                status: 400,
                code: None,
            };
            assert_eq!(is, expected.unwrap_or(other));
        }
    }

    #[test]
    fn openai_means_every_401_for_good() {
        let reason = Refusal::Permanent(PermanentReason::Unauthorized);
        assert_eq!(refusal(401, "<html>", Dialect::OpenAi), reason);
        assert_eq!(plain(401, "<html>"), Refusal::ClientInvalid);
    }

    #[test]
    fn a_gateway_never_ends_a_session() {
        for status in [408, 429, 500, 502, 503, 599] {
            let is = plain(status, r#"{"error":"invalid_grant"}"#);
            let retry_after = Some(Duration::from_secs(7));
            assert_eq!(
                is,
                Refusal::Transient {
                    retry_after,
                    status
                }
            );
        }
    }

    #[test]
    fn device_answers() {
        let is = |body| plain(400, body);
        let pending = r#"{"error":{"code":"deviceauth_authorization_pending"}}"#;
        assert_eq!(is(pending), Refusal::Pending);
        assert_eq!(is(r#"{"error":"authorization_pending"}"#), Refusal::Pending);
        let seven = Some(Duration::from_secs(7));
        assert_eq!(is(r#"{"error":"slow_down"}"#), Refusal::SlowDown(seven));
        let nine = Some(Duration::from_secs(9));
        let slow = r#"{"error":"slow_down","interval":9}"#;
        assert_eq!(plain(429, slow), Refusal::SlowDown(nine));
        assert_eq!(is(r#"{"error":"access_denied"}"#), Refusal::AccessDenied);
        assert_eq!(is(r#"{"error":"expired_token"}"#), Refusal::Expired);
    }

    #[test]
    fn nothing_of_a_body_is_repeated() {
        let long = format!(r#"{{"error":"{}"}}"#, "canary".repeat(20));
        for body in [
            r#"{"error":"canary"}"#,
            r#"{"error":"invalid_scope","error_description":"canary"}"#,
            r#"{"error":{"code":"canary","message":"canary"}}"#,
            "canary",
            &long,
        ] {
            let refusal = plain(400, body);
            let shown = format!("{refusal} {refusal:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        let scope = plain(400, r#"{"error":"invalid_scope"}"#);
        let text = "the authorization server refused (HTTP 400, invalid_scope)";
        assert_eq!(scope.to_string(), text);
        assert_eq!(plain(302, ""), Refusal::Invalid("a redirect"));
    }

    #[test]
    fn what_each_word_of_a_server_means() {
        let is = |code: &str| plain(400, &format!(r#"{{"error":"{code}"}}"#));
        for (code, reason) in [
            ("invalid_grant", PermanentReason::InvalidGrant),
            ("bad_refresh_token", PermanentReason::InvalidGrant),
            ("invalid_refresh_token", PermanentReason::InvalidGrant),
            ("refresh_token_expired", PermanentReason::Expired),
            ("refresh_token_reused", PermanentReason::Reused),
            ("refresh_token_invalidated", PermanentReason::Invalidated),
            ("token_revoked", PermanentReason::Revoked),
        ] {
            assert_eq!(is(code), Refusal::Permanent(reason), "{code}");
            assert!(is(code).is_permanent());
        }
        assert_eq!(is("authorization_declined"), Refusal::AccessDenied);
        assert_eq!(is("invalid_client"), Refusal::ClientInvalid);
        for code in ["temporarily_unavailable", "server_error"] {
            let refusal = is(code);
            assert!(
                matches!(refusal, Refusal::Transient { status: 400, .. }),
                "{code}"
            );
            assert!(!refusal.is_permanent());
        }
        for code in KNOWN.iter().copied() {
            let (status, code) = (400, Some(code));
            assert_eq!(is(code.unwrap()), Refusal::Other { status, code });
        }
        let words = PermanentReason::ALL.map(PermanentReason::as_str);
        let expected = [
            "invalid_grant",
            "refresh_token_expired",
            "refresh_token_reused",
            "refresh_token_invalidated",
            "token_revoked",
            "unauthorized",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn edges_of_statuses_and_of_the_length_of_a_word() {
        for (status, transient) in [
            (407, false),
            (408, true),
            (409, false),
            (428, false),
            (429, true),
            (499, false),
            (500, true),
            (599, true),
            (600, false),
        ] {
            let is = matches!(plain(status, ""), Refusal::Transient { .. });
            assert_eq!(is, transient, "{status}");
        }
        for (status, redirect) in [(299, false), (300, true), (399, true), (400, false)] {
            let is = plain(status, "") == Refusal::Invalid("a redirect");
            assert_eq!(is, redirect, "{status}");
        }
        let word = |len: usize| error_code(&format!(r#"{{"error":"{}"}}"#, "a".repeat(len)));
        assert!(word(MAX_CODE).is_some() && word(MAX_CODE + 1).is_none());
        assert!(has_error(r#"{"error":1}"#) && !has_error(r#"{"code":"x"}"#) && !has_error("x"));
    }

    #[test]
    fn each_refusal_has_its_code_and_words() {
        let (status, retry_after) = (503, None);
        let transient = Refusal::Transient {
            retry_after,
            status,
        };
        let other = Refusal::Other { status, code: None };
        for (refusal, code, words) in [
            (
                Refusal::Permanent(PermanentReason::Reused),
                Code::OAuthSignIn,
                "refused for good (refresh_token_reused)",
            ),
            (transient, Code::OAuthUnavailable, "now (HTTP 503)"),
            (Refusal::Pending, Code::OAuthUnavailable, "not finished"),
            (
                Refusal::SlowDown(None),
                Code::OAuthUnavailable,
                "poll less often",
            ),
            (Refusal::ClientInvalid, Code::OAuthRefused, "client id"),
            (other, Code::OAuthRefused, "refused (HTTP 503)"),
            (Refusal::Invalid("x"), Code::OAuthInvalid, "answered with x"),
            (Refusal::AccessDenied, Code::OAuthDenied, "declined"),
            (Refusal::Expired, Code::OAuthTimeout, "in time"),
        ] {
            assert_eq!(refusal.code(), code, "{refusal}");
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
    }
}
