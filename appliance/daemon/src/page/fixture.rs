//! Views to draw: made up, but such as the core makes them.

use control::{BootView, JobView, PoolView, SledView, StatusView, Timeline};
use messages::{BootId, Millis};

use crate::{reader::Health, tunnel::TunnelView, ways::WaysView};

/// When the fixtures are seen.
pub(crate) const NOW: u64 = 1_790_000_000_000;

const STEPS: [u64; 11] = [
    0, 420, 6_200, 2_900, 5_400, 8_800, 600, 1_350, 4_100, 22_000, 2_600,
];

/// Deliveries come straight in, and some were recovered.
pub(crate) fn direct() -> WaysView {
    let github = || Health {
        github: "main".into(),
        ..Health::default()
    };
    WaysView {
        kind: "direct",
        tunnel: None,
        delivery_log: vec![Health {
            taken: 3,
            read_at: Some(NOW - 20_000),
            ..github()
        }],
        sweep: vec![github()],
    }
}

/// Nothing comes in.
pub(crate) fn tunnel_down() -> WaysView {
    let mut ways = direct();
    ways.kind = "command";
    ways.tunnel = Some(TunnelView {
        state: "down",
        since: Some(Millis(NOW - 90_000)),
        restarts: 2,
        problem: Some("it ended with exit status: 1".into()),
        lines: ["listening".into(), "<b>refused</b>".into()].into(),
    });
    ways.delivery_log[0].passed_over = 1;
    ways.delivery_log[0].backlog = true;
    ways.delivery_log[0].problem = Some("no answer from api.github.com".into());
    ways
}

/// A boot of which `steps` steps after the claim are done.
pub(crate) fn boot_at(number: u64, sled: &str, claimed: u64, steps: usize) -> BootView {
    let mut at = claimed;
    let mut times = [None; 11];
    for (index, (slot, step)) in times.iter_mut().zip(STEPS).enumerate().take(steps + 1) {
        at += step + step * ((number * 7 + index as u64 * 3) % 11) / 16;
        *slot = Some(Millis(at));
    }
    let [
        _,
        power_on,
        dhcp,
        kernel,
        agent,
        wiped,
        ready,
        order,
        running,
        finished,
        off,
    ] = times;
    let stage = match steps {
        0 => "PoweringOn",
        1..=3 => "Netbooting",
        4 => "Wiping",
        5..=7 => "Ready",
        8 => "Running",
        9 => "PoweringOff",
        _ => "Off",
    };
    BootView {
        id: BootId(number),
        sled: sled.to_string(),
        stage,
        timeline: Timeline {
            claimed: Millis(claimed),
            power_on,
            dhcp,
            kernel,
            agent,
            wiped,
            ready,
            order,
            running,
            finished,
            off,
        },
        assurance: if steps >= 4 {
            "netboot-forced"
        } else {
            "claimed"
        },
        outcome: (steps >= 9).then_some("ran"),
        reason: None,
        runner: (steps >= 6).then(|| format!("musher-3f9a-{sled}-{number}-1")),
        job: (steps >= 8).then_some(number),
        receipt: (steps >= 10).then_some(number),
        joules: (steps >= 10).then_some(48_000),
    }
}

/// A boot that is over.
pub(crate) fn boot(number: u64, sled: &str, claimed: u64) -> BootView {
    boot_at(number, sled, claimed, 10)
}

/// A job that waits.
pub(crate) fn queued_job(number: u64, delivered: u64, reason: Option<&str>) -> JobView {
    let names = ["build", "test (stable)", "lint", "e2e / x86-64", "package"];
    let repositories = ["octo-org/app", "octo-org/kernel-tools", "octo-org/site"];
    JobView {
        id: number,
        github: "main".into(),
        repository: repositories[number as usize % repositories.len()].into(),
        name: names[number as usize % names.len()].into(),
        workflow: "CI".into(),
        path: format!("octo-org/app/actions/runs/9{number}/job/{number}"),
        state: "queued",
        reason: reason.map(Into::into),
        conclusion: None,
        labels: vec!["self-hosted".into(), "linux".into(), "x64".into()],
        pool: Some("linux-x64".into()),
        delivered: Millis(delivered),
        completed: None,
        boot: None,
    }
}

