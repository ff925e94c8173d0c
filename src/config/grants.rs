//! `grants`: who beside the daemon's own user may ask it for what.

use super::Trust;
use super::section::refuse_project;
use super::wire::Fields;
use crate::grants::{
    CAPABILITY_LEN, Grant, Holder, MAX_GRANT_NAME, MAX_GRANTS, MAX_PATTERNS, NOBODY, Pattern,
    Policy, Scope, Verb, is_grant_name, unit,
};
use crate::name::AgentId;
use crate::reference::Defaults;
use crate::time::UnixMs;
use crate::time::when::parse_date;

/// The longest user name in bytes.
const MAX_USER: usize = 256;

pub(super) fn grants(fields: &Fields<'_>, trust: Trust, defaults: &Defaults) -> Policy {
    refuse_project(fields, trust);
    if fields.entries().count() > MAX_GRANTS {
        let problem = format!("has more than {MAX_GRANTS} grants");
        fields.errors().add(fields.path(), problem);
    }
    let mut policy = Policy::default();
    for (name, _) in fields.entries().take(MAX_GRANTS) {
        if !is_grant_name(name) {
            let rule = format!("is not a name of a grant, [a-z0-9][a-z0-9._-]{{0,{}}}", {
                MAX_GRANT_NAME - 1
            });
            fields.fail(name, rule);
            continue;
        }
        let grant = fields.object(name).and_then(|f| grant(name, &f, defaults));
        policy.grants.extend(grant);
    }
    policy
}

fn grant(name: &str, fields: &Fields<'_>, defaults: &Defaults) -> Option<Grant> {
    fields.only(&["to", "refs", "agent", "verbs", "until", "confirm"]);
    if fields.value("to").is_none() {
        fields.fail("to", "is missing: who gets it, {\"uid\": 1001} for one");
    }
    let to = fields.object("to").and_then(|fields| holder(&fields));
    let scope = scope(fields, defaults);
    let verbs = verbs(fields);
    if let Scope::InUse(_) = scope
        && verbs.iter().any(|v| matches!(v, Verb::Read | Verb::Admin))
    {
        let problem = "holds read or admin, which need refs: without refs a grant is over what the \
                       config and the agent's profiles use, for use and refresh";
        fields.fail("verbs", problem);
    }
    Some(Grant {
        name: name.to_owned(),
        to: to?,
        scope,
        verbs,
        until: until(fields),
        confirm: fields.flag("confirm").unwrap_or(false),
    })
}

fn holder(fields: &Fields<'_>) -> Option<Holder> {
    const KNOWN: [&str; 4] = ["uid", "user", "unit", "capability"];
    fields.only(&KNOWN);
    if KNOWN
        .iter()
        .filter(|key| fields.value(key).is_some())
        .count()
        != 1
    {
        let problem = format!("has not exactly one of {}", KNOWN.join(", "));
        fields.errors().add(fields.path(), problem);
        return None;
    }
    // A user namespace shows all whom it does not know as one user.
    let uid = fields.number("uid", 0, u64::from(u32::MAX - 1));
    if uid == Some(u64::from(NOBODY)) {
        let problem = "is the number of everyone whom a user namespace does not know";
        fields.fail("uid", problem);
        return None;
    }
    if let Some(uid) = uid.and_then(|uid| u32::try_from(uid).ok()) {
        return Some(Holder::Uid(uid));
    }
    if let Some(user) = fields.text("user") {
        let fits = user.len() <= MAX_USER && !user.contains([':', '/']);
        if !fits {
            fields.fail("user", "is not the name of a user");
        }
        return fits.then(|| Holder::User(user.to_owned()));
    }
    if let Some(text) = fields.text("unit") {
        if !unit::is_unit(text) {
            fields.fail("unit", "is not the name of a unit such as hermes.service");
            return None;
        }
        if text.starts_with("session-") && text.ends_with(".scope") {
            let problem = "is a login's, and the number goes to another user after the next start";
            fields.fail("unit", problem);
            return None;
        }
        return Some(Holder::Unit(text.to_owned()));
    }
    let digest = fields.text("capability").map(digest);
    if digest == Some(None) {
        let problem = "is not sha256: and 64 hexadecimal digits; `reseal grants add` makes one";
        fields.fail("capability", problem);
    }
    digest.flatten().map(Holder::Capability)
}

