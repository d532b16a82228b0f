//! A sled that is new or was repaired proves itself before it serves anybody.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, KEY};
use messages::{AgentMessage, ApplianceId, BootId, HubId, Millis, RunEnd, RunExit, RunnerId};
use musher_control::{
    AcceptanceSpec, BootStage, DeliveryResult, DispatchedRun, Effect, Event, GithubFailure, Hook,
    InventoryError, JobAction, Labels, Lever, Limits, Outcome, PowerReading, Reply, RunReport,
    SledView, State,
};

const PAGE: &str = "https://github.example/octo/infra/actions/runs/7/job/70";

fn spec() -> AcceptanceSpec {
    let input = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    AcceptanceSpec {
        repository: "octo/infra".into(),
        workflow: "accept.yml".into(),
        reference: "main".into(),
        inputs: vec![
            input("sled", "{{sled.name}} of {{ pool.name }}"),
            input("runner", "{{label}}"),
        ],
    }
}

fn asking() -> Bench {
    Bench::with(|pool| pool.acceptance = Some(spec()))
}

fn tick(bench: &mut Bench) {
    bench.now += 1_000;
    bench.step(Event::Tick);
}

fn boots(bench: &Bench) -> Vec<BootId> {
    let live = |boot: &musher_control::Boot| boot.stage != BootStage::Ended;
    let boots = bench.state.boots().filter(|(_, boot)| live(boot));
    boots.map(|(id, _)| id).collect()
}

fn sled(bench: &Bench, name: &str) -> SledView {
    let status = bench.state.status(Millis(bench.now), 10);
    let found = status.sleds.into_iter().find(|sled| sled.name == name);
    found.expect("it is in the rack")
}

fn lever(bench: &mut Bench, lever: Lever) -> Result<(), InventoryError> {
    match bench.step(Event::Lever(lever)) {
        Reply::Done(result) => result,
        other => panic!("{other:?}"),
    }
}

/// Sled 2 is out of the way; sled 1 proves itself.
fn alone() -> Bench {
    let mut bench = asking();
    let two = "sled-2".to_owned();
    assert_eq!(lever(&mut bench, Lever::Drain { sled: two }), Ok(()));
    tick(&mut bench);
    bench
}

/// Its only label, as its minting asked for.
fn label(bench: &Bench) -> String {
    match bench.effect("mint") {
        Some((_, Effect::Mint { labels, .. })) => {
            assert_eq!(labels.len(), 1, "{labels:?}");
            labels.iter().next().map(str::to_owned).unwrap_or_default()
        }
        other => panic!("{other:?}"),
    }
}

/// Its runner listens, and the workflow was dispatched: the boot and the label.
fn listening() -> (Bench, BootId, String) {
    let mut bench = alone();
    let boot = bench.live();
    // A job of the rack waits all the while, and gets nothing.
    let queued = bench.deliver(1, JobAction::Queued, None);
    assert_eq!(queued, DeliveryResult::Queued);
    bench.walk(&BootStage::Ready);
    let label = label(&bench);
    bench.walk(&BootStage::Ordered);
    assert_eq!(bench.effect("dispatch-workflow"), None);
    bench.walk(&BootStage::Running);
    (bench, boot, label)
}

fn report(bench: &mut Bench, label: &str, action: JobAction, conclusion: Option<&str>) {
    let runner = (action != JobAction::Queued).then_some(RunnerId(5));
    bench.deliver_as(70, action, runner, |report| {
        report.repository = "octo/infra".into();
        report.labels = Labels::new([label]);
        report.page = Some(PAGE.into());
        report.conclusion = conclusion.map(Into::into);
    });
}

fn ends(bench: &mut Bench, boot: BootId) {
    let end = RunEnd {
        exit: RunExit::Code(0),
        elapsed_ms: 5,
        log_bytes: 0,
    };
    bench.say(boot, KEY, AgentMessage::Finished(end));
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    bench.now += 20_000;
}

fn runs(bench: &mut Bench, boot: BootId, label: &str, conclusion: &str) {
    bench.settle("dispatch-workflow", Outcome::Dispatched(Ok(None)));
    report(bench, label, JobAction::Queued, None);
    report(bench, label, JobAction::InProgress, None);
    report(bench, label, JobAction::Completed, Some(conclusion));
    ends(bench, boot);
}