/// A job whose boot is over.
pub(crate) fn done_job(number: u64, delivered: u64) -> JobView {
    let boot = boot(
        number,
        &format!("sled-{:02}", number % 2 + 1),
        delivered + 900,
    );
    JobView {
        state: "completed",
        conclusion: Some("success".into()),
        completed: boot.timeline.finished,
        boot: Some(boot),
        ..queued_job(number, delivered, None)
    }
}

/// A job whose boot is on its way.
pub(crate) fn going_job(number: u64, sled: &str, delivered: u64, steps: usize) -> JobView {
    JobView {
        state: match steps {
            0..7 => "claimed",
            7 => "starting",
            _ => "running",
        },
        boot: Some(boot_at(number, sled, delivered + 800, steps)),
        ..queued_job(number, delivered, None)
    }
}

/// A sled that is off.
pub(crate) fn sled(number: u64) -> SledView {
    SledView {
        name: format!("sled-{number:02}"),
        mac: format!("52:54:00:77:00:{number:02x}"),
        state: "Off",
        since: Some(Millis(NOW - 260_000)),
        deadline: None,
        reason: None,
        pools: vec!["linux-x64".into()],
        boot: None,
        failures: 0,
        power_problem: None,
        acceptance: None,
    }
}

fn busy(number: u64, job: &JobView) -> SledView {
    let boot = job.boot.clone();
    let view = boot
        .as_ref()
        .map(|boot| (boot.stage, boot.timeline.clone()));
    let (state, times) = view.unwrap_or(("Off", Timeline::default()));
    let since = match state {
        "PoweringOn" => Some(times.claimed),
        "Netbooting" => times.power_on,
        "Wiping" => times.agent,
        "Ready" => times.ready,
        "Running" => times.running,
        _ => times.finished,
    };
    let limit = match state {
        "PoweringOn" => Some(120_000),
        "Netbooting" | "Ready" => Some(600_000),
        "Wiping" => Some(7_200_000),
        "PoweringOff" => Some(60_000),
        _ => None,
    };
    SledView {
        state,
        since,
        deadline: since.zip(limit).map(|(since, limit)| since.after(limit)),
        boot,
        ..sled(number)
    }
}

fn pool(queued: usize, sleds: usize) -> PoolView {
    PoolView {
        name: "linux-x64".into(),
        scope: "org octo-org".into(),
        labels: vec!["self-hosted".into(), "linux".into(), "x64".into()],
        image: "debian-12".into(),
        queued,
        sleds,
        used: 0,
        problem: None,
        paused: false,
    }
}

/// Nothing configured.
pub(crate) fn empty() -> StatusView {
    StatusView {
        appliance: "3f9a1c".into(),
        now: Millis(NOW),
        pools: Vec::new(),
        sleds: Vec::new(),
        jobs: Vec::new(),
        queued: 0,
        receipts: 0,
    }
}

/// Two sleds that wait for their first job.
pub(crate) fn fresh() -> StatusView {
    StatusView {
        pools: vec![pool(0, 2)],
        sleds: vec![sled(1), sled(2)],
        ..empty()
    }
}

/// Two sleds at work.
pub(crate) fn typical() -> StatusView {
    let full = Some("every sled of its pool is busy");
    let running = going_job(1_046, "sled-01", NOW - 61_000, 8);
    let booting = going_job(1_047, "sled-02", NOW - 19_000, 2);
    let mut failed = done_job(1_042, NOW - 330_000);
    failed.state = "failed";
    failed.conclusion = Some("failure".into());
    let mut cancelled = queued_job(1_043, NOW - 300_000, None);
    cancelled.state = "cancelled";
    cancelled.conclusion = Some("cancelled".into());
    cancelled.completed = Some(Millis(NOW - 280_000));
    StatusView {
        pools: vec![pool(4, 2)],
        sleds: vec![busy(1, &running), busy(2, &booting)],
        jobs: vec![
            queued_job(1_050, NOW - 2_000, full),
            queued_job(1_049, NOW - 8_000, full),
            queued_job(1_048, NOW - 12_000, full),
            booting,
            running,
            done_job(1_045, NOW - 150_000),
            done_job(1_044, NOW - 260_000),
            cancelled,
            failed,
            done_job(1_041, NOW - 420_000),
        ],
        queued: 4,
        receipts: 41,
        ..empty()
    }
}

