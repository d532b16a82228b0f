//! What happens after a job failed: holds for people, and reruns.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, KEY};
use messages::{AgentMessage, BootId, Instruction, RunEnd, RunExit, RunnerId};
use musher_control::{
    AgentReply, BootStage, Effect, Event, GithubFailure, JobAction, Lever, Outcome, PowerReading,
    Reply,
};

const MINUTE: u64 = 60_000;
const RUNNER: Option<RunnerId> = Some(RunnerId(5));

fn hold(bench: &mut Bench, seconds: u64) {
    for sled in ["sled-1", "sled-2"] {
        let sled = sled.into();
        let reply = bench.step(Event::Lever(Lever::Hold { sled, seconds }));
        assert_eq!(reply, Reply::Done(Ok(())));
    }
}

fn running(bench: &mut Bench) -> BootId {
    let boot = bench.walk(&BootStage::Running);
    bench.deliver(1, JobAction::InProgress, RUNNER);
    bench.now += MINUTE;
    boot
}

fn finish(bench: &mut Bench, boot: BootId, exit: RunExit) -> Instruction {
    let end = RunEnd {
        exit,
        elapsed_ms: 1,
        log_bytes: 1,
    };
    told(bench, boot, AgentMessage::Finished(end))
}

/// A rack whose sleds are to be held for an hour, and a runner that ended there.
fn held() -> (Bench, BootId) {
    let mut bench = Bench::new();
    hold(&mut bench, 3600);
    let boot = running(&mut bench);
    finish(&mut bench, boot, RunExit::Code(0));
    (bench, boot)
}

fn told(bench: &mut Bench, boot: BootId, message: AgentMessage) -> Instruction {
    match bench.say(boot, KEY, message) {
        AgentReply::Instruction { instruction, .. } => instruction,
        other => panic!("{other:?}"),
    }
}

/// GitHub ended the job after it had run there for a minute.
fn conclude(bench: &mut Bench, word: &str) {
    conclude_after(bench, word, MINUTE);
}

fn conclude_after(bench: &mut Bench, word: &str, ran_ms: u64) {
    bench.deliver_as(1, JobAction::Completed, RUNNER, |report| {
        report.conclusion = Some(word.into());
        report.ran_ms = Some(ran_ms);
    });
}

fn tick_to(bench: &mut Bench, after_ms: u64) {
    bench.now += after_ms;
    bench.step(Event::Tick);
}

#[test]
fn only_a_failed_job_holds_its_sled() {
    let check = |word: &str, held: bool| {
        let mut bench = Bench::new();
        hold(&mut bench, 3600);
        let boot = running(&mut bench);
        assert_eq!(
            finish(&mut bench, boot, RunExit::Code(0)),
            Instruction::Wait
        );
        assert_eq!(bench.stage(boot), BootStage::Held);
        conclude(&mut bench, word);
        let stays = bench.stage(boot) == BootStage::Held;
        assert_eq!(stays, held, "{word}");
        let next = told(&mut bench, boot, AgentMessage::Poll);
        assert_eq!(next == Instruction::Wait, held, "{word}: {next:?}");
        if held {
            bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
            let next = told(&mut bench, boot, AgentMessage::Poll);
            assert_eq!(next, Instruction::Hold);
        }
    };
    check("failure", true);
    check("timed_out", true);
    check("success", false);
    check("cancelled", false);
    check("skipped", false);
}

#[test]
fn a_sled_is_held_only_once_its_runner_is_gone_from_github() {
    let (mut bench, boot) = held();
    conclude(&mut bench, "failure");
    // GitHub takes its time: the sled is not kept for the whole hold on that.
    tick_to(&mut bench, 4 * MINUTE);
    assert_eq!(bench.stage(boot), BootStage::Held);
    tick_to(&mut bench, 2 * MINUTE);
    assert_ne!(bench.stage(boot), BootStage::Held);

    let (mut bench, boot) = held();
    conclude(&mut bench, "failure");
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    tick_to(&mut bench, 50 * MINUTE);
    assert_eq!(bench.stage(boot), BootStage::Held, "until the hold expires");
    // Over a restart too.
    bench.step(Event::Started);
    tick_to(&mut bench, 6 * MINUTE);
    assert_eq!(bench.stage(boot), BootStage::Held);
    tick_to(&mut bench, 5 * MINUTE);
    assert!(matches!(bench.stage(boot), BootStage::PoweringOff { .. }));
    bench.read_all(PowerReading::Off);
    assert_eq!(bench.stage(boot), BootStage::Ended);
    let row = bench.state.boot(boot).unwrap();
    assert_eq!(row.outcome, Some(messages::Outcome::Ran));
    assert!(row.receipt.is_some());
}

#[test]
fn a_hold_ends_when_it_is_lifted_or_nobody_asked_or_github_is_silent() {
    let (mut bench, boot) = held();
    conclude(&mut bench, "failure");
    bench.settle("delete-runner", Outcome::Deleted(Ok(true)));
    let sled = bench.state.sled_name(bench.state.boot(boot).unwrap().sled);
    let sled = sled.unwrap().to_owned();
    bench.step(Event::Lever(Lever::Unhold { sled }));
    assert!(matches!(bench.stage(boot), BootStage::PoweringOff { .. }));

    let mut bench = Bench::new();
    let boot = running(&mut bench);
    assert_eq!(
        finish(&mut bench, boot, RunExit::Code(0)),
        Instruction::Continue
    );

    let (mut bench, boot) = held();
    tick_to(&mut bench, 6 * MINUTE);
    assert!(matches!(bench.stage(boot), BootStage::PoweringOff { .. }));
}