#[test]
fn a_new_sled_serves_after_its_run_succeeded() {
    let (mut bench, boot, label) = listening();
    let Some((
        _,
        Effect::DispatchWorkflow {
            repository,
            workflow,
            reference,
            inputs,
            ..
        },
    )) = bench.effect("dispatch-workflow")
    else {
        panic!("it is dispatched");
    };
    assert_eq!(
        (repository.as_str(), workflow.as_str(), reference.as_str()),
        ("octo/infra", "accept.yml", "main")
    );
    let input = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        inputs,
        [input("sled", "sled-1 of linux"), input("runner", &label)]
    );
    let nonce = label.strip_prefix("musher-accept-").unwrap_or_default();
    assert_eq!(nonce.len(), 32, "{label}");
    runs(&mut bench, boot, &label, "success");
    assert!(sled(&bench, "sled-1").acceptance.is_none());
    tick(&mut bench);
    // The job that waited gets it now, with the pool's labels.
    let next = bench.live();
    assert_ne!(next, boot);
    bench.walk(&BootStage::Ready);
    let Some((_, Effect::Mint { labels, .. })) = bench.effect("mint") else {
        panic!("it is minted");
    };
    assert_eq!(labels, Labels::new(["linux", "self-hosted"]));
}

#[test]
fn anything_but_success_withholds_with_the_page() {
    for word in ["failure", "cancelled", "timed_out"] {
        let (mut bench, boot, label) = listening();
        runs(&mut bench, boot, &label, word);
        let row = sled(&bench, "sled-1");
        let reason = row.reason.unwrap_or_default();
        assert_eq!(row.state, "Quarantined");
        assert!(reason.contains(word) && reason.contains(PAGE), "{reason}");
        tick(&mut bench);
        assert_eq!(boots(&bench), []);
        // Released it owes another run, under another label.
        let one = "sled-1".to_owned();
        assert_eq!(lever(&mut bench, Lever::Release { sled: one }), Ok(()));
        tick(&mut bench);
        bench.walk(&BootStage::Ready);
        assert_ne!(self::label(&bench), label);
    }
}

#[test]
fn its_verdict_waits_for_the_proof_of_off() {
    let (mut bench, boot, label) = listening();
    bench.settle("dispatch-workflow", Outcome::Dispatched(Ok(None)));
    // GitHub tells of the start only, then the sled is off.
    report(&mut bench, &label, JobAction::InProgress, None);
    ends(&mut bench, boot);
    tick(&mut bench);
    assert_eq!(boots(&bench), []);
    assert!(sled(&bench, "sled-1").acceptance.is_some());
    report(&mut bench, &label, JobAction::Completed, Some("success"));
    tick(&mut bench);
    assert_eq!(boots(&bench).len(), 1, "the job that waited is served");
    // And the other way round.
    let (mut bench, _, label) = listening();
    bench.settle("dispatch-workflow", Outcome::Dispatched(Ok(None)));
    report(&mut bench, &label, JobAction::InProgress, None);
    report(&mut bench, &label, JobAction::Completed, Some("success"));
    assert!(sled(&bench, "sled-1").acceptance.is_some());
}

#[test]
fn what_github_failed_is_tried_again() {
    let refused = || GithubFailure::Refused("no permission".into());
    let (mut bench, boot, _) = listening();
    bench.settle("dispatch-workflow", Outcome::Dispatched(Err(refused())));
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    let row = sled(&bench, "sled-1");
    let reason = row.reason.unwrap_or_default();
    assert_eq!(row.state, "Off");
    assert!(reason.contains("no permission"), "{reason}");
    tick(&mut bench);
    assert_eq!(boots(&bench), [], "not at once");
    bench.now += 10 * 60_000;
    tick(&mut bench);
    assert_eq!(boots(&bench).len(), 1);
    // One without an answer may have happened: the runner waits for its job.
    let (mut bench, boot, label) = listening();
    let lost = || GithubFailure::Unavailable("timeout".into());
    bench.settle("dispatch-workflow", Outcome::Dispatched(Err(lost())));
    assert_eq!(bench.effect("dispatch-workflow"), None);
    assert_eq!(bench.stage(boot), BootStage::Running);
    report(&mut bench, &label, JobAction::InProgress, None);
    report(&mut bench, &label, JobAction::Completed, Some("success"));
    ends(&mut bench, boot);
    assert!(sled(&bench, "sled-1").acceptance.is_none());
}

#[test]
fn a_boot_that_fails_withholds() {
    let mut bench = alone();
    let boot = bench.walk(&BootStage::Wiping);
    let stage = messages::Stage::Scratch;
    let reason = "no memory".into();
    bench.say(boot, KEY, AgentMessage::Failed { stage, reason });
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    let reason = sled(&bench, "sled-1").reason.unwrap_or_default();
    assert!(reason.contains("no memory"), "{reason}");
    assert_eq!(sled(&bench, "sled-1").state, "Quarantined");
}

