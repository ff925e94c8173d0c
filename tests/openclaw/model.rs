//! A model behind the interface of OpenAI that answers `pong` and knows which key it was given.

use crate::http::{Response, Server};
use serde_json::{Value, json};

/// A running model.
pub struct Model(Server);

impl Model {
    /// Starts it.
    pub fn start() -> Self {
        Self(Server::start(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            if body["stream"] == true {
                return Response::new(200, "text/event-stream", stream());
            }
            let choice = json!({"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "pong"}});
            let answer = json!({"id": "x", "object": "chat.completion", "choices": [choice],
                "usage": usage()});
            Response::new(200, "application/json", answer.to_string())
        }))
    }

    /// What stands in a config as its address.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.0.url())
    }

    /// The `Authorization` headers since this was asked last.
    pub fn take_keys(&self) -> Vec<String> {
        let seen = self.0.take_seen();
        let keys = seen
            .iter()
            .map(|request| request.header("authorization").unwrap_or("none"));
        keys.map(str::to_owned).collect()
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
}

fn stream() -> String {
    let chunk = |delta: Value, end: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
        let chunk = json!({"id": "x", "object": "chat.completion.chunk", "choices": [choice],
            "usage": usage()});
        format!("data: {chunk}\n\n")
    };
    let start = chunk(json!({"role": "assistant", "content": "pong"}), Value::Null);
    start + &chunk(json!({}), json!("stop")) + "data: [DONE]\n\n"
}
