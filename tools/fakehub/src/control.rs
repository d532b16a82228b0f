//! Routes of fakehub's own, for tests and the demo: make jobs, cancel them,
//! look at everything, disturb deliveries, move the clock. They ask for no
//! credential, so they are served on the API address only, never to sleds.

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Request};
use crate::hub::Hub;
use crate::ids::timestamp;
use crate::routes::{Parameters, matches};
use crate::shapes;
use crate::state::{Conclusion, DeliveryMode, Fault, Job, NewJob};

/// Most bytes of a script.
const MAX_SCRIPT: usize = 256 * 1024;

/// Answers a request below `/_fakehub`.
#[must_use]
pub fn handle(hub: &Hub, request: &Request) -> Answer {
    let at = |template: &'static str| matches(template, &request.path);
    let answer = match request.method.as_str() {
        "POST" => {
            if at("/_fakehub/jobs").is_some() {
                create(hub, request)
            } else if let Some(found) = at("/_fakehub/jobs/{id}/cancel") {
                cancel(hub, &found)
            } else if at("/_fakehub/ping").is_some() {
                Ok(Answer::json(202, json!({ "sent": hub.ping() })))
            } else if at("/_fakehub/deliveries/mode").is_some() {
                mode(hub, request)
            } else if at("/_fakehub/clock").is_some() {
                clock(hub, request)
            } else if let Some(found) = at("/_fakehub/jobs/{id}/steal") {
                steal(hub, &found, request)
            } else if at("/_fakehub/faults").is_some() {
                add_fault(hub, request)
            } else if at("/_fakehub/runner").is_some() {
                offer_runner(hub, request)
            } else if at("/_fakehub/busy-lies").is_some() {
                busy_lies(hub, request)
            } else if at("/_fakehub/tokens/revoke").is_some() {
                Ok(revoke(hub))
            } else {
                Err(Answer::not_found())
            }
        }
        "GET" => {
            if at("/_fakehub/jobs").is_some() {
                Ok(jobs(hub))
            } else if let Some(found) = at("/_fakehub/jobs/{id}") {
                one_job(hub, &found)
            } else if at("/_fakehub/runners").is_some() {
                Ok(runners(hub))
            } else if at("/_fakehub/deliveries").is_some() {
                Ok(deliveries(hub))
            } else if at("/_fakehub/requests").is_some() {
                Ok(requests(hub))
            } else {
                Err(Answer::not_found())
            }
        }
        "DELETE" if at("/_fakehub/faults").is_some() => {
            hub.state().faults.clear();
            Ok(Answer::empty(204))
        }
        _ => Err(Answer::not_found()),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

fn wrong(message: &str) -> Answer {
    Answer::error(422, message)
}

fn field<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Answer> {
    body.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| wrong(&format!("{name} must be a string")))
}

fn create(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let body = request.object()?;
    let known = ["repo", "labels", "script", "name", "run"];
    if let Some(other) = body.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(wrong(&format!("unknown field {other}")));
    }
    let full_name = field(&body, "repo")?;
    let (installation, repository) = hub
        .repository(full_name)
        .ok_or_else(|| wrong(&format!("no installation has the repository {full_name}")))?;
    let script = field(&body, "script")?;
    if script.len() > MAX_SCRIPT {
        return Err(wrong("script is longer than 256 KiB"));
    }
    let labels: Vec<String> = body
        .get("labels")
        .and_then(|it| serde_json::from_value(it.clone()).ok())
        .ok_or_else(|| wrong("labels must be a list of strings"))?;
    let new = NewJob {
        name: body
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or("build")
            .to_owned(),
        account: installation.account.clone(),
        repo: repository.name.clone(),
        public: !repository.private,
        labels,
        script: script.to_owned(),
        run: body.get("run").and_then(Value::as_u64),
    };
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    let foreign = |run: &u64| {
        !state
            .runs
            .get(run)
            .is_some_and(|it| it.account == installation.account && it.repo == repository.name)
    };
    if new.run.as_ref().is_some_and(foreign) {
        return Err(wrong("the repository has no such run"));
    }
    let (id, change) = state
        .queue(new, now_ms)
        .map_err(|full| Answer::error(503, &full.to_string()))?;
    hub.announce(&mut state, [change]);
    let job = state.jobs.get(&id).ok_or_else(Answer::not_found)?;
    Ok(Answer::json(201, show(hub, job)))
}

fn cancel(hub: &Hub, found: &Parameters) -> Result<Answer, Answer> {
    let id = found.number("id").ok_or_else(Answer::not_found)?;
    let mut state = hub.state();
    let change = state
        .cancel(id, hub.now_ms())
        .ok_or_else(Answer::not_found)?;
    hub.announce(&mut state, change);
    let job = state.jobs.get(&id).ok_or_else(Answer::not_found)?;
    Ok(Answer::json(202, show(hub, job)))
}

