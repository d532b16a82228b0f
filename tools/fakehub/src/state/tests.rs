use super::jobs::fits;
use super::*;
use crate::config::Limits;

const NOW_MS: i64 = 1_800_000_000_000;

fn org() -> Scope {
    Scope::Org {
        account: "Octo-Org".into(),
    }
}

fn runner(labels: &[&str], scope: Scope) -> NewRunner {
    NewRunner {
        name: "sled".into(),
        labels: labels.iter().map(|it| (*it).to_owned()).collect(),
        group: (1, "Default".into()),
        takes_public: false,
        scope,
        work_folder: "_work".into(),
    }
}

fn job(labels: &[&str]) -> NewJob {
    NewJob {
        name: "build".into(),
        account: "octo-org".into(),
        repo: "demo".into(),
        public: false,
        labels: labels.iter().map(|it| (*it).to_owned()).collect(),
        run: None,
        script: "true".into(),
    }
}

fn ready(state: &mut State) -> (u64, String, String) {
    let made = state
        .register(runner(&["linux"], org()), NOW_MS)
        .expect("room")
        .clone();
    let session = state
        .open_session(made.id, &made.secret, None, NOW_MS)
        .expect("a session");
    (made.id, made.secret, session)
}

#[test]
fn labels_of_the_job_are_a_subset_without_case() {
    let check = |runs_on: &[&str], has: &[&str], expect: bool| {
        let mut state = State::default();
        let runner = state
            .register(runner(has, org()), NOW_MS)
            .expect("room")
            .clone();
        let (id, _) = state.queue(job(runs_on), NOW_MS).expect("room");
        assert_eq!(
            fits(&runner, &state.jobs[&id]),
            expect,
            "{runs_on:?} on {has:?}"
        );
    };
    check(&["linux"], &["self-hosted", "Linux", "x64"], true);
    check(
        &["Self-Hosted", "X64"],
        &["self-hosted", "linux", "x64"],
        true,
    );
    check(&[], &["linux"], true);
    check(&["linux", "gpu"], &["linux"], false);
    check(&["ubuntu-latest"], &["linux"], false);
}

#[test]
fn scope_and_group_bound_what_a_runner_takes() {
    let check = |scope: Scope, public: bool, takes_public: bool, expect: bool| {
        let mut state = State::default();
        let new = NewRunner {
            takes_public,
            ..runner(&["linux"], scope.clone())
        };
        let runner = state.register(new, NOW_MS).expect("room").clone();
        let (id, _) = state
            .queue(
                NewJob {
                    public,
                    ..job(&["linux"])
                },
                NOW_MS,
            )
            .expect("room");
        assert_eq!(
            fits(&runner, &state.jobs[&id]),
            expect,
            "{scope:?} {public} {takes_public}"
        );
    };
    let repo = |name: &str| Scope::Repo {
        account: "octo-org".into(),
        repo: name.into(),
    };
    check(org(), false, false, true);
    check(org(), true, false, false);
    check(org(), true, true, true);
    check(repo("Demo"), false, false, true);
    check(repo("other"), false, false, false);
    check(
        Scope::Org {
            account: "else".into(),
        },
        false,
        false,
        false,
    );
}

