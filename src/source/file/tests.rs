use super::*;
use crate::config::UserPath;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

fn ctx(home: Option<&Path>) -> Context<'_> {
    Context::plain(&|_| None, home)
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn provider(path: &Path, mode: FileMode) -> FileProvider {
    FileProvider {
        path: UserPath::new(path.to_str().unwrap()).unwrap(),
        mode,
        timeout: Duration::from_secs(60),
        max_bytes: 1 << 20,
        allow_insecure_path: false,
    }
}

fn json(path: &Path, id: &str) -> Result<Vec<u8>, FileError> {
    get(&provider(path, FileMode::Json), id)
}

fn get(provider: &FileProvider, id: &str) -> Result<Vec<u8>, FileError> {
    let mut values = resolve("mounted", provider, &[id], &ctx(None));
    assert_eq!(values.len(), 1);
    values.remove(0).map(|value| value.expose().to_vec())
}

fn problem(path: &Path) -> PathProblem {
    match json(path, "/a") {
        Err(FileError::Path(error)) => error.problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_read_answers_many_pointers_each_for_itself() {
    let place = Place::new();
    let content = b"\xef\xbb\xbf{\"a\":{\"b\":\"\\u00e4\"},\"n\":1,\"e\":\"\"}";
    let path = place.write("f", content, 0o600);
    let provider = provider(&path, FileMode::Json);
    let ids = ["/a/b", "/x", "/n", "/a", "/e", "value"];
    let values = resolve("mounted", &provider, &ids, &ctx(None));
    assert_eq!(values[0].as_ref().unwrap().expose(), "ä".as_bytes());
    let codes: Vec<_> = values[1..]
        .iter()
        .map(|value| value.as_ref().unwrap_err().code())
        .collect();
    let invalid = Code::SourceInvalid;
    assert_eq!(
        codes,
        [
            Code::RefAbsent,
            invalid,
            invalid,
            Code::RefEmpty,
            Code::RefInvalid
        ]
    );
}

#[test]
fn a_single_value_loses_its_bom_and_one_line_end() {
    let place = Place::new();
    let value = |content: &[u8]| {
        let path = place.write("f", content, 0o400);
        let value = get(&provider(&path, FileMode::SingleValue), "value");
        fs::remove_file(path).unwrap();
        value
    };
    assert_eq!(value(b"secret"), Ok(b"secret".to_vec()));
    assert_eq!(value(b"\xef\xbb\xbfsecret\n"), Ok(b"secret".to_vec()));
    assert_eq!(value(b"secret\r\n\r\n"), Ok(b"secret\r\n".to_vec()));
    assert_eq!(value(b"\xff\xfe"), Ok(b"\xff\xfe".to_vec()));
    assert_eq!(value(b"\n").unwrap_err().code(), Code::RefEmpty);
    assert_eq!(value(b"").unwrap_err().code(), Code::RefEmpty);
    let path = place.write("g", b"x", 0o600);
    let wrong = get(&provider(&path, FileMode::SingleValue), "/a");
    assert!(matches!(wrong, Err(FileError::WrongMode { .. })));
}

#[test]
fn what_is_no_private_regular_file_is_refused() {
    let place = Place::new();
    let path = place.write("f", b"{\"a\":\"x\"}", 0o600);
    assert_eq!(json(&path, "/a"), Ok(b"x".to_vec()));
    assert_eq!(problem(&place.path("missing")), PathProblem::Missing);
    assert_eq!(problem(&path.join("below")), PathProblem::Missing);
    assert_eq!(problem(place.0.path()), PathProblem::NotRegular);
    assert_eq!(problem(Path::new("/dev/null")), PathProblem::NotRegular);
    let _socket = UnixListener::bind(place.path("socket")).unwrap();
    assert_eq!(problem(&place.path("socket")), PathProblem::NotRegular);
    symlink(&path, place.path("link")).unwrap();
    assert_eq!(problem(&place.path("link")), PathProblem::Symlink);
    symlink(place.path("nowhere"), place.path("dangling")).unwrap();
    assert_eq!(problem(&place.path("dangling")), PathProblem::Symlink);
    fs::hard_link(&path, place.path("second")).unwrap();
    assert_eq!(problem(&path), PathProblem::Hardlink);
}

#[test]
fn every_permission_of_group_and_others_is_refused() {
    let place = Place::new();
    for mode in [0o640, 0o620, 0o604, 0o602, 0o644, 0o660] {
        let path = place.write("f", b"{\"a\":\"x\"}", mode);
        assert_eq!(problem(&path), PathProblem::TooOpen { mode });
        let mut insecure = provider(&path, FileMode::Json);
        insecure.allow_insecure_path = true;
        assert_eq!(get(&insecure, "/a"), Ok(b"x".to_vec()));
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(
        json(&place.write("g", b"{\"a\":\"x\"}", 0o711), "/a"),
        Ok(b"x".to_vec())
    );
}

#[test]
fn the_file_of_someone_else_is_refused() {
    let place = Place::new();
    let path = place.write("f", b"{\"a\":\"x\"}", 0o600);
    let expected = rustix::process::geteuid().as_raw();
    // Only root can give a file away; for anyone else a file of root is there.
    let path = if chown(&path, Some(4242), None).is_ok() {
        path
    } else {
        "/etc/passwd".into()
    };
    let owner = if path.starts_with("/etc") { 0 } else { 4242 };
    assert_eq!(
        problem(&path),
        PathProblem::ForeignOwner { expected, owner }
    );
}

#[test]
fn a_file_may_have_exactly_max_bytes() {
    let place = Place::new();
    let path = place.write("f", b"{\"a\":\"0123456789\"}", 0o600);
    let mut provider = provider(&path, FileMode::Json);
    provider.max_bytes = 18;
    assert_eq!(get(&provider, "/a"), Ok(b"0123456789".to_vec()));
    provider.max_bytes = 17;
    assert!(matches!(
        get(&provider, "/a"),
        Err(FileError::TooLarge { max: 17, .. })
    ));
}

#[test]
fn a_value_may_have_exactly_the_greatest_length() {
    let place = Place::new();
    let mut provider = provider(&place.path("f"), FileMode::SingleValue);
    provider.max_bytes = 2 << 20;
    place.write("f", &vec![b'x'; MAX_VALUE], 0o600);
    assert_eq!(get(&provider, "value").unwrap().len(), MAX_VALUE);
    place.write("f", &vec![b'x'; MAX_VALUE + 1], 0o600);
    assert!(matches!(
        get(&provider, "value"),
        Err(FileError::ValueTooLarge { .. })
    ));
}

#[test]
fn broken_json_is_named_by_place_without_content() {
    let place = Place::new();
    let path = place.write("f", b"{\"a\": \"canary-1\",\n  canary-2}", 0o600);
    let error = json(&path, "/a").unwrap_err();
    assert!(
        matches!(
            error,
            FileError::Json {
                line: 2,
                column: 3,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
    let path = place.write("g", b"[\"x\"]", 0o600);
    assert!(matches!(
        json(&path, "/0"),
        Err(FileError::NotObject { .. })
    ));
    let path = place.write("h", b"{\"a\":\"\xff\"}", 0o600);
    assert!(matches!(json(&path, "/a"), Err(FileError::NotUtf8 { .. })));
}

#[test]
fn a_fifo_without_a_writer_does_not_hold_us() {
    let place = Place::new();
    let path = place.path("fifo");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(problem(&path), PathProblem::NotRegular);
}

#[test]
fn reads_that_hang_are_given_up_and_limited_in_number() {
    static STUCK: AtomicUsize = AtomicUsize::new(0);
    let value = || Ok(SecretValue::copy_of(b"late"));
    let mut releases = Vec::new();
    for _ in 0..MAX_STUCK_READERS {
        let (release, released) = sync_channel::<()>(0);
        let hang = move || {
            let _released = released.recv();
            value()
        };
        assert!(matches!(
            in_time(&STUCK, Duration::from_millis(1), hang),
            Err(Stop::Timeout)
        ));
        releases.push(release);
    }
    let patient = Duration::from_secs(60);
    assert!(matches!(
        in_time(&STUCK, patient, value),
        Err(Stop::TooManyStuck)
    ));
    drop(releases);
    while STUCK.load(Ordering::Acquire) > 0 {
        std::thread::yield_now();
    }
    assert_eq!(in_time(&STUCK, patient, value).unwrap().expose(), b"late");
}

#[test]
fn the_home_of_the_caller_is_filled_in() {
    let place = Place::new();
    place.write("f", b"{\"a\":\"x\"}", 0o600);
    let provider = provider(Path::new("~/f"), FileMode::Json);
    let with = |home| resolve("mounted", &provider, &["/a"], &ctx(home)).remove(0);
    assert!(with(Some(place.0.path())).is_ok());
    let text = with(None).unwrap_err().to_string();
    assert!(
        text.starts_with("secrets.providers.mounted.path starts with ~"),
        "{text}"
    );
    let relative = with(Some(Path::new("home"))).unwrap_err();
    assert_eq!(relative.code(), Code::ConfigInvalid);
}
