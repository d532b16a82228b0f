//! The spine by hand: one pool, two sleds, each rule with its own small table.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, KEY};
use messages::{AgentKey, AgentMessage, BootId, Millis, RunEnd, RunExit, RunnerId};
use musher_control::{
    AgentReply, BootStage, Effect, Event, GithubFailure, JobAction, JobAnswer, JobState, Lever,
    Limits, Outcome, Power, PowerFailure, PowerReading, SledView,
};

const STAGES: [BootStage; 6] = [
    BootStage::PoweringOn,
    BootStage::Netbooting,
    BootStage::Wiping,
    BootStage::Ready,
    BootStage::Ordered,
    BootStage::Running,
];

#[test]
fn jobs_only_move_forward_in_every_order() {
    let actions = [
        JobAction::Queued,
        JobAction::Waiting,
        JobAction::InProgress,
        JobAction::Completed,
    ];
    for code in 0..256usize {
        let mut bench = Bench::new();
        let mut highest = None;
        for place in 0..4 {
            let action = actions[(code >> (2 * place)) & 3];
            bench.deliver(1, action, None);
            let state = match action {
                JobAction::Queued => Some(JobState::Queued),
                // Waiting for an approval says nothing of a job we do not know.
                JobAction::Waiting => highest,
                JobAction::InProgress => Some(JobState::InProgress),
                JobAction::Completed => Some(JobState::Completed),
            };
            highest = highest.max(state);
            let found = bench.state.jobs().next().map(|(_, job)| job.state);
            assert_eq!(found, highest, "order {code:08b}, place {place}");
        }
    }
}

#[test]
fn each_stage_has_a_deadline_after_which_the_sled_goes_off() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        if stage == BootStage::Running {
            bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
        }
        bench.now = bench.state.boot(boot).unwrap().deadline.0;
        bench.step(Event::Tick);
        let after = bench.stage(boot);
        assert!(
            matches!(after, BootStage::PoweringOff { .. }),
            "{stage:?} became {after:?}"
        );
    }
}

#[test]
fn an_agent_that_went_silent_in_a_run_is_cut() {
    let silent = Limits::default().silent_agent_ms;
    for (heard_again, expect_off) in [(false, true), (true, false)] {
        let mut bench = Bench::new();
        let boot = bench.walk(&BootStage::Running);
        bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
        // The pool's limit must not be what ends it.
        let started = bench.now;
        bench.now = started + silent / 2;
        if heard_again {
            let log = AgentMessage::Log {
                offset: 0,
                bytes: Vec::new(),
            };
            bench.say(boot, KEY, log);
        }
        let deadline = bench.state.boot(boot).unwrap().deadline.0;
        assert!(deadline > started + silent, "{deadline}");
        bench.now = started + silent;
        bench.step(Event::Tick);
        let off = matches!(bench.stage(boot), BootStage::PoweringOff { .. });
        assert_eq!(off, expect_off, "heard again: {heard_again}");
    }
}

#[test]
fn a_job_cancelled_before_pickup_calls_its_boot_off() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        bench.deliver(1, JobAction::Completed, None);
        let after = bench.stage(boot);
        // A runner that was started may have been given another job.
        let left_alone = stage == BootStage::Running;
        assert_eq!(after == stage, left_alone, "{stage:?} became {after:?}");
    }
}

#[test]
fn a_boot_that_failed_is_retried_on_the_other_sled() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Netbooting);
    let first = bench.state.boot(boot).unwrap().sled;
    bench.now = bench.state.boot(boot).unwrap().deadline.0;
    bench.step(Event::Tick);
    let second = bench
        .state
        .boots()
        .find(|(_, row)| row.stage == BootStage::PoweringOn)
        .map(|(_, row)| row.sled);
    assert!(second.is_some_and(|second| second != first), "{second:?}");
}

#[test]
fn three_failures_in_a_row_quarantine_a_sled() {
    let mut bench = Bench::new();
    // Two that fail together are nobody's fault.
    let other = "sled-2".into();
    bench.step(Event::Lever(Lever::Drain { sled: other }));
    bench.deliver(1, JobAction::Queued, None);
    for _ in 0..40 {
        bench.now += 11 * 60_000;
        bench.step(Event::Tick);
        while bench.effect("power-off").is_some() {
            bench.settle("power-off", Outcome::PoweredOff(Ok(())));
        }
        bench.read_all(PowerReading::Off);
        bench.now += 3_000;
        bench.step(Event::Tick);
    }
    assert!(
        bench
            .state
            .sleds()
            .all(|(_, sled)| sled.quarantine.is_some() == (sled.name.as_ref() == "sled-1"))
    );
    assert!(
        bench
            .state
            .sleds()
            .all(|(_, sled)| matches!(sled.power, Power::Off { .. }))
    );
    assert_eq!(bench.state.receipt_head().0, 3);
}

