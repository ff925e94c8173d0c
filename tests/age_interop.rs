//! Debian's `age` program as the other side: it opens what we export, we open what it makes.
//!
//! The program must be installed (`apt-get install age`): these tests fail without it.
#![allow(clippy::unwrap_used)]

use reseal::secret::SecretValue;
use reseal::unlock::age::{
    MAX_EXPORT, decrypt, decrypt_with_passphrase, encrypt_to, encrypt_with_passphrase,
    load_identity_file, parse_recipient,
};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const PAYLOAD: &[u8] = b"{\"sample\":\"of an export\"}\n";
const PASSPHRASE: &str = "correct horse battery staple";

fn world() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is installed (apt-get install age util-linux)");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output
}

/// An identity made by `age-keygen`, and its recipient.
fn keygen(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("identity.txt");
    run(Command::new("age-keygen").arg("-o").arg(&path), b"");
    let output = run(Command::new("age-keygen").arg("-y").arg(&path), b"");
    (
        path,
        String::from_utf8(output.stdout).unwrap().trim().to_owned(),
    )
}

/// Runs `age` on a terminal of its own and types the passphrase whenever it asks.
fn on_a_terminal(command: &str, asked: usize) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::fs::{File, OpenOptions};
    use std::io::Read;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = Command::new("setsid")
        .args(["--ctty", "sh", "-c", command])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let mut master = File::from(master);
    let mut seen = String::new();
    for _ in 0..asked {
        while !seen.contains("passphrase") {
            let mut chunk = [0; 256];
            let count = master.read(&mut chunk).unwrap();
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        while rustix::termios::tcgetattr(&master)
            .unwrap()
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO)
        {
            std::thread::yield_now();
        }
        seen.clear();
        master
            .write_all(format!("{PASSPHRASE}\n").as_bytes())
            .unwrap();
    }
    assert!(child.wait().unwrap().success(), "{command}: {seen}");
}

fn no_prompt(_: &str) -> Result<SecretValue, reseal::sys::tty::PromptError> {
    panic!("nothing is to be asked")
}

#[test]
fn age_opens_what_we_encrypt_to_a_recipient() {
    let world = world();
    let (identity, recipient) = keygen(world.path());
    let recipient = parse_recipient(&recipient).unwrap();
    let file = encrypt_to(&[recipient], &SecretValue::copy_of(PAYLOAD), &[]).unwrap();
    let output = run(
        Command::new("age").arg("-d").arg("-i").arg(&identity),
        &file,
    );
    assert_eq!(output.stdout, PAYLOAD);
}

#[test]
fn we_open_what_age_encrypts_to_a_recipient() {
    let world = world();
    let (identity, recipient) = keygen(world.path());
    let identities = load_identity_file(&identity, &mut no_prompt).unwrap();
    for armor in [false, true] {
        let mut command = Command::new("age");
        command.args(["-r", &recipient]);
        if armor {
            command.arg("-a");
        }
        let file = run(&mut command, PAYLOAD).stdout;
        let payload = decrypt(&file, &identities, &[], MAX_EXPORT).unwrap();
        assert_eq!(payload.expose(), PAYLOAD);
    }
}

#[test]
fn age_opens_what_we_encrypt_with_a_passphrase() {
    let world = world();
    let passphrase = SecretValue::copy_of(PASSPHRASE.as_bytes());
    let file = encrypt_with_passphrase(&passphrase, &SecretValue::copy_of(PAYLOAD)).unwrap();
    let path = world.path().join("export.age");
    std::fs::write(&path, file).unwrap();
    let out = world.path().join("out");
    on_a_terminal(
        &format!("age -d -o '{}' '{}'", out.display(), path.display()),
        1,
    );
    assert_eq!(std::fs::read(out).unwrap(), PAYLOAD);
}

#[test]
fn we_open_what_age_encrypts_with_a_passphrase() {
    let world = world();
    let (plain, path) = (world.path().join("plain"), world.path().join("made.age"));
    std::fs::write(&plain, PAYLOAD).unwrap();
    on_a_terminal(
        &format!("age -p -o '{}' '{}'", path.display(), plain.display()),
        2,
    );
    let file = std::fs::read(path).unwrap();
    let passphrase = SecretValue::copy_of(PASSPHRASE.as_bytes());
    let payload = decrypt_with_passphrase(&file, &passphrase, MAX_EXPORT).unwrap();
    assert_eq!(payload.expose(), PAYLOAD);
    let wrong = SecretValue::copy_of(b"wrong");
    let error = decrypt_with_passphrase(&file, &wrong, MAX_EXPORT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the passphrase does not open the age file"
    );
}

#[test]
fn we_load_an_identity_file_that_age_encrypted() {
    let world = world();
    let (identity, recipient) = keygen(world.path());
    let encrypted = world.path().join("identity.age");
    let command = format!(
        "age -p -a -o '{}' '{}'",
        encrypted.display(),
        identity.display()
    );
    on_a_terminal(&command, 2);
    std::fs::set_permissions(&encrypted, Permissions::from_mode(0o600)).unwrap();
    let mut asked = 0;
    let identities = load_identity_file(&encrypted, &mut |prompt| {
        asked += 1;
        assert!(prompt.contains("identity.age"), "{prompt}");
        Ok(SecretValue::copy_of(PASSPHRASE.as_bytes()))
    })
    .unwrap();
    assert_eq!(asked, 1);
    assert_eq!(identities[0].recipient().unwrap(), recipient);
}
