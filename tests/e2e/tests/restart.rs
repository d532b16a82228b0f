//! `kill -9` of Musher at every step of a job: after a restart the job
//! completes, once, and the BMC is told nothing that it need not be told.

use std::time::{Duration, Instant};

use musher_demo::{PowerEvent, Rig, RigConfig, wait_for};
use musher_e2e::{JOB_LIMIT, power_edges, rig_config, wait_for_end, wait_for_stage};
use musher_lab::{Firmware, SledConfig};
use serde_json::Value;

/// A disk on which making scratch takes a few seconds, so that the wipe is
/// long enough to be met.
const DISK_MIB: u64 = 8 * 1024;

/// How often a moment is looked for that Musher's log or the BMC's tells.
const BLINK: Duration = Duration::from_millis(2);

/// What is waited for before Musher is killed.
#[derive(Clone, Debug)]
enum Moment {
    /// GitHub has its answer to the delivery.
    Answered,
    /// Musher notes this action in its audit log.
    Audited(&'static str),
    /// The sled's BMC was told, or saw, this.
    Power(PowerEvent),
    /// The job's boot is seen in this stage.
    Stage(&'static str),
    /// The boot's timeline has this step.
    Step(&'static str),
    /// The job is this far at GitHub.
    Job(&'static str),
    /// A runner is being registered: GitHub has the request and answers only
    /// when nobody is there any more.
    Minting,
}

/// Steps of a job in their order.
const STEPS: [(&str, Moment); 15] = [
    ("delivered", Moment::Answered),
    ("claimed", Moment::Audited("audit.sled.claim")),
    ("powering-on", Moment::Power(PowerEvent::CommandOn)),
    ("powered-on", Moment::Audited("audit.sled.power_on")),
    ("dhcp", Moment::Step("dhcp")),
    ("kernel", Moment::Step("kernel")),
    ("redeemed", Moment::Audited("audit.boot.redeemed")),
    ("wiped", Moment::Step("wiped")),
    ("minting", Moment::Minting),
    ("minted", Moment::Audited("audit.runner.minted")),
    ("ordered", Moment::Step("order")),
    ("accepted", Moment::Audited("audit.boot.running")),
    ("in-progress", Moment::Job("in_progress")),
    ("completed", Moment::Job("completed")),
    ("exited", Moment::Power(PowerEvent::Exited)),
];

/// Waits for a moment of the rig's only job.
fn wait_until(rig: &Rig, job: u64, moment: &Moment) {
    let what = format!("{moment:?}");
    let seen = |yes: bool| Ok(yes.then_some(()));
    match moment {
        Moment::Answered => wait_for(&what, JOB_LIMIT, || {
            let deliveries = rig.hub_deliveries()?;
            let of_job = |it: &&Value| it["event"] == "workflow_job";
            let mut of_jobs = deliveries.iter().filter(of_job);
            seen(of_jobs.any(|it| it["status_code"] == 200))
        }),
        Moment::Audited(action) => blink_until(&what, || rig.musher_log().contains(action)),
        Moment::Power(event) => blink_until(&what, || {
            let edges = power_edges(rig, "sled-01");
            edges.is_ok_and(|edges| edges.contains(event))
        }),
        Moment::Stage(stage) => wait_for_stage(rig, job, stage).map(|_| ()),
        Moment::Step(step) => wait_for(&what, JOB_LIMIT, || {
            let boot = rig.job(job)?.and_then(|view| view.boot);
            let steps = boot.map(|boot| boot.timeline.steps());
            let found = steps.into_iter().flatten().find(|(name, _)| name == step);
            seen(found.is_some_and(|(_, at)| at.is_some()))
        }),
        Moment::Job(status) => wait_for(&what, JOB_LIMIT, || {
            seen(rig.hub_job(job)?.status == *status)
        }),
        Moment::Minting => wait_for_stage(rig, job, "Wiping").and_then(|_| {
            rig.hold_hub(true)?;
            wait_for_stage(rig, job, "Ready").map(|_| ())
        }),
    }
    .unwrap();
}

fn blink_until(what: &str, mut seen: impl FnMut() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !seen() {
        anyhow::ensure!(start.elapsed() < JOB_LIMIT, "{what} was never seen");
        std::thread::sleep(BLINK);
    }
    Ok(())
}

fn config(name: &str, firmware: Firmware) -> RigConfig {
    let sled = SledConfig {
        disk_mib: DISK_MIB,
        ..firmware.into()
    };
    let name = format!("restart-{name}-{firmware:?}").to_lowercase();
    rig_config(&name, vec![sled]).unwrap()
}

/// Kills Musher, leaves it dead for long enough that the sled calls in vain,
/// and starts it again.
fn kill_and_start(rig: &mut Rig) {
    rig.kill_musher().unwrap();
    rig.hold_hub(false).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    rig.start_musher().unwrap();
}

fn killed(name: &str, moment: Moment, firmware: Firmware) {
    let mut rig = Rig::up(&config(name, firmware)).unwrap();
    let job = rig.queue_job("goes-on", "echo once; sleep 12").unwrap();
    wait_until(&rig, job.id, &moment);
    kill_and_start(&mut rig);
    let after = wait_for_end(&rig, job.id).unwrap();

    assert_eq!(after.conclusion.as_deref(), Some("success"), "{after:?}");
    let boot = after.boot.as_ref().map(|boot| boot.id);
    assert_eq!(boot, Some(1), "the job was tried a second time");
    let at_github = rig.hub_job(job.id).unwrap();
    let once = at_github
        .log
        .iter()
        .filter(|line| line.contains("once"))
        .count();
    assert_eq!(once, 1, "{:?}", at_github.log);
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    // On by one command, off by the sled itself.
    let edges = power_edges(&rig, "sled-01").unwrap();
    let expect = [
        PowerEvent::CommandOn,
        PowerEvent::Started,
        PowerEvent::Exited,
    ];
    assert_eq!(edges, expect, "the BMC was told something unintended");
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    rig.down().unwrap();
}

/// Kills Musher while it has a sled's power cut, whose job was cancelled, and
/// when its receipt was made and is about to be signed.
fn killed_while_it_ends(name: &str, moment: Moment) {
    let mut rig = Rig::up(&config(name, Firmware::Bios)).unwrap();
    let job = rig.queue_job("is-cancelled", "echo never").unwrap();
    wait_for_stage(&rig, job.id, "Netbooting").unwrap();
    rig.cancel_job(job.id).unwrap();
    wait_until(&rig, job.id, &moment);
    kill_and_start(&mut rig);
    let after = wait_for_end(&rig, job.id).unwrap();

    assert_eq!(after.state, "cancelled", "{after:?}");
    assert_eq!(rig.hub_runners().unwrap(), Vec::<serde_json::Value>::new());
    assert_eq!(rig.verified_receipts().unwrap(), [1]);
    let mut edges = power_edges(&rig, "sled-01").unwrap();
    // A cut whose outcome nobody heard is commanded again: once more at most.
    if let [.., PowerEvent::Exited, PowerEvent::CommandOff] = edges.as_slice() {
        edges.pop();
    }
    let expect = [
        PowerEvent::CommandOn,
        PowerEvent::Started,
        PowerEvent::CommandOff,
        PowerEvent::Exited,
    ];
    assert_eq!(edges, expect, "the BMC was told something unintended");
    rig.down().unwrap();
}

#[test]
fn killed_while_the_sled_netboots() {
    killed("netboot", Moment::Stage("Netbooting"), Firmware::Bios);
}

#[test]
fn killed_while_the_sled_wipes() {
    killed("wipe", Moment::Stage("Wiping"), Firmware::Bios);
}

#[test]
fn killed_while_the_job_runs() {
    killed("run", Moment::Stage("Running"), Firmware::Bios);
}

#[test]
#[ignore = "the same three under UEFI take four minutes: part of test-full"]
fn killed_under_uefi() {
    for (name, stage) in [
        ("netboot", "Netbooting"),
        ("wipe", "Wiping"),
        ("run", "Running"),
    ] {
        killed(name, Moment::Stage(stage), Firmware::Uefi);
    }
}

/// `MUSHER_STEP=NAME` picks one of them.
#[test]
#[ignore = "a rack for each step takes twenty minutes: part of test-full"]
fn killed_at_every_step() {
    let only = std::env::var("MUSHER_STEP").ok();
    let mut killed_at = 0;
    for (name, moment) in STEPS {
        if only.as_ref().is_none_or(|only| only == name) {
            eprintln!("killed when {name} ...");
            killed(name, moment, Firmware::Bios);
            killed_at += 1;
        }
    }
    assert!(killed_at > 0, "there is no step {only:?}");
}

#[test]
#[ignore = "two racks of their own: part of test-full"]
fn killed_while_a_cancelled_job_ends() {
    let cut = Moment::Power(PowerEvent::CommandOff);
    killed_while_it_ends("cut", cut);
    killed_while_it_ends("receipt", Moment::Audited("audit.receipt.made"));
}