#[test]
fn a_second_redeemer_ends_the_boot_at_each_stage() {
    for stage in &STAGES[2..] {
        let mut bench = Bench::new();
        let boot = bench.walk(stage);
        let reply = bench.say(boot, AgentKey([9; 32]), Bench::hello());
        assert!(matches!(reply, AgentReply::Refused(_)), "{stage:?}");
        assert!(
            matches!(bench.stage(boot), BootStage::PoweringOff { .. }),
            "{stage:?}"
        );
        let registered = matches!(stage, BootStage::Ordered | BootStage::Running);
        assert_eq!(
            bench.effect("delete-runner").is_some(),
            registered,
            "{stage:?}"
        );
        let sled = bench.state.boot(boot).unwrap().sled;
        let quarantined = bench
            .state
            .sleds()
            .any(|(id, row)| id == sled && row.quarantine.is_some());
        assert!(quarantined, "{stage:?}");
    }
}

#[test]
fn a_restart_voids_what_was_in_memory_only() {
    for stage in STAGES {
        let mut bench = Bench::new();
        let boot = bench.walk(&stage);
        bench.step(Event::Started);
        let expect = match stage {
            BootStage::Ordered => BootStage::Ready,
            other => other,
        };
        assert_eq!(bench.stage(boot), expect);
        let voided = bench.effect("delete-runner").is_some();
        assert_eq!(voided, expect == BootStage::Ready, "{expect:?}");
        assert!(
            bench.effect("mint").is_none(),
            "a name is deleted before another is minted"
        );
    }
}

#[test]
fn a_minting_that_lands_after_its_boot_is_deleted_by_its_outcome() {
    let mut bench = Bench::new();
    bench.walk(&BootStage::Ready);
    bench.deliver(1, JobAction::Completed, None);
    assert!(
        bench.effect("delete-runner").is_none(),
        "a delete could come first"
    );
    bench.settle("mint", Outcome::Minted(Ok(Some(RunnerId(8)))));
    let Some((_, Effect::DeleteRunner { id, .. })) = bench.effect("delete-runner") else {
        panic!("the runner is left");
    };
    assert_eq!(id, Some(RunnerId(8)));
}

fn finished() -> AgentMessage {
    AgentMessage::Finished(RunEnd {
        exit: RunExit::Code(0),
        elapsed_ms: 1,
        log_bytes: 0,
    })
}

#[test]
fn a_run_ends_in_a_receipt_and_a_free_sled() {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
    bench.say(boot, KEY, finished());
    // Its agent spoke a moment ago: one signal is not enough.
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 0 });
    bench.now += 11_000;
    let log = AgentMessage::Log {
        offset: 0,
        bytes: Vec::new(),
    };
    bench.say(boot, KEY, log);
    bench.now += 2_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 0 });
    bench.now += 11_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    assert_eq!(bench.state.receipt_head().0, 1);
}

#[test]
fn a_dark_sled_is_cut_before_it_is_off() {
    // It turned itself off after its run: nobody waits for a deadline.
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
    bench.say(boot, KEY, finished());
    bench.now += 5_000;
    bench.read_all(PowerReading::Dark);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 0 });
    bench.now += 8_000;
    bench.read_all(PowerReading::Dark);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });
    bench.settle("power-off", Outcome::PoweredOff(Ok(())));
    bench.read_all(PowerReading::Dark);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });
    assert!(bench.effect("power-off").is_none(), "once is enough");
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);

    // It lost its power in a run: cut once its agent is silent for long enough.
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(1, JobAction::InProgress, Some(RunnerId(5)));
    bench.read_all(PowerReading::Dark);
    assert_eq!(bench.stage(boot), BootStage::Running);
    for _ in 0..6 {
        bench.now += 60_000;
        bench.read_all(PowerReading::Dark);
    }
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });

    // One that nobody claimed gets no job before its relay was opened.
    let mut bench = Bench::new();
    bench.read_all(PowerReading::Dark);
    bench.deliver(1, JobAction::Queued, None);
    assert_eq!(boots_of(&bench), 0);
    bench.read_all(PowerReading::Off);
    bench.now += 10_000;
    bench.step(Event::Tick);
    assert_eq!(boots_of(&bench), 1);
}

/// Its run ended before GitHub named the job: pull mode, and a short job.
fn ended_unnamed() -> (Bench, BootId) {
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    bench.now += 5_000;
    bench.say(boot, KEY, finished());
    (bench, boot)
}

fn boots_of(bench: &Bench) -> usize {
    bench.state.boots().count()
}

