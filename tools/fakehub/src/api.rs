//! GitHub's own endpoints: who may ask, and dispatch. It answers what GitHub
//! answers, and refuses what GitHub refuses; it never starts anything.

mod app;
mod deliveries;
mod labels;
mod manifests;
mod runners;
#[cfg(test)]
mod tests;
mod workflows;

use crate::answer::{Answer, Body, Request};
use crate::config::{App, Enterprise, Installation, RunnerGroup, covers};
use crate::hub::Hub;
use crate::keys;
use crate::routes::{self, Endpoint, Parameters, Who};
use crate::state::{Scope, Token};

pub use manifests::take_form;

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
    let (route, found) =
        routes::find(&request.method, &request.path).ok_or_else(Answer::not_found)?;
    *hub.state()
        .asked
        .entry((route.method, route.template))
        .or_default() += 1;
    let endpoint = route.endpoint;
    match endpoint.who() {
        Who::Anybody => match endpoint {
            Endpoint::Meta => Ok(meta(hub)),
            _ => manifests::convert(hub, &found),
        },
        Who::App => {
            let app = app_of(hub, request)?;
            for_app(hub, app, endpoint, &found, request)
        }
        Who::Account => {
            let caller = match found.text("enterprise") {
                "" => installation_of(hub, request)?,
                _ => owner_of(hub, request)?,
            };
            let answer = for_account(hub, &caller, endpoint, &found, request);
            let mut answer = answer.unwrap_or_else(|refusal| refusal);
            let mut remaining = caller.remaining;
            if tag(&mut answer, request) {
                // GitHub does not count what did not change.
                hub.state().uncount_request(caller.id());
                remaining += 1;
            }
            Ok(limits(answer, hub, remaining))
        }
    }
}

/// Gives a read its entity tag; true if the client has that already, and the
/// answer became 304.
fn tag(answer: &mut Answer, request: &Request) -> bool {
    let (Body::Json(body), 200, "GET") = (&answer.body, answer.status, request.method.as_str())
    else {
        return false;
    };
    let digest = crate::ids::hex(&crate::ids::sha256(body.to_string().as_bytes()));
    let etag = format!("W/\"{digest}\"");
    let same = request.if_none_match.as_deref() == Some(etag.as_str());
    if same {
        *answer = Answer::empty(304);
    }
    answer.headers.push(("etag", etag));
    same
}

fn limits(answer: Answer, hub: &Hub, remaining: u64) -> Answer {
    let limit = hub.config.limits.rate_limit_per_hour;
    answer
        .header("x-ratelimit-limit", limit.to_string())
        .header("x-ratelimit-remaining", remaining.to_string())
        .header(
            "x-ratelimit-used",
            limit.saturating_sub(remaining).to_string(),
        )
        .header("x-ratelimit-reset", next_hour_s(hub.now_ms()).to_string())
        .header("x-ratelimit-resource", "core")
}

/// What anybody may know; a server tells its release here.
fn meta(hub: &Hub) -> Answer {
    let mut body = serde_json::json!({ "verifiable_password_authentication": false });
    if let (Some(release), Some(map)) = (&hub.config.limits.server_release, body.as_object_mut()) {
        map.insert("installed_version".into(), release.as_str().into());
    }
    Answer::json(200, body)
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
        Endpoint::HookConfig => Ok(app::hook(app)),
        Endpoint::Deliveries => {
            let mut answer = deliveries::list(hub, app, request)?;
            tag(&mut answer, request);
            Ok(answer)
        }
        Endpoint::Delivery => deliveries::show(hub, app, found),
        Endpoint::Redeliver => deliveries::again(hub, app, found),
        // Endpoint::who says that no other is an App's.
        _ => Err(Answer::not_found()),
    }
}

