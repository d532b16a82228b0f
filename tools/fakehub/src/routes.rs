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
    App,
    Installations,
    OrgInstallation,
    RepoInstallation,
    AccessToken,
    JitConfig,
    Runners,
    Downloads,
    Runner,
    DeleteRunner,
    Job,
    Deliveries,
    Delivery,
    Redeliver,
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

/// Every route under GitHub's paths. Fixed words come before parameters.
pub const GITHUB_ROUTES: &[Route] = &[
    route("GET", "/app", Endpoint::App),
    route("GET", "/app/installations", Endpoint::Installations),
    route(
        "POST",
        "/app/installations/{installation_id}/access_tokens",
        Endpoint::AccessToken,
    ),
    route("GET", "/orgs/{org}/installation", Endpoint::OrgInstallation),
    route(
        "GET",
        "/repos/{owner}/{repo}/installation",
        Endpoint::RepoInstallation,
    ),
    route(
        "POST",
        "/orgs/{org}/actions/runners/generate-jitconfig",
        Endpoint::JitConfig,
    ),
    route(
        "POST",
        "/repos/{owner}/{repo}/actions/runners/generate-jitconfig",
        Endpoint::JitConfig,
    ),
    route("GET", "/orgs/{org}/actions/runners", Endpoint::Runners),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/runners",
        Endpoint::Runners,
    ),
    route(
        "GET",
        "/orgs/{org}/actions/runners/downloads",
        Endpoint::Downloads,
    ),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/runners/downloads",
        Endpoint::Downloads,
    ),
    route(
        "GET",
        "/orgs/{org}/actions/runners/{runner_id}",
        Endpoint::Runner,
    ),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/runners/{runner_id}",
        Endpoint::Runner,
    ),
    route(
        "DELETE",
        "/orgs/{org}/actions/runners/{runner_id}",
        Endpoint::DeleteRunner,
    ),
    route(
        "DELETE",
        "/repos/{owner}/{repo}/actions/runners/{runner_id}",
        Endpoint::DeleteRunner,
    ),
    route(
        "GET",
        "/repos/{owner}/{repo}/actions/jobs/{job_id}",
        Endpoint::Job,
    ),
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
];

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
pub fn find(method: &str, path: &str) -> Option<(Endpoint, Parameters)> {
    GITHUB_ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route.endpoint, matches(route.template, path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoint() {
        let check = |method: &str, path: &str, expect: Option<Endpoint>| {
            assert_eq!(find(method, path).map(|it| it.0), expect, "{method} {path}");
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
        check("GET", "/repos/o/r", None);
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
