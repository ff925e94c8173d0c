//! What comes back from the browser: without the flow's state nothing is accepted; with it an
//! accepted code is redeemed at the provider's own server, and no error or `Debug` shows the state.
//! `STATE` in the input stands for the flow's state; it is read as a query and as a paste.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::oauth::{Answer, CallbackError, CodeFlow, Endpoints, FlowKind, SignInWith, builtin};
use reseal::secret::SecretValue;
use reseal_fuzz::counting;

const REDIRECT: &str = "http://localhost:1455/auth/callback";

fuzz_target!(|data: &[u8]| {
    let flow = flow();
    let sent = SecretValue::copy_of(data);
    let answers = [flow.read_query(&sent), flow.read_paste(&sent)];
    assert!(
        answers.iter().all(Result::is_err),
        "accepted without the state"
    );

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let state = state(&flow);
    let sent = SecretValue::copy_of(text.replace("STATE", &state).as_bytes());
    let from_query = flow.read_query(&sent);
    check(flow, from_query, &state);
    let flow = self::flow();
    let from_paste = flow.read_paste(&sent);
    check(flow, from_paste, &state);
});

fn flow() -> CodeFlow {
    let provider = builtin::get("openai-codex").expect("it is built in");
    let Ok(Endpoints::Known(server)) = provider.endpoints(FlowKind::Pkce) else {
        panic!("its endpoints are known");
    };
    let with = SignInWith::default();
    CodeFlow::start(&provider, &server, REDIRECT, &with, &mut counting()).expect("a flow starts")
}

fn state(flow: &CodeFlow) -> String {
    let url = flow.url().as_str();
    let rest = url.split("&state=").nth(1).expect("a state is sent");
    rest.split('&').next().expect("it has a value").to_owned()
}

fn check(flow: CodeFlow, answer: Result<Answer, CallbackError>, state: &str) {
    let shown = match &answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(state), "the state shows: {shown}");
    match answer {
        Ok(Answer::Accepted(accepted)) => {
            let (request, _awaited) = flow.redeem(accepted).expect("the code is this flow's");
            let body = request.body.expect("a code is sent in a body");
            assert!(
                body.expose()
                    .starts_with(b"grant_type=authorization_code&code=")
            );
            assert_eq!(request.url.as_str(), "https://auth.openai.com/oauth/token");
        }
        Ok(Answer::Refused(no)) => {
            let text = no.description.unwrap_or_default();
            assert!(text.len() <= 200 && text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
        Err(_) => {}
    }
}
