//! Every endpoint at every scope.

use std::collections::{BTreeMap, BTreeSet};

use fakehub::github_routes;
use musher::github::{
    Dispatch, DispatchedRun, ErrorKind, GithubClient, Registration, RunStatus, RunnerLabel,
    RunnerStatus, Scope,
};
use serde_json::json;

use super::stage::{APP, Stage, enterprise, jit, org, repo};

fn names(labels: &[RunnerLabel]) -> Vec<&str> {
    labels.iter().map(|label| label.name.as_str()).collect()
}

/// Runners, labels, tokens and downloads at one scope.
async fn runners(client: &GithubClient, scope: &Scope) {
    let made = client
        .generate_jitconfig(scope.clone(), jit("sled-1"))
        .await
        .unwrap();
    let taken = client
        .generate_jitconfig(scope.clone(), jit("sled-1"))
        .await;
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Conflict, "{scope}");
    // Three pages, with per_page at its most.
    for number in 0..230 {
        let name = format!("filler-{number}");
        client
            .generate_jitconfig(scope.clone(), jit(&name))
            .await
            .unwrap();
    }
    let all = client.list_runners(scope.clone()).await.unwrap();
    assert_eq!(all.len(), 231, "{scope}");
    let id = made.runner_id;
    let one = client.runner(scope.clone(), id).await.unwrap().unwrap();
    assert_eq!(
        (one.name.as_str(), one.status, one.busy),
        ("sled-1", RunnerStatus::Offline, false)
    );
    assert_eq!(all.iter().find(|it| it.id == id), Some(&one));
    let found = client.find_runner(scope.clone(), "sled-1".to_owned());
    assert_eq!(found.await.unwrap(), Some(one));
    assert_eq!(client.runner(scope.clone(), 7).await.unwrap(), None);

    let labels = client.labels(scope.clone(), id).await.unwrap();
    assert_eq!(names(&labels), ["self-hosted", "linux"]);
    let list = |labels: &[&str]| labels.iter().map(|it| (*it).to_owned()).collect();
    let labels = client.add_labels(scope.clone(), id, list(&["gpu"]));
    assert_eq!(
        names(&labels.await.unwrap()),
        ["self-hosted", "linux", "gpu"]
    );
    let labels = client.set_labels(scope.clone(), id, list(&["a b", "c"]));
    assert_eq!(
        names(&labels.await.unwrap()),
        ["self-hosted", "linux", "a b", "c"]
    );
    let labels = client.remove_label(scope.clone(), id, "a b".to_owned());
    assert_eq!(names(&labels.await.unwrap()), ["self-hosted", "linux", "c"]);
    let own = client.remove_label(scope.clone(), id, "linux".to_owned());
    assert_eq!(own.await.unwrap_err().kind(), ErrorKind::Invalid);
    let labels = client.clear_labels(scope.clone(), id).await.unwrap();
    assert_eq!(names(&labels), ["self-hosted", "linux"]);

    let token = client.registration_token(scope.clone()).await.unwrap();
    let remove = client.remove_token(scope.clone()).await.unwrap();
    assert_ne!(token.token, remove.token);
    assert!(token.expires_at_ms > 1_700_000_000_000);
    let downloads = client.runner_downloads(scope.clone()).await.unwrap();
    assert_eq!(downloads[0].architecture, "x64");
    assert_eq!(downloads[0].sha256.as_ref().map(String::len), Some(64));

    for runner in client.list_runners(scope.clone()).await.unwrap() {
        client
            .delete_runner(scope.clone(), runner.id)
            .await
            .unwrap();
    }
    client.delete_runner(scope.clone(), id).await.unwrap();
    assert!(client.list_runners(scope.clone()).await.unwrap().is_empty());
}

