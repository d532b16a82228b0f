//! `warm-path`: how long a job waits inside the appliance when a warm sled
//! stands ready: from the durable delivery (its 200 has come) to the order,
//! complete, at the sled's agent.
//!
//! The daemon's own webhook receiver, engine, store on the real disk, vault
//! and agent listener run in this process, and are talked to over loopback as
//! from outside: signed deliveries in GitHub's shape at 1,000 per second, and
//! 500 agents with a TLS connection each, who redeem tickets, report wipes,
//! hold polls, accept orders, finish and turn off. Only power and GitHub's API
//! are played, and answer at once: GitHub's time is on top of what is shown.
//! Of the deliveries some are of jobs for the warm pool; the others are jobs
//! that others run. A sled that ran is turned off, booted and wiped anew.
//!
//! Senders, agents and appliance share the machine's processors, so the figure
//! holds their time as well. The appliance writes no log here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use control::{Inventory, PoolPolicy, WarmPolicy};
use fakehub::state::Status;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::deliveries::{LABELS, Maker, ORGANIZATION, about};
use crate::load::{MAX_ANSWER, exchange};
use crate::rack::{self, Appliance, Ordered, Setting};
use crate::summary::{Goal, Row};
use crate::world::fleet;
use crate::{Bench, acks, disk};

/// Sleds, all kept warm.
const SLEDS: usize = 500;
/// What jobs for the warm pool ask for.
const WARM_LABELS: [&str; 2] = ["self-hosted", "warm"];
/// Jobs whose way is measured, and how many of them come per second.
const JOBS: u64 = 400;
const JOBS_PER_SECOND: u64 = 20;
/// Deliveries per second, those of the measured jobs included.
const DELIVERIES_PER_SECOND: u64 = 1_000;
/// Each job has three.
const OTHERS_PER_SECOND: u64 = DELIVERIES_PER_SECOND - 3 * JOBS_PER_SECOND;
const SENDERS: u64 = 10;
/// Until every sled is warm.
const WARM_UP: Duration = Duration::from_secs(60);
/// Most for one job's way before something is wrong.
const LOST: Duration = Duration::from_secs(20);
const GOAL_MS: f64 = 20.0;
const FIRST: u64 = 40_000_000_000;
const PEER: &str = "three write(256 B) + fdatasync, one after the other";

/// `warm-path`.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let dir = bench.folder("warm-path")?;
    let peer = disk::three_syncs_p99_ms(&dir)?;
    let setting = Setting {
        inventory: inventory(),
        github: None,
    };
    let appliance = Appliance::start(&dir, setting)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the senders and agents")?;
    let Ways {
        mut durable,
        mut posted,
        per_second,
    } = runtime.block_on(measure(&appliance))?;
    drop(runtime);
    appliance.stop();
    durable.sort_by(f64::total_cmp);
    posted.sort_by(f64::total_cmp);
    let at = |values: &[f64], percent| acks::percentile(values, percent);
    println!(
        "  {} orders: p50 {:.1}, p95 {:.1}, p99 {:.1} ms from the 200; p99 {:.1} ms from the POST",
        durable.len(),
        at(&durable, 50),
        at(&durable, 95),
        at(&durable, 99),
        at(&posted, 99),
    );
    println!("  {per_second:.0} deliveries/s; GitHub's API answered at once");
    println!("  {PEER}: p99 {peer:.1} ms");
    #[allow(clippy::cast_precision_loss)] // a thousand
    let wanted = DELIVERIES_PER_SECOND as f64;
    ensure!(
        per_second >= 0.95 * wanted,
        "only {per_second:.0} of {wanted:.0} deliveries/s were answered: the machine is too busy"
    );
    let figures = (at(&durable, 99), peer, "ms p99");
    let goal = Goal::OursAtMost(GOAL_MS);
    Ok(vec![Row::new("warm-path", figures, PEER, goal)])
}

/// The warm pool, and one for jobs that others run.
fn inventory() -> Inventory {
    let mut inventory = fleet::one_pool(ORGANIZATION, &WARM_LABELS, SLEDS);
    let mut others = inventory.pools.clone();
    for pool in &mut others {
        pool.name = "others".to_owned();
        pool.labels = LABELS.map(str::to_owned).to_vec();
    }
    for pool in &mut inventory.pools {
        let count = u32::try_from(SLEDS).unwrap_or(u32::MAX);
        pool.policy = PoolPolicy {
            warm: WarmPolicy {
                count,
                ..WarmPolicy::default()
            },
            ..PoolPolicy::default()
        };
    }
    inventory.pools.extend(others);
    inventory
}

/// The ways of all jobs.
struct Ways {
    /// Milliseconds from the 200 to the order.
    durable: Vec<f64>,
    /// The same from the POST.
    posted: Vec<f64>,
    /// Deliveries that were answered meanwhile.
    per_second: f64,
}