fn digest(text: &str) -> Option<[u8; CAPABILITY_LEN]> {
    let hex = text.strip_prefix("sha256:")?;
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
    bytes.ok()?.try_into().ok()
}

fn scope(fields: &Fields<'_>, defaults: &Defaults) -> Scope {
    if fields.value("refs").is_none() {
        let agent = fields.text("agent").map(str::parse::<AgentId>);
        if let Some(Err(error)) = &agent {
            fields.fail("agent", format!("is no agent id: {error}"));
        }
        let agent = agent.and_then(Result::ok).unwrap_or_else(AgentId::main);
        return Scope::InUse(agent);
    }
    if fields.value("agent").is_some() {
        fields.fail("agent", "stands beside refs, which say it all");
    }
    let texts = fields.texts("refs", MAX_PATTERNS, "a string", |_| true);
    let mut patterns = Vec::new();
    for (index, text) in texts.unwrap_or_default().iter().enumerate() {
        match Pattern::parse(text, defaults) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                let path = fields.path().join("refs").join(index);
                fields.errors().add(&path, error.to_string());
            }
        }
    }
    Scope::Refs(patterns)
}

fn verbs(fields: &Fields<'_>) -> Vec<Verb> {
    if fields.value("verbs").is_none() {
        return vec![Verb::Use];
    }
    let rule = "use, read, refresh or admin";
    let known = |text: &str| Verb::parse(text).is_some();
    let texts = fields.texts("verbs", Verb::ALL.len(), rule, known);
    let verbs = texts.unwrap_or_default();
    verbs.iter().filter_map(|text| Verb::parse(text)).collect()
}

