//! The forms of vendors' keys that say by themselves what they are.
//!
//! Invariants: only forms that nothing else has (a prefix of the vendor's own and a body of its
//! length and alphabet); a body that is a placeholder, or too plain to be random, is no key. Keys
//! without such a form (UUIDs, bare hexadecimal) are not looked for here: where a key stands tells
//! them better.

use super::marker;
use std::ops::Range;

/// A body with fewer different characters is no key.
const LEAST_VARIETY: usize = 8;

/// A form of key.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// Whose key it is, and which, for people.
    pub name: &'static str,
    prefix: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// `a-z A-Z 0-9`
    Letters,
    /// The same with `-` and `_`.
    Url,
    /// The same with `.` too.
    Dotted,
    /// `0-9 a-f`
    Hex,
    /// `A-Z 0-9`
    Upper,
    /// `a-z 0-9`
    Lower,
}

/// A place that has the form of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose key.
    pub name: &'static str,
    /// Where it stands.
    pub range: Range<usize>,
}

const fn form(
    name: &'static str,
    prefix: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
) -> Form {
    Form {
        name,
        prefix,
        alphabet,
        least,
        most,
    }
}

use Alphabet::{Dotted, Hex, Letters, Lower, Upper, Url};

/// Every form; of those that fit one place the first counts. The longest of a form is a little over
/// what its vendor gives out today.
const FORMS: &[Form] = &[
    form("Anthropic API key", "sk-ant-api03-", Url, 60, 160),
    form("Anthropic admin key", "sk-ant-admin01-", Url, 60, 160),
    form("Anthropic setup token", "sk-ant-oat01-", Url, 60, 160),
    form("Anthropic refresh token", "sk-ant-ort01-", Url, 60, 160),
    form("Anthropic session key", "sk-ant-sid01-", Url, 60, 160),
    form("OpenRouter key", "sk-or-v1-", Hex, 64, 64),
    form("OpenAI project key", "sk-proj-", Url, 40, 200),
    form("OpenAI service account key", "sk-svcacct-", Url, 40, 200),
    form("OpenAI admin key", "sk-admin-", Url, 40, 200),
    form("LiteLLM or OpenAI-compatible key", "sk-", Letters, 32, 64),
    form("Google API key", "AIza", Url, 35, 35),
    form("Google OAuth access token", "ya29.", Url, 40, 400),
    form("Google OAuth client secret", "GOCSPX-", Url, 28, 28),
    form("Groq key", "gsk_", Letters, 52, 52),
    form("xAI key", "xai-", Letters, 80, 80),
    form("Perplexity key", "pplx-", Letters, 48, 56),
    form("Cerebras key", "csk-", Lower, 40, 60),
    form("NVIDIA key", "nvapi-", Url, 60, 80),
    form("Fireworks key", "fw_", Letters, 20, 40),
    form("Hugging Face token", "hf_", Letters, 34, 40),
    form("Replicate token", "r8_", Letters, 37, 37),
    form("Voyage key", "pa-", Url, 43, 43),
    form("ElevenLabs key", "sk_", Hex, 48, 48),
    form("Tavily key", "tvly-", Url, 30, 60),
    form("Firecrawl key", "fc-", Hex, 32, 32),
    form("Jina key", "jina_", Url, 50, 70),
    form("LangSmith key", "lsv2_", Url, 40, 60),
    form("Amazon Bedrock key", "ABSK", Letters, 100, 160),
    form("AWS access key id", "AKIA", Upper, 16, 16),
    form("AWS temporary access key id", "ASIA", Upper, 16, 16),
    form("GitHub token", "ghp_", Letters, 36, 36),
    form("GitHub OAuth token", "gho_", Letters, 36, 36),
    form("GitHub user token", "ghu_", Letters, 36, 36),
    form("GitHub app token", "ghs_", Letters, 36, 36),
    form("GitHub refresh token", "ghr_", Letters, 36, 80),
    form("GitHub fine-grained token", "github_pat_", Url, 82, 82),
    form("GitLab token", "glpat-", Dotted, 20, 64),
    form("Slack bot token", "xoxb-", Url, 40, 120),
    form("Slack user token", "xoxp-", Url, 40, 120),
    form("Slack app token", "xapp-", Url, 50, 160),
    form("Stripe live key", "sk_live_", Letters, 24, 120),
    form("Stripe restricted key", "rk_live_", Letters, 24, 120),
    form("SendGrid key", "SG.", Dotted, 66, 66),
    form("npm token", "npm_", Letters, 36, 36),
    form("PyPI token", "pypi-AgEIcHlwaS5vcmc", Url, 50, 200),
    form("DigitalOcean token", "dop_v1_", Hex, 64, 64),
    form("Notion token", "ntn_", Letters, 40, 50),
    form("Linear key", "lin_api_", Letters, 40, 40),
    form("Databricks token", "dapi", Hex, 32, 32),
    form("Matrix access token", "syt_", Url, 30, 120),
    form("age identity", "AGE-SECRET-KEY-1", Upper, 58, 58),
];

