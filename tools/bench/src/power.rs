//! Readings of power over IPMI: a sweep of a whole rack beside FreeIPMI's
//! `ipmipower`, and one reading beside `ipmitool`, all from the same simulated
//! BMCs with cipher suite 17.
//!
//! The BMCs are threads of this process. Both sweeps are processes of their
//! own, so that their memory is theirs alone, and begin without a session.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use musher::power::{IpmiClient, IpmiConfig, PowerReading};
use musher_bmc::{Chassis, Server, User};
use protocols::rmcp::CipherSuite;
use tokio::task::JoinSet;

use crate::Bench;
use crate::acks::median;
use crate::summary::{Goal, Row};

const BMCS: usize = 256;
const ROUNDS: usize = 5;
/// Readings on the warm session; the peer makes a tenth of them.
const READINGS: usize = 200;
const USERNAME: &str = "admin";
const PASSWORD: &str = "a password of 16";
/// Between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(2);

/// `power-sweep` and `power-sweep-memory`.
pub(crate) fn sweep(bench: &Bench) -> Result<Vec<Row>> {
    let dir = bench.folder("power")?;
    let servers = rack(BMCS)?;
    let addresses: Vec<String> = servers
        .iter()
        .map(|server| server.address().to_string())
        .collect();
    let list = dir.join("addresses");
    fs::write(&list, addresses.join("\n")).context("write the addresses")?;
    let own = std::env::current_exe().context("find this program")?;
    let (mut times, mut peer_times) = (Vec::new(), Vec::new());
    let (mut memory, mut peer_memory) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let mut command = Command::new(&own);
        command.arg("--sweep").arg(&list);
        let ours = measure(&mut command)?;
        let mut command = Command::new("ipmipower");
        command.args(["-D", "LAN_2_0", "-I", "17", "-u", USERNAME, "-p", PASSWORD]);
        command.args(["--stat", "-h", &addresses.join(",")]);
        let peer = measure(&mut command).context("is freeipmi-tools installed?")?;
        println!(
            "  round {round} of {ROUNDS}: ours {:.0} ms, {:.1} MiB; ipmipower {:.0} ms, {:.1} MiB",
            ours.0, ours.1, peer.0, peer.1
        );
        times.push(ours.0);
        memory.push(ours.1);
        peer_times.push(peer.0);
        peer_memory.push(peer.1);
    }
    let name = "ipmipower";
    Ok(vec![
        Row::new(
            "power-sweep",
            (median(&mut times), median(&mut peer_times), "ms"),
            name,
            Goal::RatioAtMost(1.0),
        ),
        Row::new(
            "power-sweep-memory",
            (median(&mut memory), median(&mut peer_memory), "MiB"),
            name,
            Goal::RatioAtMost(0.5),
        ),
    ])
}

/// Runs a sweep to its end: milliseconds and most resident memory in MiB. Each
/// BMC must have been read as off.
fn measure(command: &mut Command) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("start a sweep")?;
    let status = format!("/proc/{}/status", child.id());
    let mut most_kib: f64 = 0.0;
    let mut out = child.stdout.take().context("the sweep has no output")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut out));
    let ended = loop {
        // The last look is a moment before the end, and memory only grows.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok());
        most_kib = most_kib.max(kib.unwrap_or(0.0));
        if let Some(ended) = child.try_wait().context("wait for a sweep")? {
            break ended;
        }
        std::thread::sleep(LOOK);
    };
    let took = start.elapsed();
    let Ok(Ok(said)) = reader.join() else {
        bail!("a sweep's output cannot be read");
    };
    let off = said.lines().filter(|line| line.ends_with(": off")).count();
    ensure!(ended.success() && off == BMCS, "{off} BMCs are off: {said}");
    Ok((took.as_secs_f64() * 1e3, most_kib / 1024.0))
}

/// The process of our sweep: `--sweep FILE`.
pub(crate) fn sweep_of(list: &Path) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?;
    let addresses: Vec<SocketAddr> = text
        .lines()
        .map(|line| line.parse().context("read an address"))
        .collect::<Result<_>>()?;
    runtime()?.block_on(async {
        let mut sweep = JoinSet::new();
        for address in addresses {
            let mut bmc = client(address)?;
            sweep.spawn(async move {
                let reading = bmc.read().await;
                bmc.close().await;
                (address, reading)
            });
        }
        for (address, reading) in sweep.join_all().await {
            println!("{address}: {}", reading?);
        }
        Ok(())
    })
}

/// `power-status`: one reading on a session that is kept warm, beside
/// ipmitool, which must open one each time.
pub(crate) fn status(_bench: &Bench) -> Result<Vec<Row>> {
    let servers = rack(1)?;
    let address = servers.first().context("there is no BMC")?.address();
    let mut ours = runtime()?.block_on(async {
        let mut bmc = client(address)?;
        bmc.read().await?;
        let mut times = Vec::with_capacity(READINGS);
        for _ in 0..READINGS {
            let start = Instant::now();
            ensure!(bmc.read().await? == PowerReading::Off, "the BMC is on");
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        bmc.close().await;
        Ok(times)
    })?;
    let mut peer = Vec::new();
    let port = address.port().to_string();
    for _ in 0..READINGS / 10 {
        let start = Instant::now();
        let output = Command::new("ipmitool")
            .args(["-I", "lanplus", "-C", "17", "-H", "127.0.0.1", "-p", &port])
            .args(["-U", USERNAME, "-P", PASSWORD])
            .args(["chassis", "power", "status"])
            .output()
            .context("run ipmitool; is the package installed?")?;
        peer.push(start.elapsed().as_secs_f64() * 1e3);
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains("is off"), "ipmitool said {said:?}");
    }
    let figures = (median(&mut ours), median(&mut peer), "ms");
    Ok(vec![Row::new(
        "power-status",
        figures,
        "ipmitool",
        Goal::RatioAtMost(0.2),
    )])
}

fn rack(count: usize) -> Result<Vec<Server>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let user = User::administrator(USERNAME, PASSWORD.as_bytes());
    (0..count)
        .map(|_| Server::start(any, Chassis::new(user.clone())).context("start a BMC"))
        .collect()
}

fn client(address: SocketAddr) -> Result<IpmiClient> {
    let suite = CipherSuite::Suite17;
    let config = IpmiConfig::new(address, USERNAME, PASSWORD.as_bytes(), suite)?;
    Ok(IpmiClient::new(config, None))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // As `musher serve` has it.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.context("start a runtime")
}
