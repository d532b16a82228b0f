//! Workflow runs and their jobs, starting a workflow, running one again.

use serde_json::{Map, Value, json};

use super::{linked, page};
use crate::answer::{Answer, Request};
use crate::config::Workflow;
use crate::hub::Hub;
use crate::routes::Parameters;
use crate::shapes;
use crate::state::{Conclusion, Job, NewJob, RerunError, Run, Scope};

/// GitHub's limit (GitHub Docs, "Create a workflow dispatch event").
const MAX_INPUTS: usize = 25;

pub(super) fn runs(hub: &Hub, scope: &Scope, request: &Request) -> Result<Answer, Answer> {
    let wanted = request.query.get("status").map(String::as_str);
    let event = request.query.get("event");
    let full_name = scope.place();
    let (installation, place) = hub.repository(&full_name).ok_or_else(Answer::not_found)?;
    let state = hub.state();
    let fits = |id: u64| {
        let (status, conclusion) = state.run_status(id);
        // GitHub's filter takes a state or a conclusion.
        wanted.is_none_or(|it| {
            it == status.as_str() || conclusion.map(Conclusion::as_str) == Some(it)
        })
    };
    let all: Vec<(u64, &Run)> = state
        .runs
        .iter()
        .rev()
        .map(|(id, run)| (*id, run))
        .filter(|(_, run)| scope.contains(&run.account, &run.repo))
        .filter(|(_, run)| event.is_none_or(|event| *event == run.event))
        .filter(|(id, _)| fits(*id))
        .collect();
    let total = all.len();
    let (cut, link) = page(hub, request, all);
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|(id, run)| {
            let stands = state.run_status(id);
            shapes::run(&hub.urls.api, installation, place, (id, run), stands)
        })
        .collect();
    let body = json!({ "total_count": total, "workflow_runs": bodies });
    Ok(linked(Answer::json(200, body), link))
}

fn run_in(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<u64, Answer> {
    let id = found.number("run_id").ok_or_else(Answer::not_found)?;
    let state = hub.state();
    let run = state.runs.get(&id).ok_or_else(Answer::not_found)?;
    match scope.contains(&run.account, &run.repo) {
        true => Ok(id),
        false => Err(Answer::not_found()),
    }
}

pub(super) fn jobs(
    hub: &Hub,
    scope: &Scope,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    let run = run_in(hub, scope, found)?;
    let state = hub.state();
    let every_try = request.query.get("filter").is_some_and(|it| it == "all");
    let all: Vec<_> = match every_try {
        true => state
            .jobs
            .values()
            .filter(|job| job.run_id == run)
            .collect(),
        false => state.jobs_of(run).collect(),
    };
    let total = all.len();
    let (cut, link) = page(hub, request, all);
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|job| shapes::job(&hub.urls.api, job))
        .collect();
    let body = json!({ "total_count": total, "jobs": bodies });
    Ok(linked(Answer::json(200, body), link))
}

/// `POST …/rerun-failed-jobs`.
pub(super) fn rerun(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let run = run_in(hub, scope, found)?;
    again(hub, run, |job| job.conclusion != Some(Conclusion::Success))
}

/// `POST …/jobs/{job_id}/rerun`.
pub(super) fn rerun_job(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = found.number("job_id").ok_or_else(Answer::not_found)?;
    let run = hub
        .state()
        .jobs
        .get(&id)
        .filter(|job| scope.contains(&job.account, &job.repo))
        .map(|job| job.run_id)
        .ok_or_else(Answer::not_found)?;
    again(hub, run, |job| job.id == id)
}

fn again(hub: &Hub, run: u64, chosen: impl Fn(&Job) -> bool) -> Result<Answer, Answer> {
    let mut state = hub.state();
    let told = state
        .rerun(run, chosen, hub.now_ms())
        .map_err(|error| match error {
            RerunError::Unknown => Answer::not_found(),
            RerunError::Open | RerunError::NothingChosen => Answer::error(403, &error.to_string()),
            RerunError::Full(_) => Answer::error(503, &error.to_string()),
        })?;
    hub.announce(&mut state, told);
    Ok(Answer::json(201, json!({})))
}