/// The places in `bytes` that have the form of a vendor's key, in their order; places do not
/// overlap. Nothing is looked at before it is asked for.
pub fn find(bytes: &[u8]) -> impl Iterator<Item = Place> {
    starting_in(bytes, 0..bytes.len())
}

/// The same, of the places that start in a part of the bytes; they may end behind it.
pub fn starting_in(bytes: &[u8], part: Range<usize>) -> impl Iterator<Item = Place> {
    let (mut at, end) = (part.start, part.end.min(bytes.len()));
    std::iter::from_fn(move || {
        let found = (at..end).find_map(|at| place(bytes, at));
        at = found.as_ref().map_or(end, |place| place.range.end);
        found
    })
}

/// The form that a whole text has.
pub fn of(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let place = place(text.as_bytes(), 0)?;
    (place.range == (0..text.len())).then_some(place.name)
}

fn place(bytes: &[u8], at: usize) -> Option<Place> {
    let before = at.checked_sub(1).map(|i| bytes[i]);
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let found = match bytes[at] {
        b'-' => pem(bytes, at).map(|end| ("private key", end)),
        b'0'..=b'9' => telegram(bytes, at).map(|end| ("Telegram bot token", end)),
        first => FORMS
            .iter()
            .filter(|form| form.prefix.as_bytes()[0] == first)
            .find_map(|form| Some((form.name, form.end(bytes, at)?)))
            .or_else(|| Some(("Discord bot token", discord(bytes, at)?)))
            .or_else(|| Some(("JSON Web Token", jwt(bytes, at)?))),
    };
    let (name, end) = found?;
    Some(Place {
        name,
        range: at..end,
    })
}

impl Form {
    fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let body = bytes[at..].strip_prefix(self.prefix.as_bytes())?;
        let len = run(body, self.alphabet, self.most + 1);
        let bounded = (self.least..=self.most).contains(&len);
        (bounded && is_key(&body[..len])).then_some(at + self.prefix.len() + len)
    }
}

/// How many bytes of the alphabet there are, at most `max`.
fn run(bytes: &[u8], alphabet: Alphabet, max: usize) -> usize {
    let fits = |b: &u8| match alphabet {
        Letters => b.is_ascii_alphanumeric(),
        Url => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'),
        Dotted => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'),
        Hex => b.is_ascii_digit() || (b'a'..=b'f').contains(b),
        Upper => b.is_ascii_uppercase() || b.is_ascii_digit(),
        Lower => b.is_ascii_lowercase() || b.is_ascii_digit(),
    };
    let window = &bytes[..bytes.len().min(max)];
    window.iter().position(|b| !fits(b)).unwrap_or(window.len())
}

/// True if a body may be random: no placeholder, and enough different characters.
fn is_key(body: &[u8]) -> bool {
    let mut seen = [false; 256];
    body.iter().for_each(|b| seen[usize::from(*b)] = true);
    let variety = seen.iter().filter(|seen| **seen).count();
    let text = std::str::from_utf8(body).unwrap_or_default();
    variety >= LEAST_VARIETY && marker::of(text).is_none()
}

/// The digits of a bot's number, a colon, 35 characters.
fn telegram(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let digits = rest
        .iter()
        .take(12)
        .take_while(|b| b.is_ascii_digit())
        .count();
    let body = rest[digits..].strip_prefix(b":")?;
    let len = run(body, Url, 36);
    let whole = &rest[..digits + 1 + len];
    let is_example = std::str::from_utf8(whole).is_ok_and(|text| marker::of(text).is_some());
    let fits = (8..=11).contains(&digits) && len == 35 && !is_example;
    (fits && is_key(&body[..len])).then_some(at + digits + 1 + len)
}

/// Three parts, the first of which is the bot's number in base64.
fn discord(bytes: &[u8], at: usize) -> Option<usize> {
    if !matches!(bytes[at], b'M' | b'N' | b'O') {
        return None;
    }
    let (first, rest) = part(&bytes[at..], 24..=28)?;
    let (second, rest) = part(rest, 6..=6)?;
    let third = run(rest, Url, 46);
    let len = first + second + third + 2;
    let number = data_encoding::BASE64_NOPAD
        .decode(&bytes[at..at + first])
        .ok()?;
    let fits = (27..=45).contains(&third) && number.iter().all(u8::is_ascii_digit);
    (fits && is_key(&rest[..third])).then_some(at + len)
}

/// A part of the URL alphabet of such a length, up to a dot, and what follows the dot.
fn part(bytes: &[u8], len: std::ops::RangeInclusive<usize>) -> Option<(usize, &[u8])> {
    let found = run(bytes, Url, len.end() + 1);
    let rest = bytes[found..].strip_prefix(b".")?;
    len.contains(&found).then_some((found, rest))
}

/// The longest part of a JSON Web Token that is looked at, in bytes.
const MAX_JWT_PART: usize = 8_192;

