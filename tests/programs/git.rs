//! The real git: over HTTP Basic, against its own server program.

use super::home::{Home, block};
use super::http::{Request, Response, Server};
use data_encoding::BASE64;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// A repository behind a password that can be changed.
struct Repository {
    server: Server,
    password: Arc<Mutex<String>>,
}

impl Repository {
    fn new(folder: &Path, user: &str, password: &str) -> Self {
        let init = "git init -q --bare r.git && git -C r.git config http.receivepack true";
        let status = Command::new("sh")
            .args(["-c", init])
            .current_dir(folder)
            .status();
        assert!(status.unwrap().success());
        let expected = Arc::new(Mutex::new(password.to_owned()));
        let (user, folder, known) = (user.to_owned(), folder.to_owned(), Arc::clone(&expected));
        let server = Server::start(move |request| {
            let login = format!("{user}:{}", known.lock().unwrap());
            let wanted = format!("Basic {}", BASE64.encode(login.as_bytes()));
            if request.header("authorization") == Some(&wanted) {
                return Response::from_cgi(&backend(&folder, request));
            }
            Response::new(401, "text/plain", "").header("www-authenticate", "Basic realm=\"a=b\"")
        });
        let password = expected;
        Self { server, password }
    }

    fn url(&self) -> String {
        format!("{}/r.git", self.server.url())
    }

    fn record(&self, user: &str) -> String {
        format!("git/http/{}/{user}", self.server.address)
    }
}

/// git's server program, as a web server runs it.
fn backend(folder: &Path, request: &Request) -> Vec<u8> {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let header = |name| request.header(name).unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "somebody")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&request.body)
        .unwrap();
    child.wait_with_output().unwrap().stdout
}

const PUSH: &str = "cd wc && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x \
                    && git push -q origin HEAD";

fn version(home: &Home, record: &str) -> Option<u64> {
    let records = home.world.run(&["secrets", "list", "--json"]).ok().json();
    let all = records["records"].as_array().unwrap();
    let found = all.iter().find(|entry| entry["name"] == record)?;
    found["version"].as_u64()
}

#[test]
fn git_clones_and_pushes_with_a_password_of_the_vault() {
    let home = Home::new();
    home.set_up("git");
    let repository = Repository::new(&home.path, "me@example.com", "p=w ä");
    let record = repository.record("me#40example.com");
    home.world.store(&record, "p=w ä");
    let clone = format!("git clone -q {} wc", repository.url());
    home.sh(&clone).ok();
    home.sh(PUSH).ok();
    // git has told the password that it was given; nothing was written for that.
    assert_eq!(version(&home, &record), Some(1));
    let log = home.sh("git -C r.git log --oneline --all").ok();
    assert_eq!(log.text().lines().count(), 1);
}

#[test]
fn git_forgets_only_the_password_that_was_refused() {
    let home = Home::new();
    home.set_up("git");
    let repository = Repository::new(&home.path, "alice", "first");
    let record = repository.record("alice");
    let told = |operation: &str, password: &str, more: &str| {
        let host = repository.server.address;
        let text =
            format!("protocol=http\nhost={host}\nusername=alice\npassword={password}\n{more}\n");
        home.sh_with(&format!("git credential {operation}"), text.as_bytes())
            .ok();
    };
    told("approve", "first", "");
    assert_eq!(home.world.value(&record), "first");
    home.sh(&format!("git clone -q {} wc", repository.url()))
        .ok();
    told("reject", "another", "");
    assert_eq!(home.world.value(&record), "first");

    *repository.password.lock().unwrap() = "second".to_owned();
    let refused = home.sh(PUSH);
    assert_ne!(refused.code, 0);
    assert_eq!(version(&home, &record), None, "{}", refused.stderr);

    told("approve", "second", "password_expiry_utc=4102444800\n");
    home.sh("cd wc && git push -q origin HEAD").ok();
    assert_eq!(version(&home, &record), Some(1));
    let ask = format!("protocol=http\nhost={}\n\n", repository.server.address);
    let filled = home.sh_with("git credential fill", ask.as_bytes()).ok();
    let filled: Vec<&str> = filled.text().lines().collect();
    for line in [
        "username=alice",
        "password=second",
        "password_expiry_utc=4102444800",
    ] {
        assert!(filled.contains(&line), "{filled:?}");
    }
    // git itself keeps nothing that has ended; a helper beside this one may.
    let ended = format!(
        "protocol=http\nhost={}\nusername=alice\npassword=third\npassword_expiry_utc=1\n",
        repository.server.address
    );
    home.sh_with("git credential-reseal store", ended.as_bytes())
        .ok();
    assert_eq!(home.world.value(&record), "third");
    let filled = home.sh_with("git credential fill", ask.as_bytes());
    assert_ne!(filled.code, 0, "an expired password was given out");
}

