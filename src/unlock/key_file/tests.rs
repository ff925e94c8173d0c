use super::*;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicI32, Ordering};
use tempfile::TempDir;

fn file(data: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, data).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

/// An inherited descriptor with this content. Each number can be taken once in a process, so
/// every call uses another one.
fn pipe(data: &[u8]) -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(300);
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(data).unwrap();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    rustix::io::fcntl_dupfd_cloexec(reader, number)
        .unwrap()
        .into_raw_fd()
}

#[test]
fn passphrases_lose_one_line_end_and_keep_the_rest() {
    let cases: [(&[u8], &[u8]); 4] = [
        (b"words\n", b"words"),
        (b"words\r\n", b"words"),
        (b" words \n\n", b" words \n"),
        ("w\u{f6}rds".as_bytes(), "w\u{f6}rds".as_bytes()),
    ];
    for (data, expected) in cases {
        let (_folder, path) = file(data, 0o400);
        assert_eq!(read_passphrase(&path).unwrap().expose(), expected);
        assert_eq!(read_passphrase_fd(pipe(data)).unwrap().expose(), expected);
    }
}

#[test]
fn passphrases_have_limits() {
    let longest = vec![b'x'; MAX_PASSPHRASE];
    assert_eq!(
        read_passphrase_fd(pipe(&longest)).unwrap().len(),
        MAX_PASSPHRASE
    );
    for (data, code) in [
        (&b""[..], Code::InputInvalid),
        (b"\n", Code::InputInvalid),
        (b"\xff\xfe", Code::InputInvalid),
        (&[b'x'; MAX_PASSPHRASE + 1], Code::InputTooLarge),
        (&[b'x'; MAX_PASSPHRASE + 9], Code::InputTooLarge),
    ] {
        assert_eq!(read_passphrase_fd(pipe(data)).unwrap_err().code(), code);
        let (_folder, path) = file(data, 0o600);
        assert_eq!(read_passphrase(&path).unwrap_err().code(), code);
    }
}

#[test]
fn keys_are_raw_hexadecimal_or_base64() {
    let raw: Vec<u8> = (100..132).collect();
    let hex = data_encoding::HEXLOWER.encode(&raw);
    let base64 = BASE64.encode(&raw);
    for text in [
        raw.clone(),
        hex.clone().into(),
        hex.to_uppercase().into(),
        base64.into(),
    ] {
        for end in [&b""[..], b"\n"] {
            let data = [&text[..], end].concat();
            if data.len() == KEY_LEN + 1 {
                continue;
            }
            let (_folder, path) = file(&data, 0o600);
            assert_eq!(read_key(&path).unwrap().expose(), raw);
            assert_eq!(read_key_fd(pipe(&data)).unwrap().expose(), raw);
        }
    }
    for bad in [
        &raw[1..],
        &[&raw[..], &raw[..1]].concat(),
        &[b'g'; 64],
        &[b'-'; 44],
        b"x",
    ] {
        assert!(matches!(
            read_key_fd(pipe(bad)),
            Err(KeyFileError::NotAKey(_))
        ));
    }
    assert!(matches!(
        read_key_fd(pipe(&[b'a'; 67])),
        Err(KeyFileError::TooLarge { .. })
    ));
}

#[test]
fn a_recovery_code_is_read_as_it_stands() {
    let text = read_recovery_code_fd(pipe(b"ABCD efgh\n")).unwrap();
    assert_eq!(text.expose(), b"ABCD efgh");
    let long = [b'A'; MAX_RECOVERY_TEXT + 1];
    assert!(read_recovery_code_fd(pipe(&long)).is_err());
}

#[test]
fn a_file_that_others_may_read_or_write_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666] {
        let (_folder, path) = file(b"words", mode);
        let error = read_passphrase(&path).unwrap_err();
        assert_eq!(error.code(), Code::FilePermission, "{mode:o}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_absent() {
    let error = read_passphrase(Path::new("/nonexistent/key")).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/key does not exist");
}

#[test]
fn what_is_not_a_private_file_of_ours_is_refused() {
    let (folder, path) = file(b"words", 0o600);
    let fifo = folder.path().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    for path in [&fifo, &folder.path().to_owned()] {
        assert_eq!(
            read_passphrase(path).unwrap_err().code(),
            Code::FilePermission
        );
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let error = read_passphrase(&path).unwrap_err();
        assert!(error.to_string().contains("another user"), "{error}");
    }
}

#[test]
fn a_credential_may_show_group_read_if_it_is_roots() {
    let (_folder, path) = file(b"words", 0o440);
    let root = rustix::process::geteuid().is_root();
    assert_eq!(read_credential(&path, 10).is_ok(), root);
    assert!(read_private(&path, 10).is_err());
    for mode in [0o444, 0o460, 0o450] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(read_credential(&path, 10).is_err(), "{mode:o}");
    }
}

#[test]
fn errors_name_the_place_and_no_content() {
    let (_folder, path) = file(b"canary-content-that-is-no-key", 0o600);
    let text = format!("{:?} {0}", read_key(&path).unwrap_err());
    assert!(text.contains("/key") && !text.contains("canary"), "{text}");
}
