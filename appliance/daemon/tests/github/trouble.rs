//! GitHub's bad days, as the client meets them.

use control::Hook;
use musher::github::{Dispatch, ErrorKind};
use musher::installations::Installations;
use musher::intake;
use musher::payload::{self, Payload, RunConclusion};
use serde_json::json;

use super::stage::{Stage, jit, org};

const JIT: &str = "/orgs/{org}/actions/runners/generate-jitconfig";
const RUNNERS: &str = "/orgs/{org}/actions/runners";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_minting_leaves_a_name_to_delete() {
    let stage = Stage::start().await;
    let client = stage.client();
    stage
        .fault(json!({ "kind": "lost_answer", "path": "generate-jitconfig" }))
        .await;
    let lost = client
        .generate_jitconfig(org(), jit("a"))
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    assert_eq!(stage.asked("POST", JIT), 1, "sent once");
    let taken = client
        .generate_jitconfig(org(), jit("a"))
        .await
        .unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    let left = client.find_runner(org(), "a".to_owned()).await.unwrap();
    client.delete_runner(org(), left.unwrap().id).await.unwrap();
    client.generate_jitconfig(org(), jit("b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_is_waited_for_and_nothing_is_sent_twice() {
    let stage = Stage::start().await;
    let client = stage.client();
    let slow = json!({ "kind": "slow", "delay_ms": 700, "path": "generate-jitconfig" });
    stage.fault(slow).await;
    let begun = std::time::Instant::now();
    client.generate_jitconfig(org(), jit("a")).await.unwrap();
    assert!(begun.elapsed().as_millis() >= 700);
    assert_eq!(stage.asked("POST", JIT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_outlast_a_short_outage() {
    let stage = Stage::start().await;
    let client = stage.client();
    client.list_runners(org()).await.unwrap();
    for fault in [
        json!({ "kind": "status", "status": 502, "times": 2 }),
        json!({ "kind": "lost_answer", "times": 2 }),
    ] {
        stage.fault(fault).await;
        client.list_runners(org()).await.unwrap();
    }
    stage
        .fault(json!({ "kind": "status", "status": 503, "times": 3 }))
        .await;
    let error = client.list_runners(org()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_limit_pauses_until_it_is_over() {
    let stage = Stage::start().await;
    let client = stage.client();
    client.list_runners(org()).await.unwrap();
    let before = stage.asked("GET", RUNNERS);
    stage
        .fault(json!({ "kind": "secondary_limit", "retry_after_s": 600 }))
        .await;
    for _ in 0..3 {
        let error = client.list_runners(org()).await.unwrap_err();
        let ErrorKind::RateLimited { retry_after_ms } = error.kind() else {
            panic!("{error}");
        };
        assert!((590_000..=600_000).contains(&retry_after_ms), "{error}");
    }
    assert_eq!(stage.asked("GET", RUNNERS), before, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_early_is_replaced() {
    let stage = Stage::start().await;
    let client = stage.client();
    client.list_runners(org()).await.unwrap();
    stage
        .own("POST", "/_fakehub/tokens/revoke", json!({}))
        .await;
    client.list_runners(org()).await.unwrap();
    stage
        .own("POST", "/_fakehub/tokens/revoke", json!({}))
        .await;
    let error = client
        .generate_jitconfig(org(), jit("a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    // The refused token is gone: a fresh try has a new one.
    client.generate_jitconfig(org(), jit("b")).await.unwrap();
}

/// A token may do what its installation might when it was made, so whoever grants
/// a permission need not wait until it expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_installation_is_asked_for_anew() {
    let stage = Stage::start().await;
    let client = stage.client();
    let ours = Installations::of(client.clone());
    let asked = async || {
        client.list_runners(org()).await.unwrap();
        let tokens = "/app/installations/{installation_id}/access_tokens";
        (
            stage.asked("GET", "/orgs/{org}/installation"),
            stage.asked("POST", tokens),
        )
    };
    assert_eq!((asked().await, asked().await), ((1, 1), (1, 1)));
    ours.are([1001].into());
    let body = json!({
        "action": "new_permissions_accepted",
        "installation": { "id": 1001, "account": { "login": "octo-org" } },
    });
    let hook = intake::read("installation", body.to_string().as_bytes(), &ours).unwrap();
    assert_eq!(hook, Hook::Other, "nothing for the core");
    assert!(!ours.is_foreign(Some(7)), "what is new is not foreign");
    assert_eq!(asked().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minting_goes_on_when_sweeps_have_used_the_hour() {
    let stage = Stage::with(super::stage::Set {
        limits: "rate_limit_per_hour = 40",
        ..Default::default()
    })
    .await;
    let client = stage.client();
    let sweep = client.background();
    let mut swept = 0;
    let held = loop {
        // Not conditional: each counts.
        match sweep.runner(org(), 7).await {
            Ok(_) => swept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(swept, 31, "a quarter of the hour is left");
    assert!(held.to_string().contains("kept for minting"), "{held}");
    for number in 0..9 {
        let request = jit(&format!("sled-{number}"));
        client.generate_jitconfig(org(), request).await.unwrap();
    }
    let error = client
        .generate_jitconfig(org(), jit("x"))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::RateLimited { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_change_costs_nothing() {
    let stage = Stage::with(super::stage::Set {
        limits: "rate_limit_per_hour = 40",
        ..Default::default()
    })
    .await;
    let client = stage.client();
    for _ in 0..60 {
        assert_eq!(client.list_runners(org()).await.unwrap(), []);
    }
    client.generate_jitconfig(org(), jit("a")).await.unwrap();
    assert_eq!(client.list_runners(org()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_looks_idle_and_a_job_that_was_stolen() {
    let stage = Stage::start().await;
    let client = stage.client();
    let demo = || "octo-org/demo".to_owned();
    let made = client.generate_jitconfig(org(), jit("a")).await.unwrap();
    let job = stage.job(json!(["self-hosted", "linux"])).await;
    {
        let mut state = stage.hub().state();
        let now_ms = stage.hub().now_ms();
        assert_eq!(state.take(made.runner_id, now_ms).map(|it| it.0), Some(job));
    }
    let seen = client.runner(org(), made.runner_id).await.unwrap().unwrap();
    assert!(seen.busy);
    let refused = client.delete_runner(org(), made.runner_id).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    stage
        .own("POST", "/_fakehub/busy-lies", json!({ "on": true }))
        .await;
    let seen = client.runner(org(), made.runner_id).await.unwrap().unwrap();
    assert!(!seen.busy, "actions/runner#4422");
    client.delete_runner(org(), made.runner_id).await.unwrap();
    let lost = client.find_job(demo(), job).await.unwrap().unwrap();
    assert!(lost.conclusion.is_some());

    let job = stage.job(json!(["self-hosted", "linux"])).await;
    let steal = format!("/_fakehub/jobs/{job}/steal");
    stage
        .own("POST", &steal, json!({ "runner_name": "stranger" }))
        .await;
    let taken = client.find_job(demo(), job).await.unwrap().unwrap();
    assert_eq!(taken.runner_name.as_deref(), Some("stranger"));
}

/// Its run is over before it had a job, so nothing but the run tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_github_cannot_begin() {
    let stage = Stage::with(super::stage::Set {
        events: r#"["workflow_job", "workflow_run"]"#,
        ..Default::default()
    })
    .await;
    let client = stage.client();
    let mode = json!({ "mode": "unreachable" });
    stage.own("POST", "/_fakehub/deliveries/mode", mode).await;
    let dispatch = Dispatch {
        repository: "octo-org/demo".to_owned(),
        workflow: "broken.yml".to_owned(),
        git_ref: "main".to_owned(),
        inputs: [("nonce".to_owned(), "n-1".to_owned())].into(),
    };
    let run = client.dispatch_workflow(dispatch).await.unwrap().unwrap();
    let jobs = client.run_jobs("octo-org/demo".to_owned(), run.id).await;
    assert_eq!(jobs.unwrap(), []);
    let log = client.deliveries(None).await.unwrap().entries;
    let entry = match log.as_slice() {
        [entry] => entry,
        others => panic!("{others:?}"),
    };
    let told = (entry.event.as_str(), entry.action.as_deref());
    assert_eq!(told, ("workflow_run", Some("completed")));
    let found = client.find_delivery(entry.id).await.unwrap().unwrap();
    let body = found.payload.unwrap();
    let Ok(Payload::WorkflowRun(told)) = payload::parse("workflow_run", body.as_bytes()) else {
        panic!("{body}");
    };
    assert_eq!(told.run_id, run.id);
    assert_eq!(told.html_url, Some(run.html_url));
    assert_eq!(told.conclusion, Some(RunConclusion::Failure));
    assert!(body.contains(r#""conclusion":"startup_failure""#), "{body}");
}