#[test]
fn the_newest_password_of_a_host_is_used_and_paths_are_apart() {
    let home = Home::new();
    home.set_up("git");
    let fill = |more: &str| {
        let ask = format!("protocol=https\nhost=git.example:8443\n{more}\n");
        let ran = home.sh_with("git credential fill", ask.as_bytes());
        let text = ran.text().to_owned();
        let line = text.lines().find(|line| line.starts_with("password="));
        line.map(|line| line["password=".len()..].to_owned())
    };
    home.sh("git config --global credential.useHttpPath true")
        .ok();
    home.world.store("git/https/git.example:8443/a", "of a");
    home.world.store("git/https/git.example:8443/b", "of b");
    home.world
        .store("git/https/git.example:8443/b/o/r.git", "of the path");
    home.world
        .store("git/https/git.example/c", "of another port");
    assert_eq!(fill("").as_deref(), Some("of b"));
    assert_eq!(fill("username=a\n").as_deref(), Some("of a"));
    assert_eq!(fill("path=o/r.git\n").as_deref(), Some("of the path"));
    assert_eq!(fill("path=o\n"), None);
    assert_eq!(fill("username=c\n"), None);
}

#[test]
fn git_is_given_one_secret_for_one_place() {
    let home = Home::new();
    let repository = Repository::new(&home.path, "oauth2", "a token");
    home.world.store("gitlab/me", "a token");
    let line = block("git", 2);
    assert!(line.contains("https://gitlab.com"));
    home.sh(&line.replace("https://gitlab.com", &repository.server.url()))
        .ok();
    home.sh(&format!("git clone -q {} wc", repository.url()))
        .ok();
    home.sh(PUSH).ok();
    // A refusal takes nothing out of the vault.
    *repository.password.lock().unwrap() = "another".to_owned();
    assert_ne!(home.sh(PUSH).code, 0);
    assert_eq!(home.world.value("gitlab/me"), "a token");
    let given = repository.server.take_seen();
    let given = given
        .iter()
        .filter_map(|request| request.header("authorization"));
    let only = format!("Basic {}", BASE64.encode(b"oauth2:a token"));
    assert!(given.clone().count() > 3 && given.clone().all(|header| header == only));
    let elsewhere = b"protocol=http\nhost=git.example\nusername=oauth2\n\n";
    assert_ne!(home.sh_with("git credential fill", elsewhere).code, 0);
}

#[test]
fn a_locked_vault_is_said_and_other_operations_are_ignored() {
    let home = Home::new();
    home.world.run(&["vault", "lock"]).ok();
    let get = home
        .world
        .piped(&["helper", "git", "get"], b"protocol=https\nhost=h\n");
    let get = get.code(4);
    assert!(get.stderr.contains("it is locked"), "{}", get.stderr);
    assert!(get.stdout.is_empty());
    home.world.piped(&["helper", "git", "approve"], b"x").ok();
    let broken = home
        .world
        .piped(&["helper", "git", "get"], b"canary\n")
        .code(2);
    assert!(broken.stderr.contains("line 1") && !broken.stderr.contains("canary"));
}
