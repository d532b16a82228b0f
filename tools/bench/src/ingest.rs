//! `log-ingest`: the shipped daemon reads 100,000 deliveries from the log of a
//! GitHub stand-in, page by page, fetches each one and commits it, as after
//! days without a way in. GitHub's limits are lifted here, so that what shows
//! is the daemon's own pace.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fakehub::ids;
use fakehub::state::{Delivery, Outcome};

use crate::Bench;
use crate::api::fakehub_config;
use crate::daemon::{APP, Daemon, make_key};
use crate::deliveries::Maker;
use crate::program::free_address;
use crate::summary::{Goal, Row};

/// Each job has two deliveries.
const JOBS: usize = 50_000;
const DELIVERIES: usize = 2 * JOBS;
/// Between two of them in GitHub's log: all lie within two days.
const GAP_MS: i64 = 1_700;
const LONGEST: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(500);
/// "Rate limits for the REST API", GitHub Docs.
const HOURLY: f64 = 5_000.0;
const MOST_MIB: f64 = 32.0;
const FETCH: (&str, &str) = ("GET", "/app/hook/deliveries/{delivery_id}");

/// `log-ingest` and `log-ingest-memory`.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let musher = bench.musher()?;
    let dir = bench.folder("log-ingest")?;
    make_key(&dir)?;
    let address = free_address()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the stand-in")?;
    let config = fakehub_config(&dir, &address.to_string(), "http://127.0.0.1:1/")?;
    let github = runtime.block_on(fakehub::start(config))?;
    let api_url = format!("http://{address}");
    let mut daemon = Daemon::start_at(&musher, &dir, &api_url, "pull")?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = daemon.program.resident_mib()?;
    fill(&github.hub);
    // The daemon looks every few seconds; the clock starts with its first look.
    let fetched = || github.hub.state().asked.get(&FETCH).copied().unwrap_or(0);
    while fetched() == 0 {
        daemon.program.alive()?;
        std::thread::sleep(LOOK);
    }
    let begun = Instant::now();
    let mut most: f64 = 0.0;
    loop {
        daemon.program.alive()?;
        most = most.max(daemon.program.resident_mib()?);
        let taken = daemon.taken(&musher)?;
        if taken == DELIVERIES as u64 {
            break;
        }
        ensure!(begun.elapsed() < LONGEST, "only {taken} are taken");
        std::thread::sleep(LOOK);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let per_second = DELIVERIES as f64 / elapsed;
    println!(
        "  {DELIVERIES} in {elapsed:.1} s, {per_second:.0} per second; {} fetched; {idle:.1} MiB before, {most:.1} at most",
        fetched()
    );
    let peer = "5,000 calls an hour, GitHub's limit";
    let allowed = HOURLY / 3600.0;
    let (rate, memory) = ((per_second, allowed, "deliveries/s"), (most, idle, "MiB"));
    Ok(vec![
        Row::new("log-ingest", rate, peer, Goal::Shown),
        Row::new(
            "log-ingest-memory",
            memory,
            "before the first",
            Goal::OursAtMost(MOST_MIB),
        ),
    ])
}

/// A log of deliveries that reached nobody.
fn fill(hub: &fakehub::Hub) {
    let mut maker = Maker::new();
    let first_ms = hub.now_ms() - GAP_MS * i64::try_from(DELIVERIES).unwrap_or(0);
    let actions = ["queued", "completed"];
    let payloads = (0..JOBS).flat_map(|_| actions.into_iter().zip(maker.payloads()));
    for ((action, body), number) in payloads.zip(0_i64..) {
        let delivered_ms = first_ms + GAP_MS * number;
        let delivery = Delivery {
            id: 0,
            guid: ids::guid(),
            app_id: APP,
            url: String::new(),
            event: "workflow_job".to_owned(),
            action: Some(action.to_owned()),
            installation_id: Some(1_001),
            repository_id: Some(7_001),
            delivered_ms,
            redelivery: false,
            request_headers: BTreeMap::new(),
            body,
            outcome: Outcome::default(),
        };
        let most = hub.config.limits.deliveries;
        hub.state().log_delivery(delivery, most, delivered_ms);
    }
}
