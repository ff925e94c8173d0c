//! A model behind the interfaces of OpenAI and Anthropic that answers `PONG` and remembers the
//! keys.

use super::http::{Request, Response, Server};
use serde_json::{Value, json};

/// A running model.
pub struct Models(Server);

impl Models {
    /// Starts it.
    pub fn start() -> Self {
        Self(Server::start(answer))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The keys that came to a path, without `Bearer`, each kind once.
    pub fn keys(&self, path: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for request in self.0.take_seen() {
            if request.target.split('?').next() != Some(path) {
                continue;
            }
            let bearer = request
                .header("authorization")
                .map(|header| header.strip_prefix("Bearer ").unwrap_or(header));
            let found = bearer.into_iter().chain(request.header("x-api-key"));
            keys.extend(found.map(str::to_owned));
        }
        keys.sort();
        keys.dedup();
        keys
    }
}

fn answer(request: &Request) -> Response {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let streams = body["stream"] == true;
    let document = |value: Value| Response::new(200, "application/json", value.to_string());
    match request.target.split('?').next().unwrap_or_default() {
        "/v1/messages" if streams => events(&anthropic()),
        "/v1/messages" => document(json!({"id": "m", "type": "message", "role": "assistant",
            "model": "m", "content": [{"type": "text", "text": "PONG"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 1}})),
        "/v1/responses" => events(&responses()),
        "/v1/chat/completions" => {
            let delta = json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "PONG"},
                    "finish_reason": "stop"}]});
            Response::new(
                200,
                "text/event-stream",
                format!("data: {delta}\n\ndata: [DONE]\n\n"),
            )
        }
        _ => document(json!({"data": [], "models": []})),
    }
}

fn events(events: &[Value]) -> Response {
    let text = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\ndata: {event}\n\n")
    });
    Response::new(200, "text/event-stream", text.collect::<String>())
}

fn anthropic() -> Vec<Value> {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    vec![
        json!({"type": "message_start", "message": {"id": "m", "type": "message",
            "role": "assistant", "model": "m", "content": [], "stop_reason": null,
            "stop_sequence": null, "usage": usage}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": "PONG"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "usage": usage,
            "delta": {"stop_reason": "end_turn", "stop_sequence": null}}),
        json!({"type": "message_stop"}),
    ]
}

fn responses() -> Vec<Value> {
    let item = json!({"type": "message", "role": "assistant", "id": "m",
        "content": [{"type": "output_text", "text": "PONG"}]});
    let usage = json!({"input_tokens": 1, "input_tokens_details": null, "output_tokens": 1,
        "output_tokens_details": null, "total_tokens": 2});
    vec![
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed",
            "response": {"id": "r", "output": [item], "usage": usage}}),
    ]
}