fn for_account(
    hub: &Hub,
    caller: &Caller<'_>,
    endpoint: Endpoint,
    found: &Parameters,
    request: &Request,
) -> Result<Answer, Answer> {
    let place = |level| caller.place(found, level);
    let repository = |level| {
        let scope = caller.repository(found)?;
        caller.may("actions", level)?;
        Ok::<Scope, Answer>(scope)
    };
    match endpoint {
        Endpoint::InstallationRepositories => app::repositories_of(hub, caller, request),
        Endpoint::Repository => app::repository(hub, caller, found),
        Endpoint::JitConfig if !hub.config.limits.has_jit() => Err(Answer::not_found()),
        Endpoint::JitConfig => runners::generate(hub, &place("write")?, request),
        Endpoint::RegistrationToken => runners::token(hub, place("write")?.scope, true),
        Endpoint::RemoveToken => runners::token(hub, place("write")?.scope, false),
        Endpoint::Runners => Ok(runners::list(hub, &place("read")?.scope, request)),
        Endpoint::Runner => runners::show(hub, &place("read")?.scope, found),
        Endpoint::DeleteRunner => runners::delete(hub, &place("write")?.scope, found),
        Endpoint::Downloads => place("read").map(|_| runners::downloads(hub)),
        Endpoint::RunnerGroups => Ok(runners::groups(hub, &place("read")?, request)),
        Endpoint::Labels => labels::show(hub, &place("read")?.scope, found),
        Endpoint::AddLabels => labels::change(hub, &place("write")?.scope, found, request, false),
        Endpoint::SetLabels => labels::change(hub, &place("write")?.scope, found, request, true),
        Endpoint::ClearLabels => labels::clear(hub, &place("write")?.scope, found),
        Endpoint::RemoveLabel => labels::remove(hub, &place("write")?.scope, found),
        Endpoint::Job => runners::job(hub, &repository("read")?, found),
        Endpoint::Runs => workflows::runs(hub, &repository("read")?, request),
        Endpoint::RunJobs => workflows::jobs(hub, &repository("read")?, found, request),
        Endpoint::RerunFailed => workflows::rerun(hub, &repository("write")?, found),
        Endpoint::RerunJob => workflows::rerun_job(hub, &repository("write")?, found),
        Endpoint::Dispatch => workflows::dispatch(hub, &repository("write")?, found, request),
        // Endpoint::who says that no other is an account's.
        _ => Err(Answer::not_found()),
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

/// Who asks about an account.
struct Caller<'a> {
    party: Party<'a>,
    remaining: u64,
}

enum Party<'a> {
    /// Holds a live installation token.
    Installation(&'a Installation, Token),
    /// Holds an enterprise's classic token.
    Owner(&'a Enterprise),
}

/// Where runners belong, and the groups that they may be in.
struct Place<'a> {
    scope: Scope,
    groups: &'a [RunnerGroup],
}

fn bad_credentials() -> Answer {
    Answer::error(401, "Bad credentials")
}

/// The installation whose live token the request carries.
fn installation_of<'a>(hub: &'a Hub, request: &Request) -> Result<Caller<'a>, Answer> {
    if request.authorization.is_none() {
        return Err(Answer::error(401, "Requires authentication"));
    }
    let now_ms = hub.now_ms();
    let token = request
        .credential()
        .and_then(|text| hub.state().tokens.get(text).cloned());
    let token = token
        .filter(|token| token.expires_ms > now_ms)
        .ok_or_else(bad_credentials)?;
    let (_, installation) = hub
        .installation(token.installation)
        .ok_or_else(bad_credentials)?;
    counted(hub, Party::Installation(installation, token))
}

/// The enterprise whose classic token the request carries. Any other live
/// token is known, but not good for this.
fn owner_of<'a>(hub: &'a Hub, request: &Request) -> Result<Caller<'a>, Answer> {
    let Some(text) = request.credential() else {
        return Err(Answer::error(401, "Requires authentication"));
    };
    match hub.config.enterprises.iter().find(|it| it.token == text) {
        Some(enterprise) => counted(hub, Party::Owner(enterprise)),
        None if hub.state().tokens.contains_key(text) => Err(Answer::error(403, NOT_ACCESSIBLE)),
        None => Err(bad_credentials()),
    }
}