/// Forty sleds and more jobs than the page shows.
pub(crate) fn crowded() -> StatusView {
    let full = Some("every sled of its pool is busy");
    let (mut sleds, mut going) = (Vec::new(), Vec::new());
    for number in 1..=40 {
        let steps = (number as usize * 5) % 14;
        if steps > 9 {
            sleds.push(sled(number));
            continue;
        }
        let ago = [
            2_000, 4_000, 9_000, 14_000, 19_000, 33_000, 34_000, 36_000, 61_000, 75_000,
        ];
        let name = format!("sled-{number:02}");
        let job = going_job(2_000 + number, &name, NOW - ago[steps] - number * 10, steps);
        sleds.push(busy(number, &job));
        going.push(job);
    }
    let mut jobs: Vec<JobView> = (0..30)
        .map(|n| queued_job(2_100 - n, NOW - n * 900, full))
        .collect();
    jobs.extend(going.into_iter().rev());
    jobs.extend((0..80).map(|n| done_job(1_900 - n, NOW - 150_000 - n * 31_000)));
    if let Some(boot) = jobs.get_mut(80).and_then(|job| job.boot.as_mut()) {
        let times = &mut boot.timeline;
        times.finished = times.finished.map(|at| at.after(900_000));
        times.off = times.off.map(|at| at.after(900_000));
    }
    StatusView {
        pools: vec![
            pool(74, 30),
            PoolView {
                name: "linux-x64-large".into(),
                labels: vec![
                    "self-hosted".into(),
                    "linux".into(),
                    "x64".into(),
                    "large".into(),
                ],
                ..pool(0, 10)
            },
        ],
        sleds,
        jobs,
        queued: 74,
        receipts: 1_900,
        ..empty()
    }
}

/// Everything that can be wrong.
pub(crate) fn troubled() -> StatusView {
    let mut view = typical();
    let mut lost = boot_at(1_040, "sled-03", NOW - 900_000, 3);
    lost.stage = "Off";
    lost.outcome = Some("failed");
    lost.reason = Some("it fetched its kernel, but its agent never spoke".into());
    lost.timeline.off = Some(Millis(NOW - 260_000));
    lost.receipt = Some(40);
    view.sleds.push(SledView {
        state: "Quarantined",
        reason: Some("3 boots in a row failed, the last one because: it fetched its kernel, but its agent never spoke".into()),
        boot: Some(lost.clone()),
        failures: 3,
        ..sled(3)
    });
    view.sleds.push(SledView {
        state: "Unknown",
        reason: Some("its BMC at 10.78.0.14:623 did not answer within 4 tries".into()),
        ..sled(4)
    });
    view.sleds.push(SledView {
        power_problem: Some("its BMC refused the password of user musher".into()),
        failures: 2,
        ..sled(5)
    });
    let mut rerun = done_job(1_040, NOW - 905_000);
    rerun.state = "failed";
    rerun.conclusion = Some("timed_out".into());
    rerun.boot = Some(lost);
    view.jobs.push(rerun);
    view.pools.insert(
        0,
        PoolView {
            name: "arm64".into(),
            problem: Some("403 Forbidden: Resource not accessible by integration".into()),
            labels: vec!["self-hosted".into(), "arm64".into()],
            ..pool(1, 0)
        },
    );
    let mut stuck = queued_job(1_039, NOW - 4_000_000, Some("pool arm64 has no sleds"));
    stuck.pool = Some("arm64".into());
    view.jobs.push(stuck);
    view.queued += 1;
    view
}

/// Text from outside that would love to be HTML.
pub(crate) fn hostile() -> StatusView {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let mut view = troubled();
    view.appliance = evil.into();
    for pool in &mut view.pools {
        pool.name = evil.into();
        pool.scope = evil.into();
        pool.image = evil.into();
        pool.labels = vec![evil.into()];
        pool.problem = Some(evil.into());
    }
    for sled in &mut view.sleds {
        sled.name = evil.into();
        sled.mac = evil.into();
        sled.reason = Some(evil.into());
        sled.power_problem = Some(evil.into());
        sled.pools = vec![evil.into()];
    }
    for job in &mut view.jobs {
        job.github = evil.into();
        job.repository = evil.into();
        job.name = evil.into();
        job.workflow = evil.into();
        job.path = evil.into();
        job.reason = Some(evil.into());
        job.conclusion = Some(evil.into());
        job.labels = vec![evil.into()];
        job.pool = Some(evil.into());
        if let Some(boot) = &mut job.boot {
            boot.sled = evil.into();
            boot.reason = Some(evil.into());
            boot.runner = Some(evil.into());
        }
    }
    view
}