async fn measure(appliance: &Appliance) -> Result<Ways> {
    let answered = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let (tell, mut orders) = mpsc::unbounded_channel();
    for index in 0..SLEDS {
        tasks.spawn(rack::live(appliance.sled(index), tell.clone()));
    }
    timeout(WARM_UP, appliance.all_warm())
        .await
        .context("not every sled came to be warm")??;
    println!("  {SLEDS} sleds are warm");
    for sender in 0..SENDERS {
        tasks.spawn(send_others(
            appliance.webhook,
            sender,
            Arc::clone(&answered),
        ));
    }
    sleep(Duration::from_secs(1)).await;
    answered.store(0, Relaxed);
    let begin = Instant::now();
    let mut sent: HashMap<u64, (Instant, Instant)> = HashMap::new();
    let (mut durable, mut posted) = (Vec::new(), Vec::new());
    let (tell_sent, mut sent_jobs) = mpsc::unbounded_channel();
    let (tell_runs, runs) = mpsc::unbounded_channel();
    tasks.spawn(send_jobs(appliance.webhook, tell_sent));
    tasks.spawn(send_runs(appliance.webhook, runs));
    let mut arrived: HashMap<u64, Instant> = HashMap::new();
    while durable.len() < usize::try_from(JOBS)? {
        tokio::select! {
            Some(done) = tasks.join_next() => done.context("a task panicked")??,
            Some((number, post, answer)) = sent_jobs.recv() => {
                sent.insert(number, (post, answer));
            }
            Some(Ordered { runner, at }) = orders.recv() => {
                let (number, id) = appliance.job_of(&runner).await?;
                let _ = tell_runs.send((number, id, runner));
                arrived.insert(number, at);
            }
            () = sleep(LOST) => anyhow::bail!("no order came for {LOST:?}"),
        }
        arrived.retain(|number, at| {
            let Some((post, answer)) = sent.get(number) else {
                return true;
            };
            let ms = |since: &Instant| at.saturating_duration_since(*since).as_secs_f64() * 1e3;
            durable.push(ms(answer));
            posted.push(ms(post));
            false
        });
    }
    let all = f64::from(answered.load(Relaxed)) + 3.0 * f64::from(u32::try_from(JOBS)?);
    Ok(Ways {
        durable,
        posted,
        per_second: all / begin.elapsed().as_secs_f64(),
    })
}

/// Jobs for the warm pool, evenly spaced.
async fn send_jobs(
    address: SocketAddr,
    sent: mpsc::UnboundedSender<(u64, Instant, Instant)>,
) -> Result<()> {
    let mut stream = connect(address).await?;
    let mut buffer = vec![0; MAX_ANSWER];
    let mut clock = interval(Duration::from_secs(1) / u32::try_from(JOBS_PER_SECOND)?);
    for number in FIRST..FIRST + JOBS {
        let (path, expect) = (acks::OURS.path, acks::OURS.queued);
        let request = about(path, number, Status::Queued, &WARM_LABELS, None, expect);
        clock.tick().await;
        let post = Instant::now();
        exchange(&mut stream, &request, &mut buffer).await?;
        let _ = sent.send((number, post, Instant::now()));
    }
    std::future::pending().await
}

/// GitHub's word on the jobs that were ordered: in progress, then completed.
async fn send_runs(
    address: SocketAddr,
    mut runs: mpsc::UnboundedReceiver<(u64, u64, String)>,
) -> Result<()> {
    let mut stream = connect(address).await?;
    let mut buffer = vec![0; MAX_ANSWER];
    while let Some((number, id, name)) = runs.recv().await {
        for status in [Status::InProgress, Status::Completed] {
            let runner = Some((id, name.as_str()));
            let (path, expect) = (acks::OURS.path, acks::OURS.completed);
            let request = about(path, number, status, &WARM_LABELS, runner, expect);
            exchange(&mut stream, &request, &mut buffer).await?;
        }
    }
    Ok(())
}

/// Jobs of another pool, which others run.
async fn send_others(address: SocketAddr, sender: u64, answered: Arc<AtomicU32>) -> Result<()> {
    const STEP: u64 = 500;
    let mut stream = connect(address).await?;
    let mut buffer = vec![0; MAX_ANSWER];
    let mut maker = Maker::beginning(30_000_000_000 + sender * 1_000_000);
    let mut clock = interval(
        Duration::from_secs(1) * u32::try_from(SENDERS)? / u32::try_from(OTHERS_PER_SECOND)?,
    );
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        let requests = maker.make(acks::OURS, 1, usize::try_from(STEP)?);
        for request in requests.iter().flatten() {
            clock.tick().await;
            exchange(&mut stream, request, &mut buffer).await?;
            answered.fetch_add(1, Relaxed);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(stream)
}
