//! Grants that want a person's yes.

use super::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_person_is_shown_what_is_wanted_and_the_answer_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let says = |person: &Arc<Person>| {
        let gate = gate_with(Book::of(Trail::open(&audit, &keys())));
        gate.asking(Arc::clone(person) as Arc<dyn Asker>)
    };
    let refs = ["vault:b/1", "vault:a/1"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let yes = Arc::new(Person::who_says(Said::Yes));
    let gate = says(&yes);
    let resolve = Request::Resolve { refs };
    assert!(ask(&gate, &caller(1004), resolve.clone()).0);
    let question = yes.asked().remove(0);
    assert_eq!((question.uid, question.pid), (1004, 7));
    assert_eq!(
        (question.op.as_str(), question.verb.as_str()),
        ("resolve", "use")
    );
    let shown = ["vault:b/1", "vault:a/1"].map(str::to_owned).to_vec();
    assert_eq!(question.about, About::Refs(shown));
    assert_eq!(question.grants, ["asking"]);
    assert!(ask(&gate, &caller(1004), Request::List).0);
    assert_eq!(yes.asked()[1].about, About::Granted);
    gate.book().close();
    let no = Arc::new(Person::who_says(Said::No));
    let gate = says(&no);
    assert!(!ask(&gate, &caller(1004), resolve.clone()).0);
    assert!(!ask(&gate, &caller(1004), resolve).0);
    assert_eq!(no.asked().len(), 1);
    gate.book().close();
    let told: Vec<String> = lines(&audit)
        .into_iter()
        .filter(|line| line.event == trail::Kind::Decision)
        .map(|line| {
            let word = line.grant.or(line.why).unwrap();
            format!("{word} {:?} {:?}", line.answer, line.question)
        })
        .collect();
    let expected = [
        "asking Some(Confirmed) Some(1)",
        "asking Some(Confirmed) Some(2)",
        "declined Some(Declined) Some(1)",
        "quiet None None",
    ];
    assert_eq!(told, expected);
}

#[test]
fn of_many_refs_a_person_is_shown_those_that_hang_on_him_and_the_others_do_not() {
    let text = serde_json::json!({"daemon": {"confirm": {"command": "/bin/ask"}}, "grants": {
        "free": {"to": {"uid": 1}, "refs": ["vault:free/*"]},
        "asking": {"to": {"uid": 1}, "refs": ["vault:asked/*"], "confirm": true},
    }});
    for (says, expected) in [
        (Said::Yes, [true, true, false]),
        (Said::No, [true, false, false]),
    ] {
        let text = text.to_string();
        let load: Load = Box::new(move || Ok(Config::parse(&text, "c", Trust::Own)?.into()));
        let person = Arc::new(Person::who_says(says));
        let gate = Gate::new(load, None, Book::none()).0;
        let gate = gate.asking(Arc::clone(&person) as Arc<dyn Asker>);
        let refs = ["vault:free/a", "vault:asked/a", "vault:other/a"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let answer = ask(&gate, &caller(1), Request::Resolve { refs }).1.unwrap();
        let Reply::Resolved(outcomes) = answer.reply else {
            panic!("{:?}", answer.reply);
        };
        let ok = outcomes.iter().map(|outcome| *outcome == Outcome::Ok);
        assert!(ok.eq(expected), "{says:?}");
        let shown = vec!["vault:asked/a".to_owned()];
        assert_eq!(person.asked()[0].about, About::Refs(shown));
    }
}

#[test]
fn a_list_that_a_person_confirms_has_what_that_grant_is_about() {
    let text = serde_json::json!({"daemon": {"confirm": {"command": "/bin/ask"}}, "grants": {
        "asking": {"to": {"uid": 1}, "refs": ["vault:a/*"], "verbs": ["read"], "confirm": true},
        "too": {"to": {"uid": 1}, "refs": ["vault:b/*"], "verbs": ["read"], "confirm": true},
    }});
    let load: Load =
        Box::new(move || Ok(Config::parse(&text.to_string(), "c", Trust::Own)?.into()));
    let person = Arc::new(Person::who_says(Said::Yes)) as Arc<dyn Asker>;
    let gate = Gate::new(load, None, Book::none()).0.asking(person);
    let records = ["a/1", "b/1", "c/1"]
        .map(crate::daemon::fake::info)
        .to_vec();
    let act = |_, _| Ok(Answer::plain(Reply::Records(records)));
    let ends = Ends::default();
    let answer = gate.serve(
        &caller(1),
        &Fake::using(&[]),
        Request::List,
        Vec::new(),
        &ends,
        act,
    );
    let Reply::Records(left) = answer.unwrap().reply else {
        panic!();
    };
    let names: Vec<&str> = left.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["a/1"]);
}

#[test]
fn a_grant_that_was_taken_back_while_a_person_thought_lets_nobody_through() {
    let given = Arc::new(AtomicBool::new(true));
    let look = Arc::clone(&given);
    let load: Load = Box::new(move || match look.load(Ordering::Relaxed) {
        true => Ok(rules()),
        false => Ok(Rules::default()),
    });
    let gate = Arc::new(OnceLock::<Gate>::new());
    let reloaded = Arc::clone(&gate);
    let take_back = move || {
        given.store(false, Ordering::Relaxed);
        if let Some(gate) = reloaded.get() {
            gate.reload();
        }
    };
    let person = Arc::new(Person::while_thinking(Said::Yes, take_back));
    let made = Gate::new(load, None, Book::none()).0;
    let gate = gate.get_or_init(|| made.asking(Arc::clone(&person) as Arc<dyn Asker>));
    let refs = vec!["vault:a".parse().unwrap()];
    let get = Request::Get {
        name: "a".parse().unwrap(),
        version: None,
    };
    let (asked, answer) = ask(gate, &caller(1004), get);
    assert_eq!(
        (asked, answer.unwrap_err().code),
        (false, Code::GrantRefused)
    );
    assert_eq!(person.asked().len(), 1);
    *gate.rules.write().unwrap() = Arc::new(rules());
    let answer = ask(gate, &caller(1004), Request::Resolve { refs })
        .1
        .unwrap();
    assert!(answer.secrets.is_empty());
    assert_eq!(person.asked().len(), 2);
}
