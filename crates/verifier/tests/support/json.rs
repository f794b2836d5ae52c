//! The suites' rows, with what a test asks of them.

use serde_json::Value;

/// A JSON value; what is missing is empty.
#[derive(Clone, Debug)]
pub(crate) struct Json(pub(crate) Value);

impl Json {
    pub(crate) fn parse(text: &str) -> Option<Json> {
        serde_json::from_str(text).ok().map(Json)
    }

    pub(crate) fn get(&self, key: &str) -> Json {
        Json(self.0.get(key).cloned().unwrap_or(Value::Null))
    }

    pub(crate) fn str(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn bool(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn num(&self, key: &str) -> i64 {
        self.0.get(key).and_then(Value::as_i64).unwrap_or(0)
    }
}
