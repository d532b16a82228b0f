//! Bodies of deliveries, and what is done to them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::random::Random;

/// Stands for text that no JSON value of ours can hold.
const RAW: &str = "raw text";

/// Deliveries as GitHub's documentation has them, and shorter ones.
pub(crate) fn real() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    [
        "appliance/daemon/src/payload/queued.json",
        "appliance/daemon/src/payload/waiting.json",
        "appliance/daemon/src/payload/in_progress_old.json",
        "appliance/daemon/src/payload/completed.json",
        "tests/corpus/webhook_payload/queued",
        "tests/corpus/webhook_payload/in_progress",
        "tests/corpus/webhook_payload/completed",
    ]
    .iter()
    .map(|path| {
        let bytes = fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
    })
    .collect()
}

/// One of the real ones, as a job of ours or of others.
pub(crate) fn any(real: &[Value], random: &mut Random) -> Value {
    let mut body = random.pick(real).clone();
    body["workflow_job"]["id"] = json!(1 + random.below(300));
    if random.below(4) > 0 {
        body["workflow_job"]["labels"] = json!(["self-hosted", "linux", "x64"]);
        body["repository"]["full_name"] = json!("octo-org/app");
        body["repository"]["owner"]["login"] = json!("octo-org");
    }
    body
}

/// Every field that is read, and what holds them, as JSON pointers (RFC 6901).
const FIELDS: [&str; 27] = [
    "",
    "/action",
    "/workflow_job",
    "/workflow_job/id",
    "/workflow_job/run_id",
    "/workflow_job/run_attempt",
    "/workflow_job/name",
    "/workflow_job/workflow_name",
    "/workflow_job/labels",
    "/workflow_job/labels/0",
    "/workflow_job/runner_id",
    "/workflow_job/runner_name",
    "/workflow_job/runner_group_id",
    "/workflow_job/runner_group_name",
    "/workflow_job/conclusion",
    "/workflow_job/html_url",
    "/workflow_job/created_at",
    "/workflow_job/started_at",
    "/workflow_job/completed_at",
    "/repository",
    "/repository/full_name",
    "/repository/owner",
    "/repository/owner/login",
    "/repository/private",
    "/organization",
    "/installation",
    "/installation/id",
];

/// Another type, or an extreme of the same, in place of a field: of each field
/// in turn, each.
pub(crate) fn other_type(body: &Value, number: usize) -> Vec<u8> {
    let path = FIELDS[number % FIELDS.len()];
    let values = values();
    let (value, raw) = &values[number / FIELDS.len() % values.len()];
    let mut body = body.clone();
    match body.pointer_mut(path) {
        Some(field) => *field = value.clone(),
        None => add(&mut body, path, value.clone()),
    }
    let text = body.to_string();
    text.replace(&format!("\"{RAW}\""), raw).into_bytes()
}

/// Adds a field that the body does not have.
fn add(body: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').expect("the root is always there");
    match body.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => items.push(value),
        _ => add(body, parent, json!({ key: value })),
    }
}

fn values() -> Vec<(Value, String)> {
    let raw = |text: &str| (json!(RAW), text.to_owned());
    let plain = |value: Value| (value, String::new());
    vec![
        plain(Value::Null),
        plain(json!(true)),
        plain(json!(0)),
        plain(json!(-1)),
        plain(json!(1.5)),
        plain(json!(u64::MAX)),
        raw("18446744073709551616"),
        raw("1e400"),
        raw("NaN"),
        raw("01"),
        plain(json!("")),
        plain(json!("\u{0}\u{1f}\u{7f}\u{202e}")),
        raw(r#""\ud800""#),
        plain(json!("x".repeat(40_000))),
        plain(json!([])),
        plain(json!(vec!["x"; 10_000])),
        plain(json!({})),
        plain(json!({ "login": ["octo-org"] })),
    ]
}

/// A key of it comes twice, with another value before.
pub(crate) fn duplicate_key(body: &Value, random: &mut Random) -> Vec<u8> {
    let text = body.to_string();
    let keys: Vec<usize> = text
        .match_indices("\":")
        .filter_map(|(end, _)| text[..end].rfind('"'))
        .filter(|start| text[..*start].ends_with(['{', ',']))
        .collect();
    let at = *random.pick(&keys);
    let key = text[at..].split("\":").next().unwrap_or_default();
    let value = random.pick(&["1", "\"x\"", "null", "[]", "{}"]);
    format!("{}{key}\":{value},{}", &text[..at], &text[at..]).into_bytes()
}

/// A value of it lies 100,000 brackets deep, open or closed.
pub(crate) fn nested(body: &Value, random: &mut Random) -> Vec<u8> {
    const DEPTH: usize = 100_000;
    let (open, close) = *random.pick(&[("[", "]"), ("{\"a\":", "}")]);
    let closed = random.below(2) == 0;
    let deep = open.repeat(DEPTH) + "1" + &close.repeat(if closed { DEPTH } else { 0 });
    let mut body = body.clone();
    let path = *random.pick(&[
        "/workflow_job",
        "/workflow_job/labels",
        "/workflow_job/name",
        "/repository",
        "/action",
        "/sender",
    ]);
    match body.pointer_mut(path) {
        Some(value) => *value = json!(RAW),
        None => body["sender"] = json!(RAW),
    }
    let text = body.to_string();
    text.replace(&format!("\"{RAW}\""), &deep).into_bytes()
}

/// Some bits, bytes or runs of it are others.
pub(crate) fn flipped(body: &Value, random: &mut Random) -> Vec<u8> {
    let mut bytes = body.to_string().into_bytes();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *random.pick(b"\"{}[]:,\\0eu-\x00\x80\xff")),
        }
    }
    bytes
}

/// A string of it is no UTF-8.
pub(crate) fn not_utf8(body: &Value, random: &mut Random) -> Vec<u8> {
    let mut bytes = body.to_string().into_bytes();
    let letters: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_lowercase())
        .collect();
    let at = *random.pick(&letters);
    let wrong = *random.pick::<&[u8]>(&[
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
    ]);
    bytes.splice(at..at, wrong.iter().copied());
    bytes
}
