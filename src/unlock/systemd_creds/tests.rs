//! The program's faults, shown by a script in its place: the real one is met in `tests/cli`.

use super::*;
use std::fs;

/// A program that does what a shell script says.
fn scripted(folder: &Path, script: &str) -> SystemdCreds {
    let program = folder.join("systemd-creds");
    let written = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\"; chmod 700 \"$0\""])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let text = format!("#!/bin/sh\n{script}\n");
            child.stdin.take().unwrap().write_all(text.as_bytes())?;
            child.wait()
        });
    assert!(written.unwrap().success());
    SystemdCreds {
        program,
        limit: Duration::from_secs(20),
    }
}

fn key() -> SecretValue {
    SecretValue::build(32, |bytes| bytes.fill(b'K'))
}

#[test]
fn the_key_goes_through_pipes_and_warnings_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let args = folder.path().join("args");
    let script = format!(
        "printf '%s ' \"$@\" > {}; env >> {0}; echo 'a\x1b warning' >&2; echo two >&2; cat",
        args.display()
    );
    let creds = scripted(folder.path(), &script);
    let seal = Seal {
        with_key: Some("host"),
        tpm2_device: Some("swtpm:".to_owned()),
        tpm2_pcrs: Some("7".to_owned()),
    };
    let ran = creds.encrypt(&seal, &key()).unwrap();
    assert_eq!(ran.text, [b'K'; 32]);
    assert_eq!(ran.said, "a? warning; two");
    let seen = fs::read_to_string(args).unwrap();
    let expected = "--name=reseal.key --with-key=host --tpm2-device=swtpm: --tpm2-pcrs=7 \
                    encrypt - - ";
    assert!(seen.starts_with(expected), "{seen}");
    assert!(!seen.contains("KKKK") && !seen.contains("HOME="), "{seen}");
}

#[test]
fn each_way_to_fail_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let seal = Seal::default();
    let fails = |script: &str, seal: &Seal| {
        let error = scripted(path, script).encrypt(seal, &key()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("KKKK"), "{shown}");
        (error.code(), error.to_string())
    };
    let (code, text) = fails("echo 'No host key' >&2; exit 1", &seal);
    assert_eq!(code, Code::SystemdFailed);
    assert_eq!(text, "systemd-creds failed: No host key");
    let (_, text) = fails("exit 3", &seal);
    assert!(text.contains("exit status: 3"), "{text}");
    let (_, text) = fails("exit 0", &seal);
    assert!(text.contains("gave out nothing"), "{text}");
    let flood = format!("head -c {} /dev/zero", MAX_CREDENTIAL + 1);
    let (_, text) = fails(&flood, &seal);
    assert!(text.contains("more than 65536 bytes"), "{text}");
    // Just as much as is allowed.
    let most = format!("head -c {MAX_CREDENTIAL} /dev/zero");
    let ran = scripted(path, &most).encrypt(&seal, &key()).unwrap();
    assert_eq!(ran.text.len(), MAX_CREDENTIAL);
    // The TPM is blamed only if it was asked for and systemd says that there is none.
    let no_tpm = "case \"$*\" in has-tpm2) echo partial; echo -driver; exit 11;; esac
                  echo 'TPM2 not found' >&2; exit 1";
    let tpm = Seal {
        with_key: Some("tpm2"),
        ..Seal::default()
    };
    let (code, text) = fails(no_tpm, &tpm);
    assert_eq!(code, Code::SystemdNoTpm);
    assert!(text.contains("partial; -driver"), "{text}");
    let (code, _) = fails(no_tpm, &seal);
    assert_eq!(code, Code::SystemdFailed);
    let there = no_tpm.replace("-driver", "+driver");
    let (code, text) = fails(&there, &tpm);
    assert_eq!(
        (code, text.contains("not found")),
        (Code::SystemdFailed, true)
    );
}

#[test]
fn a_program_that_does_not_end_is_killed_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut creds = scripted(folder.path(), "echo $$ > \"$0.pid\"; exec sleep 600");
    creds.limit = Duration::from_millis(300);
    let error = creds.encrypt(&Seal::default(), &key()).unwrap_err();
    assert!(matches!(error, CredsError::Late(_)), "{error:?}");
    // It may not have come as far as the first line.
    if let Ok(pid) = fs::read_to_string(folder.path().join("systemd-creds.pid")) {
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }
}

#[test]
fn what_is_decrypted_must_be_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cred");
    let of = |script: &str| scripted(folder.path(), script).decrypt(&Seal::default(), &file);
    assert_eq!(of("printf %32s | tr ' ' K").unwrap(), key());
    let error = of("printf short").unwrap_err();
    assert!(matches!(error, CredsError::NotAKey(_)), "{error:?}");
    let error = of("printf %100s").unwrap_err();
    assert!(matches!(error, CredsError::TooMuch(_)), "{error:?}");
}