#[test]
fn an_agent_that_does_not_wait_ends_its_hold() {
    let (mut bench, boot) = held();
    for _ in 0..6 {
        bench.now += MINUTE;
        bench.read_all(PowerReading::Off);
    }
    assert_eq!(bench.stage(boot), BootStage::Ended);
    assert_eq!(
        bench.state.boot(boot).unwrap().outcome,
        Some(messages::Outcome::Ran)
    );
}

fn with_reruns(max: u32) -> Bench {
    Bench::with(|pool| pool.policy.max_reruns = max)
}

/// Its sled loses power in mid-run.
fn lose_power(bench: &mut Bench) {
    for _ in 0..4 {
        bench.now += MINUTE;
        bench.read_all(PowerReading::Off);
    }
}

fn rerun(bench: &Bench) -> bool {
    bench.effect("rerun-job").is_some()
}

#[test]
fn a_job_that_its_sled_failed_is_run_again() {
    let mut bench = with_reruns(1);
    running(&mut bench);
    lose_power(&mut bench);
    assert!(!rerun(&bench), "GitHub has not ended it yet");
    conclude_after(&mut bench, "failure", 11 * MINUTE);
    let (_, effect) = bench.effect("rerun-job").expect("it is run again");
    let Effect::RerunJob { job, .. } = effect else {
        panic!("{effect:?}")
    };
    assert_eq!(job.number, 1);
    // Refused while the run is open; asked again later.
    let refused = GithubFailure::Refused("the run is open".into());
    bench.settle("rerun-job", Outcome::Rerun(Err(refused)));
    assert!(rerun(&bench));
    bench.settle("rerun-job", Outcome::Rerun(Ok(())));
    assert!(!rerun(&bench));
}

#[test]
fn nothing_else_is_run_again() {
    // By default nothing is.
    let mut bench = Bench::new();
    running(&mut bench);
    lose_power(&mut bench);
    conclude_after(&mut bench, "failure", 11 * MINUTE);
    assert!(!rerun(&bench));
    // It ended by itself, with whatever conclusion.
    for word in ["failure", "success", "cancelled"] {
        let mut bench = with_reruns(3);
        let boot = running(&mut bench);
        finish(&mut bench, boot, RunExit::Code(0));
        conclude_after(&mut bench, word, 11 * MINUTE);
        assert!(!rerun(&bench), "{word}");
    }
    // It was cancelled or did well before its sled was lost.
    for word in ["success", "cancelled"] {
        let mut bench = with_reruns(3);
        running(&mut bench);
        lose_power(&mut bench);
        conclude_after(&mut bench, word, 11 * MINUTE);
        assert!(!rerun(&bench), "{word}");
    }
    // It failed, and its sled was lost after that, however late we hear of it.
    let mut bench = with_reruns(3);
    running(&mut bench);
    conclude(&mut bench, "failure");
    lose_power(&mut bench);
    assert!(!rerun(&bench));
    let mut bench = with_reruns(3);
    running(&mut bench);
    lose_power(&mut bench);
    bench.now += 60 * MINUTE;
    conclude(&mut bench, "failure");
    assert!(!rerun(&bench));
    // Nobody here knows how long its agent lived.
    let mut bench = with_reruns(3);
    running(&mut bench);
    bench.step(Event::Started);
    lose_power(&mut bench);
    conclude_after(&mut bench, "failure", 11 * MINUTE);
    assert!(!rerun(&bench));
    // It took too long.
    let mut bench = with_reruns(3);
    let boot = running(&mut bench);
    for _ in 0..(8 * 60) {
        tick_to(&mut bench, MINUTE);
        if bench.stage(boot) == BootStage::Running {
            told(
                &mut bench,
                boot,
                AgentMessage::Log {
                    offset: 0,
                    bytes: Vec::new(),
                },
            );
        }
    }
    assert_ne!(bench.stage(boot), BootStage::Running);
    conclude_after(&mut bench, "failure", 6 * 60 * MINUTE);
    assert!(!rerun(&bench));
    // It had its reruns.
    let mut bench = with_reruns(2);
    bench.deliver_as(1, JobAction::Queued, None, |report| report.run_attempt = 3);
    running(&mut bench);
    lose_power(&mut bench);
    conclude_after(&mut bench, "failure", 11 * MINUTE);
    assert!(!rerun(&bench));
}

#[test]
fn github_gives_up_a_silent_sled_before_we_do() {
    let mut bench = with_reruns(1);
    let boot = running(&mut bench);
    // Its agent spoke last at the acceptance; GitHub ends the job in between.
    tick_to(&mut bench, 12 * MINUTE);
    conclude_after(&mut bench, "failure", 12 * MINUTE);
    assert!(!rerun(&bench), "it is not known to be lost");
    tick_to(&mut bench, 6 * MINUTE);
    assert!(!matches!(bench.stage(boot), BootStage::Running));
    assert!(rerun(&bench));
}

#[test]
fn a_newer_attempt_ends_the_asking() {
    let mut bench = with_reruns(1);
    running(&mut bench);
    lose_power(&mut bench);
    conclude_after(&mut bench, "failure", 12 * MINUTE);
    assert!(rerun(&bench));
    // The answer to our request was lost; its job comes all the same.
    bench.deliver_as(2, JobAction::Queued, None, |report| report.run_attempt = 2);
    assert!(!rerun(&bench));
}