/// The App, its installation, its deliveries.
async fn app(stage: &Stage, client: &GithubClient) {
    let app = client.app().await.unwrap();
    assert_eq!((app.id, app.slug.as_str()), (APP, "sleds"));
    assert_eq!(app.events, ["workflow_job"]);
    for scope in [org(), repo()] {
        assert_eq!(client.installation(scope.clone()).await.unwrap(), 1001);
        let details = client.installation_details(scope).await.unwrap();
        assert_eq!(details.id, 1001);
        assert_eq!(
            details.permissions.get("actions").map(String::as_str),
            Some("write")
        );
    }
    client.installation(enterprise()).await.unwrap_err();
    let seen = client.installation_repositories(org()).await.unwrap();
    let seen: BTreeMap<&str, bool> = seen
        .iter()
        .map(|it| (it.full_name.as_str(), it.private))
        .collect();
    assert_eq!(
        seen,
        BTreeMap::from([("octo-org/demo", true), ("octo-org/open", false)])
    );
    let open = client.repository("octo-org/open".to_owned()).await.unwrap();
    assert!(!open.private);

    let hook = client.hook_config().await.unwrap();
    assert_eq!(hook.url, "http://127.0.0.1:9/api/webhook");
    let mode = json!({ "mode": "unreachable" });
    stage.own("POST", "/_fakehub/deliveries/mode", mode).await;
    stage.own("POST", "/_fakehub/ping", json!({})).await;
    let log = client.deliveries(None).await.unwrap();
    let entry = log.entries.first().expect("the ping is logged");
    assert_eq!((entry.event.as_str(), entry.is_answered()), ("ping", false));
    let whole = client.find_delivery(entry.id).await.unwrap().unwrap();
    assert!(whole.payload.is_some_and(|text| text.contains("zen")));
    client.redeliver(entry.id).await.unwrap();
    assert_eq!(client.deliveries(None).await.unwrap().entries.len(), 2);
}

fn accept() -> Dispatch {
    Dispatch {
        repository: "octo-org/demo".to_owned(),
        workflow: "accept.yml".to_owned(),
        git_ref: "main".to_owned(),
        inputs: BTreeMap::from([("nonce".to_owned(), "n-1".to_owned())]),
    }
}

