//! Jobs that no delivery and no log told of are found at GitHub, at a bounded
//! price.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::{
    BootImage, DeliveryResult, Event, Hook, Inventory, JobState, Limits, MintScope, PoolPolicy,
    PoolSpec, Reply, Scope, Source, runner_prefix,
};
use fakehub::state::Status;
use messages::{ApplianceId, Assurance, DeliveryKey, Digest, HubId, ImageRef};
use musher::agents::Wakers;
use musher::dispatch::DispatchConfig;
use musher::engine::{Clock, Engine, EngineConfig};
use musher::github::{self, ErrorKind};
use musher::intake;
use musher::keys::Keys;
use musher::reader::{Board, Fault};
use musher::store::Store;
use musher::sweep::{Places, Progress, Sweep};
use musher::vault::Vault;
use serde_json::json;

use super::stage::{Set, Stage, enterprise, jit, org, repo};

const RUNS: &str = "/repos/{owner}/{repo}/actions/runs";
const JOBS: &str = "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs";

const APPLIANCE: ApplianceId = ApplianceId([7; 4]);

pub(super) fn pool(public: &[&str]) -> PoolSpec {
    let digest = Digest([0; 32]);
    PoolSpec {
        name: "linux".into(),
        github: "main".into(),
        scope: Scope::Org("octo-org".into()),
        labels: vec!["linux".into()],
        image: BootImage {
            kernel: digest,
            initramfs: digest,
            rootfs: ImageRef {
                name: "image".into(),
                digest,
                bytes: 1,
            },
        },
        max_runtime_s: 60,
        min_assurance: Assurance::Claimed,
        policy: PoolPolicy::default(),
        group: None,
        public: public.iter().map(|name| (*name).to_owned()).collect(),
        acceptance: None,
    }
}

/// An appliance with one pool and no sleds, and its sweep.
async fn sweep(stage: &Stage, public: &[&str]) -> Sweep {
    sweep_for(stage, pool(public)).await
}

/// As [`sweep`], with another pool.
async fn sweep_for(stage: &Stage, pool: PoolSpec) -> Sweep {
    stage
        .own(
            "POST",
            "/_fakehub/deliveries/mode",
            json!({ "mode": "lost" }),
        )
        .await;
    let clock = Clock::start();
    let config = EngineConfig {
        appliance: APPLIANCE,
        limits: Limits::default(),
        clock,
        store: Store::open(&stage.path("musher.redb")).unwrap(),
    };
    let (engine, mut waiting) = config.load().unwrap();
    waiting.settle(Event::Started).unwrap();
    let mut places = Places::default();
    places.add(&pool);
    let inventory = Inventory {
        hubs: vec!["main".into()],
        pools: vec![pool],
        ..Inventory::default()
    };
    let applied = waiting.settle(Event::Inventory(inventory)).unwrap();
    assert_eq!(applied, Reply::Done(Ok(())));
    let keys = Keys::load(&stage.path("")).unwrap();
    let dispatcher = DispatchConfig {
        engine: engine.clone(),
        clock,
        vault: Vault::default(),
        wakers: Wakers::default(),
        receipts: Arc::new(keys.receipts),
        hubs: [(HubId(1), stage.client())].into(),
        drivers: Vec::new(),
        serial: BTreeMap::new(),
        logs: stage.path("logs"),
    };
    waiting.run(dispatcher.start()).unwrap();
    Sweep {
        hub: HubId(1),
        client: stage.client().background(),
        places,
        prefix: runner_prefix(APPLIANCE),
        installations: Arc::default(),
        engine,
        clock,
        board: Arc::new(Board::new("sweep")),
    }
}

async fn known(engine: &Engine) -> Vec<(u64, JobState)> {
    let jobs = engine.query(|state, _| {
        let jobs = state.jobs().map(|(id, job)| (id.number, job.state));
        jobs.collect()
    });
    jobs.await.unwrap()
}

