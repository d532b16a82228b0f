//! Runners of an organization or a repository, and jobs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Place, linked, page};
use crate::answer::{Answer, Request};
use crate::hub::{Hub, Urls};
use crate::ids::timestamp;
use crate::routes::Parameters;
use crate::shapes;
use crate::state::{Conclusion, NewRunner, Runner, Scope};

/// GitHub's limit for runner names.
const MAX_NAME: usize = 64;
/// GitHub's limit for one label.
const MAX_LABEL: usize = 256;
/// GitHub documents 1 to 100 labels.
const MAX_LABELS: usize = 100;

pub(super) fn generate(hub: &Hub, place: &Place<'_>, request: &Request) -> Result<Answer, Answer> {
    let wanted = Wanted::parse(&request.object()?)?;
    let scope = place.scope.clone();
    let group = place.groups.iter().find(|it| it.id == wanted.group);
    let group = group.ok_or_else(Answer::not_found)?;
    let takes_public = group.allows_public_repositories || matches!(scope, Scope::Repo { .. });
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    if state.name_taken(&scope, &wanted.name) {
        let message = format!(
            "Already exists - A runner with the name {} already exists.",
            wanted.name
        );
        return Err(Answer::error(409, &message));
    }
    let new = NewRunner {
        name: wanted.name,
        labels: wanted.labels,
        group: (group.id, group.name.clone()),
        takes_public,
        scope,
        work_folder: wanted.work_folder,
    };
    let runner = state
        .register(new, now_ms)
        .map_err(|full| Answer::error(503, &full.to_string()))?;
    Ok(Answer::json(
        201,
        json!({
            "runner": shapes::runner(runner, now_ms, false),
            "encoded_jit_config": jit_config(&hub.urls, runner),
        }),
    ))
}

/// A checked body of `generate-jitconfig`.
struct Wanted {
    name: String,
    group: u64,
    labels: Vec<String>,
    work_folder: String,
}

impl Wanted {
    fn parse(body: &Map<String, Value>) -> Result<Self, Answer> {
        let mut errors = Vec::new();
        let name = text(body, "name", MAX_NAME, &mut errors).unwrap_or_default();
        let group = match body.get("runner_group_id") {
            None => {
                errors.push("\"runner_group_id\" wasn't supplied.".to_owned());
                0
            }
            Some(value) => value.as_u64().unwrap_or_else(|| {
                errors.push(format!(
                    "For 'properties/runner_group_id', {value} is not an integer."
                ));
                0
            }),
        };
        let labels = labels(body, 1, &mut errors);
        let work_folder = match body.get("work_folder") {
            None => Some("_work".to_owned()),
            Some(_) => text(body, "work_folder", 1_024, &mut errors),
        };
        if errors.is_empty() {
            let work_folder = work_folder.unwrap_or_default();
            return Ok(Self {
                name,
                group,
                labels,
                work_folder,
            });
        }
        Err(Answer::invalid(
            &format!("Invalid request.\n\n{}", errors.join("\n")),
            &errors,
        ))
    }
}

fn text(
    body: &Map<String, Value>,
    field: &str,
    max: usize,
    errors: &mut Vec<String>,
) -> Option<String> {
    let problem = match body.get(field) {
        None => format!("\"{field}\" wasn't supplied."),
        Some(Value::String(text)) if text.trim().is_empty() => format!("\"{field}\" is empty."),
        Some(Value::String(text)) if text.chars().count() > max => {
            format!("\"{field}\" is longer than {max} characters.")
        }
        Some(Value::String(text)) => return Some(text.clone()),
        Some(other) => format!("For 'properties/{field}', {other} is not a string."),
    };
    errors.push(problem);
    None
}

/// The labels of a body; `least` is 0 where none is a wish too.
pub(super) fn labels(
    body: &Map<String, Value>,
    least: usize,
    errors: &mut Vec<String>,
) -> Vec<String> {
    let list = match body.get("labels") {
        None => {
            errors.push("\"labels\" wasn't supplied.".to_owned());
            return Vec::new();
        }
        Some(Value::Array(list)) => list,
        Some(other) => {
            errors.push(format!("For 'properties/labels', {other} is not an array."));
            return Vec::new();
        }
    };
    if !(least..=MAX_LABELS).contains(&list.len()) {
        errors.push(format!(
            "\"labels\" needs {least} to {MAX_LABELS} items, has {}.",
            list.len()
        ));
    }
    let mut labels: Vec<String> = Vec::new();
    for item in list {
        match item
            .as_str()
            .filter(|it| !it.trim().is_empty() && it.chars().count() <= MAX_LABEL)
        {
            Some(label) if labels.iter().any(|it| it.eq_ignore_ascii_case(label)) => {}
            Some(label) => labels.push(label.to_owned()),
            None => errors.push(format!("For 'properties/labels', {item} is not a label.")),
        }
    }
    labels
}

