//! Client requests about sessions: launch, read, input, end, register.

use serde_json::{Value, json};

use super::{Answer, Coven};

impl Coven {
    /// The body of a launch in the test's own directory.
    pub fn launch_body(&self, harness: &str, prompt: &str) -> Value {
        json!({ "projectRoot": self.work(), "harness": harness, "prompt": prompt })
    }

    /// Launches a session, and gives its id.
    pub fn launch(&self, harness: &str, prompt: &str) -> String {
        let answer = self.post("/api/v1/sessions", &self.launch_body(harness, prompt));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// A launch with other fields besides the usual ones, whatever comes of it.
    pub fn try_launch(&self, harness: &str, prompt: &str, fields: Value) -> Answer {
        let body = merged(self.launch_body(harness, prompt), fields);
        self.post("/api/v1/sessions", &body)
    }

    /// A launch with an `Idempotency-Key`.
    pub fn launch_keyed(&self, key: &str, body: &Value) -> Answer {
        let headers = [("Idempotency-Key", key)];
        let body = body.to_string();
        self.request("POST", "/api/v1/sessions", &headers, body.as_bytes())
    }

    /// Launches a session and waits for its end; gives its record.
    pub fn run(&self, harness: &str, prompt: &str) -> Value {
        let id = self.launch(harness, prompt);
        self.ended(&id)
    }

    /// Waits for the session's end, and gives its record.
    pub fn ended(&self, id: &str) -> Value {
        self.events_to_end(id);
        self.session(id)
    }

    /// A session's record.
    pub fn session(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/sessions/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The sessions of the plain list.
    pub fn sessions(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/sessions");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().as_array().unwrap().clone()
    }

    pub fn input(&self, id: &str, data: &str) -> Answer {
        self.post_to(id, "input", &json!({ "data": data }))
    }

    pub fn kill_session(&self, id: &str) -> Answer {
        self.post_to(id, "kill", &json!({}))
    }

    /// `POST /api/v1/sessions/:id/:verb`
    pub fn post_to(&self, id: &str, verb: &str, body: &Value) -> Answer {
        self.post(&format!("/api/v1/sessions/{id}/{verb}"), body)
    }

    /// Registers a session that nobody runs, with other fields besides the usual ones.
    pub fn register(&self, id: &str, fields: Value) -> Answer {
        let body = json!({ "id": id, "projectRoot": "/somewhere", "harness": "other" });
        self.post("/api/v1/sessions/external", &merged(body, fields))
    }
}

/// `fields` on top of `body`.
pub fn merged(mut body: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// A session id that no daemon makes up.
pub fn external_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}
