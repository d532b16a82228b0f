//! The App's own endpoints: itself, its installations, their tokens.

use serde_json::{Map, Value, json};

use super::{Caller, linked, page};
use crate::answer::{Answer, Request};
use crate::config::{App, Installation, Permissions, Repository, covers};
use crate::hub::Hub;
use crate::ids::timestamp;
use crate::routes::Parameters;
use crate::shapes;
use crate::state::Token;

pub(super) fn show(hub: &Hub, app: &App) -> Answer {
    Answer::json(200, shapes::app(&hub.urls.api, app))
}

pub(super) fn installations(hub: &Hub, app: &App, request: &Request) -> Answer {
    let (cut, link) = page(hub, request, app.installations.iter().collect());
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|it| shapes::installation(&hub.urls.api, app, it))
        .collect();
    linked(Answer::json(200, json!(bodies)), link)
}

pub(super) fn of_org(hub: &Hub, app: &App, found: &Parameters) -> Result<Answer, Answer> {
    let org = found.text("org");
    let fits = |it: &&Installation| {
        it.account.eq_ignore_ascii_case(org) && it.account_type == "Organization"
    };
    let installation = app
        .installations
        .iter()
        .find(fits)
        .ok_or_else(Answer::not_found)?;
    Ok(Answer::json(
        200,
        shapes::installation(&hub.urls.api, app, installation),
    ))
}

pub(super) fn of_repo(hub: &Hub, app: &App, found: &Parameters) -> Result<Answer, Answer> {
    let (owner, repo) = (found.text("owner"), found.text("repo"));
    let fits = |it: &&Installation| {
        it.account.eq_ignore_ascii_case(owner) && it.repository(repo).is_some()
    };
    let installation = app
        .installations
        .iter()
        .find(fits)
        .ok_or_else(Answer::not_found)?;
    Ok(Answer::json(
        200,
        shapes::installation(&hub.urls.api, app, installation),
    ))
}

/// `GET /app/hook/config`.
pub(super) fn hook(app: &App) -> Answer {
    let mut body = json!({ "content_type": "json", "insecure_ssl": "0" });
    if let (Some(url), Value::Object(map)) = (&app.webhook_url, &mut body) {
        map.insert("url".into(), json!(url));
        map.insert("secret".into(), json!("********"));
    }
    Answer::json(200, body)
}

pub(super) fn repositories_of(
    hub: &Hub,
    caller: &Caller<'_>,
    request: &Request,
) -> Result<Answer, Answer> {
    let (installation, token) = caller.installation()?;
    let allowed = |id: &u64| token.repositories.as_ref().is_none_or(|it| it.contains(id));
    let all: Vec<&Repository> = installation
        .repositories
        .iter()
        .filter(|it| allowed(&it.id))
        .collect();
    let total = all.len();
    let (cut, link) = page(hub, request, all);
    let bodies: Vec<Value> = cut
        .into_iter()
        .map(|it| shapes::repository(&hub.urls.api, installation, it))
        .collect();
    Ok(linked(
        Answer::json(200, json!({ "total_count": total, "repositories": bodies })),
        link,
    ))
}

/// `GET /repos/{owner}/{repo}`.
pub(super) fn repository(
    hub: &Hub,
    caller: &Caller<'_>,
    found: &Parameters,
) -> Result<Answer, Answer> {
    caller.repository(found)?;
    caller.may("metadata", "read")?;
    let (installation, _) = caller.installation()?;
    let repository = installation
        .repository(found.text("repo"))
        .ok_or_else(Answer::not_found)?;
    let mut body = shapes::repository(&hub.urls.api, installation, repository);
    if let Value::Object(map) = &mut body {
        map.insert("network_count".into(), json!(0));
        map.insert("subscribers_count".into(), json!(0));
    }
    Ok(Answer::json(200, body))
}

pub(super) fn access_token(
    hub: &Hub,
    app: &App,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    let id = found.number("installation_id");
    let installation = app
        .installations
        .iter()
        .find(|it| Some(it.id) == id)
        .ok_or_else(Answer::not_found)?;
    let body = request.object()?;
    let permissions = permissions(installation, &body)?;
    let repositories = repositories(installation, &body)?;
    let now_ms = hub.now_ms();
    let life_ms = hub.config.limits.token_lifetime_s.saturating_mul(1_000);
    let expires_ms = now_ms.saturating_add(i64::try_from(life_ms).unwrap_or(i64::MAX));
    let token = Token {
        installation: installation.id,
        permissions: permissions.clone(),
        repositories: repositories
            .as_ref()
            .map(|them| them.iter().map(|it| it.id).collect()),
        expires_ms,
    };
    let text = hub
        .state()
        .add_token(token, now_ms)
        .map_err(|full| Answer::error(503, &full.to_string()))?;
    let mut answer = json!({
        "token": text,
        "expires_at": timestamp(expires_ms),
        "permissions": permissions,
        "repository_selection": "selected",
    });
    if let (Some(chosen), Value::Object(map)) = (repositories, &mut answer) {
        let bodies: Vec<Value> = chosen
            .into_iter()
            .map(|it| shapes::repository(&hub.urls.api, installation, it))
            .collect();
        map.insert("repositories".into(), json!(bodies));
    }
    Ok(Answer::json(201, answer))
}

/// GitHub's "validation error": 422 with objects that name the field.
fn invalid(message: &str, field: &str) -> Answer {
    let mut answer = Answer::error(422, message);
    if let crate::answer::Body::Json(Value::Object(body)) = &mut answer.body {
        let error = json!({ "resource": "Installation", "field": field, "code": "invalid" });
        body.insert("errors".into(), json!([error]));
    }
    answer
}

/// What the token may do: what was asked for, within what was granted.
fn permissions(
    installation: &Installation,
    body: &Map<String, Value>,
) -> Result<Permissions, Answer> {
    let Some(asked) = body.get("permissions") else {
        return Ok(installation.permissions.clone());
    };
    let asked: Permissions = serde_json::from_value(asked.clone())
        .map_err(|_| invalid("Validation Failed", "permissions"))?;
    let granted = |name: &str| installation.permissions.get(name).map(String::as_str);
    if asked
        .iter()
        .any(|(name, level)| !covers(granted(name), level))
    {
        return Err(invalid(
            "The permissions requested are not granted to this installation.",
            "permissions",
        ));
    }
    Ok(asked)
}

/// Which repositories the token is limited to, by name or by number.
fn repositories<'a>(
    installation: &'a Installation,
    body: &Map<String, Value>,
) -> Result<Option<Vec<&'a Repository>>, Answer> {
    let unknown = |field: &str| {
        let message = "There is at least one repository that does not exist or is not accessible \
                       to the parent installation.";
        invalid(message, field)
    };
    let mut chosen: Option<Vec<&Repository>> = None;
    if let Some(names) = body.get("repositories") {
        let names: Vec<String> = serde_json::from_value(names.clone())
            .map_err(|_| invalid("Validation Failed", "repositories"))?;
        for name in names {
            let found = installation
                .repository(&name)
                .ok_or_else(|| unknown("repositories"))?;
            chosen.get_or_insert_default().push(found);
        }
    }
    if let Some(ids) = body.get("repository_ids") {
        let ids: Vec<u64> = serde_json::from_value(ids.clone())
            .map_err(|_| invalid("Validation Failed", "repository_ids"))?;
        for id in ids {
            let found = installation.repositories.iter().find(|it| it.id == id);
            chosen
                .get_or_insert_default()
                .push(found.ok_or_else(|| unknown("repository_ids"))?);
        }
    }
    Ok(chosen)
}
