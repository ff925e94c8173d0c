use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A config with the same text is not read again, unless it is somebody else's by now.
#[test]
fn a_config_is_read_again_if_its_text_or_its_trust_changed() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::at(folder.path().join("state"));
    let project = folder.path().join("project");
    fs::create_dir(&project).unwrap();
    let path = project.join("reseal.json");
    let write = |record: &str| {
        let text = format!(
            r#"{{"secrets":{{"providers":{{"op":{{"source":"exec","command":"/bin/op"}}}}}},
            "models":{{"providers":{{"p":{{"apiKey":"secretref:vault:{record}"}}}}}}}}"#
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let read = |known| Ground::read_again(&state, &path, known, None);

    write("one");
    let first = read(None).unwrap();
    let same = read(Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.config, &same.config));
    assert_eq!(first.places.len(), 1);
    assert_eq!(first.places, same.places);

    write("two");
    let other = read(Some(&same)).unwrap();
    assert!(!Arc::ptr_eq(&same.config, &other.config));
    assert_eq!(other.places[0].reference.as_ref().unwrap().id(), "two");

    fs::create_dir(project.join(".git")).unwrap();
    let failure = read(Some(&other)).err().unwrap();
    assert_eq!(failure.code, Code::ConfigInvalid);
}

#[test]
fn in_use_is_only_what_nobody_else_could_write() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::at(folder.path().join("state"));
    state.create().unwrap();
    let main = AgentId::main();
    state.create_agent(&main).unwrap();
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let write = |path: &Path, text: &str| {
        fs::write(path, text).unwrap();
        chmod(path, 0o600);
    };
    let config = r#"{"models":{"providers":{"p":{"apiKey":"secretref:vault:config"}}}}"#;
    write(&state.config(), config);
    let profiles = r#"{"version":1,"profiles":{"openai:default":{"type":"api_key",
        "provider":"openai",
        "keyRef":{"source":"vault","provider":"default","id":"profile"}}}}"#;
    write(&state.auth_profiles(&main), profiles);
    let used = |path: &Path| {
        let refs = Ground::read(&state, path).unwrap().in_use(&main);
        let mut ids: Vec<String> = refs.iter().map(|r| r.id().to_owned()).collect();
        ids.sort();
        ids
    };
    let own = state.config();
    assert_eq!(used(&own), ["config", "profile"]);
    let other_agent: AgentId = "other".parse().unwrap();
    let refs = Ground::read(&state, &own).unwrap().in_use(&other_agent);
    assert_eq!(refs.len(), 1);

    // The agent's files, and each folder on the way to them.
    let file = state.auth_profiles(&main);
    chmod(&file, 0o620);
    assert_eq!(used(&own), ["config"]);
    chmod(&file, 0o644);
    for open in [
        state.agent_dir(&main),
        state.agents().join("main"),
        state.agents(),
    ] {
        chmod(&open, 0o770);
        assert_eq!(used(&own), ["config"], "{}", open.display());
        chmod(&open, 0o700);
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(4242), None).unwrap();
        assert_eq!(used(&own), ["config"]);
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
    let elsewhere = folder.path().join("elsewhere.json");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    chmod(folder.path(), 0o777);
    assert_eq!(used(&own), ["config"]);
    chmod(folder.path(), 0o700);
    assert_eq!(used(&own), ["config", "profile"]);

    // The config itself: another one, and one that others could change.
    let foreign = folder.path().join("reseal.json");
    write(&foreign, config);
    assert!(used(&foreign).is_empty());
    assert!(used(&folder.path().join("absent.json")).is_empty());
    chmod(&own, 0o602);
    assert!(used(&own).is_empty());
    chmod(&own, 0o600);
    chmod(state.root(), 0o770);
    assert!(used(&own).is_empty());
}
