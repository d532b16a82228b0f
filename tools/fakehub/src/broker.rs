//! The runner's side. GitHub's broker protocol is private and changes; this
//! is a protocol of fakehub's own with the same rules: one session per runner,
//! one job per runner, a long poll, logs and signs of life while a job runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::{Answer, Request};
use crate::hub::Hub;
use crate::routes::{Parameters, matches};
use crate::state::{Conclusion, NewRunner, Scope, SessionError};

/// Longest wait of one poll.
const MAX_POLL_S: usize = 50;
/// Most log lines in one request.
const MAX_LINES: usize = 1_000;
/// Most characters kept of a line.
const MAX_LINE: usize = 4_096;

impl From<SessionError> for Answer {
    fn from(error: SessionError) -> Self {
        let (status, code) = match error {
            SessionError::Unknown => (401, "registration_unknown"),
            SessionError::Conflict => (409, "session_conflict"),
            SessionError::Ended => (410, "session_ended"),
            SessionError::NotYours => (404, "job_not_yours"),
        };
        Self::json(
            status,
            json!({ "code": code, "message": error.to_string() }),
        )
    }
}

/// Answers a request below `/_runner`.
pub async fn handle(hub: &Arc<Hub>, request: &Request) -> Answer {
    let at = |template: &'static str| matches(template, &request.path);
    let answer = match request.method.as_str() {
        "POST" => {
            if at("/_runner/register").is_some() {
                register(hub, request)
            } else if let Some(found) = at("/_runner/{runner}/sessions") {
                open(hub, &found, request)
            } else if let Some(found) = at("/_runner/{runner}/sessions/{session}/log") {
                log(hub, &found, request)
            } else if let Some(found) = at("/_runner/{runner}/sessions/{session}/complete") {
                complete(hub, &found, request)
            } else {
                Err(Answer::not_found())
            }
        }
        "GET" => match at("/_runner/{runner}/sessions/{session}/job") {
            Some(found) => poll(hub, &found, request).await,
            None => Err(Answer::not_found()),
        },
        "DELETE" => match at("/_runner/{runner}/sessions/{session}") {
            Some(found) => close(hub, &found, request),
            None => Err(Answer::not_found()),
        },
        _ => Err(Answer::not_found()),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

/// Runner number, secret and session of a request.
fn caller<'a>(
    found: &'a Parameters,
    request: &'a Request,
) -> Result<(u64, &'a str, &'a str), Answer> {
    let id = found
        .number("runner")
        .ok_or_else(|| Answer::from(SessionError::Unknown))?;
    Ok((
        id,
        request.credential().unwrap_or_default(),
        found.text("session"),
    ))
}

/// What `config.sh --ephemeral --token …` does.
fn register(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let body = request.object()?;
    let wrong = |message: &str| Answer::error(422, message);
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    let permit = request
        .credential()
        .and_then(|token| state.permits.get(token))
        .filter(|permit| permit.registers && permit.expires_ms > now_ms)
        .ok_or_else(|| Answer::error(401, "Bad credentials"))?;
    let scope = permit.scope.clone();
    let place = body.get("place").and_then(Value::as_str);
    if !place.is_some_and(|place| place.eq_ignore_ascii_case(&scope.place())) {
        return Err(Answer::not_found());
    }
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty() && name.len() <= 64)
        .ok_or_else(|| wrong("name must be a string of 1 to 64 characters"))?;
    let labels: Vec<String> = body
        .get("labels")
        .and_then(|it| serde_json::from_value(it.clone()).ok())
        .filter(|labels: &Vec<String>| !labels.is_empty() && labels.len() <= 100)
        .ok_or_else(|| wrong("labels must be a list of 1 to 100 strings"))?;
    if state.name_taken(&scope, name) {
        return Err(Answer::error(409, "A runner with that name exists"));
    }
    let wanted = body.get("group").and_then(Value::as_str);
    let group = hub.config.group_named(&scope, wanted.unwrap_or("Default"));
    let group = group.ok_or_else(|| {
        let name = wanted.unwrap_or("Default");
        wrong(&format!(
            "Could not find any self-hosted runner group named \"{name}\"."
        ))
    })?;
    let new = NewRunner {
        name: name.to_owned(),
        labels,
        group: (group.id, group.name.clone()),
        takes_public: group.allows_public_repositories || matches!(scope, Scope::Repo { .. }),
        scope,
        work_folder: "_work".to_owned(),
    };
    let runner = state
        .register(new, now_ms)
        .map_err(|full| Answer::error(503, &full.to_string()))?;
    Ok(Answer::json(
        201,
        json!({
            "id": runner.id,
            "secret": runner.secret,
            "server": format!("{}/_runner", hub.urls.sled),
        }),
    ))
}

