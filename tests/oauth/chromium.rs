//! A sign-in in a real browser: Chromium, driven over the W3C WebDriver protocol, goes through the
//! server's login pages and lands at the listener.

use super::app::{SignIn, provider};
use crate::idp::{Idp, wire};
use reseal::oauth::SignInWith;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The key of an element in the protocol's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser of its own, with a profile of its own. It ends with the test.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`apt-get install chromium chromium-driver` (tests/run does)");
        let stdout = BufReader::new(driver.stdout.take().unwrap());
        let mut lines = stdout.lines().map_while(Result::ok);
        let ready = lines.find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            port: ready.expect("chromedriver names its port"),
            session: String::new(),
            _profile: profile,
        };
        let profile = browser._profile.path().display().to_string();
        let args = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            format!("--user-data-dir={profile}"),
            // The login pages ask for a font from the internet; nothing may leave this machine.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        ]);
        let logs = json!({"browser": "ALL"});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": logs,
            "timeouts": {"implicit": 20_000, "pageLoad": 60_000},
        }}});
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// One command of the protocol: the value of its answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let body = (method == "POST").then_some(("application/json", body.as_str()));
        let host = format!("127.0.0.1:{}", self.port);
        let request = wire::request(method, &host, path, body);
        let answer = wire::exchange(self.port, &request).unwrap();
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status(), 200, "{method} {path}: {value}");
        value["value"].clone()
    }

    fn in_session(&self, method: &str, path: &str, body: Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), &body)
    }

    fn open(&self, address: &str) {
        self.in_session("POST", "/url", json!({"url": address}));
    }

    /// Waits for an element: the path of its commands.
    fn element(&self, css: &str) -> String {
        let by = json!({"using": "css selector", "value": css});
        let found = self.in_session("POST", "/element", by);
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }

    fn write(&self, css: &str, text: &str) {
        let path = self.element(css) + "/value";
        self.in_session("POST", &path, json!({"text": text}));
    }

    fn click(&self, css: &str) {
        let path = self.element(css) + "/click";
        self.in_session("POST", &path, json!({}));
    }

    fn text(&self, css: &str) -> String {
        let path = self.element(css) + "/text";
        self.in_session("GET", &path, json!({}))
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn style(&self, css: &str, property: &str) -> String {
        let path = format!("{}/css/{property}", self.element(css));
        self.in_session("GET", &path, json!({}))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What the browser complained about.
    fn complaints(&self) -> Vec<String> {
        let log = self.in_session("POST", "/se/log", json!({"type": "browser"}));
        let entries = log.as_array().unwrap().iter();
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session. If the session could not be had, with its driver.
        if !self.session.is_empty() && !std::thread::panicking() {
            self.in_session("DELETE", "", json!({}));
        }
        let shutdown = wire::request("GET", "127.0.0.1", "/shutdown", None);
        drop(wire::exchange(self.port, &shutdown));
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

#[test]
fn a_person_signs_in_with_chromium() {
    let idp = Idp::start();
    let browser = Browser::start();
    let redirect = json!({"redirect": {"host": "localhost", "port": 0, "path": "/auth/callback"}});
    let sign_in = SignIn::begin(&provider(&idp, redirect), &SignInWith::default());
    let stray = format!(
        "{}?code=stolen&state=guessed",
        sign_in.listener.redirect_uri()
    );
    let address = sign_in.flow.url().as_str().to_owned();
    let program = std::thread::spawn(move || sign_in.finish());

    // A link that somebody sent.
    browser.open(&stray);
    assert_eq!(
        browser.text("h1"),
        "This is not the answer Reseal waits for"
    );

    browser.open(&address);
    browser.write("input[name=login]", "carol");
    browser.write("input[name=password]", "anything");
    browser.click("button[type=submit]");
    browser.element("form input[name=prompt][value=consent]");
    browser.click("button[type=submit]");
    assert_eq!(browser.text("main.good h1"), "You are signed in");
    assert!(browser.text("dl").contains("carol@example.com"));
    // The policy of the page lets its own style sheet in.
    assert_eq!(browser.style("main", "border-top-left-radius"), "16px");
    let complaints = browser.complaints();
    let about_us = |line: &&String| line.contains("Content Security Policy");
    assert_eq!(complaints.iter().find(about_us), None);

    let account = program.join().unwrap().unwrap();
    assert_eq!(account.identity.email.as_deref(), Some("carol@example.com"));
    assert_eq!(idp.events(), ["granted authorization_code"]);
}
