use super::*;
use proptest::prelude::*;

#[test]
fn records_are_named_after_the_address() {
    let name = |address, user| record(address, user).unwrap().to_string();
    assert_eq!(name("ghcr.io", "alice"), "docker/ghcr.io/alice");
    assert_eq!(
        name("https://index.docker.io/v1/", "<token>"),
        "docker/https:/#/index.docker.io/v1/#/#3ctoken#3e"
    );
    let long = "a".repeat(300);
    assert_eq!(record(&long, "u").unwrap_err().code, Code::NameInvalid);
}

#[test]
fn an_address_is_one_line_of_text() {
    assert_eq!(read_address(&mut &b"ghcr.io\n"[..]).unwrap(), "ghcr.io");
    for bad in [&b""[..], b" \n", b"a\nb", b"\xff"] {
        assert_eq!(read_address(&mut &*bad).unwrap_err().message, NO_ADDRESS);
    }
    let long = vec![b'a'; MAX_INPUT + 1];
    let failure = read_address(&mut long.as_slice()).unwrap_err();
    assert_eq!(failure.code, Code::InputTooLarge);
    assert!(read_address(&mut &long[1..]).is_ok());
}

proptest! {
    #[test]
    fn a_record_tells_address_and_user(address in "[ab/:.#%]{1,6}", user in "[ab/@#]{1,4}") {
        let name = record(&address, &user).unwrap();
        prop_assert_eq!(parse(&name), Some((address, user)));
    }
}
