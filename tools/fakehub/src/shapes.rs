//! JSON bodies in the shape of GitHub's: accounts, repositories, Apps,
//! runners. Only values go in; nothing is looked up.

mod events;
mod runs;

use serde_json::{Map, Value, json};

pub use events::{job, ping, workflow_job};
pub use runs::{run, workflow_run};

use events::signed_off;

use crate::config::{App, Installation, Repository};
use crate::ids::timestamp;
use crate::state::{Delivery, Runner};

/// Web pages of accounts and repositories; nobody fetches them.
pub(crate) const HTML: &str = "https://github.com";
/// Creation time of everything configured: 2024-01-01.
const SINCE_MS: i64 = 1_704_067_200_000;

/// Opaque id, base64 as GitHub's are.
fn node_id(kind: &str, id: u64) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("0{}:{kind}{id}", kind.len()))
}

/// A "simple user": organizations and users alike.
#[must_use]
pub fn account(api: &str, login: &str, id: u64, kind: &str) -> Value {
    let user = format!("{api}/users/{login}");
    json!({
        "login": login,
        "id": id,
        "node_id": node_id(kind, id),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "gravatar_id": "",
        "url": user,
        "html_url": format!("{HTML}/{login}"),
        "followers_url": format!("{user}/followers"),
        "following_url": format!("{user}/following{{/other_user}}"),
        "gists_url": format!("{user}/gists{{/gist_id}}"),
        "starred_url": format!("{user}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{user}/subscriptions"),
        "organizations_url": format!("{user}/orgs"),
        "repos_url": format!("{user}/repos"),
        "events_url": format!("{user}/events{{/privacy}}"),
        "received_events_url": format!("{user}/received_events"),
        "type": kind,
        "user_view_type": "public",
        "site_admin": false,
    })
}

fn owner(api: &str, installation: &Installation) -> Value {
    account(
        api,
        &installation.account,
        installation.account_id,
        &installation.account_type,
    )
}