async fn queue(stage: &Stage, repository: &str, labels: serde_json::Value) -> u64 {
    let body = json!({ "repo": repository, "labels": labels, "script": "true" });
    let made = stage.own("POST", "/_fakehub/jobs", body).await;
    made["id"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_log_holds_is_found_once() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &[]).await;
    let mut progress = Progress::default();
    let job = stage.job(json!(["self-hosted", "linux"])).await;
    let hosted = stage.job(json!(["ubuntu-latest"])).await;
    let open = queue(&stage, "octo-org/open", json!(["linux"])).await;
    assert!(stage.hub().state().deliveries.is_empty());
    sweep.look(&mut progress).await.unwrap();
    let queued = (job, JobState::Queued);
    assert_eq!(known(&sweep.engine).await, [queued], "not {hosted}, {open}");
    let health = sweep.board.health();
    assert_eq!((health.taken, health.backlog), (1, false));
    assert!(health.read_at.is_some() && health.problem.is_none());

    // Somebody who does not remember, such as the same after a restart.
    sweep.look(&mut Progress::default()).await.unwrap();
    assert_eq!(sweep.board.health().taken, 1);

    // Its way on is found likewise, until its run is over.
    let thief = json!({ "runner_name": "of-others" });
    stage
        .own("POST", &format!("/_fakehub/jobs/{job}/steal"), thief)
        .await;
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(known(&sweep.engine).await, [(job, JobState::InProgress)]);
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(sweep.board.health().taken, 2);
}

