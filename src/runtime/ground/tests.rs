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
