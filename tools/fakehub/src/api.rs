//! GitHub's own endpoints: who may ask, and dispatch. It answers what GitHub
//! answers, and refuses what GitHub refuses; it never starts anything.

mod app;
mod deliveries;
mod runners;
#[cfg(test)]
mod tests;

use crate::answer::{Answer, Request};
use crate::config::{App, Installation, covers};
use crate::hub::Hub;
use crate::keys;
use crate::routes::{self, Endpoint, Parameters};
use crate::state::{Scope, Token};

const NOT_ACCESSIBLE: &str = "Resource not accessible by integration";

/// Answers one request to a GitHub path.
#[must_use]
pub fn handle(hub: &Hub, request: &Request) -> Answer {
    respond(hub, request)
        .unwrap_or_else(|refusal| refusal)
        .header(
            "x-github-request-id",
            crate::ids::hex(&crate::ids::random::<8>()),
        )
        .header("x-github-media-type", "github.v3; format=json")
}

fn respond(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    if request.user_agent.as_deref().is_none_or(str::is_empty) {
        return Err(Answer::error(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a \
             User-Agent header.",
        ));
    }
    let (endpoint, found) =
        routes::find(&request.method, &request.path).ok_or_else(Answer::not_found)?;
    match endpoint {
        Endpoint::App
        | Endpoint::Installations
        | Endpoint::OrgInstallation
        | Endpoint::RepoInstallation
        | Endpoint::AccessToken
        | Endpoint::Deliveries
        | Endpoint::Delivery
        | Endpoint::Redeliver => {
            let app = app_of(hub, request)?;
            for_app(hub, app, endpoint, &found, request)
        }
        Endpoint::JitConfig
        | Endpoint::Runners
        | Endpoint::Downloads
        | Endpoint::Runner
        | Endpoint::DeleteRunner
        | Endpoint::Job => {
            let caller = caller_of(hub, request)?;
            let answer = for_installation(hub, &caller, endpoint, &found, request);
            let limit = hub.config.limits.rate_limit_per_hour;
            Ok(answer
                .unwrap_or_else(|refusal| refusal)
                .header("x-ratelimit-limit", limit.to_string())
                .header("x-ratelimit-remaining", caller.remaining.to_string())
                .header(
                    "x-ratelimit-used",
                    limit.saturating_sub(caller.remaining).to_string(),
                )
                .header("x-ratelimit-reset", next_hour_s(hub.now_ms()).to_string())
                .header("x-ratelimit-resource", "core"))
        }
    }
}

fn for_app(
    hub: &Hub,
    app: &App,
    endpoint: Endpoint,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    match endpoint {
        Endpoint::App => Ok(app::show(hub, app)),
        Endpoint::Installations => Ok(app::installations(hub, app, request)),
        Endpoint::OrgInstallation => app::of_org(hub, app, found),
        Endpoint::RepoInstallation => app::of_repo(hub, app, found),
        Endpoint::AccessToken => app::access_token(hub, app, found, request),
        Endpoint::Deliveries => deliveries::list(hub, app, request),
        Endpoint::Delivery => deliveries::show(hub, app, found),
        Endpoint::Redeliver => deliveries::again(hub, app, found),
        Endpoint::JitConfig
        | Endpoint::Runners
        | Endpoint::Downloads
        | Endpoint::Runner
        | Endpoint::DeleteRunner
        | Endpoint::Job => Err(Answer::not_found()),
    }
}

fn for_installation(
    hub: &Hub,
    caller: &Caller<'_>,
    endpoint: Endpoint,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    match endpoint {
        Endpoint::Job => runners::job(hub, caller, found),
        Endpoint::JitConfig => {
            let scope = caller.scope(found, "write")?;
            runners::generate(hub, caller, scope, request)
        }
        Endpoint::DeleteRunner => {
            let scope = caller.scope(found, "write")?;
            runners::delete(hub, &scope, found)
        }
        Endpoint::Runners => Ok(runners::list(hub, &caller.scope(found, "read")?, request)),
        Endpoint::Runner => runners::show(hub, &caller.scope(found, "read")?, found),
        Endpoint::Downloads => {
            caller.scope(found, "read")?;
            Ok(runners::downloads(hub))
        }
        Endpoint::App
        | Endpoint::Installations
        | Endpoint::OrgInstallation
        | Endpoint::RepoInstallation
        | Endpoint::AccessToken
        | Endpoint::Deliveries
        | Endpoint::Delivery
        | Endpoint::Redeliver => Err(Answer::not_found()),
    }
}

