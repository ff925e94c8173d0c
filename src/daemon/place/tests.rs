use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn claim(socket: &Path) -> Result<Place, PlaceError> {
    Place::claim(socket, Share::Own, Duration::ZERO)
}

#[test]
fn folder_and_socket_are_private() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    assert!(connect(&socket, us(), Share::Own).unwrap().is_none());
    let mut place = claim(&socket).unwrap();
    assert!(connect(&socket, us(), Share::Own).unwrap().is_none());
    let listener = place.bind().unwrap();
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&state.path().join("run/daemon.lock")), 0o600);
    assert!(connect(&socket, us(), Share::Own).unwrap().is_some());
    drop(place);
    assert!(!socket.exists());
    drop(listener);
}

#[test]
fn a_second_daemon_is_refused_and_told_who_is_there() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    let mut place = claim(&socket).unwrap();
    let _listener = place.bind().unwrap();
    // It serves, so there is no waiting, whatever the limit.
    let error = Place::claim(&socket, Share::Own, Duration::MAX / 4).unwrap_err();
    assert_eq!(error.code(), Code::DaemonRunning);
    assert!(matches!(error, PlaceError::Running { pid, .. } if pid == std::process::id()));
    assert!(connect(&socket, us(), Share::Own).unwrap().is_some());
    place.release();
    assert!(claim(&socket).is_ok());
}

#[test]
fn a_daemon_that_is_ending_is_waited_for() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    let place = claim(&socket).unwrap();
    // It holds the lock, but listens no more.
    assert_eq!(claim(&socket).unwrap_err().code(), Code::DaemonRunning);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Place::claim(&socket, Share::Own, Duration::from_secs(120)));
        drop(place);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_stale_socket_is_replaced_and_another_ones_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    let mut place = claim(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    drop(UnixListener::bind(socket.with_extension("sock.new")).unwrap());
    assert!(connect(&socket, us(), Share::Own).unwrap().is_none());
    let _listener = place.bind().unwrap();
    assert!(connect(&socket, us(), Share::Own).unwrap().is_some());
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    drop(place);
    assert!(socket.exists());
}

#[test]
fn a_path_too_long_for_an_address_works() {
    let state = tempfile::tempdir().unwrap();
    let long = state.path().join("d".repeat(200));
    fs::create_dir(&long).unwrap();
    let socket = long.join("run/daemon.sock");
    let mut place = claim(&socket).unwrap();
    let _listener = place.bind().unwrap();
    assert!(socket.exists());
    assert!(connect(&socket, us(), Share::Own).unwrap().is_some());
}

#[test]
fn folders_that_others_could_change_are_refused_by_both_sides() {
    let state = tempfile::tempdir().unwrap();
    let run = state.path().join("run");
    let socket = run.join("daemon.sock");
    fs::create_dir(&run).unwrap();
    for open_to_others in [0o755, 0o710, 0o701, 0o1777] {
        fs::set_permissions(&run, fs::Permissions::from_mode(open_to_others)).unwrap();
        assert_eq!(
            connect(&socket, us(), Share::Own).unwrap_err().code(),
            Code::DaemonUnsafe
        );
        assert_eq!(claim(&socket).unwrap_err().code(), Code::DaemonUnsafe);
    }
    fs::remove_dir(&run).unwrap();
    let real = state.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&real, &run).unwrap();
    assert_eq!(
        connect(&socket, us(), Share::Own).unwrap_err().code(),
        Code::DaemonUnsafe
    );
    assert_eq!(claim(&socket).unwrap_err().code(), Code::DaemonUnsafe);
    assert_eq!(
        claim(Path::new("daemon.sock")).unwrap_err().code(),
        Code::InputInvalid
    );
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if us() != 0 {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    let mut place = claim(&socket).unwrap();
    let _listener = place.bind().unwrap();
    let run = socket.parent().unwrap();
    std::os::unix::fs::chown(run, Some(4242), None).unwrap();
    assert_eq!(
        connect(&socket, 0, Share::Own).unwrap_err().code(),
        Code::DaemonUnsafe
    );
    assert_eq!(
        connect(&socket, 4243, Share::Own).unwrap_err().code(),
        Code::DaemonUnsafe
    );
    assert!(connect(&socket, 4242, Share::Own).unwrap().is_some());
    place.release();
    assert_eq!(claim(&socket).unwrap_err().code(), Code::DaemonUnsafe);
}

#[test]
fn a_client_takes_a_folder_of_roots_that_only_root_can_change() {
    if us() != 0 {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("run/daemon.sock");
    let mut place = claim(&socket).unwrap();
    let _listener = place.bind().unwrap();
    let run = socket.parent().unwrap();
    for (mode, is_taken) in [(0o755, true), (0o775, false), (0o757, false)] {
        fs::set_permissions(run, fs::Permissions::from_mode(mode)).unwrap();
        let found = connect(&socket, 4242, Share::Own);
        assert_eq!(found.is_ok(), is_taken, "{mode:o}");
        // Root's own daemon has a folder for nobody else.
        assert!(connect(&socket, 0, Share::Own).is_err(), "{mode:o}");
    }
}

#[test]
fn a_shared_socket_lets_in_whom_it_says_and_its_folder_is_changed_by_nobody_else() {
    let state = tempfile::tempdir().unwrap();
    for (share, folder, file) in [
        (Share::Group, 0o750, 0o660),
        (Share::Everyone, 0o755, 0o666),
    ] {
        let run = state.path().join(format!("{share:?}"));
        let socket = run.join("daemon.sock");
        let mut place = Place::claim(&socket, share, Duration::ZERO).unwrap();
        let _listener = place.bind().unwrap();
        assert_eq!((mode(&run), mode(&socket)), (folder, file));
        assert_eq!(mode(&run.join("daemon.lock")), 0o600);
        assert!(connect(&socket, us(), share).unwrap().is_some());
        // A client that was told of no shared socket takes none.
        let refused = connect(&socket, us(), Share::Own).unwrap_err();
        assert!(matches!(refused, PlaceError::Unsafe(_)));
        place.release();
        for open_to_others in [0o777, 0o775, 0o757, 0o1777] {
            fs::set_permissions(&run, fs::Permissions::from_mode(open_to_others)).unwrap();
            let refused = connect(&socket, us(), share).unwrap_err();
            assert!(
                matches!(refused, PlaceError::UnsafeShared(_)),
                "{open_to_others:o}"
            );
            let refused = Place::claim(&socket, share, Duration::ZERO).unwrap_err();
            assert_eq!(refused.code(), Code::DaemonUnsafe);
        }
    }
}
