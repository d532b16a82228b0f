//! The table of GitHub's endpoints that are served, and the matching of paths.
//! A route that is not in the table cannot be served: the conformance test
//! walks the same table.

/// An endpoint of GitHub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each is named as GitHub's operation in the table below"
)]
pub enum Endpoint {
    Meta,
    ConvertManifest,
    App,
    Installations,
    OrgInstallation,
    RepoInstallation,
    AccessToken,
    HookConfig,
    Deliveries,
    Delivery,
    Redeliver,
    InstallationRepositories,
    Repository,
    JitConfig,
    RegistrationToken,
    RemoveToken,
    Runners,
    Downloads,
    Runner,
    DeleteRunner,
    Labels,
    AddLabels,
    SetLabels,
    ClearLabels,
    RemoveLabel,
    RunnerGroups,
    Job,
    Runs,
    RunJobs,
    RerunFailed,
    RerunJob,
    Dispatch,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody has to be proved.
    Anybody,
    /// The App, by a token that it signed.
    App,
    /// An installation of an App, or an enterprise's owner.
    Account,
}

impl Endpoint {
    /// Who may ask.
    #[must_use]
    pub fn who(self) -> Who {
        match self {
            Self::Meta | Self::ConvertManifest => Who::Anybody,
            Self::App
            | Self::Installations
            | Self::OrgInstallation
            | Self::RepoInstallation
            | Self::AccessToken
            | Self::HookConfig
            | Self::Deliveries
            | Self::Delivery
            | Self::Redeliver => Who::App,
            Self::InstallationRepositories
            | Self::Repository
            | Self::JitConfig
            | Self::RegistrationToken
            | Self::RemoveToken
            | Self::Runners
            | Self::Downloads
            | Self::Runner
            | Self::DeleteRunner
            | Self::Labels
            | Self::AddLabels
            | Self::SetLabels
            | Self::ClearLabels
            | Self::RemoveLabel
            | Self::RunnerGroups
            | Self::Job
            | Self::Runs
            | Self::RunJobs
            | Self::RerunFailed
            | Self::RerunJob
            | Self::Dispatch => Who::Account,
        }
    }
}

/// One served route, written as in GitHub's OpenAPI description.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Upper-case method.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub template: &'static str,
    /// What it does.
    pub endpoint: Endpoint,
}

const fn route(method: &'static str, template: &'static str, endpoint: Endpoint) -> Route {
    Route {
        method,
        template,
        endpoint,
    }
}

/// The same route of an organization, a repository and an enterprise.
macro_rules! scopes {
    ($($method:literal $tail:literal $endpoint:ident),* $(,)?) => {
        &[$(
            route($method, concat!("/orgs/{org}/actions", $tail), Endpoint::$endpoint),
            route($method, concat!("/repos/{owner}/{repo}/actions", $tail), Endpoint::$endpoint),
            route($method, concat!("/enterprises/{enterprise}/actions", $tail), Endpoint::$endpoint),
        )*]
    };
}

/// Routes of runners. Fixed words come before parameters.
const RUNNERS: &[Route] = scopes![
    "POST" "/runners/generate-jitconfig" JitConfig,
    "POST" "/runners/registration-token" RegistrationToken,
    "POST" "/runners/remove-token" RemoveToken,
    "GET" "/runners" Runners,
    "GET" "/runners/downloads" Downloads,
    "GET" "/runners/{runner_id}" Runner,
    "DELETE" "/runners/{runner_id}" DeleteRunner,
    "GET" "/runners/{runner_id}/labels" Labels,
    "POST" "/runners/{runner_id}/labels" AddLabels,
    "PUT" "/runners/{runner_id}/labels" SetLabels,
    "DELETE" "/runners/{runner_id}/labels" ClearLabels,
    "DELETE" "/runners/{runner_id}/labels/{name}" RemoveLabel,
];