#[test]
fn people_judge_by_hand() {
    let name = || "sled-1".to_owned();
    // By the sled's name, before anything was begun.
    let mut bench = asking();
    let accept = |acceptance: String, passed| Lever::Accept { acceptance, passed };
    assert_eq!(lever(&mut bench, accept(name(), true)), Ok(()));
    assert!(sled(&bench, "sled-1").acceptance.is_none());
    assert_eq!(
        lever(&mut bench, accept(name(), true)),
        Err(InventoryError::NoAcceptance(name()))
    );
    // One that is withheld is released first.
    let mut bench = asking();
    let quarantine = Lever::Quarantine {
        sled: name(),
        reason: "a broken fan".into(),
    };
    assert_eq!(lever(&mut bench, quarantine), Ok(()));
    assert_eq!(
        lever(&mut bench, accept(name(), true)),
        Err(InventoryError::Quarantined(name()))
    );
    assert!(sled(&bench, "sled-1").acceptance.is_some());
    let release = Lever::Release { sled: name() };
    assert_eq!(lever(&mut bench, release), Ok(()));
    assert_eq!(lever(&mut bench, accept(name(), true)), Ok(()));
    assert!(sled(&bench, "sled-1").acceptance.is_none());
    // By the nonce of its try, while its runner listens: it goes on to its end.
    for (passed, state) in [(true, "Off"), (false, "Quarantined")] {
        let (mut bench, boot, label) = listening();
        let nonce = label.replace("musher-accept-", "");
        assert_eq!(lever(&mut bench, accept(nonce, passed)), Ok(()));
        assert_eq!(bench.stage(boot), BootStage::Running);
        ends(&mut bench, boot);
        assert_eq!(sled(&bench, "sled-1").state, state);
    }
}

#[test]
fn jobs_of_others_do_not_count() {
    let (mut bench, _, label) = listening();
    // Another repository asks for the very label: it is none of ours.
    let ignored = bench.deliver_as(80, JobAction::Queued, None, |report| {
        report.repository = "octo/other".into();
        report.labels = Labels::new([label.as_str()]);
    });
    assert_eq!(ignored, DeliveryResult::Ignored);
    // A public repository is nobody's to trust.
    let ignored = bench.deliver_as(81, JobAction::Queued, None, |report| {
        report.repository = "octo/infra".into();
        report.labels = Labels::new([label.as_str()]);
        report.public = true;
    });
    assert_eq!(ignored, DeliveryResult::Ignored);
}

#[test]
fn what_comes_back_into_service_proves_itself_again() {
    let mut bench = asking();
    for n in 1..=2 {
        let acceptance = format!("sled-{n}");
        let passed = true;
        assert_eq!(
            lever(&mut bench, Lever::Accept { acceptance, passed }),
            Ok(())
        );
    }
    let name = || "sled-1".to_owned();
    let owes = |bench: &Bench| sled(bench, "sled-1").acceptance.is_some();
    // Drained and resumed: nothing was done to it.
    assert_eq!(lever(&mut bench, Lever::Drain { sled: name() }), Ok(()));
    assert_eq!(lever(&mut bench, Lever::Resume { sled: name() }), Ok(()));
    assert!(!owes(&bench));
    let accept = || Lever::Accept {
        acceptance: name(),
        passed: true,
    };
    let reason = || "fan".to_owned();
    let ways = [
        (
            Lever::Maintain {
                sled: name(),
                reason: reason(),
            },
            Lever::Resume { sled: name() },
        ),
        (
            Lever::Quarantine {
                sled: name(),
                reason: reason(),
            },
            Lever::Release { sled: name() },
        ),
        (
            Lever::Drain { sled: name() },
            Lever::Readopt { sled: name() },
        ),
    ];
    for (out, back) in ways {
        assert_eq!(lever(&mut bench, out), Ok(()));
        assert_eq!(lever(&mut bench, back.clone()), Ok(()));
        assert!(owes(&bench), "{back:?}");
        assert_eq!(lever(&mut bench, accept()), Ok(()));
    }
}

