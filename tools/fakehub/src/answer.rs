//! Requests and answers apart from any transport, and GitHub's error bodies.
//! Nothing here knows of sockets or state.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Where GitHub's errors point when they have nothing better.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// One request, whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// Upper-case method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Decoded query.
    pub query: BTreeMap<String, String>,
    /// `Authorization`, as sent. Never logged.
    pub authorization: Option<String>,
    /// `User-Agent`; GitHub refuses requests without one.
    pub user_agent: Option<String>,
    /// `If-None-Match`: the entity tag of what the client has.
    pub if_none_match: Option<String>,
    /// Body as sent.
    pub body: Vec<u8>,
}

impl Request {
    /// A request for `target` (path and query), for tests and the server.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (percent_decoded(name), percent_decoded(value)))
            .collect();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            authorization: None,
            user_agent: Some("fakehub-client".into()),
            if_none_match: None,
            body: Vec::new(),
        }
    }

    /// The same request with a bearer token.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// The same request with a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    /// The credential after `Bearer` or `token`; GitHub accepts both words.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        let (scheme, value) = self.authorization.as_deref()?.split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        known.then_some(value.trim())
    }

    /// A number in the query, clamped; what is not a number counts as absent.
    #[must_use]
    pub fn query_number(&self, name: &str, default: usize, max: usize) -> usize {
        let given = self
            .query
            .get(name)
            .and_then(|value| value.parse::<usize>().ok());
        given.filter(|value| *value > 0).unwrap_or(default).min(max)
    }

    /// The body as a JSON object; an empty body is an empty object.
    ///
    /// # Errors
    /// GitHub's 400 for what is not JSON, or not an object.
    pub fn object(&self) -> Result<serde_json::Map<String, Value>, Answer> {
        if self.body.is_empty() {
            return Ok(serde_json::Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Answer::error(400, "Body should be a JSON object")),
            Err(_) => Err(Answer::error(400, "Problems parsing JSON")),
        }
    }
}

/// Percent-decoding of a query part (RFC 3986, and `+` for a space).
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let pair = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match (
            first,
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// No content.
    Empty,
    /// JSON.
    Json(Value),
    /// A file to download.
    File(std::sync::Arc<Vec<u8>>),
    /// One that breaks off before its end.
    Cut {
        /// What comes.
        bytes: std::sync::Arc<Vec<u8>>,
        /// The length that is announced.
        says: u64,
    },
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Content.
    pub body: Body,
}

impl Answer {
    /// JSON with a status.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Json(body),
        }
    }

    /// A status without content.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// GitHub's "basic error".
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            json!({
                "message": message,
                "documentation_url": DOCUMENTATION,
                "status": status.to_string(),
            }),
        )
    }

    /// GitHub's "validation error simple": 422 with texts.
    #[must_use]
    pub fn invalid(message: &str, errors: &[String]) -> Self {
        let mut answer = Self::error(422, message);
        if let Body::Json(Value::Object(body)) = &mut answer.body {
            body.insert("errors".into(), json!(errors));
        }
        answer
    }

    /// 404 as GitHub words it; also for what the caller may not know of.
    #[must_use]
    pub fn not_found() -> Self {
        Self::error(404, "Not Found")
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The JSON body, `null` for any other, for tests.
    #[must_use]
    pub fn value(&self) -> &Value {
        match &self.body {
            Body::Json(value) => value,
            Body::Empty | Body::File(_) | Body::Cut { .. } => &Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_decode() {
        let check = |target: &str, expect: &str| {
            assert_eq!(
                Request::new("GET", target)
                    .query
                    .get("name")
                    .map(String::as_str),
                { Some(expect) }
            );
        };
        check("/x?name=a", "a");
        check("/x?per_page=3&name=a%2Fb+c", "a/b c");
        check("/x?name=%zz%", "%zz%");
    }

    #[test]
    fn both_words_for_a_token_are_known() {
        let mut request = Request::new("GET", "/");
        for (header, expect) in [
            ("Bearer a", Some("a")),
            ("token a", Some("a")),
            ("Basic a", None),
            ("a", None),
        ] {
            request.authorization = Some(header.into());
            assert_eq!(request.credential(), expect);
        }
    }
}