/// Three parts, of which the first two are JSON objects.
fn jwt(bytes: &[u8], at: usize) -> Option<usize> {
    if !bytes[at..].starts_with(b"eyJ") {
        return None;
    }
    let (first, rest) = part(&bytes[at..], 10..=MAX_JWT_PART)?;
    let (second, rest) = part(rest, 10..=MAX_JWT_PART)?;
    let third = run(rest, Url, MAX_JWT_PART);
    let header = data_encoding::BASE64URL_NOPAD
        .decode(&bytes[at..at + first])
        .ok()?;
    let is_header = header.starts_with(b"{\"") && header.windows(5).any(|w| w == b"\"alg\"");
    (is_header && third >= 20 && is_key(&rest[..third])).then_some(at + first + second + third + 2)
}

/// The longest private key in PEM form, in bytes.
const MAX_PEM: usize = 32_768;

/// From the first line of a private key to its last; line ends may be those of JSON.
fn pem(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..bytes.len().min(at + MAX_PEM)];
    let inside = rest.strip_prefix(b"-----BEGIN ")?;
    let title = inside.iter().take(40).position(|b| *b == b'-')?;
    if !inside[..title].ends_with(b"PRIVATE KEY") {
        return None;
    }
    let body = inside[title..].strip_prefix(b"-----")?;
    let end = body.windows(9).position(|w| w == b"-----END ")?;
    let close = body[end + 9..].windows(5).position(|w| w == b"-----")?;
    let whole = rest.len() - body.len() + end + 9 + close + 5;
    let is_long = end >= 40 && is_key(&body[end - 40..end]);
    is_long.then_some(at + whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that is not the same for two places, of the alphabet.
    fn body(alphabet: Alphabet, len: usize) -> String {
        let letters: &[u8] = match alphabet {
            Hex => b"9f3c71e0b84a2d65",
            Upper => b"Q7ZK3WXN5RLTPB2V",
            Lower => b"q7zk3wxn5rltpb2v",
            Letters | Url | Dotted => b"Zq7RkW3xNp5LtB2vHdGyJ8sC",
        };
        (0..len)
            .map(|i| char::from(letters[(i * 7 + i / 5) % letters.len()]))
            .collect()
    }

    #[test]
    fn every_form_is_found_in_text_and_by_itself() {
        for form in FORMS {
            for len in [form.least, form.most] {
                let key = format!("{}{}", form.prefix, body(form.alphabet, len));
                let text = format!("KEY=\"{key}\" # {key}\n");
                let found: Vec<Place> = find(text.as_bytes()).collect();
                assert_eq!(found.len(), 2, "{}: {found:?}", form.name);
                assert_eq!(&text[found[0].range.clone()], key);
                assert_eq!(of(&key), Some(found[0].name));
                assert_eq!(of(&format!("{key} ")), Some(found[0].name));
            }
        }
    }

    #[test]
    fn one_byte_too_few_or_too_many_is_another_thing() {
        for form in FORMS
            .iter()
            .filter(|form| form.name.starts_with("Google API"))
        {
            for len in [form.least - 1, form.most + 1] {
                let text = format!("{}{}", form.prefix, body(form.alphabet, len));
                assert_eq!(find(text.as_bytes()).next(), None, "{text}");
            }
        }
    }

    #[test]
    fn keys_with_a_form_of_their_own_are_found() {
        let telegram = format!("7283940165:{}", body(Url, 35));
        let discord = format!("MTA5ODc2NTQzMjEwOTg3NjU0.GxYz12.{}", body(Url, 38));
        let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0xyz.{}", body(Url, 43));
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
            body(Letters, 64)
        );
        let escaped = pem.replace('\n', "\\n");
        for key in [&telegram, &discord, &jwt, &pem, &escaped] {
            let text = format!("x {key}\n");
            let found: Vec<Place> = find(text.as_bytes()).collect();
            assert_eq!(found.len(), 1, "{key}");
            assert_eq!(&text[found[0].range.clone()], key);
        }
    }

    #[test]
    fn look_alikes_are_not_found() {
        for text in [
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-ant-api03-your-key-here",
            "AKIAIOSFODNN7EXAMPLE",
            "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.\
             SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
            "9f8b3c2a-71d4-4e5f-8a6b-0c1d2e3f4a5b",
            "67ff105a9b3c4d2e1f00987654321abcdef01234",
            "sha256:9f8b3c2a71d44e5f8a6b0c1d2e3f4a5b9f8b3c2a71d44e5f8a6b0c1d2e3f4a5b",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI\n-----END PUBLIC KEY-----",
            "task-9f3c71e0b84a2d659f3c71e0b84a2d65",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
            "sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk-sk",
        ] {
            assert_eq!(find(text.as_bytes()).next(), None, "{text}");
        }
    }

    #[test]
    fn a_search_of_parts_finds_what_a_search_of_the_whole_finds() {
        let key = format!("gsk_{} ", body(Letters, 52));
        let text = key.repeat(9);
        let whole: Vec<Place> = find(text.as_bytes()).collect();
        assert_eq!(whole.len(), 9);
        for len in 1..text.len() {
            let mut parts: Vec<Place> = Vec::new();
            for start in (0..text.len()).step_by(len) {
                parts.extend(starting_in(text.as_bytes(), start..start + len));
            }
            assert_eq!(parts, whole, "{len}");
        }
    }
}