/// Nothing told of these jobs before they ran: each state in which the jobs of a
/// run in progress can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_progress_is_swept_for_its_jobs() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &[]).await;
    let mut made = Vec::new();
    for name in ["runs", "waits", "over"] {
        let body = json!({
            "repo": "octo-org/demo", "labels": ["linux"], "script": "true", "name": name,
            "run": made.first().map(|(_, run)| run),
        });
        let job = stage.own("POST", "/_fakehub/jobs", body).await;
        made.push((job["id"].as_u64().unwrap(), job["run_id"].as_u64().unwrap()));
    }
    let [runs, waits, over] = [0, 1, 2].map(|job: usize| made[job].0);
    let thief = json!({ "runner_name": "of-others" });
    stage
        .own("POST", &format!("/_fakehub/jobs/{runs}/steal"), thief)
        .await;
    stage
        .own("POST", &format!("/_fakehub/jobs/{over}/cancel"), json!({}))
        .await;
    {
        let (state, run) = (stage.hub().state(), made[0].1);
        assert_eq!(state.run_status(run), (Status::InProgress, None));
        assert!(state.deliveries.is_empty());
    }
    let mut progress = Progress::default();
    sweep.look(&mut progress).await.unwrap();
    let expect = [
        (runs, JobState::InProgress),
        (waits, JobState::Queued),
        (over, JobState::Completed),
    ];
    assert_eq!(known(&sweep.engine).await, expect);
    assert_eq!(stage.asked("GET", JOBS), 1, "one question tells of all");
    assert_eq!(sweep.board.health().taken, 3);
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(sweep.board.health().taken, 3, "each is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_repository_is_swept_where_a_pool_names_it() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &["octo-org/open"]).await;
    let open = queue(&stage, "octo-org/open", json!(["linux"])).await;
    sweep.look(&mut Progress::default()).await.unwrap();
    assert_eq!(known(&sweep.engine).await, [(open, JobState::Queued)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_delivery_told_is_not_told_again() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &[]).await;
    let job = stage.job(json!(["linux"])).await;
    let (client, name) = (stage.client(), "octo-org/demo".to_owned());
    let payload = client.find_job(name, job).await.unwrap().unwrap();
    let body = json!({
        "action": "queued",
        "workflow_job": {
            "id": job, "run_id": payload.run_id, "name": "build", "labels": ["linux"],
        },
        "repository": {
            "full_name": "octo-org/demo", "private": true, "owner": { "login": "octo-org" },
        },
    });
    let read = |installation: u64| {
        let mut body = body.clone();
        body["installation"] = json!({ "id": installation });
        let body = body.to_string();
        intake::read("workflow_job", body.as_bytes(), &sweep.installations).unwrap()
    };
    let delivery = Event::Delivery {
        key: DeliveryKey(1),
        hub: HubId(1),
        source: Source::Tunnel,
        hook: read(1001),
    };
    let answer = sweep.engine.submit(delivery).await.unwrap();
    assert_eq!(answer, Reply::Delivery(DeliveryResult::Queued));
    sweep.look(&mut Progress::default()).await.unwrap();
    assert_eq!(sweep.board.health().taken, 0);
    // By now it is known where the App is installed.
    assert!(matches!(read(1001), Hook::Job(_)));
    assert_eq!(read(7), Hook::Other);
    assert_eq!(known(&sweep.engine).await, [(job, JobState::Queued)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_price_is_bounded() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &[]).await;
    let mut progress = Progress::default();
    let requests = || stage.asked("GET", RUNS) + stage.asked("GET", JOBS);
    let counted = || stage.hub().state().requests.get(&1001).map_or(0, |it| it.1);
    // Nothing to do: two questions per repository, free once they are known.
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(requests(), 2);
    let before = counted();
    sweep.look(&mut progress).await.unwrap();
    assert_eq!((requests(), counted()), (4, before));
    // More runs than fit into an interval: the rest comes in the next.
    let mut jobs = Vec::new();
    for _ in 0..130 {
        jobs.push((stage.job(json!(["linux"])).await, JobState::Queued));
    }
    let before = requests();
    sweep.look(&mut progress).await.unwrap();
    assert!(requests() - before <= 100, "{}", requests() - before);
    assert!(sweep.board.health().backlog);
    assert!(known(&sweep.engine).await.len() < jobs.len());
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(known(&sweep.engine).await, jobs);
    assert!(!sweep.board.health().backlog);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minting_goes_on_when_the_hour_runs_out() {
    let set = Set {
        limits: "rate_limit_per_hour = 20",
        ..Set::default()
    };
    let stage = Stage::with(set).await;
    let sweep = sweep(&stage, &[]).await;
    let mut progress = Progress::default();
    for _ in 0..30 {
        stage.job(json!(["linux"])).await;
    }
    let fault = sweep.look(&mut progress).await.unwrap_err();
    let Fault::Github(error) = fault else {
        panic!("{fault}");
    };
    assert!(
        matches!(error.kind(), ErrorKind::RateLimited { retry_after_ms } if retry_after_ms > 0),
        "{error}"
    );
    let asked = stage.asked("GET", JOBS);
    sweep.look(&mut progress).await.unwrap_err();
    assert_eq!(stage.asked("GET", JOBS), asked, "it stops asking");
    let minter = sweep.client.clone();
    minter
        .generate_jitconfig(org(), jit("a"))
        .await
        .unwrap_err();
    let minter = stage.client();
    minter.generate_jitconfig(org(), jit("b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_closed_does_not_keep_others_out() {
    let stage = Stage::start().await;
    let sweep = sweep(&stage, &["octo-org/open"]).await;
    let open = queue(&stage, "octo-org/open", json!(["linux"])).await;
    let mut progress = Progress::default();
    stage
        .fault(json!({ "kind": "status", "status": 403, "path": "octo-org/demo/actions/runs" }))
        .await;
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(known(&sweep.engine).await, [(open, JobState::Queued)]);
    let health = sweep.board.health();
    assert_eq!(health.passed_over, 1);
    assert!(health.problem.is_some());
    sweep.look(&mut progress).await.unwrap();
    assert_eq!(sweep.board.health().problem, None, "it was read again");
}

/// What is left of these runners at GitHub after one look.
async fn left_of(
    stage: &Stage,
    pool: PoolSpec,
    at: &github::Scope,
    names: &[String],
) -> Vec<String> {
    let client = stage.client();
    for name in names {
        client
            .generate_jitconfig(at.clone(), jit(name))
            .await
            .unwrap();
    }
    // The second one's runner listens, so something may run on its machine.
    {
        let (mut state, now_ms) = (stage.hub().state(), stage.hub().now_ms());
        let listens = state.runners.values().find(|it| it.name == names[1]);
        let (id, secret) = listens.map(|it| (it.id, it.secret.clone())).unwrap();
        state.open_session(id, &secret, None, now_ms).unwrap();
    }
    let sweep = sweep_for(stage, pool).await;
    sweep.look(&mut Progress::default()).await.unwrap();
    let left = || -> Vec<String> {
        let state = stage.hub().state();
        state.runners.values().map(|it| it.name.clone()).collect()
    };
    let gone = async {
        while left().len() == names.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
    left()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_registered_is_deleted_at_each_scope() {
    let others = runner_prefix(ApplianceId([8; 4]));
    let ours = runner_prefix(APPLIANCE);
    let names = [
        format!("{ours}sled-01-17-1"),
        format!("{ours}sled-02-18-1"),
        format!("{others}sled-01-17-1"),
        "build-box".to_owned(),
    ];
    let org_wide = Scope::Org("octo-org".into());
    let of_repositories = PoolPolicy {
        mint_scope: MintScope::Repository,
        ..PoolPolicy::default()
    };
    let default = PoolPolicy::default;
    for (scope, policy, at) in [
        (org_wide.clone(), default(), org()),
        (Scope::Repo("octo-org/demo".into()), default(), repo()),
        (Scope::Enterprise("octo".into()), default(), enterprise()),
        (org_wide, of_repositories, repo()),
    ] {
        let stage = Stage::start().await;
        let pool = PoolSpec {
            scope,
            policy,
            ..pool(&[])
        };
        let left = left_of(&stage, pool, &at, &names).await;
        assert_eq!(
            left,
            names[1..],
            "{at}: one that listens and those of others stay"
        );
    }
}
