//! `api-webhook` and `api-pull`: how often GitHub's API is called for a job.
//!
//! A rack of 40 sleds runs jobs of fakehub at a steady pace: real client, log
//! reader and dispatcher, agents on the wire, runners that take their jobs at
//! fakehub. fakehub counts every call by its route, also those that GitHub
//! would not count because nothing changed (304). Looks at the log come at a
//! pace of their own, whatever the number of jobs, so they are told apart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use control::PoolPolicy;
use fakehub::Hub;
use fakehub::state::{NewJob, Status};
use musher::config::Way;
use musher::github::{GithubConfig, Secret};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::Bench;
use crate::daemon::{APP, KEY, PATH, make_key, openssl, write};
use crate::deliveries::{LABELS, ORGANIZATION, SECRET};
use crate::program::free_address;
use crate::rack::{self, Appliance, Github, Setting};
use crate::summary::{Goal, Row};
use crate::world::fleet;

const SLEDS: usize = 40;
/// Jobs before the counting begins: tokens are fetched, the log is read once.
const WARM_UP: u32 = 5;
const JOBS: u32 = 60;
/// Most for all of them.
const LONGEST: Duration = Duration::from_secs(300);
/// Calls that look at the log, however many jobs there are.
const LOOK: (&str, &str) = ("GET", "/app/hook/deliveries");
/// GitHub's limit, at least ("Rate limits for the REST API", GitHub Docs).
const HOURLY: f64 = 5_000.0;
const PEER: &str = "the call that registers a runner";

type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// `api-webhook`.
pub(crate) fn by_webhook(bench: &Bench) -> Result<Vec<Row>> {
    measure(
        bench,
        "api-webhook",
        Way::Direct,
        Duration::from_secs(1),
        3.0,
    )
}

/// `api-pull`.
pub(crate) fn by_pull(bench: &Bench) -> Result<Vec<Row>> {
    measure(bench, "api-pull", Way::Pull, Duration::from_secs(2), 8.0)
}

