//! From an error status of GitHub's to an error that says what to do.
//!
//! Knows GitHub's statuses and rate limits; asks nothing and repeats nothing.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::error::{ErrorKind, GithubError, StatusError, one_line};
use super::http::{Call, Method};
use super::scope::Scope;

/// GitHub Docs, "Rate limits": without a header, wait at least one minute.
const DEFAULT_WAIT_MS: u64 = 60_000;
/// Limits are per hour: no wait is longer.
const LONGEST_WAIT_MS: u64 = 3_600_000;
const SHORTEST_WAIT_MS: u64 = 1_000;
/// Most entries of GitHub's error list that a message repeats.
const LISTED_ERRORS: usize = 10;

/// Who asked for what, to name the permission that is missing.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The App itself, by its JWT.
    App { app_id: u64 },
    /// To mint a JIT runner.
    Mint(&'a Scope),
    /// Anything else about runners.
    Runners(&'a Scope),
    /// About a workflow job or run.
    Jobs(&'a Scope),
    /// To start a workflow, or to run jobs again.
    Workflows(&'a Scope),
    /// About a repository itself.
    Repository(&'a Scope),
    /// What needs no identity.
    Anybody,
}

/// How long GitHub asks to send nothing, if it does. `now_ms` is used when the
/// answer has no date of its own.
pub(super) fn asked_to_wait_ms(answer: &Answer, now_ms: u64) -> Option<u64> {
    let limited = match answer.status {
        429 => true,
        403 => {
            answer.head.retry_after_s.is_some()
                || answer.head.rate_remaining == Some(0)
                || message(&answer.body)
                    .to_ascii_lowercase()
                    .contains("rate limit")
        }
        _ => false,
    };
    limited.then(|| retry_after_ms(answer, now_ms))
}

/// The error for an answer whose status is not the one expected. `now_ms` is
/// used when the answer has no date of its own.
pub(super) fn refuse(
    asked: Asked<'_>,
    call: &Call<'_>,
    answer: &Answer,
    now_ms: u64,
) -> GithubError {
    let method = call.method.as_str();
    let path = call.path.to_owned();
    if (200..300).contains(&answer.status) {
        let reason = format!("unexpected status {}", answer.status);
        return GithubError::Answer {
            method,
            path,
            reason,
        };
    }
    let message = message(&answer.body);
    let kind = kind(answer, now_ms);
    let mend = mend(asked, call.method, answer.status, kind, &message);
    GithubError::Status(Box::new(StatusError {
        method,
        path,
        status: answer.status,
        message,
        mend,
        kind,
    }))
}

fn kind(answer: &Answer, now_ms: u64) -> ErrorKind {
    if let Some(retry_after_ms) = asked_to_wait_ms(answer, now_ms) {
        return ErrorKind::RateLimited { retry_after_ms };
    }
    match answer.status {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        408 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

fn retry_after_ms(answer: &Answer, now_ms: u64) -> u64 {
    let head = &answer.head;
    let reset_ms = || {
        let reset_s = head
            .rate_reset_s
            .filter(|_| head.rate_remaining == Some(0))?;
        let now_ms = head.date_ms.unwrap_or(now_ms);
        Some(reset_s.saturating_mul(1000).saturating_sub(now_ms))
    };
    head.retry_after_s
        .map(|seconds| seconds.saturating_mul(1000))
        .or_else(reset_ms)
        .unwrap_or(DEFAULT_WAIT_MS)
        .clamp(SHORTEST_WAIT_MS, LONGEST_WAIT_MS)
}

fn mend(asked: Asked<'_>, method: Method, status: u16, kind: ErrorKind, message: &str) -> String {
    if let ErrorKind::RateLimited { .. } = kind {
        return String::new();
    }
    let suspended = message.to_ascii_lowercase().contains("suspended");
    match (status, asked) {
        (300..=399, _) => "it has moved: put the new name in the pool's scope, or the new address \
                          in api_url"
            .to_owned(),
        (401, Asked::App { app_id }) => format!(
            "the private key does not belong to app {app_id}, or this machine's clock is wrong"
        ),
        (401, Asked::Mint(scope) | Asked::Runners(scope)) if scope.is_enterprise() => {
            "the classic token in token_path has expired or was revoked: make a new one".to_owned()
        }
        (401, _) => {
            "the installation's token was refused: was the app uninstalled or suspended?".to_owned()
        }
        (403, _) if suspended => {
            "unsuspend the app's installation in the account's settings at github".to_owned()
        }
        (403, Asked::Mint(scope) | Asked::Runners(scope)) if scope.is_enterprise() => format!(
            "give the classic token in token_path {} for {scope}",
            permission(scope)
        ),
        (403, Asked::Mint(scope) | Asked::Runners(scope)) => format!(
            "give the app {} and accept the new permission for {scope}",
            permission(scope)
        ),
        // GitHub words a missing permission as "not accessible".
        (403, Asked::Workflows(_)) if !message.contains("not accessible") => {
            "a job can run again only when its whole workflow run has ended".to_owned()
        }
        (403, Asked::Jobs(scope) | Asked::Workflows(scope) | Asked::Repository(scope)) => {
            let wanted = match asked {
                Asked::Workflows(_) => "Actions: read and write",
                Asked::Repository(_) => "Metadata: read",
                _ => "Actions: read",
            };
            format!("give the app the repository permission \"{wanted}\" and accept it for {scope}")
        }
        (404, Asked::Mint(scope) | Asked::Runners(scope)) if scope.is_enterprise() => format!(
            "{scope} is unknown, or whoever made the classic token does not own it, or the token \
             lacks {}",
            permission(scope)
        ),
        (404, Asked::Mint(scope)) => format!(
            "{scope} or the runner group is unknown, or the app is not installed there, or it \
             lacks {}",
            permission(scope)
        ),
        (409, Asked::Mint(_)) => {
            "a runner of this name exists: delete it, and mint under a fresh name".to_owned()
        }
        (422, Asked::Runners(_)) if method == Method::Delete => {
            "a runner that runs a job cannot be deleted: end the job first".to_owned()
        }
        _ => String::new(),
    }
}

/// GitHub Docs, "Permissions required for GitHub Apps".
fn permission(scope: &Scope) -> &'static str {
    if scope.is_enterprise() {
        "the scope manage_runners:enterprise"
    } else if scope.is_org() {
        "the organization permission \"Self-hosted runners: read and write\""
    } else {
        "the repository permission \"Administration: read and write\""
    }
}

#[derive(Deserialize)]
struct WireError {
    message: Option<String>,
    errors: Option<Value>,
}

/// GitHub's `message`, and its `errors`, which are texts or objects with a
/// `message`, or with `field` and `code`.
fn message(body: &[u8]) -> String {
    let Ok(wire) = serde_json::from_slice::<WireError>(body) else {
        return String::new();
    };
    let mut words = wire.message.unwrap_or_default();
    let listed = match &wire.errors {
        Some(Value::Array(errors)) => errors.as_slice(),
        Some(error) => std::slice::from_ref(error),
        None => &[],
    };
    for error in listed.iter().take(LISTED_ERRORS) {
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let listed = match (error.as_str(), text("message"), text("field"), text("code")) {
            (Some(text), ..) | (_, Some(text), ..) => text.to_owned(),
            (_, _, Some(field), Some(code)) => format!("{field}: {code}"),
            (_, _, _, Some(code)) => code.to_owned(),
            _ => continue,
        };
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(&listed);
    }
    one_line(&words)
}
