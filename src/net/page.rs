//! The pages that a browser shows at the end of a sign-in: self-contained, no script, no token.
//!
//! Invariants: every value from outside is escaped; nothing is loaded, not even from this machine;
//! the policy admits the one style sheet by its hash. The pages say what happened and what to do
//! next, in words for a person who has never heard of OAuth.

use crate::crypto::hash::sha256;
use data_encoding::BASE64;

const STYLE: &str = include_str!("page.css");

const CHECK: &str = r#"<path d="M4 12.5l5 5L20 6.5"/>"#;
const BAR: &str = r#"<path d="M12 5v9M12 18.6v.4"/>"#;
const CROSS: &str = r#"<path d="M6 6l12 12M18 6L6 18"/>"#;

/// The longest value from outside that a page shows, in characters.
const MAX_SHOWN: usize = 200;

/// What a browser is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// The tokens are sealed in the vault.
    SignedIn {
        /// The provider's name.
        provider: &'a str,
        /// Who signed in, if the provider tells.
        account: Option<&'a str>,
    },
    /// The person said no, or the provider did.
    Denied {
        /// The provider's name.
        provider: &'a str,
    },
    /// The answer was right, but what came after it failed.
    Failed {
        /// The provider's name.
        provider: &'a str,
        /// What failed, as a sentence without its full stop.
        why: &'a str,
    },
    /// The answer does not belong to the sign-in that is waiting, which goes on.
    Mismatch,
    /// The program ended before it could say how it went.
    SeeTerminal,
}

/// The parts of a page; all of it HTML.
struct Parts {
    class: &'static str,
    icon: &'static str,
    title: String,
    body: String,
    next: &'static str,
}

impl Page<'_> {
    /// The HTTP status line without its version.
    pub fn status(&self) -> &'static str {
        match self {
            Page::SignedIn { .. } | Page::Denied { .. } | Page::SeeTerminal => "200 OK",
            Page::Failed { .. } => "502 Bad Gateway",
            Page::Mismatch => "400 Bad Request",
        }
    }

    /// The page.
    pub fn html(&self) -> String {
        let Parts {
            class,
            icon,
            title,
            body,
            next,
        } = self.parts();
        format!(
            "<!doctype html>\n\
             <html lang=\"en\">\n\
             <head>\n\
             <meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title} · Reseal</title>\n\
             <style>{STYLE}</style>\n\
             </head>\n\
             <body>\n\
             <main class=\"{class}\">\n\
             <div class=\"mark\"><svg viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" \
             stroke-width=\"2.4\" stroke-linecap=\"round\" stroke-linejoin=\"round\" \
             aria-hidden=\"true\">{icon}</svg></div>\n\
             <h1>{title}</h1>\n\
             {body}\n\
             <section class=\"next\"><h2>What to do now</h2>\n{next}</section>\n\
             </main>\n\
             <footer>Shown by Reseal on your own computer. This page loads nothing from the \
             internet and holds no password or token.</footer>\n\
             </body>\n\
             </html>\n"
        )
    }

    fn parts(&self) -> Parts {
        match self {
            Page::SignedIn { provider, account } => signed_in(provider, *account),
            Page::Denied { provider } => Parts {
                class: "stop",
                icon: BAR,
                title: "Sign-in was declined".to_owned(),
                body: format!(
                    "<p>{} did not give access, because you or an administrator said no. Nothing \
                     was stored.</p>",
                    shown(provider)
                ),
                next: "<p>Close this tab. If that was a mistake, run the sign-in command in your \
                       terminal again.</p>",
            },
            Page::Failed { provider, why } => Parts {
                class: "bad",
                icon: CROSS,
                title: "Sign-in did not finish".to_owned(),
                body: format!(
                    "<p>{} said yes, but the last step failed: {}.</p><p>Nothing was stored.</p>",
                    shown(provider),
                    shown(why)
                ),
                next: "<p>Close this tab. Your terminal has the details and says how to try \
                       again.</p>",
            },
            Page::Mismatch => Parts {
                class: "bad",
                icon: CROSS,
                title: "This is not the answer Reseal waits for".to_owned(),
                body: "<p>The address that your browser opened does not belong to the sign-in \
                       that is running now. It may come from an earlier try, or somebody may have \
                       sent you a link. It was ignored and nothing was stored.</p>"
                    .to_owned(),
                next: "<p>Close this tab and finish the sign-in in the tab that Reseal opened. \
                       Reseal is still waiting for it. If that tab is gone, start again in your \
                       terminal.</p>",
            },
            Page::SeeTerminal => Parts {
                class: "stop",
                icon: BAR,
                title: "Look at your terminal".to_owned(),
                body: "<p>Reseal has the answer of your browser, but ended before it could say \
                       here how the sign-in went.</p>"
                    .to_owned(),
                next: "<p>Close this tab. Your terminal says whether you are signed in.</p>",
            },
        }
    }
}