/// A dispatch, its run, its job, a rerun.
async fn workflows(stage: &Stage, client: &GithubClient) {
    let demo = || "octo-org/demo".to_owned();
    let started = client.dispatch_workflow(accept()).await.unwrap();
    let unknown = Dispatch {
        git_ref: "other".to_owned(),
        ..accept()
    };
    let error = client.dispatch_workflow(unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let queued = client
        .workflow_runs(demo(), RunStatus::Queued)
        .await
        .unwrap();
    assert_eq!(queued.len(), 1);
    let run = queued[0].id;
    let named = DispatchedRun {
        id: run,
        html_url: queued[0].html_url.clone(),
    };
    assert_eq!(started, Some(named));
    assert_eq!(queued[0].event, "workflow_dispatch");
    let jobs = client.run_jobs(demo(), run).await.unwrap();
    assert_eq!(jobs[0].labels, ["self-hosted", "n-1"]);
    let job = jobs[0].job_id;
    assert_eq!(
        client.find_job(demo(), job).await.unwrap().as_ref(),
        Some(&jobs[0])
    );
    assert_eq!(client.find_job(demo(), 7).await.unwrap(), None);

    let error = client.rerun_failed_jobs(demo(), run).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("when its whole workflow run has ended"),
        "{error}"
    );
    let cancel = format!("/_fakehub/jobs/{job}/cancel");
    stage.own("POST", &cancel, json!({})).await;
    client.rerun_failed_jobs(demo(), run).await.unwrap();
    let again = client.run_jobs(demo(), run).await.unwrap();
    assert_eq!((again.len(), again[0].run_attempt), (1, 2));
    assert_ne!(again[0].job_id, job);
    let cancel = format!("/_fakehub/jobs/{}/cancel", again[0].job_id);
    stage.own("POST", &cancel, json!({})).await;
    client.rerun_job(demo(), again[0].job_id).await.unwrap();
    let third = client.run_jobs(demo(), run).await.unwrap();
    assert_eq!((third.len(), third[0].run_attempt), (1, 3));
    let over = client
        .workflow_runs(demo(), RunStatus::Completed)
        .await
        .unwrap();
    assert_eq!(over, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_at_every_scope() {
    let stage = Stage::start().await;
    let client = stage.client();
    for scope in [org(), repo(), enterprise()] {
        runners(&client, &scope).await;
    }
    for scope in [org(), enterprise()] {
        let groups = client.runner_groups(scope.clone()).await.unwrap();
        assert_eq!(groups.len(), 1);
        let group = client.runner_group(scope, "Default".to_owned()).await;
        assert!(!group.unwrap().allows_public_repositories);
    }
    client.runner_groups(repo()).await.unwrap_err();
    app(&stage, &client).await;
    workflows(&stage, &client).await;

    let seen: BTreeSet<_> = stage.hub().state().asked.keys().copied().collect();
    let left: Vec<_> = github_routes()
        .map(|route| (route.method, route.template))
        .filter(|route| !seen.contains(route))
        .collect();
    // Asked by old_servers_register_by_token, by manifest, and not at all.
    assert_eq!(
        left,
        [
            ("GET", "/meta"),
            ("POST", "/app-manifests/{code}/conversions"),
            ("GET", "/app/installations"),
        ]
    );
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_servers_register_by_token() {
    let stage = Stage::with(super::stage::Set {
        limits: r#"server_release = "3.9.14""#,
        ..Default::default()
    })
    .await;
    let client = stage.client();
    let places = [
        (org(), "octo-org"),
        (repo(), "octo-org/demo"),
        (enterprise(), "enterprises/octo"),
    ];
    for (scope, place) in places {
        let error = client.generate_jitconfig(scope.clone(), jit("a")).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
        let token = match client.register(scope.clone(), jit("a")).await.unwrap() {
            Registration::Token(token) => token,
            Registration::Jit(runner) => panic!("{scope}: {runner:?}"),
        };
        assert!(!format!("{token:?}").contains(token.token.expose()));
        // The token is good for what it is said to be good for.
        let register = async |place: &str| {
            let request = fakehub::answer::Request::new("POST", "/_runner/register")
                .bearer(token.token.expose())
                .json(&json!({ "name": "a", "labels": ["linux"], "place": place }));
            let side = fakehub::server::Side::Api;
            fakehub::server::route(stage.hub(), side, &request).await
        };
        assert_eq!(register("other").await.status, 404, "{scope}");
        let answer = register(place).await;
        assert_eq!(answer.status, 201, "{scope}");
        let found = client.find_runner(scope, "a".to_owned()).await.unwrap();
        assert_eq!(
            found.map(|it| Some(it.id)),
            Some(answer.value()["id"].as_u64())
        );
    }
}

/// A server that does not name the run refuses to be asked for it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_servers_start_workflows() {
    let stage = Stage::with(super::stage::Set {
        limits: r#"server_release = "3.20.4""#,
        ..Default::default()
    })
    .await;
    let client = stage.client();
    let started = client.dispatch_workflow(accept()).await.unwrap();
    assert_eq!(started, None);
    assert_eq!(stage.hub().state().runs.len(), 1);
    let wrong = Dispatch {
        git_ref: "other".to_owned(),
        ..accept()
    };
    let error = client.dispatch_workflow(wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_server_says_what_it_lacks() {
    let stage = Stage::with(super::stage::Set {
        limits: r#"server_release = "3.10.0""#,
        ..Default::default()
    })
    .await;
    let client = stage.client();
    let runner = client.register(org(), jit("a")).await.unwrap();
    assert!(matches!(runner, Registration::Jit(_)));
    let elsewhere = Scope::repo("octo-org/unknown").unwrap();
    client.register(elsewhere, jit("a")).await.unwrap_err();
    let mut request = jit("b");
    request.runner_group_id = 9;
    let error = client.register(org(), request).await.unwrap_err();
    assert!(
        error.to_string().contains("runner group is unknown"),
        "{error}"
    );
    assert_eq!(
        stage.asked("POST", "/orgs/{org}/actions/runners/registration-token"),
        0
    );
}
