//! An appliance whose sled is a machine outside. The second serial port is the
//! wiring between both: `level 0|1` goes out when the relay's line changes, and
//! `rail 0|1` comes in when the machine starts or ends, which the sense line
//! shows. The job is over when the line of `/last` has fallen.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::sim::{self, Sim};
use crate::{Outcome, SOCKET, appliance, pid, start_holder};

const WIRE: &str = "/dev/ttyS1";
const HUB_HERE: &str = "127.0.0.1:9400";
const GLANCE: Duration = Duration::from_millis(20);
/// For an emulated machine that has to share its processors.
const START_LIMIT: Duration = Duration::from_secs(120);
/// From the start of the daemon to the fall of the last line.
const JOB_LIMIT: Duration = Duration::from_secs(420);
const RECEIPT_LIMIT: Duration = Duration::from_secs(60);

/// Runs one job, from its delivery to its receipt.
pub(crate) fn run() -> Outcome {
    sim::prepare()?;
    let sim = Sim::create()?;
    let network = Command::new("/ip").args(["-batch", "/network"]).status()?;
    if !network.success() {
        return Err(format!("ip: {network}").into());
    }
    forward()?;
    let mut holder = start_holder(SOCKET)?;
    listen(&sim)?;
    let mut daemon = appliance::start()?;
    let address = fs::read_to_string("/rig/webhook")?;
    wait("musher", START_LIMIT, || {
        Ok(TcpStream::connect(address.trim()).is_ok())
    })?;
    println!("serving");

    relay(&sim, &mut daemon)?;
    let mut receipts = String::new();
    wait("the receipt", RECEIPT_LIMIT, || {
        receipts = ask(&["receipts", "verify"])?;
        Ok(receipts.contains("[1]"))
    })?;
    println!("receipts {receipts}");
    println!("jobs {}", ask(&["jobs"])?);
    for child in [&mut daemon, &mut holder] {
        kill_process(pid(child), Signal::TERM)?;
        child.wait()?;
    }
    sim.print_trace(sim::RELAY)
}

/// Plain http is for this machine only, so the stand-in outside is reached by
/// an address of it.
fn forward() -> Outcome {
    let listener = TcpListener::bind(HUB_HERE)?;
    let hub = fs::read_to_string("/hub")?;
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let pair = TcpStream::connect(hub.trim())
                .and_then(|far| Ok([(near.try_clone()?, far.try_clone()?), (far, near)]));
            for (mut from, mut to) in pair.into_iter().flatten() {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    Ok(())
}

/// What the machine's supply does shows on the sense line from now on.
fn listen(sim: &Sim) -> Outcome {
    let wire = BufReader::new(File::open(WIRE)?);
    let rail = sim.attribute(sim::RAIL, "pull");
    thread::spawn(move || {
        for line in wire.lines().map_while(Result::ok) {
            let pull = match line.trim() {
                "rail 1" => "pull-up",
                "rail 0" => "pull-down",
                _ => continue,
            };
            if let Err(error) = fs::write(&rail, pull) {
                println!("failed {pull}: {error}");
            }
        }
    });
    Ok(())
}

/// Tells of the relay's levels until the last line has fallen.
fn relay(sim: &Sim, daemon: &mut Child) -> Outcome {
    let last = fs::read_to_string("/last")?.trim().parse()?;
    let mut wire = File::options().write(true).open(WIRE)?;
    let (mut level, mut risen) = ("0".to_owned(), false);
    wait("the end", JOB_LIMIT, || {
        if let Some(status) = daemon.try_wait()? {
            return Err(format!("musher ended: {status}").into());
        }
        let now = sim.value(sim::RELAY)?;
        if now != level {
            writeln!(wire, "level {now}")?;
            level = now;
        }
        let high = sim.value(last)? == "1";
        risen |= high;
        Ok(risen && !high)
    })
}

/// What a command of Musher's prints as JSON, on one line.
fn ask(words: &[&str]) -> Outcome<String> {
    let mut musher = Command::new("/musher");
    musher
        .args(words)
        .args(["--json", "--config", "/rig/musher.toml"]);
    let output = musher.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(output.stdout)?;
    Ok(said.lines().map(str::trim).collect())
}

fn wait(what: &str, limit: Duration, mut ready: impl FnMut() -> Outcome<bool>) -> Outcome {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > limit {
            return Err(format!("{what} did not come").into());
        }
        sleep(GLANCE);
    }
    Ok(())
}