#[test]
fn a_run_that_ends_without_its_job_withholds_with_its_page() {
    let run = |id| {
        let page = Some("https://github.example/octo/infra/actions/runs/7".into());
        Outcome::Dispatched(Ok(Some(DispatchedRun { id, page })))
    };
    let tell = |bench: &mut Bench, run_id, word: Option<&str>| {
        let report = RunReport {
            run_id,
            repository: "octo/infra".into(),
            conclusion: word.map(Into::into),
            page: None,
        };
        bench.say_hook(Hook::Run(Box::new(report)))
    };
    let (mut bench, boot, _) = listening();
    bench.settle("dispatch-workflow", run(7));
    for (id, word) in [(7, None), (7, Some("success")), (8, Some("failure"))] {
        assert_eq!(tell(&mut bench, id, word), DeliveryResult::Ignored);
    }
    assert_eq!(
        tell(&mut bench, 7, Some("failure")),
        DeliveryResult::Updated
    );
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    let row = sled(&bench, "sled-1");
    let reason = row.reason.unwrap_or_default();
    assert_eq!(row.state, "Quarantined");
    assert!(
        reason.contains("ended as failure") && reason.contains("runs/7"),
        "{reason}"
    );

    // Its end is told before the dispatch is answered.
    let (mut bench, _, _) = listening();
    assert_eq!(
        tell(&mut bench, 7, Some("failure")),
        DeliveryResult::Ignored
    );
    bench.settle("dispatch-workflow", run(8));
    assert_eq!(bench.effect("delete-runner"), None);
    let (mut bench, _, _) = listening();
    assert_eq!(
        tell(&mut bench, 7, Some("failure")),
        DeliveryResult::Ignored
    );
    bench.settle("dispatch-workflow", run(7));
    assert!(bench.effect("delete-runner").is_some());

    // Its job came after all: that decides.
    let (mut bench, boot, label) = listening();
    bench.settle("dispatch-workflow", run(7));
    assert_eq!(
        tell(&mut bench, 7, Some("cancelled")),
        DeliveryResult::Updated
    );
    report(&mut bench, &label, JobAction::InProgress, None);
    report(&mut bench, &label, JobAction::Completed, Some("success"));
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    ends(&mut bench, boot);
    assert!(sled(&bench, "sled-1").acceptance.is_none());
}

#[test]
fn what_no_pool_asks_for_any_more_is_not_owed() {
    let owes = |bench: &Bench| sled(bench, "sled-1").acceptance.is_some();
    let (mut bench, boot, _) = listening();
    bench.declare(Bench::pool());
    assert!(owes(&bench), "its try goes on");
    ends(&mut bench, boot);
    assert!(!owes(&bench));

    let (mut bench, boot, label) = listening();
    bench.declare(Bench::pool());
    runs(&mut bench, boot, &label, "failure");
    let sled = "sled-1".to_owned();
    assert_eq!(lever(&mut bench, Lever::Release { sled }), Ok(()));
    assert!(!owes(&bench));
}

#[test]
fn a_restart_neither_forgets_nor_dispatches_twice() {
    let (mut bench, boot, label) = listening();
    assert!(bench.effect("dispatch-workflow").is_some());
    let mut rows = std::collections::BTreeMap::new();
    for change in &bench.written {
        let key = (change.table, change.key.clone());
        match &change.value {
            Some(value) => drop(rows.insert(key, value.clone())),
            None => drop(rows.remove(&key)),
        }
    }
    let rows = rows
        .into_iter()
        .map(|((table, key), value)| (table, key, value));
    bench.state = State::load(ApplianceId([1; 4]), Limits::default(), rows).expect("it loads");
    bench.step(Event::Started);
    // Whether it was dispatched nobody knows; its runner waits for its job.
    assert_eq!(bench.effect("dispatch-workflow"), None);
    assert_eq!(bench.stage(boot), BootStage::Running);
    tick(&mut bench);
    assert_eq!(
        boots(&bench),
        [boot],
        "it is no supply for the job that waits"
    );
    report(&mut bench, &label, JobAction::InProgress, None);
    report(&mut bench, &label, JobAction::Completed, Some("success"));
    ends(&mut bench, boot);
    assert!(sled(&bench, "sled-1").acceptance.is_none());
}

#[test]
fn a_runner_that_registered_itself_is_known_by_its_name() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Ready);
    let name = bench.state.boot(boot).and_then(|row| row.runner.clone());
    let name = name.expect("it is being minted").name;
    bench.settle("mint", Outcome::Minted(Ok(None)));
    bench.walk(&BootStage::Running);
    let mut report = |name: &str, number| {
        let name = name.to_owned();
        bench.deliver_as(
            number,
            JobAction::InProgress,
            Some(RunnerId(44)),
            |report| {
                report.runner = Some((RunnerId(44), name.as_str().into()));
            },
        );
        bench
            .state
            .boot(boot)
            .and_then(|row| row.job)
            .map(|job| job.number)
    };
    assert_eq!(report("musher-01010101-sled-1-1-9", 9), None);
    assert_eq!(report(&name, 1), Some(1));
    let row = bench.state.boot(boot).and_then(|row| row.runner.clone());
    assert_eq!(row.and_then(|runner| runner.id), Some(RunnerId(44)));
    assert_eq!(bench.state.hub_name(HubId(1)), Some("main"));
}
