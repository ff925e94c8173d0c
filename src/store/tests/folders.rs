use super::code;
use crate::error::Code;
use crate::name::AgentId;
use crate::store::disk::network_fs;
use crate::store::simulated::SimulatedDisk;
use crate::store::{Options, StateDir, VaultFile, create, vault_file::create_on};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refusal<T>(result: Result<T, crate::store::StoreError>) -> Code {
    code(result.err().expect("must be refused"))
}

#[test]
fn a_state_folder_is_private_throughout() {
    let outer = tempfile::tempdir().unwrap();
    let state = StateDir::at(outer.path().join("deep/state"));
    let agent: AgentId = "main".parse().unwrap();
    assert!(!state.exists());
    state.create().unwrap();
    state.create_agent(&agent).unwrap();
    state.create().unwrap();
    state.check().unwrap();
    let run = state.socket().parent().unwrap().to_path_buf();
    for folder in [
        state.root(),
        &state.agent_dir(&agent),
        &state.anchors(),
        &run,
    ] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    assert_eq!(
        state.auth_profiles(&agent),
        state.agent_dir(&agent).join("auth-profiles.json")
    );
    assert!(state.vault().ends_with("deep/state/vault.reseal"));
}

#[test]
fn a_state_folder_open_to_others_is_refused_and_left_alone() {
    let outer = tempfile::tempdir().unwrap();
    let state = StateDir::at(outer.path().join("state"));
    fs::create_dir(state.root()).unwrap();
    set_mode(state.root(), 0o755);
    assert_eq!(refusal(state.create()), Code::FilePermission);
    assert_eq!(refusal(state.check()), Code::FilePermission);
    assert_eq!(mode(state.root()), 0o755);
    let file = StateDir::at(outer.path().join("file"));
    fs::write(file.root(), "").unwrap();
    assert_eq!(refusal(file.create()), Code::FilePermission);
}

#[test]
fn a_relative_state_folder_becomes_absolute() {
    assert!(StateDir::at("some/where").root().is_absolute());
}

#[test]
fn a_new_vault_is_private_and_is_never_made_over_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.reseal");
    assert_eq!(
        refusal(VaultFile::open(&path, Options::default())),
        Code::VaultAbsent
    );
    drop(create(&path, Options::default(), b"content").unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        refusal(create(&path, Options::default(), b"other")),
        Code::VaultExists
    );
    assert_eq!(fs::read(&path).unwrap(), b"content");
    let dangling = folder.path().join("dangling");
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    assert_eq!(
        refusal(create(&dangling, Options::default(), b"x")),
        Code::VaultExists
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_vault_open_to_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    drop(create(&path, Options::default(), b"content").unwrap());
    for open in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, open);
        assert_eq!(
            refusal(VaultFile::open(&path, Options::default())),
            Code::FilePermission
        );
    }
    set_mode(&path, 0o400);
    drop(VaultFile::open(&path, Options::default()).unwrap());
    set_mode(&path, 0o600);
    for (open, refused) in [
        (0o770, true),
        (0o707, true),
        (0o755, false),
        (0o1777, false),
    ] {
        set_mode(folder.path(), open);
        let opened = VaultFile::open(&path, Options::default());
        assert_eq!(opened.is_err(), refused, "{open:o}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(
        refusal(VaultFile::open(&pipe, Options::default())),
        Code::FilePermission
    );
    assert_eq!(
        refusal(VaultFile::open(folder.path(), Options::default())),
        Code::FilePermission
    );
}

#[test]
fn a_vault_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    drop(create(&path, Options::default(), b"content").unwrap());
    let sparse = fs::OpenOptions::new().write(true).open(&path).unwrap();
    sparse.set_len(crate::store::MAX_VAULT).unwrap();
    drop(VaultFile::open(&path, Options::default()).unwrap());
    let mut writer = VaultFile::open(&path, Options::default())
        .unwrap()
        .lock_writer()
        .unwrap();
    let seen = writer.seen().unwrap();
    assert_eq!(
        code(writer.append(&seen, b"x").unwrap_err()),
        Code::VaultLimit
    );
    drop(writer);
    sparse.set_len(crate::store::MAX_VAULT + 1).unwrap();
    assert_eq!(
        refusal(VaultFile::open(&path, Options::default())),
        Code::FileTooLarge
    );
}

#[test]
fn network_file_systems_are_read_but_not_written() {
    let folder = Path::new("/f");
    let disk = SimulatedDisk::with_folder(folder);
    let path = folder.join("v");
    for (magic, name) in [
        (0x6969, "NFS"),
        (0xFF53_4D42, "CIFS"),
        (0x6573_5546, "FUSE"),
    ] {
        assert_eq!(network_fs(magic), Some(name));
    }
    for local in [0xEF53, 0x0102_1994, 0x794C_7630, 0x9123_683E, 0x5846_5342] {
        assert_eq!(network_fs(local), None);
    }
    disk.set_magic(0x6969);
    let made = create_on(
        Arc::new(disk.clone()),
        &path,
        Options::default(),
        b"content",
    );
    assert_eq!(refusal(made), Code::VaultNetworkFs);
    let allowed = Options {
        allow_network_fs: true,
        ..Options::default()
    };
    let file = create_on(Arc::new(disk.clone()), &path, allowed, b"content").unwrap();
    file.lock_writer().unwrap();
    let file = VaultFile::open_on(Arc::new(disk), &path, Options::default()).unwrap();
    let mut bytes = [0; 7];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"content");
    assert_eq!(refusal(file.lock_writer()), Code::VaultNetworkFs);
}
