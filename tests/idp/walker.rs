//! A browser without a screen: cookies, redirects, and the forms of the server's own login pages.

use super::wire::{self, Message};
use std::collections::BTreeMap;
use url::Url;
use url::form_urlencoded::Serializer;

/// Redirects and forms of one sign-in; there are about ten.
const MAX_STEPS: usize = 30;

/// What a person answers at the consent page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Goes on.
    Give,
    /// Follows the page's link to cancel.
    Cancel,
}

/// A browser of its own, with a person of this name at it.
pub struct Walker {
    person: String,
    cookies: BTreeMap<String, String>,
}

impl Walker {
    /// A browser that has been nowhere. The server believes any name and password.
    pub fn new(person: &str) -> Self {
        Self {
            person: person.to_owned(),
            cookies: BTreeMap::new(),
        }
    }

    /// Opens the address and signs in, until the server sends the browser to an address that
    /// starts with `stop`: that address, which is not opened.
    pub fn sign_in(&mut self, address: &str, stop: &str, consent: Consent) -> String {
        let mut url = Url::parse(address).unwrap();
        let mut answer = self.get(&url);
        for _ in 0..MAX_STEPS {
            let next = match answer.header("location") {
                Some(to) => Next::Open(url.join(to).unwrap()),
                None => self.at_page(&url, answer.text(), consent),
            };
            match next {
                Next::Open(to) if to.as_str().starts_with(stop) => return to.into(),
                Next::Open(to) => {
                    url = to;
                    answer = self.get(&url);
                }
                Next::Send(to, fields) => {
                    url = to;
                    answer = self.post(&url, &fields);
                }
            }
        }
        panic!("the pages lead in circles: {url}");
    }

    /// Confirms a device code at the address that a device shows, and signs in there.
    pub fn approve_device(&mut self, address: &str) {
        let mut url = Url::parse(address).unwrap();
        let mut answer = self.get(&url);
        for _ in 0..MAX_STEPS {
            if let Some(to) = answer.header("location") {
                url = url.join(to).unwrap();
                answer = self.get(&url);
            } else if answer.text().contains("<form") {
                let (to, fields) = self.form(&url, answer.text());
                url = to;
                answer = self.post(&url, &fields);
            } else {
                assert!(answer.text().contains("Success"), "{}", answer.text());
                return;
            }
        }
        panic!("the pages lead in circles: {url}");
    }

    /// Fetches an address: the answer, also if it is a redirect.
    pub fn get(&mut self, url: &Url) -> Message {
        self.exchange(url, "GET", None)
    }

    fn post(&mut self, url: &Url, fields: &Fields) -> Message {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        self.exchange(url, "POST", Some(&body))
    }

    fn exchange(&mut self, url: &Url, method: &str, body: Option<&str>) -> Message {
        let port = url.port().unwrap();
        let host = format!("{}:{port}", url.host_str().unwrap());
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let body = body.map(|body| ("application/x-www-form-urlencoded", body));
        let mut request = wire::request(method, &host, target, body);
        let cookies = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies: Vec<String> = cookies.collect();
        if !cookies.is_empty() {
            request.set("Cookie", &cookies.join("; "));
        }
        let answer = wire::exchange_at(&*url.socket_addrs(|| None).unwrap(), &request).unwrap();
        for cookie in answer.all("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// What a person does at a login or consent page.
    fn at_page(&self, url: &Url, page: &str, consent: Consent) -> Next {
        let (action, fields) = self.form(url, page);
        let asks_consent = fields.contains(&("prompt".to_owned(), "consent".to_owned()));
        if asks_consent && consent == Consent::Cancel {
            let help = page.split_once("login-help").unwrap().1;
            return Next::Open(url.join(&attribute(help, "<a", "href").unwrap()).unwrap());
        }
        Next::Send(action, fields)
    }

    /// Where the first form of a page goes, and its fields as the person fills them in.
    fn form(&self, url: &Url, page: &str) -> (Url, Fields) {
        let (_, form) = page.split_once("<form").unwrap_or_else(|| panic!("{page}"));
        let form = form.split("</form>").next().unwrap();
        let action = attribute(form, "", "action").unwrap();
        let fields = form.split("<input").skip(1).map(|input| {
            let name = attribute(input, "", "name").unwrap();
            let value = match name.as_str() {
                "login" => self.person.clone(),
                "password" => "any".to_owned(),
                _ => attribute(input, "", "value").unwrap_or_default(),
            };
            (name, value)
        });
        (url.join(&action).unwrap(), fields.collect())
    }
}

/// The fields of a form.
type Fields = Vec<(String, String)>;

enum Next {
    Open(Url),
    Send(Url, Fields),
}

/// The value of an attribute of the first such element.
fn attribute(page: &str, element: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(element)?;
    let inside = rest.split('>').next()?;
    let (_, value) = inside.split_once(&format!("{name}=\""))?;
    Some(value.split('"').next()?.replace("&amp;", "&"))
}