/// The App that a token of its own names and proves.
fn app_of<'a>(hub: &'a Hub, request: &Request) -> Result<&'a App, Answer> {
    let token = request.credential().unwrap_or_default();
    let now_s = hub.now_ms().div_euclid(1_000);
    keys::verify(token, now_s, |issuer| {
        hub.app_by_issuer(issuer).map(|app| (&app.key, app))
    })
    .map_err(|error| {
        let status = if error == keys::TokenError::UnknownApp {
            404
        } else {
            401
        };
        Answer::error(status, &error.to_string())
    })
}

/// Who holds a live installation token.
struct Caller<'a> {
    installation: &'a Installation,
    token: Token,
    remaining: u64,
}

fn caller_of<'a>(hub: &'a Hub, request: &Request) -> Result<Caller<'a>, Answer> {
    if request.authorization.is_none() {
        return Err(Answer::error(401, "Requires authentication"));
    }
    let bad = || Answer::error(401, "Bad credentials");
    let now_ms = hub.now_ms();
    let mut state = hub.state();
    let token = request
        .credential()
        .and_then(|text| state.tokens.get(text))
        .cloned();
    let token = token
        .filter(|token| token.expires_ms > now_ms)
        .ok_or_else(bad)?;
    let (_, installation) = hub.installation(token.installation).ok_or_else(bad)?;
    let limit = hub.config.limits.rate_limit_per_hour;
    let Some(remaining) = state.count_request(installation.id, limit, now_ms) else {
        let message = format!(
            "API rate limit exceeded for installation ID {}.",
            installation.id
        );
        return Err(Answer::error(403, &message)
            .header("x-ratelimit-limit", limit.to_string())
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-reset", next_hour_s(now_ms).to_string()));
    };
    Ok(Caller {
        installation,
        token,
        remaining,
    })
}

fn next_hour_s(now_ms: i64) -> i64 {
    (now_ms.div_euclid(3_600_000) + 1) * 3_600
}

impl Caller<'_> {
    fn may(&self, permission: &str, level: &str) -> Result<(), Answer> {
        let granted = self.token.permissions.get(permission).map(String::as_str);
        if covers(granted, level) {
            return Ok(());
        }
        Err(Answer::error(403, NOT_ACCESSIBLE).header(
            "x-accepted-github-permissions",
            format!("{permission}={level}"),
        ))
    }

    /// The repository in a path: known to the installation and to the token,
    /// or it does not exist as far as the caller may know.
    fn repository(&self, found: &Parameters) -> Result<Scope, Answer> {
        let (owner, name) = (found.text("owner"), found.text("repo"));
        let ours = self.installation.account.eq_ignore_ascii_case(owner);
        let repository = self.installation.repository(name).filter(|_| ours);
        let allowed = |id: &u64| {
            self.token
                .repositories
                .as_ref()
                .is_none_or(|it| it.contains(id))
        };
        let repository = repository
            .filter(|it| allowed(&it.id))
            .ok_or_else(Answer::not_found)?;
        Ok(Scope::Repo {
            account: self.installation.account.clone(),
            repo: repository.name.clone(),
        })
    }

    /// The scope in a path, with the permission that GitHub documents for
    /// runners there: "Self-hosted runners" of an organization, or
    /// "Administration" of a repository.
    fn scope(&self, found: &Parameters, level: &str) -> Result<Scope, Answer> {
        let org = found.text("org");
        if org.is_empty() {
            let scope = self.repository(found)?;
            self.may("administration", level)?;
            return Ok(scope);
        }
        let own = self.installation.account.eq_ignore_ascii_case(org);
        if !own || self.installation.account_type != "Organization" {
            return Err(Answer::not_found());
        }
        self.may("organization_self_hosted_runners", level)?;
        Ok(Scope::Org {
            account: self.installation.account.clone(),
        })
    }
}

/// Cuts one page out of `all` and says where the others are (RFC 8288).
fn page<T>(hub: &Hub, request: &Request, all: Vec<T>) -> (Vec<T>, Option<String>) {
    let size = request.query_number("per_page", 30, 100);
    let number = request.query_number("page", 1, usize::MAX / 128);
    let more = all.len() > number * size;
    let cut = all
        .into_iter()
        .skip((number - 1) * size)
        .take(size)
        .collect();
    let base = format!("{}{}?per_page={size}", hub.urls.api, request.path);
    let link = more.then(|| format!("<{base}&page={}>; rel=\"next\"", number + 1));
    (cut, link)
}

fn linked(answer: Answer, link: Option<String>) -> Answer {
    match link {
        Some(link) => answer.header("link", link),
        None => answer,
    }
}
