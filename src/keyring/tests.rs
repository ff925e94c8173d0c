use super::fixture::{Desk, With};
use super::*;
use crate::error::Coded;
use std::io::Write;
use std::process::Stdio;

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn looks() -> Looks {
    Looks {
        label: "A label".to_owned(),
        application: "reseal".to_owned(),
    }
}

fn name() -> Name {
    Name::new("service", "user@host")
}

#[test]
fn entries_are_written_read_and_removed() {
    let desk = Desk::new(With::Unlocked);
    let keyring = desk.keyring();
    assert!(keyring.may_exist());
    let state = keyring.state().unwrap();
    assert_eq!((state.collection.as_str(), state.locked), ("Login", false));
    assert_eq!(keyring.read(&name()), Ok(None));
    assert_eq!(keyring.remove(&name()), Ok(false));
    keyring.write(&name(), &looks(), &secret("one")).unwrap();
    keyring.write(&name(), &looks(), &secret("two ä")).unwrap();
    let found = desk.keyring().read(&name()).unwrap().unwrap();
    assert_eq!(found.secret, secret("two ä"));
    assert!(found.modified.is_some());
    assert_eq!(keyring.read(&Name::new("service", "other")), Ok(None));
    assert_eq!(keyring.remove(&name()), Ok(true));
    assert_eq!(keyring.read(&name()), Ok(None));
}

#[test]
fn secret_tool_reads_what_we_write_and_we_what_it_writes() {
    let desk = Desk::new(With::Unlocked);
    let keyring = desk.keyring();
    keyring.write(&name(), &looks(), &secret("ours")).unwrap();
    let tool = |arguments: &[&str], input: &str| {
        let mut child = desk
            .command("secret-tool")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("secret-tool is installed (tests/run installs it)");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let found = tool(
        &["search", "service", "service", "username", "user@host"],
        "",
    );
    for line in [
        "label = A label",
        "secret = ours",
        "attribute.application = reseal",
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }
    tool(
        &["store", "--label=Theirs", "service", "s", "username", "u"],
        "theirs",
    );
    let theirs = Name::new("s", "u");
    assert_eq!(
        keyring.read(&theirs).unwrap().unwrap().secret,
        secret("theirs")
    );
    // An entry of somebody else is changed in place, and keeps its looks.
    keyring
        .write(&theirs, &looks(), &secret("changed"))
        .unwrap();
    assert_eq!(
        tool(&["lookup", "service", "s", "username", "u"], ""),
        "changed"
    );
    assert!(tool(&["search", "service", "s"], "").contains("label = Theirs"));
}

#[test]
fn every_way_to_fail_is_told_apart() {
    let fault = |keyring: &Keyring| keyring.read(&name()).unwrap_err();
    let nowhere = Keyring::on(Bus::at("unix:path=/nonexistent/bus"), Asking::Never);
    assert!(!nowhere.may_exist());
    assert!(matches!(fault(&nowhere), Fault::NoBus(_)));
    let not_a_bus = tempfile::NamedTempFile::new().unwrap();
    let address = format!("unix:path={}", not_a_bus.path().display());
    assert!(matches!(
        fault(&Keyring::on(Bus::at(address), Asking::Never)),
        Fault::NoBus(_)
    ));
    let bare = Desk::new(With::NoService);
    assert_eq!(fault(&bare.keyring()), Fault::NoService);
    let headless = Desk::new(With::NoCollection);
    assert_eq!(fault(&headless.keyring()), Fault::NoCollection);
    assert_eq!(
        headless.keyring().write(&name(), &looks(), &secret("x")),
        Err(Fault::NoCollection)
    );
    let mut desk = Desk::new(With::Unlocked);
    let keyring = desk.keyring();
    keyring.write(&name(), &looks(), &secret("kept")).unwrap();
    desk.lock();
    assert!(keyring.state().unwrap().locked);
    assert_eq!(fault(&keyring), Fault::Locked);
    assert_eq!(
        keyring.write(&name(), &looks(), &secret("x")),
        Err(Fault::Locked)
    );
    assert_eq!(keyring.remove(&name()), Err(Fault::Locked));
    // Asked where there is no display, the system's own prompt gives up.
    assert_eq!(fault(&desk.asking_keyring()), Fault::Refused);
    desk.stop_keyring();
    assert_eq!(fault(&keyring), Fault::NoService);
    // The one connection comes back with the keyring, and so does the entry.
    desk.start_keyring(Some("test"));
    assert_eq!(
        keyring.read(&name()).unwrap().unwrap().secret,
        secret("kept")
    );
    let codes: std::collections::HashSet<_> = [
        Fault::NoBus(""),
        Fault::NoService,
        Fault::NoCollection,
        Fault::Locked,
        Fault::Refused,
        Fault::Timeout(CALL_LIMIT),
        Fault::Failed(String::new()),
    ]
    .iter()
    .map(Coded::code)
    .collect();
    assert_eq!(codes.len(), 7);
}

#[test]
fn a_keyring_that_does_not_answer_is_given_up() {
    use rustix::process::Signal;
    let desk = Desk::new(With::Unlocked);
    desk.keyring()
        .write(&name(), &looks(), &secret("x"))
        .unwrap();
    let limit = Duration::from_millis(300);
    desk.signal_keyring(Signal::STOP);
    let keyring = desk.keyring().waiting_at_most(limit);
    assert_eq!(keyring.read(&name()), Err(Fault::Timeout(limit)));
    desk.signal_keyring(Signal::CONT);
    assert_eq!(
        desk.keyring().read(&name()).unwrap().unwrap().secret,
        secret("x")
    );
}

#[test]
fn entries_have_limits() {
    let desk = Desk::new(With::Unlocked);
    let keyring = desk.keyring();
    let of = |len| SecretValue::build(len, |bytes| bytes.fill(b'x'));
    keyring.write(&name(), &looks(), &of(MAX_SECRET)).unwrap();
    assert_eq!(
        keyring.read(&name()).unwrap().unwrap().secret.len(),
        MAX_SECRET
    );
    assert_eq!(
        keyring.write(&name(), &looks(), &of(MAX_SECRET + 1)),
        Err(Fault::TooLarge)
    );
    for bad in ["", "a\0b", &"x".repeat(MAX_NAME + 1)] {
        assert_eq!(keyring.read(&Name::new("s", bad)), Err(Fault::Name));
        assert_eq!(keyring.read(&Name::new(bad, "u")), Err(Fault::Name));
    }
}