fn signed_in(provider: &str, account: Option<&str>) -> Parts {
    let account = account.map_or_else(String::new, |account| {
        format!("<div><dt>Account</dt><dd>{}</dd></div>", shown(account))
    });
    Parts {
        class: "good",
        icon: CHECK,
        title: "You are signed in".to_owned(),
        body: format!(
            "<p>Your sign-in is sealed in your vault. Programs get it from Reseal; no file holds \
             it in plain text.</p>\n\
             <dl><div><dt>Provider</dt><dd>{}</dd></div>{account}</dl>",
            shown(provider)
        ),
        next: "<p>Close this tab and go back to your terminal.</p>",
    }
}

/// The `Content-Security-Policy` of every answer.
pub fn content_policy() -> String {
    let hash = BASE64.encode(&sha256(&[STYLE.as_bytes()]));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// A value from outside as HTML text: escaped, shortened, without characters that steer the text.
fn shown(value: &str) -> String {
    let mut html = String::new();
    for (index, char) in value.chars().enumerate() {
        if index == MAX_SHOWN {
            html.push('…');
            break;
        }
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Marks that turn the direction of text could make a name read as another.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            char if char.is_control() => html.push(' '),
            // A long address breaks here sooner than inside a word.
            '@' => html.push_str("@<wbr>"),
            char => html.push(char),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"'><script>alert(1)</script>&\u{202e}\n\u{0}";

    fn all() -> [Page<'static>; 6] {
        let (provider, why) = (HOSTILE, HOSTILE);
        let account = Some(HOSTILE);
        [
            Page::SignedIn { provider, account },
            Page::SignedIn {
                provider,
                account: None,
            },
            Page::Denied { provider },
            Page::Failed { provider, why },
            Page::Mismatch,
            Page::SeeTerminal,
        ]
    }

    #[test]
    fn values_from_outside_are_escaped_and_shortened() {
        let escaped = "&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;  ";
        assert_eq!(shown(HOSTILE), escaped);
        assert_eq!(shown(&"é".repeat(MAX_SHOWN)), "é".repeat(MAX_SHOWN));
        let long = shown(&"é".repeat(MAX_SHOWN + 1));
        assert_eq!(long, "é".repeat(MAX_SHOWN) + "…");
        for page in all() {
            assert!(!page.html().contains("<script"), "{page:?}");
        }
    }

    #[test]
    fn a_page_loads_nothing_and_runs_nothing() {
        for page in all() {
            let html = page.html();
            for mark in [
                "src=", "href=", "url(", "@import", "http:", "https:", "style=\"",
            ] {
                assert!(!html.contains(mark), "{page:?} has {mark}");
            }
            assert!(html.contains("What to do now"), "{page:?}");
        }
    }

    #[test]
    fn the_policy_admits_the_style_sheet_and_nothing_else() {
        let policy = content_policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe"), "{policy}");
        for page in all() {
            let html = page.html();
            let (_, rest) = html.split_once("<style>").unwrap();
            let (style, _) = rest.split_once("</style>").unwrap();
            let hash = BASE64.encode(&sha256(&[style.as_bytes()]));
            assert!(policy.contains(&format!("'sha256-{hash}'")));
            assert_eq!(html.matches("<style").count(), 1);
        }
    }
}