/// The `organization` of a webhook.
#[must_use]
pub fn organization(api: &str, installation: &Installation) -> Value {
    let (login, id) = (&installation.account, installation.account_id);
    let org = format!("{api}/orgs/{login}");
    json!({
        "login": login,
        "id": id,
        "node_id": node_id("Organization", id),
        "url": org,
        "repos_url": format!("{org}/repos"),
        "events_url": format!("{org}/events"),
        "hooks_url": format!("{org}/hooks"),
        "issues_url": format!("{org}/issues"),
        "members_url": format!("{org}/members{{/member}}"),
        "public_members_url": format!("{org}/public_members{{/member}}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "description": null,
    })
}

/// A repository as in webhooks and in token answers.
#[must_use]
pub fn repository(api: &str, installation: &Installation, repository: &Repository) -> Value {
    let full = format!("{}/{}", installation.account, repository.name);
    let url = format!("{api}/repos/{full}");
    let mut body = json!({
        "id": repository.id,
        "node_id": node_id("Repository", repository.id),
        "name": repository.name,
        "full_name": full,
        "private": repository.private,
        "visibility": if repository.private { "private" } else { "public" },
        "owner": owner(api, installation),
        "html_url": format!("{HTML}/{full}"),
        "description": null,
        "fork": false,
        "url": url,
        "created_at": timestamp(SINCE_MS),
        "updated_at": timestamp(SINCE_MS),
        "pushed_at": timestamp(SINCE_MS),
        "git_url": format!("git://github.com/{full}.git"),
        "ssh_url": format!("git@github.com:{full}.git"),
        "clone_url": format!("{HTML}/{full}.git"),
        "svn_url": format!("{HTML}/{full}"),
        "homepage": null,
        "language": null,
        "license": null,
        "mirror_url": null,
        "default_branch": "main",
        "topics": [],
        "archived": false,
        "disabled": false,
        "is_template": false,
        "allow_forking": true,
        "web_commit_signoff_required": false,
        "has_issues": true,
        "has_projects": true,
        "has_downloads": true,
        "has_wiki": true,
        "has_pages": false,
        "has_discussions": false,
    });
    if let Value::Object(map) = &mut body {
        add_counts(map);
        add_addresses(map, &url);
    }
    body
}

fn add_counts(map: &mut Map<String, Value>) {
    for name in [
        "size",
        "stargazers_count",
        "watchers_count",
        "forks_count",
        "open_issues_count",
        "forks",
        "open_issues",
        "watchers",
    ] {
        map.insert(name.into(), json!(0));
    }
}

/// GitHub's URI templates: the name before `_url`, and what follows the
/// repository's own address.
fn add_addresses(map: &mut Map<String, Value>, url: &str) {
    for (name, tail) in [
        ("archive", "/{archive_format}{/ref}"),
        ("assignees", "/assignees{/user}"),
        ("blobs", "/git/blobs{/sha}"),
        ("branches", "/branches{/branch}"),
        ("collaborators", "/collaborators{/collaborator}"),
        ("comments", "/comments{/number}"),
        ("commits", "/commits{/sha}"),
        ("compare", "/compare/{base}...{head}"),
        ("contents", "/contents/{+path}"),
        ("contributors", "/contributors"),
        ("deployments", "/deployments"),
        ("downloads", "/downloads"),
        ("events", "/events"),
        ("forks", "/forks"),
        ("git_commits", "/git/commits{/sha}"),
        ("git_refs", "/git/refs{/sha}"),
        ("git_tags", "/git/tags{/sha}"),
        ("hooks", "/hooks"),
        ("issue_comment", "/issues/comments{/number}"),
        ("issue_events", "/issues/events{/number}"),
        ("issues", "/issues{/number}"),
        ("keys", "/keys{/key_id}"),
        ("labels", "/labels{/name}"),
        ("languages", "/languages"),
        ("merges", "/merges"),
        ("milestones", "/milestones{/number}"),
        ("notifications", "/notifications{?since,all,participating}"),
        ("pulls", "/pulls{/number}"),
        ("releases", "/releases{/id}"),
        ("stargazers", "/stargazers"),
        ("statuses", "/statuses/{sha}"),
        ("subscribers", "/subscribers"),
        ("subscription", "/subscription"),
        ("tags", "/tags"),
        ("teams", "/teams"),
        ("trees", "/git/trees{/sha}"),
    ] {
        map.insert(format!("{name}_url"), json!(format!("{url}{tail}")));
    }
}

/// `GET /app`.
#[must_use]
pub fn app(api: &str, app: &App) -> Value {
    json!({
        "id": app.app_id,
        "slug": app.slug,
        "client_id": app.client_id,
        "node_id": node_id("Integration", app.app_id),
        "owner": account(api, "fakehub", 1, "Organization"),
        "name": app.slug,
        "description": "",
        "external_url": "https://example.org",
        "html_url": format!("{HTML}/apps/{}", app.slug),
        "created_at": timestamp(SINCE_MS),
        "updated_at": timestamp(SINCE_MS),
        "permissions": app.permissions,
        "events": app.events,
        "installations_count": app.installations.len(),
    })
}

/// One installation.
#[must_use]
pub fn installation(api: &str, app: &App, installation: &Installation) -> Value {
    let id = installation.id;
    json!({
        "id": id,
        "account": owner(api, installation),
        "repository_selection": "selected",
        "access_tokens_url": format!("{api}/app/installations/{id}/access_tokens"),
        "repositories_url": format!("{api}/installation/repositories"),
        "html_url": format!(
            "{HTML}/organizations/{}/settings/installations/{id}", installation.account
        ),
        "app_id": app.app_id,
        "client_id": app.client_id,
        "app_slug": app.slug,
        "target_id": installation.account_id,
        "target_type": installation.account_type,
        "permissions": installation.permissions,
        "events": app.events,
        "created_at": timestamp(SINCE_MS),
        "updated_at": timestamp(SINCE_MS),
        "single_file_name": null,
        "has_multiple_single_files": false,
        "single_file_paths": [],
        "suspended_by": null,
        "suspended_at": null,
    })
}

/// A self-hosted runner; `looks_idle` hides that it runs a job.
#[must_use]
pub fn runner(runner: &Runner, now_ms: i64, looks_idle: bool) -> Value {
    json!({
        "id": runner.id,
        "runner_group_id": runner.group.0,
        "name": runner.name,
        // GitHub knows the system only once the runner connected.
        "os": if runner.version.is_some() { "Linux" } else { "unknown" },
        "status": runner.status(now_ms),
        "busy": runner.job.is_some() && !looks_idle,
        "labels": labels(&runner.labels),
        "ephemeral": true,
        "version": runner.version,
    })
}

/// The labels of a runner.
#[must_use]
pub fn labels(labels: &[String]) -> Vec<Value> {
    labels.iter().zip(1_u64..).map(label).collect()
}

/// Whether a label is one of GitHub's own.
#[must_use]
pub fn is_own_label(name: &str) -> bool {
    const OWN: [&str; 7] = [
        "self-hosted",
        "linux",
        "windows",
        "macos",
        "x64",
        "arm",
        "arm64",
    ];
    OWN.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn label((name, id): (&String, u64)) -> Value {
    let kind = if is_own_label(name) {
        "read-only"
    } else {
        "custom"
    };
    json!({ "id": id, "name": name, "type": kind })
}

/// The App that a manifest made, without its secrets.
#[must_use]
pub fn made_app(api: &str, id: u64, slug: &str, manifest: &Value) -> Value {
    json!({
        "id": id,
        "slug": slug,
        "client_id": format!("Iv23li{id:014}"),
        "node_id": node_id("Integration", id),
        "owner": account(api, "fakehub", 1, "Organization"),
        "name": slug,
        "description": manifest["description"],
        "external_url": manifest["url"],
        "html_url": format!("{HTML}/apps/{slug}"),
        "created_at": timestamp(SINCE_MS),
        "updated_at": timestamp(SINCE_MS),
        "permissions": manifest["default_permissions"],
        "events": manifest["default_events"],
        "installations_count": 0,
    })
}

/// An entry of the delivery log; `whole` adds request and answer.
#[must_use]
pub fn delivery(delivery: &Delivery, whole: bool) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a duration below the ten second limit"
    )]
    let duration_s = delivery.outcome.duration_ms as f64 / 1_000.0;
    let mut body = json!({
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": timestamp(delivery.delivered_ms),
        "redelivery": delivery.redelivery,
        "duration": duration_s,
        "status": delivery.outcome.status,
        "status_code": delivery.outcome.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": null,
    });
    if let (true, Value::Object(map)) = (whole, &mut body) {
        let payload: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        map.insert("url".into(), json!(delivery.url));
        map.insert(
            "request".into(),
            json!({ "headers": delivery.request_headers, "payload": payload }),
        );
        map.insert(
            "response".into(),
            json!({
                "headers": delivery.outcome.response_headers,
                "payload": delivery.outcome.response_body,
            }),
        );
    }
    body
}
