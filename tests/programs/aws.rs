//! The protocol of AWS's `credential_process`.

use super::home::Home;
use serde_json::json;

#[test]
fn aws_keys_come_in_the_form_of_a_credential_process() {
    let home = Home::new();
    let printed = json!({"AccessKey": {
        "UserName": "me", "AccessKeyId": "AKIA0", "SecretAccessKey": "a/b+c=", "Status": "Active",
    }});
    let set = ["secrets", "set", "aws/work", "--expires", "2099-01-02"];
    home.world.piped(&set, printed.to_string().as_bytes()).ok();
    let keys = home.sh("reseal helper aws aws/work").ok().json();
    let expected = json!({
        "Version": 1, "AccessKeyId": "AKIA0", "SecretAccessKey": "a/b+c=",
        "Expiration": keys["Expiration"],
    });
    assert_eq!(keys, expected);
    assert!(
        keys["Expiration"]
            .as_str()
            .unwrap()
            .starts_with("2099-01-0")
    );

    let absent = home.sh("reseal helper aws aws/home").code(3);
    assert!(absent.stderr.contains("there is no record aws/home"));
    home.world.store("aws/odd", "canary");
    let odd = home.sh("reseal helper aws aws/odd").code(2);
    assert!(odd.stderr.contains("aws/odd holds no AWS keys") && !odd.stderr.contains("canary"));
}