#[test]
fn a_runner_takes_one_job_and_goes() {
    let mut state = State::default();
    let (id, secret, session) = ready(&mut state);
    assert_eq!(
        state.open_session(id, &secret, None, NOW_MS),
        Err(SessionError::Conflict)
    );
    assert_eq!(
        state.open_session(id, "guess", None, NOW_MS),
        Err(SessionError::Unknown)
    );
    let (first, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    let (second, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    let taken = Announcement {
        job: first,
        status: Status::InProgress,
    };
    assert_eq!(state.take(id, NOW_MS), Some((first, Some(taken))));
    assert_eq!(
        state.take(id, NOW_MS),
        Some((first, None)),
        "the same job again"
    );
    assert_eq!(
        state.append_log(id, second, vec![]),
        Err(SessionError::NotYours)
    );
    assert_eq!(state.append_log(id, first, vec!["hello".into()]), Ok(false));
    let over = Announcement {
        job: first,
        status: Status::Completed,
    };
    assert_eq!(
        state.complete(id, first, Conclusion::Success, NOW_MS),
        Ok(Some(over))
    );
    assert!(
        state.runners.is_empty(),
        "an ephemeral runner goes with its job"
    );
    assert!(state.session(id, &secret, &session, NOW_MS).is_err());
    assert_eq!(state.jobs[&second].status, Status::Queued);
}

#[test]
fn cancel_ends_queued_jobs_and_tells_runners() {
    let mut state = State::default();
    let (id, ..) = ready(&mut state);
    let (first, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    let (second, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    state.take(id, NOW_MS);
    assert_eq!(state.cancel(first, NOW_MS), Some(None));
    assert_eq!(state.append_log(id, first, vec![]), Ok(true));
    let over = Announcement {
        job: second,
        status: Status::Completed,
    };
    assert_eq!(state.cancel(second, NOW_MS), Some(Some(over)));
    assert_eq!(state.cancel(second, NOW_MS), Some(None), "only once");
    assert_eq!(state.cancel(7, NOW_MS), None);
}

#[test]
fn time_removes_idle_runners_and_fails_lost_jobs() {
    let limits = Limits::default();
    let mut state = State::default();
    let (id, ..) = ready(&mut state);
    let mut idle = runner(&["gpu"], org());
    idle.name = "idle".into();
    state.register(idle, NOW_MS).expect("room");
    let (first, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    state.take(id, NOW_MS);
    assert!(state.sweep(&limits, NOW_MS + 299_999).is_empty());
    assert_eq!(state.runners.len(), 2);
    assert!(state.sweep(&limits, NOW_MS + 300_000).is_empty());
    assert_eq!(state.runners.keys().collect::<Vec<_>>(), [&id]);
    let ended = state.sweep(&limits, NOW_MS + 600_000);
    assert_eq!(
        ended,
        [Announcement {
            job: first,
            status: Status::Completed
        }]
    );
    assert_eq!(state.jobs[&first].conclusion, Some(Conclusion::Failure));
    assert!(state.runners.is_empty());
}

#[test]
fn a_cancelled_job_ends_without_its_runner() {
    let mut state = State::default();
    let (id, ..) = ready(&mut state);
    let (first, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    state.take(id, NOW_MS);
    state.cancel(first, NOW_MS);
    state.sweep(&Limits::default(), NOW_MS + 300_000);
    assert_eq!(state.jobs[&first].conclusion, Some(Conclusion::Cancelled));
}

#[test]
fn the_hourly_limit_refills() {
    let mut state = State::default();
    assert_eq!(state.count_request(1, 2, NOW_MS), Some(1));
    assert_eq!(state.count_request(1, 2, NOW_MS), Some(0));
    assert_eq!(state.count_request(1, 2, NOW_MS), None);
    assert_eq!(state.count_request(2, 2, NOW_MS), Some(1));
    assert_eq!(state.count_request(1, 2, NOW_MS + 3_600_000), Some(1));
}

#[test]
fn a_run_is_announced_when_its_state_or_try_changes() {
    let mut state = State::default();
    let (first, _) = state.queue(job(&["linux"]), NOW_MS).expect("room");
    let run = state.jobs[&first].run_id;
    let second = NewJob {
        run: Some(run),
        ..job(&["linux"])
    };
    assert_eq!(state.run_news(run), Some("requested"));
    let (second, _) = state.queue(second, NOW_MS).expect("room");
    assert_eq!(state.run_news(run), None, "it still waits");
    state.steal(first, "of-others", NOW_MS).expect("queued");
    assert_eq!(state.run_news(run), Some("in_progress"));
    state.end(first, Conclusion::Failure, NOW_MS).expect("open");
    assert_eq!(state.run_news(run), None, "one job is left");
    state.cancel(second, NOW_MS).expect("a job");
    assert_eq!(state.run_news(run), Some("completed"));
    let failed = |job: &Job| job.conclusion == Some(Conclusion::Failure);
    state.rerun(run, failed, NOW_MS).expect("it is over");
    assert_eq!(state.run_news(run), Some("requested"));
    let again = state.jobs_of(run).find(|job| job.status == Status::Queued);
    let again = again.expect("the one that failed").id;
    state.steal(again, "of-others", NOW_MS).expect("queued");
    assert_eq!(state.run_news(run), Some("in_progress"));
    assert_eq!(state.run_news(0), None);
}