/// Every other route.
const OTHERS: &[Route] = &[
    route("GET", "/meta", Endpoint::Meta),
    route(
        "POST",
        "/app-manifests/{code}/conversions",
        Endpoint::ConvertManifest,
    ),
    route("GET", "/app", Endpoint::App),
    route("GET", "/app/installations", Endpoint::Installations),
    route(
        "POST",
        "/app/installations/{installation_id}/access_tokens",
        Endpoint::AccessToken,
    ),
    route("GET", "/app/hook/config", Endpoint::HookConfig),
    route("GET", "/app/hook/deliveries", Endpoint::Deliveries),
    route(
        "GET",
        "/app/hook/deliveries/{delivery_id}",
        Endpoint::Delivery,
    ),
    route(
        "POST",
        "/app/hook/deliveries/{delivery_id}/attempts",
        Endpoint::Redeliver,
    ),
    route("GET", "/orgs/{org}/installation", Endpoint::OrgInstallation),
    route(
        "GET",
        "/repos/{owner}/{repo}/installation",
        Endpoint::RepoInstallation,
    ),
    route(
        "GET",
        "/installation/repositories",
        Endpoint::InstallationRepositories,
    ),
    route("GET", "/repos/{owner}/{repo}", Endpoint::Repository),
    route(
        "GET",
        "/orgs/{org}/actions/runner-groups",
        Endpoint::RunnerGroups,
    ),
    route(
        "GET",
        "/enterprises/{enterprise}/actions/runner-groups",
        Endpoint::RunnerGroups,
    ),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/jobs/{job_id}",
        Endpoint::Job,
    ),
    route(
        "POST",
        "/repos/{owner}/{repo}/actions/jobs/{job_id}/rerun",
        Endpoint::RerunJob,
    ),
    route("GET", "/repos/{owner}/{repo}/actions/runs", Endpoint::Runs),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs",
        Endpoint::RunJobs,
    ),
    route(
        "POST",
        "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs",
        Endpoint::RerunFailed,
    ),
    route(
        "POST",
        "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
        Endpoint::Dispatch,
    ),
];

/// Every route under GitHub's paths.
pub fn github_routes() -> impl Iterator<Item = &'static Route> {
    OTHERS.iter().chain(RUNNERS)
}

/// Parameters of a matched path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// The value of a parameter, empty when the template has no such one.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map_or("", |(_, value)| value)
    }

    /// The value as a number, when it is one.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}

/// Matches `path` with a template.
#[must_use]
pub fn matches(template: &'static str, path: &str) -> Option<Parameters> {
    let mut found = Vec::new();
    let mut words = path.split('/');
    for part in template.split('/') {
        let word = words.next()?;
        match part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        {
            Some(name) if !word.is_empty() => {
                found.push((name, crate::answer::percent_decoded(word)));
            }
            Some(_) => return None,
            None if part == word => {}
            None => return None,
        }
    }
    words.next().is_none().then_some(Parameters(found))
}

/// The route for a request.
#[must_use]
pub fn find(method: &str, path: &str) -> Option<(&'static Route, Parameters)> {
    github_routes()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route, matches(route.template, path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoint() {
        let check = |method: &str, path: &str, expect: Option<Endpoint>| {
            assert_eq!(
                find(method, path).map(|it| it.0.endpoint),
                expect,
                "{method} {path}"
            );
        };
        check("GET", "/app", Some(Endpoint::App));
        check("POST", "/app", None);
        check(
            "GET",
            "/orgs/o/actions/runners/downloads",
            Some(Endpoint::Downloads),
        );
        check("GET", "/orgs/o/actions/runners/7", Some(Endpoint::Runner));
        check(
            "DELETE",
            "/repos/o/r/actions/runners/7",
            Some(Endpoint::DeleteRunner),
        );
        check("GET", "/orgs//actions/runners", None);
        check("GET", "/orgs/o/actions/runners/7/more", None);
        check("GET", "/repos/o/r", Some(Endpoint::Repository));
        check(
            "DELETE",
            "/enterprises/e/actions/runners/7/labels/gpu",
            Some(Endpoint::RemoveLabel),
        );
        check("GET", "/repos/o/r/actions/runner-groups", None);
    }

    #[test]
    fn parameters_are_decoded() {
        let (_, found) = find("GET", "/orgs/octo%2Dorg/actions/runners/7").expect("a route");
        assert_eq!(
            (found.text("org"), found.number("runner_id")),
            ("octo-org", Some(7))
        );
        assert_eq!((found.text("none"), found.number("org")), ("", None));
    }
}