fn open(hub: &Hub, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let (id, secret, _) = caller(found, request)?;
    let body = request.object()?;
    let version = body.get("version").and_then(Value::as_str);
    if let Some(least) = &hub.config.limits.minimum_runner_version
        && numbers(version.unwrap_or_default()) < numbers(least)
    {
        let message = format!(
            "Runner version v{} is deprecated and cannot receive messages.",
            version.unwrap_or("unknown")
        );
        return Err(Answer::json(
            403,
            json!({ "code": "version_deprecated", "message": message }),
        ));
    }
    let now_ms = hub.now_ms();
    let session = hub.state().open_session(id, secret, version, now_ms)?;
    Ok(Answer::json(201, json!({ "session": session })))
}

/// A version as numbers, so that 2.9 is below 2.329.
fn numbers(version: &str) -> Vec<u64> {
    version
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

async fn poll(hub: &Arc<Hub>, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let (id, secret, session) = caller(found, request)?;
    let wait_s = request.query_number("wait_s", 1, MAX_POLL_S);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait_s as u64);
    loop {
        // Registered before the look, so that a job queued in between wakes us.
        let changed = hub.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(answer) = take(hub, id, secret, session)? {
            return Ok(answer);
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Ok(Answer::empty(204));
        }
    }
}

fn take(hub: &Hub, id: u64, secret: &str, session: &str) -> Result<Option<Answer>, Answer> {
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    state.session(id, secret, session, now_ms)?;
    let Some((job, change)) = state.take(id, now_ms) else {
        return Ok(None);
    };
    hub.announce(&mut state, change);
    let job = state.jobs.get(&job).ok_or_else(Answer::not_found)?;
    Ok(Some(Answer::json(
        200,
        json!({
            "id": job.id,
            "run_id": job.run_id,
            "name": job.name,
            "repository": format!("{}/{}", job.account, job.repo),
            "sha": job.head_sha,
            "script": job.script,
        }),
    )))
}

fn job_number(body: &serde_json::Map<String, Value>) -> Result<u64, Answer> {
    let number = body.get("job").and_then(Value::as_u64);
    number.ok_or_else(|| Answer::error(422, "job must be a number"))
}

fn log(hub: &Hub, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let (id, secret, session) = caller(found, request)?;
    let body = request.object()?;
    let job = job_number(&body)?;
    let lines = body
        .get("lines")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if lines.len() > MAX_LINES {
        return Err(Answer::error(422, "at most 1000 lines at once"));
    }
    let lines = lines
        .iter()
        .filter_map(Value::as_str)
        .map(|line| line.chars().take(MAX_LINE).collect())
        .collect();
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    state.session(id, secret, session, now_ms)?;
    let cancelled = state.append_log(id, job, lines)?;
    Ok(Answer::json(200, json!({ "cancelled": cancelled })))
}

fn complete(hub: &Hub, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let (id, secret, session) = caller(found, request)?;
    let body = request.object()?;
    let job = job_number(&body)?;
    let conclusion = match body.get("result").and_then(Value::as_str) {
        Some("succeeded") => Conclusion::Success,
        Some("failed") => Conclusion::Failure,
        Some("canceled") => Conclusion::Cancelled,
        Some(_) | None => {
            return Err(Answer::error(
                422,
                "result must be succeeded, failed or canceled",
            ));
        }
    };
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    state.session(id, secret, session, now_ms)?;
    let change = state.complete(id, job, conclusion, now_ms)?;
    hub.announce(&mut state, change);
    Ok(Answer::empty(204))
}

fn close(hub: &Hub, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let (id, secret, session) = caller(found, request)?;
    let now_ms = hub.now_ms();
    hub.state().close_session(id, secret, session, now_ms)?;
    Ok(Answer::empty(204))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let check = |older: &str, newer: &str| assert!(numbers(older) < numbers(newer));
        check("2.9.0", "2.329.0");
        check("", "2.329.0");
        check("v2.328.9", "2.329.0");
        assert!(numbers("2.329.0") >= numbers("v2.329.0"));
    }
}