pub(super) fn dispatch(
    hub: &Hub,
    scope: &Scope,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    let (full_name, wanted) = (scope.place(), found.text("workflow_id"));
    let workflow = hub
        .config
        .workflows
        .iter()
        .filter(|it| it.repo.eq_ignore_ascii_case(&full_name))
        .find(|it| it.file == wanted || it.id().to_string() == wanted)
        .ok_or_else(Answer::not_found)?;
    let body = request.object()?;
    let details = ["return_run_details"];
    let details = &details[..usize::from(hub.config.limits.has_run_details())];
    let known = |key: &str| ["ref", "inputs"].contains(&key) || details.contains(&key);
    if !body.keys().all(|key| known(key)) {
        return Err(Answer::error(400, "Invalid request"));
    }
    let wants_details = match body.get("return_run_details") {
        None => false,
        Some(Value::Bool(wants)) => *wants,
        Some(_) => return Err(Answer::error(400, "Invalid request")),
    };
    if !body.get("ref").is_some_and(Value::is_string) {
        return Err(Answer::invalid(
            "Invalid request.\n\n\"ref\" wasn't supplied.",
            &[],
        ));
    }
    if body.get("ref").and_then(Value::as_str) != Some("main") {
        return Err(Answer::invalid("No ref found for: ref", &[]));
    }
    let inputs = inputs(workflow, &body)?;
    let filled = |text: &String| {
        inputs.iter().fold(text.clone(), |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        })
    };
    let (installation, place) = hub.repository(&full_name).ok_or_else(Answer::not_found)?;
    let now_ms = hub.now_ms();
    let mut run = Run::new(
        &installation.account,
        &place.name,
        "workflow_dispatch",
        now_ms,
    );
    run.file.clone_from(&workflow.file);
    run.startup_failure = workflow.startup_failure;
    let mut state = hub.state();
    let run = state.open_run(run);
    if workflow.startup_failure {
        hub.announce_run(&mut state, run);
    } else {
        let new = NewJob {
            name: workflow.file.trim_end_matches(".yml").to_owned(),
            account: installation.account.clone(),
            repo: place.name.clone(),
            public: !place.private,
            labels: workflow.labels.iter().map(filled).collect(),
            script: filled(&workflow.script),
            run: Some(run),
        };
        let (_, queued) = state
            .queue(new, now_ms)
            .map_err(|full| Answer::error(503, &full.to_string()))?;
        hub.announce(&mut state, [queued]);
    }
    if !wants_details {
        return Ok(Answer::empty(204));
    }
    let page = format!("{}/{full_name}/actions/runs/{run}", shapes::HTML);
    Ok(Answer::json(
        200,
        json!({
            "workflow_run_id": run,
            "run_url": format!("{}/repos/{full_name}/actions/runs/{run}", hub.urls.api),
            "html_url": page,
        }),
    ))
}

/// Inputs that the workflow knows, each given as text.
fn inputs(workflow: &Workflow, body: &Map<String, Value>) -> Result<Vec<(String, String)>, Answer> {
    let empty = Map::new();
    let given = match body.get("inputs") {
        None => &empty,
        Some(Value::Object(given)) if given.len() <= MAX_INPUTS => given,
        Some(_) => return Err(Answer::invalid("Invalid inputs", &[])),
    };
    if let Some(unknown) = given.keys().find(|it| !workflow.inputs.contains(it)) {
        let message = format!("Unexpected inputs provided: [\"{unknown}\"]");
        return Err(Answer::invalid(&message, &[]));
    }
    workflow
        .inputs
        .iter()
        .map(|name| match given.get(name).and_then(Value::as_str) {
            Some(value) => Ok((name.clone(), value.to_owned())),
            None => {
                let message = format!("Required input '{name}' not provided");
                Err(Answer::invalid(&message, &[]))
            }
        })
        .collect()
}