#[test]
fn a_job_that_its_boot_may_have_run_gets_no_other_before_github_was_asked() {
    let (mut bench, boot) = ended_unnamed();
    bench.step(Event::Tick);
    assert_eq!(boots_of(&bench), 1, "a sled is free, and not taken");
    let said = bench.state.explain(Millis(bench.now), 1).unwrap();
    assert_eq!(said.reason, "asking");
    assert!(bench.state.next_wake().unwrap() <= Millis(bench.now));
    let answer = |bench: &mut Bench, action| {
        let report = Bench::report(1, action, Some(RunnerId(5)));
        let answer = JobAnswer::Report(Box::new(report));
        bench.settle("look-up-job", Outcome::LookedUp(Ok(answer)));
    };
    let mut ran = bench.clone();
    answer(&mut ran, JobAction::Completed);
    let job = ran.state.jobs().next().unwrap().1;
    assert_eq!((job.state, job.boot), (JobState::Completed, Some(boot)));
    assert_eq!(boots_of(&ran), 1);

    let mut waits = bench.clone();
    answer(&mut waits, JobAction::Queued);
    assert_eq!(boots_of(&waits), 2, "its runner had another job");

    // GitHub is silent for longer than the sled takes.
    bench.now += 13_000;
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    assert_eq!(boots_of(&bench), 2);
}

#[test]
fn a_job_does_not_wait_for_a_sled_that_does_not_go_off() {
    let (mut bench, boot) = ended_unnamed();
    bench.now += Limits::default().power_off_ms;
    bench.step(Event::Tick);
    assert_eq!(bench.stage(boot), BootStage::PoweringOff { cuts: 1 });
    assert_eq!(boots_of(&bench), 2);
}

#[test]
fn a_name_is_deleted_once_more_late_enough_after_any_restart() {
    for jump in [0i64, 3_600_000, -500_000] {
        let mut bench = Bench::new();
        let boot = bench.walk(&BootStage::Ready);
        let runner = bench.state.boot(boot).unwrap().runner.clone();
        let first = runner.expect("it is being registered").name;
        let lost = GithubFailure::Unavailable("no answer".into());
        bench.settle("mint", Outcome::Minted(Err(lost)));
        bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
        bench.now = bench.now.saturating_add_signed(jump);
        bench.step(Event::Started);
        // The registration may still be under way.
        let due = |after: u64| {
            let mut due = bench.state.due_effects(Millis(bench.now + after));
            due.any(
                |(_, effect)| matches!(effect, Effect::DeleteRunner { name, .. } if *name == first),
            )
        };
        assert!(!due(119_000), "jump of {jump} ms");
        assert!(due(120_000), "jump of {jump} ms");
    }
}

#[test]
fn a_sled_that_was_given_up_holds_no_place_in_its_pool() {
    let mut bench = Bench::with(|pool| pool.policy.max_sleds = Some(1));
    let dead = bench.walk(&BootStage::Netbooting);
    for _ in 0..60 {
        bench.now += 60_000;
        bench.step(Event::Tick);
        while let Some((id, Effect::PowerOff { .. })) = bench.effect("power-off") {
            bench.step(Event::Outcome {
                id,
                outcome: Outcome::PoweredOff(Ok(())),
            });
        }
    }
    assert!(bench.state.boot(dead).unwrap().is_given_up());
    let others = bench.state.boots().filter(|(id, _)| *id != dead);
    assert_eq!(others.count(), 1, "the other sled serves the job");
}

#[test]
fn a_sled_whose_power_contradicts_itself_is_withheld() {
    let failure = PowerFailure {
        permanent: false,
        contradiction: true,
        message: "off was accepted, and it reads on".into(),
    };
    let check = |bench: &Bench| {
        let mut withheld = bench
            .state
            .sleds()
            .filter_map(|(_, sled)| sled.quarantine.as_ref());
        let reason = &withheld.next().expect("it is withheld").reason;
        assert!(reason.contains("it reads on"), "{reason}");
    };
    let mut bench = Bench::new();
    let (sled, row) = bench.state.sleds().next().unwrap();
    let read = Event::PowerRead {
        sled,
        generation: row.generation,
        result: Err(failure.clone()),
    };
    bench.step(read);
    check(&bench);
    // While a job runs, nothing is cut.
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    let sled = bench.state.boot(boot).unwrap().sled;
    let generation = bench.state.generation(sled).unwrap();
    bench.step(Event::PowerRead {
        sled,
        generation,
        result: Err(failure.clone()),
    });
    check(&bench);
    assert_eq!(bench.stage(boot), BootStage::Running);
    let mut bench = Bench::new();
    bench.walk(&BootStage::PoweringOn);
    bench.settle("power-on", Outcome::PoweredOn(Err(failure)));
    check(&bench);
    // People read that first, whatever ends its boot.
    let boot = bench.live();
    bench.now = bench.state.boot(boot).unwrap().deadline.0;
    bench.step(Event::Tick);
    assert!(matches!(bench.stage(boot), BootStage::PoweringOff { .. }));
    let sleds = bench.state.status(Millis(bench.now), 0).sleds;
    let shown = |sled: &&SledView| {
        sled.reason
            .as_ref()
            .is_some_and(|it| it.contains("reads on"))
    };
    assert_eq!(sleds.iter().filter(shown).count(), 1, "{sleds:?}");
}