fn until(fields: &Fields<'_>) -> Option<UnixMs> {
    match parse_date(fields.text("until")?) {
        Ok(at) => Some(at),
        Err(_) => {
            let problem = "is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z";
            fields.fail("until", problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::grants::Identity;
    use serde_json::{Value, json};

    fn read(grants: Value, trust: Trust) -> Result<Policy, String> {
        let text = json!({"grants": grants}).to_string();
        match Config::parse(&text, "c", trust) {
            Ok(config) => Ok(config.grants),
            Err(errors) => Err(errors.to_string()),
        }
    }

    #[test]
    fn grants_are_read_with_what_is_left_out() {
        let digest = format!("sha256:{}", "aB".repeat(32));
        let policy = read(
            json!({
                "bound": {"to": {"user": "hermes"}},
                "all": {"to": {"unit": "a@b.service"}, "refs": ["vault:*", "file@m:/a"],
                    "verbs": ["use", "read", "refresh", "admin"],
                    "until": "2027-01-31T12:00:00Z", "confirm": true},
                "bearer": {"to": {"capability": digest}, "agent": "work", "verbs": ["refresh"]},
                "nothing": {"to": {"uid": 0}, "refs": [], "verbs": []},
            }),
            Trust::Own,
        )
        .unwrap();
        let [bound, all, bearer, nothing] = policy.grants.as_slice() else {
            panic!("{policy:?}");
        };
        assert_eq!(bound.to, Holder::User("hermes".to_owned()));
        assert_eq!(bound.scope, Scope::InUse(AgentId::main()));
        assert_eq!(
            (&bound.verbs[..], bound.until, bound.confirm),
            (&[Verb::Use][..], None, false)
        );
        assert_eq!(all.verbs, Verb::ALL);
        assert_eq!(all.until, Some(UnixMs(1_801_396_800_000)));
        assert!(all.confirm && matches!(&all.scope, Scope::Refs(refs) if refs.len() == 2));
        assert_eq!(bearer.to, Holder::Capability([0xab; CAPABILITY_LEN]));
        assert_eq!(nothing.scope, Scope::Refs(Vec::new()));
        let root = Identity {
            uid: 0,
            unit: None,
            capability: None,
            fresh: false,
        };
        assert!(policy.knows(&root));
    }

    /// What is wrong with a grant of this name.
    fn errors_of(name: &str, grant: Value, trust: Trust) -> String {
        read(json!({ name: grant }), trust).unwrap_err()
    }

    #[test]
    fn to_whom_must_be_plain() {
        for (to, problem) in [
            (json!({}), " has not exactly one of"),
            (json!({"uid": 1, "user": "a"}), " has not exactly one of"),
            (json!({"gid": 1}), ".gid is not a known key"),
            (json!({"uid": -1}), ".uid is not a whole number"),
            (
                json!({"uid": 4_294_967_295_u32}),
                ".uid is not a whole number",
            ),
            (json!({"uid": NOBODY}), ".uid is the number of everyone"),
            (json!({"user": "a:b"}), ".user is not the name of a user"),
            (json!({"unit": "hermes"}), ".unit is not the name of a unit"),
            (json!({"unit": "session-3.scope"}), ".unit is a login's"),
            (
                json!({"capability": "sha256:00"}),
                ".capability is not sha256:",
            ),
            (json!([]), " is not an object"),
        ] {
            let errors = errors_of("g", json!({ "to": to }), Trust::Own);
            assert!(
                errors.contains(&format!("grants.g.to{problem}")),
                "{errors}"
            );
        }
        let errors = errors_of("g", json!({}), Trust::Own);
        assert!(errors.contains("grants.g.to is missing"), "{errors}");
    }

    #[test]
    fn what_is_not_plainly_a_grant_is_an_error_with_its_place() {
        for (key, value, problem) in [
            ("ref", json!([]), " is not a known key"),
            ("refs", json!("vault:*"), " is not a list"),
            ("refs", json!(["vault:a*"]), "[0] has a *"),
            ("refs", json!(["a"]), "[0] is not a ref"),
            ("agent", json!("A/B"), " is no agent id"),
            ("verbs", json!(["write"]), "[0] is not use, read"),
            ("verbs", json!(["read"]), " holds read or admin"),
            ("verbs", json!(["admin"]), " holds read or admin"),
            ("until", json!("soon"), " is not a date"),
            ("until", json!("2027-02-30"), " is not a date"),
            ("confirm", json!("yes"), " is not true or false"),
        ] {
            let errors = errors_of("g", json!({"to": {"uid": 1}, key: value}), Trust::Own);
            assert!(
                errors.contains(&format!("grants.g.{key}{problem}")),
                "{errors}"
            );
        }
        let both = json!({"to": {"uid": 1}, "refs": ["vault:a"], "agent": "main"});
        assert!(errors_of("g", both, Trust::Own).contains("grants.g.agent stands beside"));
        let fine = json!({"to": {"uid": 1}});
        let errors = errors_of("G", fine.clone(), Trust::Own);
        assert!(errors.contains("is not a name of a grant"), "{errors}");
        let errors = errors_of("g", fine, Trust::Project);
        assert!(
            errors.contains("is not allowed in a project's config"),
            "{errors}"
        );
    }

    #[test]
    fn grants_and_patterns_are_bounded() {
        let many = |count: usize| {
            let one = |i: usize| (format!("g{i}"), json!({"to": {"uid": i}}));
            Value::Object((0..count).map(one).collect())
        };
        assert_eq!(
            read(many(MAX_GRANTS), Trust::Own).unwrap().grants.len(),
            MAX_GRANTS
        );
        let errors = read(many(MAX_GRANTS + 1), Trust::Own).unwrap_err();
        assert!(errors.contains("has more than 256 grants"), "{errors}");
        let refs = |count: usize| json!({"g": {"to": {"uid": 1}, "refs": vec!["vault:a"; count]}});
        assert!(read(refs(MAX_PATTERNS), Trust::Own).is_ok());
        assert!(read(refs(MAX_PATTERNS + 1), Trust::Own).is_err());
    }
}