fn steal(hub: &Hub, found: &Parameters, request: &Request) -> Result<Answer, Answer> {
    let body = request.object()?;
    let runner = field(&body, "runner_name")?;
    let id = found.number("id").ok_or_else(Answer::not_found)?;
    let mut state = hub.state();
    let taken = state
        .steal(id, runner, hub.now_ms())
        .ok_or_else(|| wrong("there is no such queued job"))?;
    hub.announce(&mut state, [taken]);
    let job = state.jobs.get(&id).ok_or_else(Answer::not_found)?;
    Ok(Answer::json(202, show(hub, job)))
}

fn offer_runner(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let body = request.object()?;
    let version = field(&body, "version")?.to_owned();
    hub.state().runner_version = Some(version);
    Ok(Answer::empty(204))
}

fn add_fault(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let fault: Fault = serde_json::from_slice(&request.body)
        .map_err(|error| wrong(&format!("not a fault: {error}")))?;
    match hub.state().add_fault(fault) {
        true => Ok(Answer::json(201, json!({}))),
        false => Err(wrong("too many faults wait")),
    }
}

fn busy_lies(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let on = request.object()?.get("on").and_then(Value::as_bool);
    hub.state().busy_lies = on.ok_or_else(|| wrong("on must be true or false"))?;
    Ok(Answer::empty(204))
}

fn revoke(hub: &Hub) -> Answer {
    let mut state = hub.state();
    let revoked = state.tokens.len();
    state.tokens.clear();
    Answer::json(200, json!({ "revoked": revoked }))
}

fn show(hub: &Hub, job: &Job) -> Value {
    json!({
        "id": job.id,
        "run_id": job.run_id,
        "name": job.name,
        "repo": format!("{}/{}", job.account, job.repo),
        "labels": job.labels,
        "status": job.status.as_str(),
        "conclusion": job.conclusion.map(Conclusion::as_str),
        "runner_id": job.runner.as_ref().map(|it| it.id),
        "runner_name": job.runner.as_ref().map(|it| &it.name),
        "created_at": timestamp(job.created_ms),
        "started_at": job.started_ms.map(timestamp),
        "completed_at": job.completed_ms.map(timestamp),
        "created_ms": job.created_ms,
        "started_ms": job.started_ms,
        "completed_ms": job.completed_ms,
        "cancel_requested": job.cancel_ms.is_some(),
        "log": job.log,
        "log_dropped": job.log_dropped,
        "url": shapes::job(&hub.urls.api, job).get("url"),
    })
}

fn jobs(hub: &Hub) -> Answer {
    let state = hub.state();
    let all: Vec<Value> = state.jobs.values().map(|job| show(hub, job)).collect();
    Answer::json(200, json!({ "jobs": all }))
}

fn one_job(hub: &Hub, found: &Parameters) -> Result<Answer, Answer> {
    let state = hub.state();
    let job = found.number("id").and_then(|id| state.jobs.get(&id));
    Ok(Answer::json(
        200,
        show(hub, job.ok_or_else(Answer::not_found)?),
    ))
}

fn runners(hub: &Hub) -> Answer {
    let now_ms = hub.now_ms();
    let state = hub.state();
    let all: Vec<Value> = state
        .runners
        .values()
        // What fakehub's own route shows is the truth.
        .map(|it| shapes::runner(it, now_ms, false))
        .collect();
    Answer::json(200, json!({ "runners": all }))
}

fn deliveries(hub: &Hub) -> Answer {
    let state = hub.state();
    let all: Vec<Value> = state
        .deliveries
        .iter()
        .rev()
        .map(|it| shapes::delivery(it, true))
        .collect();
    Answer::json(200, json!({ "deliveries": all }))
}

fn requests(hub: &Hub) -> Answer {
    let state = hub.state();
    let all: Vec<Value> = state
        .asked
        .iter()
        .map(|((method, route), count)| json!({ "method": method, "route": route, "count": count }))
        .collect();
    Answer::json(200, json!({ "requests": all }))
}

fn mode(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let mode: DeliveryMode = serde_json::from_slice(&request.body).map_err(|_| {
        wrong("mode must be deliver, duplicate, unreachable, lost, or late or reordered with delay_ms")
    })?;
    hub.state().deliver_as(mode);
    Ok(Answer::empty(204))
}

fn clock(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let body = request.object()?;
    let seconds = body
        .get("advance_s")
        .and_then(Value::as_u64)
        .and_then(|it| u32::try_from(it).ok())
        .ok_or_else(|| wrong("advance_s must be a number of seconds"))?;
    hub.advance(seconds);
    Ok(Answer::json(200, json!({ "now": timestamp(hub.now_ms()) })))
}