/// What the runner decodes: base64 of an object whose keys are the runner's
/// settings files and whose values are their content in base64. The file names
/// and keys are those of GitHub's runner; where it puts RSA parameters for its
/// private broker, this has the secret of fakehub's own protocol.
fn jit_config(urls: &Urls, runner: &Runner) -> String {
    let place = runner.scope.place();
    let server = format!("{}/_runner", urls.sled);
    let settings = json!({
        "AgentId": runner.id,
        "AgentName": runner.name,
        "DisableUpdate": true,
        "Ephemeral": true,
        "GitHubUrl": format!("https://github.com/{place}"),
        "PoolId": runner.group.0,
        "PoolName": runner.group.1,
        "ServerUrl": server,
        "ServerUrlV2": server,
        "UseV2Flow": true,
        "WorkFolder": runner.work_folder,
    });
    let credentials = json!({
        "Scheme": "OAuth",
        "Data": {
            "ClientId": crate::ids::guid(),
            "AuthorizationUrl": server,
            "RequireFipsCryptography": "True",
        },
    });
    let parameters = json!({ "secret": runner.secret });
    let encode = |value: &Value| STANDARD.encode(value.to_string());
    encode(&json!({
        ".runner": encode(&settings),
        ".credentials": encode(&credentials),
        ".credentials_rsaparams": encode(&parameters),
    }))
}

pub(super) fn list(hub: &Hub, scope: &Scope, request: &Request) -> Answer {
    let now_ms = hub.now_ms();
    let name = request.query.get("name");
    let state = hub.state();
    let all: Vec<&Runner> = state
        .runners
        .values()
        .filter(|it| it.scope.same(scope))
        .filter(|it| name.is_none_or(|name| it.name.eq_ignore_ascii_case(name)))
        .collect();
    let total = all.len();
    let (cut, link) = page(hub, request, all);
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|it| shapes::runner(it, now_ms, state.busy_lies))
        .collect();
    linked(
        Answer::json(200, json!({ "total_count": total, "runners": bodies })),
        link,
    )
}

pub(super) fn show(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = found.number("runner_id").ok_or_else(Answer::not_found)?;
    let state = hub.state();
    let runner = state.runner_in(scope, id).ok_or_else(Answer::not_found)?;
    let body = shapes::runner(runner, hub.now_ms(), state.busy_lies);
    Ok(Answer::json(200, body))
}

pub(super) fn delete(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = found.number("runner_id").ok_or_else(Answer::not_found)?;
    let mut state = hub.state();
    let runner = state.runner_in(scope, id).ok_or_else(Answer::not_found)?;
    let job = runner.job;
    if job.is_some() && !state.busy_lies {
        let message = format!(
            "Bad request - Runner \"{}\" is still running a job",
            runner.name
        );
        return Err(Answer::invalid(&message, &[]));
    }
    state.runners.remove(&id);
    if let Some(job) = job {
        // It looked idle: the job that it ran is lost with it.
        let ended = state.end(job, Conclusion::Failure, hub.now_ms());
        hub.announce(&mut state, ended);
    }
    Ok(Answer::empty(204))
}

/// `…/registration-token` and `…/remove-token`.
pub(super) fn token(hub: &Hub, scope: Scope, registers: bool) -> Result<Answer, Answer> {
    let (token, expires_ms) = hub
        .state()
        .permit(scope, registers, hub.now_ms())
        .map_err(|full| Answer::error(503, &full.to_string()))?;
    let body = json!({ "token": token, "expires_at": timestamp(expires_ms) });
    Ok(Answer::json(201, body))
}

/// `GET …/runner-groups` of an organization or enterprise.
pub(super) fn groups(hub: &Hub, place: &Place<'_>, request: &Request) -> Answer {
    let total = place.groups.len();
    let (cut, link) = page(hub, request, place.groups.iter().collect());
    let org = matches!(place.scope, Scope::Org { .. });
    let base = format!("{}{}", hub.urls.api, request.path);
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|group| {
            let mut body = json!({
                "id": group.id,
                "name": group.name,
                "visibility": "all",
                "default": group.id == 1,
                "runners_url": format!("{base}/{}/runners", group.id),
                "allows_public_repositories": group.allows_public_repositories,
                "restricted_to_workflows": false,
                "selected_workflows": [],
            });
            if let (true, Value::Object(map)) = (org, &mut body) {
                map.insert("inherited".into(), json!(false));
            }
            body
        })
        .collect();
    linked(
        Answer::json(
            200,
            json!({ "total_count": total, "runner_groups": bodies }),
        ),
        link,
    )
}

pub(super) fn downloads(hub: &Hub) -> Answer {
    let offered = hub.runner().into_iter().map(|runner| {
        json!({
            "os": "linux",
            "architecture": "x64",
            "download_url": format!("{}/_download/{}", hub.urls.api, runner.filename),
            "filename": runner.filename,
            "sha256_checksum": runner.sha256,
        })
    });
    Answer::json(200, json!(offered.collect::<Vec<_>>()))
}

pub(super) fn job(hub: &Hub, scope: &Scope, found: &Parameters) -> Result<Answer, Answer> {
    let id = found.number("job_id").ok_or_else(Answer::not_found)?;
    let state = hub.state();
    let job = state
        .jobs
        .get(&id)
        .filter(|job| scope.contains(&job.account, &job.repo));
    Ok(Answer::json(
        200,
        shapes::job(&hub.urls.api, job.ok_or_else(Answer::not_found)?),
    ))
}