fn counted<'a>(hub: &'a Hub, party: Party<'a>) -> Result<Caller<'a>, Answer> {
    let mut caller = Caller {
        party,
        remaining: 0,
    };
    let (limit, now_ms) = (hub.config.limits.rate_limit_per_hour, hub.now_ms());
    match hub.state().count_request(caller.id(), limit, now_ms) {
        Some(remaining) => caller.remaining = remaining,
        None => {
            let message = format!(
                "API rate limit exceeded for installation ID {}.",
                caller.id()
            );
            return Err(limits(Answer::error(403, &message), hub, 0));
        }
    }
    Ok(caller)
}

fn next_hour_s(now_ms: i64) -> i64 {
    (now_ms.div_euclid(3_600_000) + 1) * 3_600
}

impl<'a> Caller<'a> {
    /// Whom requests are counted for.
    fn id(&self) -> u64 {
        match &self.party {
            Party::Installation(installation, _) => installation.id,
            Party::Owner(enterprise) => enterprise.id,
        }
    }

    fn installation(&self) -> Result<(&'a Installation, &Token), Answer> {
        match &self.party {
            Party::Installation(installation, token) => Ok((installation, token)),
            Party::Owner(_) => Err(Answer::not_found()),
        }
    }

    fn may(&self, permission: &str, level: &str) -> Result<(), Answer> {
        let (_, token) = self.installation()?;
        if covers(token.permissions.get(permission).map(String::as_str), level) {
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
        let (installation, token) = self.installation()?;
        let (owner, name) = (found.text("owner"), found.text("repo"));
        let ours = installation.account.eq_ignore_ascii_case(owner);
        let allowed = |id: &u64| token.repositories.as_ref().is_none_or(|it| it.contains(id));
        let repository = installation
            .repository(name)
            .filter(|it| ours && allowed(&it.id))
            .ok_or_else(Answer::not_found)?;
        Ok(Scope::Repo {
            account: installation.account.clone(),
            repo: repository.name.clone(),
        })
    }

    /// The place in a path, with the permission that GitHub documents for
    /// runners there: "Self-hosted runners" of an organization,
    /// "Administration" of a repository, or the scope of a classic token.
    fn place(&self, found: &Parameters, level: &str) -> Result<Place<'a>, Answer> {
        if let Party::Owner(enterprise) = &self.party {
            return owned(enterprise, found.text("enterprise"));
        }
        let (installation, _) = self.installation()?;
        let org = found.text("org");
        if org.is_empty() {
            let scope = self.repository(found)?;
            self.may("administration", level)?;
            // A repository has the account's default group only.
            let groups = installation.runner_groups.iter().position(|it| it.id == 1);
            let groups = groups.map_or(&[][..], |at| &installation.runner_groups[at..=at]);
            return Ok(Place { scope, groups });
        }
        let own = installation.account.eq_ignore_ascii_case(org);
        if !own || installation.account_type != "Organization" {
            return Err(Answer::not_found());
        }
        self.may("organization_self_hosted_runners", level)?;
        Ok(Place {
            scope: Scope::Org {
                account: installation.account.clone(),
            },
            groups: &installation.runner_groups,
        })
    }
}

fn owned<'a>(enterprise: &'a Enterprise, slug: &str) -> Result<Place<'a>, Answer> {
    if !enterprise.slug.eq_ignore_ascii_case(slug) {
        return Err(Answer::not_found());
    }
    let good = ["manage_runners:enterprise", "admin:enterprise"];
    if !enterprise
        .scopes
        .iter()
        .any(|it| good.contains(&it.as_str()))
    {
        let message = "You need the manage_runners:enterprise scope to perform this action.";
        return Err(Answer::error(403, message)
            .header("x-oauth-scopes", enterprise.scopes.join(", "))
            .header("x-accepted-oauth-scopes", good.join(", ")));
    }
    Ok(Place {
        scope: Scope::Enterprise {
            slug: enterprise.slug.clone(),
            organizations: enterprise.organizations.clone(),
        },
        groups: &enterprise.runner_groups,
    })
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