fn measure(bench: &Bench, name: &str, way: Way, gap: Duration, goal: f64) -> Result<Vec<Row>> {
    let dir = bench.folder(name)?;
    make_key(&dir)?;
    let key = std::fs::read_to_string(dir.join(KEY)).context("read the key")?;
    let address = free_address()?;
    let api_url = format!("http://{address}");
    let pace_s = way.poll_s();
    let pull = way == Way::Pull;
    let mut inventory = fleet::one_pool(ORGANIZATION, &LABELS, SLEDS);
    for pool in &mut inventory.pools {
        pool.policy = PoolPolicy::default();
    }
    let config = GithubConfig {
        web_url: None,
        name: "main".to_owned(),
        api_url,
        app_id: APP,
        private_key_pem: Secret::new(key),
        enterprise_token: None,
        ca_file: None,
    };
    let github = Some(Github { config, way });
    let appliance = Appliance::start(&dir, Setting { inventory, github })?;
    // Nobody listens there: GitHub's log is all that there is.
    let webhook = match pull {
        true => "http://127.0.0.1:1/".to_owned(),
        false => format!("http://{}{PATH}", appliance.webhook),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the stand-in and the agents")?;
    let counted = runtime.block_on(async {
        let hub = fakehub::start(fakehub_config(&dir, &address.to_string(), &webhook)?).await?;
        timeout(LONGEST, run_jobs(&appliance, &hub.hub, gap))
            .await
            .context("the jobs do not end")?
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    appliance.stop();
    let (counts, elapsed) = counted?;
    let per_job = |calls: u64| calls as f64 / f64::from(JOBS);
    for ((method, route), calls) in &counts {
        println!("  {:.2} per job: {method} {route}", per_job(*calls));
    }
    let all: u64 = counts.values().sum();
    let looks = counts.get(&LOOK).copied().unwrap_or(0);
    let (each, hourly) = (per_job(all - looks), 3600.0 / pace_s as f64);
    println!(
        "  {} jobs in {:.0} s: {:.2} calls per job, {:.2} without looks at the log, of which there are {hourly:.0} an hour",
        JOBS,
        elapsed.as_secs_f64(),
        per_job(all),
        each,
    );
    println!(
        "  5,000 calls an hour allow {:.0} jobs an hour",
        (HOURLY - hourly) / each
    );
    let figures = (per_job(all), 1.0, "calls");
    Ok(vec![Row::new(name, figures, PEER, Goal::OursAtMost(goal))])
}

/// fakehub with one App on one organization.
pub(crate) fn fakehub_config(dir: &Path, address: &str, webhook: &str) -> Result<fakehub::Config> {
    let (public, file) = (dir.join("gh-app.pub"), dir.join("fakehub.toml"));
    let key = dir.join(KEY);
    let key = key.to_str().context("the folder's name is no text")?;
    openssl(&["rsa", "-in", key, "-pubout", "-out"], &public)?;
    write(&dir.join("webhook-secret"), SECRET, 0o600)?;
    let text = format!(
        r#"[api]
listen = "{address}"

[limits]
rate_limit_per_hour = 1000000
deliveries = 200000

[[app]]
app_id = {APP}
public_key_path = "gh-app.pub"
webhook_url = "{webhook}"
webhook_secret_path = "webhook-secret"

[[app.installation]]
id = 1001
account = "{ORGANIZATION}"
repositories = ["app"]
"#
    );
    write(&file, text.as_bytes(), 0o644)?;
    Ok(fakehub::Config::load(&file)?)
}

/// Some jobs to warm up, then those that are counted.
async fn run_jobs(
    appliance: &Appliance,
    hub: &Arc<Hub>,
    gap: Duration,
) -> Result<(Counts, Duration)> {
    let mut agents = JoinSet::new();
    let (tell, _orders) = tokio::sync::mpsc::unbounded_channel();
    for index in 0..SLEDS {
        let mut place = appliance.sled(index);
        place.hub = Some(Arc::clone(hub));
        agents.spawn(rack::live(place, tell.clone()));
    }
    let all = async {
        push(hub, WARM_UP, gap).await?;
        all_over(appliance, hub).await?;
        let before = hub.state().asked.clone();
        let begun = Instant::now();
        push(hub, JOBS, gap).await?;
        all_over(appliance, hub).await?;
        let mut counts = hub.state().asked.clone();
        for (route, count) in &mut counts {
            *count -= before.get(route).copied().unwrap_or(0);
        }
        counts.retain(|_, count| *count > 0);
        anyhow::Ok((counts, begun.elapsed()))
    };
    tokio::select! {
        counted = all => counted,
        Some(ended) = agents.join_next() => {
            ended.context("an agent panicked")??;
            anyhow::bail!("an agent ended")
        }
    }
}

async fn push(hub: &Hub, jobs: u32, gap: Duration) -> Result<()> {
    let mut clock = interval(gap);
    for _ in 0..jobs {
        clock.tick().await;
        let new = NewJob {
            name: "build".to_owned(),
            account: ORGANIZATION.to_owned(),
            repo: "app".to_owned(),
            public: false,
            labels: LABELS.map(str::to_owned).to_vec(),
            script: "true".to_owned(),
            run: None,
        };
        let mut state = hub.state();
        let (_, change) = state.queue(new, hub.now_ms())?;
        hub.announce(&mut state, [change]);
    }
    Ok(())
}

/// Until GitHub and the appliance say so, and every sled is off.
async fn all_over(appliance: &Appliance, hub: &Hub) -> Result<()> {
    loop {
        let (open, left) = {
            let state = hub.state();
            let open = state
                .jobs
                .values()
                .any(|job| job.status != Status::Completed);
            (open, state.runners.len())
        };
        if !open && left == 0 {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    appliance.at_rest().await?;
    ensure!(hub.state().runners.is_empty(), "a runner is left at GitHub");
    Ok(())
}
