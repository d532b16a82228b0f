//! Whom a pool serves beyond its labels: runner groups and public repositories.

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;
use messages::RunnerId;
use musher_control::{BootStage, DeliveryResult, InventoryError, JobAction, PoolSpec, Scope};

/// What becomes of a queued job without labels.
fn check(change: impl FnOnce(&mut PoolSpec), group: Option<&str>, expect: DeliveryResult) {
    let mut bench = Bench::with(change);
    let result = bench.deliver_as(1, JobAction::Queued, None, |report| {
        report.labels = musher_control::Labels::new([]);
        report.group = group.map(Into::into);
    });
    assert_eq!(result, expect, "{group:?}");
}

#[test]
fn a_job_without_labels_is_served_by_pools_of_a_group() {
    use DeliveryResult::{Ignored, Queued};
    let fast = |default: bool| {
        move |pool: &mut PoolSpec| {
            pool.group = Some("fast".into());
            pool.policy.default = default;
        }
    };
    check(|_| {}, None, Ignored);
    check(|pool| pool.policy.default = true, None, Ignored);
    check(fast(false), None, Ignored);
    check(fast(true), None, Queued);
    check(fast(false), Some("Fast"), Queued);
    check(fast(true), Some("slow"), Ignored);
}

#[test]
fn labels_count_whatever_group_github_names() {
    let mut bench = Bench::with(|pool| pool.group = Some("fast".into()));
    // A job that waits may carry the group of an earlier attempt.
    let stale = |report: &mut musher_control::JobReport| report.group = Some("Default".into());
    let result = bench.deliver_as(1, JobAction::Queued, None, stale);
    assert_eq!(result, DeliveryResult::Queued);
    let boot = bench.live();
    assert_eq!(bench.state.runner_group(boot), Some("fast"));
}

#[test]
fn strangers_are_refused_unless_named() {
    let public = |report: &mut musher_control::JobReport| report.public = true;
    let mut bench = Bench::new();
    let result = bench.deliver_as(1, JobAction::Queued, None, public);
    assert_eq!(result, DeliveryResult::Ignored);
    assert_eq!(bench.state.boots().count(), 0);
    let explained = bench.state.explain(messages::Millis(bench.now), 1);
    let text = explained.into_iter().next().expect("it is known why").text;
    assert!(text.contains("public"), "{text}");

    let mut bench = Bench::with(|pool| pool.public = vec!["Octo/App".into()]);
    let result = bench.deliver_as(1, JobAction::Queued, None, public);
    assert_eq!(result, DeliveryResult::Queued);

    // GitHub gave it to a runner of ours all the same: it is watched over.
    let mut bench = Bench::new();
    let boot = bench.walk(&BootStage::Running);
    let result = bench.deliver_as(2, JobAction::InProgress, Some(RunnerId(5)), public);
    assert_eq!(result, DeliveryResult::Updated);
    assert_eq!(
        bench.state.boot(boot).unwrap().job.map(|job| job.number),
        Some(2)
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |change: &dyn Fn(&mut PoolSpec), expect: &str| {
        let mut spec = Bench::pool();
        change(&mut spec);
        let inventory = musher_control::Inventory {
            hubs: vec!["main".into()],
            pools: vec![spec],
            ..Default::default()
        };
        let error = inventory.check().expect_err("it is refused");
        assert!(matches!(error, InventoryError::Policy { .. }), "{error:?}");
        assert!(error.to_string().contains(expect), "{error}");
    };
    refused(
        &|pool| {
            pool.scope = Scope::Repo("octo/app".into());
            pool.group = Some("fast".into());
        },
        "only organisations have runner groups",
    );
    refused(&|pool| pool.group = Some(" ".into()), "has no name");
    refused(
        &|pool| pool.public = vec!["other/app".into()],
        "does not cover",
    );
}
